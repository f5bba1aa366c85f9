// Cluster: what the runtime of one node knows of the others that share its store. Empty, and of no
// cost, when the store is this node's alone.
//
// It judges by its own clock: a node is given up when its counter has not moved between the end of
// one look and the beginning of a later one, for longer than its lease. A judgement may be wrong;
// the comparison of owner and rev decides who wins (SharedStore).
//
// Thread: loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/core/event.h"
#include "engine/runtime/lease_keeper.h"
#include "engine/runtime/listener.h"

namespace millrace {

// What one look at the store showed: owners of unfinished jobs first, then the leases, so that an
// owner without a lease is gone.
struct ClusterLook {
  int64_t began_us = 0;  // boot_clock_us()
  int64_t ended_us = 0;
  Status status;
  std::vector<NodeId> owners;
  std::vector<NodeLease> leases;
};

// A node whose counter stood still for too long.
struct SilentNode {
  NodeId node;
  uint64_t counter = 0;
};

// What the loop remembers of the other nodes.
class Peers {
 public:
  // `lease_ms`: of this node; a node's own counts when it is longer.
  void configure(const NodeId& self, DurationMs lease_ms) {
    self_ = self;
    lease_ms_ = lease_ms;
  }
  void note(const ClusterLook& look);
  // A look failed, or this node's own lease is over: perhaps the store was away. With the next
  // look, silence until then counts for half a lease at most: whoever lives has the other half to
  // renew. The same goes without a word for who has not looked for half a lease: its look may have
  // waited until the store was back.
  void note_doubt() { doubt_ = true; }

  // After note(). Nodes to be given up; not those that have departed.
  const std::vector<SilentNode>& silent() const { return silent_; }
  // Owners that no living node can be, zero first: to claim from.
  const std::vector<NodeId>& gone() const { return gone_; }
  // Departed nodes that own nothing any more.
  const std::vector<NodeId>& forgettable() const { return forgettable_; }
  bool any_claimable() const { return any_claimable_; }
  int64_t idle_slots() const { return idle_slots_; }
  size_t living() const { return living_; }  // this one included
  // Whether no living node has a smaller id: what one node does for all is this one's to do. Two
  // may think so, or for a while nobody.
  bool first() const { return first_; }

 private:
  struct Seen {
    uint64_t counter = 0;
    int64_t at_us = 0;  // the end of the look that showed this counter first
  };
  NodeId self_;
  DurationMs lease_ms_ = 0;
  std::map<NodeId, Seen> seen_;
  bool doubt_ = false;
  int64_t looked_us_ = 0;  // the end of the look before; 0: none
  std::vector<SilentNode> silent_;
  std::vector<NodeId> gone_, forgettable_;
  bool any_claimable_ = false;
  int64_t idle_slots_ = 0;
  size_t living_ = 0;
  bool first_ = false;
};

// A wait for a job that is not resident here.
struct ForeignWait {
  JobId job;
  TimeMs until = 0;
};

struct Cluster {
  std::unique_ptr<LeaseKeeper> keeper;
  Peers peers;
  int64_t told_until_us = 0;  // of the lease, as the core knows it; 0: it has none
  bool looking = false;
  // Verbs whose documents are gone, while a read that may still bring them is under way.
  int verb_reads = 0;
  std::vector<VerbDone> gone_verbs;
  // Jobs of other nodes that somebody here waits for.
  std::unordered_map<WaiterId, ForeignWait> waits;
  std::unordered_map<JobKey, uint64_t, JobKeyHash> known_revs;
  bool looking_at_foreign = false;
  int64_t foreign_due_us = 0;  // monotonic, of the next look at them; 0: none is planned
  // Hints: what this node listens for, and what was heard and is not looked at yet.
  std::unique_ptr<Listener> listener;
  Topics topics;
  std::set<JobKey> hinted;
  bool hinted_all = false, verbs_hinted = false;
  uint64_t taken_in = 0;                         // CoreStats, at the last look for verbs
  int64_t distrust_until_us = 0;                 // monotonic: a look was quicker than the stream
  std::set<std::array<uint8_t, 16>> seen_verbs;  // by that look
  bool departing = false, departed = false;
  // Until when (boot_clock_us) the blobs that the batch with the writer names are known to be
  // there; the writer asks before it sends.
  std::atomic<int64_t> batch_good_until_us{INT64_MAX};
  bool securing = false;          // the blobs of that batch, since it takes long
  uint64_t batch_sent = 0;        // the number of the batch that was handed to the writer last
  bool suspects_waiting = false;  // a round for blobs of deleted jobs is planned
  int64_t marks_looked_us = 0;    // monotonic; 0: never
};

}  // namespace millrace
