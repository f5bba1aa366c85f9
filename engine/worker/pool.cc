#include "engine/worker/pool.h"

#include <fmt/core.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "engine/worker/call_ends.h"

namespace millrace {
namespace {

constexpr int64_t kLoadTimeoutUs = 60'000'000;
constexpr int64_t kWindowUs = 2000;  // of work that one cpu worker may hold
constexpr int64_t kUnknownEstimateUs = 500;
constexpr int64_t kStuckBehindUs = 1000;  // a step that runs longer lets others be taken back
constexpr int64_t kStopGraceUs = 20'000;  // after the wish to stop
constexpr int64_t kSharedStopGraceUs = 1'000'000;  // in a process whose other calls would suffer
constexpr uint64_t kTemplateId = 0;
constexpr double kMeanWeight = 1.0 / 16;

constexpr Crew kAllCrews[] = {Crew::kCpu, Crew::kIo, Crew::kOnce};

void mix(double* mean, double value) {
  *mean = *mean <= 0 ? value : *mean + (value - *mean) * kMeanWeight;
}

}  // namespace

Crew crew_of(const StepDecl& decl) {
  if (decl.lane == Lane::kCpu) return Crew::kCpu;
  return decl.effect == Effect::kOnce ? Crew::kOnce : Crew::kIo;
}

WorkerPool::WorkerPool(const WorkerOptions& options)
    : options_(options),
      template_(options.executable, options.steps_directory),
      memory_(options.memory_budget_bytes, options.pixels_max) {
  buffer_.resize(kFrameBytesMax);
}

WorkerPool::~WorkerPool() {
  if (epoll_ >= 0) close(epoll_);
}

Result<std::unique_ptr<Workers>> WorkerPool::begin(const WorkerOptions& options) {
  auto pool = std::unique_ptr<WorkerPool>(new WorkerPool(options));
  pool->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (pool->epoll_ < 0) {
    return Status::unavailable(errors::kWorkersUnavailable,
                               fmt::format("no epoll descriptor: {}", strerror(errno)));
  }
  RETURN_IF_ERROR(pool->template_.spawn());
  return std::unique_ptr<Workers>(std::move(pool));
}

Status WorkerPool::wait_loaded() {
  CHECK(catalogue_ == nullptr);
  RETURN_IF_ERROR(template_.wait_loaded(kLoadTimeoutUs));
  RETURN_IF_ERROR(load_catalogue());
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kTemplateId;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, template_.socket(), &event);
  const int64_t now_us = monotonic_us();
  ensure_workers(now_us);
  note_health(now_us);
  compute_next_check(now_us);
  return {};
}

Status WorkerPool::load_catalogue() {
  first_json_ = template_.declarations_json();
  auto declarations = declarations_from_json(first_json_);
  if (!declarations.ok()) return declarations.status();
  problems_ = std::move(declarations->problems);
  for (const StepDecl& step : declarations->steps) {
    if (step.lane == Lane::kCpu) {
      crew(Crew::kCpu).wanted = std::max(options_.cpu, 1u);
    } else {
      crew(Crew::kIo).wanted = 1;
    }
    for (const auto& setting : options_.settings) {
      const bool declared = std::find(step.settings.begin(), step.settings.end(), setting.first) !=
                            step.settings.end();
      if (declared && std::find(settings_.begin(), settings_.end(), setting) == settings_.end()) {
        settings_.push_back(setting);
      }
    }
  }
  step_mean_us_.assign(declarations->steps.size(), -1);
  catalogue_ = std::make_shared<const Catalogue>(std::move(declarations->steps));
  return {};
}

uint32_t WorkerPool::slots(Lane which) const {
  if (which == Lane::kIo) return std::min(std::max(options_.io, 1u), kSlabSlots / 2);
  const double mean_us = crew(Crew::kCpu).mean_us;
  const double window = mean_us <= 0 ? 2 : static_cast<double>(kWindowUs) / std::max(mean_us, 1.0);
  const auto deep = static_cast<uint32_t>(std::clamp(window, 1.0, double{kCpuWindowMax}));
  return std::max(options_.cpu, 1u) * (deep + 1);
}

void WorkerPool::start(StepCall call) {
  const auto& steps = catalogue_->steps();
  CHECK(call.decl >= steps.data() && call.decl < steps.data() + steps.size());
  WaitingCall waiting;
  waiting.step_index = static_cast<uint32_t>(call.decl - steps.data());
  fill_defaults(*call.decl, &call.with);
  with_end_ += call.until_us != INT64_MAX ? 1 : 0;
  const Crew which = crew_of(*call.decl);
  waiting.memory_bytes = memory_.need_of(*call.decl, call.with);
  waiting.call = std::move(call);
  crew(which).waiting.push_back(std::move(waiting));
}

int64_t WorkerPool::estimate_us(uint32_t step_index) const {
  const double mean_us = step_mean_us_[step_index];
  return mean_us < 0 ? kUnknownEstimateUs : static_cast<int64_t>(mean_us) + 1;
}

bool WorkerPool::has_room(WorkerLink& link) const {
  if (link.state != WorkerLink::State::kReady && link.state != WorkerLink::State::kStarting) {
    return false;
  }
  const size_t held = link.held().size();
  if (link.crew == Crew::kOnce) return held == 0;
  if (link.lane == Lane::kIo) return held < slots(Lane::kIo);
  return held < 2 || (link.load_us < kWindowUs && held < kCpuWindowMax + 1);
}

WorkerLink* WorkerPool::place_for(Crew which) {
  WorkerLink* best = nullptr;
  for (const LinkPointer& link : links_) {
    if (link->crew != which || !has_room(*link)) continue;
    if (best == nullptr || link->load_us < best->load_us) best = link.get();
  }
  return best;
}

void WorkerPool::dispatch(Crew which, int64_t now_us) {
  Admission admission(&crew(which).waiting, &memory_);
  while (WorkerLink* link = place_for(which)) {
    WaitingCall* waiting = admission.next();
    if (waiting == nullptr) return;
    const CallWritten written = link->take(waiting, estimate_us(waiting->step_index), now_us);
    if (written == CallWritten::kNoRoom) return;
    if (written == CallWritten::kYes) {
      link->held().back().memory = admission.go();
    } else {
      finish(*waiting, unwritten_outcome(waiting->call, written), 0);
      admission.drop();
    }
  }
}

void WorkerPool::send(WorkerLink& link, int64_t /*now_us*/) {
  if (!link.has_unsent() || link.socket() < 0) return;
  if (link.flush() == WorkerLink::Heard::kGone) {
    // What it said before it went is still to be read; its end is heard there.
    watch(link, EPOLLIN);
  } else if (link.has_unsent()) {
    watch(link, EPOLLIN | EPOLLOUT);
  }
}

void WorkerPool::watch(WorkerLink& link, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = link.id;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, link.socket(), &event);
}

void WorkerPool::flush() {
  const int64_t now_us = monotonic_us();
  if (!crew(Crew::kOnce).waiting.empty()) ensure_workers(now_us);
  for (const Crew which : kAllCrews) dispatch(which, now_us);
  for (const LinkPointer& link : links_) send(*link, now_us);
  compute_next_check(now_us);
}

void WorkerPool::stop(Ticket ticket) {
  for (CrewState& state : crews_) {
    for (auto it = state.waiting.begin(); it != state.waiting.end(); ++it) {
      if (it->call.ticket != ticket) continue;
      finish(*it, stopped_outcome(it->call, false), 0);
      state.waiting.erase(it);
      return;
    }
  }
  const int64_t now_us = monotonic_us();
  for (const LinkPointer& link : links_) {
    for (size_t i = 0; i < link->held().size(); i++) {
      WorkerLink::Held& held = link->held()[i];
      if (held.waiting.call.ticket != ticket) continue;
      WaitingCall waiting;
      if (link->revoke(i, &waiting)) {
        return finish(waiting, stopped_outcome(waiting.call, false), 0);
      }
      held.stopping = true;
      link->ask_to_stop(held);
      // What a pure step would still say is of no use to anybody; an effect's end is the worker's.
      const bool pure = held.waiting.call.decl->effect == Effect::kPure;
      held.report_at_us = pure ? now_us + kStopGraceUs : INT64_MAX;
      held.kill_at_us =
          now_us + (link->crew == Crew::kIo || !pure ? kSharedStopGraceUs : kStopGraceUs);
      compute_next_check(now_us);
      return;
    }
  }
}

void WorkerPool::finish(const WaitingCall& waiting, StepOutcome outcome, int64_t run_us) {
  with_end_ -= waiting.call.until_us != INT64_MAX ? 1 : 0;
  done_.push_back({waiting.call.ticket, std::move(outcome), run_us});
}

void WorkerPool::end_call(WorkerLink& link, WorkerLink::Reply reply) {
  const WorkerLink::Held& held = reply.held;
  const WaitingCall& waiting = held.waiting;
  const int64_t run_us = std::clamp<int64_t>(reply.end.run_us, 0, monotonic_us() - held.sent_us);
  mix(&step_mean_us_[waiting.step_index], static_cast<double>(run_us));
  mix(&crew(link.crew).mean_us, static_cast<double>(run_us));
  if (!held.reported)
    finish(waiting, replied_outcome(held, std::move(reply.end), options_.budget), run_us);
}

void WorkerPool::hear(WorkerLink& link, int64_t now_us) {
  const WorkerLink::State before = link.state;
  replies_.clear();
  const WorkerLink::Heard heard = link.receive(&buffer_, &replies_);
  for (WorkerLink::Reply& reply : replies_) {
    end_call(link, std::move(reply));
  }
  replies_.clear();
  if (link.state != before) {
    changed_ = true;
    crew(link.crew).failures = 0;
    if (!suspects_.empty() && link.lane == Lane::kIo && link.calls > 1000) suspects_.clear();
  }
  if (heard == WorkerLink::Heard::kGarbage) {
    close_link(link, "it sent what is not the protocol of workers");
  } else if (heard == WorkerLink::Heard::kGone) {
    close_link(link, link.words);
  } else {
    retire_if_done(link);
    if (link.has_unsent()) {
      send(link, now_us);
      if (!link.has_unsent()) watch(link, EPOLLIN);
    }
  }
}

WorkerLink* WorkerPool::find(uint64_t id) {
  for (const LinkPointer& link : links_) {
    if (link->id == id) return link.get();
  }
  return nullptr;
}

// A call that waits behind a long step goes to a worker that has nothing to do, nor gets anything
// of the queue, where only those are left that wait for memory. True: there is something to
// dispatch.
bool WorkerPool::take_back_stuck(int64_t now_us) {
  bool idle = false, any = false;
  for (const LinkPointer& link : links_) {
    idle = idle || (link->lane == Lane::kCpu && link->held().empty() && has_room(*link));
  }
  if (!idle) return false;
  for (const LinkPointer& link : links_) {
    auto& held = link->held();
    if (link->lane != Lane::kCpu || held.size() < 2 || !link->begun(held.front())) continue;
    if (now_us - link->begun_us(held.front(), now_us) < kStuckBehindUs) continue;
    WaitingCall waiting;
    while (held.size() > 1 && link->revoke(held.size() - 1, &waiting)) {
      crew(Crew::kCpu).waiting.push_front(std::move(waiting));
      any = true;
    }
  }
  return any;
}

void WorkerPool::poll(std::vector<StepResult>* results) {
  epoll_event events[64];
  const int count = epoll_wait(epoll_, events, 64, 0);
  const int64_t now_us = monotonic_us();
  bool from_template = false;
  for (int i = 0; i < count; i++) {
    if (events[i].data.u64 == kTemplateId) {
      from_template = true;
    } else if (WorkerLink* link = find(events[i].data.u64)) {
      hear(*link, now_us);
    }
  }
  // Last, so that a dead worker's words are heard before its death is judged.
  if (from_template || !template_.running()) on_template(now_us);
  if (now_us >= next_check_us_) check_deadlines(now_us);
  if (changed_ || now_us >= next_check_us_) {
    changed_ = false;
    ensure_workers(now_us);
    note_health(now_us);
  }
  for (const Crew which : kAllCrews) {
    if (crew(which).waiting.empty()) continue;
    dispatch(which, now_us);
  }
  if (take_back_stuck(now_us)) dispatch(Crew::kCpu, now_us);
  for (const LinkPointer& link : links_) send(*link, now_us);
  compute_next_check(now_us);
  std::move(done_.begin(), done_.end(), std::back_inserter(*results));
  done_.clear();
}

LaneStats WorkerPool::stats(Lane which) const {
  LaneStats stats;
  const CrewState& state = crew(which == Lane::kCpu ? Crew::kCpu : Crew::kIo);
  stats.mean_run_seconds = state.mean_us / 1e6;
  for (const LinkPointer& link : links_) {
    if (link->lane != which || link->state == WorkerLink::State::kClosing) continue;
    const auto held = static_cast<uint32_t>(link->held().size());
    if (which == Lane::kCpu) {
      stats.workers++;
      stats.busy += held > 0 ? 1 : 0;
    } else {
      stats.busy += held;
    }
  }
  if (which == Lane::kIo) stats.workers = state.wanted > 0 ? slots(which) : 0;
  if (which == Lane::kCpu) stats.memory = memory_stats(state.waiting, memory_);
  return stats;
}

Result<std::unique_ptr<Workers>> begin_process_workers(const WorkerOptions& options) {
  return WorkerPool::begin(options);
}

Result<std::unique_ptr<Workers>> start_process_workers(const WorkerOptions& options) {
  auto workers = begin_process_workers(options);
  if (workers.ok()) RETURN_IF_ERROR((*workers)->wait_loaded());
  return workers;
}

}  // namespace millrace
