#include "engine/base/crc32c.h"

#include <array>
#include <cstring>

namespace millrace {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // its bits from the lowest power on

// tables[k][b]: what the byte b does to a sum that k more bytes follow.
constexpr auto kTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t sum = byte;
    for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ ((sum & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = sum;
  }
  for (size_t k = 1; k < tables.size(); k++) {
    for (size_t byte = 0; byte < 256; byte++) {
      const uint32_t sum = tables[k - 1][byte];
      tables[k][byte] = (sum >> 8) ^ tables[0][sum & 0xff];
    }
  }
  return tables;
}();

uint32_t by_table(const char* at, size_t size, uint32_t sum) {
  for (; size >= 8; at += 8, size -= 8) {
    uint32_t next = 0;
    for (size_t i = 0; i < 8; i++) {
      const auto byte = static_cast<uint8_t>(at[i]);
      next ^= kTables[7 - i][i < 4 ? byte ^ (sum >> (8 * i) & 0xff) : byte];
    }
    sum = next;
  }
  for (; size > 0; at++, size--) {
    sum = (sum >> 8) ^ kTables[0][(sum ^ static_cast<uint8_t>(*at)) & 0xff];
  }
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t by_instruction(const char* at, size_t size,
                                                          uint32_t sum) {
  uint64_t wide = sum;
  for (; size >= 8; at += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, at, sizeof word);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  sum = static_cast<uint32_t>(wide);
  for (; size > 0; at++, size--) sum = __builtin_ia32_crc32qi(sum, static_cast<uint8_t>(*at));
  return sum;
}
#endif

}  // namespace

uint32_t crc32c_by_table(std::string_view data, uint32_t before) {
  return ~by_table(data.data(), data.size(), ~before);
}

uint32_t crc32c(std::string_view data, uint32_t before) {
#if defined(__x86_64__)
  static const bool known = __builtin_cpu_supports("sse4.2") != 0;
  if (known) return ~by_instruction(data.data(), data.size(), ~before);
#endif
  return crc32c_by_table(data, before);
}

}  // namespace millrace
