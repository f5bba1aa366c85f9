// Call: the worker's side of one attempt. It offers mr_host to a step, keeps what the step says,
// and refuses wrong use; it knows no wire and no slab (a PieceSink takes the bytes).
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/plugin/loader.h"

namespace millrace {

// A run of bytes in memory that both sides share; offsets from its beginning.
struct Extent {
  uint64_t offset = 0;
  uint64_t size = 0;
};

// Bytes on their way from a step to the server: `bytes`, or, once they are many, `extents`.
struct Piece {
  bool set = false;  // written, if only with nothing
  std::string bytes;
  std::vector<Extent> extents;
  uint64_t size = 0;
  uint64_t room = 0;  // the sink's: unused bytes behind the last extent
};

// Where a step's bytes go as it writes them.
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  // Copies `size` bytes behind those of `piece`. False: there is no room for them. [the call's]
  virtual bool append(Piece* piece, const void* data, uint64_t size) = 0;
};

// Keeps everything in Piece::bytes.
class HeapSink final : public PieceSink {
 public:
  bool append(Piece* piece, const void* data, uint64_t size) override;
};

using Settings = std::vector<std::pair<std::string, std::string>>;  // key -> JSON text

// What the step is given. Pointers are valid while run_step() runs.
struct CallInput {
  const LoadedStep* step = nullptr;
  std::vector<mr_blob> inputs;
  std::vector<mr_value> params;
  const char* job = "";
  const char* step_id = "";
  const char* effect_key = nullptr;
  uint32_t attempt = 1;
  int64_t timeout_ms = 0;
  uint64_t pixels_max = 0;
  const std::atomic<uint32_t>* cancel = nullptr;  // not zero: stop soon
  const Settings* settings = nullptr;
};

struct CallOutput {
  Piece piece;
  int32_t forward = -1;  // the input whose bytes these are
  bool described = false;
  std::string media_type;
  uint32_t width = 0, height = 0;
  uint64_t pixels = 0;  // over all frames or pages; 0: width x height
};

struct CallResult {
  uint32_t kind = MR_VALUE_ABSENT;
  int64_t i = 0;
  double d = 0;
  Piece piece;  // of a string or JSON text
};

// What the step said. Nothing in it has been checked against the step's declaration but the use of
// the host's functions; outcome.h does that, on the server's side.
struct CallEnd {
  int32_t status = MR_OK;  // MR_OK, MR_FAILED, MR_CANCELLED
  bool invalid = false;    // the step used the host wrongly; `message` says how
  std::string reason;
  std::string message;
  std::string note;
  int64_t retry_after_ms = 0;
  int64_t run_us = 0;
  std::vector<CallOutput> outputs;
  std::vector<CallResult> results;
};

// Runs the step on this thread and fills `end`. [any, one call at a time for each `end`]
void run_step(const CallInput& input, PieceSink* sink, CallEnd* end);

}  // namespace millrace
