// The repository's text files, as the tidy tests see them: every file under the top folder that
// people wrote.
//
// It walks the disk and does not ask git, so a file is checked before it is added, and without a
// git directory. Build folders, hidden folders (but for .ci) and data folders are left out.
#pragma once

#include <string>
#include <vector>

namespace millrace::tidy {

struct SourceFile {
  std::string path;  // from the top folder, with '/'
  std::string text;

  // Whether the path begins with `folder` ("engine/core/").
  bool under(const std::string& folder) const { return path.rfind(folder, 0) == 0; }
  bool is_header() const { return path.ends_with(".h"); }
  bool is_code() const { return is_header() || path.ends_with(".cc") || path.ends_with(".c"); }
  int lines() const;
};

// All of them, by path. Read once.
const std::vector<SourceFile>& tree();

// `text` without comments and without the contents of string and character literals; line breaks
// stay where they are.
std::string without_comments_and_literals(const std::string& text);

// The line of the byte at `at`, from 1.
int line_of(const std::string& text, size_t at);

struct Function {
  int line = 0;      // where its signature begins
  int lines = 0;     // from there to its closing brace
  std::string head;  // the signature, cut short
};

// The functions that a clang-formatted C or C++ text defines, in order; a lambda counts into the
// function around it.
std::vector<Function> functions_of(const std::string& text);

}  // namespace millrace::tidy
