// Requests about jobs, resident or not: who asks, what the core says, and what must be read from
// the store instead.
#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/runtime/local_runtime.h"

namespace millrace {
namespace {

Status unknown_job(const JobId& job) {
  return Status::not_found(errors::kJobUnknown, fmt::format("there is no job {}", job.text()));
}

Status deleted_job(const JobId& job) {
  return Status::not_found(errors::kJobDeleted, fmt::format("job {} was deleted", job.text()));
}

// What a parked job says it waits for: the words of the step that parked it.
// What a job in the state `waiting` waits for, as the core says it of one that it holds: each step
// that a person must decide about, and the job for the first of them.
void explain_waiting(const JobRecord& record, std::vector<Explanation>* out) {
  std::string why = record.error ? record.error->message : "a person must decide how it goes on";
  for (size_t i = 0; i < record.steps.size(); i++) {
    const StepRecord& step = record.steps[i];
    if (step.state != StepState::kWaiting || !step.error) continue;
    if (out->empty()) why = step.error->message;
    out->push_back({static_cast<int>(i), "needs_decision", step.error->message});
  }
  out->push_back({-1, "needs_decision", std::move(why)});
}

bool same_salt(const JobRecord& record, const JobId& job) {
  return record.id() == job;
}

}  // namespace

WaiterId LocalRuntime::submit(SubmitRequest request, ReplyFn reply) {
  ON_THREAD(kLoop);
  CHECK(request.graph != nullptr);
  const WaiterId id = next_waiter_++;
  Submit event;
  event.now = wall_clock_ms();
  event.waiter = id;
  event.graph = request.graph;
  event.keyed = !request.idempotency_key.empty();
  event.until_end = request.until_end;
  std::array<uint8_t, 10 + sizeof(Salt)> random{};
  random_bytes(random.data(), random.size());
  std::memcpy(event.salt.data(), random.data() + 10, event.salt.size());
  if (event.keyed) {
    event.key = idempotent_job_key(request.graph->name, request.idempotency_key);
  } else {
    std::array<uint8_t, 10> bits{};
    std::memcpy(bits.data(), random.data(), bits.size());
    event.key = uuid_v7(event.now, bits);
  }
  Waiter waiter;
  waiter.reply = std::move(reply);
  waiter.job = job_id(event.key, event.salt);
  if (event.keyed) {
    event.inputs = request.inputs;
    event.labels = request.labels;
    waiter.request = std::move(request);
  } else {
    event.inputs = std::move(request.inputs);
    event.labels = std::move(request.labels);
  }
  waiters_.emplace(id, std::move(waiter));
  note(std::move(event));
  return id;
}

WaiterId LocalRuntime::wait(const JobId& job, TimeMs until, ReplyFn reply) {
  ON_THREAD(kLoop);
  const WaiterId id = next_waiter_++;
  waiters_.emplace(id, Waiter{std::move(reply), job, std::nullopt, until});
  if (const auto view = core_->view(job.key); view && same_salt(*view->record, job)) {
    note(Wait{wall_clock_ms(), id, job.key, until});
  } else {
    wait_for_stored(id, job, until);
  }
  return id;
}

WaiterId LocalRuntime::cancel(const JobId& job, ReplyFn reply) {
  ON_THREAD(kLoop);
  const WaiterId id = next_waiter_++;
  waiters_.emplace(id, Waiter{std::move(reply), job, std::nullopt, 0});
  if (const auto view = core_->view(job.key); view && same_salt(*view->record, job)) {
    note(Cancel{wall_clock_ms(), id, job.key});
  } else {
    cancel_stored(id, job);
  }
  return id;
}

WaiterId LocalRuntime::read_job(const JobId& job, ReplyFn reply) {
  ON_THREAD(kLoop);
  const WaiterId id = next_waiter_++;
  if (auto view = core_->view(job.key); view && same_salt(*view->record, job)) {
    reply(JobReply{{}, false, std::move(*view)});
    return id;
  }
  waiters_.emplace(id, Waiter{std::move(reply), job, std::nullopt, 0});
  read_stored(job.key,
              [this, id, job](StoredResult stored) { reply_to(id, stored_reply(job, stored)); });
  return id;
}

void LocalRuntime::forget(WaiterId waiter) {
  ON_THREAD(kLoop);
  if (waiters_.erase(waiter) > 0) note(Unwait{wall_clock_ms(), waiter});
}

void LocalRuntime::end_waits() {
  ON_THREAD(kLoop);
  std::vector<std::pair<WaiterId, JobId>> waits;
  for (const auto& [id, waiter] : waiters_) {
    if (waiter.until != 0) waits.emplace_back(id, waiter.job);
  }
  for (const auto& [id, job] : waits) {
    const auto node = waiters_.extract(id);
    note(Unwait{wall_clock_ms(), id});
    read_job(job, std::move(node.mapped().reply));
  }
}

void LocalRuntime::reply_to(WaiterId waiter, JobReply reply) {
  const auto node = waiters_.extract(waiter);
  if (!node.empty()) node.mapped().reply(std::move(reply));
}

// What the core answers, in the words of runtime.h.
void LocalRuntime::answer(Answer& answer) {
  const auto found = waiters_.find(answer.waiter);
  if (found == waiters_.end()) return;
  const JobId job = found->second.job;
  JobReply reply;
  reply.view = std::move(answer.view);
  switch (answer.kind) {
    case Answer::Kind::kAccepted:
    case Answer::Kind::kEnded:
    case Answer::Kind::kTimeUp:
    case Answer::Kind::kVerbDone:
      break;
    case Answer::Kind::kReplayed:
      reply.replayed = true;
      break;
    case Answer::Kind::kKeyReused:
      reply.status = Status::conflict(
          errors::kIdempotencyKeyReused,
          fmt::format(
              "the Idempotency-Key belongs to job {}, which was submitted with other inputs "
              "or labels; use a new key",
              reply.view.record ? reply.view.record->id().text() : "of another request"));
      break;
    case Answer::Kind::kExists:
      answer_existing(answer.waiter, answer.key, answer.request);
      return;
    case Answer::Kind::kRefused:
    case Answer::Kind::kVerbForbidden:
      reply.status = std::move(answer.status);
      break;
    case Answer::Kind::kUnknown: {
      // It ended, or was parked, between our look and the core's: the store knows.
      const Waiter& waiter = found->second;
      if (waiter.until != 0) {
        wait_for_stored(answer.waiter, job, waiter.until);
      } else {
        cancel_stored(answer.waiter, job);
      }
      return;
    }
  }
  reply_to(answer.waiter, std::move(reply));
}

void LocalRuntime::read_stored(const JobKey& key, std::function<void(StoredResult)> done) {
  arrivals_.read_begins();
  on_reader([this, key, done = std::move(done)]() mutable {
    auto stored = std::make_shared<StoredResult>(store_->read(key));
    // Another node may have accepted it, by a server of the database that ours does not know of.
    if (shared_ != nullptr && stored->ok() && !stored->value()) {
      *stored = shared_->read_confirmed(key);
    }
    return [this, stored, done = std::move(done)] {
      const bool found = stored->ok() && stored->value().has_value();
      std::vector<Digest> definitions;
      if (found) definitions.push_back(stored->value()->record.definition);
      find_graphs(std::move(definitions), [this, stored, done] {
        done(std::move(*stored));
        arrivals_.read_ends();
      });
    };
  });
}

// Makes graph_of() know these definitions, where that is still possible; then calls `done`.
void LocalRuntime::find_graphs(std::vector<Digest> digests, std::function<void()> done) {
  std::erase_if(digests, [this](const Digest& d) { return definitions_->known(d) != nullptr; });
  if (digests.empty()) {
    done();
    return;
  }
  const Digest digest = digests.back();
  digests.pop_back();
  find_graph(digest, [this, digests = std::move(digests), done = std::move(done)](
                         const std::shared_ptr<const Graph>&, const std::string&) mutable {
    find_graphs(std::move(digests), std::move(done));
  });
}

// The key's first job is in the store: the same request gets that job, another request a conflict.
void LocalRuntime::answer_existing(WaiterId waiter, const JobKey& key, const Digest& request) {
  read_stored(key, [this, waiter, request](StoredResult stored) {
    const auto found = waiters_.find(waiter);
    if (found == waiters_.end()) return;
    if (!stored.ok()) {
      reply_to(waiter, JobReply{stored.status(), false, {}});
      return;
    }
    if (!stored->has_value()) {
      // It expired between the refused write and this read: the key is free again.
      auto node = waiters_.extract(waiter);
      submit(std::move(*node.mapped().request), std::move(node.mapped().reply));
      return;
    }
    const StoredJob& job = **stored;
    JobReply reply;
    if (job.tombstone) {
      reply.status = deleted_job(job.record.id());
    } else if (job.record.request != request) {
      reply.status = Status::conflict(
          errors::kIdempotencyKeyReused,
          fmt::format(
              "the Idempotency-Key belongs to job {}, which was submitted with other inputs "
              "or labels; use a new key",
              job.record.id().text()));
    } else {
      reply.replayed = true;
      reply.view = stored_view(job.record);
    }
    reply_to(waiter, std::move(reply));
  });
}

void LocalRuntime::wait_for_stored(WaiterId waiter, const JobId& job, TimeMs until) {
  read_stored(job.key, [this, waiter, job, until](StoredResult stored) {
    if (!waiters_.contains(waiter)) return;
    JobReply reply = stored_reply(job, stored);
    if (!reply.status.ok() || is_final(reply.view.record->state)) {
      reply_to(waiter, std::move(reply));
    } else if (arrivals_.has_ended(job.key)) {
      wait_for_stored(waiter, job, until);  // it ended while we read: the next read shows it
    } else if (shared_ != nullptr && reply.view.record->owner != node_ &&
               !core_->view(job.key).has_value()) {
      cluster_.waits.emplace(waiter, ForeignWait{job, until});
      cluster_.known_revs[job.key] = reply.view.record->rev;
      watch_foreign();
    } else {
      note(Wait{wall_clock_ms(), waiter, job.key, until});
    }
  });
}

// A job that waits in the store is made resident first; the core takes it from there.
void LocalRuntime::cancel_stored(WaiterId waiter, const JobId& job) {
  read_stored(job.key, [this, waiter, job](StoredResult stored) {
    if (!waiters_.contains(waiter)) return;
    JobReply reply = stored_reply(job, stored);
    if (reply.status.ok() && is_final(reply.view.record->state)) {
      reply.status =
          Status::conflict(errors::kVerbForbidden,
                           fmt::format("job {} has ended ({}); only an unfinished job can be "
                                       "cancelled",
                                       job.text(), state_name(reply.view.record->state)));
    }
    if (!reply.status.ok()) {
      reply_to(waiter, std::move(reply));
    } else if (arrivals_.has_ended(job.key)) {
      cancel_stored(waiter, job);
    } else if (core_->view(job.key)) {
      note(Cancel{wall_clock_ms(), waiter, job.key});
    } else if (shared_ != nullptr && reply.view.record->owner != node_) {
      put_verb(waiter, job, std::move(reply));
    } else if (shared_ != nullptr) {
      adopt_own(job, [this, waiter, job](const Status& status) {
        if (status.ok()) note(Cancel{wall_clock_ms(), waiter, job.key});
        if (!status.ok()) reply_to(waiter, JobReply{status, false, {}});
      });
    } else {
      adopt(reply.view.record, [this, waiter, key = job.key] {
        note(Cancel{wall_clock_ms(), waiter, key});
      });
    }
  });
}

JobReply LocalRuntime::stored_reply(const JobId& job, const StoredResult& stored) {
  JobReply reply;
  if (!stored.ok()) {
    reply.status = stored.status();
  } else if (!stored->has_value() || !same_salt((*stored)->record, job)) {
    reply.status = unknown_job(job);
  } else if ((*stored)->tombstone) {
    reply.status = deleted_job(job);
  } else {
    reply.view = stored_view((*stored)->record);
  }
  return reply;
}

JobView LocalRuntime::stored_view(const JobRecord& record) {
  JobView view;
  view.record = std::make_shared<const JobRecord>(record);
  view.graph = graph_of(record);
  // What a job waits for that another node runs, only that one could say.
  const bool elsewhere = shared_ != nullptr && record.owner != NodeId{} && record.owner != node_;
  if (record.state == JobState::kWaiting) {
    explain_waiting(record, &view.waiting_for);
  } else if (!is_final(record.state) && !elsewhere) {
    view.waiting_for.push_back(
        {-1, "no_room", "accepted and safe in the store; it starts when an earlier job has ended"});
  }
  return view;
}

// What read_job() would show of a job that was just read from the store.
JobView LocalRuntime::view_of(const JobRecord& record) {
  if (!is_final(record.state)) {
    if (auto view = core_->view(record.key); view && same_salt(*view->record, record.id())) {
      return *std::move(view);
    }
  }
  return stored_view(record);
}

void LocalRuntime::list_jobs(JobFilter filter, std::string cursor, int limit,
                             std::function<void(Result<ViewPage>)> done) {
  ON_THREAD(kLoop);
  on_reader([this, filter = std::move(filter), cursor = std::move(cursor), limit,
             done = std::move(done)]() mutable {
    auto page = std::make_shared<Result<JobPage>>(store_->list(filter, cursor, limit));
    return [this, page, done = std::move(done)] {
      std::set<Digest> definitions;
      if (page->ok()) {
        for (const JobRecord& job : page->value().jobs) definitions.insert(job.definition);
      }
      find_graphs({definitions.begin(), definitions.end()}, [this, page, done] {
        if (!page->ok()) {
          done(page->status());
          return;
        }
        ViewPage views;
        for (const JobRecord& job : (*page)->jobs) views.jobs.push_back(view_of(job));
        views.damaged = std::move((*page)->damaged);
        views.next = std::move((*page)->next);
        done(std::move(views));
      });
    };
  });
}

void LocalRuntime::remove_job(const JobId& job, std::function<void(Status)> done) {
  ON_THREAD(kLoop);
  if (const auto view = core_->view(job.key); view && same_salt(*view->record, job)) {
    done(Status::conflict(errors::kVerbForbidden,
                          fmt::format("job {} is {}; cancel it or wait for its end, then delete it",
                                      job.text(), state_name(view->record->state))));
    return;
  }
  // The writer's queue is bounded, and a client may go and leave its removal behind.
  if (removals_ >= kRemovalsMax) {
    done(Status::busy(errors::kOutOfMemoryBudget,
                      "too many jobs are being deleted at once; try again"));
    return;
  }
  removals_++;
  done = [this, done = std::move(done)](const Status& status) {
    removals_--;
    done(status);
  };
  read_stored(job.key, [this, job, done = std::move(done)](StoredResult stored) mutable {
    const JobReply reply = stored_reply(job, stored);
    if (!stored.ok()) {
      remove_damaged(job, stored.status(), std::move(done));
      return;
    }
    if (!reply.status.ok()) {
      done(reply.status);
      return;
    }
    auto orphans = named_blobs(*reply.view.record);
    on_writer(
        [this, key = job.key, orphans = std::move(orphans), done = std::move(done)]() mutable {
          const Status status = store_->remove(key);
          return [this, status, orphans = std::move(orphans), done = std::move(done)] {
            if (status.ok()) drop_orphans(orphans);
            done(status);
          };
        });
  });
}

// Deletes a job whose record cannot be read, and nothing else: `why` it could not be read may be
// another damage. The blobs that it named go with the next full sweep.
void LocalRuntime::remove_damaged(const JobId& job, Status why, std::function<void(Status)> done) {
  const bool by_record = why.code() == Code::kCorrupt || why.number() == errors::kStoreVersion;
  if (!by_record || core_->resident(job.key)) {
    done(std::move(why));
    return;
  }
  on_writer([this, key = job.key, done = std::move(done)]() mutable {
    const auto before = store_->count_unfinished();
    const Status status = store_->remove(key);
    const auto after = store_->count_unfinished();
    const bool unfinished = before.ok() && after.ok() && *after < *before;
    return [this, key, status, unfinished, done = std::move(done)] {
      if (unfinished) note(Unreadable{wall_clock_ms(), key, true});
      if (status.ok()) blobs_dirty_ = true;
      done(status);
    };
  });
}

LocalRuntime::SubscriptionId LocalRuntime::subscribe(const JobKey& job,
                                                     std::function<void(const JobView&)> changed) {
  ON_THREAD(kLoop);
  const SubscriptionId id = next_subscription_++;
  subscriptions_.emplace(id, Subscription{job, std::move(changed)});
  subscribed_[job].push_back(id);
  watch_foreign();
  return id;
}

void LocalRuntime::unsubscribe(SubscriptionId subscription) {
  ON_THREAD(kLoop);
  const auto node = subscriptions_.extract(subscription);
  if (node.empty()) return;
  const auto found = subscribed_.find(node.mapped().job);
  std::erase(found->second, subscription);
  if (found->second.empty()) subscribed_.erase(found);
}

std::unique_ptr<BlobUpload> LocalRuntime::begin_blob() {
  ON_THREAD(kLoop);
  return std::make_unique<BlobUpload>(
      blobs_->sink(),
      [this](std::function<std::function<void()>()> work) { return off_loop(std::move(work)); },
      [this](const Status& status) {
        log_event(LogLevel::kWarning, "blob.upload_failed", {{"error", status.message()}});
        if (status.number() == errors::kNoSpace) watch_space();
      });
}

void LocalRuntime::put_blob(Bytes bytes, std::function<void(Result<Digest>)> done) {
  ON_THREAD(kLoop);
  const auto on_put = [this, done = std::move(done)](Result<Digest> digest) {
    if (digest.status().number() == errors::kNoSpace) watch_space();
    if (digest.status().number() == errors::kBlobWrite) watch_blobs();
    if (digest.ok()) sweeper_->uploaded(*digest, monotonic_us() / 1000);
    done(std::move(digest));
  };
  if (guard_ != nullptr) {
    guard_->put_kept(std::move(bytes), on_put);
  } else {
    blob_threads_->put(std::move(bytes), on_put, true);
  }
}

void LocalRuntime::read_blob(const Digest& digest, std::function<void(Result<Bytes>)> done) {
  ON_THREAD(kLoop);
  blob_threads_->read(digest, std::move(done));
}

}  // namespace millrace
