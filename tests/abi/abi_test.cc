// Goal: an older plugin keeps loading; a wrong one is refused with words, and the others load.
// Method: one plugin source compiled in many variants, loaded by a real template process.
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "engine/base/digest.h"
#include "engine/base/time.h"
#include "engine/worker/workers.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Workers> start(const std::string& directory) {
  WorkerOptions options;
  options.steps_directory = directory;
  auto started = start_process_workers(options);
  EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.status().message());
  return std::move(started).value();
}

Value blob(const char* bytes) {
  BlobRef ref;
  ref.content = std::make_shared<BlobContent>();
  ref.content->bytes = Bytes::of(bytes);
  ref.content->size_bytes = ref.content->bytes.size();
  return ref;
}

StepOutcome run(Workers* workers, const char* step) {
  StepCall call;
  call.ticket = 1;
  call.decl = workers->catalogue()->find(step);
  CHECK(call.decl != nullptr);
  call.with = {blob("12345"), blob("two"), Value()};
  workers->start(std::move(call));
  workers->flush();
  std::vector<StepResult> results;
  const int64_t until_us = monotonic_us() + 30'000'000;
  while (results.empty() && monotonic_us() < until_us) {
    pollfd ready{workers->poll_fd(), POLLIN, 0};
    poll(&ready, 1, 1000);
    workers->poll(&results);
  }
  return results.at(0).outcome;
}

TEST(Abi, PluginOfAnOlderHeaderLoadsAndRuns) {
  auto workers = start(ABI_STEPS "/old");
  ASSERT_TRUE(workers->problems().empty()) << workers->problems()[0].message;
  const StepDecl* decl = workers->catalogue()->find("abi_old");
  ASSERT_NE(decl, nullptr);
  // Members that its structs do not have are as if they were not set.
  EXPECT_EQ(decl->params.at(0).min, 0);
  EXPECT_EQ(decl->params.at(0).max, 0);
  EXPECT_FALSE(decl->reasons.at(1).transient);
  EXPECT_EQ(decl->reasons.at(1).name, "wrong");
  EXPECT_EQ(decl->inputs.at(1).name, "second");
  EXPECT_EQ(decl->memory_base, 0u);
  EXPECT_FALSE(decl->declares_memory());
  const StepOutcome outcome = run(workers.get(), "abi_old");
  ASSERT_EQ(outcome.kind, StepOutcome::Kind::kSucceeded) << outcome.message;
  EXPECT_EQ(outcome.outputs.at(1).as_int(), 12);
}

// old_step.h stands for the plugins that are out there, compiled against what step.h was then. A
// plugin of that header must load for as long as the major number of the contract is 1, so the file
// may never change: mended, it would agree with today's structs and prove nothing. A later header
// that plugins were built against gets a file of its own beside it.
TEST(Abi, TheOlderHeaderIsWhatItWas) {
  std::ifstream file(OLD_STEP_HEADER, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(sha256(text).text(),
            "sha256:9389198f58323a18c70e3f5a8cee10f9ecc10d676d8213cbb600587ef12af7e1")
      << "put tests/abi/old_step.h back; its words are those of plugins already built";
}

TEST(Abi, DefaultsAreFilledIn) {
  auto workers = start(ABI_STEPS "/good");
  const StepDecl* decl = workers->catalogue()->find("abi_step");
  ASSERT_NE(decl, nullptr);
  EXPECT_EQ(decl->memory_base, 1'000'000u);
  EXPECT_EQ(decl->memory.per_pixel, 4u);
  EXPECT_EQ(decl->memory.per_result_pixel, 5u);
  EXPECT_EQ(decl->result_width, 2);
  EXPECT_EQ(decl->result_height, -1);
  ASSERT_EQ(decl->more_memory.size(), 2u);
  EXPECT_EQ(decl->more_memory[1].port, 1);
  EXPECT_EQ(decl->more_memory[1].value, "image/webp");
  EXPECT_EQ(decl->more_memory[1].memory.per_pixel, 9u);
  EXPECT_EQ(decl->more_memory[1].memory.per_result_pixel, 10u);
  const StepOutcome outcome = run(workers.get(), "abi_step");
  ASSERT_EQ(outcome.kind, StepOutcome::Kind::kSucceeded) << outcome.message;
  EXPECT_TRUE(outcome.outputs.at(0).is_null());
  EXPECT_EQ(outcome.outputs.at(1).as_int(), 12);
}

TEST(Abi, WrongPluginsAreRefusedWithWordsAndTheOthersLoad) {
  // A copy, because two more are made here: no ELF at all, and half of one.
  std::string directory = testing::TempDir() + "/millrace_abi_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  for (const auto& entry : fs::directory_iterator(ABI_STEPS "/many")) {
    fs::copy_file(entry.path(), fs::path(directory) / entry.path().filename());
  }
  std::ofstream(directory + "/b_text.so") << "not a shared object";
  fs::copy_file(ABI_STEPS "/good/good.so", directory + "/b_half.so");
  fs::resize_file(directory + "/b_half.so", fs::file_size(directory + "/b_half.so") / 2);
  std::ofstream(directory + "/b_empty.so") << "";

  auto workers = start(directory);
  struct Expected {
    const char* file;
    int number;
    const char* words;
  };
  const Expected expected[] = {
      {"b_bad_default.so", 144, "\"seven\""},
      {"b_bad_effect.so", 144, "effect 9"},
      {"b_bad_name.so", 144, "\"Number\""},
      {"b_bad_type.so", 144, "lisst<int>"},
      {"b_blob_param.so", 144, "list<blob>"},
      {"b_cpu_settings.so", 144, "settings"},
      {"b_crashes.so", 149, "died"},
      {"b_duplicate.so", 145, "a_good.so"},
      {"b_empty.so", 141, ""},
      {"b_half.so", 0, ""},  // the linker's refusal, or its death
      {"b_io_memory.so", 144, "cpu lane only"},
      {"b_memory_port.so", 144, "\"no_such_port\""},
      {"b_memory_side.so", 144, "\"second\" is no int or json parameter"},
      {"b_much_memory.so", 144, "2097152 bytes of memory"},
      {"b_newer_minor.so", 143, "1.2, this millrace has 1.1"},
      {"b_no_size.so", 144, "mr_port.size"},
      {"b_no_symbol.so", 142, "mr_plugin_v1"},
      {"b_other_symbol.so", 142, "mr_plugin_v2"},
      {"b_refuses.so", 146, "no such luck"},
      {"b_text.so", 141, ""},
      {"b_wrong_major.so", 143, "built for plugin ABI 2.1, this millrace has 1.1"},
  };
  const auto& problems = workers->problems();
  ASSERT_EQ(problems.size(), std::size(expected));
  for (size_t i = 0; i < problems.size(); i++) {
    SCOPED_TRACE(problems[i].message);
    EXPECT_EQ(problems[i].file, directory + "/" + expected[i].file);
    EXPECT_EQ(problems[i].message.rfind(problems[i].file + ": ", 0), 0u);
    if (expected[i].number != 0) {
      EXPECT_EQ(problems[i].number, expected[i].number);
    }
    EXPECT_NE(problems[i].message.find(expected[i].words), std::string::npos);
  }
  ASSERT_EQ(workers->catalogue()->steps().size(), 2u);
  EXPECT_NE(workers->catalogue()->find("abi_step"), nullptr);
  EXPECT_NE(workers->catalogue()->find("last"), nullptr);
  EXPECT_EQ(run(workers.get(), "last").kind, StepOutcome::Kind::kSucceeded);
  fs::remove_all(directory);
}

TEST(Abi, DirectoryThatIsMissingIsAProblemAndNotAnEnd) {
  auto workers = start("/nonexistent/steps");
  ASSERT_EQ(workers->problems().size(), 1u);
  EXPECT_EQ(workers->problems()[0].number, 147);
  EXPECT_TRUE(workers->catalogue()->steps().empty());
}

}  // namespace
}  // namespace millrace
