// SharedStore: a Store that several nodes use at once, and what they tell each other through it.
//
// A node is one boot of one server, named by its NodeId. Every unfinished record has an owner, the
// node that may write it; a record whose owner is zero belongs to nobody. There is no leader and no
// message between nodes: leases, verbs and marks are documents of the same store.
//
// Time is never compared between machines, and the store judges none: it delivers the counters of
// leases, and whoever watches them decides by its own CLOCK_BOOTTIME that one has not moved for too
// long. Such a judgement may be wrong. It decides only when to try; who wins is decided by the
// conditions of commit and claim (owner and rev), so a node that was wrongly given up loses its
// writes (kLost) and nothing else.
//
// Beyond what Store promises:
// - "Durable" is acknowledged by a majority and in the journal; what is read has been so too,
//   unless a function says otherwise.
// - While the store is known to be away (an operation found nobody, and none was answered since)
//   reads return E124 at once instead of waiting for it one by one.
// - commit and the claims do not fail: a write whose answer is lost (reset, time-out, failover) is
//   sent again, byte for byte, until the outcome of each record is known; meanwhile they block, and
//   health() says so. The other writing functions return Unavailable E124 when nobody knows whether
//   they were carried out; each may be called again with the same arguments.
// - rev 1 of a record is kApplied also when another node has claimed the job since: it is accepted
//   and durable, only no longer ours, and the next write of it is kLost.
// - A later rev may be kLost although it was applied, when another node has claimed the job before
//   the answer: kLost says whose the job is, not what became of the image.
//
// Threads: as Store; besides, every function but commit, the claims and remove may be called by any
// thread at any time, and blocks for at most a few network time-outs. Renew on a thread of its own:
// commit may block for as long as the store is away.
#pragma once

#include <functional>
#include <utility>

#include "engine/store/store.h"

namespace millrace {

// One node as the others see it.
struct NodeLease {
  NodeId node;
  uint64_t counter = 0;       // grows with each renewal
  bool departed = false;      // it has handed everything over, or is about to; never taken back
  DurationMs lease_ms = 0;    // of the node's configuration: how long its counter may stand still
  int64_t waiting_steps = 0;  // that could start there but for a free slot
  int64_t free_slots = 0;     // of its workers
  std::string name;           // for people: host and port
};

// A verb on a job that another node owns, until that node has applied it.
struct PendingVerb {
  std::array<uint8_t, 16> id{};  // chosen by who inserts it: a UUIDv7, so that they sort by age
  JobId job;                     // with its salt: a later job under the same key is not meant
  std::string verb;              // "cancel"
  std::string argument;          // canonical JSON, or empty
  TimeMs created_at = 0;
};

struct ClaimedJob {
  JobRecord record;                // as it is stored now: owner `self`, one rev further
  std::vector<PendingVerb> verbs;  // by age; read after the claim, so none is missed
};

// A place in the order of jobs by age.
struct JobPlace {
  TimeMs created_at = 0;
  JobKey key;
};

struct ClaimPage {
  std::vector<ClaimedJob> jobs;  // oldest first; without those that somebody else was quicker for
  std::vector<DamagedJob> unreadable;  // cannot be claimed, and stay as they are
  std::optional<JobPlace> next;        // set: there may be more, behind this place
};

// What a watcher knows of a job that another node owns.
struct WatchedJob {
  JobKey key;
  uint64_t rev = 0;  // 0: nothing yet
};

struct ChangedJob {
  JobKey key;
  std::optional<StoredJob> job;  // nothing: it is not there (any more)
};

// What somebody would like to hear of at once.
struct Topics {
  NodeId verbs_of;           // verbs on jobs of this node; zero: none
  std::vector<JobKey> jobs;  // changes of these, ascending, at most kHintedJobsMax

  bool empty() const { return verbs_of == NodeId{} && jobs.empty(); }
  bool operator==(const Topics&) const = default;
};

// What may have changed.
struct Hints {
  std::vector<JobKey> jobs;
  bool verbs = false;
};

// HintStream: says what may have changed, so that somebody looks at once and not with the next
// round. Nothing depends on it: hints may come late, twice, without a reason, or not at all.
class HintStream {
 public:
  virtual ~HintStream() = default;
  // Waits for hints, about as long as was said when it was opened; none: nothing has happened.
  // NotFound: interrupted. Unavailable E124: it is broken. After either it is over, and whoever
  // opens another one looks once at everything. [one thread at a time]
  virtual Result<Hints> next() = 0;
  // Ends a next() that waits, or the following one; may be without effect. Blocks for at most a few
  // network time-outs. [any]
  virtual void interrupt() = 0;
};

// A blob that is about to be removed.
struct DyingMark {
  Digest digest;
  NodeId by;
  bool wanted = false;    // somebody has put it since: it will not be removed
  bool removing = false;  // it may be gone any moment: who wants it waits until the mark is
};

struct StoreHealth {
  bool available = true;       // false: the last attempt failed, or a write is in doubt
  int64_t since_us = 0;        // monotonic_us() of when it became unavailable; 0: it is available
  std::string message;         // why, for people; no secret
  uint64_t resent_writes = 0;  // images sent more than once since the start
  uint64_t refused_reads = 0;  // without asking, since the store was known to be away
};

class SharedStore : public Store {
 public:
  // ---- nodes

  // Writes this node's document, creating it when absent. On return a majority has it: only then
  // the lease counts, from the moment before the call. A node renews before its first commit, so
  // that no record is ever owned by a node that nobody can watch. Conflict E124: the others have
  // given this node up (give_node_up), and its process must end. The document is made only by a
  // renewal whose counter is at most 1, so that a node which was given up and forgotten stays dead.
  virtual Status renew(const NodeLease& lease) = 0;

  // Says that `node` is dead, unless its counter is not `counter` any more: its document becomes
  // departed, and from then on it cannot renew. To be told before its jobs are claimed, or a
  // sleeper would renew after they were, be in doubt no more, and start effects beside their new
  // owner. True: it is given up, by whomever.
  virtual Result<bool> give_node_up(const NodeId& node, uint64_t counter) = 0;

  // The documents of all nodes, by id.
  virtual Result<std::vector<NodeLease>> leases() = 0;

  // Removes the document of a node that was given up or has departed. Nothing happens, and false is
  // returned, while an unfinished record is still owned by it: claim those first.
  virtual Result<bool> forget_node(const NodeId& node) = 0;

  // ---- what records may be written

  // Asked before each time that records are sent, also before they are sent again; while it says
  // no, commit and the claims wait. So that no message of a node in doubt comes late, nor one that
  // names blobs nobody has looked at for long. Set once, before the first commit; called by the
  // writer. Without one everything is sent at once.
  virtual void set_may_send(std::function<bool()> may_send) = 0;

  // ---- claims

  // Rewrites up to `max` unfinished records that are owned by one of `owners` (zero among them:
  // those of nobody) to `self`, with rev + 1 and a new write id, each by comparing owner and rev;
  // oldest first, after `after`. A record that changed hands or rev meanwhile is left alone. What
  // is returned is durable. `self` among the owners is a bug. [writer]
  virtual Result<ClaimPage> claim_from(const NodeId& self, const std::vector<NodeId>& owners,
                                       const std::optional<JobPlace>& after, int max) = 0;

  // Store::claim, for a shared store, is claim_from those owners that no living node can be: zero,
  // the departed, and nodes without a document. It judges no counters and returns no verbs. A
  // runtime calls claim_from.

  // Who owns unfinished records, each once, ascending: to find those that belong to no node in
  // leases(). Costs one look-up per owner, however many records there are.
  virtual Result<std::vector<NodeId>> owners() = 0;

  // ---- verbs

  // Inserts a verb; the owner of the job finds it. NotFound E005: there is no such job (confirmed
  // as by read_confirmed); Conflict E021: it has ended. Repeating it with the same id does nothing.
  virtual Status put_verb(const PendingVerb& verb) = 0;

  // Verbs on unfinished jobs that `owner` owns, by age, at most `max`. Verbs on jobs that have
  // ended or are gone are removed on the way: what the job says is their answer.
  virtual Result<std::vector<PendingVerb>> pending_verbs(const NodeId& owner, int max) = 0;

  // Removes verbs, when a durable record remembers them as applied.
  virtual Status remove_verbs(const std::vector<std::array<uint8_t, 16>>& ids) = 0;

  // ---- reads

  // As read, but what it says was true at some moment between call and return, also when this node
  // talks to a server that has been replaced without knowing. Slower: for saying 404.
  virtual Result<std::optional<StoredJob>> read_confirmed(const JobKey& key) = 0;

  // Those of `known` whose stored rev is another, or that are not there. One query, however many
  // they are: for everybody who waits for jobs of other nodes, asked while somebody does.
  virtual Result<std::vector<ChangedJob>> changed(const std::vector<WatchedJob>& known) = 0;

  // ---- hints

  // Tells of these topics, from some moment before it returns. NotFound: this store has no such
  // streams, or the user of its URL may not read them. E124: it could not be opened.
  virtual Result<std::shared_ptr<HintStream>> open_hints(const Topics& /*topics*/,
                                                         DurationMs /*wait_ms*/) {
    return Status::not_found(0, "this store tells nobody of changes");
  }

  // ---- marks of blobs that are about to be removed
  //
  // Who removes: mark, wait T, begin_removal, names_blob, delete the blob, unmark. Who puts a blob:
  // put, then want_blobs; when its removal has begun, wait until the mark is gone and put again;
  // else look whether the blob is still there. From then on it is for T. names_blob is confirmed
  // like read_confirmed: it sees every record that was durable before the call.

  // Marks those that nobody has marked. Returns the ones that carry a mark of `by` now; the others
  // are somebody else's to remove.
  virtual Result<std::vector<Digest>> mark_dying(const NodeId& by,
                                                 const std::vector<Digest>& digests) = 0;

  // Makes marks of nodes that are gone, as dying_after() gave them, marks of `by`; what else they
  // say stays, for a removal that has begun may still come. Returns those that are `by`'s now.
  virtual Result<std::vector<Digest>> take_over_dying(const NodeId& by,
                                                      const std::vector<DyingMark>& marks) = 0;

  // Of the digests that `by` has marked, those that nobody wants: their marks say from now on that
  // they are being removed. Only what is returned may be. May be repeated.
  virtual Result<std::vector<Digest>> begin_removal(const NodeId& by,
                                                    const std::vector<Digest>& digests) = 0;

  // Says that somebody wants these: marks on them come to nothing, whoever set them, but for those
  // whose removal has begun, which are returned. One query when there are no marks.
  virtual Result<std::vector<Digest>> want_blobs(const std::vector<Digest>& digests) = 0;

  // All marks in order of digest, after `after` (zero: from the first), at most `max`: to find what
  // a node that is gone has left.
  virtual Result<std::vector<DyingMark>> dying_after(const Digest& after, int max) = 0;

  // Removes the marks that `by` has set, of these digests.
  virtual Status unmark_dying(const NodeId& by, const std::vector<Digest>& digests) = 0;

  // Whether any record seems to name the blob, as far as the primary knows: cheaper than
  // names_blob, and no word to remove anything on.
  virtual Result<bool> seems_named(const Digest& digest) = 0;

  // ---- state

  // What to tell people, and whether to call this node ready. [any]
  virtual StoreHealth health() const = 0;

  // For a process that must end: from now on a write in doubt is not waited out, the process ends
  // as after a failed store (exit 5), to be resumed by another node. [any]
  virtual void give_up() = 0;
};

}  // namespace millrace
