// The pool's other half: workers are made, watched, killed and replaced here.
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "engine/worker/call_ends.h"
#include "engine/worker/death_notes.h"
#include "engine/worker/pool.h"

namespace millrace {
namespace {

constexpr int64_t kStuckUs = 10'000'000;
constexpr int64_t kBackoffFirstUs = 50'000;
constexpr int64_t kBackoffMaxUs = 2'000'000;
constexpr int64_t kRecheckUs = 1'000'000;
constexpr int64_t kStuckBehindUs = 1000;
constexpr uint32_t kLostMax = 3;
constexpr size_t kSuspectsMax = 1000;

int64_t backoff_us(int failures) {
  return std::min(kBackoffFirstUs << std::clamp(failures - 1, 0, 16), kBackoffMaxUs);
}

std::string suspect_name(const StepCall& call) {
  return call.job + "/" + call.step;
}

}  // namespace

void WorkerPool::ensure_workers(int64_t now_us) {
  if (!template_.running() && now_us >= template_spawn_at_us_ && template_.reap()) {
    template_spawn_at_us_ = INT64_MAX;
    if (template_.spawn().ok()) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = 0;
      epoll_ctl(epoll_, EPOLL_CTL_ADD, template_.socket(), &event);
    } else {
      template_spawn_at_us_ = now_us + backoff_us(++template_failures_);
    }
  }
  if (!template_.loaded()) return;
  for (const Crew which : {Crew::kCpu, Crew::kIo, Crew::kOnce}) {
    uint32_t alive = 0;
    for (const LinkPointer& link : links_) {
      const bool counts =
          link->state == WorkerLink::State::kStarting || link->state == WorkerLink::State::kReady;
      alive += link->crew == which && counts ? 1 : 0;
    }
    for (; alive < wanted(which) && now_us >= crew(which).spawn_at_us; alive++) {
      if (!spawn(which, now_us)) break;
    }
  }
}

uint32_t WorkerPool::wanted(Crew which) const {
  if (which != Crew::kOnce) return crew(which).wanted;
  auto count = static_cast<uint32_t>(crew(which).waiting.size());
  for (const LinkPointer& link : links_) {
    const bool works = link->state != WorkerLink::State::kClosing && !link->held().empty();
    count += link->crew == which && works ? 1 : 0;
  }
  return std::min(count, slots(Lane::kIo));
}

WorkerLimits WorkerPool::limits_of(Crew which) const {
  WorkerLimits limits = options_.worker_limits;
  if (which != Crew::kCpu) limits.memory_bytes_max += kIoStackBytes * slots(Lane::kIo);
  return limits;
}

bool WorkerPool::spawn(Crew which, int64_t now_us) {
  int worker_socket = -1;
  auto made = WorkerLink::create(next_id_, which, &worker_socket);
  bool ok = made.ok();
  if (ok) {
    WorkerLink& link = **made;
    ok = template_.fork_worker(link.id, lane_of(which), limits_of(which), worker_socket,
                               link.slab().descriptor());
    link.slab().close_descriptor();
    close(worker_socket);
  }
  if (!ok) {
    spawn_failed(which, now_us);
    return false;
  }
  next_id_++;
  LinkPointer link = std::move(made).value();
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = link->id;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, link->socket(), &event);
  link->send_setup(options_.pixels_max, lane_of(which) == Lane::kIo ? settings_ : Settings{},
                   options_.io_paths);
  links_.push_back(std::move(link));
  send(*links_.back(), now_us);
  return true;
}

void WorkerPool::spawn_failed(Crew which, int64_t now_us) {
  CrewState& state = crew(which);
  state.spawn_at_us = now_us + backoff_us(++state.failures);
}

void WorkerPool::on_template(int64_t now_us) {
  std::vector<TemplateLink::Event> events;
  template_.receive(&events);
  for (const TemplateLink::Event& event : events) {
    using Kind = TemplateLink::Event::Kind;
    WorkerLink* link = find(event.worker);
    changed_ = true;
    switch (event.kind) {
      case Kind::kForked:
        if (link == nullptr) {
          if (event.pidfd >= 0) close(event.pidfd);
          break;
        }
        link->pid = event.pid;
        link->pidfd = event.pidfd;
        if (link->state == WorkerLink::State::kClosing) kill_now(*link);
        break;
      case Kind::kForkFailed:
        if (link != nullptr) {
          link->words = fmt::format("fork: {}", strerror(event.status));
          resolve(*link, 0, now_us);
        }
        break;
      case Kind::kExited:
        if (link != nullptr) resolve(*link, event.status, now_us);
        break;
      case Kind::kLoaded:
        if (template_.declarations_json() == first_json_) {
          template_failures_ = 0;
          break;
        }
        log_event(LogLevel::kError, "workers.plugins_changed",
                  {{"steps", options_.steps_directory},
                   {"hint",
                    "the plugins on disk are not those that the server started with; "
                    "restart the server"}});
        template_.kill_it();
        break;
      case Kind::kDied:
        log_event(LogLevel::kWarning, "workers.template_died");
        resolve_all(now_us);
        template_spawn_at_us_ = now_us + backoff_us(++template_failures_);
        break;
    }
  }
}

// The worker may live on for a moment; its end comes from the template. Whose fault it is must be
// seen now when it is ours to end it: it goes on until the kill.
void WorkerPool::close_link(WorkerLink& link, const std::string& words) {
  link.words = words;
  if (!words.empty()) {
    const int culprit = culprit_of(link);
    if (culprit >= 0) link.culprit = link.held()[static_cast<size_t>(culprit)].waiting.call.ticket;
  }
  link.state = WorkerLink::State::kClosing;
  link.close_socket();
  kill_now(link);
  changed_ = true;
}

// A pidfd is lost when descriptors are used up at the moment it comes; the worker's parent needs
// none. One that does not even take the request has to go, and its workers go with it.
void WorkerPool::kill_now(WorkerLink& link) {
  link.kill_now();
  const bool no_handle = link.pid > 0 && link.pidfd < 0;
  if (no_handle && template_.running() && !template_.kill_worker(link.id)) template_.kill_it();
}

StepOutcome WorkerPool::death_outcome(const WorkerLink& link, const WorkerLink::Held& held,
                                      const std::string& how) const {
  const StepCall& call = held.waiting.call;
  if (held.timed_out) return timeout_outcome(call);
  if (held.stopping) return stopped_outcome(call, true);
  return died_outcome(call, link.pid, how);
}

// The index of the call whose fault the worker's death is, or -1.
int WorkerPool::culprit_of(WorkerLink& link) {
  auto& held = link.held();
  const uint32_t named = link.slab().header().culprit.load();
  int begun = 0, last = -1, unlucky = -1;
  for (size_t i = 0; i < held.size(); i++) {
    const int index = static_cast<int>(i);
    if (link.killed_by_us && (held[i].timed_out || held[i].stopping)) return index;
    if (held[i].waiting.call.ticket == link.culprit && link.culprit != 0) return index;
    if (held[i].waiting.lost >= kLostMax && unlucky < 0) unlucky = index;
    if (!link.begun(held[i])) continue;
    if (link.lane == Lane::kIo && held[i].slot + 1 == named) return index;
    begun++;
    last = index;
  }
  if (begun == 0) return unlucky;
  // One at a time: those before the last have ended, only their replies are lost.
  if (begun == 1 || link.lane == Lane::kCpu) return last;
  // Nobody knows who. One that was there the last time too is it.
  for (size_t i = 0; i < held.size(); i++) {
    if (suspects_.count(suspect_name(held[i].waiting.call)) > 0) return static_cast<int>(i);
  }
  return -1;
}

// Between two calls, for want of memory. One that has not ended any says so without a reason: a
// call that hid its beginning would go round for ever.
bool WorkerPool::has_retired(WorkerLink& link, int status) {
  const auto& held = link.held();
  return says_it_retired(status, link.slab().header()) && link.calls > held.size() &&
         std::none_of(held.begin(), held.end(), [&](const auto& call) { return link.begun(call); });
}

void WorkerPool::requeue(WaitingCall waiting) {
  const Crew which = crew_of(*waiting.call.decl);
  crew(which).waiting.push_front(std::move(waiting));
}

// The worker is gone for good: says how each of its calls ended, or queues it again.
void WorkerPool::resolve(WorkerLink& link, int status, int64_t now_us) {
  if (link.socket() >= 0) hear(link, now_us);  // what it said last
  const bool was_ready = link.state == WorkerLink::State::kReady ||
                         link.state == WorkerLink::State::kRetiring || !link.held().empty();
  std::string how = link.words.empty() ? how_it_died(status, link.slab().header()) : link.words;
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  // Whoever hears of its end by its socket kills it as well: that alone says nothing of a step.
  const bool overstayed = std::any_of(link.held().begin(), link.held().end(), [](const auto& held) {
    return held.timed_out || held.stopping;
  });
  if (link.words.empty() && link.killed_by_us && killed && overstayed) {
    how = "killed because a step overstayed its time or would not stop";
  }
  const bool retired = has_retired(link, status);
  const int culprit = retired ? -1 : culprit_of(link);
  if (!link.held().empty() || retired || !link.words.empty()) {
    log_event(LogLevel::kWarning, "worker.died",
              {{"pid", link.pid}, {"lane", lane_name(link.lane)}, {"how", how}});
  }
  if (culprit >= 0) {
    WorkerLink::Held held = link.remove(static_cast<size_t>(culprit));
    suspects_.erase(suspect_name(held.waiting.call));
    report(held, death_outcome(link, held, how), now_us - held.sent_us);
  }
  while (!link.held().empty()) {
    const size_t last = link.held().size() - 1;  // from behind, so that they stay in order
    const bool begun = link.begun(link.held()[last]);
    const bool over = begun && link.end_us(link.held()[last], now_us) <= now_us;
    WorkerLink::Held held = link.remove(last);
    if (held.reported) continue;
    if (over) {
      finish(held.waiting, timeout_outcome(held.waiting.call), 0);
    } else if (begun && held.waiting.call.decl->effect == Effect::kOnce) {
      // It may have happened; nobody but a person may repeat it.
      finish(held.waiting, death_outcome(link, held, how), 0);
    } else if (begun && link.lane == Lane::kIo) {
      if (culprit < 0 && suspects_.size() < kSuspectsMax) {
        suspects_.insert(suspect_name(held.waiting.call));
      }
      finish(held.waiting, requeued_outcome("another step brought the shared worker down"), 0);
    } else {
      held.waiting.lost += retired ? 0 : 1;
      requeue(std::move(held.waiting));
    }
  }
  if (!was_ready) spawn_failed(link.crew, now_us);
  const uint64_t id = link.id;
  links_.erase(std::find_if(links_.begin(), links_.end(),
                            [id](const LinkPointer& other) { return other->id == id; }));
  changed_ = true;
}

// The template died, and all workers with it: nobody's fault.
void WorkerPool::resolve_all(int64_t now_us) {
  while (!links_.empty()) {
    WorkerLink& link = *links_.back();
    if (link.socket() >= 0) hear(link, now_us);
    link.close_socket();
    link.kill_now();
    while (!link.held().empty()) {
      const size_t last = link.held().size() - 1;
      const bool begun = link.begun(link.held()[last]);
      WorkerLink::Held held = link.remove(last);
      if (held.reported) continue;
      if (!begun) {
        requeue(std::move(held.waiting));
        continue;
      }
      StepOutcome outcome = requeued_outcome("the template process of the workers died");
      if (held.timed_out || held.stopping) outcome = death_outcome(link, held, "");
      finish(held.waiting, std::move(outcome), 0);
    }
    links_.pop_back();
  }
}

void WorkerPool::retire_if_done(WorkerLink& link) {
  const bool idle_once = link.crew == Crew::kOnce && link.held().empty() && link.calls > 0 &&
                         crew(Crew::kOnce).waiting.empty();
  if (link.state == WorkerLink::State::kReady && (link.calls >= kStepsBeforeRecycle || idle_once)) {
    link.state = WorkerLink::State::kRetiring;
    changed_ = true;
  }
  // Its socket closed, it ends by itself, and the template says so.
  if (link.state == WorkerLink::State::kRetiring && link.held().empty() && !link.has_unsent()) {
    link.close_socket();
  }
}

// The core is told an end once; what the worker says later is for nobody.
void WorkerPool::report(WorkerLink::Held& held, StepOutcome outcome, int64_t run_us) {
  if (held.reported) return;
  held.reported = true;
  finish(held.waiting, std::move(outcome), run_us);
}

// No call goes there any more; what it said before is still heard, and its end resolves the rest.
void WorkerPool::kill_link(WorkerLink& link) {
  kill_now(link);
  link.state = WorkerLink::State::kClosing;
  changed_ = true;
}

void WorkerPool::check_held(WorkerLink& link, WorkerLink::Held& held, int64_t now_us) {
  const StepCall& call = held.waiting.call;
  const int64_t end_us = link.end_us(held, now_us);
  if (!held.timed_out && now_us >= end_us - stop_margin_us(call)) {
    held.timed_out = true;
    link.ask_to_stop(held);
  }
  if (now_us >= held.report_at_us) report(held, stopped_outcome(call, true), 0);
  if (now_us < std::min(end_us, held.kill_at_us)) return;
  if (link.state != WorkerLink::State::kClosing) kill_link(link);
  // An effect may still happen until its process is gone; then resolve() says how it ended.
  if (call.decl->effect == Effect::kPure) {
    report(held, death_outcome(link, held, ""), now_us - link.begun_us(held, now_us));
  }
}

void WorkerPool::check_link(WorkerLink& link, int64_t now_us) {
  auto& held = link.held();
  for (size_t i = 0; i < held.size();) {
    if (link.begun(held[i])) {
      check_held(link, held[i++], now_us);
      continue;
    }
    // Behind another one, or on its way: only an end that is fixed can have come.
    WaitingCall waiting;
    if (now_us >= held[i].waiting.call.until_us && link.revoke(i, &waiting)) {
      finish(waiting, timeout_outcome(waiting.call), 0);
      continue;
    }
    if (with_end_ == 0 && link.lane == Lane::kCpu) break;
    i++;
  }
  if (now_us >= link.tidy_at_us) link.tidy();
}

void WorkerPool::check_waiting(int64_t now_us) {
  if (with_end_ == 0) return;
  for (CrewState& state : crews_) {
    for (size_t i = 0; i < state.waiting.size();) {
      if (now_us < state.waiting[i].call.until_us) {
        i++;
        continue;
      }
      const WaitingCall late = std::move(state.waiting[i]);
      state.waiting.erase(state.waiting.begin() + static_cast<ptrdiff_t>(i));
      finish(late, timeout_outcome(late.call), 0);
    }
  }
}

void WorkerPool::check_deadlines(int64_t now_us) {
  for (const LinkPointer& link : links_) {
    if (link->state != WorkerLink::State::kClosing) check_link(*link, now_us);
  }
  check_waiting(now_us);
}

int64_t WorkerPool::next_check_of(WorkerLink& link, WorkerLink::Held& held, int64_t now_us) {
  const StepCall& call = held.waiting.call;
  const int64_t margin_us = stop_margin_us(call);
  const int64_t timeout_us = call.timeout_ms * 1000 - margin_us;
  const int64_t report_us = held.reported ? INT64_MAX : held.report_at_us;
  const int64_t next = std::min(report_us, held.kill_at_us);
  const int64_t earliest_us = held.sent_us + timeout_us;  // it may have begun later
  if (earliest_us > now_us && call.until_us == INT64_MAX) return std::min(next, earliest_us);
  if (!link.begun(held)) {
    const int64_t again_us =
        earliest_us > now_us ? earliest_us : now_us + std::min(timeout_us, kRecheckUs);
    return std::min({next, again_us, call.until_us});
  }
  const int64_t end_us = link.end_us(held, now_us);
  return std::min(next, held.timed_out ? end_us : end_us - margin_us);
}

void WorkerPool::compute_next_check(int64_t now_us) {
  int64_t next = INT64_MAX;
  bool idle = false, behind = false;
  for (const LinkPointer& link : links_) {
    next = std::min(next, link->tidy_at_us);
    auto& held = link->held();
    if (link->lane == Lane::kCpu) {
      idle = idle || held.empty();
      behind = behind || held.size() > 1;
    }
    if (link->state == WorkerLink::State::kClosing) continue;
    // Those that wait behind the first have no time of their own yet, but a fixed end.
    const bool first_only = link->lane == Lane::kCpu && with_end_ == 0;
    const size_t looked_at = first_only ? std::min<size_t>(held.size(), 1) : held.size();
    for (size_t i = 0; i < looked_at; i++) {
      next = std::min(next, next_check_of(*link, held[i], now_us));
    }
  }
  for (const CrewState& state : crews_) {
    for (size_t i = 0; with_end_ > 0 && i < state.waiting.size(); i++) {
      next = std::min(next, state.waiting[i].call.until_us);
    }
    if (state.spawn_at_us > now_us) next = std::min(next, state.spawn_at_us);
  }
  if (idle && behind) next = std::min(next, now_us + kStuckBehindUs);
  if (!template_.running()) next = std::min(next, template_spawn_at_us_);
  if (down_since_us_ != 0) next = std::min(next, now_us + kRecheckUs);
  next_check_us_ = next;
}

void WorkerPool::note_health(int64_t now_us) {
  bool up = true;
  for (const Crew which : {Crew::kCpu, Crew::kIo}) {
    if (crew(which).wanted == 0) continue;
    up = up && std::any_of(links_.begin(), links_.end(), [&](const LinkPointer& link) {
           return link->crew == which && (link->state == WorkerLink::State::kReady ||
                                          link->state == WorkerLink::State::kRetiring);
         });
  }
  if (up) {
    down_since_us_ = 0;
  } else if (down_since_us_ == 0) {
    down_since_us_ = now_us;
  }
}

bool WorkerPool::stuck() const {
  return down_since_us_ != 0 && monotonic_us() - down_since_us_ > kStuckUs;
}

}  // namespace millrace
