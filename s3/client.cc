#include "s3/client.h"

#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <random>
#include <thread>

#include "s3/curl.h"
#include "s3/xml.h"

namespace millrace::s3 {
namespace {

constexpr std::string_view kMetadata = "x-amz-meta-";
constexpr char kNotedSha256[] = "sha256";
constexpr int64_t kWaitSliceMs = 50;

std::string header_of(const Answer& answer, const std::string& name) {
  const auto found = answer.headers.find(name);
  return found == answer.headers.end() ? std::string() : found->second;
}

// Of an HTTP date; -1: it is none.
time_t time_of(const std::string& date) {
  const Curl* curl = load_curl();
  return curl == nullptr ? -1 : curl->getdate(date.c_str(), nullptr);
}

uint64_t number_of(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// "2026-11-29T12:30:56.000Z"
int64_t seconds_of_iso(const std::string& text) {
  struct tm utc {};
  return ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc) == nullptr ? 0 : ::timegm(&utc);
}

// What to do about an answer that no repetition changes.
std::string_view advice(std::string_view code, int status) {
  if (code == "InvalidAccessKeyId" || code == "XAdminUserNotFound")
    return "AWS_ACCESS_KEY_ID is not known there";
  if (code == "SignatureDoesNotMatch") return "AWS_SECRET_ACCESS_KEY is not the one of the key id";
  if (code == "ExpiredToken" || code == "TokenRefreshRequired") {
    return "AWS_SESSION_TOKEN has expired: start again with new keys";
  }
  if (code == "InvalidToken") return "AWS_SESSION_TOKEN does not belong to the key id";
  if (code == "NoSuchBucket") return "make the bucket, or name another one";
  if (code == "RequestTimeTooSkewed") return "set this machine's clock";
  if (code == "PermanentRedirect" || code == "AuthorizationHeaderMalformed" ||
      code == "IllegalLocationConstraintException" || status == 301 || status == 307) {
    return "the bucket is elsewhere: set its region or endpoint";
  }
  if (status == 401 || status == 403) {
    return "the keys may not do this: allow s3:GetObject, s3:PutObject, s3:DeleteObject, "
           "s3:AbortMultipartUpload and s3:ListBucket";
  }
  return {};
}

bool worth_another(int status, std::string_view code) {
  if (status == 429 || status == 500 || status == 502 || status == 503 || status == 504) {
    return true;
  }
  return code == "RequestTimeout" || code == "SlowDown" || code == "OperationAborted" ||
         code == "ConditionalRequestConflict" || status == 408;
}

Failure failure_of(int status, std::string_view code, bool has_key) {
  if (code == "NoSuchBucket" || status == 301 || status == 307 || status == 401 || status == 403) {
    return Failure::kRefused;
  }
  if (code == "ExpiredToken" || code == "InvalidToken" || code == "TokenRefreshRequired" ||
      code == "AuthorizationHeaderMalformed") {
    return Failure::kRefused;
  }
  if (status == 404) {  // of an object, and not of a user or whatever else a server may miss
    const bool object = code.empty() || code == "NoSuchKey" || code == "NoSuchUpload" ||
                        code == "NoSuchVersion" || code == "NotFound";
    return has_key && object ? Failure::kNotFound : Failure::kRefused;
  }
  if (status == 412 || status == 304) return Failure::kPrecondition;
  if (status == 501 || code == "NotImplemented") return Failure::kUnsupported;
  return Failure::kInvalid;
}

}  // namespace

Client::Client(Location location, Credentials credentials, Policy policy)
    : location_(std::move(location)), credentials_(std::move(credentials)), policy_(policy) {}

// ---- one request

Answer Client::once(const Call& call) const {
  SignedRequest request{call.method, location_.path(call.key), call.query, call.headers};
  const std::string payload = call.payload_hash.empty() ? sha256_hex("") : call.payload_hash;
  Scope scope;
  scope.region = location_.region;
  scope.unix_seconds = ::time(nullptr) + (clock_wrong_ ? clock_ahead_s_.load() : 0);
  request.headers["host"] = location_.request_host();
  request.headers["x-amz-date"] = amz_time(scope.unix_seconds);
  request.headers["x-amz-content-sha256"] = payload;
  if (!credentials_.session_token.empty()) {
    request.headers["x-amz-security-token"] = credentials_.session_token;
  }
  Exchange exchange;
  exchange.method = call.method;
  const std::string query = canonical_query(call.query);
  exchange.url = fmt::format("{}://{}{}{}{}", location_.scheme, location_.request_host(),
                             request.path, query.empty() ? "" : "?", query);
  for (const auto& [name, value] : request.headers) {
    if (name != "host") exchange.headers.push_back(name + ": " + value);
  }
  exchange.headers.push_back("authorization: " +
                             authorization(request, payload, credentials_, scope));
  exchange.body = call.body;
  exchange.sink = call.sink;
  exchange.connect_ms = policy_.connect_ms;
  exchange.stall_ms = policy_.stall_ms;
  if (!call.to_its_end) exchange.go_on = go_on_;
  return transfer(exchange);
}

void Client::note_clock(const Answer& answer) {
  const std::string date = header_of(answer, "date");
  const time_t theirs = time_of(date);
  if (theirs > 0) clock_ahead_s_ = theirs - ::time(nullptr);
}

// Waits before the next attempt; false: told to stop.
bool Client::wait(int attempt, const Answer& answer) const {
  thread_local std::minstd_rand random{std::random_device{}()};
  const int64_t most =
      std::min(policy_.backoff_max_ms, policy_.backoff_ms << std::min(attempt - 1, 16));
  int64_t left = std::uniform_int_distribution<int64_t>(0, most)(random);
  const auto asked = static_cast<int64_t>(number_of(header_of(answer, "retry-after").substr(0, 9)));
  left = std::max(left, std::min(asked * 1000, policy_.retry_after_max_ms));
  while (left > 0) {
    if (go_on_ && !go_on_()) return false;
    const int64_t slice = std::min(left, kWaitSliceMs);
    std::this_thread::sleep_for(std::chrono::milliseconds(slice));
    left -= slice;
  }
  return true;
}

std::string Client::shown(const Call& call) const {
  return fmt::format("{} {}://{}{}", call.method, location_.scheme, location_.request_host(),
                     printable(location_.path(call.key), 600));
}

Error Client::classify(const Call& call, const Answer& answer, int attempt, bool* again) {
  *again = false;
  Error error;
  error.status = answer.status;
  const std::string where = shown(call);
  const std::string tries = fmt::format("attempt {} of {}", attempt, policy_.attempts_max);
  if (answer.trouble == Trouble::kStopped) {
    error.failure = Failure::kStopped;
    error.unknown = true;
    error.message = where + " was stopped";
    return error;
  }
  if (answer.trouble != Trouble::kNone) {
    error.failure = Failure::kUnavailable;
    error.unknown = answer.trouble == Trouble::kStalled || answer.trouble == Trouble::kBroken;
    *again = answer.trouble != Trouble::kUntrusted && answer.trouble != Trouble::kInvalid;
    error.message = fmt::format("{} got no answer: {}; {}", where, answer.detail, tries);
    return error;
  }
  // A copy and the completion of an upload may fail behind a 200.
  const bool failed_late = answer.status == 200 && answer.body.find("<Error>") != std::string::npos;
  if (answer.status >= 200 && answer.status < 300 && !failed_late) return {};
  error.code = printable(XmlReader::text_of(answer.body, "Code"), 64);
  std::string text = printable(XmlReader::text_of(answer.body, "Message"));
  if (error.code == "RequestTimeTooSkewed" && !clock_wrong_.exchange(true)) *again = true;
  *again = *again || worth_another(answer.status, error.code) || failed_late;
  error.failure =
      *again ? Failure::kUnavailable : failure_of(answer.status, error.code, !call.key.empty());
  error.unknown = answer.status >= 500;
  error.message =
      fmt::format("{} answered {}{}{}{}{}", where, answer.status, error.code.empty() ? "" : " ",
                  error.code, text.empty() ? "" : ": ", text);
  if (const std::string_view todo = advice(error.code, answer.status); !todo.empty()) {
    error.message += fmt::format("; {}", todo);
  }
  error.message += "; " + tries;
  return error;
}

Error Client::perform(const Call& call, Answer* answer) {
  const Outage::Turn turn(&outage_);
  if (!turn.may_try()) {
    Error error;
    error.failure = Failure::kUnavailable;
    error.message = shown(call) + " was not sent: nobody answers there; it is tried again";
    return error;
  }
  bool unknown = false;
  for (int attempt = 1;; attempt++) {
    *answer = once(call);
    note_clock(*answer);
    bool again = false;
    Error error = classify(call, *answer, attempt, &again);
    unknown = unknown || error.unknown;
    error.unknown = unknown;
    const bool silent = again && answer->trouble != Trouble::kNone;
    if (answer->trouble == Trouble::kNone) outage_.end();
    // What a sink has taken is the caller's to go on from.
    if (!again || (call.sink && answer->taken > 0)) return error;
    if (attempt >= policy_.attempts_max || !turn.may_try_again()) {
      if (silent && policy_.fail_fast) outage_.begin();
      return error;
    }
    if (!wait(attempt, *answer)) {
      error.failure = Failure::kStopped;
      return error;
    }
  }
}

// ---- operations

Object Client::object_of(const Answer& answer) const {
  Object object;
  object.size = number_of(header_of(answer, "content-length"));
  object.etag = header_of(answer, "etag");
  const time_t modified = time_of(header_of(answer, "last-modified"));
  if (modified > 0) object.modified_ms = (modified - clock_ahead_s_) * 1000;
  for (const auto& [name, value] : answer.headers) {
    if (name.starts_with(kMetadata)) object.metadata[name.substr(kMetadata.size())] = value;
  }
  // Of an object in parts, whose ETag says "-N", it is a hash of hashes.
  if (object.etag.find('-') == std::string::npos) {
    object.sha256 = hex_of_base64(header_of(answer, "x-amz-checksum-sha256"));
  }
  if (object.sha256.size() != 64) object.sha256 = object.metadata[kNotedSha256];
  if (object.sha256.size() != 64) object.sha256.clear();
  object.metadata.erase(kNotedSha256);
  return object;
}

std::map<std::string, std::string> put_headers(const Put& put) {
  std::map<std::string, std::string> headers;
  headers["content-type"] =
      put.content_type.empty() ? "application/octet-stream" : put.content_type;
  headers[std::string(kMetadata) + kNotedSha256] = put.sha256;
  for (const auto& [name, value] : put.metadata) headers[std::string(kMetadata) + name] = value;
  return headers;
}

Error Client::put(const Put& put) {
  if (put.bytes.size() > kPartBytes) return put_parts(put);
  Call call;
  call.method = "PUT";
  call.key = location_.key(put.key);
  call.headers = put_headers(put);
  call.headers["x-amz-checksum-sha256"] = base64_of_hex(put.sha256);
  if (put.condition == Put::If::kAbsent) call.headers["if-none-match"] = "*";
  if (put.condition == Put::If::kSame) call.headers["if-match"] = put.etag;
  call.body = put.bytes;
  call.payload_hash = put.sha256;
  Answer answer;
  return perform(call, &answer);
}

Error Client::get(const std::string& key, const std::function<bool(std::string_view)>& sink,
                  Object* object) {
  uint64_t at = 0;
  for (int broken = 0;; broken++) {
    Call call;
    call.method = "GET";
    call.key = location_.key(key);
    call.headers["x-amz-checksum-mode"] = "ENABLED";
    if (at > 0) {
      call.headers["range"] = fmt::format("bytes={}-", at);
      call.headers["if-match"] = object->etag;
    }
    call.sink = sink;
    Answer answer;
    Error error = perform(call, &answer);
    if (answer.taken > 0) {
      if (at == 0) *object = object_of(answer);
      // A server that does not know ranges would send the beginning again: it is let be.
      if (at > 0 && answer.status != 206) {
        return {Failure::kUnavailable, answer.status, "", "the transfer broke and cannot go on"};
      }
      at += answer.taken;
    } else if (!error) {
      *object = object_of(answer);
    }
    if (at > 0 && error && object->size > 0 && at >= object->size) return {};
    if (at > 0 && error.failure == Failure::kPrecondition) error.failure = Failure::kUnavailable;
    const bool goes_on = error.failure == Failure::kUnavailable && at > 0 && answer.taken > 0;
    if (!goes_on || broken + 1 >= policy_.attempts_max) return error;
    if (!wait(broken + 1, answer)) {
      error.failure = Failure::kStopped;
      return error;
    }
  }
}

Error Client::head(const std::string& key, Object* object) {
  Call call;
  call.method = "HEAD";
  call.key = location_.key(key);
  call.headers["x-amz-checksum-mode"] = "ENABLED";
  Answer answer;
  Error error = perform(call, &answer);
  if (!error) *object = object_of(answer);
  return error;
}

Error Client::remove(const std::string& key) {
  Call call;
  call.method = "DELETE";
  call.key = location_.key(key);
  Answer answer;
  Error error = perform(call, &answer);
  return error.failure == Failure::kNotFound ? Error() : error;
}

Error Client::renew(const std::string& key, const std::string& etag, const Put& as,
                    int64_t* modified_ms) {
  Call call;
  call.method = "PUT";
  call.key = location_.key(key);
  call.headers = put_headers(as);
  call.headers["x-amz-copy-source"] = uri_encode("/" + location_.bucket + "/" + call.key);
  call.headers["x-amz-copy-source-if-match"] = etag;
  call.headers["x-amz-metadata-directive"] = "REPLACE";
  Answer answer;
  Error error = perform(call, &answer);
  const int64_t seconds = seconds_of_iso(XmlReader::text_of(answer.body, "LastModified"));
  *modified_ms = (seconds - clock_ahead_s_) * 1000;
  return error;
}

Error Client::list(const std::string& after, std::vector<Listed>* objects, bool* more) {
  Call call;
  call.method = "GET";
  call.query = {{"list-type", "2"}, {"max-keys", "1000"}};
  const std::string prefix = location_.prefix.empty() ? "" : location_.prefix + "/";
  if (!prefix.empty()) call.query.emplace_back("prefix", prefix);
  if (!after.empty()) call.query.emplace_back("start-after", prefix + after);
  Answer answer;
  if (Error error = perform(call, &answer)) return error;
  objects->clear();
  XmlReader reader(answer.body);
  std::string_view inside;
  while (reader.next("Contents", &inside)) {
    Listed listed;
    listed.key = XmlReader::text_of(inside, "Key");
    if (!listed.key.starts_with(prefix)) continue;
    listed.key.erase(0, prefix.size());
    listed.size = number_of(XmlReader::text_of(inside, "Size"));
    listed.modified_ms =
        (seconds_of_iso(XmlReader::text_of(inside, "LastModified")) - clock_ahead_s_) * 1000;
    objects->push_back(std::move(listed));
  }
  *more = XmlReader::text_of(answer.body, "IsTruncated") == "true";
  return {};
}

std::string Client::presigned(const std::string& method, const std::string& key, int64_t seconds,
                              int64_t unix_seconds) const {
  Scope scope;
  scope.region = location_.region;
  scope.unix_seconds = unix_seconds;
  SignedRequest request{
      method, location_.path(location_.key(key)), {}, {{"host", location_.request_host()}}};
  const std::string path = request.path;
  return fmt::format("{}://{}{}?{}", location_.scheme, location_.request_host(), path,
                     presigned_query(std::move(request), seconds, credentials_, scope));
}

}  // namespace millrace::s3
