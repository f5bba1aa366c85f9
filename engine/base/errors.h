// The stable error numbers that users see (E017), one line each in errors.def, explained in
// server/errors.md.
//
// Ranges: 001-029 HTTP requests, 030-099 pipelines and expressions, 100-119 configuration and
// command line, 120-139 store and blobs, 140-159 plugins, 160-189 steps and workers, 190-199 the
// server itself. A number is never reused. What a plugin calls its error travels beside it as
// `reason`.
#pragma once

#include <string>

namespace millrace {

// E017 as an int is error_number::kBodyTooLarge == 17; use these names, never the digits.
namespace errors {
enum Number : int {
#define MILLRACE_ERROR(number, name, http_status, title) k##name = number,
#include "engine/base/errors.def"
#undef MILLRACE_ERROR
};
}  // namespace errors

struct ErrorInfo {
  int number;
  const char* name;   // CamelCase, as in errors.def
  int http_status;    // what a request that meets this error is answered with; 0 where none can
  const char* title;  // one short sentence without a full stop
};

// Null for a number that errors.def does not hold. [any]
const ErrorInfo* error_info(int number);
const ErrorInfo* error_table(int* count);  // all of them, ascending. [any]
std::string error_code(int number);        // 17 -> "E017". [any]

}  // namespace millrace
