// Arrivals: which records that were read from the store may still be handed to the core.
//
// Between a read and its hand-over the world goes on: the job may have ended here, the core may
// have let go of it, or a claim that has just made it ours may bring it. A record from before is
// stale then: handed over all the same, an ended job would begin anew.
//
// Thread: loop.
#pragma once

#include <unordered_set>

#include "engine/base/check.h"
#include "engine/base/ids.h"

namespace millrace {

class Arrivals {
 public:
  // ---- reads
  // Held from before a read until what it found is handed over: meanwhile what happens to jobs is
  // remembered.
  void read_begins() { reads_++; }
  void read_ends() {
    CHECK(reads_ > 0);
    if (--reads_ > 0) return;
    ended_.clear();
    let_go_.clear();
  }
  bool reading() const { return reads_ > 0; }

  // ---- what happens to jobs of the core
  void ends(const JobKey& key) {
    if (reads_ > 0) ended_.insert(key);
  }
  void is_let_go(const JobKey& key) {  // for whatever reason
    if (reads_ > 0) let_go_.insert(key);
  }
  // Of a read that is under way: it may show the job unfinished.
  bool has_ended(const JobKey& key) const { return ended_.contains(key); }
  // A record that was read, and not claimed, must not be handed over.
  bool is_stale(const JobKey& key) const { return ended_.contains(key) || let_go_.contains(key); }

  // ---- claims
  void claim_begins() {
    CHECK(!claiming_);
    claiming_ = true;
  }
  void claim_ends() { claiming_ = false; }
  bool claiming() const { return claiming_; }
  void claim_brings(const JobKey& key) { arriving_.insert(key); }
  void has_arrived(const JobKey& key) { arriving_.erase(key); }
  // Whether a claim may have made the job ours, and not handed it over yet: that one must find
  // nobody who was faster.
  bool claim_may_bring(const JobKey& key) const { return claiming_ || arriving_.contains(key); }

 private:
  using Keys = std::unordered_set<JobKey, JobKeyHash>;
  int reads_ = 0;
  Keys ended_, let_go_;  // since the first of the reads under way began
  bool claiming_ = false;
  Keys arriving_;  // claimed, and not with the core yet
};

}  // namespace millrace
