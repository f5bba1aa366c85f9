#include "engine/base/metrics.h"

#include <dirent.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "engine/base/check.h"
#include "engine/base/time.h"
#include "engine/base/value.h"

namespace millrace {
namespace {

void append_label_value(std::string_view value, std::string* out) {
  for (char c : value) {
    if (c == '\\') {
      *out += "\\\\";
    } else if (c == '"') {
      *out += "\\\"";
    } else if (c == '\n') {
      *out += "\\n";
    } else {
      *out += c;
    }
  }
}

std::string number(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::string out;
  append_json_number(value, &out);
  return out;
}

// NAME{a="x",b="y"} with `extra` (le="…") last.
void append_name(std::string_view name, const std::vector<std::string>& names, const Labels& labels,
                 std::string_view extra, std::string* out) {
  *out += name;
  if (names.empty() && extra.empty()) return;
  *out += '{';
  for (size_t i = 0; i < names.size(); i++) {
    if (i > 0) *out += ',';
    *out += names[i];
    *out += "=\"";
    append_label_value(labels[i], out);
    *out += '"';
  }
  if (!extra.empty()) {
    if (!names.empty()) *out += ',';
    *out += extra;
  }
  *out += '}';
}

const char* type_name(const Counter*) {
  return "counter";
}
const char* type_name(const Gauge*) {
  return "gauge";
}
const char* type_name(const Histogram*) {
  return "histogram";
}

std::unique_ptr<Counter> make(const Counter*, const std::vector<double>&) {
  return std::make_unique<Counter>();
}
std::unique_ptr<Gauge> make(const Gauge*, const std::vector<double>&) {
  return std::make_unique<Gauge>();
}
std::unique_ptr<Histogram> make(const Histogram*, const std::vector<double>& bounds) {
  CHECK(!bounds.empty() && bounds.size() <= Histogram::kBucketsMax);
  return std::make_unique<Histogram>(&bounds);
}

struct Target {
  std::string_view name;
  const std::vector<std::string>& label_names;
  const Labels& labels;
  std::string* out;
};

void write_series(const Counter& series, const Target& t) {
  append_name(t.name, t.label_names, t.labels, "", t.out);
  *t.out += fmt::format(" {}\n", series.value());
}

void write_series(const Gauge& series, const Target& t) {
  append_name(t.name, t.label_names, t.labels, "", t.out);
  *t.out += ' ' + number(series.value()) + '\n';
}

void write_series(const Histogram& series, const Target& t) {
  uint64_t below = 0;
  const std::string bucket = std::string(t.name) + "_bucket";
  for (size_t i = 0; i <= series.bounds().size(); i++) {
    below += series.bucket(i);
    const bool last = i == series.bounds().size();
    const std::string le =
        "le=\"" + (last ? std::string("+Inf") : number(series.bounds()[i])) + "\"";
    append_name(bucket, t.label_names, t.labels, le, t.out);
    *t.out += fmt::format(" {}\n", below);
  }
  append_name(std::string(t.name) + "_sum", t.label_names, t.labels, "", t.out);
  *t.out += ' ' + number(series.sum()) + '\n';
  append_name(std::string(t.name) + "_count", t.label_names, t.labels, "", t.out);
  *t.out += fmt::format(
      " {}\n", below);  // not count(): the buckets were read a moment earlier and must agree
}

void append_process(std::string_view name, std::string_view type, std::string_view help,
                    double value, std::string* out) {
  *out += fmt::format("# HELP {} {}\n# TYPE {} {}\n{} {}\n", name, help, name, type, name,
                      number(value));
}

int64_t open_descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  int64_t count = -3;  // ".", ".." and the descriptor that reads the directory
  while (readdir(directory) != nullptr) count++;
  closedir(directory);
  return count;
}

// Start time in seconds since the epoch: field 22 of /proc/self/stat, in ticks since boot.
double process_start_seconds() {
  std::FILE* file = std::fopen("/proc/self/stat", "r");
  if (file == nullptr) return 0;
  char text[1024];
  const size_t size = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  text[size] = '\0';
  const char* at = std::strrchr(text, ')');  // the name may hold anything
  unsigned long long ticks = 0;
  if (at == nullptr ||
      std::sscanf(
          at + 1,
          " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
          &ticks) != 1)
    return 0;
  timespec boot{}, wall{};
  clock_gettime(CLOCK_BOOTTIME, &boot);
  clock_gettime(CLOCK_REALTIME, &wall);
  const double boot_at = static_cast<double>(wall.tv_sec) - static_cast<double>(boot.tv_sec);
  return boot_at + static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void append_process_metrics(std::string* out) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  unsigned long long virtual_pages = 0, resident_pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%llu %llu", &virtual_pages, &resident_pages) != 2) resident_pages = 0;
    std::fclose(file);
  }
  const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
  append_process("process_cpu_seconds_total", "counter",
                 "User and system CPU time of the server process.",
                 seconds(usage.ru_utime) + seconds(usage.ru_stime), out);
  append_process("process_resident_memory_bytes", "gauge", "Resident memory of the server process.",
                 static_cast<double>(resident_pages) * page, out);
  append_process("process_virtual_memory_bytes", "gauge", "Virtual memory of the server process.",
                 static_cast<double>(virtual_pages) * page, out);
  append_process("process_open_fds", "gauge", "Open file descriptors.",
                 static_cast<double>(open_descriptors()), out);
  append_process("process_max_fds", "gauge", "Limit of open file descriptors.",
                 static_cast<double>(files.rlim_cur), out);
  append_process("process_start_time_seconds", "gauge", "Start time in seconds since the epoch.",
                 process_start_seconds(), out);
}

}  // namespace

void Histogram::observe(double value) {
  const size_t i = static_cast<size_t>(std::lower_bound(bounds_->begin(), bounds_->end(), value) -
                                       bounds_->begin());
  buckets_[i].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  double sum = sum_.load(std::memory_order_relaxed);
  while (!sum_.compare_exchange_weak(sum, sum + value, std::memory_order_relaxed)) {
  }
}

const std::vector<double>& duration_buckets() {
  static const std::vector<double> bounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                             0.01,   0.025,   0.05,   0.1,   0.25,   0.5,
                                             1,      2.5,     5,      10,    30,     60};
  return bounds;
}

template <typename Series>
Series& Family<Series>::with(const Labels& labels) {
  CHECK(labels.size() == label_names_.size());
  const std::lock_guard lock(mutex_);
  auto found = series_.find(labels);
  if (found == series_.end()) {
    const bool full = series_.size() >= kSeriesMax && !labels.empty();
    const Labels key = full ? Labels(labels.size(), "other") : labels;
    found = series_.find(key);
    if (found == series_.end()) {
      found = series_.emplace(key, make(static_cast<const Series*>(nullptr), bounds_)).first;
    }
  }
  return *found->second;
}

template <typename Series>
void Family<Series>::clear() {
  const std::lock_guard lock(mutex_);
  series_.clear();
}

template <typename Series>
void Family<Series>::write(std::string* out) const {
  const std::lock_guard lock(mutex_);
  *out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name_, help_, name_,
                      type_name(static_cast<const Series*>(nullptr)));
  for (const auto& [labels, series] : series_)
    write_series(*series, {name_, label_names_, labels, out});
}

template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;

std::string Metrics::text() const {
  std::string out;
  jobs.write(&out);
  jobs_live.write(&out);
  steps.write(&out);
  step_duration.write(&out);
  queue_depth.write(&out);
  backlog.write(&out);
  workers_busy.write(&out);
  workers.write(&out);
  workers_memory.write(&out);
  workers_memory_max.write(&out);
  workers_memory_waiting.write(&out);
  commit_duration.write(&out);
  commit_batch.write(&out);
  http_requests.write(&out);
  http_duration.write(&out);
  resident_bytes.write(&out);
  fenced_writes.write(&out);
  late_results.write(&out);
  build_info.write(&out);
  append_process_metrics(&out);
  return out;
}

}  // namespace millrace
