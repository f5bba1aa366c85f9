// The stored form of a JobRecord: one BSON document.
//
// Grammar (`name: type` is a BSON element; `?` is left out when it holds its default: zero, false,
// empty, absent; bin is subtype 0). Times are int64 milliseconds of Unix time.
//
//   record = { f: int32 format (2)     C: int32 checksum
//              k: bin16 key            r: int64 rev         w: bin8 write id
//              o: bin16 owner          s: bin16 salt        d: bin32 definition
//              p: string pipeline      t: int32 state       i: string inputs  q: bin32 request
//              l: [key, value, key, …]?                     S: [step, …]?
//              u: string outputs?      U: bin32 outputs spilled?              e: error?
//              y: bool keyed?          x: bool cancel requested?
//              v: bin16n ids of applied verbs? (of shared stores)
//              c: created?  b: started?  z: finished?  h: expires?  a: int64 active ms?
//              g: [step type, int32 major, step type, …]? }
//   step   = { t: int32 state?         a: int64 attempts?   g: int64 generation?
//              n: int64 server deaths? j: bool intent?      b: started?  z: finished?  h: retry at?
//              f: bin32 frozen inputs? u: string outputs?   U: bin32 outputs spilled?
//              e: error?               T: [try, …]? }
//   error  = { n: int32 number?        r: string reason?    m: string message?  s: string step?
//              a: int64 attempt? }
//   try    = { a: int64 attempt?       b: started?          z: finished?
//              r: string reason?       n: string note? }
//
// Example: a job of two steps, the first of which succeeded with one try, takes about 600 bytes:
//   {f:2,C:…,k:…,r:3,w:…,o:…,s:…,d:…,p:"grayscale",t:1,i:"{\"image\":{\"$blob\":{…}}}",q:…,
//    S:[{t:3,a:1,b:1795244000123,z:1795244000130,u:"{…}",T:[{a:1,b:…,z:…}]},{}],c:…,b:…}
//
// JSON values are text (RFC 8785) and stay text: no number, key order or character is ever
// re-encoded, so an effect that is repeated sends the same bytes.
//
// The checksum is CRC32C of all other bytes of the document, those before it and those behind it,
// its own four left out. `f` and `C` come first, so it stands at byte 14 of every document and is
// compared before anything else is believed.
//
// Only a job that has ended may be without steps: so is what is left of a deleted one.
//
// Versions: format 1 had no checksum; it is read, and its next write makes it format 2. A reader
// refuses a higher `f` under a right checksum (E122) and, within its own format, any element it
// does not know (E125): whoever adds an element raises the format, since an old reader would lose
// it with its next write. Whoever raises the format raises kSchemaVersion as well.
//
// Downsides. (1) The checksum finds accidents, not forgeries. (2) The whole record is rewritten
// with each revision, however little changed. (3) Names of one letter are unreadable without this
// page. (4) Label keys and values are array elements, so a document store cannot index them from
// here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/core/record.h"

namespace millrace {

constexpr int kRecordFormat = 2;
constexpr size_t kRecordChecksumAt = 14, kRecordChecksumBytes = 4;

// Encodes records one after the other into one buffer. One thread at a time.
class RecordEncoder {
 public:
  RecordEncoder();
  ~RecordEncoder();
  RecordEncoder(const RecordEncoder&) = delete;
  RecordEncoder& operator=(const RecordEncoder&) = delete;

  // The document; valid until the next call. A running step, or more than kStepsMax, is a bug.
  std::string_view encode(const JobRecord& record);

 private:
  uint8_t* buffer_ = nullptr;
  size_t buffer_bytes_ = 0;
};

// What is left of a deleted job that has an idempotency key. [any]
JobRecord tombstone_of(const JobRecord& record);

// Reads any bytes whatsoever. Corrupt E125: not such a document, or altered; Unavailable E122:
// written by a newer version. [any]
Result<JobRecord> decode_record(std::string_view bytes);

// The checksum that belongs into these bytes, which are long enough to hold one. [any]
uint32_t record_checksum(std::string_view bytes);

}  // namespace millrace
