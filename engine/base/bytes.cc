#include "engine/base/bytes.h"

#include "engine/base/check.h"

namespace millrace {

Bytes Bytes::of(std::string text) {
  auto owner = std::make_shared<const std::string>(std::move(text));
  const auto* data = reinterpret_cast<const uint8_t*>(owner->data());
  const size_t size = owner->size();
  return {std::move(owner), data, size};
}

bool ByteBudget::try_charge(uint64_t size) {
  uint64_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (size > limit_bytes_ || used > limit_bytes_ - size) return false;
  } while (!used_bytes_.compare_exchange_weak(used, used + size, std::memory_order_relaxed));
  return true;
}

Bytes charged_bytes(std::string data, std::shared_ptr<ByteBudget> budget) {
  struct Charged {
    std::string data;
    std::shared_ptr<ByteBudget> budget;
    ~Charged() { budget->release(data.size()); }
  };
  CHECK(budget != nullptr);
  auto owner = std::make_shared<Charged>();
  owner->data = std::move(data);
  owner->budget = std::move(budget);
  const auto* bytes = reinterpret_cast<const uint8_t*>(owner->data.data());
  const size_t size = owner->data.size();
  return {std::move(owner), bytes, size};
}

}  // namespace millrace
