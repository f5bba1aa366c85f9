#include "engine/runtime/local_runtime.h"

#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/log.h"

namespace millrace {
namespace {

constexpr int64_t kClockStepMs = 1000;  // less is what a clock that is kept right does
constexpr DurationMs kBlobGraceMsMin = 600'000;

void watch(int poll_fd, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  CHECK(epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
}

uint64_t random_seed() {
  uint64_t seed = 0;
  random_bytes(&seed, sizeof seed);
  return seed;
}

// Whether the step gets the blob of this port as the file that it is, where blobs are files.
bool maps_file(const StepCall& call, size_t port, const BlobStore& blobs) {
  return call.decl->lane == Lane::kIo && !blobs.remote() &&
         call.with[port].as_blob().content->durable;
}

const char* outcome_name(const StepOutcome& outcome) {
  switch (outcome.kind) {
    case StepOutcome::Kind::kSucceeded:
      return "succeeded";
    case StepOutcome::Kind::kFailed:
      return "failed";
    case StepOutcome::Kind::kTimeout:
      return "timeout";
    case StepOutcome::Kind::kWorkerDied:
      return "worker_died";
    case StepOutcome::Kind::kRequeued:
      return "requeued";
    case StepOutcome::Kind::kStopped:
      return "stopped";
  }
  return "failed";
}

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::open(const RuntimeOptions& options) {
  auto runtime = std::make_unique<LocalRuntime>(options);
  if (Status status = runtime->open_parts(); !status.ok()) return status;
  return std::unique_ptr<Runtime>(std::move(runtime));
}

LocalRuntime::LocalRuntime(const RuntimeOptions& options)
    : options_(options),
      metrics_(options.metrics ? options.metrics : std::make_shared<Metrics>()),
      budget_(std::make_shared<ByteBudget>(options.memory_bytes_max)) {}

LocalRuntime::~LocalRuntime() {
  if (blobs_) blobs_->stop();
  if (shared_ != nullptr) shared_->give_up();  // else a write in doubt would be waited out
  // Threads first: their completions refer to this object and are never run from here on.
  blob_threads_.reset();
  reader_.reset();
  writer_.reset();
  cluster_.listener.reset();
  cluster_.keeper.reset();  // which both may have been using
  workers_.reset();
  if (running_slots_) running_slots_->end();
  if (poll_fd_ >= 0) ::close(poll_fd_);
}

Status LocalRuntime::open_parts() {
  if (::mkdir(options_.data.c_str(), 0700) != 0 && errno != EEXIST) {
    return Status::unavailable(errors::kStoreOpen,
                               fmt::format("cannot create the data directory {}: {}", options_.data,
                                           std::strerror(errno)));
  }
  auto place = blob_place(options_.blobs, options_.data);
  if (!place.ok()) return place.status();
  RETURN_IF_ERROR(begin_workers(*place));
  RETURN_IF_ERROR(open_store(*place));
  const std::string slots = options_.data + "/running.slots";
  const LastRun last = RunningSlots::take_last(slots);
  if (running_slots_) {
    RETURN_IF_ERROR(suspects_.open(options_.data + "/suspects", last));
    RETURN_IF_ERROR(running_slots_->begin(slots));
  } else {
    ::unlink((options_.data + "/suspects").c_str());  // in processes of their own they do no harm
  }
  RETURN_IF_ERROR(open_blob_store(*place));
  Result<int64_t> unfinished = int64_t{0};
  if (shared_ == nullptr) unfinished = store_->count_unfinished();
  if (!unfinished.ok()) return unfinished.status();

  CoreOptions core;
  core.node = node_;
  core.jobs_resident_max = options_.jobs_resident_max;
  core.jobs_accepted_max = options_.jobs_accepted_max;
  core.accepted_in_store = *unfinished;
  core.retention_ms = options_.retention_ms;
  core.write_id_seed = random_seed();
  core.suspects = suspects_.all();
  core.steps_inside = options_.thread_isolation;
  core.shared = shared_ != nullptr;
  core_ = std::make_unique<Core>(core);
  RETURN_IF_ERROR(workers_->wait_loaded());
  definitions_ = std::make_unique<Definitions>(workers_->catalogue());

  writer_ = std::make_unique<Writer>(store_.get());
  reader_ = std::make_unique<Reader>();
  blob_threads_ = std::make_unique<BlobThreads>(
      blobs_.get(), blobs_->remote() ? kRemoteBlobThreads : kBlobThreadsDefault);
  poll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  CHECK(poll_fd_ >= 0);
  watch(poll_fd_, writer_->poll_fd());
  watch(poll_fd_, reader_->poll_fd());
  watch(poll_fd_, blob_threads_->poll_fd());
  watch(poll_fd_, workers_->poll_fd());
  if (shared_ != nullptr) {
    begin_shared_blobs();
    cluster_.listener = std::make_unique<Listener>(shared_);
    watch(poll_fd_, cluster_.listener->poll_fd());
  }
  sweeper_.emplace(std::max(options_.retention_ms, kBlobGraceMsMin), wall_clock_ms(),
                   monotonic_us() / 1000);
  return {};
}

// Before all else: the template process must inherit neither the store's lock nor its files, and
// loads the plugins while the store is opened.
Status LocalRuntime::begin_workers(const BlobPlace& place) {
  WorkerOptions worker_options = options_.workers;
  worker_options.budget = budget_;
  // The io lane reads inputs where they lie, and `store` gives them a second name.
  if (!place.directory.empty()) {
    std::error_code made;  // opening it says what is wrong
    std::filesystem::create_directories(place.directory, made);
    worker_options.io_paths.push_back({place.directory, false});
  }
  if (options_.thread_isolation) running_slots_ = std::make_shared<RunningSlots>();
  worker_options.running = running_slots_;
  auto workers = options_.thread_isolation ? start_thread_workers(worker_options)
                                           : begin_process_workers(worker_options);
  if (!workers.ok()) return workers.status();
  workers_ = std::move(*workers);
  return {};
}

// What S3 refuses would be refused for ever; what it does not answer is waited out, as later on.
Status LocalRuntime::open_blob_store(const BlobPlace& place) {
  auto blobs = open_blobs(place, options_);
  if (!blobs.ok()) return blobs.status();
  blobs_ = std::move(*blobs);
  written_directories_.push_back(place.s3 ? options_.data : place.directory);
  if (!blobs_->remote()) return {};
  const Status status = blobs_->probe();
  if (status.ok()) return {};
  if (blobs_->refused()) return status;
  log_event(LogLevel::kError, "blob.store_away", {{"error", status.message()}});
  watch_blobs();
  return {};
}

// ---- one turn

void LocalRuntime::pump() {
  ON_THREAD(kLoop);
  const TimeMs now = wall_clock_ms();
  look_at_clock(now);
  if (shared_ != nullptr) look_at_lease(now);
  if (shared_ != nullptr) secure_batch();
  collect_arrivals(now);
  if (shared_ != nullptr) hear();
  run_timers();
  if (core_->next_deadline() <= now) note(Tick{now});
  update_capacity(now);
  apply_events();
  write_dirty();
  workers_->flush();
  if (shared_ != nullptr && draining_) depart_when_idle();
}

// The core knows the time from its events, and the wall clock says when one is due. When that was
// set back none would be for as long: the core is told what truly passed until now, and then what
// the clock says. Before all events of this turn, which carry the new time.
void LocalRuntime::look_at_clock(TimeMs now) {
  const int64_t steady_ms = monotonic_us() / 1000;
  const TimeMs expected = wall_ms_ + (steady_ms - steady_ms_);
  if (steady_ms_ != 0 && now < expected - kClockStepMs) {
    log_event(LogLevel::kWarning, "clock.set_back", {{"by_ms", expected - now}});
    events_.insert(events_.begin(), {Tick{expected}, Tick{now}});
  }
  wall_ms_ = now;
  steady_ms_ = steady_ms;
}

// Everything the threads and the workers have finished becomes an event or runs its completion.
void LocalRuntime::collect_arrivals(TimeMs now) {
  std::vector<StepResult> results;
  workers_->poll(&results);
  for (StepResult& result : results) on_step_result(std::move(result), now);
  writer_->drain();
  blob_threads_->drain();
  reader_->drain();
}

void LocalRuntime::apply_events() {
  // Callbacks note further events while we go; they belong to the same turn.
  for (size_t i = 0; i < events_.size(); i++) {
    const Event event = std::move(events_[i]);
    core_->apply(event, &actions_);
    for (Action& action : actions_) carry_out(action);
    actions_.clear();
  }
  events_.clear();
}

void LocalRuntime::carry_out(Action& action) {
  if (auto* start = std::get_if<StartStep>(&action)) {
    start_step(*start);
  } else if (auto* stop = std::get_if<StopStep>(&action)) {
    if (loading_.contains(stop->ticket)) {
      end_loading(stop->ticket, StepOutcome::Kind::kStopped);
    } else {
      workers_->stop(stop->ticket);
    }
  } else if (auto* put = std::get_if<PutBytes>(&action)) {
    put_bytes(*put);
  } else if (auto* reply = std::get_if<Answer>(&action)) {
    answer(*reply);
  } else if (auto* forget = std::get_if<Forget>(&action)) {
    if (!forget->unfinished) arrivals_.ends(forget->key);
    if (shared_ != nullptr) arrivals_.is_let_go(forget->key);
    if (forget->unfinished) watch_foreign();  // whoever follows it does so by reading from now on
  } else if (auto* more = std::get_if<AdoptMore>(&action)) {
    adopt_more(more->room);
  } else if (auto* cleared = std::get_if<ClearSuspect>(&action)) {
    suspects_.clear(cleared->job, cleared->step);
  } else if (auto* done = std::get_if<VerbDone>(&action)) {
    verb_done(*done);
  }
}

void LocalRuntime::update_capacity(TimeMs now) {
  for (const Lane lane : {Lane::kCpu, Lane::kIo}) {
    const uint32_t slots = workers_->slots(lane);
    uint32_t& known = slots_[static_cast<int>(lane)];
    if (!started_ || slots == known) continue;
    known = slots;
    note(Capacity{now, lane, slots});
  }
}

// ---- records

void LocalRuntime::write_dirty() {
  if (!in_flight_.empty()) return;
  in_flight_ = core_->collect_writes(kCommitBytesMax);
  if (in_flight_.empty()) return;
  batches_++;
  send_batch();
}

void LocalRuntime::on_committed(const CommitReport& report) {
  metrics_->commit_duration.with({}).observe(static_cast<double>(report.duration_us) / 1e6);
  metrics_->commit_batch.with({}).observe(static_cast<double>(report.results.size()));
  CHECK(report.results.size() == in_flight_.size());
  std::vector<Write> batch = std::move(in_flight_);
  in_flight_.clear();
  cluster_.batch_good_until_us.store(INT64_MAX, std::memory_order_release);
  // The next batch sets off before this one's consequences are worked out: the disk and the loop
  // work side by side. The jobs of this batch cannot be in it, their writes are still open.
  apply_events();
  write_dirty();
  if (guard_ == nullptr) return report_batch(report, batch);
  settle_batch(std::make_shared<const CommitReport>(report), std::move(batch));
}

void LocalRuntime::report_batch(const CommitReport& report, const std::vector<Write>& batch) {
  const TimeMs now = wall_clock_ms();
  for (size_t i = 0; i < batch.size(); i++) {
    note(WriteDone{now, batch[i].record->key, batch[i].record->rev, report.results[i]});
  }
  // Applied here and now, so that answers and subscribers see each revision as it becomes durable.
  apply_events();
  for (size_t i = 0; i < batch.size(); i++) on_write_done(batch[i], report.results[i]);
}

void LocalRuntime::on_write_done(const Write& write, WriteResult result) {
  const JobRecord& record = *write.record;
  if (result == WriteResult::kNoSpace) watch_space();
  if (result != WriteResult::kApplied) return;
  if (is_final(record.state)) {
    metrics_->jobs.with({record.pipeline, state_name(record.state)}).add();
    if (record.error && log_enabled(LogLevel::kInfo)) {
      const bool cancelled = record.state == JobState::kCancelled;
      log_event(LogLevel::kInfo, cancelled ? "job.cancelled" : "job.failed",
                {{"job", record.id().text()},
                 {"pipeline", record.pipeline},
                 {"state", state_name(record.state)},
                 {"code", error_code(record.error->number)},
                 {"reason", record.error->reason},
                 {"step", record.error->step}});
    }
  }
  if (!subscribed_.contains(record.key)) return;
  if (auto view = core_->view(record.key)) {
    publish(record.key, *view);
  } else {
    JobView ended = stored_view(record);
    publish(record.key, ended);
  }
}

void LocalRuntime::publish(const JobKey& key, const JobView& view) {
  const auto found = subscribed_.find(key);
  if (found == subscribed_.end()) return;
  const std::vector<SubscriptionId> ids = found->second;  // a callback may unsubscribe
  for (const SubscriptionId id : ids) {
    const auto subscription = subscriptions_.find(id);
    if (subscription != subscriptions_.end()) subscription->second.changed(view);
  }
}

// ---- steps

void LocalRuntime::start_step(StartStep& action) {
  const StepNode& node = action.graph->steps[static_cast<size_t>(action.step)];
  Loading loading;
  loading.graph = action.graph;
  StepCall& call = loading.call;
  call.ticket = action.ticket;
  call.decl = node.decl;
  call.job = action.job.text();
  call.step = node.id;
  call.attempt = action.attempt;
  call.place = static_cast<uint32_t>(action.step);
  call.deaths = action.deaths;
  call.effect_key = std::move(action.effect_key);
  call.with = std::move(action.with);
  call.paths.resize(call.with.size());
  call.timeout_ms = action.timeout_ms;
  if (action.left_ms != kNever) call.until_us = monotonic_us() + action.left_ms * 1000;
  std::vector<size_t> to_load;
  for (size_t port = 0; port < call.with.size(); port++) {
    if (call.with[port].kind() != Value::Kind::kBlob) continue;
    const BlobContent& content = *call.with[port].as_blob().content;
    // The io lane maps the durable file: no copy through a slab, and `store` may link it.
    if (maps_file(call, port, *blobs_) && blobs_->verified(*content.digest)) {
      call.paths[port] = blobs_->path(*content.digest);
    } else if (maps_file(call, port, *blobs_)) {
      to_load.push_back(port);  // an earlier process left it: it is looked at first
      continue;
    }
    if (!content.bytes.present() && call.paths[port].empty()) to_load.push_back(port);
  }
  if (to_load.empty()) {
    hand_to_workers(std::move(call));
    return;
  }
  loading.missing = static_cast<int>(to_load.size());
  const Ticket ticket = action.ticket;
  loading_.emplace(ticket, std::move(loading));
  for (const size_t port : to_load) load_blob(ticket, port);
}

void LocalRuntime::load_blob(Ticket ticket, size_t port) {
  const auto found = loading_.find(ticket);
  if (found == loading_.end()) return;
  const Digest digest = *found->second.call.with[port].as_blob().content->digest;
  blob_threads_->read(digest, [this, ticket, port](Result<Bytes> bytes) {
    const auto waiting = loading_.find(ticket);
    if (waiting == loading_.end()) return;
    if (bytes.ok() && maps_file(waiting->second.call, port, *blobs_)) {
      waiting->second.call.paths[port] =
          blobs_->path(*waiting->second.call.with[port].as_blob().content->digest);
      if (--waiting->second.missing == 0) send(ticket);
    } else if (bytes.ok()) {
      // The step gets its own reference; the shared content stays without bytes, so that memory is
      // held only while it runs.
      BlobRef& blob = waiting->second.call.with[port].as_blob();
      auto content = std::make_shared<BlobContent>(*blob.content);
      content->bytes = *std::move(bytes);
      blob.content = std::move(content);
      if (--waiting->second.missing == 0) send(ticket);
    } else if (bytes.status().transient()) {
      // Waited out, but no longer than the step has.
      if (monotonic_us() >= waiting->second.call.until_us) {
        end_loading(ticket, StepOutcome::Kind::kTimeout);
        return;
      }
      after(kRetryLoadMs, [this, ticket, port] { load_blob(ticket, port); });
    } else {
      fail_load(ticket, bytes.status());
    }
  });
}

void LocalRuntime::send(Ticket ticket) {
  auto node = loading_.extract(ticket);
  StepCall& call = node.mapped().call;
  if (may_still_start(call)) {
    hand_to_workers(std::move(call));
    return;
  }
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kRequeued;
  note(StepDone{wall_clock_ms(), ticket, std::move(outcome)});
}

// The core judged the lease before the blobs were read, which may have taken long.
bool LocalRuntime::may_still_start(const StepCall& call) const {
  if (shared_ == nullptr || call.decl->effect == Effect::kPure) return true;
  return boot_clock_us() < cluster_.keeper->held_until_us();
}

// The step is over before a worker got it; reads that are still under way find it gone.
void LocalRuntime::end_loading(Ticket ticket, StepOutcome::Kind kind) {
  loading_.erase(ticket);
  StepOutcome outcome;
  outcome.kind = kind;
  note(StepDone{wall_clock_ms(), ticket, std::move(outcome)});
}

void LocalRuntime::fail_load(Ticket ticket, const Status& status) {
  const auto node = loading_.extract(ticket);
  log_event(LogLevel::kError, "blob.missing",
            {{"job", node.mapped().call.job},
             {"step", node.mapped().call.step},
             {"error", status.message()}});
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kFailed;
  outcome.number = errors::kBlobMissing;
  outcome.reason = "blob_missing";
  outcome.message = status.message();
  note(StepDone{wall_clock_ms(), ticket, std::move(outcome)});
}

void LocalRuntime::hand_to_workers(StepCall call) {
  running_.emplace(call.ticket, call.decl);
  workers_->start(std::move(call));
}

void LocalRuntime::on_step_result(StepResult result, TimeMs now) {
  const auto node = running_.extract(result.ticket);
  CHECK_MSG(!node.empty(), "the workers answered a call that nobody made");
  count_step(*node.mapped(), result);
  note(StepDone{now, result.ticket, std::move(result.outcome)});
}

void LocalRuntime::count_step(const StepDecl& decl, const StepResult& result) {
  StepSeries& series = step_series_[&decl];
  if (series.succeeded == nullptr) {
    series.succeeded = &metrics_->steps.with({decl.name, "succeeded"});
    series.duration = &metrics_->step_duration.with({decl.name});
  }
  series.duration->observe(static_cast<double>(result.run_us) / 1e6);
  if (result.outcome.kind == StepOutcome::Kind::kSucceeded) {
    series.succeeded->add();
  } else {
    metrics_->steps.with({decl.name, outcome_name(result.outcome)}).add();
  }
}

}  // namespace millrace
