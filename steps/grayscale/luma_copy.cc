#include "steps/grayscale/luma_copy.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace millrace {
namespace {

#define ALWAYS_INLINE __attribute__((always_inline)) inline

constexpr int kLookBits = 9;
constexpr int kEndOfBlock = 128;  // an advance that no run of coefficients reaches

// Codes to symbols: one look for codes of up to nine bits, a walk by length for the others.
struct Decoder {
  struct Entry {
    uint8_t length = 0;  // of the code; 0: longer than kLookBits, or not a symbol that baseline has
    uint8_t total = 0;   // with the bits that follow the code
    uint8_t advance = 0;  // AC: how many coefficients further, or kEndOfBlock
    uint8_t symbol = 0;
  };
  std::array<Entry, 1 << kLookBits> look{};
  int32_t last[17] = {};    // the largest code of each length, -1: none
  int32_t offset[17] = {};  // symbols[code + offset[length]]
  uint8_t symbols[256] = {};
  bool ac = false, ok = false;

  Decoder(const HuffmanSpec& spec, bool is_ac) : ac(is_ac) {
    if (spec.counts == nullptr) return;
    std::copy(spec.symbols, spec.symbols + 256, symbols);
    int32_t code = 0, index = 0;
    for (int length = 1; length <= 16; ++length, code <<= 1) {
      const int32_t count = spec.counts[length];
      offset[length] = index - code;
      last[length] = count > 0 ? code + count - 1 : -1;
      if (code + count > 1 << length || index + count > 256) return;
      for (int32_t i = 0; i < count && length <= kLookBits; ++i) {
        const int32_t first = (code + i) << (kLookBits - length);
        const Entry entry = entry_of(symbols[index + i], length);
        std::fill_n(look.begin() + first, 1 << (kLookBits - length), entry);
      }
      code += count;
      index += count;
    }
    ok = index > 0;
  }

  // Length 0 for what a baseline block never holds.
  Entry entry_of(uint8_t symbol, int length) const {
    const int size = ac ? symbol & 15 : symbol, run = ac ? symbol >> 4 : 0;
    const bool legal = ac ? size > 0 ? size <= 10 : run == 0 || run == 15 : size <= 11;
    if (!legal) return {};
    const int advance = ac && symbol == 0 ? kEndOfBlock : run + 1;
    return {static_cast<uint8_t>(length), static_cast<uint8_t>(length + size),
            static_cast<uint8_t>(advance), symbol};
  }

  ALWAYS_INLINE Entry decode(uint64_t window) const {
    const Entry entry = look[window >> (64 - kLookBits)];
    return entry.length > 0 ? entry : decode_long(window);
  }

  __attribute__((noinline)) Entry decode_long(uint64_t window) const {
    for (int bits = kLookBits + 1; bits <= 16; ++bits) {
      const auto code = static_cast<int32_t>(window >> (64 - bits));
      if (code > last[bits]) continue;
      const int32_t index = code + offset[bits];
      return index < 0 || index > 255 ? Entry{} : entry_of(symbols[index], bits);
    }
    return {};
  }
};

// Symbols to codes.
struct Encoder {
  uint16_t code[256] = {};
  uint8_t length[256] = {};  // 0: no code

  explicit Encoder(const HuffmanSpec& spec) {
    int index = 0;
    uint32_t next = 0;
    for (int bits = 1; bits <= 16; ++bits, next <<= 1) {
      for (int i = 0; i < spec.counts[bits] && index < 256; ++i, ++index, ++next) {
        code[spec.symbols[index]] = static_cast<uint16_t>(next);
        length[spec.symbols[index]] = static_cast<uint8_t>(bits);
      }
    }
  }
};

// Whether one of the eight bytes is FF.
ALWAYS_INLINE bool has_ff(uint64_t bytes) {
  const uint64_t inverted = ~bytes;
  return ((inverted - 0x0101010101010101u) & ~inverted & 0x8080808080808080u) != 0;
}

// A value that is copied into registers for a block and back.
struct BitReader {
  const uint8_t* at;
  const uint8_t* end;
  uint64_t window = 0;          // the next bit is the highest
  int count = 0, borrowed = 0;  // bits in the window; those of them that the data does not have
  bool stopped = false;         // at a marker, or the end

  // At least 32 bits are in the window afterwards, zeros behind a marker.
  ALWAYS_INLINE void fill() {
    if (count >= 32) return;
    if (end - at >= 8) {
      uint64_t bytes;
      std::memcpy(&bytes, at, 8);
      if (!has_ff(bytes)) {
        window |= __builtin_bswap64(bytes) >> count;
        const int whole = (63 - count) >> 3;  // bytes that fit entirely
        at += whole;
        count += whole * 8;
        // Bits of a byte that was loaded in part are not counted, and must not stand in the way of
        // the next load.
        window &= ~uint64_t{0} << (64 - count);
        return;
      }
    }
    fill_by_bytes();
  }

  ALWAYS_INLINE void fill_by_bytes() {
    while (count <= 56) {
      uint64_t byte = 0;
      stopped = stopped || at >= end || (*at == 0xFF && (end - at < 2 || at[1] != 0));
      if (stopped) {
        borrowed += 8;
      } else {
        byte = *at;
        at += byte == 0xFF ? 2 : 1;
      }
      window |= byte << (56 - count);
      count += 8;
    }
  }

  ALWAYS_INLINE void skip(int bits) {
    window <<= bits;
    count -= bits;
  }
  // Whether bits were used that the data does not have.
  bool overrun() const { return borrowed > count; }

  // At the end of a run of MCUs: less than a byte may be left, and a marker must follow, which is
  // returned; else -1.
  int marker() {
    if (!stopped) fill_by_bytes();
    if (!stopped || count - borrowed >= 8) return -1;
    while (end - at >= 2 && at[0] == 0xFF && at[1] == 0xFF) at += 1;
    return end - at < 2 || at[0] != 0xFF ? -1 : at[1];
  }
  void pass_marker() {
    at += 2;
    window = 0;
    count = borrowed = 0;
    stopped = false;
  }
};

class BitWriter {
 public:
  explicit BitWriter(std::vector<uint8_t>* out) : out_(out), size_(out->size()) {}

  // Makes room for so many bits.
  void reserve(uint64_t bits) {
    const size_t worst = size_ + bits / 4 + 64;  // each byte may be stuffed
    if (worst > out_->size()) out_->resize(std::max(worst, out_->size() * 3 / 2));
  }
  ALWAYS_INLINE void put(uint32_t bits, int count) {  // count <= 32; bits has no others set
    window_ = window_ << count | bits;
    count_ += count;
    if (count_ < 32) return;
    count_ -= 32;
    const auto word = static_cast<uint32_t>(window_ >> count_);
    if (has_ff(word)) {
      put_bytes(word, 4);
    } else {
      const uint32_t bytes = __builtin_bswap32(word);
      std::memcpy(out_->data() + size_, &bytes, 4);
      size_ += 4;
    }
  }
  void finish() {
    reserve(64);
    const int padding = (8 - count_ % 8) % 8;
    window_ = window_ << padding | ((1u << padding) - 1);
    count_ += padding;
    put_bytes(window_, count_ / 8);
    count_ = 0;
    out_->resize(size_);
  }

 private:
  __attribute__((noinline)) void put_bytes(uint64_t bytes, int count) {
    for (int shift = 8 * (count - 1); shift >= 0; shift -= 8) {
      const auto byte = static_cast<uint8_t>(bytes >> shift);
      (*out_)[size_++] = byte;
      if (byte == 0xFF) (*out_)[size_++] = 0;
    }
  }
  std::vector<uint8_t>* out_;
  size_t size_;
  uint64_t window_ = 0;
  int count_ = 0;  // below 32
};

constexpr size_t kBlockWords = 53;  // 63 symbols of 26 bits, in words of 32

class LumaCopier {
 public:
  LumaCopier(const LumaScan& scan, std::vector<uint8_t>* out)
      : scan_(scan),
        reader_{scan.data.data, scan.data.data + scan.data.size},
        writer_(out),
        dc_out_(scan.dc_out) {
    for (const LumaScan::Component& component : scan.components) {
      dc_.emplace_back(component.dc, false);
      ac_.emplace_back(component.ac, true);
    }
  }

  bool run(bool (*more)(void*, uint32_t), void* context) {
    if (!prepare()) return false;
    for (uint32_t y = 0; y < mcus_down_; ++y) {
      if (!read_row() || !write_rows(y)) return false;
      if (!more(context, static_cast<uint32_t>(uint64_t{y} * 900 / mcus_down_))) return false;
    }
    writer_.finish();
    return reader_.marker() == 0xD9;
  }

 private:
  // A block of luma: its DC value, and its AC bits in words_.
  struct Block {
    int dc = 0;
    uint32_t bits = 0;
    size_t at = 0;
  };

  bool prepare() {
    for (size_t i = 0; i < dc_.size(); ++i) {
      if (!dc_[i].ok || !ac_[i].ok) return false;
    }
    for (int category = 0; category <= 11; ++category) {
      if (dc_out_.length[category] == 0) return false;
    }
    const bool alone = scan_.components.size() == 1;  // a lone component has one block a MCU
    h_ = alone ? 1 : static_cast<uint32_t>(scan_.components[0].h);
    v_ = alone ? 1 : static_cast<uint32_t>(scan_.components[0].v);
    mcus_across_ = (scan_.width + 8 * h_ - 1) / (8 * h_);
    mcus_down_ = (scan_.height + 8 * v_ - 1) / (8 * v_);
    blocks_.resize(size_t{mcus_across_} * h_ * v_);
    words_.resize(blocks_.size() * kBlockWords);
    return true;
  }

  bool restart() {
    if (scan_.restart_interval == 0 || mcus_read_ == 0 ||
        mcus_read_ % scan_.restart_interval != 0) {
      return true;
    }
    if (reader_.marker() != 0xD0 + static_cast<int>(next_restart_)) return false;
    next_restart_ = (next_restart_ + 1) & 7;
    reader_.pass_marker();
    std::fill(std::begin(predicted_), std::end(predicted_), 0);
    return true;
  }

  // Reads one row of MCUs; its luma blocks go to blocks_, in raster order.
  bool read_row() {
    size_t at = 0;
    for (uint32_t x = 0; x < mcus_across_; ++x, ++mcus_read_) {
      if (!restart()) return false;
      for (uint32_t k = 0; k < h_ * v_; ++k) {
        Block& block = blocks_[(k / h_) * mcus_across_ * h_ + x * h_ + k % h_];
        block.at = at;
        if (!read_luma(&block)) return false;
        at += kBlockWords;
      }
      for (size_t i = 1; i < scan_.components.size(); ++i) {
        const int blocks = scan_.components[i].h * scan_.components[i].v;
        for (int k = 0; k < blocks; ++k) {
          if (!skip_block(i)) return false;
        }
      }
      if (reader_.overrun()) return false;
    }
    return true;
  }

  // Adds the difference that stands here to the component's prediction.
  ALWAYS_INLINE bool read_dc(BitReader* reader, size_t component) {
    reader->fill();
    const Decoder::Entry entry = dc_[component].decode(reader->window);
    if (entry.length == 0) return false;
    const int category = entry.symbol;
    if (category > 0) {
      const auto bits = static_cast<int>(reader->window << entry.length >> (64 - category));
      const bool negative = bits < 1 << (category - 1);
      predicted_[component] += negative ? bits - (1 << category) + 1 : bits;
    }
    reader->skip(entry.total);
    // What libjpeg would refuse to keep in 16 bits.
    return predicted_[component] >= -32768 && predicted_[component] <= 32767;
  }

  bool read_luma(Block* block) {
    BitReader reader = reader_;
    if (!read_dc(&reader, 0)) return false;
    block->dc = predicted_[0];
    uint32_t* word = words_.data() + block->at;
    uint64_t window = 0;
    int count = 0;
    uint32_t bits = 0;
    int k = 1;
    while (k < 64) {
      reader.fill();
      const Decoder::Entry entry = ac_[0].decode(reader.window);
      if (entry.length == 0) return false;
      window = window << entry.total | reader.window >> (64 - entry.total);
      count += entry.total;
      bits += entry.total;
      if (count >= 32) {
        count -= 32;
        *word++ = static_cast<uint32_t>(window >> count);
      }
      reader.skip(entry.total);
      k += entry.advance;
    }
    *word = static_cast<uint32_t>(window & ((uint64_t{1} << count) - 1));
    block->bits = bits;
    reader_ = reader;
    return k == 64 || k >= kEndOfBlock;
  }

  bool skip_block(size_t component) {
    BitReader reader = reader_;
    if (!read_dc(&reader, component)) return false;
    const Decoder& table = ac_[component];
    int k = 1;
    while (k < 64) {
      reader.fill();
      const Decoder::Entry entry = table.decode(reader.window);
      if (entry.length == 0) return false;
      reader.skip(entry.total);
      k += entry.advance;
    }
    reader_ = reader;
    return k == 64 || k >= kEndOfBlock;
  }

  // The rows of blocks of these MCUs, without those blocks that only fill up the last MCUs.
  bool write_rows(uint32_t y) {
    const uint32_t across = (scan_.width + 7) / 8, down = (scan_.height + 7) / 8;
    for (uint32_t v = 0; v < v_ && y * v_ + v < down; ++v) {
      const Block* row = blocks_.data() + size_t{v} * mcus_across_ * h_;
      for (uint32_t x = 0; x < across; ++x) {
        if (!write_block(row[x])) return false;
      }
    }
    return true;
  }

  bool write_block(const Block& block) {
    const int difference = block.dc - written_;
    written_ = block.dc;
    const int magnitude = difference < 0 ? -difference : difference;
    const int category = magnitude == 0 ? 0 : 32 - __builtin_clz(static_cast<unsigned>(magnitude));
    if (category > 11) return false;
    const int bits = difference < 0 ? difference + (1 << category) - 1 : difference;
    writer_.reserve(block.bits + 64);
    writer_.put(uint32_t{dc_out_.code[category]} << category | static_cast<uint32_t>(bits),
                dc_out_.length[category] + category);
    const uint32_t* word = words_.data() + block.at;
    for (uint32_t left = block.bits; left >= 32; left -= 32) writer_.put(*word++, 32);
    writer_.put(*word, static_cast<int>(block.bits % 32));
    return true;
  }

  const LumaScan& scan_;
  BitReader reader_;
  BitWriter writer_;
  Encoder dc_out_;
  std::vector<Decoder> dc_, ac_;
  uint32_t h_ = 1, v_ = 1, mcus_across_ = 0, mcus_down_ = 0, next_restart_ = 0;
  uint64_t mcus_read_ = 0;
  int predicted_[4] = {};
  int written_ = 0;
  std::vector<Block> blocks_;    // of one row of MCUs
  std::vector<uint32_t> words_;  // their AC bits, kBlockWords for each
};

}  // namespace

bool copy_luma(const LumaScan& scan, std::vector<uint8_t>* out, bool (*more)(void*, uint32_t),
               void* context) {
  if (scan.components.empty() || scan.components.size() > 4) return false;
  const size_t before = out->size();
  const bool done = LumaCopier(scan, out).run(more, context);
  if (!done) out->resize(before);
  return done;
}

}  // namespace millrace
