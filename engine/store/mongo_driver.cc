#include "engine/store/mongo_driver.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include "engine/base/check.h"
#include "engine/base/errors.h"
#include "engine/base/log.h"

namespace millrace {
namespace {

// The name stands for the binary interface that the header was compiled with: all of libmongoc 1.
constexpr char kLibrary[] = "libmongoc-1.0.so.0";
static_assert(MONGOC_MAJOR_VERSION == 1);

thread_local bool quiet = false;

void log_driver(mongoc_log_level_t level, const char* domain, const char* message, void*) {
  if (quiet || level > MONGOC_LOG_LEVEL_WARNING) return;
  log_event(LogLevel::kDebug, "store.driver", {{"part", domain}, {"message", message}});
}

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
  driver.log_set_handler(log_driver, nullptr);
  driver.init();  // clean-up could not be repeated
  return &driver;
}

}  // namespace

Result<const MongoDriver*> load_mongo_driver() {
  static const Result<const MongoDriver*> loaded = load();
  return loaded;
}

QuietMongoDriver::QuietMongoDriver() {
  CHECK(!quiet);
  quiet = true;
}

QuietMongoDriver::~QuietMongoDriver() {
  quiet = false;
}

}  // namespace millrace
