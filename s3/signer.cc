#include "s3/signer.h"

#include <fmt/core.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <time.h>

#include <algorithm>

#include "s3/location.h"

namespace millrace::s3 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string to_hex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string hmac(std::string_view key, std::string_view data) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(data.data()), data.size(), out, &size);
  return {reinterpret_cast<const char*>(out), size};
}

std::string scope_text(const Scope& scope) {
  return fmt::format("{}/{}/{}/aws4_request", amz_time(scope.unix_seconds).substr(0, 8),
                     scope.region, scope.service);
}

std::string signed_names(const SignedRequest& request) {
  std::string names;
  for (const auto& [name, value] : request.headers) {
    if (!names.empty()) names += ';';
    names += name;
  }
  return names;
}

std::string signature(const SignedRequest& request, std::string_view payload_hash,
                      const Credentials& credentials, const Scope& scope) {
  std::string canonical =
      fmt::format("{}\n{}\n{}\n", request.method, request.path, canonical_query(request.query));
  for (const auto& [name, value] : request.headers)
    canonical += fmt::format("{}:{}\n", name, value);
  canonical += fmt::format("\n{}\n{}", signed_names(request), payload_hash);
  const std::string to_sign =
      fmt::format("{}\n{}\n{}\n{}", kAlgorithm, amz_time(scope.unix_seconds), scope_text(scope),
                  sha256_hex(canonical));
  std::string key = "AWS4" + credentials.secret_access_key;
  for (const std::string& part : {amz_time(scope.unix_seconds).substr(0, 8), scope.region,
                                  scope.service, std::string("aws4_request")}) {
    key = hmac(key, part);
  }
  return to_hex(hmac(key, to_sign));
}

}  // namespace

std::string sha256_bytes(std::string_view data) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(data.data(), data.size(), out, &size, EVP_sha256(), nullptr);
  return {reinterpret_cast<const char*>(out), size};
}

std::string sha256_hex(std::string_view data) {
  return to_hex(sha256_bytes(data));
}

std::string base64(std::string_view data) {
  std::string out((data.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(data.data()),
                                   static_cast<int>(data.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

std::string base64_of_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return {};
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    if (digit(hex[i]) < 0 || digit(hex[i + 1]) < 0) return {};
    bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
  }
  return base64(bytes);
}

std::string hex_of_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 1024) return {};
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return {};
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  bytes.resize(static_cast<size_t>(size) - padding);
  return to_hex(bytes);
}

std::string amz_time(int64_t unix_seconds) {
  const auto seconds = static_cast<time_t>(unix_seconds);
  struct tm utc;
  ::gmtime_r(&seconds, &utc);
  char text[32];
  const size_t size = ::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return {text, size};
}

std::string canonical_query(const Query& query) {
  Query encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(uri_encode(name, true), uri_encode(value, true));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) {
    if (!out.empty()) out += '&';
    out += name + "=" + value;
  }
  return out;
}

std::string authorization(const SignedRequest& request, std::string_view payload_hash,
                          const Credentials& credentials, const Scope& scope) {
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                     credentials.access_key_id, scope_text(scope), signed_names(request),
                     signature(request, payload_hash, credentials, scope));
}

std::string presigned_query(SignedRequest request, int64_t seconds, const Credentials& credentials,
                            const Scope& scope) {
  request.query.emplace_back("X-Amz-Algorithm", kAlgorithm);
  request.query.emplace_back("X-Amz-Credential",
                             credentials.access_key_id + "/" + scope_text(scope));
  request.query.emplace_back("X-Amz-Date", amz_time(scope.unix_seconds));
  request.query.emplace_back("X-Amz-Expires", std::to_string(seconds));
  request.query.emplace_back("X-Amz-SignedHeaders", signed_names(request));
  if (!credentials.session_token.empty()) {
    request.query.emplace_back("X-Amz-Security-Token", credentials.session_token);
  }
  const std::string signed_by = signature(request, kUnsignedPayload, credentials, scope);
  return canonical_query(request.query) + "&X-Amz-Signature=" + signed_by;
}

}  // namespace millrace::s3
