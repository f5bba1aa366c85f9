// Log lines for machines and people: logfmt (ev=job.failed job=… code=E160) or one JSON object a
// line, on stderr.
//
// One event per line, named area.what. Values are quoted where logfmt needs it and bounded in
// length. Secrets never get here: nobody passes them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace millrace {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };
enum class LogFormat : uint8_t { kLogfmt, kJson };

// One key and its value. Numbers and booleans stand bare in JSON, text is quoted.
struct LogField {
  LogField(std::string_view k, std::string_view v) : key(k), text(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), text(v) {}
  LogField(std::string_view k, const char* v) : key(k), text(v) {}
  LogField(std::string_view k, int64_t v) : key(k), text(std::to_string(v)), bare(true) {}
  LogField(std::string_view k, uint64_t v) : key(k), text(std::to_string(v)), bare(true) {}
  LogField(std::string_view k, int v) : key(k), text(std::to_string(v)), bare(true) {}
  LogField(std::string_view k, uint32_t v) : key(k), text(std::to_string(v)), bare(true) {}
  std::string_view key;
  std::string text;
  bool bare = false;
};

// Both from main, before threads start; defaults: info, logfmt.
void set_log(LogLevel level, LogFormat format);
bool log_enabled(LogLevel level);  // [any]

// Writes one line: ts, level, ev, then the fields in order. [any]
void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace millrace
