#include "engine/base/ids.h"

#include <cstring>

#include "engine/base/digest.h"

namespace millrace {
namespace {

template <size_t N>
std::string_view raw(const std::array<uint8_t, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}

void set_version(JobKey* key, int version) {
  key->bytes[6] = static_cast<uint8_t>((key->bytes[6] & 0x0f) | version << 4);
  key->bytes[8] = static_cast<uint8_t>((key->bytes[8] & 0x3f) | 0x80);
}

}  // namespace

size_t JobKeyHash::operator()(const JobKey& key) const {
  // Both halves: a UUIDv7 begins with its time, a UUIDv8 with its hash.
  uint64_t high, low;
  std::memcpy(&high, key.bytes.data(), 8);
  std::memcpy(&low, key.bytes.data() + 8, 8);
  return high ^ (low * 0x9e3779b97f4a7c15u);
}

std::string JobKey::text() const {
  const std::string hex = to_hex(raw(bytes));
  std::string text;
  text.reserve(45);
  for (size_t i = 0; i < hex.size(); i++) {
    if (i == 8 || i == 12 || i == 16 || i == 20) text += '-';
    text += hex[i];
  }
  return text;
}

std::string JobId::text() const {
  return key.text() + '-' + to_hex(raw(salt));
}

std::optional<JobId> JobId::parse(std::string_view text) {
  constexpr size_t kLength = 36 + 1 + 2 * kSaltTextBytes;
  if (text.size() != kLength) return std::nullopt;
  std::string hex;
  for (size_t i = 0; i < text.size(); i++) {
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23 || i == 36;
    if ((text[i] == '-') != hyphen) return std::nullopt;
    if (text[i] >= 'A' && text[i] <= 'F') return std::nullopt;  // one text per id
    if (!hyphen) hex += text[i];
  }
  const auto bytes = from_hex(hex);
  if (!bytes) return std::nullopt;
  JobId id;
  std::memcpy(id.key.bytes.data(), bytes->data(), 16);
  std::memcpy(id.salt.data(), bytes->data() + 16, kSaltTextBytes);
  return id;
}

JobId job_id(const JobKey& key, const Salt& salt) {
  JobId id;
  id.key = key;
  std::memcpy(id.salt.data(), salt.data(), kSaltTextBytes);
  return id;
}

JobKey uuid_v7(TimeMs now, const std::array<uint8_t, 10>& random) {
  JobKey key;
  for (int i = 0; i < 6; i++) key.bytes[i] = static_cast<uint8_t>(now >> (40 - 8 * i));
  std::memcpy(key.bytes.data() + 6, random.data(), 10);
  set_version(&key, 7);
  return key;
}

JobKey idempotent_job_key(std::string_view pipeline, std::string_view idempotency_key) {
  // A pipeline's name holds no NUL, so the two parts cannot run into each other.
  std::string text = "millrace job key v1";
  text += '\0';
  text += pipeline;
  text += '\0';
  text += idempotency_key;
  const Digest digest = sha256(text);
  JobKey key;
  std::memcpy(key.bytes.data(), digest.bytes.data(), 16);
  set_version(&key, 8);
  return key;
}

std::string NodeId::text() const {
  return to_hex(raw(bytes));
}

NodeId NodeId::random() {
  NodeId id;
  random_bytes(id.bytes.data(), id.bytes.size());
  return id;
}

}  // namespace millrace
