// SharedWorldStore: what the nodes of a simulated cluster share, and the judge's own: records
// (SimStore), blobs, leases, verbs, marks of dying blobs.
//
// Each function is one atomic operation of the store at the moment it is carried out; that messages
// are late, doubled or lost on their way is the cluster's business. It judges who may do what: a
// violation is thrown.
//
// Thread: one at a time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/checkers.h"

namespace millrace::sim {

// A rule of ownership that is left out on purpose, to see that it is caught.
enum class BrokenRule : uint8_t {
  kNothing,
  kLease,    // the gate does not ask for the lease
  kFence,    // a write is stored whatever is there
  kResend,   // a write without an answer is given up, and another image made of the same rev
  kVerbs,    // applied verbs are not remembered
  kPending,  // a claim does not read the verbs that wait
  kMeeting,  // a claim that meets a submission under the same key is dropped
  kGiveUp,   // jobs are claimed from a silent node without telling the store that it is given up
  kMark,     // blobs are removed without a mark
  kWant,     // a put looks for a removal that has begun, and does not say that it wants the blob
  kThere,    // a put does not look whether its blob is still there once nobody removes it
  kBegin,    // a blob is removed without the word that its removal begins
  kRecheck,  // a marked blob is removed without another look at the records
  kLate,     // blobs that were put long ago are not secured again before their record is sent
  kVerify,   // nor when their record is durable, after an answer that took long
  kOrphan,   // marks of nodes that are gone are left as they are
  kTrace,    // a removed job without a key leaves no trace
};

struct LeaseDoc {
  uint64_t counter = 0;
  bool departed = false;  // it left, or was given up; never taken back
  int64_t free_slots = 0;
  int64_t waiting_steps = 0;
};

class SharedWorldStore {
 public:
  explicit SharedWorldStore(BrokenRule broken) : broken_(broken) {}

  // ---- nodes
  // False: the node has departed, by its own wish or by another's.
  bool renew(const NodeId& node, const LeaseDoc& says);
  // Nothing happens when the counter has moved.
  bool give_up(const NodeId& node, uint64_t counter);
  void depart(const NodeId& node) { leases[node].departed = true; }
  bool claimable(const NodeId& owner) const;

  // ---- records
  // Unfinished ones that nobody who lives owns, or one of `also`, oldest first.
  std::vector<std::shared_ptr<const JobRecord>> candidates(const std::set<NodeId>& also,
                                                           size_t max) const;
  int64_t unclaimed() const;
  // Unfinished ones of this node that do not wait for a person.
  std::vector<JobKey> going_on_at(const NodeId& owner) const;
  // `coin` decides what is answered of a rev 1 that was stored and claimed since: both are right.
  WriteResult commit(const Write& write, const NodeId& by, bool coin);
  std::shared_ptr<const JobRecord> read(const JobKey& key) const;
  void sweep(TimeMs wall);         // what has expired by this clock
  void remove(const JobKey& key);  // by a client's wish, if it has ended
  bool was_removed(const JobId& job) const { return removed_.contains(job); }

  // ---- verbs
  // False: the job has ended or is gone. Inserting the same again does nothing.
  bool put_verb(const Verb& verb);
  std::vector<Verb> verbs_of(const NodeId& owner);  // those on ended jobs are removed on the way
  std::vector<Verb> verbs_on(const JobKey& key) const;
  void remove_verb(const VerbId& verb) { verbs.erase(verb); }
  // A step starts at this node. If it owns the job, no verb may wait that was there when the job
  // was claimed. (Pure steps of a job that went may start elsewhere, unseen by anyone.)
  void check_verbs(const JobId& job, const NodeId& at) const;

  // ---- marks of dying blobs
  bool mark(const NodeId& by, const Digest& digest);  // whether it is marked by `by` now
  // Whether its removal has begun. Else a mark on it comes to nothing.
  bool want(const Digest& digest);
  // Whether `by` may remove it: its mark is there, and nobody wanted the blob.
  bool begin_removal(const NodeId& by, const Digest& digest);
  void unmark(const NodeId& by, const Digest& digest);
  bool names(const Digest& digest) const;
  // Old blobs that no record names, those whose mark nobody looks after, and those that `by` has
  // marked before: all marked by `by` now, unless `with_marks` is false.
  std::vector<Digest> begin_removals(const NodeId& by, int64_t put_before, bool with_marks);
  void remove_blob(const Digest& digest);

  // For so long after its end a job leaves a trace: longer than any message is on its way, and
  // any node pauses before it sends one, or tries to hear what became of it.
  static constexpr int64_t kTraceMs = 60'000;

  int64_t now = 0;
  Checkers checkers{true};
  std::map<NodeId, LeaseDoc> leases;
  struct VerbDoc {
    Verb verb;
    uint64_t order = 0;
  };
  std::map<VerbId, VerbDoc> verbs;
  struct Mark {
    NodeId by;
    bool wanted = false, removing = false;
  };
  std::map<Digest, Mark> marks;

 private:
  WriteResult note_end(const JobRecord& record, WriteResult result);
  void forget(const JobRecord& record, bool by_client, TimeMs wall);
  void judge(const JobRecord& stored, const Write& write, const NodeId& by);

  const BrokenRule broken_;
  uint64_t order_ = 0;
  std::map<JobKey, uint64_t> claimed_;  // when last
  std::set<VerbId> applied_verbs_;
  std::map<JobKey, int64_t> ended_at_;
  std::set<JobId> removed_;
  struct Trace {
    Salt salt{};
    int64_t until = 0;
  };
  std::map<JobKey, Trace> traces_;  // of removed jobs
};

}  // namespace millrace::sim
