// Goal: running calls are never promised more memory than there is, and all get their turn.
// Method: a step that declares one byte a pixel, and blobs that say how many pixels they have.
#include "engine/worker/worker_memory.h"
#include "tests/worker/worker_fixture.h"

namespace millrace {
namespace {

using Kind = StepOutcome::Kind;

class Memory : public testing::TestWithParam<bool> {
 protected:
  static constexpr uint64_t kBudget = 100;

  static WorkerOptions options(uint32_t cpu) {
    WorkerOptions options = WorkerFixture::faulty();
    options.cpu = cpu;
    options.memory_budget_bytes = kBudget;
    return options;
  }
  // Starts a call that needs so much.
  static Ticket start(WorkerFixture& t, uint32_t need, const std::string& how, int64_t n = 0) {
    Value picture = WorkerFixture::blob("picture");
    BlobRef ref = picture.as_blob();
    ref.width = need;
    ref.height = 1;
    return t.start(t.fault(how, n, need > 0 ? Value(ref) : Value(), "fault_memory"));
  }
  static MemoryStats memory(const WorkerFixture& t) { return t.workers->stats(Lane::kCpu).memory; }
};

constexpr int64_t kLong = 60'000;  // milliseconds; ended by stop()

TEST_F(Memory, NoMoreCallsRunThanTheBudgetHolds) {
  WorkerFixture t(options(4));
  std::vector<Ticket> tickets;
  for (int i = 0; i < 40; i++) tickets.push_back(start(t, 50, "sleep", 2));
  t.workers->flush();
  EXPECT_EQ(memory(t).reserved_bytes, kBudget);
  EXPECT_EQ(memory(t).waiting, 38u);
  while (t.ended.size() < tickets.size()) {
    t.turn();
    EXPECT_LE(memory(t).reserved_bytes, kBudget);
    EXPECT_LE(t.workers->stats(Lane::kCpu).busy, 2u);
  }
  for (const Ticket ticket : tickets) EXPECT_EQ(t.ended[ticket].kind, Kind::kSucceeded);
  EXPECT_EQ(memory(t).reserved_bytes, 0u);
  EXPECT_EQ(memory(t).waiting, 0u);
}

TEST_F(Memory, CallsOfAllSizesEndAndNoneExceedsTheBudget) {
  WorkerFixture t(options(3));
  std::vector<Ticket> tickets;
  for (uint32_t i = 0; i < 300; i++) tickets.push_back(start(t, i * 37 % 140, "ok"));
  t.workers->flush();
  while (t.ended.size() < tickets.size()) {
    t.turn();
    EXPECT_LE(memory(t).reserved_bytes, kBudget);
  }
  for (const Ticket ticket : tickets) EXPECT_EQ(t.ended[ticket].kind, Kind::kSucceeded);
  EXPECT_EQ(memory(t).reserved_bytes, 0u);
}

TEST_F(Memory, CallThatNeedsMoreThanThereIsRunsAlone) {
  WorkerFixture t(options(3));
  const Ticket small = start(t, 40, "sleep", kLong);
  const Ticket huge = start(t, 4000, "sleep", kLong);
  t.workers->flush();
  EXPECT_EQ(memory(t).reserved_bytes, 40u);
  t.workers->stop(small);
  t.wait(small);
  while (memory(t).reserved_bytes != kBudget) t.turn();
  const Ticket tiny = start(t, 1, "ok");
  EXPECT_EQ(t.wait(start(t, 0, "ok")).kind, Kind::kSucceeded) << "needs nothing, waits for nobody";
  EXPECT_EQ(t.ended.count(tiny), 0u);
  EXPECT_EQ(memory(t).waiting, 1u);
  t.workers->stop(huge);
  EXPECT_EQ(t.wait(tiny).kind, Kind::kSucceeded);
}

// Those behind may use what the first cannot, but not for ever.
TEST_F(Memory, FirstThatWaitsIsOvertakenSoOftenAndNoMore) {
  WorkerFixture t(options(4));
  const Ticket runs = start(t, 60, "sleep", kLong);
  const Ticket large = start(t, 50, "ok");
  std::vector<Ticket> small;
  for (uint32_t i = 0; i < kMemoryOvertakesMax + 5; i++) small.push_back(start(t, 10, "ok"));
  for (uint32_t i = 0; i < kMemoryOvertakesMax; i++) {
    EXPECT_EQ(t.wait(small[i]).kind, Kind::kSucceeded);
  }
  EXPECT_EQ(t.wait(start(t, 0, "ok")).kind, Kind::kSucceeded);
  EXPECT_EQ(t.ended.size(), kMemoryOvertakesMax + 1);
  EXPECT_EQ(memory(t).reserved_bytes, 60u);
  EXPECT_EQ(memory(t).waiting, 6u);
  t.workers->stop(runs);
  EXPECT_EQ(t.wait(large).kind, Kind::kSucceeded);
  for (const Ticket ticket : small) EXPECT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
}

TEST_F(Memory, DeadWorkerHoldsNothing) {
  for (const char* how : {"crash", "hang", "garbage"}) {
    WorkerFixture t(options(2));
    StepCall dies = t.fault(how, 0, {}, "fault_memory");
    BlobRef picture = WorkerFixture::blob("picture").as_blob();
    picture.width = 100, picture.height = 1;
    dies.with[0] = picture;
    dies.timeout_ms = 2000;  // of the one that hangs
    const Ticket dead = t.start(std::move(dies));
    const Ticket next = start(t, 100, "ok");
    EXPECT_NE(t.wait(dead).kind, Kind::kSucceeded) << how;
    EXPECT_EQ(t.wait(next).kind, Kind::kSucceeded) << how;
    EXPECT_EQ(memory(t).reserved_bytes, 0u) << how;
  }
}

TEST_F(Memory, CallThatIsTakenBackHoldsNothing) {
  WorkerFixture t(options(1));
  const Ticket runs = start(t, 40, "sleep", kLong);
  const Ticket behind = start(t, 40, "ok");
  t.workers->flush();
  EXPECT_EQ(memory(t).reserved_bytes, 80u);
  t.workers->stop(behind);
  EXPECT_EQ(memory(t).reserved_bytes, 40u);
  t.workers->stop(runs);
  t.wait(runs);
  t.wait(behind);
  while (memory(t).reserved_bytes != 0) t.turn();
}

// A call behind a long one goes to an idle worker, also while others wait for memory.
TEST_F(Memory, WaitingForMemoryKeepsNobodyFromAnIdleWorker) {
  WorkerFixture t(options(2));
  const Ticket long_one = start(t, 60, "sleep", kLong);
  const Ticket other = start(t, 0, "sleep", kLong);
  const Ticket behind = start(t, 0, "ok");
  const Ticket waits = start(t, 60, "ok");
  t.workers->flush();
  EXPECT_EQ(memory(t).waiting, 1u);
  t.workers->stop(other);
  EXPECT_EQ(t.wait(behind).kind, Kind::kSucceeded);
  EXPECT_EQ(t.ended.count(waits), 0u);
  t.workers->stop(long_one);
  EXPECT_EQ(t.wait(waits).kind, Kind::kSucceeded);
}

// With processes, and in threads of the server.
TEST_P(Memory, CancelledCallLeavesTheQueueAndTheNextHasItsTurn) {
  WorkerFixture t(options(2), GetParam());
  const Ticket runs = start(t, 100, "sleep", kLong);
  const Ticket cancelled = start(t, 100, "ok");
  const Ticket next = start(t, 100, "ok");
  t.workers->flush();
  EXPECT_EQ(memory(t).reserved_bytes, kBudget);
  EXPECT_EQ(memory(t).waiting, 2u);
  t.workers->stop(cancelled);
  EXPECT_EQ(t.wait(cancelled).kind, Kind::kStopped);
  EXPECT_EQ(memory(t).waiting, 1u);
  EXPECT_EQ(memory(t).reserved_bytes, kBudget);
  t.workers->stop(runs);
  EXPECT_EQ(t.wait(next).kind, Kind::kSucceeded);
  EXPECT_EQ(memory(t).reserved_bytes, 0u);
}
INSTANTIATE_TEST_SUITE_P(Isolation, Memory, testing::Bool(), [](const auto& isolation) {
  return isolation.param ? "Threads" : "Processes";
});

TEST(WorkerMemory, NeedIsReckonedFromWhatIsKnownOfTheImages) {
  StepDecl decl;
  decl.inputs.resize(2);
  decl.memory_base = 1000;
  decl.memory.per_pixel = 3;
  const WorkerMemory memory(1'000'000'000, 1'000'000);
  EXPECT_EQ(memory.need_of(decl, {Value(), Value()}), 1000u);
  BlobRef image = WorkerFixture::blob(std::string(100, 'x')).as_blob();
  EXPECT_EQ(memory.need_of(decl, {image, Value()}), 1000 + 3 * 100 * kPixelsPerByteUnseen);
  image.width = 20, image.height = 30;
  EXPECT_EQ(memory.need_of(decl, {image, Value()}), 1000u + 3 * 600);
  EXPECT_EQ(memory.need_of(decl, {image, image}), 1000u + 3 * 1200);
  image.pixels = 6000;  // ten frames
  EXPECT_EQ(memory.need_of(decl, {image, Value()}), 1000u + 3 * 6000);
  // What a step names beside: more is more, less is not less.
  const Value none;
  decl.params.resize(2);
  decl.more_memory = {{0, "image/webp", {5, 0}}, {2, "avif", {7, 2}}, {3, "true", {1, 0}}};
  EXPECT_EQ(memory.need_of(decl, {image, none, none, true}), 1000u + 3 * 6000);
  EXPECT_EQ(memory.need_of(decl, {image, none, "avif", none}), 1000u + 9 * 6000);
  image.media_type = "image/webp";
  EXPECT_EQ(memory.need_of(decl, {image, none, "png", false}), 1000u + 5 * 6000);
  decl.more_memory.clear();
  // What comes out, where the step has parameters for its sides.
  decl.memory.per_result_pixel = 10;
  EXPECT_EQ(memory.need_of(decl, {image, none, 10, none}), 1000u + 13 * 6000);
  decl.result_width = 2, decl.result_height = 3;
  EXPECT_EQ(memory.need_of(decl, {image, none, none, none}), 1000u + 13 * 6000);
  EXPECT_EQ(memory.need_of(decl, {image, none, 10, none}), 1000u + 3 * 6000 + 10 * 1501);
  EXPECT_EQ(memory.need_of(decl, {image, none, 10, 40}), 1000u + 3 * 6000 + 10 * 24001);
  EXPECT_EQ(memory.need_of(decl, {image, none, INT64_MAX, none}), 1000u + 3 * 6000 + 10'000'000);
  decl.memory.per_result_pixel = 0;
  // Beyond limits.pixels the step refuses it; nothing overflows, and nothing exceeds the budget.
  image.width = image.height = UINT32_MAX;
  image.pixels = UINT64_MAX;
  EXPECT_EQ(memory.need_of(decl, {image, Value()}), 1000u + 3'000'000);
  decl.memory.per_pixel = UINT64_MAX;
  EXPECT_EQ(memory.need_of(decl, {image, image}), 1'000'000'000u);
  decl.memory_base = decl.memory.per_pixel = 0;
  EXPECT_EQ(memory.need_of(decl, {image, image}), 0u);
}

// Sides that stand in a list of operations count for a shape of four to one: what comes before may
// have cut the picture so. The words in it count as those of a parameter do.
TEST(WorkerMemory, WhatAListAsksForIsReckonedFromTheNumbersAndWordsInIt) {
  StepDecl decl;
  decl.inputs.resize(1);
  decl.params.resize(1);
  decl.memory = {3, 10};
  decl.result_width = 1;
  decl.more_memory = {{1, "webp", {0, 20}}};
  const WorkerMemory memory(1'000'000'000, 1'000'000);
  BlobRef image = WorkerFixture::blob(std::string(10, 'x')).as_blob();
  image.width = 20, image.height = 30;
  const auto need = [&](const std::string& json) {
    return memory.need_of(decl, {image, parse_json(json).value()});
  };
  const auto of = [](uint64_t result, uint64_t each = 10) { return 3 * 600 + each * result; };
  EXPECT_EQ(need("null"), of(600));
  EXPECT_EQ(need("[]"), of(600));
  EXPECT_EQ(need(R"([{"params":{"width":10}}])"), of(600));  // it was as large before
  EXPECT_EQ(need(R"([{"params":{"width":100}},{"params":{"height":20}}])"), of(40'001));
  EXPECT_EQ(need(R"([{"params":{"height":100.0}}])"), of(40'001));
  EXPECT_EQ(need(R"([{"params":{"sigma":100,"x":[100]}}])"), of(600));
  EXPECT_EQ(need(R"([{"params":{"format":"webp"}}])"), of(600, 20));
  EXPECT_EQ(need(R"([{"params":{"width":-9e300,"height":9e300}}])"), of(1'000'000));
  image.width = 2, image.height = 300;
  EXPECT_EQ(need(R"([{"width":100}])"), of(1'000'000));
  EXPECT_EQ(need(R"([{"width":20}])"), of(60'001));
  image.width = image.height = 0;  // nobody has seen it
  EXPECT_EQ(need(R"([{"width":100}])"), 3 * 160u + 10 * 40'001);
}

}  // namespace
}  // namespace millrace
