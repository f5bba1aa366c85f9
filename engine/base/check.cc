#include "engine/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace millrace {
namespace {
thread_local Thread this_thread = Thread::kAny;
}

void check_failed(const char* file, int line, const char* condition, const char* detail) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s%s%s\n", file, line, condition, detail ? ": " : "",
               detail ? detail : "");
  std::fflush(stderr);
  std::abort();
}

void set_thread(Thread thread) {
  this_thread = thread;
}
Thread current_thread() {
  return this_thread;
}

}  // namespace millrace
