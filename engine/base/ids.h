// JobId and NodeId.
//
// A job's primary key is 16 bytes: a UUIDv7 (time-ordered) when we choose it, a UUIDv8 computed
// from pipeline and idempotency key when the client names one, so that the primary key itself
// deduplicates. The text form that users see adds the first bytes of the job's salt: a later job
// under a reused key has the same primary key and another id.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/time.h"

namespace millrace {

struct JobKey {
  std::array<uint8_t, 16> bytes{};
  auto operator<=>(const JobKey&) const = default;
  bool is_zero() const { return *this == JobKey{}; }
  // As a UUID, with which the text of a JobId begins. [any]
  std::string text() const;
};

struct JobKeyHash {
  size_t operator()(const JobKey& key) const;
};

// Random bytes of rev 1 of the root job; effect keys come from it, so that no two jobs ever share
// one.
using Salt = std::array<uint8_t, 16>;

constexpr int kSaltTextBytes = 4;

struct JobId {
  JobKey key;
  std::array<uint8_t, kSaltTextBytes> salt{};
  auto operator<=>(const JobId&) const = default;
  // "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b-9f8e7d6c": a UUID, a hyphen, the salt's bytes in
  // hexadecimal. [any]
  std::string text() const;
  static std::optional<JobId> parse(std::string_view text);
};

JobId job_id(const JobKey& key, const Salt& salt);  // [any]

// UUIDv7 from a time and 10 random bytes (version and variant bits are set over them). [any]
JobKey uuid_v7(TimeMs now, const std::array<uint8_t, 10>& random);
// UUIDv8 from SHA-256 of pipeline and idempotency key. [any]
JobKey idempotent_job_key(std::string_view pipeline, std::string_view idempotency_key);

// The name of one boot of one server: random, never reused.
struct NodeId {
  std::array<uint8_t, 16> bytes{};
  auto operator<=>(const NodeId&) const = default;
  std::string text() const;  // 32 hexadecimal digits
  static NodeId random();
};

}  // namespace millrace
