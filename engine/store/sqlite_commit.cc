// The writing half of SqliteStore: one batch, one transaction, one sync.
#include <algorithm>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/store/sqlite_store.h"

namespace millrace {
namespace {

bool failed(JobState state) {
  return state == JobState::kFailed || state == JobState::kCancelled;
}

}  // namespace

std::vector<WriteResult> SqliteStore::commit(const std::vector<Write>& batch) {
  ON_THREAD(kWriter);
  if (batch.empty()) return {};
  CHECK(batch.size() <= static_cast<size_t>(kCommitRecordsMax));
  auto results = try_batch(batch, reserve_.restore());
  if (!results) {
    // Accepted jobs may use the reserve up to come to their end; new ones may not.
    reserve_.release();
    results = try_batch(batch, false);
  }
  if (!results) return std::vector<WriteResult>(batch.size(), WriteResult::kNoSpace);
  checkpoint_if_due();
  return *std::move(results);
}

std::optional<std::vector<WriteResult>> SqliteStore::try_batch(const std::vector<Write>& batch,
                                                               bool new_jobs) {
  std::vector<WriteResult> results(batch.size(), WriteResult::kNoSpace);
  unfinished_delta_ = 0;
  int code = begin();
  for (size_t i = 0; i < batch.size() && code == SQLITE_DONE; i++) {
    const Write& write = batch[i];
    CHECK(write.record != nullptr && write.record->rev == write.expected_rev + 1);
    if (write.expected_rev > 0) {
      code = update(write, &results[i]);
    } else if (new_jobs) {
      code = insert(*write.record, &results[i]);
    }
  }
  if (code == SQLITE_DONE) code = finish();
  if (code == SQLITE_DONE) {
    unfinished_.fetch_add(unfinished_delta_, std::memory_order_relaxed);
    return results;
  }
  if (!writer_.is_no_space(code)) fatal(code, "writing records");
  roll_back();
  return std::nullopt;
}

int SqliteStore::insert(const JobRecord& record, WriteResult* result) {
  *result = WriteResult::kExists;
  if (record.keyed) {  // only keyed jobs leave tombstones
    has_tombstone_.bind_bytes(1, record.key.bytes);
    const int found = has_tombstone_.step();
    has_tombstone_.reset();
    if (found == SQLITE_ROW) return SQLITE_DONE;
    if (found != SQLITE_DONE) return found;
  }
  const std::vector<Digest> blobs = named_blobs(record);
  const std::string_view bytes = encoder_.encode(record);
  insert_.bind_bytes(1, record.key.bytes);
  insert_.bind(2, static_cast<int64_t>(record.rev));
  insert_.bind_bytes(3, record.owner.bytes);
  insert_.bind(4, static_cast<int64_t>(record.state));
  insert_.bind(5, record.created_at);
  if (is_final(record.state)) {
    insert_.bind(6, record.expire_at);
  } else {
    insert_.bind_null(6);
  }
  if (failed(record.state)) {
    insert_.bind(7, 1);
  } else {
    insert_.bind_null(7);
  }
  insert_.bind(8, static_cast<int64_t>(blobs.size()));
  insert_.bind_text(9, record.pipeline);
  insert_.bind_blob(10, bytes.data(), bytes.size());
  int code = insert_.run();
  if (code != SQLITE_DONE || writer_.changes() == 0) return code;
  *result = WriteResult::kApplied;
  if (!is_final(record.state)) unfinished_delta_++;
  if (blobs.empty() && record.labels.empty()) return code;
  const int64_t rowid = writer_.last_rowid();
  code = write_refs(rowid, blobs, true);
  return code == SQLITE_DONE ? write_labels(rowid, record) : code;
}

// Most updates are of unfinished jobs without blobs: one statement that states all of this in its
// condition. Only when it finds nothing, or there are blobs, the row is looked at.
int SqliteStore::update(const Write& write, WriteResult* result) {
  const JobRecord& record = *write.record;
  *result = WriteResult::kApplied;
  const bool ends = is_final(record.state);
  const std::vector<Digest> blobs = named_blobs(record);
  if (blobs.empty()) {
    Statement& statement = ends ? end_ : update_;
    const std::string_view bytes = encoder_.encode(record);
    statement.bind(1, static_cast<int64_t>(record.rev));
    statement.bind_bytes(2, record.owner.bytes);
    statement.bind(3, static_cast<int64_t>(record.state));
    statement.bind_blob(4, bytes.data(), bytes.size());
    statement.bind_bytes(5, record.key.bytes);
    statement.bind(6, static_cast<int64_t>(write.expected_rev));
    statement.bind_bytes(7, write.expected_owner.bytes);
    if (ends) {
      statement.bind(8, record.expire_at);
      if (failed(record.state)) {
        statement.bind(9, 1);
      } else {
        statement.bind_null(9);
      }
    }
    const int code = statement.run();
    if (code != SQLITE_DONE) return code;
    if (writer_.changes() == 1) {
      if (ends) unfinished_delta_--;
      return code;
    }
  }
  std::optional<Row> row;
  int code = find_row(record.key, &row);
  if (code != SQLITE_DONE) return code;
  if (!row || row->rev != write.expected_rev || row->owner != write.expected_owner) {
    *result = WriteResult::kLost;
    return SQLITE_DONE;
  }
  CHECK_MSG(ends || !row->ended, "an ended job went on");
  code = update_row(write, *row, blobs.size());
  if (code == SQLITE_DONE && (row->blobs != 0 || !blobs.empty())) {
    code = write_refs(row->rowid, blobs, false);
  }
  if (ends && !row->ended) unfinished_delta_--;
  return code;
}

int SqliteStore::update_row(const Write& write, const Row& row, size_t blobs) {
  const JobRecord& record = *write.record;
  const std::string_view bytes = encoder_.encode(record);
  update_found_.bind(1, static_cast<int64_t>(record.rev));
  update_found_.bind_bytes(2, record.owner.bytes);
  update_found_.bind(3, static_cast<int64_t>(record.state));
  update_found_.bind_blob(4, bytes.data(), bytes.size());
  update_found_.bind(5, row.rowid);
  update_found_.bind(6, static_cast<int64_t>(blobs));
  if (is_final(record.state)) {
    update_found_.bind(7, record.expire_at);
  } else {
    update_found_.bind_null(7);
  }
  if (failed(record.state)) {
    update_found_.bind(8, 1);
  } else {
    update_found_.bind_null(8);
  }
  return update_found_.run();
}

int SqliteStore::find_row(const JobKey& key, std::optional<Row>* row) {
  const ResetAtEnd reset(&find_);
  find_.bind_bytes(1, key.bytes);
  const int code = find_.step();
  if (code != SQLITE_ROW) return code;
  Row& found = row->emplace();
  found.rowid = find_.integer(0);
  found.rev = static_cast<uint64_t>(find_.integer(1));
  const std::string_view owner = find_.bytes(2);
  if (owner.size() != found.owner.bytes.size()) return SQLITE_CORRUPT;
  std::copy(owner.begin(), owner.end(), found.owner.bytes.begin());
  found.blobs = find_.integer(3);
  found.ended = !find_.is_null(4);
  return SQLITE_DONE;
}

// Brings the stored digests of a job to `wanted` (ascending), touching only those that differ.
int SqliteStore::write_refs(int64_t rowid, const std::vector<Digest>& wanted, bool fresh) {
  std::vector<Digest> stored;
  int code = SQLITE_DONE;
  if (!fresh) {
    const ResetAtEnd reset(&job_refs_);
    job_refs_.bind(1, rowid);
    while ((code = job_refs_.step()) == SQLITE_ROW) {
      const std::string_view bytes = job_refs_.bytes(0);
      Digest& digest = stored.emplace_back();
      if (bytes.size() != digest.bytes.size()) return SQLITE_CORRUPT;
      std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
    }
  }
  const auto change = [rowid, &code](Statement* statement, const std::vector<Digest>& a,
                                     const std::vector<Digest>& b) {
    for (size_t i = 0; i < a.size() && code == SQLITE_DONE; i++) {
      if (std::binary_search(b.begin(), b.end(), a[i])) continue;
      statement->bind(1, rowid);
      statement->bind_bytes(2, a[i].bytes);
      code = statement->run();
    }
  };
  change(&add_ref_, wanted, stored);
  change(&drop_ref_, stored, wanted);
  return code;
}

int SqliteStore::write_labels(int64_t rowid, const JobRecord& record) {
  int code = SQLITE_DONE;
  for (const auto& [name, value] : record.labels) {
    add_label_.bind(1, rowid);
    add_label_.bind_text(2, name);
    add_label_.bind_text(3, value);
    add_label_.bind(4, record.created_at);
    add_label_.bind_bytes(5, record.key.bytes);
    code = add_label_.run();
    if (code != SQLITE_DONE) break;
  }
  return code;
}

}  // namespace millrace
