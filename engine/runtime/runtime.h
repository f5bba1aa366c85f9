// Runtime: the one place where core, store, blobs and workers meet.
//
// It knows nothing of HTTP or of an event loop. Whoever owns the loop (the server, `millrace run`,
// a test) watches poll_fd(), calls pump() when it is readable, when next_deadline_us() has come,
// and once after each burst of calls; everything that was noted since is then applied in one turn:
// events, actions, one batch of records, one send per worker.
//
// Thread: the loop thread, for every function. Callbacks run inside pump() (or inside the call
// itself, where it says so); a callback may call submit(), wait(), cancel() … but not pump(), and
// must not throw.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/limits.h"
#include "engine/base/metrics.h"
#include "engine/blob/blob_upload.h"
#include "engine/core/event.h"
#include "engine/pipeline/parse.h"
#include "engine/runtime/open_blobs.h"
#include "engine/store/store.h"
#include "engine/worker/workers.h"

namespace millrace {

struct RuntimeOptions {
  std::string data;  // directory of the embedded store and of local blobs; made when absent
  std::string store = "sqlite:";  // "sqlite:" (in data), "sqlite:PATH" or "mongodb://…/DB"
  std::string blobs = "file:";    // "file:" (in data), "file:DIR" or "s3://…"
  s3::Credentials s3;             // of "s3://…"
  uint64_t blob_cache_bytes_max = uint64_t{1} << 30;  // of local copies of blobs in a bucket
  bool thread_isolation = false;                      // workers.isolation: thread
  WorkerOptions workers;
  int64_t jobs_resident_max = kJobsResidentDefault;
  int64_t jobs_accepted_max = kJobsAcceptedDefault;
  uint64_t memory_bytes_max = uint64_t{1} << 30;  // limits.memory
  DurationMs retention_ms = 7 * 86'400'000LL;
  DurationMs lease_ms = 10'000;      // of a shared store: how long a silent node keeps its jobs
  std::string node_name;             // of a shared store, for people: host and address
  std::shared_ptr<Metrics> metrics;  // null: made
};

struct SubmitRequest {
  std::shared_ptr<const Graph> graph;  // one that pipeline() gave
  std::string idempotency_key;         // empty: none
  std::vector<Value> inputs;  // from bind_inputs(); uploads are blobs with bytes and without digest
  std::map<std::string, std::string> labels;
  bool until_end =
      false;  // `reply` leads to a wait for the end: acceptance alone is worth no hurry
};

// What a submission, a wait or a verb comes to. Status numbers: E004 E005 E013 E014 E015 E021 E028
// E123 E124.
struct JobReply {
  Status status;          // ok: `view` shows the last durable state
  bool replayed = false;  // of submit: the job of an earlier submission under the same key
  JobView view;           // view.record is the durable record; view.graph may be null
};
using ReplyFn = std::function<void(JobReply)>;

// One page of a list; the views as read_job() gives them.
struct ViewPage {
  std::vector<JobView> jobs;
  std::vector<DamagedJob> damaged;
  std::string next;  // cursor; empty: no more
};

struct Health {
  bool ready = false;
  std::string reason;  // why not, in words; empty when ready
};

class Runtime {
 public:
  // Opens the store (locks it, replays its log), the blobs and the workers. No job runs before
  // start(). Errors: E120 E121 E122 E125 (store), E126 (blobs), E140… (workers). Plugins that were
  // refused: plugin_problems().
  static Result<std::unique_ptr<Runtime>> open(const RuntimeOptions& options);
  virtual ~Runtime() = default;

  virtual std::shared_ptr<const Catalogue> catalogue() const = 0;
  virtual const std::vector<PluginProblem>& plugin_problems() const = 0;
  virtual std::shared_ptr<ByteBudget> budget() const = 0;  // what uploads are charged to
  virtual Metrics& metrics() = 0;
  virtual std::string metrics_text() = 0;  // gauges brought up to date first

  // Makes the definitions durable, then current, replacing all earlier ones. Blocks for one commit:
  // at start and on a reload.
  virtual Status set_pipelines(std::vector<std::shared_ptr<const Graph>> graphs) = 0;
  virtual std::shared_ptr<const Graph> pipeline(const std::string& name) const = 0;  // null: none
  virtual std::vector<std::shared_ptr<const Graph>> pipelines() const = 0;           // by name

  // Adopts what the store holds unfinished, oldest first, and begins to run. After set_pipelines().
  virtual Status start() = 0;

  // Submits; `reply` is called once: when rev 1 is durable, when it is known to be a replay, or
  // when it is refused. The WaiterId is for forget().
  virtual WaiterId submit(SubmitRequest request, ReplyFn reply) = 0;
  // Replies once the job has ended, or at `until` with the state of then. E005: no such job. E014:
  // deleted.
  virtual WaiterId wait(const JobId& job, TimeMs until, ReplyFn reply) = 0;
  // Replies once the request is durable; E021 when the job has ended.
  virtual WaiterId cancel(const JobId& job, ReplyFn reply) = 0;
  // The last durable state. Answers at once (inside the call) when the job is resident.
  virtual WaiterId read_job(const JobId& job, ReplyFn reply) = 0;
  // Nobody waits for this any more; its callback is dropped and never called.
  virtual void forget(WaiterId waiter) = 0;

  virtual void list_jobs(JobFilter filter, std::string cursor, int limit,
                         std::function<void(Result<ViewPage>)> done) = 0;
  // Deletes an ended job and the blobs only it holds, or one whose record is damaged. E005, E014,
  // E021.
  virtual void remove_job(const JobId& job, std::function<void(Status)> done) = 0;

  // Calls `changed` after each durable revision of a job, with its view, until it has ended or
  // unsubscribe().
  using SubscriptionId = uint64_t;
  virtual SubscriptionId subscribe(const JobKey& job,
                                   std::function<void(const JobView&)> changed) = 0;
  virtual void unsubscribe(SubscriptionId subscription) = 0;

  // The graph of a record that a callback of this interface just gave, when its definition is still
  // usable; else null.
  virtual std::shared_ptr<const Graph> graph_of(const JobRecord& record) = 0;

  // A blob that is written while its bytes come. Not durable before its bytes are put.
  virtual std::unique_ptr<BlobUpload> begin_blob() = 0;
  // Durable when `done` hears of it, and kept for the retention, whatever jobs name it and go.
  // E123: no space; E126.
  virtual void put_blob(Bytes bytes, std::function<void(Result<Digest>)> done) = 0;
  virtual void read_blob(const Digest& digest, std::function<void(Result<Bytes>)> done) = 0;

  // Runs `work`, which may wait for a disk, on a blob thread; what it returns runs in pump().
  // False: too much waits already, nothing will run.
  [[nodiscard]] virtual bool off_loop(std::function<std::function<void()>()> work) = 0;

  virtual int poll_fd() const = 0;
  virtual int64_t next_deadline_us() const = 0;  // monotonic_us(); INT64_MAX: none
  virtual void pump() = 0;

  // Accepts no job and starts no step from now on; drained() once nothing runs and everything is
  // durable.
  virtual void drain() = 0;
  virtual bool drained() const = 0;
  // Replies to every wait with the last durable state, as if its time were up.
  virtual void end_waits() = 0;
  virtual Health health() const = 0;
  virtual bool workers_stuck() const = 0;  // the process should end (exit 6)
};

}  // namespace millrace
