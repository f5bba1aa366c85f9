// Records for tests of stores: what the core would write, from a number.
#pragma once

#include <memory>
#include <string>

#include "engine/base/value.h"
#include "engine/core/record.h"

namespace millrace {

// A record as the core would write it at rev 1. Equal seeds give equal records.
inline JobRecord suite_record(int seed, TimeMs created_at = 1'795'244'000'000) {
  JobRecord record;
  std::array<uint8_t, 10> random{};
  for (size_t i = 0; i < random.size(); i++) {
    random[i] = static_cast<uint8_t>(static_cast<unsigned>(seed) >> (8 * (i % 4)) ^ i * 37);
  }
  record.key = uuid_v7(created_at, random);
  record.rev = 1;
  record.write_id[0] = static_cast<uint8_t>(seed);
  record.owner.bytes[0] = 1;
  record.salt[0] = static_cast<uint8_t>(seed + 1);
  record.salt[15] = 0x77;
  record.definition = sha256("definition");
  record.pipeline = "noop";
  record.inputs = R"({"n":)" + std::to_string(seed) + "}";
  record.request = sha256(record.inputs);
  record.steps.resize(2);
  record.created_at = created_at;
  return record;
}

inline std::string suite_blob_text(const Digest& digest) {
  BlobRef blob;
  blob.content = std::make_shared<BlobContent>();
  blob.content->digest = digest;
  blob.content->size_bytes = 3;
  blob.media_type = "image/png";
  Value::Map map;
  map["image"] = Value(blob);
  return canonical_json(Value(std::move(map)));
}

}  // namespace millrace
