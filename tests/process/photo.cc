#include "tests/process/photo.h"

#include <jpeglib.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace millrace {
namespace {

void append_u32(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) *out += static_cast<char>(value >> shift);
}

void append_u16_little(uint16_t value, std::string* out) {
  *out += static_cast<char>(value);
  *out += static_cast<char>(value >> 8);
}

uint32_t crc32_of(const std::string& text) {
  uint32_t crc = ~0u;
  for (const char c : text) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

void append_chunk(const std::string& type, const std::string& data, std::string* out) {
  append_u32(static_cast<uint32_t>(data.size()), out);
  *out += type + data;
  append_u32(crc32_of(type + data), out);
}

// A zlib stream (RFC 1950) of `count` zeros, at least one: a literal, then copies of it, 258 a
// time.
std::string deflated_zeros(uint64_t count) {
  std::string out("\x78\x9c", 2);
  uint32_t bits = 0;
  int used = 0;
  const auto put = [&](uint32_t value, int width) {  // most significant bit first, as codes are
    for (int i = width - 1; i >= 0; i--) {
      bits |= (value >> i & 1) << used++;
      if (used < 8) continue;
      out += static_cast<char>(bits);
      bits = 0;
      used = 0;
    }
  };
  put(0b110, 3);  // the last block, with the fixed codes
  uint64_t left = count;
  for (; left % 258 != 0; left--) put(0x30, 8);
  if (left == count) {
    for (int i = 0; i < 258; i++, left--) put(0x30, 8);
  }
  for (; left > 0; left -= 258) put(0b11000101 << 5, 13);  // length 258, distance 1
  put(0, 7);
  while (used != 0) put(0, 1);
  append_u32(static_cast<uint32_t>(count % 65521) << 16 | 1, &out);  // Adler-32 of zeros
  return out;
}

}  // namespace

std::string make_photo(int number) {
  const int width = 320 + 16 * number, height = 240;
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &out, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  std::vector<JSAMPLE> row(static_cast<size_t>(width) * 3);
  for (int y = 0; y < height; y++) {
    for (int x = 0; x < width; x++) {
      row[static_cast<size_t>(3 * x)] = static_cast<JSAMPLE>(x * (number + 1));
      row[static_cast<size_t>(3 * x + 1)] = static_cast<JSAMPLE>(y * 3 + number * 20);
      row[static_cast<size_t>(3 * x + 2)] = static_cast<JSAMPLE>((x ^ y) + number);
    }
    JSAMPROW rows[] = {row.data()};
    jpeg_write_scanlines(&jpeg, rows, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string bytes(reinterpret_cast<char*>(out), size);
  jpeg_destroy_compress(&jpeg);
  std::free(out);
  return bytes;
}

std::string make_announced_png(uint32_t width, uint32_t height) {
  std::string out("\x89PNG\r\n\x1a\n", 8), header;
  append_u32(width, &header);
  append_u32(height, &header);
  header += std::string("\x08\x02\0\0\0", 5);  // 8 bits, RGB
  append_chunk("IHDR", header, &out);
  append_chunk("IDAT", std::string("\x78\x9c\x03\0\0\0\0\x01", 8), &out);  // nothing, deflated
  append_chunk("IEND", "", &out);
  return out;
}

std::string make_png_bomb(const std::string& chunk, uint64_t zeros) {
  constexpr uint32_t kSide = 8;
  constexpr uint64_t kPixelBytes = kSide * (1 + kSide * 3);  // each row behind its filter
  std::string out("\x89PNG\r\n\x1a\n", 8), header;
  append_u32(kSide, &header);
  append_u32(kSide, &header);
  header += std::string("\x08\x02\0\0\0", 5);
  append_chunk("IHDR", header, &out);
  if (chunk != "IDAT")
    append_chunk(chunk, std::string("name\0\0", 6) + deflated_zeros(zeros), &out);
  append_chunk("IDAT", deflated_zeros(chunk == "IDAT" ? zeros : kPixelBytes), &out);
  append_chunk("IEND", "", &out);
  return out;
}

std::string make_gif_bomb(int frames, uint16_t side) {
  std::string out = "GIF89a";
  append_u16_little(side, &out);
  append_u16_little(side, &out);
  out += std::string("\x80\0\0\0\0\0\xff\xff\xff", 9);  // two colours
  for (int frame = 0; frame < frames; frame++) {
    out += std::string(",\0\0\0\0", 5);
    append_u16_little(side, &out);
    append_u16_little(side, &out);
    out += std::string("\0\x02\x02\x4c\x01\0", 6);  // one pixel and the end
  }
  return out + ";";
}

}  // namespace millrace
