#include "tests/sim/sim_store.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace::sim {
namespace {

// Where a record stands in the order of claims and, from its end, of lists.
std::pair<TimeMs, JobKey> place_of(const JobRecord& record) {
  return {record.created_at, record.key};
}

bool matches(const JobFilter& filter, const JobRecord& record) {
  if (!filter.pipeline.empty() && record.pipeline != filter.pipeline) return false;
  if (filter.state && record.state != *filter.state) return false;
  if (filter.created_after > 0 && record.created_at <= filter.created_after) return false;
  return std::all_of(filter.labels.begin(), filter.labels.end(), [&](const auto& label) {
    const auto found = record.labels.find(label.first);
    return found != record.labels.end() && found->second == label.second;
  });
}

// Cursors: "s", 16 digits of time, the key; all in hexadecimal.
constexpr size_t kTimeDigits = 16;

std::string cursor_after(const JobRecord& record) {
  const auto& bytes = record.key.bytes;
  return fmt::format("s{:016x}{}", static_cast<uint64_t>(record.created_at),
                     to_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

std::optional<std::pair<TimeMs, JobKey>> parse_cursor(const std::string& text) {
  std::pair<TimeMs, JobKey> place;
  JobKey& key = place.second;
  if (text.size() != 1 + kTimeDigits + 2 * key.bytes.size() || text[0] != 's') return std::nullopt;
  const auto raw = from_hex(std::string_view(text).substr(1));
  if (!raw) return std::nullopt;
  place.first =
      static_cast<TimeMs>(std::strtoull(text.substr(1, kTimeDigits).c_str(), nullptr, 16));
  std::copy_n(raw->end() - static_cast<ptrdiff_t>(key.bytes.size()), key.bytes.size(),
              key.bytes.begin());
  return place;
}

}  // namespace

// ---- commit

std::vector<WriteResult> SimStore::commit(const std::vector<Write>& batch) {
  std::vector<WriteResult> results;
  results.reserve(batch.size());
  for (const Write& one : batch) results.push_back(write(one));
  return results;
}

WriteResult SimStore::write(const Write& write) {
  const JobRecord& record = *write.record;
  CHECK(record.rev == write.expected_rev + 1);
  const auto found = jobs_.find(record.key);
  if (write.expected_rev == 0) {
    if (found != jobs_.end() || tombstones_.contains(record.key)) return WriteResult::kExists;
    jobs_[record.key] = {write.record, false, named_blobs(record)};
    return WriteResult::kApplied;
  }
  if (found == jobs_.end()) return WriteResult::kLost;
  const JobRecord& stored = *found->second.record;
  if (stored.rev != write.expected_rev || stored.owner != write.expected_owner) {
    return WriteResult::kLost;
  }
  found->second.record = write.record;
  found->second.blobs = named_blobs(record);
  return WriteResult::kApplied;
}

// ---- claim

const SimStore::Job* SimStore::first_unclaimed(const NodeId& self, const JobRecord* after) const {
  const Job* first = nullptr;
  for (const auto& [key, job] : jobs_) {
    const JobRecord& record = *job.record;
    if (is_final(record.state) || record.owner == self || job.stolen) continue;
    if (after != nullptr && place_of(record) <= place_of(*after)) continue;
    // Keys ascend: the first of equal times has the smallest.
    if (first == nullptr || record.created_at < first->record->created_at) first = &job;
  }
  return first;
}

Result<std::vector<JobRecord>> SimStore::claim(const NodeId& self,
                                               const std::optional<JobRecord>& after, int max) {
  CHECK(max > 0);
  std::vector<JobRecord> claimed;
  const JobRecord* last = after ? &*after : nullptr;
  while (claimed.size() < static_cast<size_t>(max)) {
    const Job* job = first_unclaimed(self, last);
    if (job == nullptr) break;
    claimed.push_back(*job->record);
    last = job->record.get();
  }
  return claimed;
}

Result<int64_t> SimStore::count_unfinished() {
  return std::count_if(jobs_.begin(), jobs_.end(),
                       [](const auto& job) { return !is_final(job.second.record->state); });
}

// ---- sweep and remove

void SimStore::drop(Jobs::iterator job, std::vector<Digest>* dropped) {
  const std::vector<Digest>& blobs = job->second.blobs;
  dropped->insert(dropped->end(), blobs.begin(), blobs.end());
  jobs_.erase(job);
}

Result<int> SimStore::sweep(TimeMs now, int max, std::vector<Digest>* orphans) {
  CHECK(max > 0);
  int removed = 0;
  std::vector<Digest> dropped;
  for (auto at = jobs_.begin(); at != jobs_.end() && removed < max;) {
    const auto job = at++;
    const JobRecord& record = *job->second.record;
    if (!is_final(record.state) || record.expire_at > now) continue;
    drop(job, &dropped);
    removed++;
  }
  for (auto at = tombstones_.begin(); at != tombstones_.end() && removed < max;) {
    const auto tombstone = at++;
    if (tombstone->second->expire_at > now) continue;
    tombstones_.erase(tombstone);
    removed++;
  }
  if (orphans == nullptr) return removed;
  std::sort(dropped.begin(), dropped.end());
  dropped.erase(std::unique(dropped.begin(), dropped.end()), dropped.end());
  for (const Digest& digest : dropped) {
    if (!*names_blob(digest)) orphans->push_back(digest);
  }
  return removed;
}

Status SimStore::remove(const JobKey& key) {
  const auto found = jobs_.find(key);
  if (found == jobs_.end()) return Status::not_found(errors::kJobUnknown, "no such job");
  const JobRecord& record = *found->second.record;
  if (!is_final(record.state)) {
    return Status::conflict(errors::kVerbForbidden, "only an ended job can be deleted");
  }
  if (record.keyed) {
    auto rest = std::make_shared<JobRecord>();
    rest->key = record.key;
    rest->rev = record.rev;
    rest->salt = record.salt;
    rest->pipeline = record.pipeline;
    rest->request = record.request;
    rest->state = record.state;
    rest->keyed = true;
    rest->created_at = record.created_at;
    rest->started_at = record.started_at;
    rest->finished_at = record.finished_at;
    rest->expire_at = record.expire_at;
    tombstones_[key] = std::move(rest);
  }
  jobs_.erase(found);
  return {};
}

// ---- reading

const SimStore::Job* SimStore::find(const JobKey& key) const {
  const auto found = jobs_.find(key);
  return found == jobs_.end() ? nullptr : &found->second;
}

Result<std::optional<StoredJob>> SimStore::read(const JobKey& key) {
  if (const Job* job = find(key)) return std::optional(StoredJob{*job->record, false});
  const auto tombstone = tombstones_.find(key);
  if (tombstone == tombstones_.end()) return std::optional<StoredJob>();
  return std::optional(StoredJob{*tombstone->second, true});
}

Result<JobPage> SimStore::list(const JobFilter& filter, const std::string& cursor, int limit) {
  CHECK(limit > 0);
  std::optional<std::pair<TimeMs, JobKey>> before;
  if (!cursor.empty()) {
    before = parse_cursor(cursor);
    if (!before) return Status::invalid(errors::kQueryInvalid, "the cursor is not one of ours");
  }
  std::vector<const JobRecord*> found;
  for (const auto& [key, job] : jobs_) {
    if (before && place_of(*job.record) >= *before) continue;
    if (matches(filter, *job.record)) found.push_back(job.record.get());
  }
  std::sort(found.begin(), found.end(),
            [](const JobRecord* a, const JobRecord* b) { return place_of(*a) > place_of(*b); });
  JobPage page;
  size_t bytes = 0;
  for (const JobRecord* record : found) {
    bytes += record_bytes(*record);
    const bool full = page.jobs.size() == static_cast<size_t>(limit) ||
                      (!page.jobs.empty() && bytes > kListBytesMax);
    if (full) {
      page.next = cursor_after(page.jobs.back());
      break;
    }
    page.jobs.push_back(*record);
  }
  return page;
}

Result<bool> SimStore::names_blob(const Digest& digest) {
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& job) {
    return std::binary_search(job.second.blobs.begin(), job.second.blobs.end(), digest);
  });
}

// ---- definitions

Status SimStore::put_definitions(const std::vector<Definition>& definitions) {
  for (const auto& [digest, source] : definitions) definitions_.emplace(digest, source);
  return {};
}

Result<std::optional<std::string>> SimStore::definition(const Digest& digest) {
  const auto found = definitions_.find(digest);
  if (found == definitions_.end()) return std::optional<std::string>();
  return std::optional(found->second);
}

// ---- what others do

void SimStore::steal(const JobKey& key, std::shared_ptr<const JobRecord> record) {
  jobs_.at(key).stolen = true;
  replace(key, std::move(record));
}

void SimStore::rivals_end() {
  for (auto& [key, job] : jobs_) job.stolen = false;
}

void SimStore::replace(const JobKey& key, std::shared_ptr<const JobRecord> record) {
  Job& job = jobs_.at(key);
  job.blobs = named_blobs(*record);
  job.record = std::move(record);
}

}  // namespace millrace::sim
