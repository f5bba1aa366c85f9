// replicas: several servers over one database.
//
// replicas_1, _2, _4: noop4 with 64 in flight for each of them. CPU per job is that of the
// replicas; the database's stands beside it. A shorter second load goes through a counter of
// messages, which says how many commands a job costs the database.
// replicas_idle: what the database is asked by one that has nothing to do.
// replicas_take_over: from a kill -9 until the last job of the killed one has ended elsewhere.
// replicas_wait: how much later who waits at another replica hears of an end than who waits at the
// job's own, and how soon a job that is cancelled at another replica has ended.
// replicas_wait_polled: the same over a single server, which has no change streams.
//
// The database is SecantusDB: what it costs itself says nothing about mongod.
#include <fmt/core.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <thread>

#include "bench/harness/client.h"
#include "bench/harness/load.h"
#include "bench/harness/message_counter.h"
#include "bench/harness/photos.h"
#include "bench/harness/process.h"
#include "bench/harness/receiver.h"
#include "bench/harness/services.h"
#include "bench/result.h"
#include "bench/scenarios.h"
#include "cmake/tree.h"

namespace millrace {
namespace {

constexpr int kConnections = 64;
constexpr uint64_t kJobs = 20'000, kCountedJobs = 4'000;
constexpr double kIdleSeconds = 20, kSettleSeconds = 5;
constexpr int kTakeOverJobs = 40, kWaits = 30, kCancels = 20;
constexpr double kLastingSeconds = 4;  // until a replica listens for verbs on the job
constexpr int64_t kLeaseSeconds = 10;
constexpr double kCpuGrowthMax = 1.2, kTripsPerJobMax = 3, kIdleOpsMax = 1, kWaitMsMax = 200,
                 kTakeOverMarginSeconds = 5;

void pause_seconds(double seconds) {
  const timespec pause{
      static_cast<time_t>(seconds),
      static_cast<long>((seconds - static_cast<double>(static_cast<time_t>(seconds))) * 1e9)};
  ::nanosleep(&pause, nullptr);
}

// Replicas over a database of their own.
struct Cluster {
  Cluster(const BenchOptions& options, int count, bool counted,
          DatabaseServer::Kind kind = DatabaseServer::Kind::kReplicaSet)
      : directory(make_directory("replicas")) {
    database = std::make_unique<DatabaseServer>(directory + "/database", kind);
    if (counted) counter = std::make_unique<MessageCounter>(database->port());
    const std::string pipelines = directory + "/pipelines", steps = directory + "/steps";
    std::filesystem::create_directory(pipelines);
    for (const std::string& file : options.pipelines) std::filesystem::copy(file, pipelines);
    std::ofstream(pipelines + "/lasting.yaml")
        << "pipeline: lasting\nsteps:\n  work: { use: overstay, timeout: 400ms }\n";
    std::filesystem::copy(in_build("/steps"), steps);
    std::filesystem::copy(in_build("/bench/steps/bench.so"), steps);
    for (int i = 0; i < count; i++) {
      ServerSettings settings;
      settings.program = options.program;
      settings.data = fmt::format("{}/replica-{}", directory, i + 1);
      settings.pipelines = pipelines;
      settings.extra = {
          fmt::format("store=mongodb://127.0.0.1:{}/bench",
                      counter ? counter->port() : database->port()),
          "blobs=file:" + directory + "/blobs",
          "stores={default: {url: \"file:" + directory + "/objects\"}}",
          "steps=" + steps,
          fmt::format("lease={}s", kLeaseSeconds),
          "webhook.allow=127.0.0.0/8",
      };
      replicas.push_back(std::make_unique<ServerProcess>(settings));
      ports.push_back(replicas.back()->port());
    }
  }
  ~Cluster() {
    replicas.clear();
    counter.reset();
    database.reset();
    remove_tree(directory);
  }
  double cpu() const {
    double sum = 0;
    for (const auto& replica : replicas) sum += tree_cpu_seconds(replica->pid());
    return sum;
  }
  uint64_t pss() const {
    uint64_t sum = 0;
    for (const auto& replica : replicas) sum += tree_pss_bytes(replica->pid());
    return sum;
  }

  std::string directory;
  std::unique_ptr<DatabaseServer> database;
  std::unique_ptr<MessageCounter> counter;
  std::vector<std::unique_ptr<ServerProcess>> replicas;
  std::vector<uint16_t> ports;
};

LoadResult run_noop4(const Cluster& cluster, uint64_t jobs) {
  const std::string request =
      post_request("/v1/pipelines/noop4/jobs",
                   "Prefer: wait=60\r\nContent-Type: application/json\r\n", R"({"inputs":{}})");
  Load load;
  load.ports = cluster.ports;
  load.connections = kConnections * static_cast<int>(cluster.ports.size());
  load.requests = jobs;
  load.request = [&](uint64_t) -> const std::string& { return request; };
  load.good = [](std::string_view answer) {
    return answer.starts_with("HTTP/1.1 200") &&
           answer.find(R"("state":"succeeded")") != std::string_view::npos;
  };
  return run_load(load);
}

using Counts = std::map<std::string, uint64_t>;

Counts difference(const Counts& later, const Counts& earlier) {
  Counts out;
  for (const auto& [name, count] : later) {
    const auto found = earlier.find(name);
    out[name] = count - (found == earlier.end() ? 0 : found->second);
  }
  return out;
}

uint64_t sum_of(const Counts& counts, const std::vector<std::string>& names = {}) {
  uint64_t sum = 0;
  for (const auto& [name, count] : counts) {
    if (names.empty() || std::find(names.begin(), names.end(), name) != names.end()) sum += count;
  }
  return sum;
}

// How often each job makes the database be asked, by a load of its own.
void add_round_trips(const BenchOptions& options, int count, uint64_t jobs, BenchResult* result) {
  const Cluster cluster(options, count, true);
  run_noop4(cluster, jobs / 10);
  const Counts before = cluster.counter->counts();
  const LoadResult loaded = run_noop4(cluster, jobs);
  const Counts asked = difference(cluster.counter->counts(), before);
  if (loaded.failures > 0) result->failure = loaded.first_failure;
  const auto all = static_cast<double>(jobs);
  const double writes = static_cast<double>(sum_of(asked, {"insert jobs", "update jobs"})) / all;
  result->more.emplace_back("bulk_writes_per_job", writes);
  result->more.emplace_back("commands_per_job", static_cast<double>(sum_of(asked)) / all);
  if (writes > kTripsPerJobMax) {
    result->failure = fmt::format("{} bulk writes per job, {} wanted", writes, kTripsPerJobMax);
  }
}

BenchResult measure_load(const BenchOptions& options, int count) {
  const auto jobs = static_cast<uint64_t>(static_cast<double>(kJobs) * options.scale);
  BenchResult result;
  result.bench = fmt::format("replicas_{}", count);
  result.jobs = jobs;
  result.concurrency = kConnections * count;
  {
    const Cluster cluster(options, count, false);
    run_noop4(cluster, jobs / 10);
    const double cpu = cluster.cpu(), database = tree_cpu_seconds(cluster.database->pid());
    const double machine = machine_cpu_seconds(), own = tree_cpu_seconds(::getpid());
    const LoadResult loaded = run_noop4(cluster, jobs);
    result.jobs_per_s = static_cast<double>(loaded.answers) / loaded.seconds;
    result.p50_ms = loaded.percentile_ms(0.5);
    result.p99_ms = loaded.percentile_ms(0.99);
    const auto all = static_cast<double>(jobs);
    result.cpu_s_per_job = (cluster.cpu() - cpu) / all;
    const double theirs = (tree_cpu_seconds(cluster.database->pid()) - database) / all;
    result.more.emplace_back("database_cpu_us_per_job", theirs * 1e6);
    result.more.emplace_back("database_share", theirs / (theirs + result.cpu_s_per_job));
    result.other_cpu =
        std::max(0.0, (machine_cpu_seconds() - machine) - (tree_cpu_seconds(::getpid()) - own)) /
        loaded.seconds;
    result.peak_rss_mb = static_cast<double>(cluster.pss()) / 1e6;
    if (loaded.failures > 0) result.failure = loaded.first_failure;
  }
  add_round_trips(options, count,
                  static_cast<uint64_t>(static_cast<double>(kCountedJobs) * options.scale),
                  &result);
  return result;
}

bool bench_loads(const BenchOptions& options) {
  bool good = true;
  double alone = 0;
  for (const int count : {1, 2, 4}) {
    std::vector<BenchResult> runs;
    for (int run = 0; run < options.runs; run++) runs.push_back(measure_load(options, count));
    BenchResult result = median_of(std::move(runs));
    if (count == 1) alone = result.cpu_s_per_job;
    const double growth = result.cpu_s_per_job / alone;
    result.more.emplace_back("cpu_to_that_of_one", growth);
    if (growth > kCpuGrowthMax && result.failure.empty()) {
      result.failure = fmt::format("CPU per job is {:.2f} times that of one replica", growth);
    }
    print_result(result);
    good = good && result.failure.empty();
  }
  return good;
}

bool bench_idle_replicas(const BenchOptions& options) {
  constexpr int kReplicas = 2;
  const Cluster cluster(options, kReplicas, true);
  run_noop4(cluster, 200);
  pause_seconds(kSettleSeconds);
  const Counts before = cluster.counter->counts();
  const double cpu = cluster.cpu();
  pause_seconds(kIdleSeconds);
  const Counts asked = difference(cluster.counter->counts(), before);
  BenchResult result;
  result.bench = "replicas_idle";
  const auto rate = [](uint64_t count) {
    return static_cast<double>(count) / kIdleSeconds / kReplicas;
  };
  const uint64_t greetings = sum_of(asked, {"hello", "isMaster", "ismaster", "greeting"});
  const double operations = rate(sum_of(asked) - greetings);
  result.more = {{"operations_per_s", operations},
                 {"driver_greetings_per_s", rate(greetings)},
                 {"cpu_percent", (cluster.cpu() - cpu) / kIdleSeconds / kReplicas * 100}};
  for (const auto& [name, count] : asked) {
    if (count == 0) continue;
    std::string plain = name;
    std::replace(plain.begin(), plain.end(), ' ', '_');
    result.more.emplace_back(plain + "_per_s", rate(count));
  }
  if (operations > kIdleOpsMax) result.failure = fmt::format("{} operations/s", operations);
  print_result(result);
  return result.failure.empty();
}

bool bench_take_over(const BenchOptions& options) {
  Photos photos(file_bytes(options.photo));
  Receiver receiver;
  const Cluster cluster(options, 2, false);
  for (uint64_t i = 0; i < kTakeOverJobs; i++) {
    http_request(cluster.ports[0], "POST",
                 fmt::format("/v1/pipelines/grayscale/jobs?callback=http%3A%2F%2F127.0.0.1%3A{}"
                             "%2Fhook",
                             receiver.port()),
                 "Content-Type: image/jpeg\r\n", photos.number(i));
  }
  const uint64_t told = receiver.distinct();
  cluster.replicas[0]->kill();
  const double killed = now_seconds();
  const std::string& log = cluster.replicas[1]->log();
  while (file_bytes(log).find("ev=jobs.claimed") == std::string::npos &&
         now_seconds() < killed + 120) {
    pause_seconds(0.01);
  }
  BenchResult result;
  result.bench = "replicas_take_over";
  result.jobs = kTakeOverJobs;
  const double claimed = now_seconds() - killed;
  const bool all = receiver.wait_for(kTakeOverJobs, 120);
  uint64_t other_bodies = 0;
  for (const auto& [id, delivery] : receiver.deliveries()) other_bodies += delivery.other_bodies;
  result.more = {{"lease_s", static_cast<double>(kLeaseSeconds)},
                 {"unfinished_at_kill", static_cast<double>(kTakeOverJobs - told)},
                 {"seconds_to_claim", claimed},
                 {"seconds_to_last_job", now_seconds() - killed},
                 {"delivered_again", static_cast<double>(receiver.count() - receiver.distinct())},
                 {"keys_with_two_bodies", static_cast<double>(other_bodies)}};
  if (!all || other_bodies > 0) result.failure = "jobs were lost or changed";
  if (claimed > static_cast<double>(kLeaseSeconds) + kTakeOverMarginSeconds) {
    result.failure = fmt::format("taken over after {:.1f} s", claimed);
  }
  print_result(result);
  return result.failure.empty();
}

// Milliseconds from the answer to a cancellation at the second replica to the end of the job, as
// who waits at the first one hears of it.
std::vector<double> cancel_elsewhere(const BenchOptions& options, const Cluster& cluster) {
  Photos photos(file_bytes(options.photo));
  std::vector<std::string> paths;
  for (int i = 0; i < kCancels; i++) {
    // Nobody listens on port 1: the notification is tried for minutes.
    const auto accepted =
        http_request(cluster.ports[0], "POST",
                     "/v1/pipelines/grayscale/jobs?callback=http%3A%2F%2F127.0.0.1%3A1%2F",
                     "Content-Type: image/jpeg\r\n", photos.number(static_cast<uint64_t>(i)));
    paths.push_back("/v1/jobs/" + (accepted ? json_text_of(accepted->body, "id") : "none"));
  }
  pause_seconds(kLastingSeconds);
  std::vector<double> took_ms;
  for (const std::string& path : paths) {
    double ended = 0;
    std::thread waiter([&] {
      const auto end = http_request(cluster.ports[0], "GET", path, "Prefer: wait=60\r\n");
      if (end && json_text_of(end->body, "state") == "cancelled") ended = now_seconds();
    });
    http_request(cluster.ports[1], "POST", path + "/cancel", "", "");
    const double told = now_seconds();
    waiter.join();
    if (ended == 0) return {};
    took_ms.push_back((ended - told) * 1000);
  }
  std::sort(took_ms.begin(), took_ms.end());
  return took_ms;
}

bool bench_foreign_waits(const BenchOptions& options, DatabaseServer::Kind kind) {
  const bool polled = kind == DatabaseServer::Kind::kSingle;
  const Cluster cluster(options, 2, false, kind);
  std::vector<double> late_ms;
  BenchResult result;
  result.bench = polled ? "replicas_wait_polled" : "replicas_wait";
  result.jobs = kWaits;
  for (int i = 0; i < kWaits; i++) {
    const auto accepted = http_request(cluster.ports[0], "POST", "/v1/pipelines/lasting/jobs",
                                       "Content-Type: application/json\r\n", "{}");
    const std::string path =
        "/v1/jobs/" + (accepted ? json_text_of(accepted->body, "id") : std::string("none"));
    double ended[2] = {0, 0};
    std::vector<std::thread> waiters;
    for (size_t at = 0; at < 2; at++) {
      waiters.emplace_back([&, at] {
        const auto end = http_request(cluster.ports[at], "GET", path, "Prefer: wait=60\r\n");
        ended[at] = now_seconds();
        if (!end || end->status != 200 || json_text_of(end->body, "state") != "failed") {
          ended[at] = 0;
        }
      });
    }
    for (std::thread& waiter : waiters) waiter.join();
    if (ended[0] == 0 || ended[1] == 0) {
      result.failure = "a wait was not answered with the end";
      break;
    }
    late_ms.push_back((ended[1] - ended[0]) * 1000);
  }
  std::sort(late_ms.begin(), late_ms.end());
  if (!late_ms.empty()) {
    result.more = {{"later_ms_p50", late_ms[late_ms.size() / 2]}, {"later_ms_max", late_ms.back()}};
    if (late_ms[late_ms.size() / 2] > kWaitMsMax) {
      result.failure = fmt::format("who waits elsewhere hears {:.0f} ms later", late_ms.back());
    }
  }
  const std::vector<double> cancel_ms = cancel_elsewhere(options, cluster);
  if (cancel_ms.empty()) {
    result.failure = "a job was not cancelled";
  } else {
    const double usual = cancel_ms[cancel_ms.size() / 2];
    result.more.emplace_back("cancel_ms_p50", usual);
    result.more.emplace_back("cancel_ms_max", cancel_ms.back());
    if (!polled && usual > kWaitMsMax) {
      result.failure = fmt::format("a cancellation elsewhere takes {:.0f} ms", usual);
    }
  }
  print_result(result);
  return result.failure.empty();
}

}  // namespace

bool bench_replicas(const BenchOptions& options) {
  if (!DatabaseServer::installed()) {
    fmt::print(stderr, "replicas: left out, no database is installed below .cache\n");
    return true;
  }
  const bool loads = bench_loads(options), idle = bench_idle_replicas(options);
  const bool take_over = bench_take_over(options);
  const bool waits = bench_foreign_waits(options, DatabaseServer::Kind::kReplicaSet);
  const bool polled = bench_foreign_waits(options, DatabaseServer::Kind::kSingle);
  return loads && idle && take_over && waits && polled;
}

}  // namespace millrace
