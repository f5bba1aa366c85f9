// The cluster demo: many photographs through three replicas that share one database and one
// directory of blobs. One replica is killed in the middle; every job must end once all the same.
//
// Usage: millrace-cluster DATABASE_URL. Exit code 0 only when all of it went as promised.
#include <fmt/format.h>
#include <stdio.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "bench/harness/client.h"
#include "bench/harness/process.h"
#include "bench/harness/receiver.h"

namespace millrace {
namespace {

constexpr int kJobs = 500, kSubmitters = 6, kReplicas = 3;
constexpr int kKillAfter = 150;  // accepted jobs
constexpr int kTriesSeconds = 120, kNotifySeconds = 120;

template <typename... Arguments>
void say(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  fmt::print("{}\n", fmt::format(format, std::forward<Arguments>(arguments)...));
  ::fflush(stdout);
}

class ClusterDemo {
 public:
  explicit ClusterDemo(std::string database) : database_(std::move(database)) {}

  int run(const std::string& program) {
    std::ifstream file(std::string(MILLRACE_SOURCE) + "/demo/photo.jpg", std::ios::binary);
    photo_.assign(std::istreambuf_iterator<char>(file), {});
    for (int i = 0; i < kReplicas; i++) start(program, i);
    say("{} photographs of {} KiB go to all of them in turn", kJobs, photo_.size() / 1024);
    const double begun = now_seconds();
    std::vector<std::thread> submitters;
    for (int i = 0; i < kSubmitters; i++) submitters.emplace_back([this] { submit_all(); });
    {
      std::unique_lock<std::mutex> lock(mutex_);
      more_.wait_for(lock, std::chrono::seconds(kTriesSeconds),
                     [this] { return jobs_.size() >= kKillAfter; });
      say("replica 1 is killed (SIGKILL), {} jobs are accepted", jobs_.size());
    }
    replicas_[0]->kill();
    for (std::thread& submitter : submitters) submitter.join();
    say("{} jobs are accepted", jobs_.size());
    const bool ended = await_all();
    say("all have ended after {:.1f} s", now_seconds() - begun);
    const bool told = receiver_.wait_for(kJobs, kNotifySeconds);
    return report(ended && told) ? 0 : 1;
  }
  ~ClusterDemo() {
    replicas_.clear();
    remove_tree(directory_);
  }

 private:
  void start(const std::string& program, int number) {
    ServerSettings settings;
    settings.program = program;
    settings.data = fmt::format("{}/{}", directory_, number + 1);
    settings.pipelines = std::string(MILLRACE_SOURCE) + "/pipelines";
    settings.extra = {"store=" + database_,
                      "blobs=file:" + directory_ + "/blobs",
                      fmt::format("stores={{default: {{url: \"file:{}/objects\"}}}}", directory_),
                      "lease=3s",
                      "webhook.allow=127.0.0.0/8",
                      "workers.cpu=1"};
    replicas_.push_back(std::make_unique<ServerProcess>(settings));
    say("replica {}: http://127.0.0.1:{}", number + 1, replicas_.back()->port());
  }

  // As a careful client: the same key again, to another replica, until one says yes.
  void submit_all() {
    for (int number = next_++; number < kJobs; number = next_++) {
      const std::string headers =
          fmt::format("Content-Type: image/jpeg\r\nIdempotency-Key: photo-{}\r\n", number);
      const std::string path =
          fmt::format("/v1/pipelines/grayscale/jobs?callback=http%3A%2F%2F127.0.0.1%3A{}%2Fhook",
                      receiver_.port());
      const double until = now_seconds() + kTriesSeconds;
      for (int replica = number; now_seconds() < until; replica++) {
        const auto answer =
            http_request(replicas_[static_cast<size_t>(replica % kReplicas)]->port(), "POST", path,
                         headers, photo_);
        if (!answer || answer->status >= 300) continue;
        const std::lock_guard<std::mutex> lock(mutex_);
        jobs_.push_back(json_text_of(answer->body, "id"));
        more_.notify_all();
        break;
      }
    }
  }

  // Asked of a replica that lives, whoever took the job in.
  bool await_all() {
    for (const std::string& job : jobs_) {
      const auto answer =
          http_request(replicas_.back()->port(), "GET", "/v1/jobs/" + job, "Prefer: wait=120\r\n");
      if (answer) states_[json_text_of(answer->body, "state")]++;
    }
    return states_["succeeded"] == kJobs;
  }

  bool report(bool good) {
    const std::set<std::string> distinct(jobs_.begin(), jobs_.end());
    for (const auto& [state, count] : states_) {
      if (count > 0) say("  {:>4} {}", count, state);
    }
    uint64_t other_bodies = 0, repeated = 0;
    for (const auto& [id, delivery] : receiver_.deliveries()) {
      other_bodies += delivery.other_bodies;
      repeated += delivery.times - 1;
    }
    say("  {:>4} distinct jobs, {} distinct webhook ids, {} deliveries repeated under their id, "
        "{} with other bytes",
        distinct.size(), receiver_.distinct(), repeated, other_bodies);
    good = good && distinct.size() == kJobs && receiver_.distinct() == kJobs && other_bodies == 0;
    say("{}", good ? "every job ended once" : "NOT as promised");
    return good;
  }

  const std::string database_;
  const std::string directory_ = make_directory("cluster");
  Receiver receiver_;
  std::string photo_;
  std::vector<std::unique_ptr<ServerProcess>> replicas_;
  std::atomic<int> next_{0};
  std::mutex mutex_;  // of jobs_ while submitters run
  std::condition_variable more_;
  std::vector<std::string> jobs_;
  std::map<std::string, int> states_;
};

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr,
               "usage: millrace-cluster DATABASE_URL (it is ./run cluster that calls it)\n");
    return 2;
  }
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  return millrace::ClusterDemo(argv[1]).run(self + "/millrace");
}
