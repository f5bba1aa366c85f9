// Digest: the SHA-256 of some bytes, the name of every blob and of every pipeline definition.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

struct Digest {
  std::array<uint8_t, 32> bytes{};
  auto operator<=>(const Digest&) const = default;
  bool is_zero() const { return *this == Digest{}; }
  std::string hex() const;   // 64 lowercase digits. [any]
  std::string text() const;  // "sha256:" + hex(). [any]
  // Reads "sha256:" and 64 lowercase hexadecimal digits, nothing else. [any]
  static std::optional<Digest> parse(std::string_view text);
};

struct DigestHash {
  size_t operator()(const Digest& digest) const;
};

Digest sha256(std::string_view data);  // [any]

// SHA-256 of bytes that come in pieces. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view data);
  Digest finish();  // once; the object is spent afterwards

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Lowercase hexadecimal of any bytes. [any]
std::string to_hex(std::string_view data);
// The bytes of an even number of hexadecimal digits of either case, or nothing. [any]
std::optional<std::string> from_hex(std::string_view text);
// Standard base64 (RFC 4648 section 4, padded, no white space). [any]
std::string base64_encode(std::string_view data);
std::optional<std::string> base64_decode(std::string_view text);
// HMAC-SHA256 of `data` under `key`. [any]
Digest hmac_sha256(std::string_view key, std::string_view data);
// Fills with random bytes of the operating system; ends the process when there are none. [any]
void random_bytes(void* data, size_t size);

}  // namespace millrace
