// MongoStore: the store that replicas share, a database of MongoDB 4.4 or newer: a replica set, a
// sharded cluster, or (without protection against the loss of the machine) a single server.
//
// Collections:
//   jobs         one document a job; mongo_document.h has the form
//   definitions  { _id: "sha256:…", source: string }
//   nodes        { _id: string node, counter: int64, departed: bool, lease_ms: int64,
//                  waiting_steps: int64, free_slots: int64, name: string }
//   verbs        { _id: string UUID, job: string key, salt: bin4 of its id, verb: string,
//                  argument: string, created_at: int64, owner: bin16 node }; `owner` had the job
//                  when it was inserted, and is a hint (mongo_stream.h)
//   dying        { _id: "sha256:…", by: bin16 node, wanted: true?, removing: true? }
//   meta         { _id: "format", version: int64 }; a higher version than ours is refused (E122)
//                { _id: "import", source: "sha256:…", finished_at: int64 }; of the last import
//
// Indexes, made at open, each partial, so that a document pays only for what it has:
//   jobs.owner   { owner, created_at, _id }        unfinished jobs: claims
//   jobs.group   { group, created_at↓, _id↓ }      lists of unfinished and of failed jobs, counts
//   jobs.created { created_at↓, _id↓, pipeline }   all other lists
//   jobs.labels  { labels, created_at↓, _id↓ }     lists by label
//   jobs.refs    { refs }                          who names a blob
//   jobs.expire  { expire_at }                     sweeping (no TTL index: a clock that is set
//                                                  must not expire everything, and blobs of what
//                                                  was removed must be found)
//   verbs.job    { job }                           verbs of claimed jobs
// Lists name their index, as the server's planner would have to guess.
//
// A batch is at most one insert (rev 1) and one update command (the others), unordered,
// acknowledged by a majority and its journals; more commands only when it has many bytes. An update
// replaces the document that has the expected _id, owner and rev. What an acknowledged command says
// of each image is final. Where it says only how many fitted, and after any answer that leaves
// doubt, images are compared by write id with what is stored, under a majority: see Store::commit
// and mongo_commit.cc.
//
// One thread uses one client of a pool at a time, so every function may run beside every other,
// but for the writer's (commit, claims, sweep, remove, put_definitions): those share an encoder.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/store/codec.h"
#include "engine/store/mongo_client.h"
#include "engine/store/shared_store.h"
#include "engine/store/transfer.h"

namespace millrace {

struct StoredImage;

constexpr int64_t kMongoFormat = 1;

// What is known of the last import into a database.
struct ImportMark {
  Digest source;           // the state of the store that is imported
  TimeMs finished_at = 0;  // 0: it has not finished
};

class MongoStore final : public SharedStore, public StoreTransfer {
 public:
  std::vector<WriteResult> commit(const std::vector<Write>& batch) override;
  Result<std::vector<JobRecord>> claim(const NodeId& self, const std::optional<JobRecord>& after,
                                       int max) override;
  std::vector<DamagedJob> take_damaged() override { return std::exchange(damaged_, {}); }
  Result<int> sweep(TimeMs now, int max, std::vector<Digest>* orphans) override;
  Status remove(const JobKey& key) override;
  Result<std::optional<StoredJob>> read(const JobKey& key) override;
  Result<JobPage> list(const JobFilter& filter, const std::string& cursor, int limit) override;
  // Counted by the server at most once a second, and at most a hundredth of the time; between, the
  // last count and what this node has accepted and ended since. So of other nodes' jobs it may be
  // late by that.
  Result<int64_t> count_unfinished() override;
  Status put_definitions(const std::vector<Definition>& definitions) override;
  Result<std::optional<std::string>> definition(const Digest& digest) override;
  Result<bool> names_blob(const Digest& digest) override;

  Status renew(const NodeLease& lease) override;
  Result<std::vector<NodeLease>> leases() override;
  Result<bool> give_node_up(const NodeId& node, uint64_t counter) override;
  Result<bool> forget_node(const NodeId& node) override;
  Result<ClaimPage> claim_from(const NodeId& self, const std::vector<NodeId>& owners,
                               const std::optional<JobPlace>& after, int max) override;
  Result<std::vector<NodeId>> owners() override;
  Status put_verb(const PendingVerb& verb) override;
  Result<std::vector<PendingVerb>> pending_verbs(const NodeId& owner, int max) override;
  Status remove_verbs(const std::vector<std::array<uint8_t, 16>>& ids) override;
  Result<std::optional<StoredJob>> read_confirmed(const JobKey& key) override;
  Result<std::vector<ChangedJob>> changed(const std::vector<WatchedJob>& known) override;
  Result<std::shared_ptr<HintStream>> open_hints(const Topics& topics, DurationMs wait_ms) override;
  Result<std::vector<Digest>> mark_dying(const NodeId& by,
                                         const std::vector<Digest>& digests) override;
  Result<std::vector<Digest>> take_over_dying(const NodeId& by,
                                              const std::vector<DyingMark>& marks) override;
  Result<std::vector<Digest>> begin_removal(const NodeId& by,
                                            const std::vector<Digest>& digests) override;
  Result<std::vector<Digest>> want_blobs(const std::vector<Digest>& digests) override;
  Result<std::vector<DyingMark>> dying_after(const Digest& after, int max) override;
  Status unmark_dying(const NodeId& by, const std::vector<Digest>& digests) override;
  Result<bool> seems_named(const Digest& digest) override;
  void set_may_send(std::function<bool()> may_send) override { may_send_ = std::move(may_send); }
  StoreHealth health() const override;
  void give_up() override;

  Result<StoredPage> stored_after(bool tombstones, const JobKey& after, int max) override;
  Result<std::vector<Definition>> definitions_after(const Digest& after, int max) override;
  Status put_stored(const std::vector<StoredJob>& jobs) override;

  // An import begins, or goes on: from now on no server opens this store (E128) until it has
  // finished. Conflict E129: jobs are here, or an import of another state of a store has begun.
  Status begin_import(const Digest& source);
  Status finish_import(const Digest& source, TimeMs now);

  // Hosts and database, for people; nothing secret.
  const std::string& name() const { return client_->name(); }

 private:
  friend Result<std::unique_ptr<MongoStore>> open_mongo_store(const MongoOptions& options);
  struct Image;  // one record on its way
  using Images = std::vector<Image*>;

  explicit MongoStore(const MongoOptions& options) : options_(options) {}
  Status open();
  Status check_format();
  Status make_format();
  Status check_import();
  Status make_indexes();

  // ---- mongo_commit.cc
  std::vector<WriteResult> write_all(const std::vector<Write>& batch);
  Status attempt(std::vector<Image>* images);
  Status send(const Images& images, bool first_revs);
  void note_inserts(const Images& images, const bson_t* reply, Images* unclear, Status* status);
  void note_updates(const Images& images, const bson_t* reply, Images* unclear, Status* status);
  Status compare(const Images& images);
  // Waits longer with each try, until give_up(), which does not return from here.
  void wait_out(int tries, const Status& status);
  void doubt_is_over();
  void wait_until_sendable();
  [[noreturn]] void end_in_doubt(const std::string& why);

  // ---- mongo_reads.cc, mongo_nodes.cc
  Result<std::optional<StoredJob>> read_at(const JobKey& key, ReadLevel level);
  Result<bool> any_job(const BsonDoc& filter, const char* index,
                       ReadLevel level = ReadLevel::kConfirmed);
  Status read_claimable(const std::vector<NodeId>& owners, const std::optional<JobPlace>& after,
                        int max, ClaimPage* page, std::vector<JobRecord>* found);
  Result<std::vector<PendingVerb>> verbs_of(const std::vector<JobKey>& jobs);
  // Inserts documents, leaving those alone whose _id is there.
  Status insert_absent(const char* collection, const BsonArray& documents);
  Result<int> update_each(const char* collection, const BsonArray& statements);
  Result<std::optional<ImportMark>> import_mark();
  Status put_import_mark(const ImportMark& mark);
  // What the documents of these ids say of themselves, as a majority has them.
  Result<std::map<JobKey, StoredImage>> images_of(const BsonArray& ids);
  // Compares documents that are there with what should have been inserted.
  Status compare_stored(const std::vector<const StoredJob*>& jobs);
  Status delete_ids(const char* collection, const BsonArray& ids, const BsonDoc& also);
  TimeMs traced_until(TimeMs finished_at) const;
  Result<int> leave_traces(const BsonArray& ids);
  // ---- mongo_marks.cc
  Result<std::vector<Digest>> marked(const BsonDoc& filter, ReadLevel level);

  const MongoOptions options_;
  std::unique_ptr<MongoClient> client_;
  RecordEncoder encoder_;  // this and the next two: of the writer thread
  std::vector<DamagedJob> damaged_;
  std::set<JobKey> told_;           // of them
  std::function<bool()> may_send_;  // null: always

  mutable std::mutex mutex_;  // of what follows, up to count_us_
  std::condition_variable given_up_changed_;
  bool given_up_ = false;
  int64_t doubt_since_us_ = 0;  // 0: no write is in doubt
  std::string doubt_;
  int64_t counted_ = -1;  // unfinished jobs when last counted; -1: never
  int64_t counted_until_us_ = 0;
  std::atomic<int64_t> unfinished_since_{0};  // of this node, since then
  std::atomic<uint64_t> resent_{0};
};

// Opens the database, making what is missing in it. [main]
// E120: it cannot be reached, or the URL is wrong; E122: a newer version wrote it; E125: it holds
// something else.
Result<std::unique_ptr<MongoStore>> open_mongo_store(const MongoOptions& options);

}  // namespace millrace
