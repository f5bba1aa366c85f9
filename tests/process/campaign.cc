#include "tests/process/campaign.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
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
constexpr int kPointsFew = 20;   // and so many of each kind
constexpr int kPatienceMs = 60'000;
constexpr double kSettleSeconds = 600;

// What counts workers, calls and bytes that are in use.
constexpr const char* kAtRest[] = {"millrace_workers_busy{lane=\"cpu\"}",
                                   "millrace_workers_busy{lane=\"io\"}",
                                   "millrace_queue_depth{lane=\"cpu\"}",
                                   "millrace_queue_depth{lane=\"io\"}",
                                   "millrace_workers_memory_bytes",
                                   "millrace_workers_memory_waiting",
                                   "millrace_resident_bytes"};

bool under_shim(Death death) {
  return death == Death::kMarkedPoint || death == Death::kPowerCut || death == Death::kLyingDisk;
}

void sleep_ms(long ms) {
  const timespec life{ms / 1000, ms % 1000 * 1'000'000};
  ::nanosleep(&life, nullptr);
}

}  // namespace

Campaign::Campaign(const std::string& name, uint32_t seed)
    : directory_(make_directory(name)), settings_(settings_in(directory_)), random_(seed) {
  for (int i = 0; i < kPhotos; i++) photos_.push_back(make_photo(i));
  for (const int kind : {DISK_SYNC, DISK_LINK, DISK_WRITE, DISK_SEND}) want(kind);
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
    if (death == Death::kLyingDisk) power_->lie_about_syncs();
    // One in four dies while it starts and recovers.
    if (death != Death::kLyingDisk && random_() % 4 == 0) plan_death_at_start();
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
  } else if (!under_shim(death) || power_->fatal() < 0) {
    deaths_["at any moment"]++;
  } else {
    const bool behind = power_->fatal() >= DISK_KINDS;
    const int kind = power_->fatal() % DISK_KINDS;
    deaths_[fmt::format("{} a {}", behind ? "behind" : "before", PowerCut::kind_name(kind))]++;
    std::erase_if(wanted_,
                  [&](const Point& point) { return point.kind == kind && point.behind == behind; });
  }
  // Of names, servers make what the file system makes them: these count when they are seen.
  for (const int kind : {DISK_RENAME, DISK_UNLINK}) {
    if (under_shim(death) && power_->points(kind) > 0) want(kind);
  }
  if (death == Death::kPowerCut) {
    power_->cut(&random_);
    deaths_["(of all: unsynced writes lost)"]++;
  } else if (death == Death::kLyingDisk) {
    power_->cut_all_unsynced();
    deaths_["(of all: no sync was one)"]++;
  }
}

void Campaign::want(int kind) {
  if (!wanted_kinds_.insert(kind).second) return;
  wanted_.push_back({kind, false});
  wanted_.push_back({kind, true});
}

// The only name that is removed every time is an old log's, before the first job.
void Campaign::plan_death_at_start() {
  const auto unlink = std::find_if(wanted_.begin(), wanted_.end(),
                                   [](const Point& point) { return point.kind == DISK_UNLINK; });
  if (unlink == wanted_.end()) {
    power_->plan_death(-1, 1 + static_cast<int>(random_() % 60));
  } else {
    power_->plan_death(DISK_UNLINK, 1, unlink->behind ? 1 : 0);
  }
}

// Every second time where no server has died yet, else anywhere.
void Campaign::plan_death() {
  if (!wanted_.empty() && random_() % 2 == 0) {
    const Point point = wanted_.front();
    wanted_.pop_front();
    wanted_.push_back(point);  // of no more rounds than others if it is missed
    power_->plan_death(point.kind, 1 + static_cast<int>(random_() % kPointsFew),
                       point.behind ? 1 : 0);
    if (point.kind != DISK_UNLINK) return;
  }
  const int kind = static_cast<int>(random_() % (DISK_READ + 1)) - 1;
  power_->plan_death(kind, 1 + static_cast<int>(random_() % kPointsMax));
}

void Campaign::wait_for_death(const ServerProcess& server, Death death) {
  if (!under_shim(death)) {
    // The moment of death is what is random here; nothing waits for it.
    sleep_ms(static_cast<long>(random_() % kRoundMs));
    return;
  }
  if (death == Death::kLyingDisk) {
    const size_t before = acknowledged();
    for (int i = 0; i < kPatienceMs && acknowledged() == before; i++) sleep_ms(1);
  } else {
    sleep_ms(static_cast<long>(random_() % 100));
    if (!power_->dead()) plan_death();
    for (int i = 0; i < kRoundMs && !power_->dead() && server.running(); i++) sleep_ms(1);
  }
  power_->power_off();
}

size_t Campaign::acknowledged() const {
  const std::lock_guard lock(mutex_);
  return acknowledged_.size();
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

Findings Campaign::settle_and_compare() {
  ServerProcess server(settings_);
  for (Work& work : unacknowledged_) {
    if (submit(server.port(), &work)) {
      acknowledged_.push_back(work);
    } else {
      found_.lost.push_back("a resubmission in peace was not answered: " + work.key);
    }
  }
  const double start = now_seconds();
  for (const Work& work : acknowledged_) compare_end(server.port(), work);
  EXPECT_LT(now_seconds() - start, kSettleSeconds);
  compare_effects();
  compare_held(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
  compare_blobs();
  print();
  return found_;
}

void Campaign::compare_end(uint16_t port, const Work& work) {
  const Reply end = await_job(port, work.job);
  if (end.status != 200) {
    found_.lost.push_back("job " + work.job + " was acknowledged: " + end.shown());
    return;
  }
  const std::string state = end.text("state");
  if (!jobs_.emplace(work.job, state == "succeeded").second) {
    found_.wrong.push_back("two keys share job " + work.job);
  }
  if (work.cancelled && state != "cancelled") {
    found_.lost.push_back("a cancellation was acknowledged: " + end.shown());
  } else if (state != "succeeded" && state != "cancelled") {
    // A cancellation whose answer was lost may have been heard.
    found_.wrong.push_back("job " + work.job + " has another end: " + end.shown());
  }
  if (state == "succeeded") compare_job(port, work);
}

void Campaign::compare_job(uint16_t port, const Work& work) {
  const auto photo = static_cast<size_t>(work.photo);
  const std::pair<std::string, Digest> expected[] = {
      {"/v1/jobs/" + work.job + "/outputs/image", results_[photo]},
      {"/v1/files/default/originals/" + work.job + ".jpg", sha256(photos_[photo])},
      {"/v1/files/default/results/" + work.job + ".jpg", results_[photo]}};
  for (const auto& [path, digest] : expected) {
    const Reply answer = ask(port, "GET", path);
    if (answer.status == 200 && sha256(answer.body) == digest) continue;
    found_.lost.push_back(fmt::format("{} {}", answer.status, path));
  }
}

void Campaign::compare_effects() {
  for (const auto& [id, delivery] : receiver_.deliveries()) {
    if (delivery.other_bodies > 0) found_.wrong.push_back("key " + id + " carried two bodies");
    told_again_ += delivery.times - 1;
    const std::string job = json_text_of(delivery.body, "job");
    if (!told_.insert(job).second) found_.wrong.push_back("job " + job + " has two keys");
    if (!jobs_.contains(job)) found_.wrong.push_back("notified of a job of nobody: " + job);
  }
  for (const auto& [job, success] : jobs_) {
    if (success && !told_.contains(job)) found_.lost.push_back("the notification of job " + job);
  }
}

// Every blob is what its name says, and nothing that was begun is left.
void Campaign::compare_blobs() {
  size_t blobs = 0;
  for (const auto& entry : fs::recursive_directory_iterator(settings_.data)) {
    if (!entry.is_regular_file()) continue;
    const fs::path below = fs::relative(entry.path(), settings_.data);
    const std::string text = below, name = below.filename();
    if (text.find("tmp/") != std::string::npos) found_.wrong.push_back("left behind: " + text);
    if (*below.begin() != "blobs") continue;
    blobs++;
    if (sha256(file_text(entry.path())).text().find(name) == std::string::npos) {
      found_.wrong.push_back("torn: " + text);
    }
  }
  if (blobs == 0) found_.wrong.push_back("no blob is there");
}

// When all jobs have ended nobody works and nobody holds memory.
void Campaign::compare_held(uint16_t port) {
  std::string held;
  const bool let_go = eventually([&] {
    const std::string metrics = ask(port, "GET", "/metrics").body;
    held.clear();
    for (const char* series : kAtRest) {
      const size_t at = metrics.find(std::string("\n") + series + " ");
      const size_t value = at + 2 + std::strlen(series);
      if (at == std::string::npos || metrics.compare(value, 2, "0\n") != 0) {
        held += fmt::format("{} {}; ", series,
                            at == std::string::npos
                                ? "is not there"
                                : metrics.substr(value, metrics.find('\n', value) - value));
      }
    }
    return held.empty();
  });
  if (!let_go) found_.wrong.push_back("all has ended and is still held: " + held);
}

void Campaign::print() const {
  size_t succeeded = 0;
  for (const auto& [job, success] : jobs_) succeeded += success ? 1 : 0;
  std::printf(
      "jobs %zu (%zu cancelled), resubmitted %d, notifications %zu, repeated with the same key "
      "%llu, lost %zu\n",
      jobs_.size(), jobs_.size() - succeeded, resubmitted_, told_.size(),
      static_cast<unsigned long long>(told_again_), found_.lost.size());
  for (const auto& [how, times] : deaths_) std::printf("  died %-32s %5d\n", how.c_str(), times);
}

}  // namespace millrace
