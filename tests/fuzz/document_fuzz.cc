// Fuzzes what a database may answer: no document makes the store's reading of it do harm, and what
// is read as a job is written as a document that is read as the same.
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/store/mongo_document.h"

namespace millrace {
namespace {

constexpr size_t kSmallestBytes = 5;  // a document's size, and the zero at its end

void write_little_endian(uint32_t value, char* out) {
  for (int i = 0; i < 4; i++) out[i] = static_cast<char>(value >> (8 * i));
}

// Nothing found by chance has the right size and the right checksum, and behind them is most of the
// code. Where the document has a record, it is given them.
void mend(std::string* bytes) {
  if (bytes->size() < kSmallestBytes) return;
  write_little_endian(static_cast<uint32_t>(bytes->size()), bytes->data());
  bytes->back() = '\0';
  bson_t document;
  CHECK(bson_init_static(&document, reinterpret_cast<uint8_t*>(bytes->data()), bytes->size()));
  const auto record = bson_bytes(&document, "record");
  if (!record || record->size() < kRecordChecksumAt + kRecordChecksumBytes) return;
  const size_t at = static_cast<size_t>(record->data() - bytes->data());
  write_little_endian(record_checksum(*record), bytes->data() + at + kRecordChecksumAt);
}

void check_job(const StoredJob& job) {
  RecordEncoder encoder;
  const BsonDoc document = job.tombstone
                               ? tombstone_document(job.record, job.record.expire_at, &encoder)
                               : job_document(job.record, &encoder);
  const auto again = read_job(document.get());
  CHECK(again.ok() && again->tombstone == job.tombstone);
  CHECK(again->record.id() == job.record.id() && again->record.rev == job.record.rev);
  if (job.tombstone) return;
  CHECK(again->record == job.record);
  const auto image = read_image(document.get());
  CHECK(image && image->unfinished == !is_final(job.record.state));
  CHECK(!image->unfinished || image->owner == job.record.owner);
  size_t refs = 0;
  each_ref(document.get(), [&refs](const Digest&) { refs++; });
  CHECK(refs == named_blobs(job.record).size());
}

void read(std::string_view bytes) {
  bson_t document;
  if (!bson_init_static(&document, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())) {
    return;
  }
  if (const auto image = read_image(&document)) CHECK(image->rev > 0);
  size_t refs = 0, errors = 0;
  each_ref(&document, [&refs](const Digest&) { refs++; });
  bson_each(&document, "writeErrors", [&errors](const bson_t* error) {
    errors++;
    (void)bson_number(error, "index");
    CHECK(bson_text(error, "errmsg").value_or("").size() < error->len);
  });
  CHECK(refs + errors <= bytes.size());
  const auto job = read_job(&document);
  if (job.ok()) check_job(*job);
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  millrace::read(bytes);
  millrace::mend(&bytes);
  millrace::read(bytes);
  return 0;
}
