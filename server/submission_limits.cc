// Submission: what a request may cost beyond its bytes, in memory and in the length of its answer.
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/text.h"
#include "server/submission.h"

namespace millrace {
namespace {

void cut(std::string* text, size_t bytes_max) {
  if (text->size() <= bytes_max) return;
  text->resize(utf8_floor(*text, bytes_max));
  *text += "…";
}

}  // namespace

// A comma, colon or bracket outside a base64 text stands in the job's record too, so a job has no
// more of them than its record has bytes. Each may be a value of a hundred bytes once it is read:
// without this a body of 64 MiB would become gigabytes, and keep the loop busy for seconds.
Status check_marks(std::string_view json) {
  if (json.size() <= kRecordBytesMax) return {};
  size_t marks = 0;
  for (const char c : json) {
    marks += c == ',' || c == ':' || c == '[' || c == '{';
    if (marks <= kRecordBytesMax) continue;
    return Status::invalid(errors::kBodyTooLarge,
                           fmt::format("the {} bytes of JSON have more than {} commas, colons and "
                                       "brackets, more than a job can hold; pass large data as a "
                                       "blob",
                                       json.size(), kRecordBytesMax));
  }
  return {};
}

// Names and texts in it are the client's: an answer must not be larger than what it answers.
void Submission::problem(int number, std::string detail, std::string pointer) {
  if (problems_.size() == static_cast<size_t>(kDiagnosticsMax)) return;
  cut(&detail, kErrorMessageBytesMax);
  cut(&pointer, kErrorMessageBytesMax);
  problems_.push_back({number, std::move(detail), std::move(pointer)});
}

// Looking for the nearest spelling of what is unknown has its price, by name and by byte.
Status Submission::take_inputs(Value::Map inputs) {
  if (inputs.size() > static_cast<size_t>(kInputsMax)) {
    return Status::invalid(
        errors::kInputUnknown,
        fmt::format("{} inputs were sent; a pipeline has at most {}", inputs.size(), kInputsMax));
  }
  for (const auto& [name, value] : inputs) {
    if (name.size() <= kNameBytesMax) continue;
    return Status::invalid(errors::kInputUnknown,
                           fmt::format("an input's name of {} bytes was sent; names have at most "
                                       "{}",
                                       name.size(), kNameBytesMax));
  }
  given_ = std::move(inputs);
  return {};
}

}  // namespace millrace
