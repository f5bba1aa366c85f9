// Checkers: what must hold, judged from outside the core, by what the world saw.
//
// The store here is the judge's own: it is what survives crashes. The ledger knows every byte that
// each effect key ever carried.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/machine.h"

namespace millrace::sim {

// The bytes behind a blob, hashed, whether they are in memory or on the simulated disk.
std::string content_hash(const BlobContent& content);
// Everything a step is given, as text that is equal iff the bytes are.
std::string given_text(const std::vector<Value>& with);

struct StoredJob {
  std::shared_ptr<const JobRecord> record;
  bool stolen = false;  // by another node since this boot began
};

class Checkers {
 public:
  // ---- what the world keeps; crashes do not touch it
  std::map<JobKey, StoredJob> store;
  std::set<Digest> disk;  // durable blobs

  // ---- what happens
  void boot();
  void acknowledged(const JobKey& key, const Salt& salt) { acknowledged_[key] = salt; }
  void write_collected(const Write& write);
  // Applies one write as the Store contract says and checks it.
  WriteResult apply_write(const Write& write);
  void step_started(const StartStep& start, const CoreStats& stats, const uint32_t* slots);
  void step_succeeded(const StartStep& start);
  void shown(const Answer& answer);
  void resident(int64_t jobs, int64_t bound);
  void at_rest();  // after the liveness phase

  // A record that came into the store by other ways than our writes.
  void allow(const std::string& write_id) { applied_.insert(write_id); }

  int64_t unfinished() const;

 private:
  void check_end(const JobRecord& record);

  struct Carried {
    std::string bytes;
    int starts = 0;
    bool succeeded = false;
  };
  std::map<std::string, Carried> ledger_;  // by effect key
  std::map<JobKey, Salt> acknowledged_;
  std::set<std::string> applied_;  // write ids
  std::map<JobKey, std::pair<Salt, uint64_t>> last_shown_;
};

}  // namespace millrace::sim
