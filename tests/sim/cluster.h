// Cluster: several nodes over one shared store, in virtual time; each is a core and the host's half
// of the rules of ownership (ARCHITECTURE.md).
//
// Faults: a message to the store is late, doubled, lost, overtaken, or carried out while its answer
// is lost; a batch is carried out in part; a node is cut off from the store, sleeps past its lease
// and wakes, pauses between looking and sending, dies, is drained; clocks differ by minutes and
// jump; workers fail, hang, come and go; clients submit under one key at two nodes, cancel at a
// node that does not own the job, lose their answers; blobs nobody names are removed by whichever
// node looks first.
//
// Not survivable by design, and not simulated: messages that arrive later than kMessageMsMax; a
// node that pauses for longer between looking at its blobs and sending their record, and dies
// before it has looked again; a removal of a blob that is carried out later than kRemovalMsMax.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include "tests/sim/random.h"
#include "tests/sim/shared_world_store.h"

namespace millrace::sim {

struct ClusterOptions {
  uint64_t seed = 1;
  BrokenRule broken = BrokenRule::kNothing;
  bool keep_log = false;
};

class Cluster {
 public:
  explicit Cluster(const ClusterOptions& options);
  // A phase with faults, one without that must come to rest, then each node's trace again (I9).
  void run();

  // What happened, in order, at which node; with keep_log.
  const std::string& log() const { return log_; }
  uint64_t lives() const;  // jobs that came to their end

 private:
  static constexpr int64_t kLeaseMs = 6'000, kLeaseMarginMs = 200, kBeatMs = 2'000;
  static constexpr int64_t kAnswerMs = 800;        // waited for an answer of the store
  static constexpr int64_t kMessageMsMax = 3'000;  // a message is carried out by then, or never
  static constexpr int64_t kPauseMsMax = 20'000;   // between looking and sending
  static constexpr int64_t kDyingMs = 9'000;       // a marked blob waits
  static constexpr int64_t kRemovalMsMax = 1'500;  // a removal is carried out by then, or never
  static constexpr int64_t kBlobGraceMs = 8'000;   // younger blobs are no garbage
  static_assert(kMessageMsMax + kDyingMs / 2 < kDyingMs && kRemovalMsMax < kDyingMs);
  static_assert(kPauseMsMax + kMessageMsMax < SharedWorldStore::kTraceMs);

  using Work = std::function<void()>;
  enum class Asked { kSubmit, kCancel, kWait };
  struct Question {
    Asked what = Asked::kWait;
    size_t client = 0;
    JobKey job;
  };
  struct Running {
    StartStep start;
    bool stopped = false;
  };
  // A blob that was put, and is in no record that was heard to be durable.
  struct Fresh {
    std::shared_ptr<BlobContent> content;
    int64_t looked_at = 0;  // when somebody said that it is wanted
  };
  struct Seen {
    uint64_t counter = 0;
    int64_t since = 0;
  };
  struct Node {
    std::unique_ptr<Machine> machine;
    NodeId id;
    uint32_t boot = 0;
    bool up = false, draining = false, registered = false;
    bool batch_busy = false, claiming = false, collecting = false;
    bool sweeping = false;
    size_t removals = 0;   // of this round, not finished
    bool fragile = false;  // may not die now, see above
    int64_t asleep_until = 0, cut_until = 0;
    std::deque<Work> backlog;
    DurationMs skew_ms = 0;
    int64_t lease_until = 0;
    uint64_t counter = 0;
    std::map<NodeId, Seen> seen;
    std::set<NodeId> given_up;
    uint32_t slots[kLanes] = {0, 0}, allowed[kLanes] = {0, 0};
    std::map<Ticket, Running> running;
    std::vector<Write> batch, claims;
    std::map<WaiterId, Question> questions;
    std::multimap<Digest, Fresh> fresh;
    std::set<std::pair<JobId, Digest>> settled;  // named by a record that counts
    std::map<JobKey, int64_t> forgotten;
    std::set<JobKey> arriving;  // claimed, and not with the core yet
    std::set<JobKey> unknown;   // ours in the store, and not here, at the last look
    int64_t tick_at = kNever;
    int verb_reads = 0;  // under way
    std::vector<std::pair<JobKey, VerbId>> verbs_gone;
    Core& core() const { return machine->core(); }
  };
  struct Client {
    size_t pipeline = 0;
    std::string key;  // empty: not keyed
    int variant = 0;
    JobKey job;
    Salt salt{};
    size_t node = 0;
    uint32_t boot = 0;    // of the node that was asked
    WaiterId submit = 0;  // waits for an answer; 0: does not
    bool acknowledged = false, given_up = false;
  };
  struct Beat {
    bool renewed = false;
    std::map<NodeId, LeaseDoc> leases;
    int64_t unclaimed = 0;
    std::vector<Verb> verbs;
    std::vector<JobKey> own;
  };

  // ---- time and messages (cluster.cc)
  void at(int64_t delay_ms, Work work);
  // Unless the node has died since; when it wakes, if it sleeps.
  void later(size_t node, int64_t delay_ms, Work work);
  void run_on(size_t node, uint32_t boot, const Work& work);
  int64_t message_ms();
  bool cut(const Node& node) const { return faults_ && node.cut_until > time_; }
  // Has the store carry out `op` (perhaps late, twice, never), and hands its answer to `done`, or
  // nothing when none came in time. An `op` without a result is never answered.
  template <typename R>
  void call(size_t node, std::function<std::optional<R>()> op,
            std::function<void(std::optional<R>)> done);
  // The same until it was answered.
  template <typename R>
  void insist(size_t node, std::function<R()> op, std::function<void(R)> done);
  // A line of the log, which costs nothing when there is none.
  template <typename Line>
  void note(Line line) {
    if (options_.keep_log) log_ += fmt::format("-- {} {}\n", time_, line());
  }
  TimeMs wall(const Node& node) const { return kEpochMs + time_ + node.skew_ms; }

  // ---- life of nodes (cluster.cc)
  void boot(size_t node);
  void die(size_t node);
  void fall_asleep(size_t node, int64_t for_ms);
  void wake(size_t node);
  void fault();
  void jump(size_t node);
  void drain(size_t node);
  void finish_drain(size_t node, int64_t give_up_at);
  void calm_down();
  std::string what_goes_on() const;
  void check_rest();

  // ---- one node (cluster_node.cc)
  void apply(size_t node, const std::string& line);
  void carry_out(size_t node, const Action& action);
  void start_step(size_t node, const StartStep& start);
  void end_step(size_t node, Ticket ticket);
  void arm(size_t node);
  void collect_soon(size_t node);
  void collect(size_t node);
  void send_batch(size_t node);
  void transmit(size_t node);
  void settle_batch(size_t node, const std::vector<WriteResult>& results);
  void report(size_t node, const std::vector<Write>& batch,
              const std::vector<WriteResult>& results);
  std::optional<std::vector<WriteResult>> commit(const std::vector<Write>& batch, const NodeId& by);
  void beat(size_t node);
  void on_beat(size_t node, int64_t sent, const Beat& beat);
  void watch(size_t node, const Beat& beat);
  void claim(size_t node, int64_t room);
  void send_claims(size_t node);
  void read_verbs(size_t node, std::shared_ptr<const JobRecord> record, int64_t read_at);
  void adopt(size_t node, const JobRecord& record, const std::vector<Verb>& verbs, int64_t read_at);
  static bool is_stale(const Node& n, const JobKey& key, int64_t read_at);
  bool is_looked_after(const JobRecord& record) const;
  void look_after_own(size_t node, const std::vector<JobKey>& own);
  void adopt_stored(size_t node, const JobKey& key);
  void verb_done(size_t node, const JobKey& job, const VerbId& verb);
  void tell_verbs_gone(size_t node);

  // ---- blobs (cluster_blobs.cc)
  void put(size_t node, const PutBytes& action);
  // Has the blob there and wanted; `done` gets the time at which that was asked.
  void secure(size_t node, const Digest& digest, std::function<void(int64_t)> done);
  // Those of the batch that were last looked at too long ago to be sure of.
  std::vector<Digest> stale(size_t node, const std::vector<Write>& batch) const;
  void secure_all(size_t node, std::vector<Digest> digests, Work done);
  void drop_fresh(size_t node);
  void sweep(size_t node);
  void remove_marked(size_t node, const Digest& digest);
  void look_and_remove(size_t node, const Digest& digest);
  void remove_now(size_t node, const Digest& digest);
  void unmark(size_t node, const Digest& digest);

  // ---- clients (cluster_clients.cc)
  void client_move();
  size_t some_node();
  void submit_new();
  void submit(size_t client, size_t node);
  void cancel();
  void cancel_at(size_t node, size_t client);
  void put_verb(size_t node, const Verb& verb);
  void wait();
  void delete_job();
  void answered(size_t node, const Answer& answer);
  void answer_submit(const Answer& answer, size_t client);
  bool anybody_waits() const;

  static constexpr TimeMs kEpochMs = 1'700'000'000'000;
  const ClusterOptions options_;
  Random random_;
  SharedWorldStore store_;
  std::shared_ptr<Writings> writings_ = std::make_shared<Writings>();
  std::multimap<int64_t, Work> queue_;
  int64_t time_ = 0;
  bool faults_ = true;
  bool heavy_ = false;
  uint32_t slow_percent_ = 0, lost_percent_ = 0, doubled_percent_ = 0, fails_percent_ = 0;
  uint32_t fault_weights_[6] = {};
  DurationMs retention_ms_ = 0;
  int64_t resident_max_ = 0;
  std::vector<Node> nodes_;
  std::vector<Client> clients_;
  std::map<std::string, int> variants_;  // salt -> variant of the submission that used it
  std::map<VerbId, JobId> promised_;     // verbs that were answered with 202
  std::set<JobId> refused_;              // by a store without room, one copy of their record
  uint64_t made_ids_ = 0;
  uint32_t boots_ = 0;
  WaiterId waiters_ = 0;
  std::string log_;
};

// ---- templates

template <typename R>
void Cluster::call(size_t node, std::function<std::optional<R>()> op,
                   std::function<void(std::optional<R>)> done) {
  const Node& n = nodes_[node];
  const uint32_t boot = n.boot;
  auto answered = std::make_shared<bool>(false);
  auto answer = [this, node, boot, answered, done](std::optional<R> result) {
    if (!result || (faults_ && random_.chance(lost_percent_)) || cut(nodes_[node])) return;
    at(message_ms(), [this, node, boot, answered, done, result] {
      run_on(node, boot, [answered, done, result] {
        if (std::exchange(*answered, true)) return;
        done(result);
      });
    });
  };
  const bool lost = cut(n) || (faults_ && random_.chance(lost_percent_));
  const int copies = lost ? 0 : faults_ && random_.chance(doubled_percent_) ? 2 : 1;
  for (int i = 0; i < copies; i++) {
    at(message_ms(), [op, answer] { answer(op()); });
  }
  later(node, kAnswerMs, [answered, done] {
    if (std::exchange(*answered, true)) return;
    done(std::nullopt);
  });
}

template <typename R>
void Cluster::insist(size_t node, std::function<R()> op, std::function<void(R)> done) {
  call<R>(
      node, [op]() -> std::optional<R> { return op(); },
      [this, node, op, done](std::optional<R> result) {
        if (result) {
          done(*std::move(result));
        } else {
          later(node, 200, [this, node, op, done] { insist<R>(node, op, done); });
        }
      });
}

}  // namespace millrace::sim
