// crc32c: the checksum of stored records (Castagnoli's polynomial, as in iSCSI and ext4).
//
// It finds every flip of up to three bits in what we store and every damage within 32 bits in a
// row, and misses any other once in four thousand million; it keeps nobody out who means harm.
// x86-64 has an instruction for it; elsewhere tables give the same sums.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

// The checksum of `data`, or of what `before` is the checksum of with `data` behind it. [any]
uint32_t crc32c(std::string_view data, uint32_t before = 0);

// The same without the instruction; for machines that lack it, and for tests. [any]
uint32_t crc32c_by_table(std::string_view data, uint32_t before = 0);

}  // namespace millrace
