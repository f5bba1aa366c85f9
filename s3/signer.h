// Signature version 4 of AWS: of a request's headers, and of a URL that may be handed out.
//
// It knows no network and no clock. SHA-256 and HMAC are OpenSSL's.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::s3 {

// Never logged and never part of a message.
struct Credentials {
  std::string access_key_id, secret_access_key;
  std::string session_token;  // empty: none
};

using Query = std::vector<std::pair<std::string, std::string>>;  // not encoded

struct SignedRequest {
  std::string method;
  std::string path;  // encoded
  Query query;
  std::map<std::string, std::string> headers;  // lower-case names; all are signed; with `host`
};

// Who asks where: the scope of a signature.
struct Scope {
  std::string region;
  std::string service = "s3";
  int64_t unix_seconds = 0;
};

constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

[[nodiscard]] std::string sha256_hex(std::string_view data);     // [any]
[[nodiscard]] std::string sha256_bytes(std::string_view data);   // 32 bytes. [any]
[[nodiscard]] std::string base64(std::string_view data);         // [any]
[[nodiscard]] std::string base64_of_hex(std::string_view hex);   // "" of no hex. [any]
[[nodiscard]] std::string hex_of_base64(std::string_view text);  // "" of no base64.
[[nodiscard]] std::string amz_time(int64_t unix_seconds);        // 20130524T000000Z. [any]

// "a=b&c=d", encoded and in the order of signatures. [any]
[[nodiscard]] std::string canonical_query(const Query& query);

// The value of the Authorization header. `payload_hash` is the hexadecimal SHA-256 of the body or
// kUnsignedPayload, as in the header x-amz-content-sha256. [any]
[[nodiscard]] std::string authorization(const SignedRequest& request, std::string_view payload_hash,
                                        const Credentials& credentials, const Scope& scope);

// The query, encoded and with its signature, of a URL by which anybody may make this request until
// `seconds` after the scope's time. [any]
[[nodiscard]] std::string presigned_query(SignedRequest request, int64_t seconds,
                                          const Credentials& credentials, const Scope& scope);

}  // namespace millrace::s3
