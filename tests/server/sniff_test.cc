// Goal: strangers' first bytes are told apart, however few there are: the server looks at them
// itself, outside of every sandbox. Method: the shortest head of each kind, and each beginning of
// it in memory of exactly its size, so that a sanitizer sees a byte read too far.
#include "server/sniff.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace {
namespace {

using namespace std::string_literals;  // NOLINT: only its suffix

struct Head {
  std::string bytes;
  std::string media_type;
};

const std::vector<Head>& shortest_heads() {
  static const std::vector<Head> heads = {
      {"\xff\xd8\xff"s, "image/jpeg"},
      {"\x89PNG\r\n\x1a\n"s, "image/png"},
      {"GIF87a"s, "image/gif"},
      {"GIF89a"s, "image/gif"},
      {"II*\0"s, "image/tiff"},
      {"MM\0*"s, "image/tiff"},
      {"II+\0"s, "image/tiff"},
      {"MM\0+"s, "image/tiff"},
      {"\xff\x0a"s, "image/jxl"},
      {"\0\0\0\x0cJXL \r\n\x87\n"s, "image/jxl"},
      {"\0\0\0\x0cjP  \r\n\x87\n"s, "image/jp2"},
      {"8BPS\0"s, "image/vnd.adobe.photoshop"},
      {"\0\0\1\0"s, "image/x-icon"},
      {"qoif"s, "image/qoi"},
      {"\x76\x2f\x31\x01"s, "image/x-exr"},
      {"RIFF\0\0\0\0WEBP"s, "image/webp"},
      {"BM"s + std::string(12, 'x') + "\x28\0\0\0"s + std::string(8, 'x'), "image/bmp"},
      {"P6\n"s, "image/x-portable-anymap"},
      {"\0\0\0\x10\x66typavif\0\0\0\0"s, "image/avif"},
      {"\0\0\0\x10\x66typheic\0\0\0\0"s, "image/heic"},
      {"\0\0\0\x10\x66typmif1\0\0\0\0"s, "image/heif"},
  };
  return heads;
}

// Of a copy with nothing behind it.
std::string sniffed(const std::string& bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  return std::string(sniff_image({copy.data(), copy.size()}));
}

TEST(Sniff, TheShortestHeadOfEachKindIsKnown) {
  for (const Head& head : shortest_heads()) {
    EXPECT_EQ(sniffed(head.bytes), head.media_type) << testing::PrintToString(head.bytes);
    EXPECT_EQ(sniffed(head.bytes + std::string(200, 'x')), head.media_type);
  }
}

TEST(Sniff, WhatIsShorterIsNothing) {
  EXPECT_EQ(sniff_image({}), "");
  for (const Head& head : shortest_heads()) {
    for (size_t size = 0; size < head.bytes.size(); size++) {
      EXPECT_EQ(sniffed(head.bytes.substr(0, size)), "") << head.media_type << " " << size;
    }
  }
}

// "ftyp" says its size itself; what lies behind it, or behind the bytes that there are, is not
// read.
TEST(Sniff, BrandsAreLookedForInsideTheBoxOnly) {
  const auto box = [](const std::string& size, const std::string& brands) {
    return size + "ftypisom" + std::string(4, '\0') + brands;
  };
  EXPECT_EQ(sniffed(box("\0\0\0\x14"s, "avif")), "image/avif");
  EXPECT_EQ(sniffed(box("\0\0\0\x10"s, "avif")), "") << "behind the box";
  EXPECT_EQ(sniffed(box("\0\0\0\0"s, "avif")), "") << "a box of no size";
  EXPECT_EQ(sniffed(box("\xff\xff\xff\xff"s, "mif1heic")), "image/heic") << "a box of all sizes";
  EXPECT_EQ(sniffed(box("\0\0\0\x18"s, "mif1hei")), "image/heif") << "cut off in a brand";
  EXPECT_EQ(sniffed(box("\0\0\0\xff"s, std::string(120, 'x') + "avif")), "") << "too far behind";
}

TEST(Sniff, TextIsNoBitmap) {
  EXPECT_EQ(sniffed("BM is how this letter begins, and nothing else"), "");
}

}  // namespace
}  // namespace millrace
