// The CRC of PNG chunks (that of zlib), eight bytes a step.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

uint32_t crc32(const uint8_t* data, size_t size);

}  // namespace millrace
