// Campaign: load on servers that die, one after the other, over one data directory; and an oracle
// that compares what is left with what an undisturbed server makes of the same inputs.
//
// Every submission has an idempotency key and is repeated until it is acknowledged, as a careful
// client does. Some are sent again although they were acknowledged, and some jobs are cancelled.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <random>
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
};

class Campaign {
 public:
  explicit Campaign(const std::string& name, uint32_t seed);
  ~Campaign();

  void learn_results();  // what an undisturbed server makes of each photo
  void run_round(Death death);
  // In peace: everything is acknowledged and ends; then records, results, stored objects, blobs and
  // effects are compared. Prints the table.
  void settle_and_compare();

 private:
  struct Work {
    std::string key;
    int photo = 0;
    std::string job;         // set when acknowledged
    bool cancelled = false;  // the cancellation was acknowledged
  };

  void submit_until(const std::atomic<bool>& stop, uint16_t port, uint32_t seed);
  bool submit(uint16_t port, Work* work);
  Work next_work(std::mt19937* random);
  void wait_for_death(const ServerProcess& server, Death death);
  void note_death(Death death);
  void compare_job(uint16_t port, const Work& work);
  void compare_effects(const std::map<std::string, bool>& jobs);
  void compare_blobs();

  const std::string directory_;
  const ServerSettings settings_;
  std::mt19937 random_;
  Receiver receiver_;
  std::vector<std::string> photos_;
  std::vector<Digest> results_;
  std::unique_ptr<PowerCut> power_;  // from the first round that needs it
  std::map<std::string, int> deaths_;

  std::mutex mutex_;  // of what follows
  std::vector<Work> acknowledged_, unacknowledged_;
  int next_ = 0;
  int resubmitted_ = 0;
};

}  // namespace millrace
