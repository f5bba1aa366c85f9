#include "tests/sim/pipelines.h"

#include "tests/core/work_catalogue.h"

namespace millrace::sim {
namespace {

constexpr const char* kCanonical = R"(
pipeline: canonical
timeout: 10m
inputs: { image: { type: blob } }
steps:
  upload: { use: pure, with: { data: "${{ inputs.image }}" } }
  store: { use: idempotent, with: { data: "${{ steps.upload.data }}" }, retry: { max: 3, backoff: 1s..4s } }
  gray: { use: pure, with: { data: "${{ steps.upload.data }}" }, retry: { max: 3, backoff: 1s..30s } }
  result: { use: idempotent, with: { data: "${{ steps.gray.data }}" }, retry: { max: 3, backoff: 1s..4s } }
  notify:
    use: keyed
    with: { text: { job: "${{ job.id }}", original: "${{ steps.store.text }}", gray: "${{ steps.result.text }}" } }
    retry: { max: 8, backoff: 1s..5m }
outputs: { image: "${{ steps.gray.data }}" }
)";

constexpr const char* kDiamond = R"(
pipeline: diamond
inputs: { image: { type: blob }, other: { type: "blob?" }, note: { type: "json?" } }
steps:
  top: { use: pure, with: { data: "${{ inputs.image }}" } }
  left: { use: pure, with: { data: "${{ steps.top.data }}", more: "${{ inputs.other }}" }, retry: { max: 2, backoff: 1s..2s } }
  right: { use: keyed, with: { data: "${{ steps.top.data }}" }, retry: { max: 2, backoff: 1s..2s, jitter: none } }
  bottom: { use: keyed, with: { data: "${{ steps.left.data }}", text: "${{ steps.right.text }}" } }
  last: { use: pure, with: { text: "${{ inputs.note }}" }, needs: [bottom] }
outputs: { data: "${{ steps.left.data }}", text: "${{ steps.bottom.text }}" }
)";

constexpr const char* kOnce = R"(
pipeline: once
inputs: { note: { type: "json?" } }
steps:
  think: { use: pure, with: { text: "${{ inputs.note }}" } }
  pay: { use: once, with: { text: "${{ steps.think.text }}" } }
  tell: { use: keyed, with: { text: "${{ steps.pay.text }}" }, retry: { max: 3, backoff: 1s..2s } }
)";

// Conditions, skips, order without data, optional reads, expressions that may fail.
constexpr const char* kBranches = R"(
pipeline: branches
inputs: { note: { type: "json?" }, flag: { type: bool, default: true } }
steps:
  num: { use: pure, with: { text: "${{ inputs.note }}" } }
  yes: { use: keyed, if: inputs.flag, with: { text: 1 }, retry: { max: 2, backoff: 1s..2s } }
  no: { use: idempotent, if: "!inputs.flag", with: { text: 2 } }
  reader: { use: pure, with: { text: "${{ steps.yes.text }}" } }
  picky: { use: pure, if: "[1, 2][size(inputs.note ?? [])] > 0", with: { text: 1 } }
  index: { use: keyed, with: { text: "${{ [1, 2][size(inputs.note ?? [])] }}" }, needs: { num: done } }
  end: { use: keyed, with: { text: 3 }, needs: { yes: done, no: done, reader: done } }
outputs: { text: "${{ steps.reader.text }}", odd: "${{ [1, 2][size(inputs.note ?? [])] }}" }
)";

constexpr const char* kSpill = R"(
pipeline: spill
inputs: { image: { type: "blob?" } }
steps:
  big: { use: pure, with: { data: "${{ inputs.image }}" } }
  send: { use: keyed, with: { data: "${{ steps.big.data }}" }, needs: [big], retry: { max: 2, backoff: 1s..2s } }
  huge: { use: pure, needs: [send] }
outputs: { text: "${{ steps.big.text }}" }
)";

constexpr const char* kFat = R"(
pipeline: fat
steps:
  fat1: { use: pure }
  fat2: { use: pure }
  fat3: { use: pure }
  fat4: { use: idempotent }
  fat5: { use: pure }
  fat6: { use: pure }
  fat7: { use: pure }
  fat8: { use: idempotent, needs: [fat1] }
  some: { use: pure, needs: { fat7: done } }
  wordy1: { use: pure, retry: { max: 20, backoff: 1s..1s } }
  wordy2: { use: pure, retry: { max: 20, backoff: 1s..1s } }
  wordy3: { use: keyed, needs: [fat1, fat2, fat3, fat5, fat6], retry: { max: 20, backoff: 1s..1s } }
)";

constexpr const char* kDeadlines = R"(
pipeline: deadlines
timeout: 40s
inputs: { image: { type: blob } }
steps:
  slow: { use: pure, with: { data: "${{ inputs.image }}" }, deadline: 20s, retry: { max: 9, backoff: 8s..8s, jitter: none } }
  send: { use: keyed, with: { data: "${{ steps.slow.data }}" }, deadline: 15s, retry: { max: 9, backoff: 1s..9s, give_up_after: 10s } }
  pay: { use: once, needs: [slow] }
)";

// Four steps without a byte or an effect: everything about it is fast.
constexpr const char* kPure = R"(
pipeline: noop4
steps:
  a: { use: pure, with: { text: 1 } }
  b: { use: pure, with: { text: "${{ steps.a.text }}" } }
  c: { use: pure, with: { text: "${{ steps.b.text }}" }, timeout: 5s, retry: { max: 3, backoff: 1s..2s, on: [broken, timeout], except: [busy] } }
  d: { use: pure, with: { text: "${{ steps.c.text }}" } }
outputs: { text: "${{ steps.d.text }}" }
)";

}  // namespace

const std::vector<std::shared_ptr<const Graph>>& pipelines() {
  static const auto* graphs = [] {
    auto* list = new std::vector<std::shared_ptr<const Graph>>();
    for (const char* yaml :
         {kCanonical, kDiamond, kOnce, kBranches, kDeadlines, kPure, kSpill, kFat}) {
      list->push_back(testing::graph_of(yaml + 1));
    }
    return list;
  }();
  return *graphs;
}

}  // namespace millrace::sim
