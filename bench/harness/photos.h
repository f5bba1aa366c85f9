// Photos: one photograph as often as wanted, each time with other bytes and another result.
//
// It adds an Exif copyright line that holds a number. The same photograph again and again would be
// stored once and tell nothing about disks and buckets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace millrace {

class Photos {
 public:
  // `photo` is a JPEG.
  explicit Photos(const std::string& photo);

  // The photograph with this number; valid until the next call.
  const std::string& number(uint64_t number);

 private:
  std::string bytes_;
  size_t text_at_ = 0;
};

// The bytes of a file; empty when there is none.
std::string file_bytes(const std::string& path);

}  // namespace millrace
