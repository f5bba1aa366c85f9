#include "engine/base/errors.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>

namespace millrace {
namespace {

constexpr ErrorInfo kErrors[] = {
#define MILLRACE_ERROR(number, name, http_status, title) {number, #name, http_status, title},
#include "engine/base/errors.def"
#undef MILLRACE_ERROR
};

}  // namespace

const ErrorInfo* error_info(int number) {
  const auto* found = std::lower_bound(std::begin(kErrors), std::end(kErrors), number,
                                       [](const ErrorInfo& e, int n) { return e.number < n; });
  return found != std::end(kErrors) && found->number == number ? found : nullptr;
}

const ErrorInfo* error_table(int* count) {
  *count = static_cast<int>(std::size(kErrors));
  return kErrors;
}

std::string error_code(int number) {
  return fmt::format("E{:03}", number);
}

}  // namespace millrace
