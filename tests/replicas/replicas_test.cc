// Goal: several servers over one database are one service: any of them answers for any job, and
// jobs outlive the server that took them in.
// Method: the real binary two or three times, over a real server of MongoDB's protocol and one
// directory of blobs; one dies, sleeps or is told to stop, and the others and the receiver of the
// notifications say what came of its jobs.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bench/harness/receiver.h"
#include "engine/base/signals.h"
#include "tests/http/client.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"
#include "tests/store_mongo/mongo_server.h"

namespace millrace {
namespace {

constexpr char kLease[] = "lease=2s";
constexpr double kTakenOverSeconds = 60;  // lease + 5 s, on a machine with much other work

class Replicas : public testing::Test {
 protected:
  static void SetUpTestSuite() { database_ = new MongoServer; }
  static void TearDownTestSuite() {
    delete database_;
    database_ = nullptr;
  }
  void SetUp() override {
    if (!MongoServer::installed()) {
      ASSERT_EQ(std::getenv("CI"), nullptr) << "the test server is missing";
      GTEST_SKIP() << MongoServer::program() << " is missing; ./run test installs it";
    }
    ASSERT_TRUE(database_->running() || database_->start()) << database_->why();
    directory_ = make_directory("replicas");
  }
  void TearDown() override {
    if (!directory_.empty()) remove_tree(directory_);
  }

  // One more server over the database and the blobs of this test.
  std::unique_ptr<ServerProcess> replica(const std::string& name,
                                         const std::vector<std::string>& more = {}) {
    ServerSettings settings = settings_in(directory_ + "/" + name);
    std::filesystem::create_directories(directory_ + "/" + name);
    settings.extra.emplace_back(kLease);
    settings.extra.push_back(
        fmt::format("store=mongodb://127.0.0.1:{}/{}", database_->port(),
                    testing::UnitTest::GetInstance()->current_test_info()->name()));
    settings.extra.push_back("blobs=file:" + directory_ + "/blobs");
    settings.extra.push_back("stores={default: {url: \"file:" + directory_ + "/objects\"}}");
    settings.extra.emplace_back("workers.cpu=1");
    settings.extra.insert(settings.extra.end(), more.begin(), more.end());
    return std::make_unique<ServerProcess>(settings);
  }
  std::string submit(const ServerProcess& to, int photo, const std::string& query = "") {
    const Reply reply = submit_image(to.port(), make_photo(photo), "", query);
    EXPECT_EQ(reply.status, 202) << reply.shown();
    return reply.text("id");
  }
  static Reply wait_on(const ServerProcess& server, const std::string& job) {
    return ask(server.port(), "GET", "/v1/jobs/" + job, "Prefer: wait=120\r\n");
  }
  static void expect_one_body_each(const Receiver& receiver, size_t jobs) {
    const auto deliveries = receiver.deliveries();
    EXPECT_EQ(deliveries.size(), jobs);
    for (const auto& [key, delivery] : deliveries) EXPECT_EQ(delivery.other_bodies, 0u) << key;
  }

  // Files of blobs in the place that all share, without those on their way.
  size_t blobs() const {
    size_t files = 0;
    std::error_code gone;  // between the look at a directory and at its file
    for (const auto& fan : std::filesystem::directory_iterator(directory_ + "/blobs", gone)) {
      if (fan.path().filename() == "tmp") continue;
      for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(fan, gone)) {
        files++;
      }
    }
    return files;
  }
  static bool says(const ServerProcess& server, const std::string& event) {
    return file_text(server.log()).find("ev=" + event) != std::string::npos;
  }
  static int times_said(const ServerProcess& server, const std::string& event) {
    const std::string text = file_text(server.log()), mark = "ev=" + event;
    int times = 0;
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1))
      times++;
    return times;
  }
  static std::string output(const ServerProcess& server, const std::string& job) {
    const Reply reply = ask(server.port(), "GET", "/v1/jobs/" + job + "/outputs/image");
    EXPECT_EQ(reply.status, 200) << reply.shown();
    return reply.body;
  }

  static MongoServer* database_;
  std::string directory_;
};
MongoServer* Replicas::database_ = nullptr;

TEST_F(Replicas, AnyOfThemAnswersForAnyJob) {
  const auto a = replica("a"), b = replica("b");
  const std::string job = submit(*a, 1);
  const Reply ended = wait_on(*b, job);
  EXPECT_EQ(ended.status, 200) << ended.shown();
  EXPECT_EQ(ended.text("state"), "succeeded") << ended.shown();
  const Reply output = ask(b->port(), "GET", "/v1/jobs/" + job + "/outputs/image");
  EXPECT_EQ(output.status, 200) << output.shown();
  EXPECT_EQ(output.body, ask(a->port(), "GET", "/v1/jobs/" + job + "/outputs/image").body);
  EXPECT_NE(ask(b->port(), "GET", "/v1/jobs").body.find(job), std::string::npos);
  const Reply events = ask(b->port(), "GET", "/v1/jobs/" + job + "/events");
  EXPECT_NE(events.body.find("succeeded"), std::string::npos) << events.shown();
  EXPECT_EQ(ask(b->port(), "DELETE", "/v1/jobs/" + job).status, 204);
  EXPECT_EQ(ask(a->port(), "GET", "/v1/jobs/" + job).status, 404);
  EXPECT_EQ(ask(b->port(), "GET", "/v1/jobs/0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b-9f8e7d6c").status,
            404);
}

TEST_F(Replicas, AJobOfAnotherIsCancelled) {
  const auto a = replica("a"), b = replica("b");
  // Nobody listens on port 1: the delivery is tried again for minutes.
  const std::string job = submit(*a, 1, "?callback=" + url_encoded("http://127.0.0.1:1/hook"));
  std::thread waiter([&] { EXPECT_EQ(wait_on(*b, job).text("state"), "cancelled"); });
  const Reply cancelled = ask(b->port(), "POST", "/v1/jobs/" + job + "/cancel");
  EXPECT_EQ(cancelled.status, 202) << cancelled.shown();
  EXPECT_EQ(wait_on(*a, job).text("state"), "cancelled");
  waiter.join();
  EXPECT_EQ(ask(b->port(), "POST", "/v1/jobs/" + job + "/cancel").status, 409);
}

TEST_F(Replicas, JobsOfOneThatDiesAreEndedByAnother) {
  Receiver receiver;
  const auto a = replica("a"), b = replica("b");
  std::vector<std::string> jobs;
  for (int i = 0; i < 10; i++) {
    jobs.push_back(submit(*a, i, "?callback=" + url_encoded(receiver.url())));
  }
  a->kill();
  const double died = now_seconds();
  for (const std::string& job : jobs) {
    const Reply ended = wait_on(*b, job);
    EXPECT_EQ(ended.text("state"), "succeeded") << ended.shown() << file_text(b->log());
  }
  EXPECT_LT(now_seconds() - died, kTakenOverSeconds);
  expect_one_body_each(receiver, jobs.size());
}

TEST_F(Replicas, OneThatSleptPastItsLeaseEndsAndHarmsNobody) {
  Receiver receiver;
  const auto a = replica("a"), b = replica("b");
  std::vector<std::string> jobs;
  for (int i = 0; i < 5; i++) {
    jobs.push_back(submit(*a, i, "?callback=" + url_encoded(receiver.url())));
  }
  // One whose delivery is tried again for minutes, so that it is surely taken over.
  const std::string stays = submit(*a, 9, "?callback=" + url_encoded("http://127.0.0.1:1/hook"));
  ASSERT_EQ(signal_process(a->pid(), SIGSTOP), 0);
  EXPECT_TRUE(eventually([&] {
    return file_text(b->log()).find("ev=node.given_up") != std::string::npos;
  })) << file_text(b->log());
  EXPECT_TRUE(eventually([&] {
    return file_text(b->log()).find("ev=jobs.claimed") != std::string::npos;
  })) << file_text(b->log());
  signal_process(a->pid(), SIGCONT);
  int status = 0;
  EXPECT_EQ(waitpid(a->pid(), &status, 0), a->pid());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 5) << file_text(a->log());
  EXPECT_NE(file_text(a->log()).find("took this one"), std::string::npos) << file_text(a->log());
  for (const std::string& job : jobs) {
    EXPECT_EQ(wait_on(*b, job).text("state"), "succeeded");
  }
  EXPECT_EQ(ask(b->port(), "POST", "/v1/jobs/" + stays + "/cancel").status, 202);
  EXPECT_EQ(wait_on(*b, stays).text("state"), "cancelled");
  expect_one_body_each(receiver, jobs.size());
}

TEST_F(Replicas, OneThatIsToldToStopHandsItsJobsOver) {
  const auto a = replica("a"), b = replica("b");
  const std::string job = submit(*a, 1, "?callback=" + url_encoded("http://127.0.0.1:1/hook"));
  EXPECT_TRUE(eventually([&] {
    return ask(a->port(), "GET", "/v1/jobs/" + job).body.find("\"retry\"") != std::string::npos;
  }));
  EXPECT_EQ(a->stop(), 0) << file_text(a->log());
  EXPECT_NE(file_text(a->log()).find("ev=node.departed"), std::string::npos) << file_text(a->log());
  EXPECT_TRUE(eventually([&] {
    return file_text(b->log()).find("ev=jobs.claimed") != std::string::npos;
  })) << file_text(b->log());
  EXPECT_EQ(ask(b->port(), "POST", "/v1/jobs/" + job + "/cancel").status, 202);
  EXPECT_EQ(wait_on(*b, job).text("state"), "cancelled");
}

// One worker would need 20 s for them; some wait as long as it takes the other one to say that it
// has nothing to do.
TEST_F(Replicas, AnIdleOneTakesQueuedJobsOfABusyOne) {
  constexpr int kJobs = 40;
  const std::string pipelines = directory_ + "/pipelines";
  std::filesystem::create_directories(pipelines);
  std::ofstream(pipelines + "/slow.yaml")
      << "pipeline: slow\nsteps:\n  work: { use: fault, with: { how: sleep, n: 500 } }\n";
  const std::vector<std::string> settings = {"steps=" + all_steps(directory_),
                                             "pipelines=" + pipelines};
  const auto a = replica("a", settings), b = replica("b", settings);
  std::vector<std::string> jobs;
  for (int i = 0; i < kJobs; i++) {
    const Reply reply = ask(a->port(), "POST", "/v1/pipelines/slow/jobs",
                            "Content-Type: application/json\r\n", "{}");
    EXPECT_EQ(reply.status, 202) << reply.shown();
    jobs.push_back(reply.text("id"));
  }
  for (const std::string& job : jobs) EXPECT_EQ(wait_on(*a, job).text("state"), "succeeded");
  EXPECT_TRUE(says(*b, "jobs.claimed")) << file_text(b->log());
  for (const auto* server : {a.get(), b.get()}) {
    EXPECT_NE(ask(server->port(), "GET", "/metrics")
                  .body.find(R"(millrace_jobs_total{pipeline="slow",state="succeeded"})"),
              std::string::npos)
        << "this one has ended none";
    EXPECT_FALSE(says(*server, "node.given_up"));
  }
}

TEST_F(Replicas, TheEventsOfAJobThatAnotherOneRunsAreStreamed) {
  const auto a = replica("a"), b = replica("b");
  const std::string job = submit(*a, 1, "?callback=" + url_encoded("http://127.0.0.1:1/hook"));
  test::Client watcher(fmt::format("127.0.0.1:{}", b->port()));
  watcher.write("GET /v1/jobs/" + job + "/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  // What the other one makes durable from here on comes by itself.
  ASSERT_TRUE(watcher.read_until("\"state\":\"running\""));
  EXPECT_EQ(ask(a->port(), "POST", "/v1/jobs/" + job + "/cancel").status, 202);
  const test::Answer stream = watcher.read_answer();
  EXPECT_EQ(stream.status, 200) << "the stream ends with its job";
  EXPECT_NE(stream.body.find("\"state\":\"cancelled\""), std::string::npos) << stream.body;
  uint64_t last = 0, events = 0;
  for (size_t at = stream.body.find("id: "); at != std::string::npos;
       at = stream.body.find("\nid: ", at)) {
    at += stream.body[at] == '\n' ? 5 : 4;
    const uint64_t rev = std::strtoull(stream.body.c_str() + at, nullptr, 10);
    EXPECT_GT(rev, last);
    last = rev;
    events++;
  }
  EXPECT_GE(events, 2u) << stream.body;
  // Who comes back asks for what it has not seen, here and there.
  for (const auto* server : {a.get(), b.get()}) {
    const Reply again = ask(server->port(), "GET", "/v1/jobs/" + job + "/events",
                            fmt::format("Last-Event-ID: {}\r\n", last - 1));
    EXPECT_NE(again.body.find(fmt::format("id: {}", last)), std::string::npos) << again.shown();
  }
}

// A look may be quicker than the stream now and then, so there are several goes.
TEST_F(Replicas, AChangeStreamTellsOfEndsAndOfCancellations) {
  constexpr int kTries = 10;
  const std::vector<std::string> talkative = {"log.level=debug"};
  const auto a = replica("a", talkative), b = replica("b", talkative);
  const std::string by_stream_wait = R"(millrace_heard_changes_total{what="wait",by="stream"})",
                    by_stream_verb = R"(millrace_heard_changes_total{what="verb",by="stream"})";
  const auto counts = [](const ServerProcess& server, const std::string& series) {
    return ask(server.port(), "GET", "/metrics").body.find(series) != std::string::npos;
  };
  bool waits = false, verbs = false;
  for (int i = 0; i < kTries && !(waits && verbs); i++) {
    const std::string job = submit(*a, i, "?callback=" + url_encoded("http://127.0.0.1:1/hook"));
    std::thread waiter([&] { EXPECT_EQ(wait_on(*b, job).text("state"), "cancelled"); });
    for (const auto* server : {a.get(), b.get()}) {
      EXPECT_TRUE(eventually([&] {
        return times_said(*server, "hints.open") > times_said(*server, "hints.closed");
      })) << file_text(server->log());
    }
    EXPECT_EQ(ask(b->port(), "POST", "/v1/jobs/" + job + "/cancel").status, 202);
    waiter.join();
    waits = waits || counts(*b, by_stream_wait);
    verbs = verbs || counts(*a, by_stream_verb);
  }
  EXPECT_TRUE(waits) << file_text(b->log());
  EXPECT_TRUE(verbs) << file_text(a->log());
}

// ---- what is removed

TEST_F(Replicas, BlobsOfARemovedJobGoAndThoseOfOthersStay) {
  const auto a = replica("a"), b = replica("b", {"log.level=debug"});
  const std::string goes = submit(*a, 1), stays = submit(*a, 2), same = submit(*b, 2);
  for (const std::string& job : {goes, stays, same}) {
    EXPECT_EQ(wait_on(*b, job).text("state"), "succeeded");
  }
  const std::string kept = output(*a, stays);
  const size_t before = blobs();
  EXPECT_EQ(ask(b->port(), "DELETE", "/v1/jobs/" + goes).status, 204);
  EXPECT_EQ(ask(b->port(), "DELETE", "/v1/jobs/" + same).status, 204);
  EXPECT_TRUE(eventually([&] { return says(*b, "blobs.swept"); }, 180)) << file_text(b->log());
  EXPECT_LT(blobs(), before);
  EXPECT_EQ(output(*b, stays), kept);
  EXPECT_EQ(ask(a->port(), "DELETE", "/v1/jobs/" + stays).status, 204);
  EXPECT_TRUE(eventually([&] { return blobs() == 0; }, 180)) << file_text(a->log());
}

TEST_F(Replicas, BytesThatComeAgainWhileTheyAreDyingStay) {
  const auto a = replica("a"), b = replica("b", {"log.level=debug"});
  const std::string first = submit(*b, 1);
  EXPECT_EQ(wait_on(*b, first).text("state"), "succeeded");
  const std::string kept = output(*b, first);
  EXPECT_EQ(ask(b->port(), "DELETE", "/v1/jobs/" + first).status, 204);
  ASSERT_TRUE(eventually([&] { return says(*b, "blobs.dying"); })) << file_text(b->log());
  // A moment later, and not when they have gone.
  const std::string second = submit(*a, 1);
  EXPECT_EQ(wait_on(*a, second).text("state"), "succeeded");
  EXPECT_TRUE(eventually([&] { return says(*b, "blobs.swept"); }, 180)) << file_text(b->log());
  EXPECT_EQ(output(*b, second), kept);
}

TEST_F(Replicas, ARemovalWhoseNodeSleepsPastItIsEndedByAnotherAndHarmsNobody) {
  const auto a = replica("a"), b = replica("b", {"log.level=debug"});
  const std::string gone = submit(*b, 1), first = submit(*b, 2);
  for (const std::string& job : {gone, first}) {
    EXPECT_EQ(wait_on(*b, job).text("state"), "succeeded");
  }
  const std::string kept = output(*b, first);
  const size_t before = blobs();
  EXPECT_EQ(ask(b->port(), "DELETE", "/v1/jobs/" + gone).status, 204);
  EXPECT_EQ(ask(b->port(), "DELETE", "/v1/jobs/" + first).status, 204);
  ASSERT_TRUE(eventually([&] { return says(*b, "blobs.dying"); })) << file_text(b->log());
  ASSERT_EQ(signal_process(b->pid(), SIGSTOP), 0);
  // The same bytes again, named by a record while the sleeper means to remove them.
  const std::string second = submit(*a, 2);
  EXPECT_EQ(wait_on(*a, second).text("state"), "succeeded");
  // The other one takes the marks over, and ends what nobody wants.
  EXPECT_TRUE(eventually([&] { return blobs() < before; }, 240)) << file_text(a->log());
  signal_process(b->pid(), SIGCONT);
  int status = 0;
  EXPECT_EQ(waitpid(b->pid(), &status, 0), b->pid());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 5) << file_text(b->log());
  EXPECT_EQ(output(*a, second), kept);
}

TEST_F(Replicas, RetentionIsOverWhoeverOwnedTheJobs) {
  const std::vector<std::string> soon = {"retention=2s"};
  const auto a = replica("a", soon);
  std::vector<std::string> jobs;
  {
    const auto b = replica("b", soon);
    for (int i = 0; i < 3; i++) jobs.push_back(submit(*b, i));
    for (const std::string& job : jobs) wait_on(*b, job);
    b->kill();
  }
  jobs.push_back(submit(*a, 3));
  for (const std::string& job : jobs) {
    EXPECT_TRUE(eventually([&] { return ask(a->port(), "GET", "/v1/jobs/" + job).status == 404; }))
        << file_text(a->log());
  }
  EXPECT_TRUE(eventually([&] { return blobs() == 0; }, 180)) << file_text(a->log());
}

}  // namespace
}  // namespace millrace
