// MongoStore's marks of blobs that are about to be removed.
#include "engine/store/mongo_document.h"
#include "engine/store/mongo_store.h"

namespace millrace {
namespace {

BsonDoc among(const std::vector<Digest>& digests) {
  BsonArray ids;
  for (const Digest& digest : digests) ids.text(digest.text());
  BsonDoc in, filter;
  filter.doc("_id", in.array("$in", ids));
  return filter;
}

std::optional<DyingMark> read_mark(const bson_t* document) {
  const auto digest = Digest::parse(bson_text(document, "_id").value_or(""));
  DyingMark mark;
  if (!digest || !bson_bytes(document, "by", &mark.by.bytes)) return std::nullopt;
  mark.digest = *digest;
  return mark;
}

}  // namespace

Result<std::vector<Digest>> MongoStore::mark_dying(const NodeId& by,
                                                   const std::vector<Digest>& digests) {
  std::vector<Digest> mine;
  if (digests.empty()) return mine;
  BsonArray marks;
  for (const Digest& digest : digests) {
    BsonDoc mark;
    marks.add(mark.text("_id", digest.text()).binary("by", by.bytes));
  }
  RETURN_IF_ERROR(insert_absent("dying", marks));
  BsonDoc filter = among(digests);
  filter.binary("by", by.bytes);
  RETURN_IF_ERROR(client_->find("dying", filter, BsonDoc(), ReadLevel::kMajority,
                                [&](const bson_t* document) -> Status {
                                  if (const auto mark = read_mark(document)) {
                                    mine.push_back(mark->digest);
                                  }
                                  return {};
                                }));
  return mine;
}

// Confirmed: a mark that this read misses was set after it began, and its setter waits before it
// removes anything.
Result<std::vector<Digest>> MongoStore::dying(const std::vector<Digest>& digests) {
  std::vector<Digest> marked;
  if (digests.empty()) return marked;
  RETURN_IF_ERROR(client_->find("dying", among(digests), BsonDoc(), ReadLevel::kConfirmed,
                                [&](const bson_t* document) -> Status {
                                  if (const auto mark = read_mark(document)) {
                                    marked.push_back(mark->digest);
                                  }
                                  return {};
                                }));
  return marked;
}

Result<std::vector<DyingMark>> MongoStore::dying_after(const Digest& after, int max) {
  CHECK(max > 0);
  BsonDoc beyond, filter, options, sort;
  filter.doc("_id", beyond.text("$gt", after.is_zero() ? "" : after.text()));
  options.doc("sort", sort.small("_id", 1)).small("limit", max);
  std::vector<DyingMark> marks;
  RETURN_IF_ERROR(client_->find("dying", filter, options, ReadLevel::kMajority,
                                [&](const bson_t* document) -> Status {
                                  if (const auto mark = read_mark(document)) marks.push_back(*mark);
                                  return {};
                                }));
  return marks;
}

Status MongoStore::unmark_dying(const NodeId& by, const std::vector<Digest>& digests) {
  if (digests.empty()) return {};
  BsonArray ids;
  for (const Digest& digest : digests) ids.text(digest.text());
  BsonDoc own;
  return delete_ids("dying", ids, own.binary("by", by.bytes));
}

}  // namespace millrace
