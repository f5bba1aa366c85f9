// Goal: no bytes make decode_record do harm, and what it accepts is stable: it encodes to a record
// that decodes to the same.
#include "engine/store/codec.h"

namespace {

void decode(std::string_view bytes) {
  const auto record = millrace::decode_record(bytes);
  if (!record.ok()) return;
  CHECK(millrace::is_final(record->state) || !record->steps.empty());  // the core counts on it
  millrace::RecordEncoder encoder;
  const auto again = millrace::decode_record(encoder.encode(*record));
  CHECK(again.ok() && *again == *record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  decode(bytes);
  // Nothing found by chance has the right checksum.
  if (size < millrace::kRecordChecksumAt + millrace::kRecordChecksumBytes) return 0;
  const uint32_t sum = millrace::record_checksum(bytes);
  for (size_t i = 0; i < millrace::kRecordChecksumBytes; i++) {
    bytes[millrace::kRecordChecksumAt + i] = static_cast<char>(sum >> (8 * i));
  }
  decode(bytes);
  return 0;
}
