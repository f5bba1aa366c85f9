// Every bound of the engine, in one place, with the relations between them.
//
// A limit that operators may change is a configuration key (server/config.h); these are its default
// or its ceiling.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

// Pipelines
constexpr int kStepsMax = 64;  // a set of steps is one 64-bit mask
constexpr int kInputsMax = 64;
constexpr int kPortsMax = 32;  // inputs and parameters of one step, and its outputs
constexpr size_t kPipelineFileBytesMax = 256 * 1024;
constexpr int kYamlDepthMax = 32;
constexpr size_t kExpressionBytesMax = 4096;
constexpr int kExpressionDepthMax = 32;  // nesting of parentheses, indices and calls
constexpr int64_t kExpressionCostMax =
    1'000'000;  // evaluation steps, bounded when the file is loaded
constexpr int64_t kExpressionListMax =
    1000;  // elements that a list macro or `in` walks; a longer list fails the step
constexpr size_t kExpressionResultBytesMax = 1 << 20;  // text and elements one evaluation may make
constexpr int64_t kYamlNodesMax = 50'000;  // of one file, aliases counted as often as they stand
constexpr int kDiagnosticsMax = 100;       // per file; the rest is counted

// Values and records
constexpr size_t kInlineJsonBytesMax = 16 * 1024;  // above this a JSON output spills into a blob
constexpr size_t kRecordBytesMax = 128 * 1024;
constexpr size_t kSpilledJsonBytesMax = 16 * 1024 * 1024;
constexpr int kJsonDepthMax = 64;
constexpr size_t kJsonKeptBytes =
    256 * 1024;  // of a thread's buffers for reading JSON, between texts
constexpr int kLabelsMax = 32;
constexpr size_t kLabelKeyBytesMax = 63;
constexpr size_t kLabelValueBytesMax = 255;
constexpr size_t kErrorMessageBytesMax = 1024;
constexpr int kTriesKept = 16;  // attempts whose time and status a step record remembers
constexpr size_t kIdempotencyKeyBytesMax = 255;
constexpr size_t kObjectKeyBytesMax = 512;

// Jobs
constexpr int64_t kJobsResidentDefault = 10'000;     // limits.jobs
constexpr int64_t kJobsAcceptedDefault = 1'000'000;  // limits.accepted
constexpr int kAttemptsMax = 1000;                   // retry.max
constexpr int kStepDeathsMax = 3;  // a step blamed for this many server deaths is parked
constexpr int kWaitersPerJobMax = 64;
// Verbs from other nodes whose documents may still be there, of one job; more wait in the store.
constexpr int kAppliedVerbsMax = 16;
constexpr int64_t kWaitSecondsMax = 300;  // Prefer: wait

// Bytes
constexpr int64_t kBodyBytesDefault = 64 << 20;  // limits.body
constexpr int64_t kBlobBytesMax = int64_t{2} << 30;
constexpr int64_t kPixelsDefault = 268'000'000;  // limits.pixels, over all frames of one image
constexpr int64_t kFramesMax = 10'000;
constexpr size_t kSpoolBytes = 1 << 20;         // an upload above this is spooled to a file,
constexpr size_t kSpoolPieceBytes = 256 << 10;  // in pieces of this size;
constexpr size_t kSpoolBehindBytes = 1 << 20;   // its socket is paused while more than this waits

// Workers
// A step hears that it should stop so long before its attempt is killed, or a tenth of its timeout
// if that is less.
constexpr int64_t kStopMarginMs = 50;

// Runtime
constexpr size_t kDefinitionsKept = 256;  // parsed definitions that are not current any more
constexpr int kAdoptBatch = 256;          // records claimed from the store in one go
constexpr int64_t kRetryLoadMs = 1000;    // before a blob that could not be read is read again

// Commits
constexpr size_t kCommitBytesMax = 4 << 20;
constexpr int kCommitRecordsMax = 512;

// A shared store
constexpr size_t kMongoCommandBytesMax = 8 << 20;  // records in one command; a server takes 16 MiB
constexpr int64_t kStoreBackoffMsMin = 20;         // between two tries of a write in doubt
constexpr int64_t kStoreBackoffMsMax = 1000;
constexpr int kNodesMax = 4096;           // leases that are read, and owners that are looked for
constexpr int kVerbsPageMax = 500;        // pending verbs that are looked at in one go
constexpr size_t kWatchedPageMax = 1000;  // jobs of other nodes that one query asks for
constexpr int kTransferPageMax = 500;     // jobs that move from store to store in one go
constexpr size_t kDamagedNamedMax = 100;  // damaged ones that are named when a store is moved

// Hand-overs between threads
constexpr size_t kWriterWorkMax = 4096;
constexpr size_t kRemovalsMax = 1024;  // of jobs on request, each two pieces of the writer's work
constexpr size_t kReaderWorkMax = 1 << 20;
constexpr size_t kBlobWorkMax = 1 << 16;  // beyond, the request is answered Busy

// Workers
constexpr int kCpuWindowMax = 32;  // fast steps queued to one cpu worker
constexpr int kIoWorkersDefault = 32;
constexpr size_t kFrameBytesMax = 256 * 1024;  // one packet on a worker's wire
constexpr size_t kInlineBlobBytesMax = 4096;   // larger blobs travel through the slab
constexpr int kStepsBeforeRecycle = 100'000;
// Calls that need memory and may go before one that waits for more of it (workers.memory).
constexpr uint32_t kMemoryOvertakesMax = 16;
// An image that no step has described counts as so many pixels a byte, and limits.pixels at most:
// photographs have about 3, drawings some dozens.
constexpr uint64_t kPixelsPerByteUnseen = 16;

// HTTP
constexpr int kConnectionsMax = 10'000;
constexpr size_t kHeaderBytesMax = 32 * 1024;
constexpr int kHeadersMax = 100;
constexpr size_t kUrlBytesMax = 8 * 1024;
constexpr int kMultipartPartsMax = 128;
constexpr int kListLimitDefault = 50;
constexpr int kListLimitMax = 1000;
constexpr size_t kListBytesMax = 4 << 20;  // of the stored records of a page; one in any case

static_assert(kInlineJsonBytesMax < kRecordBytesMax);
static_assert(kRecordBytesMax < kCommitBytesMax);
static_assert(kRecordBytesMax < kMongoCommandBytesMax);
static_assert(2 * kRecordBytesMax < kListBytesMax);
static_assert(kInlineBlobBytesMax < kFrameBytesMax);
static_assert(kSpoolPieceBytes <= kSpoolBytes);
static_assert(kStepsMax <= 64, "step sets are 64-bit masks");

}  // namespace millrace
