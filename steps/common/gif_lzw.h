// GifLzw: the indices of one frame of a GIF, decompressed as they are asked for.
//
// It knows neither colours nor places. Time and memory are bounded by what is asked for and by the
// table of 4096 words; data of any kind are safe to read.
#pragma once

#include <array>

#include "steps/common/byte_view.h"

namespace millrace {

class GifLzw {
 public:
  // `at`: the byte in front of the sub-blocks, which says how many bits a code of one pixel has.
  GifLzw(ByteView file, uint64_t at);

  // The next `count` indices; fewer when the data end before, or break.
  size_t read(uint8_t* out, size_t count);
  // Whether reading ended at a code that nothing had given a meaning.
  bool broken() const { return broken_; }

 private:
  static constexpr uint32_t kWords = 4096, kNone = kWords;

  bool read_code(uint32_t* code);
  bool read_word();
  void expand(uint32_t code, bool repeats);
  void clear();

  ByteView file_;
  uint64_t at_ = 0;
  uint32_t block_left_ = 0;  // bytes of the sub-block at `at_`
  uint32_t bits_ = 0, bit_count_ = 0;
  uint32_t root_bits_ = 0, code_bits_ = 0;
  uint32_t next_ = 0;  // the word that the next code makes
  uint32_t last_ = kNone;
  bool broken_ = false;
  std::array<uint16_t, kWords> before_{};  // a word is the word before and one index
  std::array<uint8_t, kWords> index_{};
  std::array<uint8_t, kWords + 1> word_{};  // the one that was read, at the end of the array
  size_t word_at_ = kWords + 1;             // what of it was not taken yet
};

}  // namespace millrace
