// The writing half of MongoStore: images are sent until it is known what became of each.
//
// Why sending again is safe. An update names the rev and the owner that it replaces, and revs only
// grow: of all copies of an image on their way, at most one ever fits, and the others find another
// rev. A copy that arrives late, after its sender was told that the image is lost, finds another
// rev as well. An insert finds its _id taken, by itself or by another job, and the salt tells
// which.
//
// Why comparing is safe. It follows a command that a majority has acknowledged and that did not
// find what it expected; so whatever it met has been acknowledged by a majority too, and is seen by
// the read that comes after.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/store/mongo_document.h"
#include "engine/store/mongo_store.h"

namespace millrace {

struct MongoStore::Image {
  const Write* write = nullptr;
  WriteResult result = WriteResult::kApplied;
  bool known = false;
  bool sent = false;  // once before: an answer "it is there" may mean itself

  const JobRecord& record() const { return *write->record; }
  bool first_rev() const { return write->expected_rev == 0; }
  void decide(WriteResult r) {
    result = r;
    known = true;
  }
};

std::vector<WriteResult> MongoStore::commit(const std::vector<Write>& batch) {
  ON_THREAD(kWriter);
  CHECK(batch.size() <= static_cast<size_t>(kCommitRecordsMax));
  std::vector<WriteResult> results = write_all(batch);
  int64_t unfinished = 0;
  for (size_t i = 0; i < batch.size(); i++) {
    if (results[i] != WriteResult::kApplied) continue;
    const bool ended = is_final(batch[i].record->state);
    if (batch[i].expected_rev == 0 && !ended) unfinished++;
    if (batch[i].expected_rev > 0 && ended) unfinished--;
  }
  unfinished_since_.fetch_add(unfinished, std::memory_order_relaxed);
  return results;
}

std::vector<WriteResult> MongoStore::write_all(const std::vector<Write>& batch) {
  std::vector<Image> images(batch.size());
  for (size_t i = 0; i < batch.size(); i++) {
    CHECK(batch[i].record != nullptr && batch[i].record->rev == batch[i].expected_rev + 1);
    images[i].write = &batch[i];
  }
  const auto known = [](const Image& image) { return image.known; };
  for (int tries = 0; !images.empty(); tries++) {
    wait_until_sendable();
    const Status status = attempt(&images);
    if (std::all_of(images.begin(), images.end(), known)) break;
    wait_out(tries, status);
  }
  doubt_is_over();
  std::vector<WriteResult> results;
  results.reserve(images.size());
  for (const Image& image : images) results.push_back(image.result);
  return results;
}

// Sends every image that is not known, in as few commands as their bytes allow. The status says
// what kept some of them unknown.
Status MongoStore::attempt(std::vector<Image>* images) {
  Status status;
  for (const bool first_revs : {true, false}) {
    Images some;
    size_t bytes = 0;
    const auto send_some = [&] {
      if (!some.empty() && status.ok()) status = send(some, first_revs);
      some.clear();
      bytes = 0;
    };
    for (Image& image : *images) {
      if (image.known || image.first_rev() != first_revs) continue;
      const size_t size = record_bytes(image.record());
      if (bytes + size > kMongoCommandBytesMax) send_some();
      some.push_back(&image);
      bytes += size;
    }
    send_some();
  }
  return status;
}

Status MongoStore::send(const Images& images, bool first_revs) {
  BsonArray statements;
  for (Image* image : images) {
    BsonDoc document = job_document(image->record(), &encoder_);
    if (first_revs) {
      statements.add(document);
    } else {
      BsonDoc expected, update;
      expected.text("_id", image->record().key.text())
          .number("rev", static_cast<int64_t>(image->write->expected_rev))
          .binary("owner", image->write->expected_owner.bytes);
      statements.add(update.doc("q", expected).doc("u", document));
    }
  }
  BsonDoc command;
  command.text(first_revs ? "insert" : "update", "jobs").flag("ordered", false);
  command.array(first_revs ? "documents" : "updates", statements);
  const auto reply = client_->write(std::move(command));
  Status status = reply.ok() ? Status() : reply.status();
  Images unclear;
  if (reply.ok() && first_revs) note_inserts(images, reply->get(), &unclear, &status);
  if (reply.ok() && !first_revs) note_updates(images, reply->get(), &unclear, &status);
  for (Image* image : images) {
    if (image->sent) resent_.fetch_add(1, std::memory_order_relaxed);
    image->sent = true;
  }
  if (unclear.empty()) return status;
  const Status compared = compare(unclear);
  return status.ok() ? compared : status;
}

namespace {

Status refused(std::string_view message) {
  return Status::unavailable(errors::kStoreFailed,
                             fmt::format("the database refuses a record: {}", message));
}

}  // namespace

// An insert that is not named among the errors was carried out.
void MongoStore::note_inserts(const Images& images, const bson_t* reply, Images* unclear,
                              Status* status) {
  std::vector<bool> fine(images.size(), true);
  each_write_error(reply, [&](size_t index, int64_t code, std::string_view message) {
    if (index >= images.size()) return;
    Image& image = *images[index];
    fine[index] = false;
    if (code == kMongoDuplicateKey && image.sent) {
      unclear->push_back(&image);  // it may have met itself
    } else if (code == kMongoDuplicateKey) {
      image.decide(WriteResult::kExists);
    } else if (code == kMongoOutOfDiskSpace && !image.sent) {
      image.decide(WriteResult::kNoSpace);
    } else {
      *status = refused(message);
    }
  });
  for (size_t i = 0; i < images.size(); i++) {
    if (fine[i]) images[i]->decide(WriteResult::kApplied);
  }
}

// Of updates the server says only how many have found their document.
void MongoStore::note_updates(const Images& images, const bson_t* reply, Images* unclear,
                              Status* status) {
  std::vector<bool> fine(images.size(), true);
  each_write_error(reply, [&](size_t index, int64_t code, std::string_view message) {
    if (index >= images.size()) return;
    fine[index] = false;
    if (code == kMongoOutOfDiskSpace && !images[index]->sent) {
      images[index]->decide(WriteResult::kNoSpace);
    } else {
      *status = refused(message);
    }
  });
  const auto tried = static_cast<int64_t>(std::count(fine.begin(), fine.end(), true));
  const int64_t found = bson_number(reply, "n").value_or(-1);
  const bool all = found == tried;
  const bool again = std::any_of(images.begin(), images.end(), [](Image* i) { return i->sent; });
  for (size_t i = 0; i < images.size(); i++) {
    if (!fine[i]) continue;
    if (all) {
      images[i]->decide(WriteResult::kApplied);
    } else if (found == 0 && !again) {
      images[i]->decide(WriteResult::kLost);
    } else {
      unclear->push_back(images[i]);
    }
  }
}

Result<std::map<JobKey, StoredImage>> MongoStore::images_of(const BsonArray& ids) {
  BsonDoc among, filter, options;
  filter.doc("_id", among.array("$in", ids));
  options.doc("projection", image_fields());
  std::map<JobKey, StoredImage> stored;
  RETURN_IF_ERROR(client_->find("jobs", filter, options, ReadLevel::kMajority,
                                [&](const bson_t* document) -> Status {
                                  if (const auto image = read_image(document)) {
                                    stored.emplace(image->key, *image);
                                  }
                                  return {};
                                }));
  return stored;
}

// Decides by what is stored now. An image stays unknown, to be sent again, when the stored one is
// the one that it should have replaced.
Status MongoStore::compare(const Images& images) {
  BsonArray ids;
  for (const Image* image : images) ids.text(image->record().key.text());
  const auto found_images = images_of(ids);
  if (!found_images.ok()) return found_images.status();
  const std::map<JobKey, StoredImage>& stored = *found_images;
  for (Image* image : images) {
    const JobRecord& record = image->record();
    const auto found = stored.find(record.key);
    if (image->first_rev()) {
      // Nothing there: it was removed between the insert and now, and the key is free again.
      if (found == stored.end()) continue;
      // Under our salt it is our job, claimed by another node since perhaps: it is accepted.
      const bool ours = found->second.salt == record.salt;
      image->decide(ours ? WriteResult::kApplied : WriteResult::kExists);
      continue;
    }
    if (found == stored.end() || found->second.tombstone) {
      image->decide(WriteResult::kLost);
      continue;
    }
    const StoredImage& now = found->second;
    if (now.rev == record.rev && now.write_id == record.write_id) {
      image->decide(WriteResult::kApplied);
    } else if (now.rev != image->write->expected_rev || now.owner != image->write->expected_owner) {
      image->decide(WriteResult::kLost);
    }
  }
  return {};
}

// ---- doubt

void MongoStore::wait_out(int tries, const Status& status) {
  const std::string why = status.ok() ? "a record was neither found nor written" : status.message();
  std::unique_lock<std::mutex> lock(mutex_);
  doubt_ = why;
  if (doubt_since_us_ == 0) {
    doubt_since_us_ = monotonic_us();
    log_event(LogLevel::kWarning, "store.doubt", {{"store", name()}, {"error", why}});
  }
  const int64_t wait_ms = std::min(kStoreBackoffMsMin << std::min(tries, 16), kStoreBackoffMsMax);
  given_up_changed_.wait_for(lock, std::chrono::milliseconds(wait_ms),
                             [this] { return given_up_; });
  if (!given_up_) return;
  lock.unlock();
  end_in_doubt(why);
}

void MongoStore::end_in_doubt(const std::string& why) {
  const std::string message = fmt::format(
      "writing records: {}; nothing is known of the last write, another node will go on", why);
  if (options_.on_fatal) options_.on_fatal(message);
  end_on_failed_store(Status::unavailable(errors::kStoreFailed, message));
}

void MongoStore::wait_until_sendable() {
  while (may_send_ && !may_send_()) {
    std::unique_lock<std::mutex> lock(mutex_);
    given_up_changed_.wait_for(lock, std::chrono::milliseconds(kStoreBackoffMsMin),
                               [this] { return given_up_; });
    if (!given_up_) continue;
    lock.unlock();
    end_in_doubt("this node is in doubt, and sends nothing");
  }
}

void MongoStore::doubt_is_over() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (doubt_since_us_ == 0) return;
  log_event(LogLevel::kInfo, "store.doubt_over",
            {{"store", name()}, {"ms", (monotonic_us() - doubt_since_us_) / 1000}});
  doubt_since_us_ = 0;
  doubt_.clear();
}

void MongoStore::give_up() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    given_up_ = true;
  }
  given_up_changed_.notify_all();
}

StoreHealth MongoStore::health() const {
  StoreHealth health;
  health.resent_writes = resent_.load(std::memory_order_relaxed);
  health.refused_reads = client_->refused_reads();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    health.since_us = doubt_since_us_;
    health.message = doubt_;
  }
  if (health.since_us == 0 && !client_->answered()) {
    health.since_us = client_->unanswered_since_us();
    health.message = client_->last_error();
  }
  health.available = health.since_us == 0;
  return health;
}

}  // namespace millrace
