#include "steps/common/hevc_units.h"

namespace millrace {
namespace {

// Bits of a unit, without the bytes that keep start codes out of it. Behind the end they are 0.
class Bits {
 public:
  explicit Bits(ByteView unit) : unit_(unit) {}

  uint32_t bit() {
    if (left_ == 0) {
      zeros_ = byte_ == 0 && at_ > 0 ? zeros_ + 1 : 0;
      if (zeros_ >= 2 && unit_.u8(at_) == 3) {
        at_ += 1;
        zeros_ = 0;
      }
      if (at_ >= unit_.size) bad_ = true;
      byte_ = unit_.u8(at_++);
      left_ = 8;
    }
    return byte_ >> --left_ & 1;
  }
  uint32_t bits(int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 1 | bit();
    return value;
  }
  void skip(int count) {
    for (int i = 0; i < count; ++i) bit();
  }
  // Exp-Golomb.
  uint32_t golomb() {
    int zeros = 0;
    while (!bad_ && bit() == 0) {
      if (++zeros > 31) bad_ = true;
    }
    return bad_ ? 0 : (uint32_t{1} << zeros) - 1 + bits(zeros);
  }
  bool bad() const { return bad_; }

 private:
  ByteView unit_;
  uint64_t at_ = 0;
  uint32_t byte_ = 0;
  int left_ = 0, zeros_ = 0;
  bool bad_ = false;
};

void skip_profile(Bits* bits, uint32_t sub_layers) {
  bool profile[8] = {}, level[8] = {};
  bits->skip(88 + 8);
  for (uint32_t i = 0; i < sub_layers; ++i) {
    profile[i] = bits->bit() != 0;
    level[i] = bits->bit() != 0;
  }
  if (sub_layers > 0) bits->skip(2 * static_cast<int>(8 - sub_layers));
  for (uint32_t i = 0; i < sub_layers; ++i) {
    bits->skip((profile[i] ? 88 : 0) + (level[i] ? 8 : 0));
  }
}

}  // namespace

bool read_hevc_size(ByteView unit, HevcSize* size) {
  Bits bits(unit);
  bits.skip(16 + 4);
  const uint32_t sub_layers = bits.bits(3);
  bits.skip(1);
  if (sub_layers > 6) return false;
  skip_profile(&bits, sub_layers);
  bits.golomb();  // its number
  if (bits.golomb() == 3) bits.skip(1);
  size->width = bits.golomb();
  size->height = bits.golomb();
  return !bits.bad() && size->width > 0 && size->height > 0;
}

bool each_hevc_unit(ByteView bytes, unsigned length_size, const HevcVisit& visit) {
  for (uint64_t at = 0; at < bytes.size;) {
    uint64_t size = 0;
    if (!bytes.has(at, length_size)) return false;
    for (unsigned i = 0; i < length_size; ++i) size = size << 8 | bytes.u8(at + i);
    at += length_size;
    if (!bytes.has(at, size) || !visit(bytes.sub({at, size}))) return false;
    at += size;
  }
  return true;
}

bool each_configured_unit(ByteView config, const HevcVisit& visit) {
  uint64_t at = 23;
  for (uint32_t arrays = config.u8(22); arrays > 0; --arrays) {
    uint32_t count = config.be16(at + 1);
    if (!config.has(at, 3)) return false;
    for (at += 3; count > 0; --count) {
      const uint64_t size = config.be16(at);
      if (!config.has(at, 2) || !config.has(at + 2, size)) return false;
      if (!visit(config.sub({at + 2, size}))) return false;
      at += 2 + size;
    }
  }
  return true;
}

}  // namespace millrace
