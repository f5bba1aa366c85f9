// ThreadWorkers: steps run in threads of the server, for debugging a plugin (workers.isolation:
// thread).
//
// The same frames, slab and call code as with processes, but nothing can be killed: a call that
// overstays its timeout is reported as such and its thread goes on, and a crash is the server's.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <thread>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "engine/worker/call_ends.h"
#include "engine/worker/worker_link.h"
#include "engine/worker/worker_threads.h"

namespace millrace {
namespace {

constexpr int64_t kStopGraceUs = 20'000;
constexpr uint32_t kCpuSlots = 2;  // one runs, one waits behind it

// The worker's end: a thread that reads frames, and the threads that run them.
struct InServer : std::enable_shared_from_this<InServer> {
  InServer(int socket_end, std::unique_ptr<Slab> mapped, Lane lane)
      : socket(socket_end),
        slab(std::move(mapped)),
        area(slab.get()),
        replies(socket, &area, true),
        threads(&context, lane == Lane::kCpu ? 1 : SIZE_MAX) {}
  ~InServer() { close(socket); }

  void serve() {
    std::string buffer(kFrameBytesMax, '\0');
    for (;;) {
      const ssize_t got = recv(socket, buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return threads.end();
      FrameCutter cutter(buffer.data(), static_cast<size_t>(got));
      for (Frame frame; cutter.next(&frame);) threads.take(frame, shared_from_this());
    }
  }

  std::shared_ptr<const LoadedPlugins> plugins;
  int socket;
  std::unique_ptr<Slab> slab;
  OutputArea area;
  Replies replies;
  WorkerContext context;
  WorkerThreads threads;
};

class ThreadWorkers final : public Workers {
 public:
  explicit ThreadWorkers(const WorkerOptions& options)
      : options_(options), memory_(options.memory_budget_bytes, options.pixels_max) {
    buffer_.resize(kFrameBytesMax);
  }
  ~ThreadWorkers() override {
    if (epoll_ >= 0) close(epoll_);
  }

  Status open() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    plugins_ = std::make_shared<const LoadedPlugins>(load_plugins(options_.steps_directory));
    Declarations declarations = plugins_->declarations();
    problems_ = std::move(declarations.problems);
    catalogue_ = std::make_shared<const Catalogue>(std::move(declarations.steps));
    for (const Lane which : {Lane::kCpu, Lane::kIo}) {
      const auto& steps = catalogue_->steps();
      if (std::none_of(steps.begin(), steps.end(),
                       [&](const StepDecl& step) { return step.lane == which; })) {
        continue;
      }
      RETURN_IF_ERROR(start_plugins(*plugins_, which));
      RETURN_IF_ERROR(open_lane(which));
    }
    return {};
  }

  Status wait_loaded() override { return {}; }  // open() did
  std::shared_ptr<const Catalogue> catalogue() const override { return catalogue_; }
  const std::vector<PluginProblem>& problems() const override { return problems_; }
  uint32_t slots(Lane lane) const override {
    return lane == Lane::kCpu ? kCpuSlots : std::clamp(options_.io, 1u, kSlabSlots / 2);
  }

  void start(StepCall call) override {
    WaitingCall waiting;
    waiting.step_index = static_cast<uint32_t>(call.decl - catalogue_->steps().data());
    CHECK(waiting.step_index < catalogue_->steps().size());
    fill_defaults(*call.decl, &call.with);
    const Lane which = call.decl->lane;
    waiting.memory_bytes = memory_.need_of(*call.decl, call.with);
    waiting.call = std::move(call);
    waiting_[static_cast<int>(which)].push_back(std::move(waiting));
  }

  void flush() override {
    const int64_t now_us = monotonic_us();
    for (int i = 0; i < kLanes; i++) {
      Admission admission(&waiting_[i], &memory_);
      while (has_room(static_cast<Lane>(i))) {
        WaitingCall* waiting = admission.next();
        if (waiting == nullptr) break;
        const CallWritten written = links_[i]->take(waiting, 0, now_us);
        if (written == CallWritten::kNoRoom) break;
        if (written == CallWritten::kYes) {
          links_[i]->held().back().memory = admission.go();
        } else {
          end(waiting->call.ticket, unwritten_outcome(waiting->call, written), 0);
          admission.drop();
        }
      }
      // The threads' reader is quick; what does not fit now goes with the next turn.
      if (links_[i] != nullptr) links_[i]->flush();
    }
  }

  void stop(Ticket ticket) override {
    for (auto& queue : waiting_) {
      const auto it = std::find_if(queue.begin(), queue.end(), [&](const WaitingCall& waiting) {
        return waiting.call.ticket == ticket;
      });
      if (it == queue.end()) continue;
      end(ticket, stopped_outcome(it->call, false), 0);
      queue.erase(it);
      return;
    }
    for (const auto& link : links_) {
      for (size_t i = 0; link != nullptr && i < link->held().size(); i++) {
        WorkerLink::Held& held = link->held()[i];
        if (held.waiting.call.ticket != ticket || reported_.count(ticket) > 0) continue;
        WaitingCall waiting;
        if (link->revoke(i, &waiting)) return end(ticket, stopped_outcome(waiting.call, false), 0);
        held.stopping = true;
        link->ask_to_stop(held);
        give_up_at_[ticket] = monotonic_us() + kStopGraceUs;
        return;
      }
    }
  }

  int poll_fd() const override { return epoll_; }

  int64_t next_deadline_us() const override {
    if (!done_.empty()) return 0;
    int64_t next = INT64_MAX;
    for (const auto& [ticket, at_us] : give_up_at_) next = std::min(next, at_us);
    for (const auto& queue : waiting_) {
      for (const WaitingCall& waiting : queue) next = std::min(next, waiting.call.until_us);
    }
    for (const auto& link : links_) {
      if (link == nullptr) continue;
      next = std::min(next, link->tidy_at_us);
      for (const WorkerLink::Held& held : link->held()) {
        if (held.timed_out) continue;
        next =
            std::min(next, link->end_us(held, monotonic_us()) - stop_margin_us(held.waiting.call));
      }
    }
    return next;
  }

  void poll(std::vector<StepResult>* results) override {
    const int64_t now_us = monotonic_us();
    for (const auto& link : links_) {
      if (link == nullptr) continue;
      std::vector<WorkerLink::Reply> replies;
      CHECK(link->receive(&buffer_, &replies) == WorkerLink::Heard::kFine);
      for (WorkerLink::Reply& reply : replies) {
        const Ticket ticket = reply.held.waiting.call.ticket;
        give_up_at_.erase(ticket);
        if (reported_.erase(ticket) > 0) {
          came_back(link->lane);
          continue;
        }
        const int64_t run_us = reply.end.run_us;
        mean_us_ += (static_cast<double>(run_us) - mean_us_) / 16;
        end(ticket, replied_outcome(reply.held, std::move(reply.end), options_.budget), run_us);
      }
      for (size_t i = 0; i < link->held().size();) i += check(*link, i, now_us) ? 0 : 1;
      if (now_us >= link->tidy_at_us) link->tidy();
    }
    check_waiting(now_us);
    flush();
    std::move(done_.begin(), done_.end(), std::back_inserter(*results));
    done_.clear();
  }

  LaneStats stats(Lane lane) const override {
    LaneStats stats;
    const auto& link = links_[static_cast<int>(lane)];
    if (link == nullptr) return stats;
    stats.workers = lane == Lane::kCpu ? 1 : slots(lane);
    stats.busy = std::min(static_cast<uint32_t>(link->held().size()), stats.workers);
    stats.mean_run_seconds = mean_us_ / 1e6;
    if (lane == Lane::kCpu) {
      stats.memory = memory_stats(waiting_[static_cast<int>(lane)], memory_);
    }
    return stats;
  }
  bool stuck() const override { return false; }

 private:
  Status open_lane(Lane which) {
    int worker_socket = -1;
    auto made = WorkerLink::create(static_cast<uint64_t>(which) + 1,
                                   which == Lane::kCpu ? Crew::kCpu : Crew::kIo, &worker_socket);
    if (!made.ok()) return made.status();
    auto& link = links_[static_cast<int>(which)];
    link = std::move(made).value();
    link->state = WorkerLink::State::kReady;
    link->in_order = false;  // a call that does not end is overtaken
    auto mapped = Slab::map(dup(link->slab().descriptor()));
    if (!mapped.ok()) return mapped.status();
    auto worker = std::make_shared<InServer>(worker_socket, std::move(mapped).value(), which);
    worker->plugins = plugins_;
    worker->context.plugins = plugins_.get();
    worker->context.slab = worker->slab.get();
    worker->context.area = &worker->area;
    worker->context.replies = &worker->replies;
    worker->context.pixels_max = options_.pixels_max;
    worker->context.running = options_.running;
    if (which == Lane::kIo) worker->context.settings = options_.settings;
    inside_[static_cast<int>(which)] = worker;
    std::thread([worker] { worker->serve(); }).detach();
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, link->socket(), &event);
    return {};
  }

  void end(Ticket ticket, StepOutcome outcome, int64_t run_us) {
    done_.push_back({ticket, std::move(outcome), run_us});
  }

  bool has_room(Lane which) const {
    const auto& link = links_[static_cast<int>(which)];
    if (link == nullptr || link->held().size() >= kSlabSlots) return false;
    return link->held().size() - abandoned_[static_cast<int>(which)] < slots(which);
  }

  // Those that wait for a place have no time of their own yet, but may have a fixed end.
  void check_waiting(int64_t now_us) {
    for (auto& queue : waiting_) {
      std::erase_if(queue, [&](const WaitingCall& waiting) {
        if (now_us < waiting.call.until_us) return false;
        end(waiting.call.ticket, timeout_outcome(waiting.call), 0);
        return true;
      });
    }
  }

  // A call that was reported keeps its thread for as long as it likes; another one takes its place.
  void abandon(const WorkerLink& link, Ticket ticket) {
    reported_.insert(ticket);
    abandoned_[static_cast<int>(link.lane)]++;
    set_threads(link.lane);
  }
  void came_back(Lane lane) {
    abandoned_[static_cast<int>(lane)]--;
    set_threads(lane);
  }
  void set_threads(Lane lane) {
    if (lane != Lane::kCpu) return;  // the other lane has a thread for each call
    const auto& inside = inside_[static_cast<int>(lane)];
    inside->threads.set_threads_max(1 + abandoned_[static_cast<int>(lane)], inside);
  }

  // Asks a call whose time is nearly over to stop; at its end it is reported without it. True: it
  // had not begun, never will, and is not held any more.
  bool check(WorkerLink& link, size_t index, int64_t now_us) {
    WorkerLink::Held& held = link.held()[index];
    const StepCall& call = held.waiting.call;
    const int64_t end_us = link.end_us(held, now_us);
    if (!held.timed_out && now_us >= end_us - stop_margin_us(call)) {
      held.timed_out = true;
      link.ask_to_stop(held);
      give_up_at_.emplace(call.ticket, end_us);
    }
    const auto give_up = give_up_at_.find(call.ticket);
    if (give_up == give_up_at_.end() || now_us < give_up->second) return false;
    give_up_at_.erase(give_up);
    end(call.ticket, held.timed_out ? timeout_outcome(call) : stopped_outcome(call, true), 0);
    WaitingCall revoked;
    if (link.revoke(index, &revoked)) return true;
    abandon(link, call.ticket);
    return false;
  }

  const WorkerOptions options_;
  int epoll_ = -1;
  std::shared_ptr<const LoadedPlugins> plugins_;
  std::shared_ptr<const Catalogue> catalogue_;
  std::vector<PluginProblem> problems_;
  WorkerMemory memory_;  // before links_: their calls hold shares of it
  std::unique_ptr<WorkerLink> links_[kLanes];
  std::deque<WaitingCall> waiting_[kLanes];
  std::map<Ticket, int64_t> give_up_at_;
  std::set<Ticket> reported_;      // ended for the core, still running here
  size_t abandoned_[kLanes] = {};  // of each lane how many
  std::shared_ptr<InServer> inside_[kLanes];
  std::vector<StepResult> done_;
  std::string buffer_;
  double mean_us_ = 0;
};

}  // namespace

Result<std::unique_ptr<Workers>> start_thread_workers(const WorkerOptions& options) {
  auto workers = std::make_unique<ThreadWorkers>(options);
  RETURN_IF_ERROR(workers->open());
  return std::unique_ptr<Workers>(std::move(workers));
}

}  // namespace millrace
