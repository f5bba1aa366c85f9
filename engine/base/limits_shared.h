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
// While the database is away, and nobody writes, a read tries it so often; all others are refused.
// Longer than a renewal of a lease takes to fail and to be tried again: that finds out, then.
constexpr int64_t kAwayTryMs = 5'000;
// Hints (SharedStore::open_hints).
constexpr size_t kHintedJobsMax = 1000;    // that one stream is asked to tell of; others are polled
constexpr int32_t kHintsPageMax = 1000;    // changes that one answer brings
constexpr int64_t kHintsWaitMs = 5'000;    // until the database answers that nothing has happened
constexpr int64_t kHintsRetryMsMin = 200;  // before a stream that broke is opened anew
constexpr int64_t kHintsRetryMsMax = 30'000;
constexpr int64_t kNoHintsRetryMs = 600'000;  // before a store without streams is asked again

}  // namespace millrace
