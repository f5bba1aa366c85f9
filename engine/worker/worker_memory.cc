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

// The larger side that is asked for; 0: none is.
double side_wanted(const StepDecl& decl, const std::vector<Value>& with) {
  double most = 0;
  for (const int port : {decl.result_width, decl.result_height}) {
    const auto at = static_cast<size_t>(port);
    if (port < 0 || at >= with.size() || with[at].kind() != Value::Kind::kInt) continue;
    most = std::max(most, static_cast<double>(with[at].as_int()));
  }
  return most;
}

// The most that comes out of so many pixels: as if the larger side that is asked for were to be the
// shorter one of the image, since its orientation may turn it.
uint64_t result_pixels(const StepDecl& decl, const std::vector<Value>& with, const BlobRef& image,
                       uint64_t pixels) {
  const double wanted = side_wanted(decl, with);
  const uint32_t shorter = std::min(image.width, image.height);
  if (wanted <= 0 || shorter == 0) return pixels;
  const double scale = wanted / shorter;
  const double most = static_cast<double>(pixels) * scale * scale;
  return most < 1e18 ? static_cast<uint64_t>(most) + 1 : UINT64_MAX;
}

}  // namespace

uint64_t WorkerMemory::need_of(const StepDecl& decl, const std::vector<Value>& with) const {
  PixelMemory memory = decl.memory;
  for (const MemoryDecl& more : decl.more_memory) {
    const auto port = static_cast<size_t>(more.port);
    if (port >= with.size() || !is(with[port], more.value)) continue;
    memory.per_pixel = std::max(memory.per_pixel, more.memory.per_pixel);
    memory.per_result_pixel = std::max(memory.per_result_pixel, more.memory.per_result_pixel);
  }
  uint64_t need = decl.memory_base;
  const size_t inputs = std::min(decl.inputs.size(), with.size());
  for (size_t i = 0; i < inputs; i++) {
    if (with[i].kind() != Value::Kind::kBlob) continue;
    const BlobRef& image = with[i].as_blob();
    const uint64_t pixels = std::min(pixels_of(image), pixels_max_);
    const uint64_t result = std::min(result_pixels(decl, with, image, pixels), pixels_max_);
    need = plus(need, times(pixels, memory.per_pixel));
    need = plus(need, times(result, memory.per_result_pixel));
  }
  return std::min(need, bytes_max_);
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
