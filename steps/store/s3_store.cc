#include "steps/store/s3_store.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <simdjson.h>

#include <memory>

#include "steps/store/key.h"

namespace millrace::store_step {
namespace {

using s3::Error;
using s3::Object;

constexpr int kRoundsMax = 5;
constexpr std::string_view kDigestPrefix = "sha256:";

PutResult failed(const char* reason, std::string message) {
  PutResult result;
  result.failure = {reason, std::move(message)};
  return result;
}

PutResult failed(const Error& error) {
  PutResult result;
  switch (error.failure) {
    case s3::Failure::kStopped:
      result.cancelled = true;
      return result;
    case s3::Failure::kRefused:
      return failed("access_denied", error.message);
    case s3::Failure::kUnavailable:
      return failed("unavailable", error.message);
    default:
      return failed("io_error", error.message);
  }
}

// The hash of an object that nobody noted one for.
Error hash_object(s3::Client* client, const std::string& key, std::string* hex) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(),
                                                                     &EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  Object object;
  const Error error = client->get(
      key,
      [&hash](std::string_view piece) {
        return EVP_DigestUpdate(hash.get(), piece.data(), piece.size()) == 1;
      },
      &object);
  if (error) return error;
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(hash.get(), bytes, &size);
  hex->clear();
  for (unsigned int i = 0; i < size; i++) *hex += fmt::format("{:02x}", bytes[i]);
  return {};
}

}  // namespace

Failure read_keys(std::string_view setting_json, s3::Credentials* keys) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  std::string_view id, secret, token;
  if (parser.parse(setting_json.data(), setting_json.size()).get_object().get(object) !=
          simdjson::SUCCESS ||
      object["access_key_id"].get_string().get(id) != simdjson::SUCCESS ||
      object["secret_access_key"].get_string().get(secret) != simdjson::SUCCESS) {
    return {"access_denied",
            "a bucket needs keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"};
  }
  if (object["session_token"].get_string().get(token) != simdjson::SUCCESS) token = "";
  *keys = {std::string(id), std::string(secret), std::string(token)};
  return {};
}

PutResult put_s3_object(s3::Client* client, const std::string& key, const Source& source,
                        const std::string& content_type, bool replace,
                        const std::function<bool()>& go_on) {
  client->set_go_on(go_on);
  s3::Put put;
  put.key = key;
  put.bytes = {reinterpret_cast<const char*>(source.data), static_cast<size_t>(source.size)};
  put.sha256 = source.digest.substr(std::min(kDigestPrefix.size(), source.digest.size()));
  put.content_type = content_type;
  bool conditions = true;
  for (int round = 0; round < kRoundsMax; round++) {
    Object there;
    const Error looked = client->head(key, &there);
    if (looked && looked.failure != s3::Failure::kNotFound) return failed(looked);
    const bool is_there = !looked;
    if (is_there && there.size == source.size && there.sha256.empty()) {
      const Error error = hash_object(client, key, &there.sha256);
      if (error.failure == s3::Failure::kNotFound) continue;  // it went
      if (error) return failed(error);
    }
    PutResult result;
    if (is_there && there.size == source.size && there.sha256 == put.sha256) {
      result.how = How::kIdentical;
      return result;
    }
    if (is_there && !replace) {
      return failed("exists",
                    fmt::format("{} holds {} bytes{} under '{}', and {} bytes with {} were to be "
                                "stored; set replace: true when the object may change",
                                client->location().shown(), there.size,
                                there.sha256.empty() ? "" : " with sha256:" + there.sha256,
                                printable(key), source.size, source.digest));
    }
    put.condition = !conditions ? s3::Put::If::kAlways
                    : is_there  ? s3::Put::If::kSame
                                : s3::Put::If::kAbsent;
    put.etag = there.etag;
    const Error error = client->put(put);
    result.replaced = is_there;
    if (!error) return result;
    if (error.failure == s3::Failure::kUnsupported && conditions) {
      conditions = false;
      continue;
    }
    // Somebody came between, or an attempt of ours whose answer was lost: it is looked at again.
    const bool look_again = error.failure == s3::Failure::kPrecondition ||
                            (error.failure == s3::Failure::kNotFound && is_there);
    if (!look_again) return failed(error);
  }
  return failed("conflict", fmt::format("others keep changing '{}' in {}", printable(key),
                                        client->location().shown()));
}

}  // namespace millrace::store_step
