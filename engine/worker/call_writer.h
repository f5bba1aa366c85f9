// CallWriter: from a StepCall to a kCall frame, with its large bytes in the slab's input area.
#pragma once

#include <string>
#include <vector>

#include "engine/worker/slab.h"
#include "engine/worker/wire.h"
#include "engine/worker/workers.h"

namespace millrace {

enum class CallWritten : uint8_t {
  kYes,
  kNoRoom,      // the input area is full now
  kTooLarge,    // and would be, were it empty
  kUnreadable,  // an input has no bytes, or its file cannot be read
};

struct CallPlace {
  uint32_t step_index = 0;
  uint32_t slot = 0;
  uint32_t sequence = 0;
};

// Appends the frame to `packet` and the ranges it holds in the slab to `regions`; on any other
// answer than kYes both are as before. `call.with` must have the declared kinds. [loop]
CallWritten write_call(const StepCall& call, const CallPlace& place, Slab* slab,
                       RegionAllocator* allocator, std::string* packet,
                       std::vector<Extent>* regions);

}  // namespace millrace
