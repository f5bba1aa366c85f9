// The scenarios of `./run bench`. Each starts its own server with an empty store on a real disk,
// and prints its results.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct BenchOptions {
  std::string program;                 // path of `millrace`
  std::vector<std::string> pipelines;  // the files that the scenarios run
  std::string photo;                   // 1920x1080 JPEG
  int runs = 3;                        // the median counts
  double scale = 1;                    // of the number of jobs
};

// Each returns false when an answer was wrong or a job was lost.
bool bench_noop(const BenchOptions& options, const std::string& name, const std::string& pipeline,
                int connections, uint64_t jobs);
bool bench_image(const BenchOptions& options, const std::string& name, const std::string& pipeline,
                 uint64_t jobs);
bool bench_recovery(const BenchOptions& options);
bool bench_start(const BenchOptions&
                     options);  // time to ready with an empty store and with many unfinished jobs
bool bench_idle(const BenchOptions& options);
bool bench_boundary(const BenchOptions& options);   // a call through a worker, without a server
bool bench_timeouts(const BenchOptions& options);   // how late the ends of attempts come under load
bool bench_simulator(const BenchOptions& options);  // the simulator's own rate
bool bench_replicas(const BenchOptions& options);   // several servers over one database
bool bench_limits(const BenchOptions& options);     // what the machine can do without us

}  // namespace millrace
