#include "engine/worker/worker_link.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/time.h"

namespace millrace {
namespace {

constexpr int kSocketBufferBytes = 1 << 20;
constexpr int64_t kTidyAfterUs = 100'000;  // under load the pages are wanted again at once
constexpr uint32_t kSequenceMask = 0x3fff'ffff;

}  // namespace

WorkerLink::WorkerLink(uint64_t link_id, Crew link_crew, int socket, std::unique_ptr<Slab> slab)
    : id(link_id),
      crew(link_crew),
      lane(lane_of(link_crew)),
      socket_(socket),
      slab_(std::move(slab)) {
  for (uint32_t slot = kSlabSlots; slot > 0; slot--) free_slots_.push_back(slot - 1);
}

WorkerLink::~WorkerLink() {
  close_socket();
  if (pidfd >= 0) close(pidfd);
}

Result<std::unique_ptr<WorkerLink>> WorkerLink::create(uint64_t id, Crew crew, int* worker_socket) {
  auto slab = Slab::create();
  if (!slab.ok()) return slab.status();
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Status::unavailable(errors::kWorkersUnavailable,
                               fmt::format("no socket for a worker: {}", strerror(errno)));
  }
  for (const int socket : sockets) {
    setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSocketBufferBytes, sizeof kSocketBufferBytes);
  }
  fcntl(sockets[0], F_SETFL, fcntl(sockets[0], F_GETFL) | O_NONBLOCK);
  *worker_socket = sockets[1];
  return std::unique_ptr<WorkerLink>(new WorkerLink(id, crew, sockets[0], std::move(slab).value()));
}

void WorkerLink::send_setup(uint64_t pixels_max, const Settings& settings,
                            const std::vector<PathGrant>& paths) {
  FrameWriter frame(&packets_.emplace_back());
  frame.begin(FrameKind::kSetup, 0);
  frame.u64(pixels_max);
  frame.u32(static_cast<uint32_t>(settings.size()));
  for (const auto& [key, json] : settings) {
    frame.text(key);
    frame.text(json);
  }
  frame.u32(static_cast<uint32_t>(paths.size()));
  for (const PathGrant& grant : paths) {
    frame.u8(grant.change ? 1 : 0);
    frame.text(grant.path);
  }
  frame.end();
  packets_.emplace_back();
}

CallWritten WorkerLink::take(WaitingCall* waiting, int64_t estimate_us, int64_t now_us) {
  CHECK(!free_slots_.empty());
  Held held;
  held.slot = free_slots_.back();
  held.sequence = next_sequence_;
  held.sent_us = now_us;
  held.estimate_us = estimate_us;
  if (packets_.empty()) packets_.emplace_back();
  std::string* packet = &packets_.back();
  const size_t before = packet->size();
  const CallWritten written =
      write_call(waiting->call, {waiting->step_index, held.slot, held.sequence}, slab_.get(),
                 &regions_, packet, &held.regions);
  if (written != CallWritten::kYes) {
    if (packet->empty()) packets_.pop_back();
    return written;
  }
  if (before > 0 && packet->size() > kPacketBytesMax) {
    std::string last = packet->substr(before);
    packet->resize(before);
    packets_.push_back(std::move(last));
  }
  SlabSlot& slot = slot_of(held);
  slot.cancel.store(0, std::memory_order_relaxed);
  slot.state.store(slot_state(held.sequence, SlotPhase::kQueued), std::memory_order_release);
  free_slots_.pop_back();
  next_sequence_ = (next_sequence_ + 1) & kSequenceMask;
  held.waiting = std::move(*waiting);
  load_us += estimate_us;
  calls++;
  held_.push_back(std::move(held));
  return written;
}

WorkerLink::Heard WorkerLink::flush() {
  while (!packets_.empty() && socket_ >= 0) {
    const std::string& packet = packets_.front();
    if (!packet.empty() && send(socket_, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK ? Heard::kFine : Heard::kGone;
    }
    if (packets_.size() == 1) {
      packets_.clear();
    } else {
      packets_.pop_front();
    }
  }
  return Heard::kFine;
}

bool WorkerLink::begun(const Held& held) {
  return slot_of(held).state.load(std::memory_order_acquire) ==
         slot_state(held.sequence, SlotPhase::kBegun);
}

int64_t WorkerLink::begun_us(const Held& held, int64_t now_us) {
  return std::clamp(slot_of(held).begun_us.load(std::memory_order_relaxed), held.sent_us,
                    std::max(now_us, held.sent_us));
}

int64_t WorkerLink::end_us(const Held& held, int64_t now_us) {
  const int64_t from_us = begun(held) ? begun_us(held, now_us) : now_us;
  return std::min(from_us + held.waiting.call.timeout_ms * 1000, held.waiting.call.until_us);
}

void WorkerLink::ask_to_stop(const Held& held) {
  slot_of(held).cancel.store(1, std::memory_order_relaxed);
}

bool WorkerLink::revoke(size_t index, WaitingCall* waiting) {
  const Held& held = held_[index];
  uint32_t expected = slot_state(held.sequence, SlotPhase::kQueued);
  if (!slot_of(held).state.compare_exchange_strong(
          expected, slot_state(held.sequence, SlotPhase::kRevoked), std::memory_order_acq_rel)) {
    return false;
  }
  *waiting = std::move(remove(index).waiting);
  return true;
}

WorkerLink::Held WorkerLink::remove(size_t index) {
  Held held = std::move(held_[index]);
  if (index == 0) {
    held_.pop_front();
  } else {
    held_.erase(held_.begin() + static_cast<ptrdiff_t>(index));
  }
  for (const Extent& region : held.regions) regions_.release(region.offset, region.size);
  free_slots_.push_back(held.slot);
  load_us -= held.estimate_us;
  if (held_.empty()) plan_tidy();
  return held;
}

// First what is more than the next call is likely to want, then all of it.
void WorkerLink::plan_tidy() {
  const uint64_t high = regions_.high();
  if (high <= kSlabHeaderBytes) return;
  const bool much = high > kSlabHeaderBytes + kSlabKeptBytes;
  tidy_at_us = monotonic_us() + (much ? kTidyAfterUs : kSlabRestMs * int64_t{1000});
}

void WorkerLink::tidy() {
  tidy_at_us = INT64_MAX;
  if (!held_.empty()) return;
  const uint64_t high = regions_.high();
  uint64_t keep = kSlabHeaderBytes + kSlabKeptBytes;
  if (high <= keep) keep = kSlabHeaderBytes;
  slab_->forget(keep, high - keep);
  regions_.reset_high(keep);
  plan_tidy();
}

void WorkerLink::close_socket() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

void WorkerLink::kill_now() {
  killed_by_us = true;
  if (pidfd >= 0) syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
}

// Everything the worker says about where its bytes lie is checked before a byte is touched.
bool WorkerLink::copy_out(CallEnd* end) {
  uint64_t total = 0;
  const auto copy = [&](Piece* piece) {
    if (piece->extents.empty()) return piece->size == piece->bytes.size();
    uint64_t sum = 0;
    for (const Extent& extent : piece->extents) {
      if (extent.offset < kSlabOutputAt || extent.size > kSlabOutputBytes ||
          extent.offset > kSlabBytes - extent.size) {
        return false;
      }
      sum += extent.size;
    }
    total += sum;
    if (sum != piece->size || total > kSlabOutputBytes) return false;
    piece->bytes.reserve(sum);
    for (const Extent& extent : piece->extents) {
      piece->bytes.append(reinterpret_cast<const char*>(slab_->at(extent.offset)), extent.size);
    }
    piece->extents.clear();
    return true;
  };
  for (CallOutput& output : end->outputs) {
    if (!copy(&output.piece)) return false;
  }
  for (CallResult& result : end->results) {
    if (!copy(&result.piece)) return false;
  }
  return true;
}

bool WorkerLink::on_reply(const Frame& frame, std::vector<Reply>* replies) {
  size_t index = 0;
  while (index < held_.size() && held_[index].waiting.call.ticket != frame.ticket) index++;
  if (index == held_.size() || (in_order && index != 0)) return false;
  const StepDecl& decl = *held_[index].waiting.call.decl;
  CallEnd end;
  if (!read_reply(frame.reader(), decl.outputs.size(), decl.results.size(), &end) ||
      !copy_out(&end)) {
    return false;
  }
  slab_->header().consumed.store(++consumed_, std::memory_order_release);
  replies->push_back({remove(index), std::move(end)});
  return true;
}

WorkerLink::Heard WorkerLink::on_frame(const Frame& frame, std::vector<Reply>* replies) {
  switch (frame.kind) {
    case FrameKind::kReady:
      if (state == State::kStarting) state = State::kReady;
      return Heard::kFine;
    case FrameKind::kRefused:
      words = frame.reader().text();
      return Heard::kGone;
    case FrameKind::kReply:
      return on_reply(frame, replies) ? Heard::kFine : Heard::kGarbage;
    default:
      return Heard::kGarbage;
  }
}

WorkerLink::Heard WorkerLink::receive(std::string* buffer, std::vector<Reply>* replies) {
  while (socket_ >= 0) {
    const ssize_t got = recv(socket_, buffer->data(), buffer->size(), MSG_TRUNC);
    if (got < 0 && errno == EINTR) continue;
    // It ended with calls unread; that is told once, and before what it had said.
    if (got < 0 && errno == ECONNRESET) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Heard::kFine;
    if (got <= 0) return Heard::kGone;
    if (static_cast<size_t>(got) > buffer->size()) return Heard::kGarbage;
    FrameCutter cutter(buffer->data(), static_cast<size_t>(got));
    for (Frame frame; cutter.next(&frame);) {
      const Heard heard = on_frame(frame, replies);
      if (heard != Heard::kFine) return heard;
    }
    if (cutter.malformed()) return Heard::kGarbage;
    if (held_.empty() && state == State::kReady) return Heard::kFine;  // nothing else can come
  }
  return Heard::kGone;
}

}  // namespace millrace
