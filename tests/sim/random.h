// Random: the simulator's only source of chance. The same seed gives the same numbers everywhere.
#pragma once

#include <cstdint>

#include "engine/base/check.h"

namespace millrace::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 0x1234567) {}

  uint64_t next() {  // splitmix64
    uint64_t x = (state_ += 0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
  }
  uint64_t below(uint64_t bound) {
    CHECK(bound > 0);
    return next() % bound;
  }
  bool chance(uint32_t percent) { return below(100) < percent; }

 private:
  uint64_t state_;
};

}  // namespace millrace::sim
