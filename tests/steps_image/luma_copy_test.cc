// Goal: the quick way gives libjpeg's coefficients or refuses; no bytes make it read or write
// elsewhere. Method: scans cut out of JPEGs by their markers, whole, cut, and with seeded flips;
// run under the sanitizers too.
#include "steps/grayscale/luma_copy.h"

#include <random>

#include "cmake/precompiled_test.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

// The tables of a JPEG by (class << 4 | slot), and where its scan begins.
struct Tables {
  std::map<int, std::pair<std::array<uint8_t, 17>, std::array<uint8_t, 256>>> huffman;
  size_t scan = 0;
};

Tables read_tables(const std::string& jpeg) {
  Tables tables;
  const auto byte = [&](size_t at) { return static_cast<size_t>(static_cast<uint8_t>(jpeg[at])); };
  for (size_t at = 2; at + 4 < jpeg.size();) {
    const size_t marker = byte(at + 1), end = at + 2 + byte(at + 2) * 256 + byte(at + 3);
    for (size_t k = at + 4; marker == 0xC4 && k + 17 <= end;) {
      auto& [counts, symbols] = tables.huffman[static_cast<int>(byte(k))];
      size_t total = 0;
      for (size_t i = 1; i <= 16; ++i)
        counts[i] = static_cast<uint8_t>(byte(k + i)), total += counts[i];
      for (size_t i = 0; i < total; ++i) symbols[i] = static_cast<uint8_t>(byte(k + 17 + i));
      k += 17 + total;
    }
    at = end;
    if (marker == 0xDA) {
      tables.scan = at;
      break;
    }
  }
  return tables;
}

bool always(void*, uint32_t) {
  return true;
}

// The scan of a colour JPEG with libjpeg's table slots: 0 for luma, 1 for chroma.
bool copy(const std::string& scan_bytes, const Tables& tables, uint32_t width, uint32_t height,
          int luma_h, int luma_v, uint32_t restart, std::vector<uint8_t>* out) {
  // Exactly its size, so that a sanitizer sees the first byte beyond it.
  const std::vector<uint8_t> exact(scan_bytes.begin(), scan_bytes.end());
  const auto spec = [&](int key) {
    const auto& [counts, symbols] = tables.huffman.at(key);
    return HuffmanSpec{counts.data(), symbols.data()};
  };
  LumaScan scan;
  scan.data = {exact.data(), exact.size()};
  scan.width = width;
  scan.height = height;
  scan.restart_interval = restart;
  scan.components = {{luma_h, luma_v, spec(0x00), spec(0x10)},
                     {1, 1, spec(0x01), spec(0x11)},
                     {1, 1, spec(0x01), spec(0x11)}};
  scan.dc_out = spec(0x00);
  return copy_luma(scan, out, always, nullptr);
}

TEST(LumaCopy, TakesEveryBaselinePicture) {
  for (const auto& [h, v] : {std::pair(1, 1), std::pair(2, 1), std::pair(2, 2), std::pair(4, 2)}) {
    for (const int restart : {0, 1, 3}) {
      JpegStyle style;
      style.luma_h = h;
      style.luma_v = v;
      style.restart = restart;
      style.quality = 97;
      const std::string jpeg = encode_jpeg(gradient(97, 61), style);
      const Tables tables = read_tables(jpeg);
      std::vector<uint8_t> out;
      EXPECT_TRUE(copy(jpeg.substr(tables.scan), tables, 97, 61, h, v,
                       static_cast<uint32_t>(restart), &out))
          << h << v << restart;
      EXPECT_LT(out.size(), jpeg.size());
    }
  }
}

TEST(LumaCopy, RefusesCutAndLyingData) {
  const std::string jpeg = encode_jpeg(gradient(97, 61));
  const Tables tables = read_tables(jpeg);
  const std::string scan = jpeg.substr(tables.scan);
  std::vector<uint8_t> out;
  for (size_t size = 0; size < scan.size() - 1; ++size) {
    EXPECT_FALSE(copy(scan.substr(0, size), tables, 97, 61, 2, 2, 0, &out)) << size;
  }
  EXPECT_FALSE(copy(scan, tables, 97, 200, 2, 2, 0, &out)) << "more rows than there are";
  EXPECT_FALSE(copy(scan, tables, 97, 20, 2, 2, 0, &out)) << "fewer";
  EXPECT_FALSE(copy(scan, tables, 97, 61, 2, 2, 2, &out)) << "restarts that are not there";
}

TEST(LumaCopy, NoBytesMakeItLeaveItsBuffers) {
  std::mt19937 random(7);
  JpegStyle style;
  style.restart = 2;
  for (int round = 0; round < 3000; ++round) {
    style.restart = round % 3;
    const std::string jpeg = encode_jpeg(gradient(40, 30), style);
    Tables tables = read_tables(jpeg);
    std::string scan = jpeg.substr(tables.scan);
    for (unsigned i = random() % 6; i > 0; --i)
      scan[random() % scan.size()] = static_cast<char>(random());
    if (round % 5 == 0)
      std::generate(scan.begin(), scan.end(), [&] { return static_cast<char>(random()); });
    // Tables may lie as well.
    if (round % 2) {
      auto& [counts, symbols] = tables.huffman[static_cast<int>(random() % 2 << 4)];
      symbols[random() % 256] = static_cast<uint8_t>(random());
      if (round % 4 == 1) counts[1 + random() % 16] = static_cast<uint8_t>(random());
    }
    std::vector<uint8_t> out;
    copy(scan, tables, 40, 30, 2, 2, static_cast<uint32_t>(round % 3), &out);
  }
}

}  // namespace
}  // namespace millrace::testing
