#include "engine/store/mongo_driver.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include "engine/base/errors.h"

namespace millrace {
namespace {

// The name stands for the binary interface that the header was compiled with: all of libmongoc 1.
constexpr char kLibrary[] = "libmongoc-1.0.so.0";
static_assert(MONGOC_MAJOR_VERSION == 1);

Status unavailable() {
  const char* why = dlerror();
  return Status::unavailable(
      errors::kStoreOpen,
      fmt::format("the driver for MongoDB cannot be loaded: {}; install libmongoc (Debian: "
                  "libmongoc-1.0-0)",
                  why == nullptr ? kLibrary : why));
}

Result<const MongoDriver*> load() {
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return unavailable();
  static MongoDriver driver;
#define MILLRACE_LOOK_UP(name)                                                            \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, "mongoc_" #name)); \
  if (driver.name == nullptr) return unavailable()
  MILLRACE_MONGO_DRIVER_FUNCTIONS(MILLRACE_LOOK_UP);
#undef MILLRACE_LOOK_UP
  return &driver;
}

}  // namespace

Result<const MongoDriver*> load_mongo_driver() {
  static const Result<const MongoDriver*> loaded = load();
  return loaded;
}

}  // namespace millrace
