// Bytes: an immutable run of bytes with shared ownership, and ByteBudget, the bound on how many are
// resident.
//
// A Bytes is cheap to copy (a pointer, a length and a reference); what it points to never changes
// while any copy lives, whoever owns it: a std::string, a mapped file, a buffer charged to a
// budget.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace millrace {

class Bytes {
 public:
  Bytes() = default;
  // Takes the string over; no copy. [any]
  static Bytes of(std::string text);
  // Refers to memory that `owner` keeps alive and nobody changes. [any]
  Bytes(std::shared_ptr<const void> owner, const uint8_t* data, size_t size)
      : owner_(std::move(owner)), data_(data), size_(size) {}

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // False for a default-constructed Bytes: "not in memory", which is not the same as "no bytes".
  bool present() const { return owner_ != nullptr; }
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }
  // By which a blob store knows bytes of its own again.
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  std::shared_ptr<const void> owner_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// How many bytes of uploads and results may be resident at once. Charged as they arrive, released
// when the last Bytes that holds them goes. Thread-safe.
class ByteBudget {
 public:
  explicit ByteBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  // True and charged when `size` more bytes stay within the limit; else nothing changes. [any]
  bool try_charge(uint64_t size);
  // Charges without asking: for results, whose producers are already bounded by the workers'
  // number. [any]
  void charge(uint64_t size) { used_bytes_.fetch_add(size, std::memory_order_relaxed); }
  void release(uint64_t size) { used_bytes_.fetch_sub(size, std::memory_order_relaxed); }
  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  uint64_t limit_bytes() const { return limit_bytes_; }

 private:
  const uint64_t limit_bytes_;
  std::atomic<uint64_t> used_bytes_{0};
};

// Bytes that release their size to `budget` when the last copy goes. The charge must already have
// been made. [any]
Bytes charged_bytes(std::string data, std::shared_ptr<ByteBudget> budget);

}  // namespace millrace
