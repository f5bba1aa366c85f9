// Submissions: new jobs, and submissions under a key that already has one.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {
namespace {

void append_plugin(const StepDecl& decl, std::vector<std::pair<std::string, int>>* plugins) {
  for (const auto& [name, major] : *plugins) {
    if (name == decl.name) return;
  }
  plugins->emplace_back(decl.name, static_cast<int>(decl.major));
}

void fill_draft(const Submit& event, JobRecord* draft) {
  draft->key = event.key;
  draft->salt = event.salt;
  draft->definition = event.graph->digest;
  draft->pipeline = event.graph->name;
  draft->labels = event.labels;
  draft->keyed = event.keyed;
  draft->created_at = event.now;
  draft->steps.resize(event.graph->steps.size());
  for (const StepNode& node : event.graph->steps) append_plugin(*node.decl, &draft->plugins);
}

}  // namespace

void Core::State::on(const Submit& event) {
  CHECK(event.graph != nullptr && event.inputs.size() == event.graph->inputs.size());
  CHECK(!event.graph->steps.empty() && event.graph->steps.size() <= size_t{kStepsMax});
  if (jobs.contains(event.key)) {
    replay(event);
    return;
  }
  if (refuse_submit(event)) return;
  make_room();
  const bool room = has_room(nullptr);
  Job& job = add_job(event.key);
  unaccepted_jobs++;
  stats.accepted++;
  set_no_room(job, !room);
  job.graph = event.graph;
  job.inputs = event.inputs;
  job.until_end = event.until_end && room;
  job.all = event.graph->all_steps();
  job.in[static_cast<size_t>(Phase::kUndecided)] = job.all;
  job.steps.resize(event.graph->steps.size());
  job.submitters.push_back({event.waiter, true, {}});
  fill_draft(event, &job.draft);
  job.draft_bytes = record_bytes(job.draft);
  for (const Value& input : job.inputs) add_blobs(job, -1, input);
  settle(job);
}

bool Core::State::refuse_submit(const Submit& event) {
  Status status;
  if (draining) {
    status = Status::busy(errors::kTooManyConnections,
                          "the server is being stopped; submit again to the next one");
  } else if (stats.accepted >= options.jobs_accepted_max) {
    COVER("refused_too_many");
    status = Status::busy(errors::kTooManyJobs,
                          "there are " + std::to_string(stats.accepted) +
                              " unfinished jobs, and limits.accepted allows " +
                              std::to_string(options.jobs_accepted_max) + "; try again later");
  } else {
    const size_t bytes = object_text(named_inputs(*event.graph, event.inputs)).size();
    const size_t most =
        kRecordBytesMax - kRecordReserveBytes - (event.graph->steps.size() + 16) * kStepRecordBytes;
    if (bytes <= most) return false;
    status = Status::invalid(errors::kBodyTooLarge,
                             "the inputs are " + std::to_string(bytes) +
                                 " bytes as JSON; a job of this pipeline takes at most " +
                                 std::to_string(most) + "; pass large data as a blob");
  }
  answer_bare(event.waiter, Answer::Kind::kRefused, event.key, std::move(status));
  return true;
}

// ---- replays

// The digests of its blobs decide whether it is the same request; they come from putting the bytes.
void Core::State::replay(const Submit& event) {
  COVER("replay");
  const uint64_t id = ++replay_ids;
  Replay& replay =
      replays
          .emplace(id, Replay{event.waiter, event.key, event.graph, event.inputs, event.labels, 0})
          .first->second;
  std::vector<const BlobContent*> seen;
  for (const Value& input : replay.inputs) {
    for_each_blob(input, [&](const BlobRef& blob) {
      if (blob.content->digest || std::count(seen.begin(), seen.end(), blob.content.get())) return;
      COVER("replay_with_bytes");
      CHECK(blob.content->bytes.present());
      seen.push_back(blob.content.get());
      replay.puts++;
      puts_open++;
      TicketUse use;
      use.kind = TicketUse::Kind::kReplayBlob;
      use.replay = id;
      use.content = blob.content.get();
      emit(PutBytes{tickets.open(use), blob.content});
    });
  }
  if (replay.puts == 0) replay_known(id);
}

void Core::State::replay_known(uint64_t id) {
  const auto node = replays.extract(id);
  const Replay& replay = node.mapped();
  const Digest request =
      request_digest(object_text(named_inputs(*replay.graph, replay.inputs)), replay.labels);
  Job* job = find(replay.key);
  if (job == nullptr) {
    COVER("replay_of_a_job_that_left");
    Answer exists;
    exists.waiter = replay.waiter;
    exists.kind = Answer::Kind::kExists;
    exists.key = replay.key;
    exists.request = request;
    emit(std::move(exists));
    return;
  }
  job->submitters.push_back({replay.waiter, false, request});
  if (job->accepted()) answer_submitters(*job);
}

void Core::State::replay_failed(uint64_t id, const Status& status) {
  COVER("replay_failed");
  const auto node = replays.extract(id);
  answer_bare(node.mapped().waiter, Answer::Kind::kRefused, node.mapped().key, status);
}

// ---- answers

void Core::State::answer_submitters(Job& job) {
  CHECK(job.accepted());
  for (const Submitter& submitter : job.submitters) {
    Answer::Kind kind = Answer::Kind::kAccepted;
    if (!submitter.first) {
      const bool same = job.durable->keyed && submitter.request == job.durable->request;
      kind = same ? Answer::Kind::kReplayed : Answer::Kind::kKeyReused;
      if (!same) COVER("key_reused");
    }
    answer(submitter.waiter, kind, job);
  }
  job.submitters.clear();
}

// The store has a job under this key: ours never was.
void Core::State::answer_existing(Job& job) {
  COVER("exists");
  CHECK(!job.accepted());
  for (const Submitter& submitter : job.submitters) {
    Answer exists;
    exists.waiter = submitter.waiter;
    exists.kind = Answer::Kind::kExists;
    exists.key = job.key;
    exists.request =
        submitter.first ? request_digest(job.draft.inputs, job.draft.labels) : submitter.request;
    emit(std::move(exists));
  }
  job.submitters.clear();
}

void Core::State::refuse_job(Job& job, const Status& status) {
  COVER("refused_no_space");
  CHECK(!job.accepted());
  for (const Submitter& submitter : job.submitters) {
    answer_bare(submitter.waiter, Answer::Kind::kRefused, job.key, status);
  }
  job.submitters.clear();
  stats.accepted--;
  not_written(job);
}

}  // namespace millrace
