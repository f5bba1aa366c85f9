// The frame of the core: events in, actions out; which jobs are resident.
#include "engine/core/core.h"

#include "engine/base/cover.h"
#include "engine/core/state.h"

namespace millrace {

Core::Core(const CoreOptions& options) : state_(std::make_unique<State>(options)) {
  CHECK(options.jobs_resident_max > 0 && options.jobs_accepted_max > 0);
}

Core::~Core() = default;

void Core::apply(const Event& event, std::vector<Action>* actions) {
  state_->apply(event, actions);
}

std::vector<Write> Core::collect_writes(size_t bytes_max) {
  std::vector<Write> writes;
  size_t bytes = 0;
  while (Job* job = state_->dirty.front()) {
    if (writes.size() >= static_cast<size_t>(kCommitRecordsMax)) break;
    if (!writes.empty() && bytes + job->draft_bytes > bytes_max) break;
    bytes += job->draft_bytes;
    writes.push_back(state_->make_write(*job));
  }
  return writes;
}

TimeMs Core::next_deadline() const {
  return state_->clock.to_wall(state_->earliest_due());
}

std::optional<JobView> Core::view(const JobKey& key) const {
  const Job* job = state_->find(key);
  if (job == nullptr || !job->accepted()) return std::nullopt;
  return state_->view_of(*job);
}

bool Core::resident(const JobKey& key) const {
  return state_->find(key) != nullptr;
}

bool Core::holds_blob(const Digest& digest) const {
  return state_->held_digests.contains(digest);
}

const CoreStats& Core::stats() const {
  CoreStats& stats = state_->stats;
  stats.resident = static_cast<int64_t>(state_->jobs.size());
  for (int lane = 0; lane < kLanes; lane++) {
    stats.ready[lane] =
        static_cast<int64_t>(state_->ready[lane].size() + state_->suspects_ready.size_of(lane));
    stats.running[lane] = state_->running[lane];
  }
  stats.taken_in = state_->serials;
  const Job* oldest = state_->all.front();
  stats.oldest = oldest == nullptr ? stats.taken_in + 1 : oldest->serial;
  return stats;
}

void Core::count_live(
    const std::function<void(const std::string&, JobState, int64_t)>& visit) const {
  std::map<std::pair<std::string_view, JobState>, int64_t> counts;
  for (const Job* job = state_->all.front(); job != nullptr; job = state_->all.next(job)) {
    if (job->accepted()) counts[{job->durable->pipeline, job->durable->state}]++;
  }
  for (const auto& [what, count] : counts) visit(std::string(what.first), what.second, count);
}

bool Core::idle() const {
  const State& s = *state_;
  if (s.running[0] != 0 || s.running[1] != 0 || s.dirty_jobs != 0 || s.writes_open != 0 ||
      s.puts_open != 0 || s.unaccepted_jobs != 0) {
    return false;
  }
  for (const Job* job = s.all.front(); job != nullptr; job = s.all.next(job)) {
    for (const LiveBlob& blob : job->blobs) {
      if (blob.retry_due != kNever) return false;  // what depends on it is not dirty yet
    }
  }
  return true;
}

// ---- one event

void Core::State::apply(const Event& event, std::vector<Action>* out) {
  CHECK(actions == nullptr && out != nullptr);
  actions = out;
  std::visit(
      [this](const auto& e) {
        clock.advance(e.now, earliest_due());
        if (!in_doubt && clock.hurried() >= lease_due) begin_doubt();
        on(e);
      },
      event);
  while (!claimed_next.empty()) {
    const std::shared_ptr<const Adopt> claimed = std::move(claimed_next.front());
    claimed_next.pop_front();
    take_in(*claimed);
  }
  dispatch();
  adopt_more();
  bury();
  actions = nullptr;
}

void Core::State::on(const Capacity& event) {
  const int lane = static_cast<int>(event.lane);
  CHECK(lane < kLanes);
  slots[lane] = event.slots;
}

void Core::State::on(const Tick&) {
  const TimeMs now = clock.now();
  while (!timers.empty() && std::get<0>(*timers.begin()) <= now) {
    Job& job = *std::get<2>(*timers.begin());
    timers.erase(timers.begin());
    job.armed_at = kNever;
    fire(job);
  }
  fire_lazy();
  fire_absent_waits();
  if (adopt_due <= now) {
    adopting = 0;
    adopt_due = kNever;
  }
  if (hold_due <= now) hold_due = kNever;
}

void Core::State::on(const Drain&) {
  if (draining) return;
  draining = true;
  adopting = 0;
  adopt_due = kNever;
  for (Job* job = all.front(); job != nullptr; job = all.next(job)) {
    for_each_step(job->set(Phase::kReady), [&](int step) {
      queue_of(*job, step).remove(job, step);
      job->move_to(step, Phase::kHeld);
    });
    // Nothing was sent, and we know it: the next server may start it without asking a person.
    for_each_step(job->set(Phase::kIntent), [&](int step) { withdraw_intent(*job, step); });
    if (job->dirty == Dirty::kLazy) mark(*job, Dirty::kUrgent);
    settle(*job);
  }
}

// ---- resident jobs

Job* Core::State::find(const JobKey& key) {
  const auto found = jobs.find(key);
  return found == jobs.end() ? nullptr : found->second.get();
}

Job& Core::State::add_job(const JobKey& key) {
  auto& job = jobs[key];
  CHECK_MSG(job == nullptr, "a job is resident once");
  job = std::make_unique<Job>();
  job->key = key;
  job->serial = ++serials;
  all.push_back(job.get());
  return *job;
}

void Core::State::remove_job(Job& job, bool unfinished) {
  CHECK(!job.gone);
  job.gone = true;
  for_each_step(job.set(Phase::kReady), [&](int step) { queue_of(job, step).remove(&job, step); });
  for_each_step(job.set(Phase::kIntent), [&](int step) {
    running[static_cast<size_t>(job.node(step).decl->lane)]--;
    if (job.live(step).suspect) alone = false;
  });
  for_each_step(job.set(Phase::kRunning), [&](int step) {
    // The workers have it until they say otherwise; its slot stays taken.
    COVER("job_gone_with_running_step");
    tickets.find(job.live(step).ticket)->job = nullptr;
    if (!job.live(step).stop_sent) emit(StopStep{job.live(step).ticket});
  });
  for (LiveBlob& blob : job.blobs) {
    if (blob.ticket == 0) continue;
    tickets.close(blob.ticket);
    puts_open--;
  }
  uncount_digests(job);
  set_dirty(job, Dirty::kClean);
  if (job.writing != nullptr) writes_open--;
  if (job.armed_at != kNever) timers.erase({job.armed_at, job.serial, &job});
  if (!job.accepted()) unaccepted_jobs--;
  set_no_room(job, false);
  if (job.claimed != nullptr) claimed_next.push_back(std::move(job.claimed));
  if (unfinished && options.shared && !set_aside.contains(job.key)) {
    // Other nodes go on with it, and only the store will tell.
    for (const Waiting& wait : job.waits) {
      drop_waiter(wait.waiter);
      answer_bare(wait.waiter, Answer::Kind::kUnknown, job.key);
    }
    job.waits.clear();
  } else if (unfinished) {
    for (const Waiting& wait : job.waits) absent_timers.insert({wait.due, wait.waiter});
    if (!job.waits.empty()) absent_waits[job.key] = std::move(job.waits);
  }
  CHECK(unfinished || job.waits.empty());
  emit(Forget{job.key, unfinished});
  if (resting.contains(&job)) resting.remove(&job);
  all.remove(&job);
  const auto found = jobs.find(job.key);
  graveyard.push_back(std::move(found->second));
  jobs.erase(found);
}

void Core::State::bury() {
  graveyard.clear();
}

void Core::State::set_no_room(Job& job, bool no_room) {
  no_room_jobs += static_cast<int>(no_room) - static_cast<int>(job.no_room);
  job.no_room = no_room;
}

// A new job runs at once while there is room. Once older jobs wait in the store it queues behind
// them, unless memory is so empty that they are merely on their way.
bool Core::State::has_room(const Job* asking) const {
  const int64_t taken = runnable_jobs() + adopting;
  if (taken >= options.jobs_resident_max) return false;
  const int64_t before_it = waiting_in_store() + no_room_jobs - (asking != nullptr ? 1 : 0);
  return before_it <= 0 || taken < options.jobs_resident_max / 2;
}

void Core::State::note_rest(Job& job) {
  const bool waits = job.accepted() && job.durable->owner == options.node &&
                     job.draft.state == JobState::kWaiting && job.cancels.empty();
  const bool clean = waits && job.durable->state == JobState::kWaiting &&
                     job.dirty == Dirty::kClean && job.writing == nullptr && job.fresh == 0;
  const bool rests = clean || (waits && options.broken_eviction_for_test);
  if (rests == resting.contains(&job)) return;
  if (rests) {
    resting.push_back(&job);
  } else {
    resting.remove(&job);
  }
}

void Core::State::make_room() {
  while (runnable_jobs() >= options.jobs_resident_max && !resting.empty()) {
    COVER("set_aside");
    Job& job = *resting.front();
    set_aside.insert(job.key);
    remove_job(job, true);
  }
}

// Not for each job that ends: reading the oldest from the store pays in batches.
void Core::State::adopt_more() {
  if (draining || adopting > 0 || hold_due != kNever) return;
  if (waiting_in_store() > 0) make_room();
  const int64_t waiting = waiting_in_store();
  const int64_t room = options.jobs_resident_max - runnable_jobs();
  if (waiting <= 0 || room <= 0) return;
  const int64_t worth = std::min<int64_t>(64, (options.jobs_resident_max + 9) / 10);
  if (room < worth && runnable_jobs() > 0) return;
  COVER("adopt_more");
  // Not the whole room: what is not on its way now may be taken by others before it is claimed.
  adopting = std::min(room, waiting);
  adopt_due = clock.now() + kAdoptRetryMs;
  emit(AdoptMore{adopting});
}

}  // namespace millrace
