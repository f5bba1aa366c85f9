// LocalRuntime: the Runtime over one process's threads. See runtime.h for what it promises.
//
// Threads: the loop (everything here), one writer (the only caller of Store::commit), one reader,
// the blob threads, and the worker processes. Work goes to a thread as a closure that returns
// another closure, its completion, which runs here in the next turn. No mutex is held across a
// call.
#pragma once

#include <deque>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "engine/blob/blob_threads.h"
#include "engine/core/sweeper.h"
#include "engine/runtime/arrivals.h"
#include "engine/runtime/blob_guard.h"
#include "engine/runtime/cluster.h"
#include "engine/runtime/definitions.h"
#include "engine/runtime/runtime.h"
#include "engine/runtime/shared_sweep.h"
#include "engine/runtime/suspects.h"
#include "engine/store/reader.h"
#include "engine/store/sqlite_store.h"
#include "engine/store/writer.h"
#include "engine/worker/running_slots.h"

namespace millrace {

class LocalRuntime final : public Runtime {
 public:
  explicit LocalRuntime(const RuntimeOptions& options);
  ~LocalRuntime() override;
  Status open_parts();  // once, right after construction
  Status begin_workers(const BlobPlace& place);
  Status open_blob_store(const BlobPlace& place);

  std::shared_ptr<const Catalogue> catalogue() const override { return workers_->catalogue(); }
  const std::vector<PluginProblem>& plugin_problems() const override {
    return workers_->problems();
  }
  std::shared_ptr<ByteBudget> budget() const override { return budget_; }
  Metrics& metrics() override { return *metrics_; }
  std::string metrics_text() override;

  Status set_pipelines(std::vector<std::shared_ptr<const Graph>> graphs) override;
  std::shared_ptr<const Graph> pipeline(const std::string& name) const override;
  std::vector<std::shared_ptr<const Graph>> pipelines() const override;
  Status start() override;

  WaiterId submit(SubmitRequest request, ReplyFn reply) override;
  WaiterId wait(const JobId& job, TimeMs until, ReplyFn reply) override;
  WaiterId cancel(const JobId& job, ReplyFn reply) override;
  WaiterId read_job(const JobId& job, ReplyFn reply) override;
  void forget(WaiterId waiter) override;
  void list_jobs(JobFilter filter, std::string cursor, int limit,
                 std::function<void(Result<ViewPage>)> done) override;
  void remove_job(const JobId& job, std::function<void(Status)> done) override;
  SubscriptionId subscribe(const JobKey& job, std::function<void(const JobView&)> changed) override;
  void unsubscribe(SubscriptionId subscription) override;
  std::shared_ptr<const Graph> graph_of(const JobRecord& record) override;
  std::unique_ptr<BlobUpload> begin_blob() override;
  void put_blob(Bytes bytes, std::function<void(Result<Digest>)> done) override;
  void read_blob(const Digest& digest, std::function<void(Result<Bytes>)> done) override;

  bool off_loop(std::function<std::function<void()>()> work) override {
    return blob_threads_->run(std::move(work));
  }

  int poll_fd() const override { return poll_fd_; }
  int64_t next_deadline_us() const override;
  void pump() override;
  void drain() override;
  bool drained() const override;
  void end_waits() override;
  Health health() const override;
  bool workers_stuck() const override { return workers_->stuck(); }

 private:
  // A party that waits for one reply, and what it asked for.
  struct Waiter {
    ReplyFn reply;
    JobId job;                             // of wait, cancel and read
    std::optional<SubmitRequest> request;  // of a keyed submission, to be tried again
    TimeMs until = 0;
  };
  // A started step whose blobs are still being read back from disk.
  struct Loading {
    StepCall call;
    std::shared_ptr<const Graph> graph;
    int missing = 0;
  };
  using StoredResult = Result<std::optional<StoredJob>>;

  // events and actions (local_runtime.cc)
  void note(Event event) { events_.push_back(std::move(event)); }
  void look_at_clock(TimeMs now);
  void collect_arrivals(TimeMs now);
  void apply_events();
  void carry_out(Action& action);
  void write_dirty();
  void on_committed(const CommitReport& report);
  void report_batch(const CommitReport& report, const std::vector<Write>& batch);
  void on_write_done(const Write& write, WriteResult result);
  void on_step_result(StepResult result, TimeMs now);
  void count_step(const StepDecl& decl, const StepResult& result);
  void start_step(StartStep& action);
  bool may_still_start(const StepCall& call) const;
  void load_blob(Ticket ticket, size_t port);
  void send(Ticket ticket);
  void end_loading(Ticket ticket, StepOutcome::Kind kind);
  void hand_to_workers(StepCall call);
  void fail_load(Ticket ticket, const Status& status);
  void publish(const JobKey& key, const JobView& view);
  void update_capacity(TimeMs now);
  int start_waiter(ReplyFn reply, const JobId& job);

  // requests about jobs that may not be resident (requests.cc)
  void answer(Answer& answer);
  void reply_to(WaiterId waiter, JobReply reply);
  void find_graphs(std::vector<Digest> digests, std::function<void()> done);
  void read_stored(const JobKey& key, std::function<void(StoredResult)> done);
  void answer_existing(WaiterId waiter, const JobKey& key, const Digest& request);
  void wait_for_stored(WaiterId waiter, const JobId& job, TimeMs until);
  void cancel_stored(WaiterId waiter, const JobId& job);
  void remove_damaged(const JobId& job, Status why, std::function<void(Status)> done);
  JobReply stored_reply(const JobId& job, const StoredResult& stored);
  JobView stored_view(const JobRecord& record);
  JobView view_of(const JobRecord& record);

  // adopting, sweeping, timers (maintenance.cc)
  using GraphFn = std::function<void(std::shared_ptr<const Graph>, std::string why)>;
  void find_graph(const Digest& digest, GraphFn done);
  void adopt_more(int64_t room);
  void skip_damaged(const DamagedJob& job);
  // `claimed`: the record was rewritten to this node just now, and must reach the core whatever
  // else is resident under its key.
  void adopt(std::shared_ptr<const JobRecord> record, std::function<void()> then,
             std::vector<Verb> verbs = {}, bool claimed = false);
  struct PendingAdopt {
    Adopt event;
    bool claimed = false;
    int missing = 0;  // spilled texts not read yet
    std::function<void()> then;
  };
  void read_spilled(const std::shared_ptr<PendingAdopt>& pending, int step, const Digest& digest);
  void hand_over(const std::shared_ptr<PendingAdopt>& pending);
  void finish_adopt(const std::shared_ptr<PendingAdopt>& pending,
                    std::shared_ptr<const Graph> graph, std::string why);

  // this node among the others of a shared store (cluster.cc)
  Status open_store(const BlobPlace& place);
  Status open_shared_store();
  Status join_cluster();
  void look_at_lease(TimeMs now);
  void look_at_nodes();
  void look_at_nodes_now();
  void on_look(const ClusterLook& look);
  void claim_from_gone(int64_t room);
  void forget_gone();
  void look_at_verbs();
  void look_for_verbs(bool hinted);
  void on_verb(const PendingVerb& verb);
  void adopt_own(const JobId& job, std::function<void(Status)> then);
  void end_verb_read();
  void verb_done(const VerbDone& done);
  void put_verb(WaiterId waiter, const JobId& job, JobReply reply);
  void depart_when_idle();
  // what happens at the others and somebody here wants to know (foreign.cc)
  void listen();
  void listen_for_verbs();
  void listen_for_jobs(std::vector<JobKey> keys);
  void hear();
  bool trusts_stream() const;
  bool hears_verbs() const;
  void count_heard(const char* what, bool hinted, bool covered);
  void count_verbs(const std::vector<PendingVerb>& verbs, bool hinted, bool covered);
  void watch_foreign();
  void plan_foreign_look(int64_t in_ms);
  int64_t foreign_pause_ms(const std::vector<WatchedJob>& known) const;
  std::vector<WatchedJob> foreign_jobs();
  bool is_news(const ChangedJob& change) const;
  void look_at_foreign(bool hinted);
  void on_changed(const ChangedJob& change);
  // blobs of a shared store (shared_blobs.cc)
  void begin_shared_blobs();
  void put_bytes(const PutBytes& put);
  void send_batch();
  void secure_batch();
  int64_t batch_deadline_us() const;
  void settle_batch(std::shared_ptr<const CommitReport> report, std::vector<Write> batch);
  BlobGuard::Look look_at_blobs(const std::vector<Write>& batch) const;
  void sweep_shared(TimeMs now, int64_t every);
  void sweep_suspects();
  SharedSweep::Round next_round(TimeMs now);

  void sweep();
  // Blobs that may be garbage, as a look into a bucket found them.
  struct Suspicion {
    std::vector<Digest> digests;
    bool round = false;  // all blobs have been looked at
  };
  void look_for_garbage(TimeMs now, int64_t every, TimeMs before);
  void sweep_store(TimeMs now, int64_t every, std::optional<TimeMs> before,
                   std::shared_ptr<Suspicion> suspicion);
  void drop_orphans(std::vector<Digest> orphans);
  void remove_remote(std::vector<Digest> orphans, int64_t settled_us, TimeMs since);
  void watch_space();
  void poll_space();
  void watch_blobs();
  void poll_blobs();
  bool has_room(uint64_t bytes) const;
  void after(int64_t delay_ms, std::function<void()> work);
  void run_timers();
  void on_writer(std::function<std::function<void()>()> work);
  void on_reader(std::function<std::function<void()>()> work);

  const RuntimeOptions options_;
  const std::shared_ptr<Metrics> metrics_;
  const std::shared_ptr<ByteBudget> budget_;
  const NodeId node_ = NodeId::random();
  std::unique_ptr<Store> store_;
  SqliteStore* embedded_ = nullptr;   // store_, when it is this one's alone
  SharedStore* shared_ = nullptr;     // store_, when other nodes use it too
  Cluster cluster_;                   // of a shared store; before what its thread uses goes
  std::unique_ptr<BlobGuard> guard_;  // likewise, and the next
  std::unique_ptr<SharedSweep> shared_sweep_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<Reader> reader_;
  std::unique_ptr<BlobThreads> blob_threads_;
  std::unique_ptr<Workers> workers_;
  std::shared_ptr<RunningSlots> running_slots_;  // workers.isolation: thread
  Suspects suspects_;                            // likewise
  std::unique_ptr<Core> core_;
  std::unique_ptr<Definitions> definitions_;
  int poll_fd_ = -1;

  std::vector<Event> events_;     // noted since the last turn
  std::vector<Action> actions_;   // of the event being applied; kept for its memory
  std::vector<Write> in_flight_;  // the batch with the writer, or about to be
  uint64_t batches_ = 0;          // so far
  std::unordered_map<Ticket, Loading> loading_;
  std::unordered_map<Ticket, const StepDecl*> running_;  // with the workers
  std::unordered_map<WaiterId, Waiter> waiters_;
  WaiterId next_waiter_ = 1;
  uint32_t slots_[kLanes] = {0, 0};
  // The series of each step type's commonest outcome, looked up once: a finished step costs no map
  // of strings.
  struct StepSeries {
    Counter* succeeded = nullptr;
    Histogram* duration = nullptr;
  };
  std::unordered_map<const StepDecl*, StepSeries> step_series_;

  struct Subscription {
    JobKey job;
    std::function<void(const JobView&)> changed;
  };
  std::map<SubscriptionId, Subscription> subscriptions_;
  std::unordered_map<JobKey, std::vector<SubscriptionId>, JobKeyHash> subscribed_;
  SubscriptionId next_subscription_ = 1;

  std::multimap<int64_t, std::function<void()>> timers_;  // by monotonic_us
  TimeMs wall_ms_ = 0;                                    // both clocks in the last turn
  int64_t steady_ms_ = 0;                                 // 0: there was none
  std::optional<JobRecord> adopted_up_to_;
  Status unreadable_;           // what the first claim met, when it cannot be waited out
  bool ready_ = false;          // start() has ended well
  bool blobs_failing_ = false;  // a put failed, and no write went well since
  bool adopting_ = false;
  Arrivals arrivals_;

  bool started_ = false;
  size_t removals_ = 0;  // on request, under way
  bool draining_ = false;
  bool no_space_ = false;
  std::vector<std::string> written_directories_;  // where records and blobs go
  bool blobs_dirty_ = true;  // something may have become garbage since the last full sweep
  int64_t swept_us_ = 0;     // when that was
  std::optional<Sweeper> sweeper_;
};

}  // namespace millrace
