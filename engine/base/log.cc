#include "engine/base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>

#include "engine/base/time.h"
#include "engine/base/value.h"

namespace millrace {
namespace {

constexpr size_t kLogValueBytesMax = 2048;

std::atomic<LogLevel> log_level{LogLevel::kInfo};
std::atomic<LogFormat> log_format{LogFormat::kLogfmt};

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger made("millrace", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("%v");
    made.set_level(spdlog::level::trace);
    made.flush_on(spdlog::level::trace);
    return made;
  }();
  return instance;
}

bool plain(std::string_view text) {
  for (char c : text) {
    if (static_cast<uint8_t>(c) <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
      return false;
  }
  return !text.empty();
}

void append_field(LogFormat format, std::string_view key, std::string_view text, bool bare,
                  std::string* line) {
  text = text.substr(0, kLogValueBytesMax);
  if (format == LogFormat::kJson) {
    *line += line->empty() ? '{' : ',';
    append_json_string(key, line);
    *line += ':';
    if (bare) {
      *line += text;
    } else {
      append_json_string(text, line);
    }
    return;
  }
  if (!line->empty()) *line += ' ';
  *line += key;
  *line += '=';
  if (plain(text)) {
    *line += text;
  } else {
    append_json_string(text, line);  // logfmt quotes as JSON does
  }
}

}  // namespace

void set_log(LogLevel level, LogFormat format) {
  log_level = level;
  log_format = format;
}

bool log_enabled(LogLevel level) {
  return level >= log_level.load(std::memory_order_relaxed);
}

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!log_enabled(level)) return;
  const LogFormat format = log_format.load(std::memory_order_relaxed);
  std::string line;
  append_field(format, "ts", format_time(wall_clock_ms()), false, &line);
  append_field(format, "level", level_name(level), false, &line);
  append_field(format, "ev", event, false, &line);
  for (const LogField& field : fields)
    append_field(format, field.key, field.text, field.bare, &line);
  if (format == LogFormat::kJson) line += '}';
  logger().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace millrace
