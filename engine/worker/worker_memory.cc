#include "engine/worker/worker_memory.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/limits.h"
#include "engine/worker/worker_link.h"

namespace millrace {
namespace {

uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

uint64_t plus(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

// Over all frames, as a step said that has seen the image. Nobody looks at the bytes here: the
// server parses no image.
uint64_t pixels_of(const BlobRef& blob) {
  if (blob.width != 0) return std::max(blob.pixels, uint64_t{blob.width} * blob.height);
  return times(blob.content->size_bytes, kPixelsPerByteUnseen);
}

bool is(const Value& value, const std::string& text) {
  switch (value.kind()) {
    case Value::Kind::kBool:
      return text == (value.as_bool() ? "true" : "false");
    case Value::Kind::kString:
      return value.as_string() == text;
    case Value::Kind::kBlob:
      return value.as_blob().media_type == text;
    default:
      return false;
  }
}

}  // namespace

uint64_t WorkerMemory::need_of(const StepDecl& decl, const std::vector<Value>& with) const {
  uint64_t per_pixel = decl.memory_per_pixel;
  for (const MemoryDecl& more : decl.memory) {
    const auto port = static_cast<size_t>(more.port);
    if (port < with.size() && is(with[port], more.value)) {
      per_pixel = std::max(per_pixel, more.per_pixel);
    }
  }
  uint64_t pixels = 0;
  const size_t inputs = std::min(decl.inputs.size(), with.size());
  for (size_t i = 0; i < inputs && per_pixel > 0; i++) {
    if (with[i].kind() != Value::Kind::kBlob) continue;
    pixels = plus(pixels, std::min(pixels_of(with[i].as_blob()), pixels_max_));
  }
  return std::min(plus(decl.memory_base, times(pixels, per_pixel)), bytes_max_);
}

WorkerMemory::Share WorkerMemory::take(uint64_t bytes) {
  CHECK(has_room(bytes));
  reserved_bytes_ += bytes;
  return {this, bytes};
}

WaitingCall* Admission::next() {
  for (; at_ < queue_->size(); at_++) {
    WaitingCall& call = (*queue_)[at_];
    if (call.memory_bytes == 0) return &call;
    const bool may_overtake =
        first_waiting_ == SIZE_MAX || (*queue_)[first_waiting_].overtaken < kMemoryOvertakesMax;
    if (may_overtake && memory_->has_room(call.memory_bytes)) return &call;
    first_waiting_ = std::min(first_waiting_, at_);
  }
  return nullptr;
}

WorkerMemory::Share Admission::go() {
  const uint64_t bytes = (*queue_)[at_].memory_bytes;
  if (bytes > 0 && first_waiting_ != SIZE_MAX) (*queue_)[first_waiting_].overtaken++;
  drop();
  return memory_->take(bytes);
}

void Admission::drop() {
  queue_->erase(queue_->begin() + static_cast<ptrdiff_t>(at_));
}

MemoryStats memory_stats(const std::deque<WaitingCall>& queue, const WorkerMemory& memory) {
  const auto first = std::find_if(queue.begin(), queue.end(), [&](const WaitingCall& call) {
    return !memory.has_room(call.memory_bytes);
  });
  const auto waiting = std::count_if(first, queue.end(),
                                     [](const WaitingCall& call) { return call.memory_bytes > 0; });
  return {memory.reserved_bytes(), memory.bytes_max(), static_cast<uint32_t>(waiting)};
}

}  // namespace millrace
