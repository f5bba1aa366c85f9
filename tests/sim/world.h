// World: everything around the core, made of chance: a store, blobs, workers, clients, time.
//
// Faults: a put fails or the disk is full; a batch is half applied when the machine dies, and
// nobody learns which half; another node takes a job away; a definition cannot be used for one
// boot; what a record froze no longer fits; steps are slow, fail, hang, die, are requeued; clients
// lose answers, submit twice, use a key for two requests, cancel, wait, leave, delete, upload; time
// passes, records and blobs expire; clocks jump; slots come and go; a shared worker dies and takes
// other steps with it; the server drains, or dies after any event, perhaps of a step inside it.
//
// Not survivable by design, and not simulated: a store that loses what it called applied, a blob
// that is lost or altered after it was called durable.
#pragma once

#include <deque>

#include "engine/core/sweeper.h"
#include "tests/sim/checkers.h"
#include "tests/sim/random.h"

namespace millrace::sim {

// What is broken on purpose, to see that it is caught.
enum class Broken : uint8_t { kNothing, kGate, kEviction, kGrace, kTombstone, kRace };

struct WorldOptions {
  uint64_t seed = 1;
  Broken broken = Broken::kNothing;
};

class World {
 public:
  explicit World(const WorldOptions& options);

  // A safety phase of chance, then a liveness phase without faults that must come to rest, then as
  // much time as everything that ended is kept, then the same trace again (I9).
  void run();

  // ---- for the exhaustive run: chance is off, and a crash follows the events that are named
  // `disk_first`: whether disks or workers are served first. A crash applies all or nothing of what
  // was in flight. Returns the number of events.
  int run_scripted(const std::vector<int>& crash_after, bool disk_first, bool apply_in_flight);

  const std::string& trace() const { return machine_.trace(); }
  uint64_t events() const { return events_; }
  uint64_t lives() const { return lives_; }  // jobs that came to their end

 private:
  struct Client {
    size_t pipeline = 0;
    std::string key;  // empty: not keyed
    int variant = 0;  // of the request
    JobKey job;
    Salt salt{};
    WaiterId submit = 0;  // waits for an answer; 0: does not
    bool acknowledged = false;
    bool given_up = false;
  };
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
  // Bytes that are on disk under their digest while whoever asked for it has not been told.
  struct Landed {
    Digest digest;
    uint64_t order = 0;
  };
  // With the writer: these may go unless the store names them or they were put again.
  struct Removal {
    std::vector<Digest> digests;
    uint64_t settled = 0;   // puts up to here are known to the core
    TimeMs put_before = 0;  // see Checkers::BlobRemoval
    uint64_t after_batch = 0;
  };

  // life of the server (world.cc)
  void boot();
  void crash(bool all, bool nothing);
  WriteResult commit(const Write& write);
  void note_deaths();
  void apply(const std::string& line);
  void carry_out(const Action& action);
  void answered(const Answer& answer);
  void answer_submit(const Answer& answer, const Question& question);
  void resume_lost_clients();

  // moves (moves.cc): each returns false when it is not possible now
  bool move(int which);
  bool submit_new();
  bool submit_again();
  void submit(size_t client);
  bool cancel();
  void cancel_job(const JobKey& key, size_t client);
  bool wait();
  bool unwait();
  bool work(bool well);
  bool work_badly() { return work(false); }
  void end_step(const Running& running, StepOutcome::Kind kind, const std::string& words);
  bool io_worker_dies();
  bool put_done(bool well);
  bool put_badly() { return put_done(false); }
  bool put_lands();
  bool put_told();
  void land(const Digest& digest);
  bool collect();
  bool write();
  bool adopt();
  void adopt_record(const std::shared_ptr<const JobRecord>& record);
  void advance(DurationMs by_ms);
  void advance_to(TimeMs due);
  bool pass_time();
  bool long_pause();
  bool jump();
  bool change_capacity();
  bool restart();
  bool drain();
  bool finish_drain();
  bool poisonous(const StartStep& start) const;
  void check_overtaking(const StartStep& start);

  // removals (removal.cc)
  bool upload();
  bool upload_told();
  bool delete_job();
  bool sweep_records();
  bool sweep_garbage();
  bool remove_blobs();
  void drop_orphans(std::vector<Digest> digests, TimeMs put_before);
  bool names_blob(const Digest& digest) { return *checkers_.store.names_blob(digest); }
  int64_t unfinished() { return *checkers_.store.count_unfinished(); }
  uint64_t settled() const;
  bool steal();
  bool tamper();
  bool toggle_full_disk();
  std::string outcome_words(const Running& running, bool well, StepOutcome::Kind* kind);

  void live();
  void check_rest();
  void outlive_retention();
  void replay();

  const WorldOptions options_;
  Random random_;
  Checkers checkers_;
  Machine machine_;
  static constexpr int kMoves = 28;
  uint32_t weights_[kMoves] = {};
  uint32_t outcome_weights_[6] = {};
  uint32_t put_fails_percent_ = 0;
  uint64_t events_ = 0;

  TimeMs now_ = 1'700'000'000'000;
  int64_t monotonic_ = 0;
  uint64_t lives_ = 0;
  DurationMs retention_ms_ = 7 * 86'400'000LL, grace_ms_ = 0;
  std::optional<Sweeper> sweeper_;
  bool thread_isolation_ = false;  // steps run inside the server
  bool heavy_ = false;             // pipelines with long outputs are used as well
  int poison_ = -1;                // this step of some jobs kills what it runs in
  JobKey submitting_;
  NodeId node_;
  uint32_t boots_ = 0;
  int64_t resident_max_ = 100, accepted_max_ = 100;
  uint32_t slots_[kLanes] = {0, 0};
  uint32_t allowed_[kLanes] = {0, 0};  // slots, or what ran already when they became fewer
  bool draining_ = false;
  bool full_disk_ = false;
  bool unusable_ = false;  // definitions cannot be used during this boot
  bool faults_ = true;
  bool scripted_ = false;
  int64_t adopt_room_ = 0, forced_ = 0;
  uint64_t made_ids_ = 0;

  std::vector<Client> clients_;
  std::map<WaiterId, Question> questions_;
  WaiterId waiters_ = 0;
  std::map<std::string, int> variants_;  // salt -> variant of the submission that used it
  std::map<Ticket, Running> running_;
  std::map<Ticket, std::shared_ptr<BlobContent>> puts_;
  std::map<Ticket, Landed> landed_;
  std::vector<Landed> uploads_;
  uint64_t puts_landed_ = 0;
  std::deque<Removal> removals_;
  std::vector<Write> batch_;
  uint64_t batches_collected_ = 0;
};

}  // namespace millrace::sim
