#include "steps/common/png/png_read.h"

#include <libdeflate.h>

#include <bit>
#include <utility>
#include <vector>

namespace millrace {
namespace {

constexpr uint64_t kSignatureBytes = 8, kFrameBytes = 12;  // of a chunk: length, name, check sum

bool read_header(ByteView file, PngPixels* pixels) {
  const uint64_t at = kSignatureBytes + 8;
  pixels->width = file.be32(at);
  pixels->height = file.be32(at + 4);
  const uint8_t bits = file.u8(at + 8), colour = file.u8(at + 9), interlace = file.u8(at + 12);
  pixels->wide = bits == 16;
  pixels->bands = colour == 0 ? 1 : colour == 2 ? 3 : colour == 4 ? 2 : 4;
  if (colour != 0 && colour != 2 && colour != 4 && colour != 6) return false;
  return (bits == 8 || bits == 16) && interlace == 0 && pixels->width > 0 && pixels->height > 0 &&
         (pixels->row_bytes() + 1) <= kPngBytesMax / pixels->height;
}

// The compressed pixels: those of a lone IDAT where they stand, those of many joined in `joined`.
bool find_data(ByteView file, std::vector<uint8_t>* joined, ByteView* data) {
  bool ended = false;
  for (uint64_t at = kSignatureBytes; file.has(at, kFrameBytes) && !ended;) {
    const uint64_t size = file.be32(at);
    if (!file.has(at, kFrameBytes + size)) return false;
    const ByteView chunk = file.sub({at + 8, size});
    if (file.is(at + 4, "tRNS") || file.is(at + 4, "CgBI")) return false;
    if (file.is(at + 4, "IDAT")) {
      if (data->size == 0) {
        *data = chunk;
      } else {
        if (joined->empty()) {
          joined->reserve(file.size - at);
          joined->assign(data->data, data->data + data->size);
        }
        joined->insert(joined->end(), chunk.data, chunk.data + chunk.size);
      }
    }
    ended = file.is(at + 4, "IEND");
    at += kFrameBytes + size;
  }
  if (!joined->empty()) *data = {joined->data(), joined->size()};
  return ended && data->size > 0;
}

bool inflate_all(ByteView data, const PngPixels& pixels) {
  const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> decompressor(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (!decompressor) return false;
  size_t read = 0, written = 0;
  const libdeflate_result result = libdeflate_zlib_decompress_ex(
      decompressor.get(), data.data, data.size, pixels.bytes.get(), pixels.size(), &read, &written);
  return result == LIBDEFLATE_SUCCESS && read == data.size && written == pixels.size();
}

void to_machine_order(uint8_t* row, size_t bytes) {
  if (std::endian::native == std::endian::big) return;
  for (size_t i = 0; i + 1 < bytes; i += 2) std::swap(row[i], row[i + 1]);
}

}  // namespace

bool read_png(ByteView file, PngPixels* pixels) {
  if (!file.is(0, std::string_view("\x89PNG\r\n\x1a\n", kSignatureBytes)) ||
      !file.is(kSignatureBytes + 4, "IHDR") || !read_header(file, pixels)) {
    return false;
  }
  std::vector<uint8_t> joined;
  ByteView data;
  if (!find_data(file, &joined, &data)) return false;
  const size_t row_bytes = pixels->row_bytes();
  const size_t step = pixels->pixel_bytes();
  pixels->bytes = std::make_unique_for_overwrite<uint8_t[]>(pixels->size());
  if (!inflate_all(data, *pixels)) return false;
  const std::vector<uint8_t> zeros(row_bytes, 0);
  const uint8_t* above = zeros.data();
  for (size_t y = 0; y < pixels->height; ++y) {
    uint8_t* row = pixels->row(y);
    if (!restore_png_row(row[-1], row, above, row_bytes, step)) return false;
    above = row;
  }
  for (size_t y = 0; y < pixels->height && pixels->wide; ++y) {
    to_machine_order(pixels->row(y), row_bytes);
  }
  return true;
}

}  // namespace millrace
