#include "engine/pipeline/diagnostics.h"

#include <set>

#include "engine/base/errors.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

constexpr size_t kTabWidth = 8;
constexpr size_t kShownBefore = 60, kShownBytesMax = 160;  // of a long line, around the problem

std::string_view severity_name(const Diagnostic& diagnostic) {
  return diagnostic.severity == Diagnostic::Severity::kError ? "error" : "warning";
}

// Line `number` (from 1) of `text` without its line break.
std::string_view line_of(std::string_view text, int number) {
  for (int i = 1; i < number; i++) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

// Tabs become blanks up to the next stop, so that what stands under the line stands where it
// should.
std::string expanded(std::string_view text) {
  std::string out;
  size_t column = 0;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\t') {
      const size_t blanks = kTabWidth - column % kTabWidth;
      out.append(blanks, ' ');
      column += blanks;
      continue;
    }
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < 0x20 || byte == 0x7f) {
      out += '?';  // a terminal must not be steered by a file
      column++;
    } else {
      out += text[i];
      if ((byte & 0xc0) != 0x80) column++;
    }
  }
  return out;
}

void append_excerpt(std::string_view text, const Diagnostic& diagnostic, std::string* out) {
  std::string_view line = line_of(text, diagnostic.line);
  auto at = static_cast<size_t>(diagnostic.column - 1);
  at = std::min(at, line.size());
  std::string_view lead;
  if (line.size() > kShownBytesMax && at > kShownBefore) {
    const size_t cut = utf8_floor(line, at - kShownBefore);
    line.remove_prefix(cut);
    at -= cut;
    lead = "…";
  }
  std::string_view tail;
  if (line.size() > kShownBytesMax) {
    line = line.substr(0, utf8_floor(line, kShownBytesMax));
    tail = "…";
  }
  at = std::min(at, line.size());
  const std::string before = expanded(line.substr(0, at));
  const std::string marked = expanded(line.substr(at, static_cast<size_t>(diagnostic.length)));
  const std::string whole = expanded(line);
  *out += fmt::format("\n{:>5} | {}{}{}", diagnostic.line, lead, whole, tail);
  *out +=
      fmt::format("\n      | {}^", std::string(utf8_count(before) + (lead.empty() ? 0 : 1), ' '));
  const size_t width = utf8_count(marked);
  if (width > 1) out->append(width - 1, '~');
}

// SARIF's columns count UTF-16 code units.
int64_t utf16_count(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    count += (byte & 0xc0) == 0x80 ? 0 : byte >= 0xf0 ? 2 : 1;
  }
  return count;
}

Value location(const FileDiagnostics& file, const Diagnostic& diagnostic) {
  Value::Map physical{{"artifactLocation", Value(Value::Map{{"uri", Value(file.file)}})}};
  if (diagnostic.line > 0) {
    const std::string_view line = line_of(file.text, diagnostic.line);
    const size_t at = std::min(static_cast<size_t>(diagnostic.column - 1), line.size());
    const int64_t column = utf16_count(line.substr(0, at)) + 1;
    const int64_t length = utf16_count(line.substr(at, static_cast<size_t>(diagnostic.length)));
    physical["region"] =
        Value(Value::Map{{"startLine", Value(diagnostic.line)},
                         {"startColumn", Value(column)},
                         {"endColumn", Value(column + std::max<int64_t>(1, length))}});
  }
  return Value(Value::Map{{"physicalLocation", Value(std::move(physical))}});
}

Value text_value(std::string text) {
  return Value(Value::Map{{"text", Value(std::move(text))}});
}

}  // namespace

std::string format_diagnostic(std::string_view file, std::string_view text,
                              const Diagnostic& diagnostic) {
  std::string out(file);
  if (diagnostic.line > 0) out += fmt::format(":{}:{}", diagnostic.line, diagnostic.column);
  out += fmt::format(": {} {}: {}", severity_name(diagnostic), error_code(diagnostic.number),
                     diagnostic.message);
  if (!diagnostic.hint.empty()) out += "; " + diagnostic.hint;
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (diagnostic.line > 0) append_excerpt(text, diagnostic, &out);
  out += '\n';
  return out;
}

Value diagnostics_value(const std::vector<Diagnostic>& diagnostics) {
  Value::List list;
  for (const Diagnostic& diagnostic : diagnostics) {
    Value::Map map{{"code", Value(error_code(diagnostic.number))},
                   {"severity", Value(severity_name(diagnostic))},
                   {"message", Value(diagnostic.message)},
                   {"line", Value(diagnostic.line)},
                   {"column", Value(diagnostic.column)},
                   {"hint", diagnostic.hint.empty() ? Value() : Value(diagnostic.hint)}};
    list.emplace_back(std::move(map));
  }
  return Value(std::move(list));
}

std::string diagnostics_json(const std::vector<FileDiagnostics>& files) {
  Value::List list;
  for (const FileDiagnostics& file : files) {
    list.emplace_back(Value::Map{{"file", Value(file.file)},
                                 {"diagnostics", diagnostics_value(file.diagnostics)}});
  }
  return canonical_json(Value(Value::Map{{"files", Value(std::move(list))}}));
}

std::string diagnostics_sarif(const std::vector<FileDiagnostics>& files, std::string_view version) {
  Value::List results, rules;
  std::set<int> numbers;
  for (const FileDiagnostics& file : files) {
    for (const Diagnostic& diagnostic : file.diagnostics) {
      numbers.insert(diagnostic.number);
      std::string message = diagnostic.message;
      if (!diagnostic.hint.empty()) message += "; " + diagnostic.hint;
      results.emplace_back(
          Value::Map{{"ruleId", Value(error_code(diagnostic.number))},
                     {"level", Value(severity_name(diagnostic))},
                     {"message", text_value(std::move(message))},
                     {"locations", Value(Value::List{location(file, diagnostic)})}});
    }
  }
  for (const int number : numbers) {
    const ErrorInfo* info = error_info(number);
    rules.emplace_back(
        Value::Map{{"id", Value(error_code(number))},
                   {"name", Value(info == nullptr ? "" : info->name)},
                   {"shortDescription", text_value(info == nullptr ? "" : info->title)}});
  }
  Value::Map driver{
      {"name", Value("millrace")}, {"version", Value(version)}, {"rules", Value(std::move(rules))}};
  Value::Map run{{"tool", Value(Value::Map{{"driver", Value(std::move(driver))}})},
                 {"columnKind", Value("utf16CodeUnits")},
                 {"results", Value(std::move(results))}};
  return canonical_json(
      Value(Value::Map{{"$schema", Value("https://json.schemastore.org/sarif-2.1.0.json")},
                       {"version", Value("2.1.0")},
                       {"runs", Value(Value::List{Value(std::move(run))})}}));
}

}  // namespace millrace
