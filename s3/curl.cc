#include "s3/curl.h"

#include <dlfcn.h>
#include <fmt/core.h>

namespace millrace::s3 {
namespace {

constexpr char kLibrary[] = "libcurl.so.4";  // stands for the binary interface of all since 7.16

struct Loaded {
  Curl functions;
  std::string problem;
};

std::string why_not() {
  const char* why = dlerror();
  return fmt::format("libcurl cannot be loaded: {}; install it (Debian: libcurl4)",
                     why == nullptr ? kLibrary : why);
}

Loaded load() {
  Loaded loaded;
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    loaded.problem = why_not();
    return loaded;
  }
#define MILLRACE_LOOK_UP(name)                                                          \
  loaded.functions.name =                                                               \
      reinterpret_cast<decltype(loaded.functions.name)>(dlsym(library, "curl_" #name)); \
  if (loaded.functions.name == nullptr && loaded.problem.empty()) loaded.problem = why_not()
  MILLRACE_CURL_FUNCTIONS(MILLRACE_LOOK_UP);
#undef MILLRACE_LOOK_UP
  if (!loaded.problem.empty()) return loaded;
  if (loaded.functions.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    loaded.problem = "libcurl does not start";
  }
  return loaded;
}

// Never destroyed: threads give their handles back after static objects are gone.
const Loaded& curl() {
  static const Loaded* const loaded = new Loaded(load());
  return *loaded;
}

}  // namespace

const Curl* load_curl() {
  return curl().problem.empty() ? &curl().functions : nullptr;
}

const std::string& curl_problem() {
  return curl().problem;
}

}  // namespace millrace::s3
