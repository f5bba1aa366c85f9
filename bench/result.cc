#include "bench/result.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

namespace millrace {

BenchResult median_of(std::vector<BenchResult> runs) {
  std::sort(runs.begin(), runs.end(),
            [](const BenchResult& a, const BenchResult& b) { return a.jobs_per_s < b.jobs_per_s; });
  BenchResult median = runs[runs.size() / 2];
  if (runs.size() > 1) {
    median.more.emplace_back("jobs_per_s_min", runs.front().jobs_per_s);
    median.more.emplace_back("jobs_per_s_max", runs.back().jobs_per_s);
  }
  for (const BenchResult& run : runs) {
    median.peak_rss_mb = std::max(median.peak_rss_mb, run.peak_rss_mb);
    if (!run.failure.empty()) median.failure = run.failure;
  }
  return median;
}

void print_result(const BenchResult& result) {
  static bool headed = false;
  if (!headed) {
    std::fprintf(stderr, "%-18s %8s %5s %10s %9s %9s %12s %9s %11s %9s\n", "bench", "jobs", "conc",
                 "jobs/s", "p50 ms", "p99 ms", "CPU us/job", "PSS MB", "flushes/job", "other CPU");
    headed = true;
  }
  std::fprintf(stderr, "%-18s %8llu %5d %10.1f %9.3f %9.3f %12.1f %9.1f %11.3f %9.2f\n",
               result.bench.c_str(), static_cast<unsigned long long>(result.jobs),
               result.concurrency, result.jobs_per_s, result.p50_ms, result.p99_ms,
               result.cpu_s_per_job * 1e6, result.peak_rss_mb, result.flushes_per_job,
               result.other_cpu);
  for (const auto& [name, value] : result.more)
    std::fprintf(stderr, "%-18s   %s = %.4g\n", "", name.c_str(), value);
  if (!result.failure.empty()) std::fprintf(stderr, "  FAILED: %s\n", result.failure.c_str());
  std::string line = fmt::format(
      R"({{"bench":"{}","jobs":{},"concurrency":{},"jobs_per_s":{:.2f},"p50_ms":{:.4f},"p99_ms":{:.4f},"cpu_s_per_job":{:.8f},"peak_rss_mb":{:.1f},"flushes_per_job":{:.4f},"other_cpu":{:.3f})",
      result.bench, result.jobs, result.concurrency, result.jobs_per_s, result.p50_ms,
      result.p99_ms, result.cpu_s_per_job, result.peak_rss_mb, result.flushes_per_job,
      result.other_cpu);
  for (const auto& [name, value] : result.more) line += fmt::format(",\"{}\":{:.6g}", name, value);
  line += fmt::format(",\"ok\":{}}}", result.failure.empty());
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace millrace
