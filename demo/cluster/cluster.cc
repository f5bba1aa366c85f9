// The cluster demo: many photographs through three replicas that share one database and one bucket.
// One replica is killed in the middle; every job must end once all the same.
//
// Usage: millrace-cluster [--jobs N] [--database URL] [JPEG]... Exit code 0 only when all of it
// went as promised. What it started is gone afterwards, also after Ctrl-C.
#include "demo/cluster/cluster.h"

#include <fmt/format.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "cmake/tree.h"

namespace millrace {
namespace {

constexpr int kSubmitters = 6, kReplicas = 3;
constexpr int kLeaseSeconds = 3;
constexpr double kSubmitSeconds = 300, kTakeOverSeconds = 120, kNotifySeconds = 300;
constexpr int kPollMs = 10;

template <typename... Arguments>
void say(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  fmt::print("{}\n", fmt::format(format, std::forward<Arguments>(arguments)...));
  ::fflush(stdout);
}

// What the attempts behind the first ones come to, over all steps of a job.
uint64_t further_attempts(const std::string& job) {
  constexpr std::string_view kMark = R"("attempts":)";
  uint64_t sum = 0;
  for (size_t at = job.find(kMark); at != std::string::npos; at = job.find(kMark, at + 1)) {
    const int attempts = std::atoi(job.c_str() + at + kMark.size());
    if (attempts > 1) sum += static_cast<uint64_t>(attempts - 1);
  }
  return sum;
}

}  // namespace

ClusterDemo::ClusterDemo(ClusterSettings settings)
    : settings_(std::move(settings)), directory_(make_directory("cluster")) {
  for (const std::string& file : settings_.photos) photos_.emplace_back(file_bytes(file));
}

ClusterDemo::~ClusterDemo() {
  const std::lock_guard<std::mutex> lock(processes_);
  clean_up();
}

// The lock is kept to the end: nobody meets what is gone.
void ClusterDemo::clean_up_and_exit(int code) {
  const std::lock_guard<std::mutex> lock(processes_);
  clean_up();
  ::_exit(code);
}

void ClusterDemo::clean_up() {
  replicas_.clear();
  if (!settings_.database.empty() && !database_url_.empty()) drop_database(database_url_);
  bucket_.reset();
  database_.reset();
  remove_tree(directory_);
}

int ClusterDemo::run() {
  start_services();
  for (int i = 0; i < kReplicas; i++) start_replica(i);
  say("{} photographs go to all of them in turn", settings_.jobs);
  const double begun = now_seconds();
  std::vector<std::thread> submitters;
  for (int i = 0; i < kSubmitters; i++) submitters.emplace_back([this] { submit_all(); });
  const bool taken_over = kill_one();
  for (std::thread& submitter : submitters) submitter.join();
  say("{} jobs are accepted", jobs_.size());
  await_all();
  const bool told = receiver_.wait_for(static_cast<uint64_t>(settings_.jobs), kNotifySeconds);
  report_.seconds = now_seconds() - begun;
  return report() && taken_over && told ? 0 : 1;
}

void ClusterDemo::start_services() {
  const std::lock_guard<std::mutex> lock(processes_);
  bucket_ = std::make_unique<BucketServer>(directory_ + "/s3");
  if (settings_.database.empty()) {
    database_ = std::make_unique<DatabaseServer>(directory_ + "/database");
    database_url_ = database_->url("cluster");
  } else {
    database_url_ = new_database_of(settings_.database);
  }
  say("one database and one bucket, s3://millrace");
}

void ClusterDemo::start_replica(int number) {
  ServerSettings settings;
  settings.program = settings_.program;
  settings.data = fmt::format("{}/replica-{}", directory_, number + 1);
  settings.pipelines = in_source("/pipelines");
  settings.environment = BucketServer::environment();
  settings.extra = {
      "store=" + database_url_,
      "blobs=" + bucket_->url("blobs"),
      fmt::format("stores={{default: {{url: \"{}\"}}}}", bucket_->url("objects")),
      fmt::format("lease={}s", kLeaseSeconds),
      "webhook.allow=127.0.0.0/8",
      "workers.cpu=1",
  };
  const std::lock_guard<std::mutex> lock(processes_);
  replicas_.push_back(std::make_unique<ServerProcess>(settings));
  ports_.push_back(replicas_.back()->port());
  logs_.push_back(replicas_.back()->log());
  say("replica {}: http://127.0.0.1:{}", number + 1, ports_.back());
}

std::string ClusterDemo::photo(int number) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t which = static_cast<size_t>(number) % photos_.size();
  return photos_[which].number(static_cast<uint64_t>(number));
}

// As a careful client: the same key again, to another replica, until one says yes.
void ClusterDemo::submit_all() {
  const std::string path = fmt::format(
      "/v1/pipelines/grayscale/jobs?callback=http%3A%2F%2F127.0.0.1%3A{}%2Fhook", receiver_.port());
  for (int number = next_++; number < settings_.jobs; number = next_++) {
    const std::string headers =
        fmt::format("Content-Type: image/jpeg\r\nIdempotency-Key: photo-{}\r\n", number);
    const std::string body = photo(number);
    const double until = now_seconds() + kSubmitSeconds;
    for (int to = number % kReplicas; now_seconds() < until; to = (to + 1) % kReplicas) {
      const auto answer =
          http_request(ports_[static_cast<size_t>(to)], "POST", path, headers, body);
      if (!answer || answer->status >= 300) continue;
      const std::lock_guard<std::mutex> lock(mutex_);
      jobs_.push_back(json_text_of(answer->body, "id"));
      last_to_ = to;
      more_.notify_all();
      break;
    }
  }
}

// Just after it has accepted a job, so that there is something to take over.
bool ClusterDemo::kill_one() {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto enough = static_cast<size_t>(std::max(settings_.jobs / 3, 1));
    more_.wait_for(lock, std::chrono::duration<double>(kSubmitSeconds),
                   [&] { return jobs_.size() >= enough && last_to_ == 0; });
    say("replica 1 is killed (SIGKILL); {} jobs are accepted", jobs_.size());
  }
  const double killed = now_seconds();
  {
    const std::lock_guard<std::mutex> lock(processes_);
    replicas_[0]->kill();
  }
  const std::string mark = "ev=jobs.claimed";
  while (now_seconds() < killed + kTakeOverSeconds) {
    for (int i = 1; i < kReplicas; i++) {
      if (file_bytes(logs_[static_cast<size_t>(i)]).find(mark) == std::string::npos) continue;
      report_.take_over_seconds = now_seconds() - killed;
      say("replica {} goes on with its jobs, {:.1f} s later", i + 1, report_.take_over_seconds);
      return true;
    }
    ::poll(nullptr, 0, kPollMs);
  }
  say("NOBODY has taken its jobs over within {} s", kTakeOverSeconds);
  return false;
}

// Asked of a replica that lives, whoever took the job in.
void ClusterDemo::await_all() {
  for (const std::string& job : jobs_) {
    const auto answer =
        http_request(ports_.back(), "GET", "/v1/jobs/" + job, "Prefer: wait=300\r\n");
    if (!answer) continue;
    report_.states[json_text_of(answer->body, "state")]++;
    report_.further_attempts += further_attempts(answer->body);
  }
}

uint64_t ClusterDemo::count_stored() {
  uint64_t count = 0;
  std::string cursor;
  do {
    const auto page = http_request(
        ports_.back(), "GET",
        "/v1/jobs?limit=1000" + (cursor.empty() ? std::string() : "&cursor=" + cursor));
    if (!page || page->status != 200) return 0;
    for (size_t at = page->body.find(R"("definition":)"); at != std::string::npos;
         at = page->body.find(R"("definition":)", at + 1)) {
      count++;
    }
    cursor = json_text_of(page->body, "next");
  } while (!cursor.empty());
  return count;
}

uint64_t ClusterDemo::count_objects() {
  const std::lock_guard<std::mutex> lock(processes_);
  return bucket_->objects("objects");
}

bool ClusterDemo::report() {
  const std::set<std::string> distinct(jobs_.begin(), jobs_.end());
  uint64_t other_bodies = 0, deliveries = 0;
  for (const auto& [id, delivery] : receiver_.deliveries()) {
    other_bodies += delivery.other_bodies > 0 ? 1 : 0;
    deliveries += delivery.times;
  }
  const uint64_t stored = count_stored(), objects = count_objects();
  const auto wanted = static_cast<uint64_t>(settings_.jobs);
  bool good = true;
  const auto row = [&good](const char* what, uint64_t found, std::optional<uint64_t> must,
                           const std::string& note = "") {
    const bool right = !must || found == *must;
    good = good && right;
    say("  {:<34}{:>6}  {}", what, found, right ? note : fmt::format("WRONG: {} wanted", *must));
  };
  say("");
  row("jobs accepted", jobs_.size(), wanted);
  row("distinct ids", distinct.size(), wanted);
  row("jobs in the database", stored, wanted);
  row("succeeded", report_.states["succeeded"], wanted);
  row("objects stored", objects, 2 * wanted, "original and result of each");
  row("notifications, each under its key", receiver_.distinct(), wanted);
  row("repeated attempts", report_.further_attempts + deliveries - receiver_.distinct(),
      std::nullopt, fmt::format("{} of them notifications", deliveries - receiver_.distinct()));
  row("effect keys with two bodies", other_bodies, 0);
  say("  {:<34}{:>6.1f}  s after the kill; lease {} s", "taken over", report_.take_over_seconds,
      kLeaseSeconds);
  say("  {:<34}{:>6.1f}  s", "all together", report_.seconds);
  say("\n{}", good ? "every job ended once" : "NOT as promised");
  return good;
}

}  // namespace millrace
