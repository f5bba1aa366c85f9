#include "server/runtime_setup.h"

#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "engine/base/errors.h"
#include "server/version.h"

namespace millrace {

Result<RuntimeOptions> runtime_options(const Config& config) {
  auto settings = plugin_settings(config);
  if (!settings.ok()) return settings.status();
  RuntimeOptions options;
  options.data = config.data;
  options.store = config.store;
  options.blobs = config.blobs;
  options.s3 = s3_credentials();
  options.blob_cache_bytes_max = config.blob_cache_bytes_max;
  options.thread_isolation = config.thread_isolation;
  options.jobs_resident_max = config.jobs_max;
  options.jobs_accepted_max = config.accepted_max;
  options.memory_bytes_max = config.memory_bytes_max;
  options.retention_ms = config.retention_ms;
  options.lease_ms = config.lease_ms;
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) == 0) options.node_name = host;
  options.workers.steps_directory = config.steps;
  options.workers.cpu = config.workers_cpu;
  options.workers.io = config.workers_io;
  options.workers.pixels_max = static_cast<uint64_t>(config.pixels_max);
  options.workers.memory_budget_bytes = config.workers_memory_bytes;
  options.workers.settings = std::move(*settings);
  for (const NamedStore& store : config.stores) {
    if (!store.s3) options.workers.io_paths.push_back({store.directory, true});
  }
  options.metrics = std::make_shared<Metrics>();
  options.metrics->build_info.with({kVersion}).set(1);
  return options;
}

Result<std::unique_ptr<Runtime>> open_runtime(const Config& config) {
  for (const NamedStore& store : config.stores) {
    if (store.s3) continue;
    std::error_code error;
    std::filesystem::create_directories(store.directory, error);
    if (error) {
      return Status::unavailable(errors::kStoreOpen,
                                 fmt::format("stores.{}: cannot make '{}': {}", store.name,
                                             store.directory, error.message()));
    }
  }
  const auto options = runtime_options(config);
  if (!options.ok()) return options.status();
  return Runtime::open(*options);
}

}  // namespace millrace
