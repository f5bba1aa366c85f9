// JPEG to gray, by the cheapest way that gives the exact answer:
//
//   coefficients  drop the chroma, keep every luma coefficient: no decoding, no loss; by
//   copy_luma() for the commonest kind,
//                 by libjpeg's transform for all others
//   luma plane    decode the Y plane alone, encode it
//   samples       decode RGB row by row, our formula, encode
//   conversion    CMYK and foreign profiles: libvips and lcms first
#include <algorithm>
#include <memory>

#include "steps/common/icc.h"
#include "steps/common/picture/resolution.h"
#include "steps/grayscale/jpeg_codec.h"
#include "steps/grayscale/jpeg_luma.h"
#include "steps/grayscale/vips_gray.h"

namespace millrace {
namespace {

enum class Route { kCoefficients, kLumaPlane, kSamples, kConversion };

constexpr int kQualityUnknown = 90;  // when the original's table is not to be had

Problem check_kind(const ImageHeader& header) {
  if (header.bits != 8) {
    return {Fault::kUnsupported,
            "the JPEG has " + std::to_string(header.bits) +
                " bits a sample, only 8 are taken; save it as 8-bit JPEG, or 16-bit PNG or TIFF"};
  }
  const int process = header.jpeg_process;
  if (process > 2 && process != 9 && process != 10) {
    return {Fault::kUnsupported, "the JPEG is of the rare kind SOF" + std::to_string(process) +
                                     " (lossless or differential); save it anew"};
  }
  if (header.jpeg_components == 2) {
    return {Fault::kUnsupported, "the JPEG has 2 components, which has no meaning; save it anew"};
  }
  return {};
}

void read_header(JpegCodec* codec) {
  jpeg_create_decompress(&codec->source);
  codec->source.client_data = codec;
  codec->source.progress = &codec->monitor;
  jpeg_mem_src(&codec->source, codec->job->file.data,
               static_cast<unsigned long>(codec->job->file.size));
  jpeg_read_header(&codec->source, TRUE);
}

bool luma_is_full_size(const jpeg_decompress_struct& source) {
  const jpeg_component_info& luma = source.comp_info[0];
  for (int i = 1; i < source.num_components; ++i) {
    if (source.comp_info[i].h_samp_factor > luma.h_samp_factor ||
        source.comp_info[i].v_samp_factor > luma.v_samp_factor) {
      return false;
    }
  }
  return true;
}

Route choose_route(const JpegCodec& codec, const IccFacts& icc) {
  const GrayOptions& options = codec.job->options;
  const J_COLOR_SPACE space = codec.source.jpeg_color_space;
  const bool lossless = options.quality == 0 && luma_is_full_size(codec.source);
  if (space == JCS_GRAYSCALE) return lossless ? Route::kCoefficients : Route::kLumaPlane;
  if (space == JCS_CMYK || space == JCS_YCCK) return Route::kConversion;
  const bool foreign =
      icc.space == IccSpace::kRgb &&
      !(icc.srgb_curve && (options.method == GrayMethod::kLuma || icc.srgb_primaries));
  if (foreign) return Route::kConversion;
  if (space != JCS_YCbCr || options.method == GrayMethod::kLuminance) return Route::kSamples;
  return lossless ? Route::kCoefficients : Route::kLumaPlane;
}

void create_target(JpegCodec* codec) {
  jpeg_create_compress(&codec->target);
  jpeg_compress_struct* target = &codec->target;
  target->client_data = codec;
  target->dest = &codec->destination;
  target->image_width = codec->source.image_width;
  target->image_height = codec->source.image_height;
  target->input_components = 1;
  target->in_color_space = JCS_GRAYSCALE;
  jpeg_set_defaults(target);
  if (codec->source.saw_JFIF_marker) {
    target->density_unit = codec->source.density_unit;
    target->X_density = codec->source.X_density;
    target->Y_density = codec->source.Y_density;
  }
}

// As good as the original: the original's own quantisation of its first component.
void copy_quantisation(JpegCodec* codec) {
  const jpeg_component_info& luma = codec->source.comp_info[0];
  const JQUANT_TBL* table = luma.quant_table;
  if (table == nullptr && luma.quant_tbl_no >= 0 && luma.quant_tbl_no < NUM_QUANT_TBLS) {
    table = codec->source.quant_tbl_ptrs[luma.quant_tbl_no];
  }
  if (table == nullptr) {
    jpeg_set_quality(&codec->target, kQualityUnknown, TRUE);
    return;
  }
  JQUANT_TBL* copy = codec->target.quant_tbl_ptrs[0];
  std::memcpy(copy->quantval, table->quantval, sizeof copy->quantval);
  copy->sent_table = FALSE;
}

// The encoder divides by eight times these in 16 bits: 0 and 8192 would kill the process.
// Coefficients that are only copied are not divided, and keep the table as it was.
void tame_quantisation(JQUANT_TBL* table) {
  for (UINT16& value : table->quantval) value = std::clamp<UINT16>(value, 1, 8191);
}

void copy_huffman(const JHUFF_TBL* from, JHUFF_TBL* to) {
  std::memcpy(to->bits, from->bits, sizeof to->bits);
  std::memcpy(to->huffval, from->huffval, sizeof to->huffval);
  to->sent_table = FALSE;
}

// The blocks are written in another order, so the differences between their DC values are new, but
// the AC symbols are the same: the original's table has a code for each, and is often the better
// one.
void copy_ac_table(JpegCodec* codec) {
  const ImageHeader& header = codec->job->header;
  if (header.jpeg_process > 1 || header.jpeg_scans != 1) return;
  const int number = codec->source.comp_info[0].ac_tbl_no;
  const JHUFF_TBL* table =
      number >= 0 && number < NUM_HUFF_TBLS ? codec->source.ac_huff_tbl_ptrs[number] : nullptr;
  if (table != nullptr) copy_huffman(table, codec->target.ac_huff_tbl_ptrs[0]);
}

void write_segments(JpegCodec* codec) {
  for (const auto& segment : codec->segments) {
    jpeg_write_marker(&codec->target, segment.first,
                      reinterpret_cast<const JOCTET*>(segment.second.data()),
                      static_cast<unsigned>(segment.second.size()));
  }
}

void copy_coefficients(JpegCodec* codec) {
  jvirt_barray_ptr* coefficients = jpeg_read_coefficients(&codec->source);
  create_target(codec);
  copy_quantisation(codec);
  copy_ac_table(codec);
  if (codec->source.progressive_mode) jpeg_simple_progression(&codec->target);
  jpeg_write_coefficients(&codec->target, coefficients);
  write_segments(codec);
  jpeg_finish_compress(&codec->target);
}

void begin_encoding(JpegCodec* codec) {
  create_target(codec);
  if (codec->job->options.quality > 0) {
    jpeg_set_quality(&codec->target, codec->job->options.quality, TRUE);
  } else {
    copy_quantisation(codec);
  }
  if (codec->source.progressive_mode) jpeg_simple_progression(&codec->target);
  tame_quantisation(codec->target.quant_tbl_ptrs[0]);
  jpeg_start_compress(&codec->target, TRUE);
  write_segments(codec);
}

void encode_rows(JpegCodec* codec) {
  jpeg_decompress_struct* source = &codec->source;
  const bool plane = source->out_color_space == JCS_GRAYSCALE;
  jpeg_start_decompress(source);
  begin_encoding(codec);
  const size_t width = source->output_width;
  uint8_t* gray = codec->rows.data();
  uint8_t* row = plane ? gray : gray + width;
  GrayRow layout;
  layout.method = codec->job->options.method;
  while (source->output_scanline < source->output_height) {
    jpeg_read_scanlines(source, &row, 1);
    if (!plane) gray_row8(layout, row, gray, width);
    jpeg_write_scanlines(&codec->target, &gray, 1);
  }
  jpeg_finish_compress(&codec->target);
  jpeg_finish_decompress(source);
}

void encode_pixels(JpegCodec* codec) {
  begin_encoding(codec);
  for (JDIMENSION y = 0; y < codec->target.image_height; ++y) {
    uint8_t* row = codec->gray.data() + size_t{y} * codec->target.image_width;
    jpeg_write_scanlines(&codec->target, &row, 1);
  }
  jpeg_finish_compress(&codec->target);
}

// What EXIF says of the resolution, which does not come along, is said by JFIF.
void keep_resolution(const Job& job, jpeg_decompress_struct* source) {
  if (job.options.metadata == Metadata::kKeep) return;
  const int dots = dots_per_inch(read_exif(job.file.sub(job.header.exif)).per_mm);
  if (dots == 0) return;
  source->saw_JFIF_marker = TRUE;
  source->density_unit = 1;
  source->X_density = source->Y_density = static_cast<UINT16>(dots);
}

// Notes what was wrong with the profile, and returns the one that stays true: a gray one of a gray
// picture.
std::vector<uint8_t> profile_to_keep(JpegCodec* codec, std::vector<uint8_t> profile,
                                     const IccFacts& icc) {
  const bool gray = codec->source.jpeg_color_space == JCS_GRAYSCALE;
  const int components = codec->source.num_components;
  const IccSpace expected = gray              ? IccSpace::kGray
                            : components == 4 ? IccSpace::kCmyk
                                              : IccSpace::kRgb;
  if (!profile.empty() && icc.space != expected) {
    codec->job->note("the colour profile does not fit the picture and was ignored");
    return {};
  }
  if (!gray) profile.clear();
  return profile;
}

}  // namespace

Problem gray_jpeg(Job* job) {
  if (Problem problem = check_kind(job->header)) return problem;
  const auto codec = std::make_unique<JpegCodec>(job);
  if (Problem problem = codec->guarded(read_header)) return problem;
  if (codec->source.num_components != job->header.jpeg_components ||
      codec->source.image_width != job->header.width ||
      codec->source.image_height != job->header.height) {
    return corrupt("JPEG", "its frame header is ambiguous");
  }
  keep_resolution(*job, &codec->source);
  std::vector<uint8_t> profile = read_jpeg_profile(*job);
  const IccFacts icc = read_icc({profile.data(), profile.size()});
  const Route route = choose_route(*codec, icc);
  codec->segments = gray_jpeg_segments(*job, profile_to_keep(codec.get(), std::move(profile), icc));
  switch (route) {
    case Route::kCoefficients:
      if (write_luma_copy(codec.get()) || job->cancelled) return {};
      return codec->guarded(copy_coefficients);
    case Route::kLumaPlane:
      codec->source.out_color_space = JCS_GRAYSCALE;
      codec->rows.resize(job->header.width);
      return codec->guarded(encode_rows);
    case Route::kSamples:
      codec->source.out_color_space = JCS_RGB;
      codec->rows.resize(size_t{job->header.width} * 4);
      return codec->guarded(encode_rows);
    case Route::kConversion:
      break;
  }
  if (Problem problem = vips_gray_pixels(job, &codec->gray)) return problem;
  if (job->cancelled) return {};
  return codec->guarded(encode_pixels);
}

}  // namespace millrace
