// What a fleet must be after an attack: nothing is lost, nothing is there twice, every byte is the
// one that an undisturbed server makes.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "engine/base/digest.h"
#include "tests/attacks/fleet.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"
#include "tests/s3_server/server.h"

namespace millrace {
namespace {

constexpr double kSettleSeconds = 240;  // on a machine with much other work
constexpr int kPauseMs = 20;
constexpr size_t kChainEffects = 4;

// What a server of its own, which nobody disturbs, makes of a photo.
const Digest& undisturbed_result(int photo) {
  static std::map<int, Digest> known;
  if (const auto found = known.find(photo); found != known.end()) return found->second;
  const std::string calm = make_directory("calm");
  {
    ServerProcess server(settings_in(calm));
    for (int i = 0; i <= photo; i++) {
      const Reply ended = submit_image(server.port(), make_photo(i), "Prefer: wait=120\r\n");
      EXPECT_EQ(ended.text("state"), "succeeded") << ended.shown();
      const Reply result =
          ask(server.port(), "GET", "/v1/jobs/" + ended.text("id") + "/outputs/image");
      EXPECT_EQ(result.status, 200) << result.shown();
      known.emplace(i, sha256(result.body));
    }
  }
  remove_tree(calm);
  return known.at(photo);
}

void expect_object(const std::string& bucket, const std::string& key, const Digest& digest) {
  s3::Client client(location_of(bucket), test_credentials());
  std::string bytes;
  s3::Object object;
  const s3::Error error = client.get(
      key,
      [&](std::string_view piece) {
        bytes += piece;
        return true;
      },
      &object);
  EXPECT_FALSE(error) << key << ": " << error.message;
  EXPECT_EQ(sha256(bytes), digest) << key;
}

}  // namespace

void Fleet::settle_and_compare(const std::string& what) {
  for (const auto& node : nodes_) {
    network().heal(node->database);
    network().heal(node->bucket);
  }
  release();
  const double healed = now_seconds();
  clients_.stop();
  finish_submissions();
  std::vector<Work>& all = clients_.done();
  all.insert(all.end(), held_.begin(), held_.end());
  std::set<std::string> jobs;
  for (const Work& work : all) {
    EXPECT_TRUE(jobs.insert(work.job).second) << "two keys share job " << work.job;
    ASSERT_EQ(await_end(work), "succeeded") << work.key;
  }
  std::printf(
      "%s: %zu jobs, %d kills, %d given up; all ended %.1f s after the fault (lease %.1f)\n",
      what.c_str(), all.size(), kills_, given_up_, now_seconds() - healed, lease_ms_ / 1000.0);
  for (const Work& work : all) ASSERT_NO_FATAL_FAILURE(compare_job(work));
  compare_list();
  compare_effects();
}

// What nobody has heard an answer to is submitted again, as every careful client does.
void Fleet::finish_submissions() {
  for (Work& work : clients_.open()) {
    size_t tries = 0;
    const bool acknowledged = eventually(
        [&] {
          tend();
          const std::vector<uint16_t> all = ports();
          if (!all.empty() && clients_.submit(all[tries++ % all.size()], &work)) return true;
          ::poll(nullptr, 0, kPauseMs);
          return false;
        },
        kSettleSeconds);
    ASSERT_TRUE(acknowledged) << work.key << " is acknowledged by nobody";
    clients_.done().push_back(work);
  }
  clients_.open().clear();
}

// Asks one replica after the other, as any of them answers for any job.
std::string Fleet::await_end(const Work& work) {
  Reply reply;
  int turn = 0;
  const bool ended = eventually(
      [&] {
        tend();
        const uint16_t at = nodes_[static_cast<size_t>(turn++) % nodes_.size()]->port;
        if (at == 0) return false;
        reply = ask(at, "GET", "/v1/jobs/" + work.job, "Prefer: wait=5\r\n");
        // A replica that has just come back from a fault may say so; a job that is lost is another
        // matter.
        EXPECT_NE(reply.status, 404) << "job " << work.job << " was acknowledged and is lost";
        const std::string state = reply.text("state");
        return reply.status == 404 || state == "succeeded" || state == "failed" ||
               state == "cancelled";
      },
      kSettleSeconds);
  EXPECT_TRUE(ended) << reply.shown();
  if (reply.text("state") != "succeeded") ADD_FAILURE() << reply.shown();
  return reply.text("state");
}

void Fleet::compare_job(const Work& work) const {
  if (work.photo < 0) return;
  const Digest original = sha256(make_photo(work.photo));
  const Digest& result = undisturbed_result(work.photo);
  const Reply output = ask(ports().at(0), "GET", "/v1/jobs/" + work.job + "/outputs/image");
  ASSERT_EQ(output.status, 200) << output.shown();
  EXPECT_EQ(sha256(output.body), result) << work.job;
  expect_object(objects_, "originals/" + work.job + ".jpg", original);
  expect_object(objects_, "results/" + work.job + ".jpg", result);
}

// Jobs that nobody submitted, or that are there twice, would be listed.
void Fleet::compare_list() {
  std::set<std::string> submitted, listed;
  for (const Work& work : clients_.done()) submitted.insert(work.job);
  std::string cursor;
  do {
    const Reply page = ask(ports().at(0), "GET",
                           "/v1/jobs?limit=500" + (cursor.empty() ? "" : "&cursor=" + cursor));
    ASSERT_EQ(page.status, 200) << page.shown();
    const Value* jobs = page.json.find("jobs");
    ASSERT_NE(jobs, nullptr) << page.shown();
    for (const Value& job : jobs->as_list()) {
      const std::string id = job.find("id")->as_string();
      EXPECT_TRUE(listed.insert(id).second) << id << " is listed twice";
      EXPECT_TRUE(submitted.contains(id)) << id << " was submitted by nobody";
    }
    cursor = url_encoded(page.text("next"));
  } while (!cursor.empty());
  EXPECT_EQ(listed.size(), submitted.size());
}

void Fleet::compare_effects() {
  std::map<std::string, std::set<std::string>> told;  // steps, by job
  std::set<std::string> submitted;
  for (const Work& work : clients_.done()) submitted.insert(work.job);
  uint64_t again = 0;
  for (const auto& [id, delivery] : receiver_.deliveries()) {
    EXPECT_EQ(delivery.other_bodies, 0u) << "key " << id << " carried two bodies";
    again += delivery.times - 1;
    const std::string job = json_text_of(delivery.body, "job");
    const std::string step = json_text_of(delivery.body, "step");
    EXPECT_TRUE(told[job].insert(step).second) << job << ' ' << step << " has two keys";
    EXPECT_TRUE(submitted.contains(job))
        << "a notification of a job that nobody was told of: " << id << ' ' << delivery.body;
  }
  for (const Work& work : clients_.done()) {
    EXPECT_EQ(told[work.job].size(), work.photo < 0 ? kChainEffects : 1) << work.job;
  }
  std::printf("  notifications %zu, repeated with the same key %llu\n",
              receiver_.deliveries().size(), static_cast<unsigned long long>(again));
}

}  // namespace millrace
