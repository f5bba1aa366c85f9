#include "engine/base/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <cstring>

#include "engine/base/check.h"

namespace millrace {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr char kDigits[] = "0123456789abcdef";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string Digest::hex() const {
  return to_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string Digest::text() const {
  return std::string(kPrefix) + hex();
}

std::optional<Digest> Digest::parse(std::string_view text) {
  if (!text.starts_with(kPrefix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  if (text.size() != 64) return std::nullopt;
  for (char c : text) {
    if (c >= 'A' && c <= 'F') return std::nullopt;  // one text per digest
  }
  const auto raw = from_hex(text);
  if (!raw) return std::nullopt;
  Digest digest;
  std::memcpy(digest.bytes.data(), raw->data(), digest.bytes.size());
  return digest;
}

size_t DigestHash::operator()(const Digest& digest) const {
  size_t hash;
  std::memcpy(&hash, digest.bytes.data(), sizeof hash);
  return hash;
}

Digest sha256(std::string_view data) {
  Digest digest;
  SHA256(reinterpret_cast<const uint8_t*>(data.data()), data.size(), digest.bytes.data());
  return digest;
}

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  CHECK(context_->evp != nullptr);
  CHECK(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view data) {
  CHECK(EVP_DigestUpdate(context_->evp, data.data(), data.size()) == 1);
}

Digest Sha256::finish() {
  Digest digest;
  CHECK(EVP_DigestFinal_ex(context_->evp, digest.bytes.data(), nullptr) == 1);
  return digest;
}

std::string to_hex(std::string_view data) {
  std::string text(data.size() * 2, '0');
  for (size_t i = 0; i < data.size(); i++) {
    const auto byte = static_cast<uint8_t>(data[i]);
    text[2 * i] = kDigits[byte >> 4];
    text[2 * i + 1] = kDigits[byte & 15];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string data(text.size() / 2, '\0');
  for (size_t i = 0; i < data.size(); i++) {
    const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    data[i] = static_cast<char>(high << 4 | low);
  }
  return data;
}

std::string base64_encode(std::string_view data) {
  std::string text(4 * ((data.size() + 2) / 3) + 1, '\0');
  const int size =
      EVP_EncodeBlock(reinterpret_cast<uint8_t*>(text.data()),
                      reinterpret_cast<const uint8_t*>(data.data()), static_cast<int>(data.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  // EVP_DecodeBlock skips white space and other things that we refuse.
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') padding++;
  for (char c : text.substr(0, text.size() - padding)) {
    const bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '+' || c == '/';
    if (!ok) return std::nullopt;
  }
  std::string data(text.size() / 4 * 3, '\0');
  const int size =
      EVP_DecodeBlock(reinterpret_cast<uint8_t*>(data.data()),
                      reinterpret_cast<const uint8_t*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  data.resize(static_cast<size_t>(size) - padding);
  return data;
}

Digest hmac_sha256(std::string_view key, std::string_view data) {
  Digest digest;
  unsigned size = 0;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const uint8_t*>(data.data()), data.size(), digest.bytes.data(),
             &size) != nullptr);
  CHECK(size == digest.bytes.size());
  return digest;
}

void random_bytes(void* data, size_t size) {
  CHECK(RAND_bytes(static_cast<uint8_t*>(data), static_cast<int>(size)) == 1);
}

}  // namespace millrace
