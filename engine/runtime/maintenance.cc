// What the runtime does beside single requests: definitions, adoption, sweeping, timers, draining,
// figures.
#include <sys/statvfs.h>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/runtime/local_runtime.h"

namespace millrace {
namespace {

constexpr int64_t kSweepEveryMsMin = 1'000;
constexpr int64_t kSpacePollMs = 1'000;
constexpr uint64_t kSpaceLeastBytes = 1 << 20;   // less is full
constexpr uint64_t kSpaceWantedBytes = 4 << 20;  // and is mended with this much
constexpr uint64_t kSpaceWantedInodes = 64;

}  // namespace

// ---- definitions

Status LocalRuntime::set_pipelines(std::vector<std::shared_ptr<const Graph>> graphs) {
  ON_THREAD(kLoop);
  // Blocks on purpose: a definition must be durable before a record may name it, and this runs at
  // start and on a reload.
  auto done = std::make_shared<std::optional<Status>>();
  on_writer([this, graphs, done] {
    std::vector<Definition> definitions;
    for (const auto& graph : graphs) definitions.push_back({graph->digest, graph->source});
    const Status status = store_->put_definitions(definitions);
    return [done, status] { *done = status; };
  });
  while (!done->has_value()) writer_->wait_and_drain();
  if ((*done)->ok()) definitions_->set_current(std::move(graphs));
  return **done;
}

std::shared_ptr<const Graph> LocalRuntime::pipeline(const std::string& name) const {
  return definitions_->current(name);
}

std::vector<std::shared_ptr<const Graph>> LocalRuntime::pipelines() const {
  return definitions_->all_current();
}

std::shared_ptr<const Graph> LocalRuntime::graph_of(const JobRecord& record) {
  return definitions_->known(record.definition);
}

// ---- adoption

Status LocalRuntime::start() {
  ON_THREAD(kLoop);
  CHECK(!started_);
  started_ = true;
  const TimeMs now = wall_clock_ms();
  update_capacity(now);
  if (shared_ != nullptr) {
    RETURN_IF_ERROR(join_cluster());
  } else if (core_->stats().accepted > 0) {
    adopt_more(options_.jobs_resident_max);
    // A store whose unfinished jobs cannot be read is refused before anybody is told of readiness.
    while (adopting_ && !adopted_up_to_) writer_->wait_and_drain();
    RETURN_IF_ERROR(unreadable_);
  }
  ready_ = true;
  after(kSweepEveryMsMin, [this] { sweep(); });
  // Said at once, and not by the first job that is refused.
  if ((embedded_ != nullptr && !embedded_->has_space()) || !has_room(kSpaceLeastBytes))
    watch_space();
  return {};
}

// Claims the oldest jobs that are not resident, batch by batch, until there is no room or no such
// job.
void LocalRuntime::adopt_more(int64_t room) {
  if (shared_ != nullptr) {
    claim_from_gone(room);
    return;
  }
  if (adopting_ || room <= 0 || draining_) return;
  adopting_ = true;
  arrivals_.read_begins();
  const int batch = static_cast<int>(std::min<int64_t>(room, kAdoptBatch));
  on_writer([this, room, batch, from = adopted_up_to_] {
    auto claimed =
        std::make_shared<Result<std::vector<JobRecord>>>(store_->claim(node_, from, batch));
    return [this, claimed, room, batch, damaged = store_->take_damaged()] {
      adopting_ = false;
      for (const DamagedJob& job : damaged) skip_damaged(job);
      if (!claimed->ok()) {
        arrivals_.read_ends();
        const Status& status = claimed->status();
        if (status.code() == Code::kCorrupt || status.number() == errors::kStoreVersion) {
          // To go on without jobs that were acknowledged would be to lose them without a word.
          if (ready_) end_on_failed_store(status);
          unreadable_ = status;
          return;
        }
        log_event(LogLevel::kError, "store.claim_failed", {{"error", status.message()}});
        after(kRetryLoadMs, [this, room] { adopt_more(room); });
        return;
      }
      int64_t adopted = 0;
      for (JobRecord& record : **claimed) {
        adopted_up_to_ = record;
        if (core_->resident(record.key)) continue;
        adopted++;
        adopt(std::make_shared<const JobRecord>(std::move(record)), [] {});
      }
      arrivals_.read_ends();
      const bool more = static_cast<int>((*claimed)->size()) == batch;
      // From the beginning next time: a clock that stepped back gives young jobs old times.
      if (!more) adopted_up_to_.reset();
      if (more && room > adopted) adopt_more(room - adopted);
    };
  });
}

// One line for each, and all others go on.
void LocalRuntime::skip_damaged(const DamagedJob& job) {
  log_event(LogLevel::kError, "job.damaged",
            {{"job", job.key.text()},
             {"code", error_code(job.status.number())},
             {"error", job.status.message()}});
  note(Unreadable{wall_clock_ms(), job.key, false});
}

// Gives the graph of a definition, read back from the store when it is not at hand; null and why
// when it cannot be used.
void LocalRuntime::find_graph(const Digest& digest, GraphFn done) {
  if (auto graph = definitions_->known(digest)) {
    done(std::move(graph), "");
    return;
  }
  on_reader([this, digest, done = std::move(done)]() mutable {
    auto source = std::make_shared<Result<std::optional<std::string>>>(store_->definition(digest));
    return [this, digest, source, done = std::move(done)] {
      std::string why;
      std::shared_ptr<const Graph> graph;
      if (!source->ok()) {
        why = source->status().message();
      } else if (!(*source)->has_value()) {
        why = fmt::format("the definition {} is not in the store", digest.text());
      } else {
        graph = definitions_->restore(digest, ***source, &why);
      }
      done(std::move(graph), std::move(why));
    };
  });
}

// Finds the definition and the spilled texts of a record, then hands it to the core; `then` runs
// after its Adopt is noted.
void LocalRuntime::adopt(std::shared_ptr<const JobRecord> record, std::function<void()> then,
                         std::vector<Verb> verbs, bool claimed) {
  arrivals_.read_begins();  // until it is handed over: what we hold is as old as a read
  auto pending = std::make_shared<PendingAdopt>();
  pending->event.record = std::move(record);
  pending->event.verbs = std::move(verbs);
  pending->claimed = claimed;
  pending->then = std::move(then);
  const Digest definition = pending->event.record->definition;
  find_graph(definition, [this, pending](std::shared_ptr<const Graph> graph, std::string why) {
    finish_adopt(pending, std::move(graph), std::move(why));
  });
}

void LocalRuntime::finish_adopt(const std::shared_ptr<PendingAdopt>& pending,
                                std::shared_ptr<const Graph> graph, std::string why) {
  const std::shared_ptr<const JobRecord> record = pending->event.record;
  if (graph == nullptr) {
    log_event(LogLevel::kError, "job.definition_unusable",
              {{"job", record->id().text()}, {"why", why}});
  }
  pending->event.graph = std::move(graph);
  pending->event.why = std::move(why);
  std::vector<std::pair<int, Digest>> spilled;
  for (size_t i = 0; i < record->steps.size(); i++) {
    if (record->steps[i].spilled) {
      spilled.emplace_back(static_cast<int>(i), *record->steps[i].spilled);
    }
  }
  if (record->outputs_spilled) spilled.emplace_back(-1, *record->outputs_spilled);
  pending->missing = static_cast<int>(spilled.size());
  if (spilled.empty()) hand_over(pending);
  for (const auto& [step, digest] : spilled) read_spilled(pending, step, digest);
}

void LocalRuntime::read_spilled(const std::shared_ptr<PendingAdopt>& pending, int step,
                                const Digest& digest) {
  blob_threads_->read(digest, [this, pending, step, digest](Result<Bytes> text) {
    if (text.status().transient()) {  // waited out, as all our own troubles
      after(kRetryLoadMs, [this, pending, step, digest] { read_spilled(pending, step, digest); });
      return;
    }
    if (text.ok()) {
      pending->event.spilled.emplace_back(step, std::string(text->view()));
    } else {
      pending->event.graph = nullptr;
      pending->event.why =
          fmt::format("a stored output cannot be read: {}", text.status().message());
    }
    if (--pending->missing == 0) hand_over(pending);
  });
}

void LocalRuntime::hand_over(const std::shared_ptr<PendingAdopt>& pending) {
  const JobKey key = pending->event.record->key;
  // Somebody was faster, and the job may even have ended since: this record is stale.
  const bool stale = core_->resident(key) || arrivals_.is_stale(key);
  if (pending->claimed || !stale) {
    pending->event.now = wall_clock_ms();
    note(std::move(pending->event));
  }
  pending->then();
  arrivals_.read_ends();
}

// ---- space

// Of each file system that we write to: bytes, and inodes where they are counted.
bool LocalRuntime::has_room(uint64_t bytes) const {
  for (const std::string& directory : written_directories_) {
    struct statvfs fs {};
    if (::statvfs(directory.c_str(), &fs) != 0) return false;
    if (uint64_t{fs.f_bavail} * fs.f_frsize < bytes) return false;
    if (fs.f_files > 0 && fs.f_favail < kSpaceWantedInodes) return false;
  }
  return true;
}

// A full disk was met: not ready until there is room again, and the store takes new jobs.
void LocalRuntime::watch_space() {
  if (no_space_) return;
  no_space_ = true;
  log_event(LogLevel::kError, "disk.full", {{"data", options_.data}});
  after(kSpacePollMs, [this] { poll_space(); });
}

void LocalRuntime::poll_space() {
  if (!has_room(kSpaceWantedBytes)) {
    after(kSpacePollMs, [this] { poll_space(); });
    return;
  }
  on_writer([this] {
    return [this, room = embedded_ == nullptr || embedded_->regain_space()] {
      if (!room) {
        after(kSpacePollMs, [this] { poll_space(); });
        return;
      }
      no_space_ = false;
      log_event(LogLevel::kInfo, "disk.has_space", {{"data", options_.data}});
    };
  });
}

// A blob could not be written, for another reason than space: not ready until one can be.
void LocalRuntime::watch_blobs() {
  if (blobs_failing_) return;
  blobs_failing_ = true;
  log_event(LogLevel::kError, blobs_->remote() ? "blob.store_failing" : "blob.disk_failing",
            {{"code", error_code(errors::kBlobWrite)}});
  after(kSpacePollMs, [this] { poll_blobs(); });
}

void LocalRuntime::poll_blobs() {
  const bool asked = blob_threads_->run([this]() -> std::function<void()> {
    const bool written = blobs_->probe().ok();
    return [this, written] {
      if (!written) {
        after(kSpacePollMs, [this] { poll_blobs(); });
        return;
      }
      blobs_failing_ = false;
      log_event(LogLevel::kInfo, blobs_->remote() ? "blob.store_works" : "blob.disk_works", {});
    };
  });
  if (!asked) after(kSpacePollMs, [this] { poll_blobs(); });
}

// ---- timers and threads

void LocalRuntime::after(int64_t delay_ms, std::function<void()> work) {
  timers_.emplace(monotonic_us() + delay_ms * 1000, std::move(work));
}

void LocalRuntime::run_timers() {
  const int64_t now = monotonic_us();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    const auto work = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    work();
  }
}

int64_t LocalRuntime::next_deadline_us() const {
  if (!events_.empty()) return 0;
  int64_t deadline = workers_->next_deadline_us();
  if (!timers_.empty()) deadline = std::min(deadline, timers_.begin()->first);
  if (shared_ != nullptr) deadline = std::min(deadline, batch_deadline_us());
  const TimeMs core = core_->next_deadline();
  if (core != kNever) {
    const int64_t ahead_ms = std::max<int64_t>(0, core - wall_clock_ms());
    deadline = std::min(deadline, monotonic_us() + std::min<int64_t>(ahead_ms, 86'400'000) * 1000);
  }
  return deadline;
}

void LocalRuntime::on_writer(std::function<std::function<void()>()> work) {
  writer_->run(std::move(work));
}

void LocalRuntime::on_reader(std::function<std::function<void()>()> work) {
  reader_->run(std::move(work));
}

// ---- operations

void LocalRuntime::drain() {
  ON_THREAD(kLoop);
  if (draining_) return;
  draining_ = true;
  if (shared_sweep_ != nullptr) shared_sweep_->drain();
  note(Drain{wall_clock_ms()});
}

bool LocalRuntime::drained() const {
  const bool idle = draining_ && events_.empty() && in_flight_.empty() && core_->idle();
  return idle && (cluster_.keeper == nullptr || cluster_.departed);
}

Health LocalRuntime::health() const {
  if (!started_) return {false, "starting"};
  if (draining_) return {false, "draining: no job is accepted any more"};
  if (no_space_) return {false, "the disk is full"};
  if (blobs_failing_) {
    return {false, blobs_->remote() ? "the store of the blobs does not answer; the log says why"
                                    : "the disk refuses to be written; the log says why"};
  }
  if (shared_ != nullptr && !shared_->health().available) {
    return {false, "the store does not answer; the log says why"};
  }
  if (shared_ != nullptr && cluster_.told_until_us == 0) {
    return {false, "the lease of this replica is over: the store did not take its renewal"};
  }
  if (workers_->stuck()) return {false, "no worker process can be started"};
  return {true, ""};
}

std::string LocalRuntime::metrics_text() {
  Metrics& m = *metrics_;
  const CoreStats& stats = core_->stats();
  for (const Lane lane : {Lane::kCpu, Lane::kIo}) {
    const int i = static_cast<int>(lane);
    const LaneStats workers = workers_->stats(lane);
    const Labels label = {lane_name(lane)};
    m.queue_depth.with(label).set(static_cast<double>(stats.ready[i]));
    m.workers.with(label).set(workers.workers);
    m.workers_busy.with(label).set(workers.busy);
    // Steps handed over beyond the busy workers wait in their windows; they are queued work too.
    const int64_t queued = stats.ready[i] + std::max<int64_t>(0, stats.running[i] - workers.busy);
    const double backlog = workers.workers == 0 ? 0
                                                : static_cast<double>(queued) *
                                                      workers.mean_run_seconds / workers.workers;
    m.backlog.with(label).set(backlog);
    if (lane != Lane::kCpu) continue;
    m.workers_memory.with({}).set(static_cast<double>(workers.memory.reserved_bytes));
    m.workers_memory_max.with({}).set(static_cast<double>(workers.memory.bytes_max));
    m.workers_memory_waiting.with({}).set(workers.memory.waiting);
  }
  m.jobs_live.clear();
  core_->count_live([&m](const std::string& pipeline, JobState state, int64_t count) {
    m.jobs_live.with({pipeline, state_name(state)}).set(static_cast<double>(count));
  });
  m.resident_bytes.with({}).set(static_cast<double>(budget_->used_bytes()));
  const auto bring_up = [](Counter& counter, uint64_t to) { counter.add(to - counter.value()); };
  bring_up(m.late_results.with({}), stats.late_results);
  bring_up(m.fenced_writes.with({}), stats.fenced_writes);
  return m.text();
}

}  // namespace millrace
