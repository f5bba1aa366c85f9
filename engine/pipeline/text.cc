#include "engine/pipeline/text.h"

#include <charconv>
#include <cmath>

namespace millrace {
namespace {

// Shorter and longer words have no near ones.
constexpr size_t kSpellingBytesMin = 3, kSpellingBytesMax = 64;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// How many insertions, deletions, replacements and swaps of neighbours lead from a to b.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); j++) last[j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      const size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      now[j] = std::min({replace, last[j] + 1, now[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        now[j] = std::min(now[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(now);
  }
  return last[b.size()];
}

}  // namespace

size_t utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

size_t utf8_count(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

size_t utf8_floor(std::string_view text, size_t bytes) {
  if (bytes >= text.size()) return text.size();
  const auto inside = [&](size_t at) { return (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80; };
  size_t at = bytes;
  // No character is longer than 4 bytes; in what is no UTF-8, any place is as good as another.
  for (int i = 0; i < 3 && at > 0 && inside(at); i++) at--;
  return inside(at) ? bytes : at;
}

std::optional<double> parse_json_number(std::string_view text) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t first = at;
    while (at < text.size() && is_digit(text[at])) at++;
    return at - first;
  };
  if (at < text.size() && text[at] == '-') at++;
  const bool zero = at < text.size() && text[at] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return std::nullopt;
  if (at < text.size() && text[at] == '.') {
    at++;
    if (digits() == 0) return std::nullopt;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    at++;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) at++;
    if (digits() == 0) return std::nullopt;
  }
  if (at != text.size()) return std::nullopt;
  double number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc() || !std::isfinite(number)) return std::nullopt;
  return number;
}

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > kNameBytesMax || text[0] < 'a' || text[0] > 'z') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_'; });
}

std::string nearest(std::string_view word, const std::vector<std::string_view>& known) {
  if (word.size() < kSpellingBytesMin || word.size() > kSpellingBytesMax) return {};
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  std::string found;
  for (const std::string_view candidate : known) {
    if (candidate.size() > kSpellingBytesMax) continue;
    const size_t distance = edit_distance(word, candidate);
    if (distance < best) {
      best = distance;
      found = candidate;
    }
  }
  return found;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& known) {
  const std::string found = nearest(word, known);
  return found.empty() ? std::string() : fmt::format("did you mean '{}'?", found);
}

}  // namespace millrace
