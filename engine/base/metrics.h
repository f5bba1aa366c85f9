// Metrics: counters, gauges and histograms, and their Prometheus text.
//
// A family has a name, a help line and label names; a series is made at its first use and lives as
// long as the registry, so references to it may be kept. Each family holds at most kSeriesMax
// series: what comes beyond is counted under the label value "other", so that no client can grow
// it. Updates are atomic and may come from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

constexpr size_t kSeriesMax = 512;

class Counter {
 public:
  void add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  static constexpr size_t kBucketsMax = 20;
  explicit Histogram(const std::vector<double>* bounds) : bounds_(bounds) {}
  void observe(double value);
  uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  uint64_t bucket(size_t i) const { return buckets_[i].load(std::memory_order_relaxed); }
  const std::vector<double>& bounds() const { return *bounds_; }

 private:
  const std::vector<double>* bounds_;  // upper ends, ascending, of the family
  std::array<std::atomic<uint64_t>, kBucketsMax + 1>
      buckets_{};  // not cumulative; the last is above all bounds
  std::atomic<uint64_t> count_{0};
  std::atomic<double> sum_{0};
};

using Labels = std::vector<std::string>;  // values, in the order of the family's label names

// Powers of about two and a half from 100 microseconds to 60 seconds. [any]
const std::vector<double>& duration_buckets();

template <typename Series>
class Family {
 public:
  Family(std::string name, std::string help, std::vector<std::string> label_names,
         std::vector<double> bounds = {})
      : name_(std::move(name)),
        help_(std::move(help)),
        label_names_(std::move(label_names)),
        bounds_(std::move(bounds)) {}
  // The series with these label values; made when absent. The reference lives as long as the
  // family. [any]
  Series& with(const Labels& labels);
  void write(std::string* out) const;  // HELP, TYPE and one or more lines a series. [any]
  // Drops all series: for gauges that are filled anew at each scrape. Keeps no references valid.
  // [any]
  void clear();

 private:
  const std::string name_, help_;
  const std::vector<std::string> label_names_;
  const std::vector<double> bounds_;
  mutable std::mutex mutex_;  // of the map only; a series itself is atomic
  std::map<Labels, std::unique_ptr<Series>> series_;
};

// The engine's metrics (contract: names are stable). One instance per process; tests make their
// own.
struct Metrics {
  Family<Counter> jobs{"millrace_jobs_total",
                       "Jobs that ended, by pipeline and final state.",
                       {"pipeline", "state"}};
  Family<Gauge> jobs_live{"millrace_jobs_live",
                          "Unfinished resident jobs by pipeline and state.",
                          {"pipeline", "state"}};
  Family<Counter> steps{"millrace_steps_total",
                        "Finished step attempts by step type and outcome.",
                        {"step", "outcome"}};
  Family<Histogram> step_duration{"millrace_step_duration_seconds",
                                  "Time a step's body ran, by step type.",
                                  {"step"},
                                  duration_buckets()};
  Family<Gauge> queue_depth{
      "millrace_queue_depth", "Steps that could start but for a free worker.", {"lane"}};
  Family<Gauge> backlog{
      "millrace_backlog_seconds",
      "Queued work times mean time, divided by workers: what an autoscaler should follow.",
      {"lane"}};
  Family<Gauge> workers_busy{"millrace_workers_busy", "Workers that run a step now.", {"lane"}};
  Family<Gauge> workers{"millrace_workers", "Workers there are.", {"lane"}};
  Family<Gauge> workers_memory{"millrace_workers_memory_bytes",
                               "Memory that running steps were promised, by their images' sizes.",
                               {}};
  Family<Gauge> workers_memory_max{
      "millrace_workers_memory_bytes_max", "What running steps may be promised.", {}};
  Family<Gauge> workers_memory_waiting{
      "millrace_workers_memory_waiting", "Steps that wait until memory for them is free.", {}};
  Family<Histogram> commit_duration{"millrace_commit_duration_seconds",
                                    "Time of one group commit, sync included.",
                                    {},
                                    duration_buckets()};
  Family<Histogram> commit_batch{"millrace_commit_batch_size",
                                 "Records in one group commit.",
                                 {},
                                 {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}};
  Family<Counter> http_requests{
      "millrace_http_requests_total", "Answered requests.", {"route", "method", "status"}};
  Family<Histogram> http_duration{"millrace_http_request_duration_seconds",
                                  "From a request's first byte to its answer's last.",
                                  {"route"},
                                  duration_buckets()};
  Family<Gauge> resident_bytes{
      "millrace_resident_bytes", "Bytes of uploads and results in memory.", {}};
  Family<Counter> fenced_writes{
      "millrace_fenced_writes_total", "Records that another node had taken over.", {}};
  Family<Counter> heard_changes{
      "millrace_heard_changes_total",
      "Changes of other replicas' jobs that somebody waits for here (wait) and requests from other "
      "replicas (verb), by what told of them: stream or poll.",
      {"what", "by"}};
  Family<Counter> late_results{
      "millrace_late_results_total", "Results that came when nobody waited for them any more.", {}};
  Family<Gauge> build_info{"millrace_build_info", "1, with the version as a label.", {"version"}};

  // Everything above and process_*, as Prometheus text format 0.0.4. [any]
  std::string text() const;
};

}  // namespace millrace
