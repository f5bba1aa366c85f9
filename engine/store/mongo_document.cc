#include "engine/store/mongo_document.h"

#include <fmt/core.h>

#include "engine/base/errors.h"

namespace millrace {
namespace {

constexpr size_t kKeyTextBytes = 36;

BsonDoc common_fields(const JobRecord& record) {
  BsonDoc doc;
  doc.text("_id", record.key.text())
      .number("rev", static_cast<int64_t>(record.rev))
      .binary("write", record.write_id)
      .binary("salt", record.salt);
  return doc;
}

Status damaged(const bson_t* document, std::string_view what) {
  return Status::corrupt(
      errors::kStoreCorrupt,
      fmt::format("job {}: {}; restore the document from a backup",
                  bson_text(document, "_id").value_or("of a document without text as _id"), what));
}

}  // namespace

BsonDoc job_document(const JobRecord& record, RecordEncoder* encoder) {
  BsonDoc doc = common_fields(record);
  const bool ended = is_final(record.state);
  if (!ended) doc.binary("owner", record.owner.bytes);
  doc.small("state", static_cast<int32_t>(record.state));
  if (!ended) {
    doc.text("group", "live");
  } else if (record.state != JobState::kSucceeded) {
    doc.text("group", "failed");
  }
  doc.number("created_at", record.created_at);
  if (ended) doc.number("finished_at", record.finished_at).number("expire_at", record.expire_at);
  doc.text("pipeline", record.pipeline);
  if (!record.labels.empty()) {
    BsonArray labels;
    for (const auto& [key, value] : record.labels) labels.text(label_text(key, value));
    doc.array("labels", labels);
  }
  const std::vector<Digest> blobs = named_blobs(record);
  if (!blobs.empty()) {
    BsonArray refs;
    for (const Digest& digest : blobs) refs.binary(digest.bytes);
    doc.array("refs", refs);
  }
  doc.binary("record", encoder->encode(record));
  return doc;
}

BsonDoc tombstone_document(const JobRecord& record, TimeMs expire_at, RecordEncoder* encoder) {
  const JobRecord rest = tombstone_of(record);
  BsonDoc doc = common_fields(rest);
  doc.number("expire_at", expire_at)
      .binary("record", encoder->encode(rest))
      .flag("tombstone", true);
  return doc;
}

BsonDoc image_fields() {
  BsonDoc fields;
  for (const char* name : {"rev", "owner", "write", "salt", "tombstone", "group"}) {
    fields.small(name, 1);
  }
  return fields;
}

std::optional<StoredImage> read_image(const bson_t* document) {
  StoredImage image;
  const auto id = bson_text(document, "_id");
  const auto rev = bson_number(document, "rev");
  const auto key = id ? parse_key(*id) : std::nullopt;
  if (!key || !rev || *rev <= 0 || !bson_bytes(document, "write", &image.write_id) ||
      !bson_bytes(document, "salt", &image.salt)) {
    return std::nullopt;
  }
  image.key = *key;
  image.rev = static_cast<uint64_t>(*rev);
  image.tombstone = bson_flag(document, "tombstone");
  image.unfinished = bson_bytes(document, "owner", &image.owner.bytes);
  return image;
}

Result<StoredJob> read_job(const bson_t* document) {
  const auto bytes = bson_bytes(document, "record");
  if (!bytes) return damaged(document, "its document has no record");
  auto record = decode_record(*bytes);
  if (!record.ok()) {
    const Status& status = record.status();
    return Status(
        status.code(), status.number(),
        fmt::format("job {}: {}", bson_text(document, "_id").value_or("?"), status.message()));
  }
  const auto image = read_image(document);
  if (!image || image->key != record->key || image->rev != record->rev ||
      image->write_id != record->write_id || (image->tombstone && !is_final(record->state))) {
    return damaged(document, "the fields of its document do not fit its record");
  }
  return StoredJob{*std::move(record), image->tombstone};
}

std::optional<JobKey> parse_key(std::string_view text) {
  if (text.size() != kKeyTextBytes) return std::nullopt;
  const auto id = JobId::parse(std::string(text) + "-00000000");
  return id ? std::optional<JobKey>(id->key) : std::nullopt;
}

std::string label_text(std::string_view key, std::string_view value) {
  return fmt::format("{}={}", key, value);
}

}  // namespace millrace
