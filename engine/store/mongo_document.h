// The documents of a MongoStore: how jobs and tombstones lie in the collection `jobs`.
//
//   job       = { _id: string key as UUID   rev: int64       owner: bin16 (unfinished only)
//                 write: bin8 write id      salt: bin16      state: int32
//                 group: "live" (unfinished) | "failed" (failed, cancelled), else absent
//                 created_at: int64         finished_at, expire_at: int64 (ended only)
//                 pipeline: string          labels: ["KEY=VALUE", …]?   refs: [bin32 digest, …]?
//                 record: binary }
//   tombstone = { _id, rev, write, salt, expire_at, record: binary, tombstone: true }
//
// `record` holds the whole record in the form of codec.h; the other fields repeat of it what
// conditions and lists need. It is binary and not a subdocument: no driver, server or tool on the
// way may re-encode a number or reorder a field of it, and its bytes are the same as in every other
// store. To look into one: `bsondump` of the binary.
//
// `_id` is the primary key and not the text form of the job id: under one idempotency key there is
// one document. It is the field to shard by, hashed: {_id: "hashed"}; every write names it.
//
// A tombstone stands under the `_id` of its job, so that a removal is one replacement, and a
// submission under the same key meets it like a job. One of a job without a key is a trace that
// nobody is shown: it only keeps a copy of the first image, which may still be on its way, out.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/store/codec.h"
#include "engine/store/mongo_bson.h"
#include "engine/store/store.h"

namespace millrace {

// Labels and refs are arrays and give one index entry each; the other fields that indexes hold
// never change, but for owner, group and expire_at, which change with a claim or with the end.
BsonDoc job_document(const JobRecord& record, RecordEncoder* encoder);

// What is left of a removed job until `expire_at`.
BsonDoc tombstone_document(const JobRecord& record, TimeMs expire_at, RecordEncoder* encoder);

// What a stored document says of the image that was written last.
struct StoredImage {
  JobKey key;
  uint64_t rev = 0;
  NodeId owner;  // zero: nobody, or ended
  std::array<uint8_t, 8> write_id{};
  Salt salt{};
  bool tombstone = false;
  bool unfinished = false;
};
// Of a document, or of one that was read with image_fields(). Nothing: it is none of ours.
std::optional<StoredImage> read_image(const bson_t* document);
BsonDoc image_fields();  // a projection

// Corrupt E125, Unavailable E122; the message names the job.
Result<StoredJob> read_job(const bson_t* document);

// Calls visit(digest) for each blob that a document names.
template <typename Visit>
void each_ref(const bson_t* document, Visit visit) {
  bson_iter_t at, element;
  if (!bson_iter_init_find(&at, document, "refs") || !bson_iter_recurse(&at, &element)) return;
  while (bson_iter_next(&element)) {
    Digest digest;
    if (bson_bytes_at(&element, &digest.bytes)) visit(digest);
  }
}

std::optional<JobKey> parse_key(std::string_view text);

std::string label_text(std::string_view key, std::string_view value);

}  // namespace millrace
