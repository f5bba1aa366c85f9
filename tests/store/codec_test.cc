// Goal: a record comes back from its bytes as it was, and no bytes whatsoever do harm.
// Method: random records; every truncation and many alterations of their bytes.
#include "engine/store/codec.h"

#include <random>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

using Random = std::mt19937_64;

uint64_t below(Random* random, uint64_t bound) {
  return (*random)() % bound;
}

template <size_t N>
void fill(Random* random, std::array<uint8_t, N>* bytes) {
  for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>((*random)());
}

std::string text(Random* random, size_t bytes_max) {
  std::string value(below(random, bytes_max + 1), '\0');
  for (char& c : value) c = static_cast<char>((*random)());  // also NUL and no UTF-8
  return value;
}

int64_t number(Random* random) {
  switch (below(random, 4)) {
    case 0:
      return 0;
    case 1:
      return INT64_MAX;
    case 2:
      return -5;
    default:
      return static_cast<int64_t>((*random)() >> 20);
  }
}

std::optional<JobError> error(Random* random) {
  if (below(random, 3) != 0) return std::nullopt;
  return JobError{static_cast<int>(below(random, 200)), text(random, 20), text(random, 100),
                  text(random, 10), static_cast<uint32_t>((*random)())};
}

std::optional<Digest> digest(Random* random) {
  if (below(random, 2) == 0) return std::nullopt;
  Digest value;
  fill(random, &value.bytes);
  return value;
}

StepRecord step(Random* random) {
  constexpr StepState kStates[] = {StepState::kPending, StepState::kWaiting, StepState::kSucceeded,
                                   StepState::kFailed,  StepState::kSkipped, StepState::kCancelled};
  StepRecord value;
  value.state = kStates[below(random, 6)];
  value.attempts = static_cast<uint32_t>((*random)());
  value.generation = static_cast<uint32_t>(below(random, 2));
  value.deaths = static_cast<uint32_t>(below(random, 3));
  value.intent = below(random, 2) == 0;
  value.started_at = number(random);
  value.finished_at = number(random);
  value.retry_at = number(random);
  value.frozen = digest(random);
  value.outputs = text(random, 300);
  value.spilled = digest(random);
  value.error = error(random);
  for (uint64_t i = below(random, 4); i > 0; i--) {
    value.tries.push_back({static_cast<uint32_t>((*random)()), number(random), number(random),
                           text(random, 10), text(random, 30)});
  }
  return value;
}

JobRecord record(Random* random) {
  JobRecord value;
  fill(random, &value.key.bytes);
  value.rev = 1 + below(random, 1u << 30);
  fill(random, &value.write_id);
  fill(random, &value.owner.bytes);
  fill(random, &value.salt);
  fill(random, &value.definition.bytes);
  value.pipeline = text(random, 30);
  value.state = static_cast<JobState>(below(random, 7));
  value.inputs = text(random, 500);
  for (uint64_t i = below(random, 5); i > 0; i--) value.labels[text(random, 10)] = text(random, 20);
  const uint64_t steps_min = is_final(value.state) ? 0 : 1;
  for (uint64_t i = steps_min + below(random, 12); i > 0; i--) value.steps.push_back(step(random));
  value.outputs = text(random, 100);
  value.outputs_spilled = digest(random);
  value.error = error(random);
  value.keyed = below(random, 2) == 0;
  fill(random, &value.request.bytes);
  value.cancel_requested = below(random, 2) == 0;
  value.applied_verbs.resize(below(random, 3) == 0 ? below(random, kAppliedVerbsMax + 1) : 0);
  for (VerbId& verb : value.applied_verbs) verb.bytes[0] = static_cast<uint8_t>(below(random, 256));
  value.created_at = number(random);
  value.started_at = number(random);
  value.finished_at = number(random);
  value.expire_at = number(random);
  value.active_ms = number(random);
  for (uint64_t i = below(random, 4); i > 0; i--) {
    value.plugins.emplace_back(text(random, 10), static_cast<int>((*random)()));
  }
  return value;
}

TEST(Codec, ARecordComesBackAsItWas) {
  Random random(1);
  RecordEncoder encoder;
  for (int i = 0; i < 2000; i++) {
    const JobRecord before = record(&random);
    const auto after = decode_record(encoder.encode(before));
    ASSERT_TRUE(after.ok()) << after.status().message();
    ASSERT_TRUE(*after == before);
  }
}

TEST(Codec, EqualRecordsHaveEqualBytes) {
  Random random(2);
  RecordEncoder one, other;
  for (int i = 0; i < 100; i++) {
    const JobRecord value = record(&random);
    ASSERT_EQ(one.encode(value), other.encode(value));
  }
}

TEST(Codec, ABareRecordIsSmall) {
  JobRecord value;
  value.rev = 1;
  value.pipeline = "noop4";
  value.inputs = "{}";
  value.steps.resize(4);
  RecordEncoder encoder;
  EXPECT_LT(encoder.encode(value).size(), 320u);
}

TEST(Codec, EveryTruncationIsCorrupt) {
  Random random(3);
  RecordEncoder encoder;
  const std::string bytes(encoder.encode(record(&random)));
  for (size_t size = 0; size < bytes.size(); size++) {
    const auto result = decode_record(bytes.substr(0, size));
    ASSERT_EQ(result.status().code(), Code::kCorrupt) << size;
    ASSERT_EQ(result.status().number(), errors::kStoreCorrupt);
  }
}

TEST(Codec, EveryFlippedBitIsNoticed) {
  Random random(5);
  RecordEncoder encoder;
  const std::string bytes(encoder.encode(record(&random)));
  for (size_t bit = 0; bit < 8 * bytes.size(); bit++) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    const auto result = decode_record(flipped);
    ASSERT_FALSE(result.ok()) << "bit " << bit;
    ASSERT_EQ(result.status().number(), errors::kStoreCorrupt) << "bit " << bit;
  }
}

// A page that was written elsewhere, or half.
TEST(Codec, EveryLostOrForeignStretchIsNoticed) {
  Random random(6);
  RecordEncoder encoder;
  for (int i = 0; i < 20'000; i++) {
    std::string bytes(encoder.encode(record(&random)));
    const std::string before = bytes;
    const size_t begin = below(&random, bytes.size());
    const size_t size = 1 + below(&random, bytes.size() - begin);
    for (size_t at = begin; at < begin + size; at++) {
      bytes[at] = i % 2 == 0 ? '\0' : static_cast<char>(random());
    }
    if (bytes == before) continue;
    ASSERT_EQ(decode_record(bytes).status().number(), errors::kStoreCorrupt) << i;
  }
}

// The bytes of format 1: no checksum, and the number one.
std::string as_format_1(std::string bytes) {
  bytes.erase(11, 7);  // element "C"
  bytes[7] = 1;        // length, type, "f", NUL, then the number
  bytes[0] = static_cast<char>(bytes.size());
  bytes[1] = static_cast<char>(bytes.size() >> 8);
  bytes[2] = static_cast<char>(bytes.size() >> 16);
  return bytes;
}

TEST(Codec, ARecordOfTheFirstFormatIsRead) {
  Random random(7);
  RecordEncoder encoder;
  for (int i = 0; i < 200; i++) {
    const JobRecord before = record(&random);
    const std::string now(encoder.encode(before));
    const auto after = decode_record(as_format_1(now));
    ASSERT_TRUE(after.ok()) << after.status().message();
    ASSERT_TRUE(*after == before);
    ASSERT_EQ(encoder.encode(*after), now);  // its next write
  }
}

TEST(Codec, AlteredBytesOfTheFirstFormatNeverDoHarm) {
  Random random(4);
  RecordEncoder encoder;
  for (int i = 0; i < 50'000; i++) {
    std::string bytes = as_format_1(std::string(encoder.encode(record(&random))));
    for (uint64_t changes = 1 + below(&random, 4); changes > 0; changes--) {
      bytes[below(&random, bytes.size())] = static_cast<char>(random());
    }
    const auto result = decode_record(bytes);
    // Either another record, or refused; what is read can be written again.
    if (!result.ok()) continue;
    ASSERT_FALSE(encoder.encode(*result).empty());
  }
}

// Its blobs are looked for whenever it is written again, which must not end the program.
TEST(Codec, ABlobWithoutADigestIsNoticed) {
  Random random(8);
  JobRecord value = record(&random);
  value.steps.push_back(step(&random));
  for (std::string* text : {&value.inputs, &value.outputs, &value.steps.back().outputs}) {
    const std::string kept = *text;
    *text = R"({"image":{"$blob":{"digest":"sha256:not","size":1}}})";
    EXPECT_FALSE(blobs_have_digests(value));
    RecordEncoder encoder;
    EXPECT_EQ(decode_record(encoder.encode(value)).status().number(), errors::kStoreCorrupt);
    *text = kept;
  }
  EXPECT_TRUE(blobs_have_digests(value));
}

// Whoever took it up would have nothing to run and nothing that ends it. What is left of a deleted
// job has no steps either, but that one had ended.
TEST(Codec, AnUnfinishedRecordWithoutStepsIsNoticed) {
  JobRecord value;
  value.rev = 1;
  RecordEncoder encoder;
  for (const JobState state :
       {JobState::kQueued, JobState::kRunning, JobState::kWaiting, JobState::kPaused}) {
    value.state = state;
    const auto result = decode_record(encoder.encode(value));
    EXPECT_EQ(result.status().number(), errors::kStoreCorrupt) << state_name(state);
    EXPECT_NE(result.status().message().find("no steps"), std::string::npos);
    const std::string first_format = as_format_1(std::string(encoder.encode(value)));
    EXPECT_EQ(decode_record(first_format).status().number(), errors::kStoreCorrupt);
  }
  for (const JobState state : {JobState::kSucceeded, JobState::kFailed, JobState::kCancelled}) {
    value.state = state;
    EXPECT_TRUE(decode_record(encoder.encode(value)).ok()) << state_name(state);
  }
}

TEST(Codec, ANewerFormatIsRefusedByName) {
  JobRecord value;
  value.rev = 1;
  RecordEncoder encoder;
  std::string bytes(encoder.encode(value));
  bytes[7] = kRecordFormat + 1;
  EXPECT_EQ(decode_record(bytes).status().number(), errors::kStoreCorrupt);  // nobody wrote that
  const uint32_t sum = record_checksum(bytes);
  for (size_t i = 0; i < kRecordChecksumBytes; i++) {
    bytes[kRecordChecksumAt + i] = static_cast<char>(sum >> (8 * i));
  }
  const auto result = decode_record(bytes);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().number(), errors::kStoreVersion);
  EXPECT_NE(result.status().message().find("format 3"), std::string::npos);
}

TEST(Codec, AnEmptyDocumentIsNoRecord) {
  EXPECT_EQ(decode_record(std::string_view("\5\0\0\0\0", 5)).status().code(), Code::kCorrupt);
  EXPECT_EQ(decode_record("").status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace millrace
