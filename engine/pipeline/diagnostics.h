// Diagnostics for machines: SARIF for code scanning, JSON for editors and scripts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/value.h"
#include "engine/pipeline/parse.h"

namespace millrace {

struct FileDiagnostics {
  std::string file;
  std::vector<Diagnostic> diagnostics;
  std::string text;  // of the file; SARIF counts columns in characters, not in bytes
};

// [{"code","severity","message","line","column","hint"}], as POST /v1/pipelines/validate answers;
// hint is null when there is none. [any]
Value diagnostics_value(const std::vector<Diagnostic>& diagnostics);
// {"files":[{"file","diagnostics":[…]}]} as JSON text. [any]
std::string diagnostics_json(const std::vector<FileDiagnostics>& files);
// One SARIF 2.1.0 log. [any]
std::string diagnostics_sarif(const std::vector<FileDiagnostics>& files, std::string_view version);

}  // namespace millrace
