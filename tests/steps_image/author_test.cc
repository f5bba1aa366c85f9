// Goal: who writes a step finds that the pages are true: the example does what it declares, is
// built by the command that its page gives, in strict C99, and the walk-through leads from an empty
// folder to a step that runs in a pipeline. Method: the example in its host, with a blob and with
// none; a shell that is given the page's own lines.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cmake/precompiled_test.h"
#include "cmake/tree.h"
#include "tests/http/program_fixture.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

// The lines of the page's blocks that begin with "```sh".
std::string commands_of(const std::string& page) {
  std::ifstream file(in_source("/" + page));
  std::string commands;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```")) {
      inside = line == "```sh";
    } else if (inside) {
      commands += line + "\n";
    }
  }
  return commands;
}

// The shell's exit code; what it said is in `said`.
class Author : public test::Program {
 protected:
  int run_script(const std::string& text, std::string* said) {
    write("script.sh", "export PATH='" + in_build("") + "':\"$PATH\"\nexport MILLRACE='" +
                           in_source("") + "'\nset -eu\ncd '" + directory_ + "'\n" + text);
    test::Child child({"/bin/sh", directory_ + "/script.sh"});
    const int code = child.wait();
    *said = child.output + child.text;
    return code;
  }
};

TEST_F(Author, TheWalkThroughLeadsFromNothingToAStepInAPipeline) {
  const std::string commands = commands_of("steps/example/README.md");
  for (const char* words :
       {"cc -std=c99", "millrace steps --check", "millrace validate", "millrace run"}) {
    ASSERT_NE(commands.find(words), std::string::npos) << words << " is no longer shown";
  }
  std::string said;
  // An empty folder: the fixture's own pipelines are elsewhere.
  ASSERT_EQ(run_script("mkdir empty\ncd empty\n" + commands, &said), 0) << said;
  EXPECT_NE(said.find("ok     head: succeeds, with every output and result that it declares"),
            std::string::npos)
      << said;
  EXPECT_NE(said.find("1 file, 0 problems"), std::string::npos) << said;
}

TEST_F(Author, TheExampleIsStrictC99) {
  std::string said;
  EXPECT_EQ(run_script("cc -std=c99 -pedantic -Wall -Wextra -Werror -shared -fPIC -I \"$MILLRACE\" "
                       "-o example.so \"$MILLRACE/steps/example/flip.c\"\n"
                       "millrace steps --check example.so data=@script.sh\n",
                       &said),
            0)
      << said;
  EXPECT_NE(said.find("ok     flip: succeeds, with every output and result that it declares"),
            std::string::npos)
      << said;
}

TEST(Example, DoesWhatItDeclares) {
  std::string data = "some bytes";
  data += std::string("\0\xff\x80", 3);
  const StepAnswer answer = run_step({"example", "flip", data, {}});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  ASSERT_EQ(answer.outputs[0].size(), data.size());
  for (size_t i = 0; i < data.size(); ++i) {
    EXPECT_EQ(static_cast<uint8_t>(answer.outputs[0][i]), 255 - static_cast<uint8_t>(data[i])) << i;
  }
  EXPECT_EQ(answer.results.at("bits"), std::to_string(8 * data.size()));
  EXPECT_EQ(answer.media_type, "application/octet-stream");
  EXPECT_EQ(run_step({"example", "flip", answer.outputs[0], {}}).outputs[0], data);
  EXPECT_EQ(run_step({"example", "flip", std::string(200'000, 'x'), {}}).outputs[0],
            std::string(200'000, static_cast<char>(255 - 'x')))
      << "more than one chunk";
}

TEST(Example, FailsForItsReasonOnly) {
  const StepAnswer answer = run_step({"example", "flip", "", {}});
  EXPECT_EQ(answer.code, MR_FAILED);
  EXPECT_EQ(answer.reason, "empty");
  EXPECT_EQ(answer.misuse, "");
  EXPECT_NE(answer.message.find("pass a file"), std::string::npos) << answer.message;
  const mr_plugin* plugin = load_plugin("example");
  ASSERT_EQ(plugin->step_count, 1u);
  ASSERT_EQ(plugin->steps[0]->reason_count, 1u);
  EXPECT_EQ(plugin->steps[0]->reasons[0].name, std::string("empty"));
}

}  // namespace
}  // namespace millrace::testing
