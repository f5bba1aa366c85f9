// Result: one line of a benchmark, as a table row for people and as a JSON line for machines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct BenchResult {
  std::string bench;
  uint64_t jobs = 0;
  int concurrency = 0;
  double jobs_per_s = 0;
  double p50_ms = 0, p99_ms = 0;
  double cpu_s_per_job = 0;  // server and its children, without generator and receiver
  double peak_rss_mb =
      0;  // sum of PSS over the server and its children, sampled ten times a second
  double flushes_per_job = 0;  // device flushes of the whole machine
  double other_cpu = 0;        // cores that neither server nor benchmark used: the machine's noise
  std::vector<std::pair<std::string, double>> more;  // figures of this benchmark only
  std::string failure;                               // empty: all answers were right
};

// The median run by jobs_per_s, with the lowest and highest rate added to `more`.
BenchResult median_of(std::vector<BenchResult> runs);

// The table row to stderr (with a heading before the first one), the JSON line to stdout.
void print_result(const BenchResult& result);

}  // namespace millrace
