#include "engine/worker/worker_call.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "engine/base/limits.h"
#include "engine/base/time.h"

namespace millrace {
namespace {

constexpr int kPacketRepliesMax = 64;

bool inside_inputs(const Extent& extent) {
  return extent.offset >= kSlabHeaderBytes && extent.size <= kSlabInputBytes &&
         extent.offset <= kSlabOutputAt - extent.size;
}

// Maps a file of exactly `size` bytes; null when it cannot be, MAP_FAILED's place.
const uint8_t* map_file(const char* path, uint64_t size) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return nullptr;
  struct stat info {};
  void* data = MAP_FAILED;
  if (fstat(file, &info) == 0 && static_cast<uint64_t>(info.st_size) == size) {
    data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  }
  close(file);
  return data == MAP_FAILED ? nullptr : static_cast<const uint8_t*>(data);
}

}  // namespace

int Replies::add(uint64_t ticket, CallEnd* end) {
  area_->finish(end);
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t before = packet_.size();
  write_reply(ticket, *end, &packet_);
  if (before > 0 && (packet_.size() > kPacketBytesMax || unsent_ >= kPacketRepliesMax)) {
    // The new reply goes into a packet of its own.
    std::string last = packet_.substr(before);
    packet_.resize(before);
    flush_locked();
    packet_ = std::move(last);
  }
  area_->sent(++added_, *end);
  return ++unsent_;
}

void Replies::flush() {
  const std::lock_guard<std::mutex> lock(mutex_);
  flush_locked();
}

void Replies::flush_locked() {
  if (packet_.empty()) return;
  if (!send_packet(socket_, packet_, nullptr, 0) && !in_server_) _exit(0);
  packet_.clear();
  unsent_ = 0;
  flushes_++;
}

void Replies::guard() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (watched_ || packet_.empty()) return;
  watched_ = true;
  if (!watcher_) {
    watcher_ = true;
    std::thread([this] { watch(); }).detach();
  }
  to_watch_.notify_one();
}

void Replies::watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  std::condition_variable nobody;
  for (;;) {
    to_watch_.wait(lock, [this] { return watched_; });
    while (watched_) {
      const uint64_t seen = flushes_;
      nobody.wait_for(lock, std::chrono::milliseconds(1));
      if (packet_.empty()) {
        watched_ = false;
      } else if (flushes_ == seen) {
        flush_locked();
      }
    }
  }
}

void CallBody::unmap() {
  for (const auto& [data, size] : mapped_) munmap(data, size);
  mapped_.clear();
}

bool CallBody::read_input(FrameReader* reader, WorkerContext* context, mr_blob* blob) {
  *blob = mr_blob{};
  blob->size_of = sizeof *blob;
  WirePiece piece;
  if (!read_piece(reader, 1, &piece)) return false;
  if (piece.where == PieceWhere::kAbsent) return true;
  blob->present = 1;
  blob->size = piece.size;
  blob->data = reinterpret_cast<const uint8_t*>(piece.text.data());
  if (piece.where == PieceWhere::kSlab) {
    if (piece.extents.size() != 1 || !inside_inputs(piece.extents[0])) return false;
    blob->data = context->slab->at(piece.extents[0].offset);
    large_ = true;
  } else if (piece.where == PieceWhere::kPath) {
    blob->path = piece.text.data();
    blob->data = reinterpret_cast<const uint8_t*>("");
    if (piece.size > 0) {
      blob->data = map_file(blob->path, piece.size);
      if (blob->data == nullptr) {
        unreadable_ = blob->path;
      } else {
        mapped_.emplace_back(const_cast<uint8_t*>(blob->data), piece.size);
      }
    }
  }
  blob->media_type = reader->text().data();
  const std::string_view digest = reader->text();
  blob->digest = digest.empty() ? nullptr : digest.data();
  blob->width = reader->u32();
  blob->height = reader->u32();
  return reader->ok();
}

bool CallBody::read_param(FrameReader* reader, WorkerContext* context, mr_value* value) {
  *value = mr_value{};
  value->size_of = sizeof *value;
  value->kind = reader->u8();
  switch (value->kind) {
    case MR_VALUE_ABSENT:
      return reader->ok();
    case MR_VALUE_BOOL:
    case MR_VALUE_INT:
      value->i = reader->i64();
      return reader->ok();
    case MR_VALUE_FLOAT:
      value->d = reader->f64();
      return reader->ok();
    case MR_VALUE_STRING:
    case MR_VALUE_JSON:
      break;
    default:
      return false;
  }
  WirePiece piece;
  if (!read_piece(reader, 1, &piece)) return false;
  value->n = piece.size;
  value->s = piece.text.data();
  if (piece.where == PieceWhere::kSlab) {
    if (piece.extents.size() != 1 || !inside_inputs(piece.extents[0])) return false;
    value->s = reinterpret_cast<const char*>(context->slab->at(piece.extents[0].offset));
  }
  return piece.where == PieceWhere::kInline || piece.where == PieceWhere::kSlab;
}

bool CallBody::read(const Frame& frame, WorkerContext* context) {
  unmap();
  unreadable_.clear();
  large_ = false;
  FrameReader reader = frame.reader();
  step_index_ = reader.u32();
  slot_ = reader.u32();
  sequence_ = reader.u32();
  if (!reader.ok() || step_index_ >= context->plugins->steps.size() || slot_ >= kSlabSlots) {
    return false;
  }
  const LoadedStep& step = context->plugins->steps[step_index_];
  input_.step = &step;
  input_.attempt = reader.u32();
  noted_.place = reader.u32();
  noted_.deaths = reader.u32();
  input_.timeout_ms = reader.i64();
  input_.job = reader.text().data();
  input_.step_id = reader.text().data();
  const std::string_view key = reader.text();
  input_.effect_key = key.empty() ? nullptr : key.data();
  input_.pixels_max = context->pixels_max;
  input_.settings = &context->settings;
  input_.cancel = &context->slab->header().slots[slot_].cancel;
  input_.inputs.resize(step.decl.inputs.size());
  input_.params.resize(step.decl.params.size());
  for (mr_blob& blob : input_.inputs) {
    if (!read_input(&reader, context, &blob)) return false;
  }
  for (mr_value& value : input_.params) {
    if (!read_param(&reader, context, &value)) return false;
  }
  return reader.at_end();
}

bool CallBody::begin(WorkerContext* context) {
  SlabSlot& slot = context->slab->header().slots[slot_];
  slot.begun_us.store(monotonic_us(), std::memory_order_relaxed);
  uint32_t expected = slot_state(sequence_, SlotPhase::kQueued);
  return slot.state.compare_exchange_strong(expected, slot_state(sequence_, SlotPhase::kBegun),
                                            std::memory_order_acq_rel);
}

}  // namespace millrace
