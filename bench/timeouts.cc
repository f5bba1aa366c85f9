// timeouts: how late an attempt's timeout, a step's deadline and a pipeline's timeout are kept, by
// steps that do not listen, while noop4 keeps the server busy.
//
// One client for each kind runs jobs of one step, one after the other. Lateness is what the job
// says: its end minus its start minus 100 ms. So that of an attempt includes the wait for its
// worker, which is not part of its timeout. Beside them a thread sleeps for a millisecond again and
// again: how much later than asked it wakes is the machine's own noise.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "bench/harness/client.h"
#include "bench/harness/load.h"
#include "bench/harness/process.h"
#include "bench/result.h"
#include "bench/scenarios.h"
#include "cmake/tree.h"

namespace millrace {
namespace {

constexpr double kLimitMs = 100;
constexpr double kLatenessMaxMs = 50;
constexpr uint64_t kLoadJobs = 200'000;

struct Kind {
  const char* name;
  const char* yaml;
  const char* code;  // of the job's error
};
const Kind kKinds[] = {
    {"attempt", "steps:\n  work: { use: overstay, timeout: 100ms }\n", "E161"},
    {"deadline", "steps:\n  work: { use: overstay, deadline: 100ms }\n", "E161"},
    {"pipeline", "timeout: 100ms\nsteps:\n  work: { use: overstay }\n", "E163"},
};

// Milliseconds since 1970 of a time as answers give it; negative: it is none.
double time_ms(const std::string& text) {
  std::tm tm{};
  int ms = 0;
  if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%d.%dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                  &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) != 7) {
    return -1;
  }
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  return static_cast<double>(timegm(&tm)) * 1000 + ms;
}

// Runs jobs of one kind until `over`.
struct Client {
  void run(uint16_t port, const Kind& kind, const std::atomic<bool>& over) {
    const std::string path = fmt::format("/v1/pipelines/late_{}/jobs", kind.name);
    while (!over && failure.empty()) {
      const auto answer = http_request(
          port, "POST", path, "Content-Type: application/json\r\nPrefer: wait=60\r\n", "{}");
      const std::string body = answer ? answer->body : "no answer";
      const double from = time_ms(json_text_of(body, "started_at"));
      const double to = time_ms(json_text_of(body, "finished_at"));
      if (from < 0 || to < 0 || body.find(fmt::format("\"{}\"", kind.code)) == std::string::npos) {
        failure = fmt::format("{}: {}", kind.name, body.substr(0, 400));
      } else {
        late_ms.push_back(to - from - kLimitMs);
      }
    }
  }
  std::vector<double> late_ms;
  std::string failure;
};

void sleep_and_see(const std::atomic<bool>& over, std::vector<double>* late_ms) {
  while (!over) {
    const double asked = now_seconds();
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
    late_ms->push_back((now_seconds() - asked) * 1000 - 1);
  }
}

// Adds p50, p99 and the maximum.
struct Figures {
  double p99 = 0, max = 0;
};
Figures add_figures(const std::string& name, std::vector<double> values, BenchResult* result) {
  if (values.empty()) {
    result->failure = name + " has no value";
    return {};
  }
  std::sort(values.begin(), values.end());
  const auto last = static_cast<double>(values.size() - 1);
  const auto at = [&](double share) { return values[static_cast<size_t>(share * last)]; };
  result->more.emplace_back(name + "_count", last + 1);
  result->more.emplace_back(name + "_late_ms_p50", at(0.5));
  result->more.emplace_back(name + "_late_ms_p99", at(0.99));
  result->more.emplace_back(name + "_late_ms_max", at(1));
  return {at(0.99), at(1)};
}

ServerSettings settings_of(const BenchOptions& options, const std::string& directory) {
  ServerSettings settings;
  settings.program = options.program;
  settings.data = directory + "/data";
  settings.pipelines = directory + "/pipelines";
  std::filesystem::create_directory(settings.pipelines);
  for (const std::string& file : options.pipelines) {
    if (file.ends_with("noop4.yaml")) std::filesystem::copy(file, settings.pipelines);
  }
  for (const Kind& kind : kKinds) {
    std::ofstream(fmt::format("{}/late_{}.yaml", settings.pipelines, kind.name))
        << "pipeline: late_" << kind.name << "\n"
        << kind.yaml;
  }
  const std::string steps = directory + "/steps";
  std::filesystem::create_directory(steps);
  std::filesystem::copy(in_build("/steps/noop.so"), steps);
  std::filesystem::copy(in_build("/bench/steps/bench.so"), steps);
  // One for each step that hangs, and two that work.
  settings.extra = {"steps=" + steps, "workers.cpu=5"};
  return settings;
}

BenchResult run_once(const BenchOptions& options, const std::string& directory) {
  ServerProcess server(settings_of(options, directory));
  std::atomic<bool> over{false};
  std::vector<double> noise;
  Client clients[std::size(kKinds)];
  std::vector<std::thread> threads;
  threads.emplace_back([&] { sleep_and_see(over, &noise); });
  for (size_t i = 0; i < std::size(kKinds); i++) {
    threads.emplace_back([&, i] { clients[i].run(server.port(), kKinds[i], over); });
  }
  const std::string request =
      post_request("/v1/pipelines/noop4/jobs",
                   "Prefer: wait=60\r\nContent-Type: application/json\r\n", R"({"inputs":{}})");
  Load load;
  load.port = server.port();
  load.connections = 64;
  load.requests = static_cast<uint64_t>(static_cast<double>(kLoadJobs) * options.scale);
  load.request = [&](uint64_t) -> const std::string& { return request; };
  load.good = [](std::string_view text) {
    return text.find(R"("state":"succeeded")") != std::string_view::npos;
  };
  const LoadResult loaded = run_load(load);
  over = true;
  for (std::thread& thread : threads) thread.join();
  BenchResult result;
  result.bench = "timeouts";
  result.jobs = load.requests;
  result.concurrency = load.connections;
  result.jobs_per_s = static_cast<double>(loaded.answers) / loaded.seconds;
  result.p50_ms = loaded.percentile_ms(0.5);
  result.p99_ms = loaded.percentile_ms(0.99);
  if (loaded.failures > 0) result.failure = loaded.first_failure;
  // With a few hundred values the p99 is all but the worst moment of the run, and so the machine's
  // worst one may lie in it.
  const double noise_max = add_figures("machine", std::move(noise), &result).max;
  for (size_t i = 0; i < std::size(kKinds); i++) {
    if (!clients[i].failure.empty()) result.failure = clients[i].failure;
    const double p99 = add_figures(kKinds[i].name, std::move(clients[i].late_ms), &result).p99;
    if (p99 > kLatenessMaxMs + noise_max && result.failure.empty()) {
      result.failure = fmt::format("{}: p99 is {} ms late", kKinds[i].name, p99);
    }
  }
  return result;
}

}  // namespace

bool bench_timeouts(const BenchOptions& options) {
  std::vector<BenchResult> runs;
  for (int run = 0; run < options.runs; run++) {
    const std::string directory = make_directory("timeouts");
    runs.push_back(run_once(options, directory));
    remove_tree(directory);
  }
  const BenchResult result = median_of(std::move(runs));
  print_result(result);
  return result.failure.empty();
}

}  // namespace millrace
