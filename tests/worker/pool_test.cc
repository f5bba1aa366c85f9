// Goal: calls go through real child processes and come back as declared.
// Method: the real plugins noop and example, and the test plugin's well-behaved ways.
#include "engine/worker/slab.h"
#include "tests/worker/worker_fixture.h"

namespace millrace {
namespace {

using Kind = StepOutcome::Kind;

TEST(Pool, CatalogueIsWhatThePluginsDeclare) {
  WorkerFixture t(WorkerFixture::real());
  const StepDecl* noop = t.workers->catalogue()->find("noop");
  ASSERT_NE(noop, nullptr);
  EXPECT_EQ(noop->effect, Effect::kPure);
  EXPECT_EQ(noop->params[0].type.text(), "string?");
  EXPECT_EQ(t.workers->catalogue()->find("noop_keyed")->effect, Effect::kKeyed);
  EXPECT_EQ(t.workers->catalogue()->find("flip")->reasons[0].name, "empty");
}

TEST(Pool, NoopReturnsWhatItWasGiven) {
  WorkerFixture t(WorkerFixture::real());
  StepOutcome outcome = t.run(t.call("noop", {"abc"}));
  ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
  EXPECT_EQ(outcome.outputs.at(0).as_string(), "abc");
  outcome = t.run(t.call("noop", {}));
  EXPECT_EQ(outcome.outputs.at(0).as_string(), std::string(200, 'x'));
}

TEST(Pool, ManyCallsAllEndOnceInEachOfTwoWorkers) {
  WorkerOptions options = WorkerFixture::real();
  options.cpu = 2;
  WorkerFixture t(options);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 25'000; i++) {
    tickets.push_back(t.start(t.call("noop", {std::to_string(i)})));
  }
  for (size_t i = 0; i < tickets.size(); i++) {
    ASSERT_EQ(t.wait(tickets[i]).outputs.at(0).as_string(), std::to_string(i));
  }
}

TEST(Pool, BlobsOfAllSizesComeBackUnchanged) {
  WorkerFixture t(WorkerFixture::faulty());
  for (const size_t size : {0ul, 1ul, 4096ul, 4097ul, 65'536ul, 381'000ul, 20'000'000ul}) {
    std::string bytes(size, 'a');
    for (size_t i = 0; i < size; i++) bytes[i] = static_cast<char>(i * 31);
    const StepOutcome outcome = t.run(t.fault("echo", 0, WorkerFixture::blob(bytes)));
    ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
    EXPECT_TRUE(outcome.outputs.at(0).as_blob().content->bytes.view() == bytes) << size;
    EXPECT_EQ(outcome.outputs.at(0).as_blob().content->size_bytes, size);
  }
}

TEST(Pool, ForwardedInputIsTheSameContent) {
  WorkerFixture t(WorkerFixture::faulty());
  const Value blob = WorkerFixture::blob(std::string(10'000, 'q'));
  const StepOutcome outcome = t.run(t.fault("forward", 0, blob));
  ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
  EXPECT_EQ(outcome.outputs.at(0).as_blob().content, blob.as_blob().content);
  EXPECT_EQ(outcome.outputs.at(0).as_blob().media_type, "text/plain");
}

TEST(Pool, OutputsWrittenByTurnsComeBackWhole) {
  WorkerFixture t(WorkerFixture::faulty());
  const StepOutcome outcome = t.run(t.fault("turns", 3'000'000));
  ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
  const std::string_view first = outcome.outputs.at(0).as_blob().content->bytes.view();
  const std::string_view second = outcome.outputs.at(1).as_blob().content->bytes.view();
  ASSERT_EQ(first.size(), 3'000'000u);
  ASSERT_EQ(second.size(), 1'500'000u);
  for (size_t i = 0; i < first.size(); i++) ASSERT_EQ(first[i], static_cast<char>(i / 1000));
  for (size_t i = 0; i < second.size(); i++) ASSERT_EQ(second[i], static_cast<char>(i / 500));
}

TEST(Pool, HugeOutputsComeBackAndAreChargedToTheBudget) {
  WorkerOptions options = WorkerFixture::faulty();
  options.budget = std::make_shared<ByteBudget>(uint64_t{1} << 40);
  WorkerFixture t(options);
  {
    const Ticket ticket = t.start(t.fault("write", 300'000'000));
    const StepOutcome outcome = t.wait(ticket);
    ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
    EXPECT_EQ(outcome.outputs.at(0).as_blob().content->bytes.size(), 300'000'000u);
    EXPECT_EQ(options.budget->used_bytes(), 300'000'000u);
    t.ended.clear();
  }
  EXPECT_EQ(options.budget->used_bytes(), 0u);
}

TEST(Pool, LargeParametersTravelThroughTheSlab) {
  WorkerFixture t(WorkerFixture::real());
  const std::string large(1'000'000, 'L');
  const StepOutcome outcome = t.run(t.call("noop", {large}));
  ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
  EXPECT_EQ(outcome.outputs.at(0).as_string(), large);
}

// Pages of memory shared with workers.
uint64_t slab_bytes() {
  std::ifstream maps("/proc/self/smaps");
  uint64_t bytes = 0;
  bool slab = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' ')) slab = line.find("millrace-slab") != line.npos;
    if (slab && line.starts_with("Rss:")) bytes += std::strtoull(&line[4], nullptr, 10) << 10;
  }
  return bytes;
}

// Regression: up to 2 MiB of each area stayed for good, and most of it was reached late.
TEST(Pool, NothingIsKeptInTheSlabsOfWorkersAtRest) {
  constexpr size_t kBytes = 1'000'000;
  WorkerOptions options = WorkerFixture::faulty();
  options.cpu = 1;
  WorkerFixture t(options);
  const auto call = [&] {
    return t.fault("write", kBytes, WorkerFixture::blob(std::string(kBytes, 'L')));
  };
  ASSERT_EQ(t.run(call()).kind, Kind::kSucceeded);
  EXPECT_GT(slab_bytes(), 2 * kBytes);
  const auto of_headers = kSlabHeaderBytes * 2;  // the other worker is the io lane's
  for (int i = 0; i < 60 && slab_bytes() > of_headers; i++) t.turn();
  EXPECT_LE(slab_bytes(), of_headers);
  EXPECT_EQ(t.run(call()).outputs.at(0).as_blob().content->bytes.size(), kBytes);
}

TEST(Pool, JsonResultsAreParsed) {
  WorkerFixture t(WorkerFixture::faulty());
  const StepOutcome outcome = t.run(t.fault("json"));
  ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
  EXPECT_EQ(canonical_json(outcome.outputs.at(3)), "{\"a\":[true],\"b\":1}");
}

TEST(Pool, DeclaredFailureCarriesReasonNoteAndRetryAfter) {
  WorkerFixture t(WorkerFixture::faulty());
  const StepOutcome outcome = t.run(t.fault("fail"));
  EXPECT_EQ(outcome.kind, Kind::kFailed);
  EXPECT_EQ(outcome.number, 160);
  EXPECT_EQ(outcome.reason, "broken");
  EXPECT_EQ(outcome.message, "it is broken");
  EXPECT_EQ(outcome.note, "503 Service Unavailable");
  EXPECT_EQ(outcome.retry_after_ms, 1500);
  EXPECT_TRUE(outcome.transient);
}

TEST(Pool, IoLaneRunsCallsSideBySide) {
  WorkerFixture t(WorkerFixture::faulty());
  std::vector<Ticket> tickets;
  const int64_t began_us = monotonic_us();
  for (int i = 0; i < 16; i++) {
    tickets.push_back(
        t.start(t.fault("sleep", 300, WorkerFixture::blob(std::string(9000, 'i')), "fault_io")));
  }
  for (const Ticket ticket : tickets) EXPECT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
  EXPECT_LT(monotonic_us() - began_us, 16 * 300'000 / 2);
}

TEST(Pool, SettingsReachOnlyStepsThatDeclareThem) {
  WorkerOptions options = WorkerFixture::faulty();
  options.settings = {{"test.secret", "\"s3cret\""}, {"test.other", "1"}};
  WorkerFixture t(options);
  StepOutcome outcome = t.run(t.fault("setting", 0, {}, "fault_io"));
  ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
  EXPECT_EQ(outcome.outputs.at(2).as_string(), "\"s3cret\"");
  EXPECT_EQ(t.run(t.fault("setting")).kind, Kind::kFailed);
}

TEST(Pool, IoLaneReadsBlobsFromTheirFiles) {
  WorkerOptions options = WorkerFixture::faulty();
  options.io_paths = {{testing::TempDir(), false}};
  WorkerFixture t(options);
  const std::string path = testing::TempDir() + "/millrace_worker_blob";
  const std::string bytes(100'000, 'f');
  FILE* file = fopen(path.c_str(), "w");
  ASSERT_EQ(fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
  fclose(file);
  BlobRef ref;
  ref.content = std::make_shared<BlobContent>();
  ref.content->size_bytes = bytes.size();
  for (const char* step : {"fault_io", "fault"}) {
    StepCall call = t.fault("echo", 0, ref, step);
    call.paths = {path, "", "", "", ""};
    const StepOutcome outcome = t.run(std::move(call));
    ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
    EXPECT_TRUE(outcome.outputs.at(0).as_blob().content->bytes.view() == bytes);
    StepCall gone = t.fault("echo", 0, ref, step);
    gone.paths = {path + ".gone", "", "", "", ""};
    EXPECT_EQ(t.run(std::move(gone)).reason, "input_unreadable");
  }
  remove(path.c_str());
}

}  // namespace
}  // namespace millrace
