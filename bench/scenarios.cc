#include "bench/scenarios.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <set>

#include "bench/harness/load.h"
#include "bench/harness/photos.h"
#include "bench/harness/process.h"
#include "bench/harness/receiver.h"
#include "bench/result.h"

namespace millrace {
namespace {

constexpr int kImageConnections = 16;
constexpr uint64_t kRecoveryJobs = 200;
constexpr double kRecoverySecondsMax = 120;
constexpr uint64_t kUnfinishedJobs = 100'000;
constexpr double kIdleSeconds = 10;

bool succeeded(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 200") &&
         answer.find(R"("state":"succeeded")") != std::string_view::npos;
}

bool accepted(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 202");
}

// A server on a directory of its own, removed with it.
struct Bed {
  explicit Bed(const BenchOptions& options, std::vector<std::string> extra = {})
      : directory(make_directory("bench")) {
    settings.program = options.program;
    settings.data = directory + "/data";
    settings.pipelines = directory + "/pipelines";
    std::filesystem::create_directory(settings.pipelines);
    for (const std::string& file : options.pipelines) {
      std::filesystem::copy(file, settings.pipelines);
    }
    settings.extra = std::move(extra);
    settings.extra.push_back("webhook.allow=127.0.0.0/8");
    server = std::make_unique<ServerProcess>(settings);
  }
  ~Bed() {
    server.reset();
    remove_tree(directory);
  }
  void restart() { server = std::make_unique<ServerProcess>(settings); }

  std::string directory;
  ServerSettings settings;
  std::unique_ptr<ServerProcess> server;
};

// Runs a load against a server and measures both.
BenchResult measure(const std::string& name, Load load, const ServerProcess& server,
                    uint64_t warm_up) {
  load.port = server.port();
  const uint64_t jobs = load.requests;
  load.requests = warm_up;
  if (warm_up > 0) run_load(load);
  load.requests = jobs;
  uint64_t peak = 0;
  load.every_tenth_second = [&] { peak = std::max(peak, tree_pss_bytes(server.pid())); };
  const double cpu = tree_cpu_seconds(server.pid()), machine = machine_cpu_seconds();
  const double own = tree_cpu_seconds(::getpid());
  const uint64_t flushes = device_flushes();
  const LoadResult loaded = run_load(load);
  BenchResult result;
  result.bench = name;
  result.jobs = jobs;
  result.concurrency = load.connections;
  result.jobs_per_s = static_cast<double>(loaded.answers) / loaded.seconds;
  result.p50_ms = loaded.percentile_ms(0.5);
  result.p99_ms = loaded.percentile_ms(0.99);
  result.cpu_s_per_job = (tree_cpu_seconds(server.pid()) - cpu) / static_cast<double>(jobs);
  result.flushes_per_job =
      static_cast<double>(device_flushes() - flushes) / static_cast<double>(jobs);
  // Our own tree holds the server, so what is left is everybody else.
  result.other_cpu =
      std::max(0.0, (machine_cpu_seconds() - machine) - (tree_cpu_seconds(::getpid()) - own)) /
      loaded.seconds;
  peak = std::max(peak, tree_pss_bytes(server.pid()));
  result.peak_rss_mb = static_cast<double>(peak) / 1e6;
  if (loaded.failures > 0)
    result.failure =
        fmt::format("{} answers were wrong; the first: {}", loaded.failures, loaded.first_failure);
  return result;
}

bool report(std::vector<BenchResult> runs) {
  const BenchResult result = median_of(std::move(runs));
  print_result(result);
  return result.failure.empty();
}

std::string image_request(const std::string& pipeline, const std::string& photo,
                          const Receiver& receiver, const std::string& headers,
                          const std::string& query) {
  const std::string callback = fmt::format("http%3A%2F%2F127.0.0.1%3A{}%2Fhook", receiver.port());
  return post_request(fmt::format("/v1/pipelines/{}/jobs?callback={}{}", pipeline, callback, query),
                      "Content-Type: image/jpeg\r\n" + headers, photo);
}

// How many jobs a state list shows, by paging through it.
uint64_t count_jobs(uint16_t port, const std::string& state) {
  uint64_t count = 0;
  std::string cursor;
  do {
    std::string request =
        fmt::format("GET /v1/jobs?state={}&limit=1000{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", state,
                    cursor.empty() ? "" : "&cursor=" + cursor);
    std::string answer;
    Load load;
    load.port = port;
    load.requests = 1;
    load.request = [&](uint64_t) -> const std::string& { return request; };
    load.good = [&](std::string_view text) {
      answer = text;
      return text.starts_with("HTTP/1.1 200");
    };
    if (run_load(load).failures > 0) return UINT64_MAX;
    for (size_t at = answer.find(R"("definition":)"); at != std::string::npos;
         at = answer.find(R"("definition":)", at + 1))
      count++;
    const size_t next = answer.rfind(R"("next":")");
    cursor.clear();
    if (next != std::string::npos)
      cursor = answer.substr(next + 8, answer.find('"', next + 8) - next - 8);
  } while (!cursor.empty());
  return count;
}

void pause_ms(int64_t ms) {
  const timespec pause{ms / 1000, ms % 1000 * 1'000'000};
  ::nanosleep(&pause, nullptr);
}

// Seconds until the receiver has seen `wanted` distinct notifications.
double wait_for_deliveries(const Receiver& receiver, uint64_t wanted) {
  const double start = now_seconds();
  (void)receiver.wait_for(wanted, kRecoverySecondsMax);
  return now_seconds() - start;
}

}  // namespace

bool bench_noop(const BenchOptions& options, const std::string& name, const std::string& pipeline,
                int connections, uint64_t jobs) {
  const std::string request =
      post_request(fmt::format("/v1/pipelines/{}/jobs", pipeline),
                   "Prefer: wait=60\r\nContent-Type: application/json\r\n", R"({"inputs":{}})");
  std::vector<BenchResult> runs;
  for (int run = 0; run < options.runs; run++) {
    Bed bed(options);
    Load load;
    load.connections = connections;
    load.requests = static_cast<uint64_t>(static_cast<double>(jobs) * options.scale);
    load.request = [&](uint64_t) -> const std::string& { return request; };
    load.good = succeeded;
    runs.push_back(measure(name, load, *bed.server, load.requests / 20));
    if (runs.back().flushes_per_job <= 0)
      runs.back().failure = "no device flush was seen: nothing was synced";
  }
  return report(std::move(runs));
}

bool bench_image(const BenchOptions& options, const std::string& name, const std::string& pipeline,
                 uint64_t jobs) {
  const std::string photo = file_bytes(options.photo);
  std::vector<BenchResult> runs;
  for (int run = 0; run < options.runs; run++) {
    Receiver receiver;
    Bed bed(options);
    Photos photos(photo);
    std::string request;
    uint64_t sent = 0;
    Load load;
    load.connections = kImageConnections;
    load.requests = static_cast<uint64_t>(static_cast<double>(jobs) * options.scale);
    load.request = [&](uint64_t) -> const std::string& {
      request = image_request(pipeline, photos.number(sent++), receiver, "Prefer: wait=60\r\n", "");
      return request;
    };
    load.good = succeeded;
    const uint64_t warm_up = 2 * kImageConnections;
    runs.push_back(measure(name, load, *bed.server, warm_up));
    if (receiver.distinct() != load.requests + warm_up && runs.back().failure.empty()) {
      runs.back().failure =
          fmt::format("{} notifications for {} jobs", receiver.distinct(), load.requests + warm_up);
    }
  }
  return report(std::move(runs));
}

// The same 200 jobs twice: undisturbed, and with kill -9 when all are accepted and few have ended.
bool bench_recovery(const BenchOptions& options) {
  const std::string photo = file_bytes(options.photo);
  std::vector<BenchResult> runs;
  for (int run = 0; run < options.runs; run++) {
    double undisturbed = 0;
    Load load;
    load.connections = 64;
    load.requests = kRecoveryJobs;
    load.good = accepted;
    Photos photos(photo);
    std::string request;
    const Receiver* told = nullptr;
    load.request = [&](uint64_t i) -> const std::string& {
      request = image_request("grayscale", photos.number(i), *told, "", "");
      return request;
    };
    {
      Receiver receiver;
      Bed bed(options);
      told = &receiver;
      load.port = bed.server->port();
      const double start = now_seconds();
      run_load(load);
      wait_for_deliveries(receiver, kRecoveryJobs);
      undisturbed = now_seconds() - start;
    }
    Receiver receiver;
    Bed bed(options);
    told = &receiver;
    load.port = bed.server->port();
    const LoadResult loaded = run_load(load);
    bed.server->kill();
    const uint64_t before = receiver.distinct();
    const double start = now_seconds();
    bed.restart();
    wait_for_deliveries(receiver, kRecoveryJobs);
    const double seconds = now_seconds() - start;
    BenchResult result;
    result.bench = "recovery";
    result.jobs = kRecoveryJobs;
    result.concurrency = load.connections;
    result.jobs_per_s = static_cast<double>(kRecoveryJobs - before) / seconds;
    uint64_t other_bodies = 0;
    for (const auto& [id, delivery] : receiver.deliveries()) other_bodies += delivery.other_bodies;
    // A job is done when its record says so, a moment after its notification.
    uint64_t done = 0;
    for (const double until = now_seconds() + 5; done < kRecoveryJobs && now_seconds() < until;
         pause_ms(10)) {
      done = count_jobs(bed.server->port(), "succeeded");
    }
    const double allowed = 1.5 * undisturbed + 0.2;
    result.more = {{"in_flight_at_kill", static_cast<double>(kRecoveryJobs - before)},
                   {"lost", static_cast<double>(kRecoveryJobs - std::min(done, kRecoveryJobs))},
                   {"delivered_again", static_cast<double>(receiver.count() - receiver.distinct())},
                   {"keys_with_two_bodies", static_cast<double>(other_bodies)},
                   {"seconds_to_ready", bed.server->seconds_to_ready()},
                   {"seconds_to_last_job", seconds},
                   {"seconds_undisturbed", undisturbed},
                   {"seconds_allowed", allowed}};
    if (done != kRecoveryJobs || other_bodies > 0 || loaded.failures > 0)
      result.failure = "jobs were lost or changed " + loaded.first_failure;
    runs.push_back(std::move(result));
  }
  return report(std::move(runs));
}

bool bench_start(const BenchOptions& options) {
  std::vector<BenchResult> runs;
  for (int run = 0; run < options.runs; run++) {
    // Jobs that a full house keeps waiting: one worker-less moment after another would be slow, so
    // one job may be resident.
    Bed bed(options, {"limits.jobs=1"});
    BenchResult result;
    result.bench = "start";
    result.more.emplace_back("seconds_to_ready_empty", bed.server->seconds_to_ready());
    const std::string request = post_request(
        "/v1/pipelines/noop4/jobs", "Content-Type: application/json\r\n", R"({"inputs":{}})");
    Load load;
    load.port = bed.server->port();
    load.connections = 64;
    load.requests = static_cast<uint64_t>(static_cast<double>(kUnfinishedJobs) * options.scale);
    load.request = [&](uint64_t) -> const std::string& { return request; };
    load.good = accepted;
    const LoadResult loaded = run_load(load);
    bed.server->kill();
    bed.settings.extra.push_back("limits.jobs=10000");
    bed.restart();
    result.jobs = load.requests;
    result.more.emplace_back("seconds_to_ready_full", bed.server->seconds_to_ready());
    if (loaded.failures > 0) result.failure = loaded.first_failure;
    runs.push_back(std::move(result));
  }
  return report(std::move(runs));
}

bool bench_idle(const BenchOptions& options) {
  Bed bed(options);
  pause_ms(3000);  // start-up work and its timers are over
  const pid_t pid = bed.server->pid();
  const double cpu = tree_cpu_seconds(pid);
  const uint64_t wakeups = tree_wakeups(pid);
  pause_ms(static_cast<int64_t>(kIdleSeconds * 1000));
  BenchResult result;
  result.bench = "idle";
  result.peak_rss_mb = static_cast<double>(tree_pss_bytes(pid)) / 1e6;
  result.more = {
      {"pss_mb", result.peak_rss_mb},
      {"cpu_percent", (tree_cpu_seconds(pid) - cpu) / kIdleSeconds * 100},
      {"wakeups_per_s", static_cast<double>(tree_wakeups(pid) - wakeups) / kIdleSeconds}};
  print_result(result);
  return true;
}

}  // namespace millrace
