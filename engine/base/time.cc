#include "engine/base/time.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <ctime>

namespace millrace {
namespace {

constexpr int64_t kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;

struct Unit {
  std::string_view name;
  int64_t factor;
};

// Largest first, so that formatting finds the largest that divides.
constexpr std::array<Unit, 5> kDurationUnits = {
    {{"d", kDay}, {"h", kHour}, {"m", kMinute}, {"s", kSecond}, {"ms", 1}}};
constexpr std::array<Unit, 9> kSizeUnits = {{{"TiB", int64_t{1} << 40},
                                             {"GiB", 1 << 30},
                                             {"MiB", 1 << 20},
                                             {"KiB", 1 << 10},
                                             {"B", 1},
                                             {"KB", 1000},
                                             {"MB", 1'000'000},
                                             {"GB", 1'000'000'000},
                                             {"TB", 1'000'000'000'000}}};
constexpr size_t kBinarySizeUnits = 5;

template <size_t N>
std::optional<int64_t> parse_with_unit(std::string_view text, const std::array<Unit, N>& units) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data() || text[0] == '-') return std::nullopt;
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  for (const Unit& candidate : units) {
    if (candidate.name != unit) continue;
    int64_t product = 0;
    if (__builtin_mul_overflow(number, candidate.factor, &product)) return std::nullopt;
    return product;
  }
  return std::nullopt;
}

void put_digits(char* at, int count, int number) {
  for (int i = count - 1; i >= 0; i--, number /= 10) at[i] = static_cast<char>('0' + number % 10);
}

bool digits(std::string_view text, size_t at, size_t count, int* out) {
  if (at + count > text.size()) return false;
  int number = 0;
  for (size_t i = at; i < at + count; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    number = number * 10 + (text[i] - '0');
  }
  *out = number;
  return true;
}

}  // namespace

TimeMs wall_clock_ms() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

int64_t monotonic_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

std::string format_time(TimeMs time) {
  time_t seconds = static_cast<time_t>(time / 1000);
  int64_t millis = time % 1000;
  if (millis < 0) {
    millis += 1000;
    seconds--;
  }
  // Every answer shows a dozen times, most of them of the same second: its text is made once.
  thread_local time_t known = -1;
  thread_local char text[] = "0000-00-00T00:00:00.000Z";
  if (seconds != known) {
    tm parts{};
    gmtime_r(&seconds, &parts);
    put_digits(text, 4, parts.tm_year + 1900);
    put_digits(text + 5, 2, parts.tm_mon + 1);
    put_digits(text + 8, 2, parts.tm_mday);
    put_digits(text + 11, 2, parts.tm_hour);
    put_digits(text + 14, 2, parts.tm_min);
    put_digits(text + 17, 2, parts.tm_sec);
    known = seconds;
  }
  put_digits(text + 20, 3, static_cast<int>(millis));
  return {text, sizeof text - 1};
}

std::optional<TimeMs> parse_time(std::string_view text) {
  tm parts{};
  const bool shaped = digits(text, 0, 4, &parts.tm_year) && digits(text, 5, 2, &parts.tm_mon) &&
                      digits(text, 8, 2, &parts.tm_mday) && digits(text, 11, 2, &parts.tm_hour) &&
                      digits(text, 14, 2, &parts.tm_min) && digits(text, 17, 2, &parts.tm_sec) &&
                      text[4] == '-' && text[7] == '-' && (text[10] == 'T' || text[10] == 't') &&
                      text[13] == ':' && text[16] == ':';
  if (!shaped || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 ||
      parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60) {
    return std::nullopt;
  }
  const int month = parts.tm_mon, day = parts.tm_mday;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  size_t at = 19;
  int64_t millis = 0;
  if (at < text.size() && text[at] == '.') {
    int64_t scale = 100;
    const size_t first = ++at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; at++, scale /= 10) {
      millis += (text[at] - '0') * scale;
    }
    if (at == first) return std::nullopt;
  }
  int64_t offset_minutes = 0;
  if (at < text.size() && (text[at] == 'Z' || text[at] == 'z')) {
    at++;
  } else if (at < text.size() && (text[at] == '+' || text[at] == '-')) {
    int hours = 0, minutes = 0;
    if (!digits(text, at + 1, 2, &hours) || at + 3 >= text.size() || text[at + 3] != ':' ||
        !digits(text, at + 4, 2, &minutes) || hours > 23 || minutes > 59) {
      return std::nullopt;
    }
    offset_minutes = (text[at] == '-' ? -1 : 1) * (hours * 60 + minutes);
    at += 6;
  } else {
    return std::nullopt;
  }
  if (at != text.size()) return std::nullopt;
  constexpr int kDays[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const int year = parts.tm_year + 1900;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (day > kDays[month - 1] || (month == 2 && day == 29 && !leap)) return std::nullopt;
  const int64_t seconds = timegm(&parts);  // a leap second becomes the next minute's first
  return (seconds - offset_minutes * 60) * 1000 + millis;
}

std::optional<DurationMs> parse_duration(std::string_view text) {
  return parse_with_unit(text, kDurationUnits);
}

std::string format_duration(DurationMs duration) {
  if (duration == 0) return "0s";
  for (const Unit& unit : kDurationUnits) {
    if (duration % unit.factor == 0) return fmt::format("{}{}", duration / unit.factor, unit.name);
  }
  return fmt::format("{}ms", duration);
}

std::optional<int64_t> parse_size(std::string_view text) {
  return parse_with_unit(text, kSizeUnits);
}

std::string format_size(int64_t bytes) {
  for (size_t i = 0; i < kBinarySizeUnits; i++) {
    const Unit& unit = kSizeUnits[i];
    if (bytes != 0 && bytes % unit.factor == 0) {
      return fmt::format("{}{}", bytes / unit.factor, unit.name);
    }
  }
  return fmt::format("{}B", bytes);
}

}  // namespace millrace
