#include "engine/pipeline/problems.h"

#include <tuple>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

// Beyond this problems are only counted: a hostile file must not cost memory.
constexpr size_t kCollectedMax = 4096;

}  // namespace

Problems::Problems(std::string_view source) : source_(source), lines_{0} {
  for (size_t i = 0; i < source.size(); i++) {
    if (source[i] == '\n') lines_.push_back(i + 1);
  }
}

void Problems::error(int number, Span at, std::string message, std::string hint) {
  errors_++;
  add(Diagnostic::Severity::kError, number, at, std::move(message), std::move(hint));
}

void Problems::warning(int number, Span at, std::string message, std::string hint) {
  add(Diagnostic::Severity::kWarning, number, at, std::move(message), std::move(hint));
}

bool Problems::has(int number) const {
  return std::any_of(found_.begin(), found_.end(),
                     [&](const Diagnostic& problem) { return problem.number == number; });
}

size_t Problems::line_of(size_t offset) const {
  const auto after = std::upper_bound(lines_.begin(), lines_.end(), offset);
  return static_cast<size_t>(after - lines_.begin()) - 1;
}

void Problems::add(Diagnostic::Severity severity, int number, Span at, std::string message,
                   std::string hint) {
  if (found_.size() >= kCollectedMax) {
    dropped_++;
    return;
  }
  Diagnostic problem;
  problem.number = number;
  problem.severity = severity;
  problem.message = std::move(message);
  problem.hint = std::move(hint);
  const size_t offset = std::min(at.offset, source_.size());
  const size_t line = line_of(offset);
  size_t end = line + 1 < lines_.size() ? lines_[line + 1] - 1 : source_.size();
  if (end > offset && source_[end - 1] == '\r') end--;
  problem.line = static_cast<int>(line) + 1;
  problem.column = static_cast<int>(offset - lines_[line]) + 1;
  const size_t room = end > offset ? end - offset : 1;
  problem.length = static_cast<int>(std::max<size_t>(1, std::min(at.length, room)));
  found_.push_back(std::move(problem));
}

std::vector<Diagnostic> Problems::finish() {
  const auto key = [](const Diagnostic& d) {
    return std::tie(d.line, d.column, d.number, d.message);
  };
  std::stable_sort(found_.begin(), found_.end(),
                   [&](const Diagnostic& a, const Diagnostic& b) { return key(a) < key(b); });
  found_.erase(
      std::unique(found_.begin(), found_.end(),
                  [&](const Diagnostic& a, const Diagnostic& b) { return key(a) == key(b); }),
      found_.end());
  const auto most = static_cast<size_t>(kDiagnosticsMax);
  if (found_.size() <= most && dropped_ == 0) return std::move(found_);
  const size_t rest = dropped_ + (found_.size() > most ? found_.size() - most : 0);
  // An error must not hide behind a hundred warnings: the file is refused, so one is shown.
  if (found_.size() > most) {
    const auto is_error = [](const Diagnostic& d) {
      return d.severity == Diagnostic::Severity::kError;
    };
    const auto cut = found_.begin() + static_cast<std::ptrdiff_t>(most);
    if (std::none_of(found_.begin(), cut, is_error)) {
      const auto first = std::find_if(cut, found_.end(), is_error);
      if (first != found_.end()) *(cut - 1) = *first;
    }
    found_.resize(most);
  }
  Diagnostic count;
  count.number = errors::kTooManyProblems;
  count.severity = errors_ > 0 ? Diagnostic::Severity::kError : Diagnostic::Severity::kWarning;
  count.message = fmt::format("{} more problems are not shown; mend these first", rest);
  count.line = static_cast<int>(line_of(source_.size())) + 1;
  count.column = static_cast<int>(source_.size() - lines_.back()) + 1;
  found_.push_back(std::move(count));
  return std::move(found_);
}

}  // namespace millrace
