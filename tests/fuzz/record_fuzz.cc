// Goal: no bytes make decode_record do harm, and what it accepts is stable: it encodes to a record
// that decodes to the same.
#include "engine/store/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto record = millrace::decode_record({reinterpret_cast<const char*>(data), size});
  if (!record.ok()) return 0;
  millrace::RecordEncoder encoder;
  const auto again = millrace::decode_record(encoder.encode(*record));
  CHECK(again.ok() && *again == *record);
  return 0;
}
