// Client: the few operations on one bucket that millrace needs, each repeated until it is known
// what came of it, or until it is time to say that it is not.
//
// It knows neither blobs nor stores. Repeated are connections that fail or break, 429, 5xx,
// RequestTimeout and conflicts of writes that ran side by side, with growing waits and full jitter,
// no sooner than a Retry-After says, at most Policy::attempts_max times. What was sent is signed
// with its SHA-256, so that bytes altered on the way are refused; what came is the caller's to
// hash. An error says which request, to where, what was answered, and how often it was tried; keys
// are in no message.
//
// Thread: any, all functions block; one Client serves many threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "s3/location.h"
#include "s3/outage.h"
#include "s3/signer.h"
#include "s3/transport.h"

namespace millrace::s3 {

// Larger objects are put part by part.
constexpr uint64_t kPartBytes = uint64_t{16} << 20;
constexpr uint64_t kObjectBytesMax = uint64_t{5} << 30;  // what one copy of it can renew

struct Policy {
  int attempts_max = 4;
  int64_t connect_ms = 3'000;
  int64_t stall_ms = 20'000;  // without a byte in either direction
  int64_t backoff_ms = 100;   // before the second attempt; doubled for each further one
  int64_t backoff_max_ms = 2'000;
  int64_t retry_after_max_ms = 5'000;
  bool fail_fast = false;  // while nobody answers (s3/outage.h); else each call tries for itself
};

enum class Failure : uint8_t {
  kNone,
  kNotFound,      // no such object
  kPrecondition,  // put: the object is there already, or another one than `etag`
  kRefused,       // keys, permissions, region or bucket: somebody must mend it
  kUnavailable,   // no answer, or a server that has trouble; later it may go
  kUnsupported,   // this server does not know the operation
  kInvalid,       // any other answer
  kStopped,       // go_on or a sink said so
};

struct [[nodiscard]] Error {
  Failure failure = Failure::kNone;
  int status = 0;       // of HTTP; 0: none
  std::string code;     // of S3: "SlowDown"
  std::string message;  // one sentence, with what to do where that is known
  // The request may have been carried out, or may be yet: no answer came.
  bool unknown = false;
  explicit operator bool() const { return failure != Failure::kNone; }
};

struct Object {
  uint64_t size = 0;
  std::string etag;         // as sent, with its quotes
  int64_t modified_ms = 0;  // by our clock; S3 counts in seconds, so up to one later
  // Of all its bytes, hexadecimal: as S3 computed it, or as put() noted it; empty: unknown.
  std::string sha256;
  std::map<std::string, std::string> metadata;
};

struct Put {
  std::string key;  // below the location's prefix, as everywhere here
  std::string_view bytes;
  std::string sha256;        // of `bytes`, hexadecimal
  std::string content_type;  // empty: application/octet-stream
  std::map<std::string, std::string> metadata;
  enum class If : uint8_t { kAlways, kAbsent, kSame } condition = If::kAlways;
  std::string etag;  // of kSame
};

struct Listed {
  std::string key;
  uint64_t size = 0;
  int64_t modified_ms = 0;
};

class Client {
 public:
  Client(Location location, Credentials credentials, Policy policy = {});

  // Asked while a request is under way and between two; false ends it as kStopped. Set before
  // threads call.
  void set_go_on(std::function<bool()> go_on) { go_on_ = std::move(go_on); }

  // Puts the object whole or not at all. A server that does not know conditions answers
  // kUnsupported. After an unknown outcome kPrecondition may mean an earlier attempt of this call.
  Error put(const Put& put);
  // The bytes from the first on, piece by piece; a transfer that breaks goes on where it broke, as
  // long as the object stays the same. After kUnavailable the sink has had a part of them.
  Error get(const std::string& key, const std::function<bool(std::string_view)>& sink,
            Object* object);
  Error head(const std::string& key, Object* object);
  // Ok also when there is none.
  Error remove(const std::string& key);
  // Copies the object `etag` onto itself with other metadata. `modified_ms`: how young S3 says that
  // it is then; some servers leave it as old as it was.
  Error renew(const std::string& key, const std::string& etag, const Put& as, int64_t* modified_ms);
  // At most 1000 objects whose keys follow `after`, ascending; `more`: there are further ones.
  Error list(const std::string& after, std::vector<Listed>* objects, bool* more);

  // A URL by which anybody may GET (or HEAD) the object for so long from `unix_seconds` on.
  std::string presigned(const std::string& method, const std::string& key, int64_t seconds,
                        int64_t unix_seconds) const;
  const Location& location() const { return location_; }

 private:
  struct Call {
    std::string method, key;  // the key with its prefix; empty: of the bucket
    Query query;
    std::map<std::string, std::string> headers;
    std::string_view body;
    std::string payload_hash;  // empty: of no body
    std::function<bool(std::string_view)> sink;
    bool to_its_end = false;  // whatever go_on says
  };
  Answer once(const Call& call) const;
  Error perform(const Call& call, Answer* answer);
  std::string shown(const Call& call) const;
  Error classify(const Call& call, const Answer& answer, int attempt, bool* again);
  bool wait(int attempt, const Answer& answer) const;
  void note_clock(const Answer& answer);
  Object object_of(const Answer& answer) const;
  Error put_parts(const Put& put);
  Error put_part(const Put& put, const std::string& upload, size_t number, std::string* etag);

  const Location location_;
  const Credentials credentials_;
  const Policy policy_;
  std::function<bool()> go_on_;
  Outage outage_;
  std::atomic<int64_t> clock_ahead_s_{0};  // of the server's before ours
  std::atomic<bool> clock_wrong_{false};   // by so much that it refuses what we sign
};

// The headers that a put of this object has, as one request or as the first of many. [any]
std::map<std::string, std::string> put_headers(const Put& put);

}  // namespace millrace::s3
