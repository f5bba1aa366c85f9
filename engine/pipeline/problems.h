// Problems: collects the diagnostics of one file by byte offset and turns them into sorted lines
// and columns. Internal to the folder.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/parse.h"

namespace millrace {

// A run of bytes of the source.
struct Span {
  size_t offset = 0;
  size_t length = 1;
};

class Problems {
 public:
  explicit Problems(std::string_view source);

  void error(int number, Span at, std::string message, std::string hint = {});
  void warning(int number, Span at, std::string message, std::string hint = {});
  bool has_errors() const { return errors_ > 0; }
  bool has(int number) const;
  std::string_view source() const { return source_; }

  // Sorted by position, without repetitions, at most kDiagnosticsMax and one more that counts the
  // rest.
  std::vector<Diagnostic> finish();

 private:
  void add(Diagnostic::Severity severity, int number, Span at, std::string message,
           std::string hint);
  size_t line_of(size_t offset) const;  // from 0

  const std::string_view source_;
  std::vector<size_t> lines_;  // offsets of their first bytes
  std::vector<Diagnostic> found_;
  size_t errors_ = 0, dropped_ = 0;
};

}  // namespace millrace
