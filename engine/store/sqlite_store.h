// SqliteStore: the embedded store, one SQLite database in WAL mode, for one process.
//
// A batch is one transaction and one sync (synchronous=FULL). jobs is a rowid table: rows of 1.5 KB
// stay in their leaf, which a WITHOUT ROWID table on 4 KiB pages cannot do. Beside the encoded
// record stand only the columns that conditions and lists need; refs (blob -> job) and labels are
// written in the same transaction, and a job without blobs or labels costs nothing there.
//
// What is read at boot was made durable before: open checkpoints and truncates the log first, since
// a killed process may have left commits in it that never reached the disk.
//
// A full disk: see Store. It can be opened on one, with the log as it is, synced; only a store that
// would be new, or whose shared index (32 KiB) has no room, cannot. The reserve is then given back,
// records of accepted jobs are tried again, new ones stay kNoSpace until there is room for the
// reserve.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/store/codec.h"
#include "engine/store/reserve.h"
#include "engine/store/sqlite_connection.h"
#include "engine/store/sqlite_reads.h"
#include "engine/store/store.h"
#include "engine/store/store_lock.h"
#include "engine/store/transfer.h"

namespace millrace {

struct SqliteOptions {
  std::string path;  // the database file; its directory is created when absent. PATH.lock and
                     // PATH.reserve stand beside it
  int64_t reserve_bytes = 4 << 20;  // 0: none
  int checkpoint_pages = 1000;      // the log is copied back when it is this long
  bool upgrade = true;  // false: a store of an older version stays one, and nothing is committed
  const char* vfs = nullptr;  // of SQLite; for tests
  // Called after a failed write or sync with what to log. Must not return: the default prints it
  // and ends the process with exit code 5. Tests throw.
  std::function<void(const std::string&)> on_fatal;
};

// What a store holds, and which state of it that is: it is another one after any commit.
struct SqliteSummary {
  uint64_t jobs = 0, tombstones = 0, blobs = 0;
  Digest state;
};

class SqliteStore final : public Store, public StoreTransfer {
 public:
  ~SqliteStore() override;

  std::vector<WriteResult> commit(const std::vector<Write>& batch) override;
  Result<std::vector<JobRecord>> claim(const NodeId& self, const std::optional<JobRecord>& after,
                                       int max) override;
  std::vector<DamagedJob> take_damaged() override;
  Result<int> sweep(TimeMs now, int max, std::vector<Digest>* orphans) override;
  Status remove(const JobKey& key) override;
  Result<std::optional<StoredJob>> read(const JobKey& key) override;
  Result<JobPage> list(const JobFilter& filter, const std::string& cursor, int limit) override;
  Result<int64_t> count_unfinished() override;
  Status put_definitions(const std::vector<Definition>& definitions) override;
  Result<std::optional<std::string>> definition(const Digest& digest) override;
  Result<bool> names_blob(const Digest& digest) override;

  Result<StoredPage> stored_after(bool tombstones, const JobKey& after, int max) override;
  Result<std::vector<Definition>> definitions_after(const Digest& after, int max) override;
  Status put_stored(const std::vector<StoredJob>& jobs) override;
  // Reads every row. [reader]
  Result<SqliteSummary> summary();

  // Looks at every page of the database and at every index. E125 with the first flaws. [reader]
  Status check();
  // For a check of the whole store, page by page: at most `max` digests that records name, each
  // once, ascending, after `after` (zero: from the first); and who names one. [reader]
  Result<std::vector<Digest>> blobs_after(const Digest& after, int max);
  Result<std::vector<JobId>> jobs_naming(const Digest& digest, int max);

  // False while the disk is full: new jobs are answered kNoSpace. Becomes true again with the first
  // commit that finds room. [any]
  bool has_space() const { return reserve_.held(); }
  // Tries to become that now, for a caller who waits for room while nothing is committed. [writer]
  bool regain_space();

 private:
  friend Result<std::unique_ptr<SqliteStore>> open_sqlite_store(const SqliteOptions& options);
  // What a stored row says about itself.
  struct Row {
    int64_t rowid = 0;
    uint64_t rev = 0;
    NodeId owner;
    int64_t blobs = 0;
    bool ended = false;
  };

  explicit SqliteStore(const SqliteOptions& options);
  Status open();
  Status open_writer();
  Status prepare();

  // One transaction. Nothing: there was no room, and nothing of it was written.
  std::optional<std::vector<WriteResult>> try_batch(const std::vector<Write>& batch, bool new_jobs);
  // Each returns SQLITE_DONE or what went wrong, the outcome through its last parameter.
  int insert(const JobRecord& record, WriteResult* result);
  int update(const Write& write, WriteResult* result);
  int update_row(const Write& write, const Row& row, size_t blobs);
  int find_row(const JobKey& key, std::optional<Row>* row);
  int write_refs(int64_t rowid, const std::vector<Digest>& wanted, bool fresh);
  int write_labels(int64_t rowid, const JobRecord& record);
  int delete_row(int64_t rowid, std::vector<Digest>* dropped);
  int leave_tombstone(const JobRecord& record);
  int add_tombstone(const JobRecord& rest);
  int put_one(const StoredJob& job, bool* there);
  Status remove_damaged(const JobKey& key);
  int sweep_jobs(TimeMs now, int max, std::vector<Digest>* dropped, int* removed);
  int sweep_tombstones(TimeMs now, int max, int* removed);

  // Runs `work` in a transaction of its own. Ok; E123 when there was no room and nothing was
  // written. Anything else does not return.
  Status transact(const char* what, const std::function<int()>& work);
  int begin() { return begin_.run(); }
  int finish() { return commit_.run(); }
  void roll_back();
  void checkpoint_if_due();
  [[noreturn]] void fatal(int code, const char* what);
  SqliteReads& reads();

  const SqliteOptions options_;
  StoreLock lock_;
  Reserve reserve_;
  RecordEncoder encoder_;
  std::atomic<int64_t> unfinished_{0};
  int64_t unfinished_delta_ = 0;  // of the transaction under way
  int log_pages_ = 0;             // in the WAL after the last commit
  int restart_at_pages_ = 0;      // its length when it could not be begun anew last

  SqliteConnection writer_, reader_;  // before their statements, which are finalized first
  SqliteReads writer_reads_, reader_reads_;
  Statement begin_, commit_, insert_, has_tombstone_, update_, end_, find_, update_found_,
      job_refs_, add_ref_, drop_ref_, drop_refs_, add_label_, drop_labels_, delete_job_,
      add_tombstone_, expired_, drop_tombstones_, add_definition_;
};

// Opens or creates the store, takes its lock, replays and empties its log. [main]
// E120: cannot create or open it, or its file system is remote; E121: another process holds it;
// E122: a newer version wrote it; E123: no space; E125: it is damaged, or no store of ours.
Result<std::unique_ptr<SqliteStore>> open_sqlite_store(const SqliteOptions& options);

}  // namespace millrace
