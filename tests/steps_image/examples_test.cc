// Goal: each step's page shows how it is used, and every example in YAML, of the steps' pages, the
// documents and the front page, is one that the program takes. Method: the blocks are cut out of
// the pages and given to `millrace validate`: a pipeline as it is; steps within a pipeline that
// gives them what they read; anything else as a configuration.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cmake/precompiled_test.h"
#include "cmake/tree.h"
#include "tests/http/program_fixture.h"

namespace millrace::testing {
namespace {

struct Example {
  std::string page;  // and the line
  std::string text;
};

std::vector<Example> examples_of(const std::string& page) {
  std::ifstream file(in_source("/" + page));
  std::vector<Example> examples;
  bool inside = false;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (!inside && line == "```yaml") {
      inside = true;
      examples.push_back({fmt::format("{}:{}", page, number), ""});
    } else if (inside && line == "```") {
      inside = false;
    } else if (inside) {
      examples.back().text += line + "\n";
    } else {
      EXPECT_FALSE(line.starts_with("```yaml") || line.starts_with("```yml"))
          << page << ":" << number << ": `" << line << "` is seen by no test; write ```yaml";
    }
  }
  EXPECT_FALSE(inside) << page << ": a block that does not end";
  return examples;
}

std::vector<std::string> pages_in(const std::string& folder) {
  std::vector<std::string> pages;
  for (const auto& entry : std::filesystem::directory_iterator(in_source("/" + folder))) {
    if (entry.path().extension() == ".md") {
      pages.push_back(folder + "/" + entry.path().filename().string());
    }
  }
  return pages;
}

std::vector<std::string> step_folders() {
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(in_source("/steps"))) {
    if (std::filesystem::exists(entry.path() / "README.md")) {
      folders.push_back(entry.path().filename().string());
    }
  }
  return folders;
}

bool says(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

// The steps of an example begin at the left margin or are indented.
std::string indented(const std::string& text) {
  const size_t margin = text.find_first_not_of(' ');
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    out += line.empty() ? "\n" : "  " + line.substr(std::min(margin, line.size())) + "\n";
  }
  return out;
}

// A pipeline around steps, with what they read and do not make themselves.
std::string around(const std::string& steps) {
  const std::string body = indented(steps);
  const auto wants = [&](const std::string& name) {
    return says(body, "steps." + name + ".") && !says(body, "\n  " + name + ":") &&
           !body.starts_with("  " + name + ":");
  };
  std::string out = "pipeline: example\ninputs:\n  image: { type: image, max: 64MiB }\n";
  if (says(body, "inputs.callback")) out += "  callback: url?\n";
  out += "steps:\n  upload: { use: upload, with: { image: \"${{ inputs.image }}\" } }\n";
  if (wants("result")) {
    out += "  result: { use: store, with: { data: \"${{ steps.upload.image }}\", key: a } }\n";
  }
  return out + body;
}

class Examples : public test::Program {
 protected:
  void SetUp() override {
    test::Program::SetUp();
    // Buckets are not taken without keys, which are in the environment and in no file.
    ASSERT_EQ(setenv("AWS_ACCESS_KEY_ID", "none", 1), 0);
    ASSERT_EQ(setenv("AWS_SECRET_ACCESS_KEY", "none", 1), 0);
  }
  void expect_taken(const Example& one) {
    std::string said;
    if (one.text.starts_with("pipeline:") || says(one.text, "use:")) {
      const bool whole = one.text.starts_with("pipeline:");
      write("example.yaml", whole ? one.text : around(one.text));
      EXPECT_EQ(code_of({"validate", directory_ + "/example.yaml"}, &said), 0) << one.page << said;
    } else {
      write("settings.yaml", one.text);
      EXPECT_EQ(code_of({"validate", "--config", directory_ + "/settings.yaml",
                         directory_ + "/pipelines/noop.yaml"},
                        &said),
                0)
          << one.page << said;
    }
    EXPECT_TRUE(says(said, "1 file, 0 problems")) << one.page << said;
  }
};

TEST_F(Examples, OfEveryPageAreTaken) {
  std::vector<std::string> pages = pages_in("docs");
  for (const std::string& step : step_folders()) pages.push_back("steps/" + step + "/README.md");
  for (const char* page : {"README.md", "steps/README.md", "pipelines/README.md"}) {
    pages.emplace_back(page);
  }
  int count = 0;
  for (const std::string& page : pages) {
    for (const Example& one : examples_of(page)) {
      expect_taken(one);
      ++count;
    }
  }
  EXPECT_GE(count, 20);
}

TEST_F(Examples, ThatAreWrongWouldBeSeen) {
  write("example.yaml", around("  a: { use: blur, with: { image: \"${{ steps.upload.image }}\", "
                               "sigmo: 2 } }\n"));
  std::string said;
  EXPECT_EQ(code_of({"validate", directory_ + "/example.yaml"}, &said), 1) << said;
  write("settings.yaml", "storse: {}\n");
  EXPECT_NE(code_of({"validate", "--config", directory_ + "/settings.yaml",
                     directory_ + "/pipelines/noop.yaml"},
                    &said),
            0)
      << said;
}

// `example` has steps of its own names.
TEST(ExamplesOfSteps, AreThereForEachOne) {
  for (const std::string& step : step_folders()) {
    bool used = false;
    for (const Example& one : examples_of("steps/" + step + "/README.md")) {
      used = used || says(one.text, "use: " + (step == "example" ? "flip" : step));
    }
    EXPECT_TRUE(used) << "steps/" << step << "/README.md has no example that uses the step";
  }
}

}  // namespace
}  // namespace millrace::testing
