// millrace serve
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "server/app.h"
#include "server/cli/cli.h"
#include "server/loop.h"
#include "server/pipeline_files.h"
#include "server/runtime_setup.h"
#include "server/version.h"

namespace millrace {
namespace {

void report_plugins(const Runtime& runtime) {
  for (const PluginProblem& problem : runtime.plugin_problems()) {
    log_event(LogLevel::kWarning, "plugin.refused",
              {{"code", error_code(problem.number)},
               {"file", problem.file},
               {"message", problem.message}});
  }
}

constexpr int64_t kDescriptorsOwn = 64;  // of store, blobs, log, loop and threads, with some room
constexpr int64_t kConnectionsLeast = 4, kConnectionsWanted = 1000;

// SIGHUP: what is broken keeps its old definition.
void reload(Runtime* runtime, PipelineFiles* files) {
  PipelineFiles::Loaded loaded = files->load(runtime->catalogue());
  for (const std::string& error : loaded.errors) {
    log_event(LogLevel::kError, "pipeline.broken", {{"message", error}});
  }
  const size_t count = loaded.graphs.size();
  if (const Status status = runtime->set_pipelines(std::move(loaded.graphs)); !status.ok()) {
    log_event(LogLevel::kError, "pipelines.kept",
              {{"code", error_code(status.number())}, {"message", status.message()}});
    return;
  }
  log_event(LogLevel::kInfo, "pipelines.loaded",
            {{"count", static_cast<uint64_t>(count)},
             {"broken", static_cast<uint64_t>(loaded.errors.size())}});
}

int load_at_start(Runtime* runtime, PipelineFiles* files) {
  PipelineFiles::Loaded loaded = files->load(runtime->catalogue());
  for (const std::string& warning : loaded.warnings) print_warning(warning);
  for (const std::string& error : loaded.errors) print_error(error);
  if (!loaded.errors.empty()) return kExitConfig;
  const Status status = runtime->set_pipelines(std::move(loaded.graphs));
  if (!status.ok()) {
    print_error(status);
    return exit_code_of(status);
  }
  return kExitDone;
}

// Shells give a process a thousand.
void raise_descriptor_limit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

// How many connections there may be so that, whatever their clients do, descriptors are left for
// the store, the blobs and new workers: without those the server could only end. Each has one
// descriptor, and one more while it brings a large upload.
int connections_max(const Config& config) {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return kConnectionsMax;
  const auto all = static_cast<int64_t>(std::min<rlim_t>(files.rlim_cur, 1 << 20));
  const int64_t own = kDescriptorsOwn + 2 * (int64_t{config.workers_cpu} + config.workers_io);
  const int64_t most = std::clamp<int64_t>((all - own) / 2, kConnectionsLeast, kConnectionsMax);
  if (most < kConnectionsWanted) {
    log_event(LogLevel::kWarning, "server.few_descriptors",
              {{"limit", all},
               {"connections_max", most},
               {"hint", "allow more open files (ulimit -n, LimitNOFILE)"}});
  }
  return static_cast<int>(most);
}

int serve_with(const Config& config, Runtime* runtime, std::string token) {
  PipelineFiles files(config.pipelines);
  if (const int code = load_at_start(runtime, &files); code != kExitDone) return code;
  App app(runtime, &config, std::move(token));
  LoopOptions options;
  options.drain_ms = config.drain_ms;
  options.http.connections_max = connections_max(config);
  ServerLoop loop(runtime, &app, options);
  loop.on_reload = [runtime, &files] { reload(runtime, &files); };
  if (const Status status = loop.listen(config.listen); !status.ok()) {
    print_error(status);
    return kExitConfig;
  }
  if (const Status status = runtime->start(); !status.ok()) {
    print_error(status);
    return exit_code_of(status);
  }
  log_event(LogLevel::kInfo, "server.ready",
            {{"addr", loop.address()},
             {"version", kVersion},
             {"pipelines", static_cast<uint64_t>(runtime->pipelines().size())},
             {"steps", static_cast<uint64_t>(runtime->catalogue()->steps().size())}});
  const int code = loop.run();
  log_event(LogLevel::kInfo, "server.ended", {{"exit", code}});
  return code;
}

}  // namespace

int run_serve(const ConfigArguments& arguments) {
  Config config;
  if (!load_for_verb(arguments, &config)) return kExitConfig;
  set_log(config.log_level, config.log_format);
  raise_descriptor_limit();
  std::string token;
  if (!config.auth_token.empty() && config.auth_mode == AuthMode::kToken) {
    auto secret = resolve_secret(config.auth_token);
    if (!secret.ok()) {
      print_error(secret.status());
      return kExitConfig;
    }
    token = std::move(*secret);
  }
  auto runtime = open_runtime(config);
  if (!runtime.ok()) {
    print_error(runtime.status());
    return exit_code_of(runtime.status());
  }
  report_plugins(**runtime);
  return serve_with(config, runtime->get(), std::move(token));
}

}  // namespace millrace
