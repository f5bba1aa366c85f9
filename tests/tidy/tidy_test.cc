// Goal: the rules of the tree hold without anybody remembering them.
// Method: read every file and compare; each failure names file, line and rule.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tidy/tree.h"

namespace millrace::tidy {
namespace {

constexpr int kFunctionLinesMax = 70;
constexpr int kFileLinesMax = 500;

// Files that may be longer, each with the reason. Keep it short.
const std::map<std::string, std::string>& long_files() {
  static const std::map<std::string, std::string> files = {};
  return files;
}

// What the folders of the product may include of one another; the first row that a path begins with
// counts.
struct Layer {
  std::string folder;
  std::vector<std::string> may_include;
};

const std::vector<Layer>& layers() {
  static const std::vector<Layer> rows = {
      {"engine/abi/", {}},
      {"engine/base/", {"engine/base/"}},
      {"engine/pipeline/", {"engine/pipeline/", "engine/base/"}},
      {"engine/core/", {"engine/core/", "engine/pipeline/", "engine/base/"}},
      {"engine/store/", {"engine/store/", "engine/base/", "engine/core/"}},
      {"engine/blob/", {"engine/blob/", "engine/base/", "engine/core/record.h", "s3/"}},
      {"engine/plugin/",
       {"engine/plugin/", "engine/base/", "engine/abi/", "engine/core/event.h",
        "engine/pipeline/catalogue.h", "engine/pipeline/type.h"}},
      {"engine/worker/",
       {"engine/worker/", "engine/plugin/", "engine/base/", "engine/abi/", "engine/core/event.h",
        "engine/pipeline/catalogue.h", "engine/pipeline/type.h"}},
      {"engine/runtime/", {"engine/"}},
      {"server/", {"server/", "engine/", "s3/"}},
      // One client serves the engine's blobs and the step `store`, which see nothing of each other:
      // hence it stands beside both and knows neither. `notify` makes requests of its own kind.
      {"s3/", {"s3/"}},
      {"steps/store/", {"steps/", "engine/abi/", "s3/"}},
      {"steps/notify/", {"steps/", "engine/abi/", "s3/without_sigpipe.h"}},
      {"steps/", {"steps/", "engine/abi/"}},
  };
  return rows;
}

// Libraries that only some folders of the product may see, by how the included name begins.
struct Library {
  std::string header;
  std::vector<std::string> users;
};

const std::vector<Library>& libraries() {
  static const std::vector<Library> rows = {
      {"yaml-cpp/", {"engine/pipeline/"}},
      {"re2/", {"engine/pipeline/"}},
      {"sqlite3.h", {"engine/store/"}},
      {"bson", {"engine/store/"}},
      {"mongoc", {"engine/store/"}},
      {"uv.h", {"server/"}},
      {"llhttp.h", {"server/"}},
      {"CLI/", {"server/"}},
      {"vips/", {"steps/"}},
      {"jpeglib.h", {"steps/"}},
      {"turbojpeg.h", {"steps/"}},
      {"isa-l/", {"steps/common/png/"}},
      {"curl/", {"steps/", "s3/"}},
      {"seccomp.h", {"engine/worker/"}},
      {"dlfcn.h",
       {"engine/plugin/", "engine/worker/", "engine/store/mongo_driver.cc", "s3/curl.cc"}},
  };
  return rows;
}

bool is_product(const SourceFile& file) {
  return file.is_code() && (file.under("engine/") || file.under("server/") ||
                            file.under("steps/") || file.under("s3/"));
}

struct Include {
  std::string name;
  bool quoted = false;
  int line = 0;
};

std::vector<Include> includes_of(const SourceFile& file) {
  static const std::regex kInclude(R"re((?:^|\n)[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">])re");
  std::vector<Include> found;
  for (std::sregex_iterator it(file.text.begin(), file.text.end(), kInclude), end; it != end;
       ++it) {
    const auto at = static_cast<size_t>(it->position(2));
    found.push_back({(*it)[2], (*it)[1] == "\"", line_of(file.text, at)});
  }
  return found;
}

bool begins_with_any(const std::string& name, const std::vector<std::string>& beginnings) {
  for (const std::string& beginning : beginnings) {
    if (name.rfind(beginning, 0) == 0) return true;
  }
  return false;
}

// Fails the test for each line of any text file that `pattern` matches.
void expect_nowhere(const std::regex& pattern, const std::string& rule) {
  for (const SourceFile& file : tree()) {
    for (std::sregex_iterator it(file.text.begin(), file.text.end(), pattern), end; it != end;
         ++it) {
      ADD_FAILURE() << file.path << ":" << line_of(file.text, static_cast<size_t>(it->position()))
                    << ": " << rule;
    }
  }
}

TEST(Tidy, QuotedIncludesNameAFileFromTheTopFolder) {
  std::set<std::string> paths;
  for (const SourceFile& file : tree()) paths.insert(file.path);
  for (const SourceFile& file : tree()) {
    if (!file.is_code()) continue;
    for (const Include& include : includes_of(file)) {
      if (!include.quoted) continue;
      EXPECT_TRUE(paths.count(include.name))
          << file.path << ":" << include.line << ": no file " << include.name
          << " from the top folder; a library's header belongs into <>";
    }
  }
}

TEST(Tidy, IncludesPointDownTheLayers) {
  for (const SourceFile& file : tree()) {
    if (!is_product(file)) continue;
    for (const Layer& layer : layers()) {
      if (!file.under(layer.folder)) continue;
      for (const Include& include : includes_of(file)) {
        if (!include.quoted) continue;
        EXPECT_TRUE(begins_with_any(include.name, layer.may_include))
            << file.path << ":" << include.line << ": " << layer.folder << " may not include "
            << include.name;
      }
      break;
    }
  }
}

TEST(Tidy, EveryProductFileBelongsToALayer) {
  for (const SourceFile& file : tree()) {
    if (!is_product(file)) continue;
    bool known = false;
    for (const Layer& layer : layers()) known = known || file.under(layer.folder);
    EXPECT_TRUE(known) << file.path << ": its folder is not in layers()";
  }
}

TEST(Tidy, LibrariesStayWhereTheyBelong) {
  for (const SourceFile& file : tree()) {
    if (!is_product(file)) continue;
    for (const Include& include : includes_of(file)) {
      for (const Library& library : libraries()) {
        if (include.quoted || include.name.rfind(library.header, 0) != 0) continue;
        EXPECT_TRUE(begins_with_any(file.path, library.users))
            << file.path << ":" << include.line << ": <" << include.name
            << "> is not for this folder";
      }
    }
  }
}

TEST(Tidy, FunctionsAreShort) {
  for (const SourceFile& file : tree()) {
    if (!file.is_code()) continue;
    for (const Function& function : functions_of(file.text)) {
      EXPECT_LE(function.lines, kFunctionLinesMax)
          << file.path << ":" << function.line << ": " << function.head;
    }
  }
}

TEST(Tidy, FilesAreShort) {
  for (const SourceFile& file : tree()) {
    if (!file.is_code() || long_files().count(file.path)) continue;
    EXPECT_LE(file.lines(), kFileLinesMax) << file.path;
  }
}

TEST(Tidy, HeadersBeginWithWhatTheyAre) {
  for (const SourceFile& file : tree()) {
    if (!file.is_header()) continue;
    EXPECT_TRUE(file.text.starts_with("//") || file.text.starts_with("/*")) << file.path;
  }
}

TEST(Tidy, FileNamesAreSnakeCase) {
  static const std::regex kName(R"(([a-z0-9_]+/)*[a-z0-9_]+\.(cc|h|c))");
  for (const SourceFile& file : tree()) {
    if (!file.is_code()) continue;
    EXPECT_TRUE(std::regex_match(file.path, kName)) << file.path;
  }
}

// The patterns are written in two pieces so that this file does not contain what it forbids.
TEST(Tidy, NothingIsLeftForLater) {
  expect_nowhere(std::regex("\\b(TO"
                            "DO|FIX"
                            "ME|X"
                            "XX)\\b"),
                 "a mark for later: do it now, or open an issue and say nothing here");
}

TEST(Tidy, NoPathOfOneMachine) {
  expect_nowhere(std::regex("(^|[^A-Za-z0-9_.])/(wo"
                            "rk|ro"
                            "ot)/"),
                 "a path that only one machine has");
}

// A kill() of nobody's pid (0, -1) is a signal to everybody. Methods of that name take nothing.
TEST(Tidy, OnlyOneFunctionSendsSignals) {
  static const std::regex kKill(R"((^|[^\w.>:])(::)?kill(pg)?\([^)])");
  const std::set<std::string> guarded = {"engine/base/signals.h",
                                         "tests/process/disk_shim/journal.c"};  // C, by itself
  for (const SourceFile& file : tree()) {
    if (!file.is_code() || guarded.count(file.path)) continue;
    const std::string text = without_comments_and_literals(file.text);
    for (std::sregex_iterator it(text.begin(), text.end(), kKill), end; it != end; ++it) {
      ADD_FAILURE() << file.path << ":" << line_of(text, static_cast<size_t>(it->position()))
                    << ": kill(); signal_process() of engine/base/signals.h checks the pid";
    }
  }
}

struct ErrorLine {
  int number = 0;
  std::string title;
};

std::string code_of(int number) {
  const std::string digits = std::to_string(number);
  return "E" + std::string(3 - std::min<size_t>(3, digits.size()), '0') + digits;
}

std::string text_of(const std::string& path) {
  for (const SourceFile& file : tree()) {
    if (file.path == path) return file.text;
  }
  ADD_FAILURE() << path << " is missing";
  return "";
}

std::vector<ErrorLine> error_lines() {
  static const std::regex kLine(
      R"re((?:^|\n)MILLRACE_ERROR\((\d+),\s*\w+,\s*\d+,\s*"([^"]*)"\))re");
  const std::string text = text_of("engine/base/errors.def");
  std::vector<ErrorLine> lines;
  for (std::sregex_iterator it(text.begin(), text.end(), kLine), end; it != end; ++it) {
    lines.push_back({std::stoi((*it)[1]), (*it)[2]});
  }
  EXPECT_FALSE(lines.empty());
  return lines;
}

TEST(Tidy, ErrorNumbersAscendAndAreUsedOnce) {
  int last = 0;
  for (const ErrorLine& line : error_lines()) {
    EXPECT_GT(line.number, last) << "engine/base/errors.def: " << code_of(line.number);
    last = line.number;
  }
}

// Names of all tests: "Suite.Name", and "sim.MODE".
std::set<std::string> test_names() {
  static const std::regex kTest(R"(\bTEST(?:_F|_P)?\((\w+),\s*(\w+)\))");
  static const std::regex kMode(R"(sim\.\w+)");
  std::set<std::string> names;
  for (const SourceFile& file : tree()) {
    if (!file.under("tests/")) continue;
    for (std::sregex_iterator it(file.text.begin(), file.text.end(), kTest), end; it != end; ++it) {
      names.insert((*it)[1].str() + "." + (*it)[2].str());
    }
    if (file.path != "tests/sim/CMakeLists.txt") continue;
    for (std::sregex_iterator it(file.text.begin(), file.text.end(), kMode), end; it != end; ++it) {
      names.insert(it->str());
    }
  }
  return names;
}

TEST(Tidy, EveryGuaranteeNamesTestsThatExist) {
  static const std::regex kName(R"(`([\w.]+\.\w*)(\*?)`)");
  const std::set<std::string> known = test_names();
  std::istringstream lines(text_of("docs/guarantees.md"));
  int rows = 0;
  bool in_table = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| ")) in_table = false;
    if (line.ends_with("| attacked by |")) {
      in_table = true;
      std::getline(lines, line);  // | --- |
    } else if (in_table) {
      rows++;
      const std::string last = line.substr(line.rfind('|', line.size() - 2));
      std::sregex_iterator it(last.begin(), last.end(), kName);
      EXPECT_NE(it, std::sregex_iterator()) << "docs/guarantees.md: no test attacks " << line;
      for (; it != std::sregex_iterator(); ++it) {
        const std::string name = (*it)[1];
        const auto found = known.lower_bound(name);
        const bool exists = found != known.end() &&
                            ((*it)[2].length() > 0 ? found->starts_with(name) : *found == name);
        EXPECT_TRUE(exists) << "docs/guarantees.md: there is no test " << it->str();
      }
    }
  }
  EXPECT_GT(rows, 20);
}

TEST(Tidy, EveryErrorIsExplained) {
  const std::string text = text_of("server/errors.md");
  for (const ErrorLine& line : error_lines()) {
    const std::string heading = "\n## " + code_of(line.number) + " " + line.title + "\n";
    const size_t at = text.find(heading);
    if (at == std::string::npos) {
      ADD_FAILURE() << "server/errors.md has no heading '" << heading.substr(1, heading.size() - 2)
                    << "' (number and title as in engine/base/errors.def)";
      continue;
    }
    const std::string entry = text.substr(at, text.find("\n## ", at + 1) - at);
    for (const char* part : {"**What happened.**", "**Likely causes.**", "**What to do.**"}) {
      EXPECT_NE(entry.find(part), std::string::npos)
          << "server/errors.md: " << code_of(line.number) << " lacks " << part;
    }
  }
}

TEST(Tidy, EveryErrorCodeThatIsMentionedExists) {
  std::set<std::string> known;
  for (const ErrorLine& line : error_lines()) known.insert(code_of(line.number));
  // U+E000 is a character.
  static const std::regex kCode(R"((?:^|[^A-Za-z0-9_+])(E\d\d\d)\b)");
  for (const SourceFile& file : tree()) {
    if (file.under("tests/") || file.under("bench/"))
      continue;  // tests also use codes that must not exist
    for (std::sregex_iterator it(file.text.begin(), file.text.end(), kCode), end; it != end; ++it) {
      EXPECT_TRUE(known.count((*it)[1]))
          << file.path << ":" << line_of(file.text, static_cast<size_t>(it->position(1))) << ": "
          << (*it)[1] << " is not in engine/base/errors.def";
    }
  }
}

}  // namespace
}  // namespace millrace::tidy
