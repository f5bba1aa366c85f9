#include "steps/grayscale/jpeg_luma.h"

#include "steps/grayscale/luma_copy.h"

namespace millrace {
namespace {

constexpr uint8_t kZigzag[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
                                 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
                                 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
                                 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

// The standard's DC table for luma (K.3): a code for every category.
constexpr uint8_t kDcCounts[17] = {0, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0};
constexpr uint8_t kDcSymbols[256] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

void append16(std::string* out, uint32_t value) {
  out->push_back(static_cast<char>(value >> 8));
  out->push_back(static_cast<char>(value));
}

void append_segment(std::string* out, uint8_t marker, const std::string& payload) {
  out->push_back('\xff');
  out->push_back(static_cast<char>(marker));
  append16(out, static_cast<uint32_t>(payload.size() + 2));
  out->append(payload);
}

HuffmanSpec spec_of(JHUFF_TBL* const* tables, int number) {
  const JHUFF_TBL* table = number >= 0 && number < NUM_HUFF_TBLS ? tables[number] : nullptr;
  return table == nullptr ? HuffmanSpec{} : HuffmanSpec{table->bits, table->huffval};
}

const JQUANT_TBL* quantisation_of(const jpeg_decompress_struct& source) {
  const int number = source.comp_info[0].quant_tbl_no;
  const JQUANT_TBL* table =
      number >= 0 && number < NUM_QUANT_TBLS ? source.quant_tbl_ptrs[number] : nullptr;
  if (table == nullptr) return nullptr;
  for (const UINT16 value : table->quantval) {
    if (value > 255) return nullptr;  // needs the wide form: libjpeg's way
  }
  return table;
}

bool describe_scan(const JpegCodec& codec, LumaScan* scan) {
  const jpeg_decompress_struct& source = codec.source;
  const ImageHeader& header = codec.job->header;
  if (header.jpeg_process > 1 || header.jpeg_scans != 1 ||
      source.comps_in_scan != source.num_components || source.Ss != 0 || source.Se != 63) {
    return false;
  }
  for (int i = 0; i < source.comps_in_scan; ++i) {
    const jpeg_component_info& component = *source.cur_comp_info[i];
    if (component.component_index != i) return false;
    scan->components.push_back({component.h_samp_factor, component.v_samp_factor,
                                spec_of(source.dc_huff_tbl_ptrs, component.dc_tbl_no),
                                spec_of(source.ac_huff_tbl_ptrs, component.ac_tbl_no)});
  }
  scan->data = {source.src->next_input_byte, source.src->bytes_in_buffer};
  scan->width = source.image_width;
  scan->height = source.image_height;
  scan->restart_interval = source.restart_interval;
  scan->dc_out = {kDcCounts, kDcSymbols};
  return true;
}

std::string jfif(const jpeg_decompress_struct& source) {
  std::string payload("JFIF\0\1\1", 7);
  const bool known = source.saw_JFIF_marker;
  payload += static_cast<char>(known ? source.density_unit : 0);
  append16(&payload, known ? source.X_density : 1);
  append16(&payload, known ? source.Y_density : 1);
  return payload + std::string(2, '\0');
}

std::string huffman(uint8_t where, const HuffmanSpec& spec) {
  std::string payload(1, static_cast<char>(where));
  size_t symbols = 0;
  for (int length = 1; length <= 16; ++length) {
    payload += static_cast<char>(spec.counts[length]);
    symbols += spec.counts[length];
  }
  return payload.append(reinterpret_cast<const char*>(spec.symbols), symbols);
}

std::string file_head(const JpegCodec& codec, const LumaScan& scan, const JQUANT_TBL& table) {
  std::string head = "\xff\xd8";
  append_segment(&head, 0xE0, jfif(codec.source));
  for (const auto& [marker, payload] : codec.segments) append_segment(&head, marker, payload);
  std::string quantisation(1, '\0');
  for (const uint8_t place : kZigzag) quantisation += static_cast<char>(table.quantval[place]);
  append_segment(&head, 0xDB, quantisation);
  std::string frame(1, '\x08');
  append16(&frame, scan.height);
  append16(&frame, scan.width);
  append_segment(&head, 0xC0, frame + std::string("\x01\x01\x11\x00", 4));
  append_segment(&head, 0xC4, huffman(0x00, scan.dc_out));
  append_segment(&head, 0xC4, huffman(0x10, scan.components[0].ac));
  append_segment(&head, 0xDA, std::string("\x01\x01\x00\x00\x3f\x00", 6));
  return head;
}

bool more(void* job, uint32_t permille) {
  return static_cast<Job*>(job)->progress(permille);
}

}  // namespace

bool write_luma_copy(JpegCodec* codec) {
  LumaScan scan;
  const JQUANT_TBL* table = quantisation_of(codec->source);
  if (table == nullptr || !describe_scan(*codec, &scan)) return false;
  std::vector<uint8_t> bits;
  bits.reserve(scan.data.size);
  if (!copy_luma(scan, &bits, more, codec->job)) return false;
  bits.push_back(0xFF);
  bits.push_back(0xD9);
  return codec->job->write(file_head(*codec, scan, *table)) &&
         codec->job->write(bits.data(), bits.size());
}

}  // namespace millrace
