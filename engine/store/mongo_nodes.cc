// What nodes tell each other through MongoStore: leases, claims, verbs, marks.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/store/mongo_document.h"
#include "engine/store/mongo_store.h"

namespace millrace {
namespace {

std::optional<NodeId> parse_node(std::string_view text) {
  const auto bytes = from_hex(text);
  NodeId node;
  if (!bytes || bytes->size() != node.bytes.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), node.bytes.begin());
  return node;
}

std::string verb_id_text(const std::array<uint8_t, 16>& id) {
  return JobKey{id}.text();
}

std::optional<PendingVerb> read_verb(const bson_t* document) {
  const auto id = parse_key(bson_text(document, "_id").value_or(""));
  const auto job = parse_key(bson_text(document, "job").value_or(""));
  if (!id || !job) return std::nullopt;
  PendingVerb verb;
  verb.id = id->bytes;
  verb.job.key = *job;
  if (!bson_bytes(document, "salt", &verb.job.salt)) return std::nullopt;
  verb.verb = bson_text(document, "verb").value_or("");
  verb.argument = bson_text(document, "argument").value_or("");
  verb.created_at = bson_number(document, "created_at").value_or(0);
  return verb;
}

BsonDoc lease_document(const NodeLease& lease) {
  BsonDoc document;
  document.text("_id", lease.node.text())
      .number("counter", static_cast<int64_t>(lease.counter))
      .flag("departed", lease.departed)
      .number("lease_ms", lease.lease_ms)
      .number("waiting_steps", lease.waiting_steps)
      .number("free_slots", lease.free_slots)
      .text("name", lease.name);
  return document;
}

}  // namespace

// ---- leases

Status MongoStore::renew(const NodeLease& lease) {
  CHECK(lease.node != NodeId{});
  BsonDoc which, departed, one, command;
  which.text("_id", lease.node.text());
  // To depart again does no harm, when nobody heard of it the first time.
  if (!lease.departed) which.doc("departed", departed.flag("$ne", true));
  const bool makes = lease.counter <= 1;
  one.doc("q", which).doc("u", lease_document(lease)).flag("upsert", makes);
  command.text("update", "nodes").array("updates", BsonArray().add(one));
  const auto reply = client_->write(std::move(command));
  if (!reply.ok()) return reply.status();
  Status status;
  bool refused = bson_number(reply->get(), "n").value_or(0) == 0;
  each_write_error(reply->get(), [&](size_t, int64_t code, std::string_view message) {
    refused = code == kMongoDuplicateKey;
    status = Status::unavailable(errors::kStoreFailed,
                                 fmt::format("the lease was not renewed: {}", message));
  });
  if (!refused) return status;
  return Status::conflict(
      errors::kStoreFailed,
      fmt::format("the other replicas took this one ({}) for dead, since its lease was not renewed "
                  "for longer than {} ms, and have its jobs now; start it again",
                  lease.node.text(), lease.lease_ms));
}

Result<bool> MongoStore::give_node_up(const NodeId& node, uint64_t counter) {
  BsonDoc which, change, one, command, filter, options;
  which.text("_id", node.text()).number("counter", static_cast<int64_t>(counter));
  BsonDoc departed;
  change.doc("$set", departed.flag("departed", true));
  one.doc("q", which).doc("u", change);
  command.text("update", "nodes").array("updates", BsonArray().add(one));
  const auto reply = client_->write(std::move(command));
  if (!reply.ok()) return reply.status();
  // A write error leaves "n" at 0, and what is stored says the rest.
  if (bson_number(reply->get(), "n").value_or(0) > 0) return true;
  bool gone = true;  // forgotten already
  RETURN_IF_ERROR(client_->find("nodes", filter.text("_id", node.text()), options,
                                ReadLevel::kMajority, [&](const bson_t* document) -> Status {
                                  gone = bson_flag(document, "departed");
                                  return {};
                                }));
  return gone;
}

Result<std::vector<NodeLease>> MongoStore::leases() {
  BsonDoc options, sort;
  options.doc("sort", sort.small("_id", 1)).small("limit", kNodesMax);
  std::vector<NodeLease> all;
  RETURN_IF_ERROR(client_->find(
      "nodes", BsonDoc(), options, ReadLevel::kMajority, [&](const bson_t* document) -> Status {
        const auto node = parse_node(bson_text(document, "_id").value_or(""));
        if (!node) return {};  // not of this version: nobody's records depend on it
        NodeLease& lease = all.emplace_back();
        lease.node = *node;
        lease.counter = static_cast<uint64_t>(bson_number(document, "counter").value_or(0));
        lease.departed = bson_flag(document, "departed");
        lease.lease_ms = bson_number(document, "lease_ms").value_or(0);
        lease.waiting_steps = bson_number(document, "waiting_steps").value_or(0);
        lease.free_slots = bson_number(document, "free_slots").value_or(0);
        lease.name = bson_text(document, "name").value_or("");
        return {};
      }));
  return all;
}

Result<bool> MongoStore::forget_node(const NodeId& node) {
  BsonDoc owned;
  const auto owns = any_job(owned.binary("owner", node.bytes), "owner");
  if (!owns.ok()) return owns.status();
  if (*owns) return false;
  RETURN_IF_ERROR(delete_ids("nodes", BsonArray().text(node.text()), BsonDoc()));
  return true;
}

Result<std::vector<NodeId>> MongoStore::owners() {
  std::vector<NodeId> all;
  while (all.size() < size_t{kNodesMax}) {
    BsonDoc beyond, filter, options, sort, fields;
    // The first one may be the zero of nobody.
    beyond.binary(all.empty() ? "$gte" : "$gt", all.empty() ? NodeId{}.bytes : all.back().bytes);
    filter.doc("owner", beyond);
    options.doc("sort", sort.small("owner", 1)).small("limit", 1).text("hint", "owner");
    options.doc("projection", fields.small("_id", 0).small("owner", 1));
    const size_t before = all.size();
    RETURN_IF_ERROR(client_->find("jobs", filter, options, ReadLevel::kMajority,
                                  [&](const bson_t* document) -> Status {
                                    NodeId owner;
                                    if (bson_bytes(document, "owner", &owner.bytes)) {
                                      all.push_back(owner);
                                    }
                                    return {};
                                  }));
    if (all.size() == before) break;
  }
  return all;
}

// ---- claims

Status MongoStore::read_claimable(const std::vector<NodeId>& owners,
                                  const std::optional<JobPlace>& after, int max, ClaimPage* page,
                                  std::vector<JobRecord>* found) {
  BsonArray of;
  for (const NodeId& owner : owners) of.binary(owner.bytes);
  BsonDoc among, filter, options, sort;
  filter.doc("owner", among.array("$in", of));
  if (after) {
    BsonDoc not_before, later, beyond, same, larger;
    filter.doc("created_at", not_before.number("$gte", after->created_at));
    later.doc("created_at", beyond.number("$gt", after->created_at));
    same.number("created_at", after->created_at).doc("_id", larger.text("$gt", after->key.text()));
    filter.array("$or", BsonArray().add(later).add(same));
  }
  options.doc("sort", sort.small("created_at", 1).small("_id", 1))
      .small("limit", max)
      .text("hint", "owner");
  int seen = 0;
  JobPlace last;
  RETURN_IF_ERROR(client_->find(
      "jobs", filter, options, ReadLevel::kMajority, [&](const bson_t* document) -> Status {
        seen++;
        last.created_at = bson_number(document, "created_at").value_or(0);
        last.key = parse_key(bson_text(document, "_id").value_or("")).value_or(JobKey{});
        auto job = read_job(document);
        if (job.ok()) {
          found->push_back(std::move(job->record));
        } else {
          page->unreadable.push_back({last.key, job.status()});
        }
        return {};
      }));
  if (seen == max) page->next = last;
  return {};
}

Result<ClaimPage> MongoStore::claim_from(const NodeId& self, const std::vector<NodeId>& owners,
                                         const std::optional<JobPlace>& after, int max) {
  ON_THREAD(kWriter);
  CHECK(max > 0 && max <= kCommitRecordsMax && self != NodeId{});
  CHECK(std::find(owners.begin(), owners.end(), self) == owners.end());
  ClaimPage page;
  if (owners.empty()) return page;
  std::vector<JobRecord> found;
  RETURN_IF_ERROR(read_claimable(owners, after, max, &page, &found));
  std::vector<Write> batch;
  for (const JobRecord& record : found) {
    auto mine = std::make_shared<JobRecord>(record);
    mine->owner = self;
    mine->rev++;
    random_bytes(mine->write_id.data(), mine->write_id.size());
    batch.push_back({std::move(mine), record.rev, record.owner});
  }
  const std::vector<WriteResult> results = write_all(batch);
  std::vector<JobKey> keys;
  for (size_t i = 0; i < batch.size(); i++) {
    if (results[i] != WriteResult::kApplied) continue;
    page.jobs.push_back({*batch[i].record, {}});
    keys.push_back(batch[i].record->key);
  }
  if (keys.empty()) return page;
  // They are ours now: to come back without them would leave them to nobody.
  for (int tries = 0;; tries++) {
    auto verbs = verbs_of(keys);
    if (!verbs.ok()) {
      wait_out(tries, verbs.status());
      continue;
    }
    doubt_is_over();
    for (ClaimedJob& job : page.jobs) {
      for (const PendingVerb& verb : *verbs) {
        if (verb.job == job.record.id()) job.verbs.push_back(verb);
      }
    }
    return page;
  }
}

Result<std::vector<JobRecord>> MongoStore::claim(const NodeId& self,
                                                 const std::optional<JobRecord>& after, int max) {
  // Owners first: a node that is among them and has a lease was there before.
  const auto all = owners();
  if (!all.ok()) return all.status();
  const auto nodes = leases();
  if (!nodes.ok()) return nodes.status();
  std::set<NodeId> living = {self};
  for (const NodeLease& lease : *nodes) {
    if (!lease.departed) living.insert(lease.node);
  }
  std::vector<NodeId> gone;
  for (const NodeId& owner : *all) {
    if (!living.contains(owner)) gone.push_back(owner);
  }
  std::optional<JobPlace> place;
  if (after) place = JobPlace{after->created_at, after->key};
  std::vector<JobRecord> records;
  do {
    const int room = std::min(max - static_cast<int>(records.size()), kCommitRecordsMax);
    auto page = claim_from(self, gone, place, room);
    if (!page.ok()) return page.status();
    for (ClaimedJob& job : page->jobs) records.push_back(std::move(job.record));
    for (DamagedJob& job : page->unreadable) {
      if (told_.insert(job.key).second) damaged_.push_back(std::move(job));
    }
    place = page->next;
  } while (place && records.size() < static_cast<size_t>(max));
  return records;
}

// ---- verbs

Status MongoStore::put_verb(const PendingVerb& verb) {
  auto job = read(verb.job.key);
  if (job.ok() && !job->has_value()) job = read_confirmed(verb.job.key);
  if (!job.ok()) return job.status();
  if (!job->has_value() || (*job)->tombstone || (*job)->record.id() != verb.job) {
    return Status::not_found(errors::kJobUnknown, "there is no such job");
  }
  if (is_final((*job)->record.state)) {
    return Status::conflict(errors::kVerbForbidden,
                            fmt::format("the job has ended: it is {}, and nothing can be done "
                                        "with it any more but to delete it or run it again",
                                        state_name((*job)->record.state)));
  }
  BsonDoc document;
  document.text("_id", verb_id_text(verb.id))
      .text("job", verb.job.key.text())
      .binary("salt", verb.job.salt)
      .text("verb", verb.verb)
      .text("argument", verb.argument)
      .number("created_at", verb.created_at)
      .binary("owner", (*job)->record.owner.bytes);
  return insert_absent("verbs", BsonArray().add(document));
}

Result<std::vector<PendingVerb>> MongoStore::verbs_of(const std::vector<JobKey>& jobs) {
  BsonArray keys;
  for (const JobKey& key : jobs) keys.text(key.text());
  BsonDoc among, filter, options, sort;
  filter.doc("job", among.array("$in", keys));
  options.doc("sort", sort.small("_id", 1));
  std::vector<PendingVerb> verbs;
  RETURN_IF_ERROR(client_->find("verbs", filter, options, ReadLevel::kMajority,
                                [&](const bson_t* document) -> Status {
                                  if (auto verb = read_verb(document)) verbs.push_back(*verb);
                                  return {};
                                }));
  return verbs;
}

Result<std::vector<PendingVerb>> MongoStore::pending_verbs(const NodeId& owner, int max) {
  CHECK(max > 0);
  std::vector<PendingVerb> mine;
  BsonArray over;
  std::string last;
  for (bool more = true; more && mine.size() < static_cast<size_t>(max);) {
    // Verbs that nobody has applied yet, whoever owns their jobs: few, or none.
    BsonDoc beyond, filter, options, sort;
    filter.doc("_id", beyond.text("$gt", last));
    options.doc("sort", sort.small("_id", 1)).small("limit", kVerbsPageMax);
    std::vector<PendingVerb> page;
    int seen = 0;
    RETURN_IF_ERROR(client_->find("verbs", filter, options, ReadLevel::kMajority,
                                  [&](const bson_t* document) -> Status {
                                    seen++;
                                    last = bson_text(document, "_id").value_or("");
                                    if (auto verb = read_verb(document)) page.push_back(*verb);
                                    return {};
                                  }));
    more = seen == kVerbsPageMax;
    if (page.empty()) continue;
    BsonArray keys;
    for (const PendingVerb& verb : page) keys.text(verb.job.key.text());
    BsonDoc among, jobs, look;
    jobs.doc("_id", among.array("$in", keys));
    look.doc("projection", image_fields());
    std::map<JobKey, StoredImage> stored;
    RETURN_IF_ERROR(client_->find("jobs", jobs, look, ReadLevel::kMajority,
                                  [&](const bson_t* document) -> Status {
                                    if (const auto image = read_image(document)) {
                                      stored.emplace(image->key, *image);
                                    }
                                    return {};
                                  }));
    for (PendingVerb& verb : page) {
      const auto job = stored.find(verb.job.key);
      const bool meant = job != stored.end() && job_id(job->first, job->second.salt) == verb.job;
      if (meant && job->second.unfinished) {
        if (job->second.owner == owner && mine.size() < static_cast<size_t>(max)) {
          mine.push_back(std::move(verb));
        }
        continue;
      }
      if (job == stored.end()) {  // removed; or this server does not know the latest
        const auto confirmed = read_confirmed(verb.job.key);
        if (!confirmed.ok() || confirmed->has_value()) continue;
      }
      over.text(verb_id_text(verb.id));
    }
  }
  // When this fails, the next listing does it.
  if (!over.empty()) (void)delete_ids("verbs", over, BsonDoc());
  return mine;
}

Status MongoStore::remove_verbs(const std::vector<std::array<uint8_t, 16>>& ids) {
  if (ids.empty()) return {};
  BsonArray texts;
  for (const auto& id : ids) texts.text(verb_id_text(id));
  return delete_ids("verbs", texts, BsonDoc());
}

}  // namespace millrace
