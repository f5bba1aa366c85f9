// Failure: why a put does not succeed, in the words of the step's declaration. Knows nothing of the
// host.
#pragma once

#include <string>

namespace millrace::store_step {

// `reason` is nullptr when nothing failed; else one of the reasons declared in store.cc. `message`
// is a sentence for a person.
struct Failure {
  const char* reason = nullptr;
  std::string message;

  explicit operator bool() const { return reason != nullptr; }
};

// What an errno means to the one who reads the job: no_space, invalid_key (a name too long for the
// file system) or io_error. `what` says which operation on which file failed.
[[nodiscard]] Failure failure_of_errno(int error, const std::string& what);

}  // namespace millrace::store_step
