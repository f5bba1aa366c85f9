#include "tests/tidy/tree.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string_view>

#include "cmake/tree.h"

namespace millrace::tidy {
namespace fs = std::filesystem;

namespace {

constexpr std::array kTextEndings = {".cc",  ".h",    ".c",   ".def",  ".md",       ".cmake",
                                     ".txt", ".yaml", ".yml", ".json", ".scenario", ".sh"};

bool is_text(const fs::path& path) {
  const std::string name = path.filename().string();
  return name == "run" || name == "LICENSE" ||
         std::any_of(kTextEndings.begin(), kTextEndings.end(),
                     [&](const char* ending) { return name.ends_with(ending); });
}

bool is_skipped(const fs::path& path) {
  const std::string name = path.filename().string();
  return name == "build" || name == "millrace-data" || (name.starts_with(".") && name != ".ci");
}

std::vector<SourceFile> read_tree() {
  std::vector<SourceFile> files;
  const fs::path top = in_source("");
  for (auto it = fs::recursive_directory_iterator(top); it != fs::recursive_directory_iterator();
       ++it) {
    if (it->is_directory() && is_skipped(it->path())) {
      it.disable_recursion_pending();
    } else if (it->is_regular_file() && is_text(it->path())) {
      std::ifstream in(it->path(), std::ios::binary);
      files.push_back({fs::relative(it->path(), top).generic_string(),
                       {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}});
    }
  }
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

// Replaces text[from, to) by blanks, keeping line breaks.
void blank(std::string* text, size_t from, size_t to) {
  for (size_t i = from; i < std::min(to, text->size()); i++) {
    if ((*text)[i] != '\n') (*text)[i] = ' ';
  }
}

// The end of the literal whose opening quote is at `at`: one past the closing quote.
size_t literal_end(const std::string& text, size_t at) {
  const char quote = text[at];
  for (size_t i = at + 1; i < text.size(); i++) {
    if (text[i] == '\\') {
      i++;
    } else if (text[i] == quote || text[i] == '\n') {
      return i + 1;
    }
  }
  return text.size();
}

// The end of the raw string whose opening quote is at `at`.
size_t raw_end(const std::string& text, size_t at) {
  const size_t open = text.find('(', at);
  if (open == std::string::npos) return text.size();
  const std::string close = ")" + text.substr(at + 1, open - at - 1) + "\"";
  const size_t end = text.find(close, open);
  return end == std::string::npos ? text.size() : end + close.size();
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

std::string trimmed(const std::string& text) {
  const size_t from = text.find_first_not_of(" \n\t");
  if (from == std::string::npos) return "";
  return text.substr(from, text.find_last_not_of(" \n\t") - from + 1);
}

// Whether the brace after `head` opens something that holds functions rather than being one.
bool opens_container(const std::string& head) {
  static const std::regex kContainer(
      R"(^(template\s*<[^{}]*>\s*)?(typedef\s+|static\s+|const\s+|inline\s+)*(namespace|class|struct|union|enum|extern)\b[^()]*$)");
  return std::regex_search(head, kContainer);
}

// Whether the character at `at` ends `public:` and its like.
bool ends_access_label(const std::string& code, size_t at) {
  if (code[at] != ':') return false;
  const std::string_view before = std::string_view(code).substr(0, at);
  return before.ends_with(" public") || before.ends_with(" private") ||
         before.ends_with(" protected");
}

bool opens_function(const std::string& head) {
  return head.find('(') != std::string::npos && !head.ends_with("=") && !head.ends_with(",") &&
         !head.ends_with("(");
}

}  // namespace

int SourceFile::lines() const {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

const std::vector<SourceFile>& tree() {
  static const std::vector<SourceFile> files = read_tree();
  return files;
}

std::string without_comments_and_literals(const std::string& text) {
  std::string out = text;
  for (size_t i = 0; i < text.size(); i++) {
    size_t end = 0;
    if (text.compare(i, 2, "//") == 0) {
      end = std::min(text.find('\n', i), text.size());
      blank(&out, i, end);
    } else if (text.compare(i, 2, "/*") == 0) {
      const size_t close = text.find("*/", i + 2);
      end = close == std::string::npos ? text.size() : close + 2;
      blank(&out, i, end);
    } else if (text[i] == '"') {
      const bool raw = i > 0 && text[i - 1] == 'R' && (i < 2 || !is_word(text[i - 2]));
      end = raw ? raw_end(text, i) : literal_end(text, i);
      blank(&out, i + 1, end - 1);
    } else if (text[i] == '\'' && (i == 0 || !is_word(text[i - 1]))) {  // 1'000 is a number
      end = literal_end(text, i);
      blank(&out, i + 1, end - 1);
    }
    if (end > i) i = end - 1;
  }
  return out;
}

int line_of(const std::string& text, size_t at) {
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n'));
}

std::vector<Function> functions_of(const std::string& text) {
  std::string code = without_comments_and_literals(text);
  // Preprocessor lines, with the lines they go on in: braces in a macro balance nothing.
  for (size_t at = 0; at < code.size();) {
    size_t end = std::min(code.find('\n', at), code.size());
    const size_t first = code.find_first_not_of(" \t", at);
    if (first < end && code[first] == '#') {
      while (end < code.size() && code[end - 1] == '\\') {
        end = std::min(code.find('\n', end + 1), code.size());
      }
      blank(&code, at, end);
    }
    at = end + 1;
  }
  std::vector<Function> functions;
  size_t start = 0;  // of the statement we are in
  for (size_t i = 0; i < code.size(); i++) {
    if (code[i] == ';' || code[i] == '}' || ends_access_label(code, i)) start = i + 1;
    if (code[i] != '{') continue;
    const std::string head = trimmed(code.substr(start, i - start));
    if (!opens_container(head)) {
      int depth = 1;
      size_t end = i + 1;
      for (; end < code.size() && depth > 0; end++) {
        depth += code[end] == '{' ? 1 : code[end] == '}' ? -1 : 0;
      }
      if (opens_function(head)) {
        const int line = line_of(code, code.find_first_not_of(" \n\t", start));
        functions.push_back({line, line_of(code, end - 1) - line + 1, head.substr(0, 60)});
      }
      i = end - 1;
    }
    start = i + 1;
  }
  return functions;
}

}  // namespace millrace::tidy
