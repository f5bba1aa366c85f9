// SimStore: the store of the simulated world, which is also the judge's own: crashes do not touch
// it. It keeps the contract of Store (tests/sim_store), so that what the simulator proves of the
// core holds over a real store as well.
//
// It knows nothing of faults and judges nothing: the world decides what happens to a batch before
// it gets here, the checkers what may. Beside the contract it shows what it keeps without copying,
// and does what other nodes and other versions do to a store.
//
// Thread: one at a time. Errors: only those of the contract; it never runs out of space.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/store/store.h"

namespace millrace::sim {

class SimStore final : public Store {
 public:
  struct Job {
    std::shared_ptr<const JobRecord> record;
    bool stolen = false;        // by another node that lives: nobody may claim it
    std::vector<Digest> blobs;  // what the record names, ascending
  };

  using Jobs = std::map<JobKey, Job>;
  using Tombstones = std::map<JobKey, std::shared_ptr<const JobRecord>>;

  std::vector<WriteResult> commit(const std::vector<Write>& batch) override;
  Result<std::vector<JobRecord>> claim(const NodeId& self, const std::optional<JobRecord>& after,
                                       int max) override;
  Result<int> sweep(TimeMs now, int max, std::vector<Digest>* orphans) override;
  Status remove(const JobKey& key) override;
  Result<std::optional<StoredJob>> read(const JobKey& key) override;
  Result<JobPage> list(const JobFilter& filter, const std::string& cursor, int limit) override;
  Result<int64_t> count_unfinished() override;
  Status put_definitions(const std::vector<Definition>& definitions) override;
  Result<std::optional<std::string>> definition(const Digest& digest) override;
  Result<bool> names_blob(const Digest& digest) override;

  // ---- what is kept; valid until the next call that changes it
  const Jobs& jobs() const { return jobs_; }
  const Tombstones& tombstones() const { return tombstones_; }
  // Null: no such job, or only a tombstone.
  const Job* find(const JobKey& key) const;
  // The job that claim() would give first; null: none.
  const Job* first_unclaimed(const NodeId& self, const JobRecord* after) const;

  // ---- what others do
  // Another node claims the job, and lives on until rivals_end().
  void steal(const JobKey& key, std::shared_ptr<const JobRecord> record);
  void rivals_end();
  // The record becomes another one under the same rev, as an earlier version would have left it.
  void replace(const JobKey& key, std::shared_ptr<const JobRecord> record);
  // An ended job goes, as sweep() would have it.
  void erase(const JobKey& key) { jobs_.erase(key); }
  // A tombstone goes. Before its time no store does that: it is a defect on purpose.
  void lose_tombstone(const JobKey& key) { tombstones_.erase(key); }

 private:
  WriteResult write(const Write& write);
  void drop(Jobs::iterator job, std::vector<Digest>* dropped);

  Jobs jobs_;
  Tombstones tombstones_;
  std::map<Digest, std::string> definitions_;
};

}  // namespace millrace::sim
