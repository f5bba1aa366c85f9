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
  mark.wanted = bson_flag(document, "wanted");
  mark.removing = bson_flag(document, "removing");
  return mark;
}

}  // namespace

Result<std::vector<Digest>> MongoStore::marked(const BsonDoc& filter, ReadLevel level) {
  std::vector<Digest> digests;
  RETURN_IF_ERROR(
      client_->find("dying", filter, BsonDoc(), level, [&](const bson_t* document) -> Status {
        if (const auto mark = read_mark(document)) {
          digests.push_back(mark->digest);
        }
        return {};
      }));
  return digests;
}

Result<std::vector<Digest>> MongoStore::mark_dying(const NodeId& by,
                                                   const std::vector<Digest>& digests) {
  if (digests.empty()) return std::vector<Digest>();
  BsonArray marks;
  for (const Digest& digest : digests) {
    BsonDoc mark;
    marks.add(mark.text("_id", digest.text()).binary("by", by.bytes));
  }
  RETURN_IF_ERROR(insert_absent("dying", marks));
  BsonDoc filter = among(digests);
  return marked(filter.binary("by", by.bytes), ReadLevel::kMajority);
}

Result<std::vector<Digest>> MongoStore::take_over_dying(const NodeId& by,
                                                        const std::vector<DyingMark>& marks) {
  if (marks.empty()) return std::vector<Digest>();
  std::vector<Digest> digests;
  BsonArray statements;
  for (const DyingMark& mark : marks) {
    digests.push_back(mark.digest);
    BsonDoc which, holder, change, one;
    which.text("_id", mark.digest.text()).binary("by", mark.by.bytes);
    change.doc("$set", holder.binary("by", by.bytes));
    statements.add(one.doc("q", which).doc("u", change));
  }
  if (const auto changed = update_each("dying", statements); !changed.ok()) return changed.status();
  BsonDoc filter = among(digests);
  return marked(filter.binary("by", by.bytes), ReadLevel::kMajority);
}

// One update a mark: either this comes first, or want_blobs does.
Result<std::vector<Digest>> MongoStore::begin_removal(const NodeId& by,
                                                      const std::vector<Digest>& digests) {
  if (digests.empty()) return std::vector<Digest>();
  BsonDoc unwanted, which = among(digests), removing, change, one;
  which.binary("by", by.bytes).doc("wanted", unwanted.flag("$ne", true));
  change.doc("$set", removing.flag("removing", true));
  one.doc("q", which).doc("u", change).flag("multi", true);
  const auto changed = update_each("dying", BsonArray().add(one));
  if (!changed.ok()) return changed.status();
  BsonDoc filter = among(digests);
  return marked(filter.binary("by", by.bytes).flag("removing", true), ReadLevel::kMajority);
}

// Confirmed: a mark that these reads miss was set after they began, and its setter waits before it
// removes anything.
Result<std::vector<Digest>> MongoStore::want_blobs(const std::vector<Digest>& digests) {
  if (digests.empty()) return std::vector<Digest>();
  const auto any = marked(among(digests), ReadLevel::kConfirmed);
  if (!any.ok() || any->empty()) return any;
  BsonDoc waits, which = among(*any), wanted, change, one;
  which.doc("removing", waits.flag("$ne", true));
  change.doc("$set", wanted.flag("wanted", true));
  one.doc("q", which).doc("u", change).flag("multi", true);
  const auto changed = update_each("dying", BsonArray().add(one));
  if (!changed.ok()) return changed.status();
  BsonDoc filter = among(*any);
  return marked(filter.flag("removing", true), ReadLevel::kConfirmed);
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
