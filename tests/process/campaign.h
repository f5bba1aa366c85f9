// Campaign: load on servers that die, one after the other, over one data directory; and an oracle
// that compares what is left with what an undisturbed server makes of the same inputs.
//
// Every submission has an idempotency key and is repeated until it is acknowledged, as a careful
// client does. Some are sent again although they were acknowledged, and some jobs are cancelled.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/receiver.h"
#include "engine/base/digest.h"
#include "tests/process/power_cut.h"

namespace millrace {

// How a server dies in a round.
enum class Death {
  kMoment,       // SIGKILL at a random moment; what it wrote stays in the page cache
  kMarkedPoint,  // the same, before or behind a chosen sync, rename, link, unlink, write or send
  kPowerCut,     // at such a point, and what was not synced is lost
  kDrained,      // told to stop at a random moment: it ends by itself
  kLyingDisk,    // a power cut on a disk that says of each sync that it is done, and does none
};

// What the oracle holds against the servers.
struct Findings {
  std::vector<std::string> lost;   // what was acknowledged and is not there, or is something else
  std::vector<std::string> wrong;  // what should not be: a second body, a job of nobody, leftovers
};

class Campaign {
 public:
  explicit Campaign(const std::string& name, uint32_t seed);
  ~Campaign();

  void learn_results();  // what an undisturbed server makes of each photo
  void run_round(Death death);
  // Whether servers died before and behind a call of each kind that they make.
  bool died_everywhere() const { return wanted_.empty(); }
  // In peace: everything is acknowledged and ends; then records, results, stored objects, blobs and
  // effects are compared, and nothing is still held. Prints the table.
  Findings settle_and_compare();

 private:
  struct Work {
    std::string key;
    int photo = 0;
    std::string job;         // set when acknowledged
    bool cancelled = false;  // the cancellation was acknowledged
  };

  // A kind of call, and whether death comes behind it.
  struct Point {
    int kind = 0;
    bool behind = false;
  };

  void submit_until(const std::atomic<bool>& stop, uint16_t port, uint32_t seed);
  bool submit(uint16_t port, Work* work);
  Work next_work(std::mt19937* random);
  void wait_for_death(const ServerProcess& server, Death death);
  void want(int kind);
  void plan_death_at_start();
  void plan_death();
  void note_death(Death death);
  size_t acknowledged() const;
  void compare_end(uint16_t port, const Work& work);
  void compare_job(uint16_t port, const Work& work);
  void compare_effects();
  void compare_blobs();
  void compare_held(uint16_t port);
  void print() const;

  const std::string directory_;
  const ServerSettings settings_;
  std::mt19937 random_;
  Receiver receiver_;
  std::vector<std::string> photos_;
  std::vector<Digest> results_;
  std::unique_ptr<PowerCut> power_;  // from the first round that needs it
  std::map<std::string, int> deaths_;
  std::set<int> wanted_kinds_;
  std::deque<Point> wanted_;          // where no server has died yet
  std::map<std::string, bool> jobs_;  // when all has ended: whether it succeeded
  std::set<std::string> told_;        // jobs of which a notification came
  uint64_t told_again_ = 0;
  Findings found_;

  mutable std::mutex mutex_;  // of what follows
  std::vector<Work> acknowledged_, unacknowledged_;
  int next_ = 0;
  int resubmitted_ = 0;
};

}  // namespace millrace
