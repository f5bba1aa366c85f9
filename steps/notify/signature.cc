#include "steps/notify/signature.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <simdjson.h>

namespace millrace::notify_step {
namespace {

constexpr std::string_view kPrefix = "whsec_";
constexpr size_t kSecretsMax = 2;
constexpr size_t kSecretBytesMax = 1024;

// Strict: no line breaks, padding where it belongs (OpenSSL's own decoder forgives both).
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > kSecretBytesMax) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  for (const char c : text.substr(0, text.size() - padding)) {
    const bool known = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                       c == '+' || c == '/';
    if (!known) return std::nullopt;
  }
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  bytes.resize(static_cast<size_t>(size) - padding);
  return bytes;
}

bool add_secrets(std::string_view text, std::vector<std::string>* keys, std::string* problem) {
  while (!text.empty()) {
    const size_t end = text.find_first_of(", ");
    const std::string_view secret = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (secret.empty()) continue;
    std::optional<std::string> key;
    if (secret.starts_with(kPrefix)) key = decode_base64(secret.substr(kPrefix.size()));
    if (!key || key->empty()) {
      *problem =
          "the setting 'webhook.secret' is not 'whsec_' followed by base64; make one with: echo "
          "whsec_$(openssl rand -base64 32)";
      return false;
    }
    keys->push_back(*std::move(key));
  }
  return true;
}

}  // namespace

std::optional<std::vector<std::string>> parse_secrets(std::string_view setting_json,
                                                      std::string* problem) {
  std::vector<std::string> keys;
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(setting_json.data(), setting_json.size()).get(root) != simdjson::SUCCESS) {
    *problem = "the setting 'webhook.secret' is no JSON";
    return std::nullopt;
  }
  if (root.is_null()) return keys;
  std::string_view text;
  simdjson::dom::array list;
  if (root.get_string().get(text) == simdjson::SUCCESS) {
    if (!add_secrets(text, &keys, problem)) return std::nullopt;
  } else if (root.get_array().get(list) == simdjson::SUCCESS) {
    for (const simdjson::dom::element item : list) {
      if (item.get_string().get(text) != simdjson::SUCCESS) {
        *problem = "the setting 'webhook.secret' has an entry that is no string";
        return std::nullopt;
      }
      if (!add_secrets(text, &keys, problem)) return std::nullopt;
    }
  } else {
    *problem = "the setting 'webhook.secret' is neither a string nor a list of strings";
    return std::nullopt;
  }
  if (keys.size() > kSecretsMax) {
    *problem = fmt::format("the setting 'webhook.secret' has {} secrets, at most {} may be live",
                           keys.size(), kSecretsMax);
    return std::nullopt;
  }
  return keys;
}

std::string signature_of(const std::vector<std::string>& keys, std::string_view id,
                         int64_t timestamp, std::string_view body) {
  std::string signatures;
  if (keys.empty()) return signatures;
  std::string content = fmt::format("{}.{}.", id, timestamp);
  content += body;
  for (const std::string& key : keys) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(content.data()), content.size(), digest, &size);
    unsigned char text[EVP_MAX_MD_SIZE * 2];
    const int length = EVP_EncodeBlock(text, digest, static_cast<int>(size));
    if (!signatures.empty()) signatures += ' ';
    signatures += "v1,";
    signatures.append(reinterpret_cast<const char*>(text), static_cast<size_t>(length));
  }
  return signatures;
}

}  // namespace millrace::notify_step
