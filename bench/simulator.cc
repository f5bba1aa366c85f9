// sim: how many lives of jobs the simulator (tests/sim) gets through in a second of one core. Its
// worth is the number of faults that it can try: below kLivesPerSecondMin nobody runs enough seeds.
//
// The same seeds again and again. A busy machine makes a second of CPU worth up to a third less,
// and never more: so the median is shown, and the scenario fails when not even the fastest time is
// fast enough.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/result.h"
#include "bench/scenarios.h"

namespace millrace {
namespace {

constexpr double kLivesPerSecondMin = 5'000;
constexpr double kSeeds = 1'000;
constexpr int kTimesOfARun = 4;

BenchResult run_once(const std::string& program, int seeds) {
  BenchResult result;
  result.bench = "sim";
  result.concurrency = 1;
  const std::string command = fmt::format("'{}' --seeds {} 2>&1", program, seeds);
  std::FILE* output = ::popen(command.c_str(), "re");
  if (output == nullptr) {
    result.failure = "it cannot be started: " + command;
    return result;
  }
  std::string said;
  for (int byte = 0; (byte = std::fgetc(output)) != EOF;) said += static_cast<char>(byte);
  const int status = ::pclose(output);
  unsigned long long seen = 0, lives = 0;
  const int read = std::sscanf(
      said.c_str(), "%llu seeds from %*u: 0 failures; %llu jobs lived to their end, %lf a second",
      &seen, &lives, &result.jobs_per_s);
  result.jobs = lives;
  if (status != 0 || read != 3) {
    result.failure = fmt::format("{} ended with {}: {}", command, status, said.substr(0, 400));
  } else {
    result.cpu_s_per_job = 1 / result.jobs_per_s;
    result.more = {{"seeds", static_cast<double>(seen)}};
  }
  return result;
}

}  // namespace

bool bench_simulator(const BenchOptions& options) {
  const std::filesystem::path program =
      std::filesystem::path(options.program).parent_path() / "sim";
  std::vector<BenchResult> runs;
  for (int time = 0; time < options.runs * kTimesOfARun; time++) {
    runs.push_back(run_once(program, static_cast<int>(kSeeds * options.scale)));
  }
  double fastest = 0;
  for (const BenchResult& run : runs) fastest = std::max(fastest, run.jobs_per_s);
  BenchResult result = median_of(std::move(runs));
  if (result.failure.empty() && fastest < kLivesPerSecondMin) {
    result.failure = fmt::format("{:.0f} lives a second of one core; at least {} are wanted",
                                 fastest, kLivesPerSecondMin);
  }
  print_result(result);
  return result.failure.empty();
}

}  // namespace millrace
