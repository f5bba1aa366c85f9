// millrace-bench: the benchmarks behind ./run bench. A table on stderr, one JSON line per result on
// stdout.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bench/scenarios.h"
#include "cmake/tree.h"
#include "engine/worker/workers.h"

namespace millrace {
namespace {

struct Scenario {
  const char* name;
  const char* what;
  std::function<bool(const BenchOptions&)> run;
};

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = {
      {"limits", "what this machine can do without millrace: the figures to compare with",
       bench_limits},
      {"noop4", "4 pure no-op steps, 64 jobs in flight",
       [](const BenchOptions& o) { return bench_noop(o, "noop4", "noop4", 64, 100'000); }},
      {"noop4_c1", "the same, one job in flight",
       [](const BenchOptions& o) { return bench_noop(o, "noop4_c1", "noop4", 1, 4'000); }},
      {"noop4_effects", "4 gated (keyed) no-op steps, 64 jobs in flight",
       [](const BenchOptions& o) {
         return bench_noop(o, "noop4_effects", "noop4_effects", 64, 50'000);
       }},
      {"image", "a photograph: upload, store, grayscale, store, notify; 16 in flight",
       [](const BenchOptions& o) { return bench_image(o, "image", "grayscale", 1'500); }},
      {"image_luminance", "the same with method luminance, quality 80",
       [](const BenchOptions& o) { return bench_image(o, "image_luminance", "luminance", 600); }},
      {"recovery", "kill -9 with 200 jobs in flight, and the same jobs undisturbed",
       bench_recovery},
      {"start", "start to ready, with an empty store and with 100,000 unfinished jobs",
       bench_start},
      {"boundary", "a call through a worker process: latency, and CPU of either side",
       bench_boundary},
      {"timeouts", "how late timeouts of steps that do not listen are kept, under noop4's load",
       bench_timeouts},
      {"sim", "lives of jobs that the simulator gets through in a second of one core",
       bench_simulator},
      {"replicas", "noop4 through 1, 2 and 4 replicas; their idle load, take-over, foreign waits",
       bench_replicas},
      {"idle", "memory, CPU and wake-ups of a server with nothing to do", bench_idle},
  };
  return all;
}

int usage(std::FILE* out) {
  std::fprintf(
      out, "usage: millrace-bench [--runs N] [--scale X] [--photo FILE] [NAME]...\n\nscenarios:\n");
  for (const Scenario& scenario : scenarios())
    std::fprintf(out, "  %-16s %s\n", scenario.name, scenario.what);
  return out == stderr ? 2 : 0;
}

int run(int argc, char** argv) {
  BenchOptions options;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  options.program = self.parent_path() / "millrace";
  const std::string source = in_source("");
  options.pipelines = {source + "/pipelines/grayscale.yaml", source + "/pipelines/noop4.yaml",
                       source + "/pipelines/noop4_effects.yaml",
                       source + "/bench/pipelines/luminance.yaml"};
  options.photo = source + "/demo/photo.jpg";
  std::vector<std::string> names;
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--help" || argument == "-h") return usage(stdout);
    if (argument == "--runs" && has_value) {
      options.runs = std::atoi(argv[++i]);
    } else if (argument == "--scale" && has_value) {
      options.scale = std::atof(argv[++i]);
    } else if (argument == "--photo" && has_value) {
      options.photo = argv[++i];
    } else if (argument.starts_with("-")) {
      return usage(stderr);
    } else {
      names.push_back(argument);
    }
  }
  if (options.runs < 1 || options.scale <= 0) return usage(stderr);
  if (access(options.photo.c_str(), R_OK) != 0) {
    std::fprintf(stderr, "cannot read the photograph %s: %s\n", options.photo.c_str(),
                 std::strerror(errno));
    return 2;
  }
  bool ok = true;
  for (const std::string& name : names) {
    bool known = false;
    for (const Scenario& scenario : scenarios()) known = known || name == scenario.name;
    if (!known) {
      std::fprintf(stderr, "no scenario is named '%s'\n", name.c_str());
      return usage(stderr);
    }
  }
  for (const Scenario& scenario : scenarios()) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted = wanted || name == scenario.name;
    if (wanted) ok = scenario.run(options) && ok;
  }
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "worker-template") == 0) millrace::worker_template_main();
  return millrace::run(argc, argv);
}
