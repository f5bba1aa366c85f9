// Times and durations. TimeMs is milliseconds of Unix time in UTC; DurationMs is a length in
// milliseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

using TimeMs = int64_t;
using DurationMs = int64_t;

constexpr TimeMs kNever = INT64_MAX;

TimeMs wall_clock_ms();  // CLOCK_REALTIME; may jump. [any]
int64_t monotonic_us();  // CLOCK_MONOTONIC; only differences mean anything. [any]

// "2026-11-21T06:54:00.123Z" (RFC 3339, UTC, milliseconds). [any]
std::string format_time(TimeMs time);
// RFC 3339 with any offset and any number of fraction digits (cut to milliseconds). [any]
std::optional<TimeMs> parse_time(std::string_view text);

// "250ms" "30s" "5m" "2h" "7d": digits and one unit, which is mandatory. [any]
std::optional<DurationMs> parse_duration(std::string_view text);
// The shortest exact form: 90000 -> "90s", 3600000 -> "1h". [any]
std::string format_duration(DurationMs duration);

// "512B" "64KiB" "10MB" "1GiB": digits and one unit of B KB MB GB TB KiB MiB GiB TiB, mandatory.
// [any]
std::optional<int64_t> parse_size(std::string_view text);
// The shortest exact form in binary units: 67108864 -> "64MiB". [any]
std::string format_size(int64_t bytes);

}  // namespace millrace
