// Goal: what the deflater makes is deflate to the letter, whatever the bytes, and matches are
// taken only where they save bytes. Method: another library inflates it; bytes at the bounds of
// the format; counts whose best codes would be too long.
#include "steps/common/png/deflate.h"

#include <isa-l/igzip_lib.h>

#include <random>

#include "cmake/precompiled_test.h"

namespace millrace::testing {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes noise(size_t size, uint32_t seed, uint32_t values = 256) {
  std::mt19937 random(seed);
  Bytes out(size);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random() % values);
  return out;
}

Bytes deflated(const Bytes& bytes, int effort, size_t piece = size_t{256} << 10) {
  Deflater deflater(effort);
  Bytes out;
  const auto take = [&] {
    out.insert(out.end(), deflater.output().begin(), deflater.output().end());
    deflater.output().clear();
  };
  for (size_t at = 0; at < bytes.size(); at += piece) {
    deflater.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    take();
  }
  deflater.finish();
  take();
  return out;
}

// Empty: it is no zlib stream of so many bytes.
Bytes inflated(Bytes stream, size_t size) {
  inflate_state state;
  isal_inflate_init(&state);
  state.crc_flag = ISAL_ZLIB;
  Bytes out(size + 1);
  state.next_in = stream.data();
  state.avail_in = static_cast<uint32_t>(stream.size());
  state.next_out = out.data();
  state.avail_out = static_cast<uint32_t>(out.size());
  const int result = isal_inflate(&state);
  EXPECT_EQ(result, ISAL_DECOMP_OK);
  EXPECT_EQ(state.block_state, ISAL_BLOCK_FINISH);
  EXPECT_EQ(state.avail_in, 0u);
  out.resize(out.size() - state.avail_out);
  return out;
}

void expect_same(const Bytes& bytes, int effort, size_t piece = size_t{256} << 10) {
  EXPECT_EQ(inflated(deflated(bytes, effort, piece), bytes.size()), bytes)
      << bytes.size() << " bytes in pieces of " << piece << ", effort " << effort;
}

TEST(Deflate, AnyBytesComeBackAtEveryEffort) {
  for (int effort = 0; effort <= 9; ++effort) {
    for (const size_t size : {0, 1, 2, 3, 7, 8, 9, 100, 65535, 65536, 65537}) {
      expect_same(Bytes(4 * size, 7), effort);
      expect_same(noise(size, 1), effort);
      expect_same(noise(size, 2, 2), effort);
      expect_same(noise(size, 3, 17), effort);
    }
  }
}

TEST(Deflate, PiecesOfAnySizeComeBack) {
  Bytes bytes = noise(200'000, 4, 5);
  const Bytes flat(100'000, 0), loud = noise(100'000, 5);
  bytes.insert(bytes.end(), flat.begin(), flat.end());
  bytes.insert(bytes.end(), loud.begin(), loud.end());
  for (const size_t piece : {1009, 4096, 65536, 99'991, 400'000}) expect_same(bytes, 6, piece);
}

TEST(Deflate, MatchesReachAsFarAsTheFormatHasThemAndNoFurther) {
  const Bytes part = noise(300, 6);
  for (const size_t gap : {32'000, 32'466, 32'467, 32'468, 32'469, 33'000, 65'536, 100'000}) {
    Bytes bytes = part;
    const Bytes between = noise(gap, 7);
    bytes.insert(bytes.end(), between.begin(), between.end());
    bytes.insert(bytes.end(), part.begin(), part.end());
    for (const size_t piece : {20'000, 40'000, 262'144}) expect_same(bytes, 9, piece);
  }
}

TEST(Deflate, NoiseIsStoredAndWhatRepeatsIsNot) {
  const Bytes loud = noise(1 << 20, 8);
  EXPECT_LE(deflated(loud, 6).size(), loud.size() + 2 * 5 * 16 + 10);
  Bytes repeated;
  for (int i = 0; i < 64; ++i) repeated.insert(repeated.end(), loud.begin(), loud.begin() + 16384);
  EXPECT_LE(deflated(repeated, 6).size(), 16384u + 8192u);
}

TEST(Deflate, ShortMatchesAreNotTakenForTheirOwnSake) {
  // Of twenty values, 4.4 bits each by their code: what stands before by chance costs more.
  const Bytes bytes = noise(1 << 20, 9, 20);
  EXPECT_LE(static_cast<double>(deflated(bytes, 6).size()),
            static_cast<double>(bytes.size()) * 4.4 / 8 * 1.01);
}

TEST(Deflate, WhatWasTriedIsWhatItWouldBe) {
  Deflater trial(6);
  for (const uint32_t values : {2u, 17u, 256u}) {
    const Bytes bytes = noise(48 << 10, values, values);
    const size_t size = deflated(bytes, 6).size();
    EXPECT_NEAR(static_cast<double>(trial.tried(bytes)) / 8, static_cast<double>(size), 300);
    EXPECT_EQ(trial.tried(bytes), trial.tried(bytes));
  }
}

TEST(Deflate, CodesAreWholeAndNoLongerThanAllowed) {
  std::vector<uint32_t> fibonacci = {1, 1};
  while (fibonacci.size() < 40) {
    fibonacci.push_back(fibonacci.back() + fibonacci[fibonacci.size() - 2]);
  }
  std::vector<uint32_t> powers(286, 1);
  for (size_t i = 0; i < 31; ++i) powers[i * 7] = 1u << i;
  for (const auto& counts : {fibonacci, powers, std::vector<uint32_t>(286, 1),
                             std::vector<uint32_t>(19, 0), std::vector<uint32_t>{0, 0, 5}}) {
    for (const unsigned most : {9u, 14u, 15u}) {
      std::vector<HuffmanCode> codes(counts.size());
      build_huffman(counts, most, codes);
      uint32_t room = 0;
      for (size_t i = 0; i < codes.size(); ++i) {
        EXPECT_LE(codes[i].length, most);
        EXPECT_TRUE(counts[i] == 0 || codes[i].length > 0);
        if (codes[i].length > 0) room += 1u << (15 - codes[i].length);
      }
      EXPECT_EQ(room, 1u << 15);
    }
  }
}

}  // namespace
}  // namespace millrace::testing
