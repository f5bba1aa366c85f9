// Goal: every problem that a file can have is reported as people read it, at the exact place, with
// its stable number. Method: cases/NAME.yaml parsed against the fake catalogue must give exactly
// cases/NAME.txt, byte for byte. To write the texts anew after a wanted change, run with
// MILLRACE_WRITE_GOLDEN=1 and read the difference.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "cmake/tree.h"
#include "engine/base/errors.h"
#include "tests/pipeline/fake_catalogue.h"

namespace millrace {
namespace {

const std::string kCases = in_source("/tests/pipeline/cases");

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kCases)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string formatted(const std::string& name, const std::string& yaml) {
  std::string text;
  const ParsedPipeline parsed = parse_pipeline(yaml, fake_catalogue());
  bool error = false;
  for (const Diagnostic& diagnostic : parsed.diagnostics) {
    text += format_diagnostic(name + ".yaml", yaml, diagnostic);
    error = error || diagnostic.severity == Diagnostic::Severity::kError;
  }
  EXPECT_EQ(parsed.graph == nullptr, error) << "a graph is there exactly when there is no error";
  return text;
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, SaysExactlyThis) {
  const std::string base = fmt::format("{}/{}", kCases, GetParam());
  const std::string text = formatted(GetParam(), read(base + ".yaml"));
  if (std::getenv("MILLRACE_WRITE_GOLDEN") != nullptr)
    std::ofstream(base + ".txt", std::ios::binary) << text;
  EXPECT_EQ(text, read(base + ".txt"));
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden, testing::ValuesIn(case_names()),
                         [](const auto& test) { return test.param; });

TEST(Diagnostics, EveryNumberOfTheLanguageHasACase) {
  std::set<int> seen;
  for (const std::string& name : case_names()) {
    const std::string yaml = read(fmt::format("{}/{}.yaml", kCases, name));
    for (const Diagnostic& diagnostic : parse_pipeline(yaml, fake_catalogue()).diagnostics) {
      seen.insert(diagnostic.number);
    }
  }
  int count = 0;
  const ErrorInfo* table = error_table(&count);
  for (int i = 0; i < count; i++) {
    if (table[i].number < 30 || table[i].number > 99) continue;
    EXPECT_EQ(seen.count(table[i].number), 1u)
        << error_code(table[i].number) << " " << table[i].name;
  }
}

}  // namespace
}  // namespace millrace
