#include "engine/core/record.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr const char* kJobStates[] = {"queued",    "running", "waiting",  "paused",
                                      "succeeded", "failed",  "cancelled"};
constexpr const char* kStepStates[] = {"pending", "running", "waiting",  "succeeded",
                                       "failed",  "skipped", "cancelled"};

// In canonical text this run of bytes begins a blob and nothing else: inside a string its quotes
// would be escaped, and users may not name a member so.
constexpr std::string_view kBlobBegin = R"({"$blob":{"digest":")";
constexpr size_t kDigestTextBytes = 7 + 64;

// False: a blob in it has no digest.
bool append_blobs(std::string_view text, std::vector<Digest>* digests) {
  for (size_t at = text.find(kBlobBegin); at != std::string_view::npos;
       at = text.find(kBlobBegin, at + 1)) {
    const auto digest = Digest::parse(text.substr(at + kBlobBegin.size(), kDigestTextBytes));
    if (!digest) return false;
    digests->push_back(*digest);
  }
  return true;
}

bool append_blobs(const JobRecord& record, std::vector<Digest>* digests) {
  if (!append_blobs(record.inputs, digests) || !append_blobs(record.outputs, digests)) return false;
  if (record.outputs_spilled) digests->push_back(*record.outputs_spilled);
  for (const StepRecord& step : record.steps) {
    if (!append_blobs(step.outputs, digests)) return false;
    if (step.spilled) digests->push_back(*step.spilled);
  }
  return true;
}

}  // namespace

const char* state_name(JobState state) {
  CHECK(static_cast<size_t>(state) < std::size(kJobStates));
  return kJobStates[static_cast<size_t>(state)];
}

const char* state_name(StepState state) {
  CHECK(static_cast<size_t>(state) < std::size(kStepStates));
  return kStepStates[static_cast<size_t>(state)];
}

std::optional<JobState> parse_job_state(std::string_view name) {
  for (size_t i = 0; i < std::size(kJobStates); i++) {
    if (name == kJobStates[i]) return static_cast<JobState>(i);
  }
  return std::nullopt;
}

std::vector<Digest> named_blobs(const JobRecord& record) {
  std::vector<Digest> digests;
  CHECK_MSG(append_blobs(record, &digests), "a record's text names a blob without a digest");
  std::sort(digests.begin(), digests.end());
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  return digests;
}

bool blobs_have_digests(const JobRecord& record) {
  std::vector<Digest> digests;
  return append_blobs(record, &digests);
}

std::string effect_key(const Salt& salt, std::string_view step, std::string_view item,
                       uint32_t generation) {
  // Lengths stand before the texts, so that no two different calls hash the same bytes.
  std::string text(reinterpret_cast<const char*>(salt.data()), salt.size());
  const auto append_number = [&text](uint64_t number) {
    for (int shift = 0; shift < 32; shift += 8) text += static_cast<char>(number >> shift & 0xff);
  };
  append_number(step.size());
  text += step;
  append_number(item.size());
  text += item;
  append_number(generation);
  const Digest hash = sha256(text);
  // 20 bytes are 32 characters of lowercase base32 (RFC 4648's alphabet).
  constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
  std::string key;
  key.reserve(32);
  uint32_t bits = 0;
  int held = 0;
  for (size_t i = 0; i < 20; i++) {
    bits = bits << 8 | hash.bytes[i];
    for (held += 8; held >= 5; held -= 5) key += kAlphabet[bits >> (held - 5) & 31];
  }
  CHECK(key.size() == 32);
  return key;
}

size_t record_bytes(const StepRecord& step) {
  size_t bytes = kStepRecordBytes + step.outputs.size();
  if (step.error) bytes += 64 + step.error->reason.size() + step.error->message.size();
  for (const Try& attempt : step.tries) bytes += 64 + attempt.reason.size() + attempt.note.size();
  return bytes;
}

size_t record_bytes(const JobRecord& record) {
  size_t bytes = 768 + record.inputs.size() + record.outputs.size() + record.pipeline.size();
  for (const auto& [name, value] : record.labels) bytes += 16 + name.size() + value.size();
  for (const auto& [name, major] : record.plugins) bytes += 32 + name.size();
  bytes += record.applied_verbs.size() * sizeof(VerbId);
  if (record.error) bytes += 64 + record.error->reason.size() + record.error->message.size();
  for (const StepRecord& step : record.steps) bytes += record_bytes(step);
  return bytes;
}

}  // namespace millrace
