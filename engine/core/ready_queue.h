// ReadyQueue: the steps of one lane (or the suspects) that could start but for a free slot, oldest
// job first, then in the order of the file. It holds no more than its jobs' steps: a step leaves
// when it starts or when its job goes. Internal to the folder.
#pragma once

#include <compare>
#include <set>

#include "engine/core/job.h"

namespace millrace {

class ReadyQueue {
 public:
  struct Entry {
    uint64_t serial = 0;
    int step = 0;
    Job* job = nullptr;
    bool operator<(const Entry& other) const {
      return serial != other.serial ? serial < other.serial : step < other.step;
    }
  };

  void push(Job* job, int step) {
    const bool fresh = entries_.insert({job->serial, step, job}).second;
    CHECK_MSG(fresh, "a step is queued once");
  }
  void remove(const Job* job, int step) {
    CHECK(entries_.erase({job->serial, step, nullptr}) == 1);
  }
  // The first entry that `may_go`, taken out; a job of null: none.
  template <typename MayGo>
  Entry pop_if(MayGo may_go) {
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (!may_go(*it)) continue;
      const Entry entry = *it;
      entries_.erase(it);
      return entry;
    }
    return {};
  }
  Entry pop() {
    CHECK(!entries_.empty());
    const Entry entry = *entries_.begin();
    entries_.erase(entries_.begin());
    return entry;
  }
  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  size_t size_of(int lane) const {
    size_t count = 0;
    for (const Entry& entry : entries_) {
      count += static_cast<int>(entry.job->node(entry.step).decl->lane) == lane;
    }
    return count;
  }

 private:
  std::set<Entry> entries_;
};

}  // namespace millrace
