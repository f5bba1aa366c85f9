// Goal: the promise of the product, on the real binary. After kill -9 at random moments under load
// no acknowledged job is lost, every webhook key carries one body, and every result is the one that
// an undisturbed run gives. Method: 50 rounds of load and SIGKILL over one data directory. Every
// submission has an idempotency key and is repeated until it is acknowledged, as a careful client
// does. At the end the server runs in peace until all jobs have ended; then effects, records and
// results are compared with what an undisturbed server did with the same inputs.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "bench/harness/client.h"
#include "bench/harness/process.h"
#include "bench/harness/receiver.h"
#include "engine/base/digest.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int kRounds = 50;
constexpr int kClients = 4;
constexpr int kPhotos = 12;
constexpr double kSettleSeconds = 60;

struct Work {
  std::string key;
  int photo = 0;
  std::string job;  // set when acknowledged
};

class Campaign {
 public:
  Campaign() : directory_(make_directory("kill")), settings_(settings_in(directory_)) {
    for (int i = 0; i < kPhotos; i++) photos_.push_back(make_photo(i));
  }
  ~Campaign() { remove_tree(directory_); }

  // What an undisturbed server makes of each photo.
  void learn_results() {
    const std::string calm = make_directory("calm");
    {
      ServerProcess server(settings_in(calm));
      for (const std::string& photo : photos_) {
        const auto answer = http_request(server.port(), "POST", "/v1/pipelines/grayscale/jobs",
                                         "Content-Type: image/jpeg\r\nPrefer: wait=30\r\n", photo);
        ASSERT_TRUE(answer && answer->status == 200) << (answer ? answer->body : "no answer");
        const auto result =
            http_request(server.port(), "GET",
                         "/v1/jobs/" + json_text_of(answer->body, "id") + "/outputs/image");
        ASSERT_TRUE(result && result->status == 200);
        results_.push_back(sha256(result->body));
      }
    }
    remove_tree(calm);
  }

  void run_round(std::mt19937* random) {
    ServerProcess server(settings_);
    std::atomic<bool> stop{false};
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; i++) {
      clients.emplace_back([this, &stop, port = server.port(), seed = (*random)()] {
        submit_until(stop, port, seed);
      });
    }
    // The moment of death is what is random here; nothing waits for it.
    const long ms = static_cast<long>((*random)() % 300);
    const timespec life{0, ms * 1'000'000};
    ::nanosleep(&life, nullptr);
    server.kill();
    stop = true;
    for (std::thread& client : clients) client.join();
  }

  void settle_and_compare() {
    ServerProcess server(settings_);
    for (Work& work : unacknowledged_) {
      ASSERT_TRUE(submit(server.port(), &work)) << "a resubmission in peace must be answered";
      acknowledged_.push_back(work);
    }
    const double start = now_seconds();
    std::set<std::string> jobs;
    for (const Work& work : acknowledged_) {
      ASSERT_TRUE(jobs.insert(work.job).second) << "two keys share job " << work.job;
      const auto answer =
          http_request(server.port(), "GET", "/v1/jobs/" + work.job, "Prefer: wait=60\r\n");
      ASSERT_TRUE(answer && answer->status == 200)
          << "job " << work.job << " was acknowledged and is lost";
      ASSERT_EQ(json_text_of(answer->body, "state"), "succeeded") << answer->body;
      const auto result =
          http_request(server.port(), "GET", "/v1/jobs/" + work.job + "/outputs/image");
      ASSERT_TRUE(result && result->status == 200);
      EXPECT_EQ(sha256(result->body), results_[static_cast<size_t>(work.photo)])
          << "result of " << work.job;
    }
    EXPECT_LT(now_seconds() - start, kSettleSeconds);
    check_effects(jobs);
    EXPECT_EQ(server.stop(), 0);
  }

 private:
  void submit_until(const std::atomic<bool>& stop, uint16_t port, uint32_t seed) {
    std::mt19937 random(seed);
    while (!stop) {
      Work work;
      {
        const std::lock_guard lock(mutex_);
        if (!unacknowledged_.empty() && random() % 2 == 0) {
          work = unacknowledged_.back();
          unacknowledged_.pop_back();
        } else {
          work.key = fmt::format("work-{}", next_++);
          work.photo = static_cast<int>(random() % kPhotos);
        }
      }
      const bool acknowledged = submit(port, &work);
      const std::lock_guard lock(mutex_);
      (acknowledged ? acknowledged_ : unacknowledged_).push_back(work);
    }
  }

  bool submit(uint16_t port, Work* work) {
    const auto answer = http_request(
        port, "POST", "/v1/pipelines/grayscale/jobs?callback=" + url_encoded(receiver_.url()),
        "Content-Type: image/jpeg\r\nIdempotency-Key: " + work->key + "\r\n",
        photos_[static_cast<size_t>(work->photo)]);
    if (!answer || (answer->status != 202 && answer->status != 200)) return false;
    work->job = json_text_of(answer->body, "id");
    return !work->job.empty();
  }

  void check_effects(const std::set<std::string>& jobs) {
    std::set<std::string> told;
    uint64_t again = 0;
    for (const auto& [id, delivery] : receiver_.deliveries()) {
      EXPECT_EQ(delivery.other_bodies, 0u) << "key " << id << " carried two bodies";
      again += delivery.times - 1;
      const std::string job = json_text_of(delivery.body, "job");
      EXPECT_TRUE(told.insert(job).second) << "job " << job << " has two keys";
      EXPECT_TRUE(jobs.contains(job)) << "a notification of a job nobody was told of: " << job;
    }
    EXPECT_EQ(told.size(), jobs.size()) << "a job ended without its notification";
    std::printf("kills %d  jobs %zu  notifications %zu  repeated with the same key %llu  lost 0\n",
                kRounds, jobs.size(), told.size(), static_cast<unsigned long long>(again));
  }

  const std::string directory_;
  const ServerSettings settings_;
  Receiver receiver_;
  std::vector<std::string> photos_;
  std::vector<Digest> results_;
  std::mutex mutex_;
  std::vector<Work> acknowledged_, unacknowledged_;
  int next_ = 0;
};

TEST(Kill, NoAcknowledgedJobIsLostAndNoKeyCarriesTwoBodies) {
  Campaign campaign;
  ASSERT_NO_FATAL_FAILURE(campaign.learn_results());
  const char* given = std::getenv("MILLRACE_SEED");
  const uint32_t seed =
      given ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device()();
  SCOPED_TRACE(fmt::format("MILLRACE_SEED={}", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < kRounds; round++) campaign.run_round(&random);
  campaign.settle_and_compare();
}

}  // namespace
}  // namespace millrace
