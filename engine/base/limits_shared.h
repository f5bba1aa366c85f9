// Bounds of a shared store beyond those of limits.h.
#pragma once

#include "engine/base/limits.h"

namespace millrace {

// A removed job leaves a trace for so long after its end, lest a delayed copy of its first image
// bring it back: longer than any message is on its way, and clocks run apart.
constexpr int64_t kTraceMs = 900'000;
// A blob of a shared place waits marked for so many leases before it is removed. Half of it is what
// a record may take from the look at its blobs until it is durable.
constexpr int64_t kDyingLeases = 8;
constexpr size_t kDyingMax = 100'000;    // blobs that one node has marked at a time
constexpr int kMarksPageMax = 1000;      // marks that are read or looked for in one go
constexpr int64_t kMarkPollMs = 200;     // between tries of a put that waits for a removal
constexpr size_t kOrphansMax = 100'000;  // blobs of deleted jobs that wait to be looked at

}  // namespace millrace
