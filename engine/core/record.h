// JobRecord: all that is durable about one job, and the unit of every write.
//
// One job = one record = one atomic write; no operation ever needs two records to change together.
// Records are values: the core fills one, shares it as const, and never changes it again. The bytes
// on disk are store/codec.h's business.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/digest.h"
#include "engine/base/ids.h"
#include "engine/base/time.h"
#include "engine/base/value.h"

namespace millrace {

enum class JobState : uint8_t {
  kQueued,
  kRunning,
  kWaiting,
  kPaused,
  kSucceeded,
  kFailed,
  kCancelled
};
enum class StepState : uint8_t {
  kPending,
  kRunning,
  kWaiting,
  kSucceeded,
  kFailed,
  kSkipped,
  kCancelled
};
constexpr bool is_final(JobState s) {
  return s >= JobState::kSucceeded;
}
constexpr bool is_final(StepState s) {
  return s >= StepState::kSucceeded;
}
const char* state_name(JobState state);   // "queued" … as in the API. [any]
const char* state_name(StepState state);  // [any]
std::optional<JobState> parse_job_state(std::string_view name);

// Why a job or step failed, as users see it.
struct JobError {
  int number = 0;      // E160
  std::string reason;  // the plugin's own name, or the engine's: timeout, worker_died, cancelled …
  std::string message;   // at most kErrorMessageBytesMax
  std::string step;      // its id; empty where no step is to blame
  uint32_t attempt = 0;  // from 1; 0 where no attempt is to blame
  bool operator==(const JobError&) const = default;
};

// One finished attempt; the newest kTriesKept are kept, but none for a first attempt that succeeded
// without a note.
struct Try {
  uint32_t attempt = 0;
  TimeMs started_at = 0, finished_at = 0;
  std::string reason;  // empty: it succeeded
  std::string note;    // the step's own line, such as "503 Service Unavailable"
  bool operator==(const Try&) const = default;
};

struct StepRecord {
  StepState state =
      StepState::kPending;  // never kRunning: after a crash a running step is pending again
  uint32_t attempts = 0;    // finished ones that count
  uint32_t generation =
      0;                   // part of the effect key; a person's "again, with new effects" raises it
  uint32_t deaths = 0;     // of the server, blamed on this step
  bool intent = false;     // of a `once` step: it may have been started
  TimeMs started_at = 0;   // of its first attempt; 0: never
  TimeMs finished_at = 0;  // 0: not ended
  TimeMs retry_at = 0;     // not before; 0: at once
  std::optional<Digest> frozen;  // of an effect: SHA-256 of its resolved inputs at first schedule
  std::string outputs;  // canonical JSON object port name -> value (null ones left out); empty
                        // while not succeeded
  std::optional<Digest> spilled;  // set: the text of `outputs` is this blob, and `outputs` holds
                                  // only the values with blobs, so that no sweep takes those
  std::optional<JobError> error;
  std::vector<Try> tries;
  bool operator==(const StepRecord&) const = default;
};

struct JobRecord {
  JobKey key;
  uint64_t rev = 0;  // 1 for the first write, then by one
  std::array<uint8_t, 8>
      write_id{};  // names this byte image; a later image of the same rev has another
  NodeId owner;
  Salt salt{};
  Digest definition;     // of the graph
  std::string pipeline;  // its name, for listing
  JobState state = JobState::kQueued;
  std::string inputs;  // canonical JSON object name -> value, blobs as {"$blob":…}
  std::map<std::string, std::string> labels;
  std::vector<StepRecord> steps;          // in the graph's order
  std::string outputs;                    // canonical JSON object; empty until the job ended
  std::optional<Digest> outputs_spilled;  // as `spilled` of a step
  std::optional<JobError> error;
  bool keyed = false;  // submitted with an Idempotency-Key
  Digest request;      // SHA-256 of canonical inputs and labels, of a keyed job: what "the same
                       // request" means
  bool cancel_requested = false;
  // Of a shared store: verbs that were applied and whose documents may still be there, oldest
  // first; at most kAppliedVerbsMax. So each is applied once however often it is delivered.
  std::vector<VerbId> applied_verbs;
  TimeMs created_at = 0, started_at = 0, finished_at = 0;  // 0: not yet
  TimeMs expire_at = 0;      // set with the end: finished_at + retention
  DurationMs active_ms = 0;  // of the pipeline's timeout, used up before the current boot
  std::vector<std::pair<std::string, int>>
      plugins;  // step type and major version, when first scheduled

  JobId id() const { return job_id(key, salt); }
  bool operator==(const JobRecord&) const = default;
};

// Every digest the record names: inputs, outputs, spilled text. A sweep must keep them all. [any]
std::vector<Digest> named_blobs(const JobRecord& record);
// Whether each blob in its texts has a digest; without, the record is damaged. [any]
bool blobs_have_digests(const JobRecord& record);

// About how many bytes a record takes, from above. [any]
constexpr size_t kStepRecordBytes = 256;  // of one step without its texts
size_t record_bytes(const StepRecord& step);
size_t record_bytes(const JobRecord& record);

// The effect key of a step: base32 of a hash of salt, step id, item key and generation; never of
// the attempt. [any]
std::string effect_key(const Salt& salt, std::string_view step, std::string_view item,
                       uint32_t generation);

}  // namespace millrace
