// parse_pipeline: YAML text and a catalogue -> a graph, or every problem of the file in one pass.
//
// The same function serves the command line, the server and editors.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/graph.h"

namespace millrace {

struct Diagnostic {
  enum class Severity : uint8_t { kError, kWarning };
  int number = 0;  // E031
  Severity severity = Severity::kError;
  std::string message;
  int line = 0, column = 0;  // from 1; columns count bytes; 0: the whole file
  int length = 1;            // bytes under the caret
  std::string hint;          // "did you mean 'gray'?", or empty
};

struct ParsedPipeline {
  std::shared_ptr<const Graph> graph;   // null when there is an error
  std::vector<Diagnostic> diagnostics;  // sorted by line, then column
};

// [any]
ParsedPipeline parse_pipeline(std::string_view text, std::shared_ptr<const Catalogue> catalogue);

// "FILE:14:24: error E031: …; did you mean …?" with the source line and a caret under it, as people
// read it. [any]
std::string format_diagnostic(std::string_view file, std::string_view text,
                              const Diagnostic& diagnostic);

}  // namespace millrace
