#include "tests/process/campaign.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <thread>

#include "bench/harness/client.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int kClients = 4;
constexpr int kPhotos = 12;
constexpr long kRoundMs = 300;
constexpr int kPointsMax = 400;  // a round of this length has some thousand of them
constexpr double kSettleSeconds = 600;

bool under_shim(Death death) {
  return death == Death::kMarkedPoint || death == Death::kPowerCut;
}

void sleep_ms(long ms) {
  const timespec life{ms / 1000, ms % 1000 * 1'000'000};
  ::nanosleep(&life, nullptr);
}

}  // namespace

Campaign::Campaign(const std::string& name, uint32_t seed)
    : directory_(make_directory(name)), settings_(settings_in(directory_)), random_(seed) {
  for (int i = 0; i < kPhotos; i++) photos_.push_back(make_photo(i));
}

Campaign::~Campaign() {
  power_.reset();
  remove_tree(directory_);
}

void Campaign::learn_results() {
  const std::string calm = make_directory("calm");
  {
    ServerProcess server(settings_in(calm));
    for (const std::string& photo : photos_) {
      const auto answer = http_request(server.port(), "POST", "/v1/pipelines/grayscale/jobs",
                                       "Content-Type: image/jpeg\r\nPrefer: wait=120\r\n", photo);
      ASSERT_TRUE(answer && answer->status == 200) << (answer ? answer->body : "no answer");
      const auto result = http_request(
          server.port(), "GET", "/v1/jobs/" + json_text_of(answer->body, "id") + "/outputs/image");
      ASSERT_TRUE(result && result->status == 200);
      results_.push_back(sha256(result->body));
    }
  }
  remove_tree(calm);
}

// ---- a round

void Campaign::run_round(Death death) {
  ServerSettings settings = settings_;
  if (under_shim(death)) {
    fs::create_directories(settings_.data);
    if (power_ == nullptr) power_ = std::make_unique<PowerCut>(settings_.data);
    power_->begin();
    settings.environment = power_->environment();
    // One in four dies while it starts and recovers.
    if (random_() % 4 == 0) power_->plan_death(-1, 1 + static_cast<int>(random_() % 60));
  }
  ServerProcess server(settings, ServerProcess::May::kDie);
  if (server.port() != 0) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; i++) {
      clients.emplace_back([this, &stop, port = server.port(), seed = random_()] {
        submit_until(stop, port, static_cast<uint32_t>(seed));
      });
    }
    wait_for_death(server, death);
    if (death == Death::kDrained) {
      EXPECT_EQ(server.stop(), 0) << file_text(server.log());
    }
    server.kill();
    stop = true;
    for (std::thread& client : clients) client.join();
  }
  server.kill();
  note_death(death);
}

void Campaign::note_death(Death death) {
  if (death == Death::kDrained) {
    deaths_["by itself, when told to stop"]++;
  } else if (death == Death::kMoment) {
    deaths_["at any moment"]++;
  } else {
    const int fatal = power_->fatal();
    deaths_[fatal < 0 ? "at any moment"
                      : fmt::format("{} a {}", fatal >= DISK_KINDS ? "behind" : "before",
                                    PowerCut::kind_name(fatal))]++;
  }
  if (death == Death::kPowerCut) {
    power_->cut(&random_);
    deaths_["(of all: unsynced writes lost)"]++;
  }
}

void Campaign::wait_for_death(const ServerProcess& server, Death death) {
  if (!under_shim(death)) {
    // The moment of death is what is random here; nothing waits for it.
    sleep_ms(static_cast<long>(random_() % kRoundMs));
    return;
  }
  sleep_ms(static_cast<long>(random_() % 100));
  const int kind = static_cast<int>(random_() % (DISK_KINDS + 1)) - 1;
  if (!power_->dead()) power_->plan_death(kind, 1 + static_cast<int>(random_() % kPointsMax));
  for (int i = 0; i < kRoundMs && !power_->dead() && server.running(); i++) sleep_ms(1);
  power_->power_off();
}

Campaign::Work Campaign::next_work(std::mt19937* random) {
  const std::lock_guard lock(mutex_);
  Work work;
  if (!unacknowledged_.empty() && (*random)() % 2 == 0) {
    work = unacknowledged_.back();
    unacknowledged_.pop_back();
  } else {
    work.key = fmt::format("work-{}", next_++);
    work.photo = static_cast<int>((*random)() % kPhotos);
  }
  return work;
}

void Campaign::submit_until(const std::atomic<bool>& stop, uint16_t port, uint32_t seed) {
  std::mt19937 random(seed);
  while (!stop) {
    Work work = next_work(&random);
    const bool acknowledged = submit(port, &work);
    if (acknowledged && random() % 8 == 0) {
      Work again = work;
      again.job.clear();
      if (submit(port, &again)) {
        EXPECT_EQ(again.job, work.job) << "one key, two jobs";
        const std::lock_guard lock(mutex_);
        resubmitted_++;
      }
    }
    if (acknowledged && random() % 8 == 0) {
      const auto answer = http_request(port, "POST", "/v1/jobs/" + work.job + "/cancel");
      work.cancelled = answer && answer->status == 202;
    }
    const std::lock_guard lock(mutex_);
    (acknowledged ? acknowledged_ : unacknowledged_).push_back(work);
    if (!acknowledged) return;  // the server is dead or about to be
  }
}

bool Campaign::submit(uint16_t port, Work* work) {
  const auto answer = http_request(
      port, "POST", "/v1/pipelines/grayscale/jobs?callback=" + url_encoded(receiver_.url()),
      "Content-Type: image/jpeg\r\nIdempotency-Key: " + work->key + "\r\n",
      photos_[static_cast<size_t>(work->photo)]);
  if (!answer) return false;
  if (answer->status != 202 && answer->status != 200) {
    EXPECT_EQ(answer->status, 503) << "not refused politely: " << answer->body;
    return false;
  }
  work->job = json_text_of(answer->body, "id");
  return !work->job.empty();
}

// ---- the oracle

void Campaign::settle_and_compare() {
  ServerProcess server(settings_);
  for (Work& work : unacknowledged_) {
    ASSERT_TRUE(submit(server.port(), &work)) << "a resubmission in peace must be answered";
    acknowledged_.push_back(work);
  }
  const double start = now_seconds();
  std::map<std::string, bool> jobs;  // whether it succeeded
  for (const Work& work : acknowledged_) {
    const auto answer =
        http_request(server.port(), "GET", "/v1/jobs/" + work.job, "Prefer: wait=120\r\n");
    ASSERT_TRUE(answer && answer->status == 200)
        << "job " << work.job << " was acknowledged and is lost";
    const std::string state = json_text_of(answer->body, "state");
    const bool fresh = jobs.emplace(work.job, state == "succeeded").second;
    ASSERT_TRUE(fresh) << "two keys share job " << work.job;
    if (work.cancelled) {
      EXPECT_EQ(state, "cancelled") << "an acknowledged cancellation was lost: " << answer->body;
    } else {
      // A cancellation whose answer was lost may have been heard.
      ASSERT_TRUE(state == "succeeded" || state == "cancelled") << answer->body;
    }
    if (state == "succeeded") {
      ASSERT_NO_FATAL_FAILURE(compare_job(server.port(), work));
    }
  }
  EXPECT_LT(now_seconds() - start, kSettleSeconds);
  compare_effects(jobs);
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
  compare_blobs();
}

void Campaign::compare_job(uint16_t port, const Work& work) {
  const auto photo = static_cast<size_t>(work.photo);
  const std::pair<std::string, Digest> expected[] = {
      {"/v1/jobs/" + work.job + "/outputs/image", results_[photo]},
      {"/v1/files/default/originals/" + work.job + ".jpg", sha256(photos_[photo])},
      {"/v1/files/default/results/" + work.job + ".jpg", results_[photo]}};
  for (const auto& [path, digest] : expected) {
    const auto answer = http_request(port, "GET", path);
    ASSERT_TRUE(answer && answer->status == 200) << path;
    EXPECT_EQ(sha256(answer->body), digest) << path;
  }
}

void Campaign::compare_effects(const std::map<std::string, bool>& jobs) {
  std::set<std::string> told;
  uint64_t again = 0;
  for (const auto& [id, delivery] : receiver_.deliveries()) {
    EXPECT_EQ(delivery.other_bodies, 0u) << "key " << id << " carried two bodies";
    again += delivery.times - 1;
    const std::string job = json_text_of(delivery.body, "job");
    EXPECT_TRUE(told.insert(job).second) << "job " << job << " has two keys";
    EXPECT_TRUE(jobs.contains(job)) << "a notification of a job nobody was told of: " << job;
  }
  size_t succeeded = 0;
  for (const auto& [job, success] : jobs) {
    if (!success) continue;
    succeeded++;
    EXPECT_TRUE(told.contains(job)) << "a job succeeded without its notification: " << job;
  }
  std::printf(
      "jobs %zu (%zu cancelled), resubmitted %d, notifications %zu, repeated with the same key "
      "%llu, lost 0\n",
      jobs.size(), jobs.size() - succeeded, resubmitted_, told.size(),
      static_cast<unsigned long long>(again));
  for (const auto& [how, times] : deaths_) std::printf("  died %-32s %5d\n", how.c_str(), times);
}

// Every blob is what its name says, and nothing that was begun is left.
void Campaign::compare_blobs() {
  size_t blobs = 0;
  for (const auto& entry : fs::recursive_directory_iterator(settings_.data)) {
    if (!entry.is_regular_file()) continue;
    const fs::path below = fs::relative(entry.path(), settings_.data);
    const std::string text = below, name = below.filename();
    EXPECT_EQ(text.find("tmp/"), std::string::npos) << "left behind: " << text;
    if (*below.begin() != "blobs") continue;
    blobs++;
    EXPECT_NE(sha256(file_text(entry.path())).text().find(name), std::string::npos)
        << "torn: " << text;
  }
  EXPECT_GT(blobs, 0u);
}

}  // namespace millrace
