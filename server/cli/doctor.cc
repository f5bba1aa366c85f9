// millrace doctor: opens everything that a server would open, and says what to mend.
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "server/cli/cli.h"
#include "server/pipeline_files.h"
#include "server/runtime_setup.h"

namespace millrace {
namespace {

constexpr uint64_t kFreeBytesWanted = uint64_t{1} << 30;
constexpr uint64_t kDescriptorsWanted = 4096;

class Report {
 public:
  void good(const std::string& text) { print("ok    " + text + "\n"); }
  void note(const std::string& text) { print("note  " + text + "\n"); }
  void bad(const std::string& text) {
    print(red("mend  ", STDOUT_FILENO) + text + "\n");
    broken_ = true;
  }
  bool broken() const { return broken_; }

 private:
  bool broken_ = false;
};

void check_limits(const Config& config, Report* report) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < kDescriptorsWanted) {
    report->bad(fmt::format("{} file descriptors; allow at least {} (ulimit -n)", files.rlim_cur,
                            kDescriptorsWanted));
  } else {
    report->good(fmt::format("{} file descriptors", files.rlim_cur));
  }
  struct statvfs disk {};
  if (statvfs(config.data.c_str(), &disk) == 0) {
    const uint64_t free_bytes = uint64_t{disk.f_bavail} * disk.f_frsize;
    const std::string text =
        fmt::format("{} free for data in {}",
                    format_size(static_cast<int64_t>(free_bytes >> 20 << 20)), config.data);
    if (free_bytes < kFreeBytesWanted) {
      report->bad(text + "; make room");
    } else {
      report->good(text);
    }
  }
  report->good(
      fmt::format("limits.memory {}", format_size(static_cast<int64_t>(config.memory_bytes_max))));
}

void check_secrets(const Config& config, Report* report) {
  std::vector<std::string> references = config.webhook_secrets;
  if (!config.auth_token.empty()) references.push_back(config.auth_token);
  for (const std::string& reference : references) {
    const auto secret = resolve_secret(reference);
    if (secret.ok()) {
      report->good("secret " + reference);
    } else {
      report->bad(secret.status().message());
    }
  }
}

void check_pipelines(const Config& config, const Runtime& runtime, Report* report) {
  PipelineFiles files(config.pipelines);
  const PipelineFiles::Loaded loaded = files.load(runtime.catalogue());
  for (const std::string& error : loaded.errors) report->bad(error);
  for (const std::string& warning : loaded.warnings) report->note(warning);
  if (loaded.errors.empty()) report->good(fmt::format("{} pipelines", loaded.graphs.size()));
}

}  // namespace

int run_doctor(const ConfigArguments& arguments) {
  Config config;
  if (!load_for_verb(arguments, &config)) return kExitConfig;
  set_log(LogLevel::kError, config.log_format);
  Report report;
  report.good("configuration");
  check_secrets(config, &report);
  auto runtime = open_runtime(config);
  if (!runtime.ok()) {
    report.bad(
        fmt::format("{}: {}", error_code(runtime.status().number()), runtime.status().message()));
    return exit_code_of(runtime.status());
  }
  report.good("store and blobs");
  for (const PluginProblem& problem : (*runtime)->plugin_problems()) {
    report.bad(fmt::format("{}: {}", error_code(problem.number), problem.message));
  }
  report.good(
      fmt::format("{} steps from {}", (*runtime)->catalogue()->steps().size(), config.steps));
  check_pipelines(config, **runtime, &report);
  check_limits(config, &report);
  return report.broken() ? kExitFailed : kExitDone;
}

}  // namespace millrace
