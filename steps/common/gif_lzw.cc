#include "steps/common/gif_lzw.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr uint32_t kCodeBitsMax = 12, kRootBitsMax = 11;

}  // namespace

GifLzw::GifLzw(ByteView file, uint64_t at)
    : file_(file), at_(at + 1), root_bits_(std::clamp<uint32_t>(file.u8(at), 1, kRootBitsMax)) {
  clear();
}

void GifLzw::clear() {
  code_bits_ = root_bits_ + 1;
  next_ = (1u << root_bits_) + 2;
  last_ = kNone;
}

bool GifLzw::read_code(uint32_t* code) {
  while (bit_count_ < code_bits_) {
    if (block_left_ == 0) {
      block_left_ = file_.u8(at_);
      if (block_left_ == 0) return false;
      at_ += 1;
    }
    if (!file_.has(at_, 1)) return false;
    bits_ |= uint32_t{file_.data[at_]} << bit_count_;
    at_ += 1;
    block_left_ -= 1;
    bit_count_ += 8;
  }
  *code = bits_ & ((1u << code_bits_) - 1);
  bits_ >>= code_bits_;
  bit_count_ -= code_bits_;
  return true;
}

// Writes the word of `code`, from its end to its beginning; `repeats`: and its first index again.
void GifLzw::expand(uint32_t code, bool repeats) {
  const uint32_t roots = 1u << root_bits_;
  word_at_ = word_.size() - (repeats ? 1 : 0);
  while (code >= roots) {
    word_[--word_at_] = index_[code];
    code = before_[code];  // always a smaller one
  }
  word_[--word_at_] = static_cast<uint8_t>(code);
  if (repeats) word_.back() = word_[word_at_];
}

bool GifLzw::read_word() {
  const uint32_t roots = 1u << root_bits_;
  uint32_t code = 0;
  for (;;) {
    if (!read_code(&code) || code == roots + 1) return false;
    if (code != roots) break;
    clear();
  }
  const bool first = last_ == kNone;
  if (first ? code >= roots : code > next_ || code == kWords) {
    broken_ = true;
    return false;
  }
  const bool repeats = !first && code == next_;
  expand(repeats ? last_ : code, repeats);
  if (!first && next_ < kWords) {
    before_[next_] = static_cast<uint16_t>(last_);
    index_[next_] = word_[word_at_];
    next_ += 1;
    if (next_ == 1u << code_bits_ && code_bits_ < kCodeBitsMax) code_bits_ += 1;
  }
  last_ = code;
  return true;
}

size_t GifLzw::read(uint8_t* out, size_t count) {
  size_t done = 0;
  while (done < count) {
    if (word_at_ == word_.size() && (broken_ || !read_word())) break;
    const size_t part = std::min(count - done, word_.size() - word_at_);
    std::copy_n(word_.begin() + static_cast<std::ptrdiff_t>(word_at_), part, out + done);
    word_at_ += part;
    done += part;
  }
  return done;
}

}  // namespace millrace
