// Goal: who mistypes on the command line is told what is wrong and what to write instead.
// Method: the built binary, beside a server of its own where a verb talks to one.
#include "cmake/tree.h"
#include "tests/http/program_fixture.h"

namespace millrace::test {
namespace {

constexpr char kBytes[] =
    "pipeline: bytes\n"
    "inputs:\n  data: { type: blob }\n  note: { type: \"string?\" }\n  count: { type: \"int?\" }\n"
    "steps:\n  work: { use: noop }\noutputs:\n  data: ${{ inputs.data }}\n";

class CommandLine : public Program {
 protected:
  // A server with the pipeline `bytes`, and what names it to a verb.
  void start_server() {
    write("pipelines/bytes.yaml", kBytes);
    server_ = std::make_unique<Child>(serve());
    ASSERT_TRUE(server_->read_until("ev=server.ready")) << server_->text;
    ASSERT_TRUE(server_->read_until("\n"));
    url_ = "http://" + server_->word_after("addr");
  }
  void expect_says(const std::vector<std::string>& arguments, int code, const std::string& words) {
    std::string text;
    EXPECT_EQ(code_of(arguments, &text), code) << text;
    EXPECT_NE(text.find(words), std::string::npos) << text;
  }

  std::unique_ptr<Child> server_;
  std::string url_;
};

TEST_F(CommandLine, AnUnknownVerbIsNamedWithTheNearestOne) {
  expect_says({"srve"}, 2, "unknown verb 'srve'; did you mean 'serve'?");
  expect_says({"jobs", "submti"}, 2, "unknown verb 'jobs submti'; did you mean 'submit'?");
  expect_says({"pipelines", "drop"}, 2,
              "unknown verb 'pipelines drop'; `millrace pipelines --help`");
  expect_says({"jobs"}, 2, "'millrace jobs' needs a verb");
}

TEST_F(CommandLine, AnUnknownOptionIsNamedWithTheNearestOne) {
  expect_says({"jobs", "list", "--limt", "3"}, 2,
              "'millrace jobs list' does not take '--limt'; did you mean '--limit'?");
}

TEST_F(CommandLine, NumbersOutsideTheirRangeAreToldTheRange) {
  expect_says({"jobs", "list", "--limit", "0"}, 2,
              "--limit: a number from 1 to 1000 is wanted, not '0'");
  expect_says({"jobs", "get", "x", "--wait", "999"}, 2,
              "--wait: a number from 0 to 300 is wanted, not '999'");
}

TEST_F(CommandLine, OnlyHttpAddressesAreServers) {
  expect_says({"jobs", "list", "--server", "ftp://127.0.0.1"}, 2, "http or https, not 'ftp://");
}

TEST_F(CommandLine, TheServerFlagWinsOverItsVariable) {
  ASSERT_EQ(setenv("MILLRACE_SERVER", "http://127.0.0.1:1", 1), 0);
  start_server();
  EXPECT_EQ(code_of({"jobs", "list", "--server", url_}), 0);
  EXPECT_EQ(code_of({"jobs", "list"}), 1);
  ASSERT_EQ(setenv("MILLRACE_SERVER", url_.c_str(), 1), 0);
  EXPECT_EQ(code_of({"jobs", "list"}), 0);
  ASSERT_EQ(unsetenv("MILLRACE_SERVER"), 0);
}

TEST_F(CommandLine, AForgottenAtIsPointedOut) {
  start_server();
  const std::string file = directory_ + "/photo.jpg";
  write("photo.jpg", "bytes");
  expect_says({"jobs", "submit", "bytes", "data=" + file, "--server", url_}, 2,
              "write data=@" + file);
  // Text stays text, whatever it names.
  expect_says({"jobs", "submit", "bytes", "data=@" + file, "note=" + file, "--server", url_}, 0,
              "");
  expect_says({"jobs", "submit", "bytes", "data=@" + directory_, "--server", url_}, 2,
              "Is a directory");
}

// What a plugin promises is tried in the sandbox that it will have.
TEST_F(CommandLine, StepsCheckSaysWhatAPluginDoesNotKeep) {
  const std::string noop = in_build("/steps/noop.so");
  const std::string fault = in_build("/tests/fault_steps/fault.so");
  expect_says({"steps", "--check", noop}, 0, "ok     noop: a repetition gives the same");
  expect_says({"steps", "--check", noop}, 0, "ok     noop_keyed: not run: it is keyed");
  expect_says({"steps", "--check", fault, "how=ok"}, 1, "wrong  fault: without a text: data how");
  expect_says({"steps", "--check", fault, "how=crash"}, 1, "killed by signal SIGSEGV");
  expect_says({"steps", "--check", fault, "how=undeclared"}, 1, "never_declared");
  expect_says({"steps", "--check", fault, "how=fail"}, 1,
              "wrong  fault: not looked at further: it fails with broken");
  expect_says({"steps", "--check", directory_ + "/none.so"}, 2, "name a plugin's .so");
}

// With what the steps succeed that need more than a picture.
const std::map<std::string, std::vector<std::string>> kNeeded = {
    {"crop", {"width=4", "height=4"}},
    {"resize", {"width=4"}},
    {"transform", {R"(operations=[{"type":"blur"}])"}},
};

TEST_F(CommandLine, StepsCheckFindsNothingWrongWithOurOwn) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP()
      << "so slow that steps count as long ones, which should have been heard of meanwhile";
#endif
  int plugins = 0, limits = 0;
  for (const auto& entry : std::filesystem::directory_iterator(in_build("/steps"))) {
    if (entry.path().extension() != ".so") continue;
    ++plugins;
    std::vector<std::string> words = {"steps", "--check", entry.path().string()};
    const auto needed = kNeeded.find(entry.path().stem().string());
    if (needed != kNeeded.end())
      words.insert(words.end(), needed->second.begin(), needed->second.end());
    std::string said;
    EXPECT_EQ(code_of(words, &said), 0) << entry.path() << "\n" << said;
    EXPECT_EQ(said.find("wrong "), std::string::npos) << said;
    if (said.find("keeps limits.pixels: too_many_pixels") != std::string::npos) ++limits;
  }
  EXPECT_GE(plugins, 19);
  EXPECT_GE(limits, 14) << "every step that decodes";
}

// One step for each way to break the contract; and two that keep it.
TEST_F(CommandLine, StepsCheckTellsEachBreachOfTheContract) {
  std::string said;
  EXPECT_EQ(code_of({"steps", "--check", in_build("/tests/http/bad_step/bad.so")}, &said), 1);
  for (const char* line :
       {"wrong  changing: a repetition gives something else", "wrong  silent: does not end well",
        "wrong  deaf: does not end when it is asked to", "ok     polite: ends when it is asked to",
        "wrong  fails: does not end well", "wrong  boundless: takes an image that has more pixels",
        "ok     bounded: keeps limits.pixels", "note   bounded: takes images and does not declare",
        "wrong  undocumented: without a text: knob"}) {
    EXPECT_NE(said.find(line), std::string::npos) << line << "\n" << said;
  }
  for (const char* line :
       {"wrong  polite", "wrong  bounded", "wrong  changing: does", "note   boundless"}) {
    EXPECT_EQ(said.find(line), std::string::npos) << line << "\n" << said;
  }
}

TEST_F(CommandLine, EachProblemOfARefusalIsPrintedOnce) {
  start_server();
  std::string text;
  EXPECT_EQ(code_of({"jobs", "submit", "bytes", "count=x", "--server", url_}, &text), 1);
  const size_t first = text.find("E011");
  ASSERT_NE(first, std::string::npos) << text;
  EXPECT_EQ(text.find("E011", first + 1), std::string::npos) << text;
  EXPECT_NE(text.find("E010"), std::string::npos) << text;
}

TEST_F(CommandLine, AMissingBlobIsNamedOnce) {
  start_server();
  write("photo.jpg", "bytes");
  std::string text;
  ASSERT_EQ(code_of({"jobs", "submit", "bytes", "data=@" + directory_ + "/photo.jpg", "--wait",
                     "20", "--server", url_},
                    &text),
            0)
      << text;
  const std::string id = text.substr(0, text.find(' '));
  std::filesystem::remove_all(directory_ + "/data/blobs");
  EXPECT_EQ(code_of({"jobs", "outputs", id, "data", "--server", url_}, &text), 1) << text;
  const size_t first = text.find("sha256:");
  ASSERT_NE(first, std::string::npos) << text;
  EXPECT_EQ(text.find("sha256:", first + 1), std::string::npos) << text;
}

TEST_F(CommandLine, ANameThatNoPipelineHasGetsTheNearestOne) {
  start_server();
  expect_says({"pipelines", "get", "byts", "--server", url_}, 1, "did you mean 'bytes'?");
  expect_says({"jobs", "submit", "byts", "--server", url_}, 1, "did you mean 'bytes'?");
}

TEST_F(CommandLine, APipelineFileThatIsNotThereSaysWhatToName) {
  const std::string none = directory_ + "/none";
  expect_says({"validate", none}, 3, "name a pipeline's file, or a directory of them");
  expect_says({"run", none}, 3, "error E107");
  expect_says({"graph", none}, 3, "error E107");
}

TEST_F(CommandLine, RunFindsOutThatItCannotWriteBeforeItRuns) {
  write("file", "");
  write("pipelines/broken.yaml", "pipeline: broken\n");  // had it been read, E032 would be said
  expect_says({"run", directory_ + "/pipelines/broken.yaml", "--out", directory_ + "/file"}, 2,
              "error E110: --out: cannot write into '" + directory_ + "/file': Not a directory");
}

}  // namespace
}  // namespace millrace::test
