#include "engine/worker/worker_memory.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/limits.h"
#include "engine/worker/worker_link.h"

namespace millrace {
namespace {

// What a JSON parameter asks for is reckoned as if its picture had at least this shape, long side
// by short side: operations before the one that enlarges may have cut it so.
constexpr double kShapeUnseen = 4;

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

// Calls `visit` for each value inside a list or map, at any depth, with the name under which it
// stands in a map.
template <typename Visit>
void for_each_inside(const Value& whole, const Visit& visit) {
  std::vector<const Value*> left = {&whole};
  while (!left.empty()) {
    const Value& value = *left.back();
    left.pop_back();
    const auto found = [&](const std::string& name, const Value& inside) {
      visit(name, inside);
      left.push_back(&inside);
    };
    if (value.kind() == Value::Kind::kList) {
      for (const Value& inside : value.as_list()) found("", inside);
    } else if (value.kind() == Value::Kind::kMap) {
      for (const auto& [name, inside] : value.as_map()) found(name, inside);
    }
  }
}

bool is(const Value& value, const std::string& text) {
  bool any = false;
  switch (value.kind()) {
    case Value::Kind::kBool:
      return text == (value.as_bool() ? "true" : "false");
    case Value::Kind::kString:
      return value.as_string() == text;
    case Value::Kind::kBlob:
      return value.as_blob().media_type == text;
    case Value::Kind::kList:
    case Value::Kind::kMap:
      for_each_inside(value, [&](const std::string&, const Value& inside) {
        any = any || (inside.kind() == Value::Kind::kString && inside.as_string() == text);
      });
      return any;
    default:
      return false;
  }
}

double number_of(const Value& value) {
  if (value.kind() == Value::Kind::kInt) return static_cast<double>(value.as_int());
  return value.kind() == Value::Kind::kDouble ? value.as_double() : 0;
}

// The larger side that is asked for; 0: none is.
struct SideWanted {
  double most = 0;
  bool inside = false;  // of a JSON parameter: among what else it asks for
};

SideWanted side_wanted(const StepDecl& decl, const std::vector<Value>& with) {
  SideWanted side;
  for (const int port : {decl.result_width, decl.result_height}) {
    const auto at = static_cast<size_t>(port);
    if (port < 0 || at >= with.size()) continue;
    side.most = std::max(side.most, number_of(with[at]));
    for_each_inside(with[at], [&](const std::string& name, const Value& value) {
      if (name != "width" && name != "height") return;
      side.most = std::max(side.most, number_of(value));
      side.inside = true;
    });
  }
  return side;
}

// The most that comes out of so many pixels: as if the larger side that is asked for were to be the
// shorter one of the image, since its orientation may turn it.
uint64_t result_pixels(const StepDecl& decl, const std::vector<Value>& with, const BlobRef& image,
                       uint64_t pixels) {
  const SideWanted wanted = side_wanted(decl, with);
  const bool seen = image.width != 0 && image.height != 0;
  if (wanted.most <= 0 || (!seen && !wanted.inside)) return pixels;
  double shape = 1, frames = 1;
  if (seen) {
    const double width = image.width, height = image.height;
    shape = std::max(width, height) / std::min(width, height);
    frames = static_cast<double>(pixels) / (width * height);
  }
  if (wanted.inside) shape = std::max(shape, kShapeUnseen);
  const double most = frames * wanted.most * wanted.most * shape;
  const uint64_t asked = most < 1e18 ? static_cast<uint64_t>(most) + 1 : UINT64_MAX;
  // A list may ask for several sizes, the smaller one last.
  return wanted.inside ? std::max(asked, pixels) : asked;
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
