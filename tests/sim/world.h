// World: everything around the core, made of chance: a store, blobs, workers, clients, time.
//
// Faults: a put fails or the disk is full; a batch is half applied when the machine dies, and
// nobody learns which half; another node takes a job away; a definition cannot be used for one
// boot; what a record froze no longer fits; steps are slow, fail, hang, die, are requeued; clients
// lose answers, submit twice, use a key for two requests, cancel, wait, leave; clocks jump; slots
// come and go; the server drains, or dies after any event.
//
// Not survivable by design, and not simulated: a store that loses what it called applied, a blob
// that is lost or altered after it was called durable.
#pragma once

#include <deque>

#include "tests/sim/checkers.h"
#include "tests/sim/random.h"

namespace millrace::sim {

struct WorldOptions {
  uint64_t seed = 1;
  bool broken_gate = false;
};

class World {
 public:
  explicit World(const WorldOptions& options);

  // A safety phase of chance, then a liveness phase without faults that must come to rest, then the
  // same trace again (I9).
  void run();

  // ---- for the exhaustive run: chance is off, and a crash follows the events that are named
  // `disk_first`: whether disks or workers are served first. A crash applies all or nothing of what
  // was in flight. Returns the number of events.
  int run_scripted(const std::vector<int>& crash_after, bool disk_first, bool apply_in_flight);

  const std::string& trace() const { return machine_.trace(); }
  uint64_t events() const { return events_; }

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

  // life of the server (world.cc)
  void boot();
  void crash(bool all, bool nothing);
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
  bool put_done(bool well);
  bool collect();
  bool write();
  bool adopt();
  void adopt_record(const std::shared_ptr<const JobRecord>& record);
  bool pass_time();
  bool jump();
  bool change_capacity();
  bool restart();
  bool drain();
  bool steal();
  bool tamper();
  bool toggle_full_disk();
  std::string outcome_words(const Running& running, bool well);
  std::string output_words(const Running& running);

  void live();
  void check_rest();
  void replay();

  const WorldOptions options_;
  Random random_;
  Checkers checkers_;
  Machine machine_;
  uint32_t weights_[20] = {};
  uint32_t outcome_weights_[6] = {};
  uint32_t put_fails_percent_ = 0;
  uint64_t events_ = 0;

  TimeMs now_ = 1'700'000'000'000;
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
  std::vector<Write> batch_;
};

}  // namespace millrace::sim
