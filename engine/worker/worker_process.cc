#include "engine/worker/worker_process.h"

#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <mutex>

#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "engine/worker/death_notes.h"
#include "engine/worker/output_area.h"
#include "engine/worker/sandbox.h"
#include "engine/worker/wire.h"
#include "engine/worker/worker_call.h"
#include "engine/worker/worker_threads.h"

namespace millrace {
namespace {

constexpr int kRepliesPerPacket = 16;
constexpr int64_t kReplyDelayUsMax = 200;
constexpr int64_t kQuickStepUs = 100;
constexpr int64_t kSpinUs = 50;
constexpr int kTidyAfterMs = 50;
constexpr int64_t kLargeWorkUs = 2000;  // steps that run so long may leave memory behind

// Reads packets; while there is something to tidy it wakes after a pause, and once more when the
// pause is a long one; else it only blocks.
class Inbox {
 public:
  Inbox(int socket, OutputArea* area) : socket_(socket), area_(area) {
    buffer_.resize(kFrameBytesMax);
  }

  // The next packet if one is here already, else 0. Ends the process when the server is gone.
  size_t next_now() { return receive(MSG_DONTWAIT); }
  // Blocks until there is one.
  size_t next(bool worked_hard) {
    worked_ = worked_ || worked_hard;
    keeps_ = keeps_ || worked_hard;
    while (worked_ && quiet(kTidyAfterMs)) {
      worked_ = !area_->tidy(kSlabKeptBytes);
      malloc_trim(0);
    }
    while (!worked_ && keeps_ && quiet(kSlabRestMs)) keeps_ = !area_->tidy(0);
    return receive(0);
  }
  const char* data() const { return buffer_.data(); }

 private:
  // Whether nothing came for so long.
  bool quiet(int for_ms) const {
    pollfd ready{socket_, POLLIN, 0};
    return poll(&ready, 1, for_ms) == 0;
  }
  size_t receive(int flags) {
    for (;;) {
      const ssize_t got = recv(socket_, buffer_.data(), buffer_.size(), flags);
      if (got > 0) return static_cast<size_t>(got);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
      _exit(0);
    }
  }
  int socket_;
  OutputArea* area_;
  std::string buffer_;
  bool worked_ = false;  // and has not tidied up
  bool keeps_ = false;   // pages for the next call
};

[[noreturn]] void refuse(int socket, const std::string& message) {
  std::string packet;
  FrameWriter frame(&packet);
  frame.begin(FrameKind::kRefused, 0);
  frame.text(message);
  frame.end();
  send_packet(socket, packet, nullptr, 0);
  _exit(1);
}

void read_setup(FrameReader reader, WorkerContext* context, std::vector<PathGrant>* paths) {
  context->pixels_max = reader.u64();
  const uint32_t count = reader.u32();
  for (uint32_t i = 0; i < count && reader.ok(); i++) {
    std::string key(reader.text());
    context->settings.emplace_back(std::move(key), std::string(reader.text()));
  }
  for (uint32_t left = reader.u32(); left > 0 && reader.ok(); left--) {
    const bool change = reader.u8() != 0;
    paths->push_back({std::string(reader.text()), change});
  }
}

// After quick steps the next ones are likely to be on their way: to sleep and to be woken costs
// more than to look for them for as long. Only ever follows work, so that an idle worker sleeps.
size_t spin(Inbox* inbox) {
  const int64_t until_us = monotonic_us() + kSpinUs;
  size_t size = 0;
  while (size == 0 && monotonic_us() < until_us) size = inbox->next_now();
  return size;
}

// One step at a time. Replies of quick steps travel together; a finished one never waits for a slow
// step behind it.
[[noreturn]] void serve_cpu(WorkerContext* context, Inbox* inbox, uint32_t step_cores) {
  const SignalStack stack;
  std::vector<int64_t> last_run_us(context->plugins->steps.size(), INT64_MAX);
  CpuAllowance allowance(step_cores);
  CallBody body;
  CallEnd end;
  bool worked_hard = false;
  int64_t first_unsent_us = 0;
  int unsent = 0;
  for (;;) {
    size_t size = inbox->next_now();
    if (size == 0) {
      context->replies->flush();
      if (unsent > 0 && !worked_hard) size = spin(inbox);
      unsent = 0;
      if (size == 0) size = inbox->next(worked_hard);
      worked_hard = false;
    }
    FrameCutter cutter(inbox->data(), size);
    for (Frame frame; cutter.next(&frame);) {
      if (frame.kind != FrameKind::kCall || !body.read(frame, context)) abort();
      if (!body.begin(context)) continue;
      int64_t* last = &last_run_us[body.step_index()];
      if (unsent > 0) {
        if (*last > kQuickStepUs) {
          context->replies->flush();
          unsent = 0;
        } else {
          context->replies->guard();
        }
      }
      allowance.allow(body.input().timeout_ms);
      context->slab->header().refused_call.store(0, std::memory_order_relaxed);
      run_step(body.input(), context->area, &end);
      if (end.status == MR_FAILED) end.message += refusal_words(context->slab->header());
      *last = end.run_us;
      worked_hard = worked_hard || end.run_us > kLargeWorkUs || body.large();
      // To fill memory takes its time; to look costs as much as the quickest steps do.
      const bool look = end.run_us > kQuickStepUs || end.status == MR_FAILED;
      const bool full = look && memory_is_full();
      unsent = context->replies->add(frame.ticket, &end);
      const int64_t now_us = monotonic_us();
      if (unsent == 1) first_unsent_us = now_us;
      const bool once = body.input().step->decl.effect == Effect::kOnce;
      if (full || once || unsent >= kRepliesPerPacket ||
          now_us - first_unsent_us > kReplyDelayUsMax) {
        context->replies->flush();
        unsent = 0;
      }
      if (full) retire_with_full_memory();  // what it holds would fail the next
    }
    if (cutter.malformed()) abort();
  }
}

[[noreturn]] void serve_io(WorkerContext* context, Inbox* inbox) {
  WorkerThreads threads(context);
  for (;;) {
    const size_t size = inbox->next(true);
    FrameCutter cutter(inbox->data(), size);
    for (Frame frame; cutter.next(&frame);) threads.take(frame);
    if (cutter.malformed()) abort();
  }
}

}  // namespace

void worker_process_main(const WorkerStart& start) {
  auto mapped = Slab::map(start.slab);
  if (!mapped.ok()) refuse(start.socket, mapped.status().message());
  std::unique_ptr<Slab> slab = std::move(mapped).value();
  slab->close_descriptor();
  close_other_descriptors({start.socket});
  OutputArea area(slab.get());
  Replies replies(start.socket, &area);
  WorkerContext context;
  context.plugins = start.plugins;
  context.slab = slab.get();
  context.area = &area;
  context.replies = &replies;
  Inbox inbox(start.socket, &area);

  FrameCutter cutter(inbox.data(), inbox.next(false));
  Frame frame;
  if (!cutter.next(&frame) || frame.kind != FrameKind::kSetup || !cutter.at_end()) abort();
  SandboxPlan plan;
  plan.lane = start.lane;
  plan.memory_bytes_max = start.limits.memory_bytes_max;
  read_setup(frame.reader(), &context, &plan.paths);
  const Status started = start_plugins(*start.plugins, start.lane);
  if (!started.ok()) refuse(start.socket, started.message());
  write_death_notes(slab.get(), start.lane == Lane::kCpu);
  const auto layers = enter_sandbox(plan);
  if (!layers.ok()) refuse(start.socket, layers.status().message());
  std::string packet;
  FrameWriter ready(&packet);
  ready.begin(FrameKind::kReady, 0);
  ready.end();
  if (!send_packet(start.socket, packet, nullptr, 0)) _exit(0);
  if (start.lane == Lane::kCpu) serve_cpu(&context, &inbox, start.limits.step_cores);
  serve_io(&context, &inbox);
}

}  // namespace millrace
