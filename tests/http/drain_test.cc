// Goal: a server that stops tells everybody who waits how things stand, and takes nothing new.
// Method: a server over a FakeRuntime whose steps end when the test says so.
#include "tests/http/api_fixture.h"

namespace millrace::test {
namespace {

class Drain : public Api {
 protected:
  void begin(DurationMs drain_ms, bool step_runs) {
    options.drain_ms = drain_ms;
    start();
    hold_jobs();
    runtime->call([this, step_runs] { runtime->step_runs = step_runs; });
    path_ = "/v1/jobs/" + id_of(submit_plain());
  }
  // A client that waits for the job's end.
  std::unique_ptr<Client> waiter() {
    auto c = client();
    size_t before = 0, now = 0;
    runtime->call([&] { before = runtime->waits(); });
    c->write("GET " + path_ + " HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=300\r\n\r\n");
    while (now == before) runtime->call([&] { now = runtime->waits(); });
    return c;
  }
  std::unique_ptr<Client> watcher() {
    auto c = client();
    c->write("GET " + path_ + "/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(c->read_until("id: 1\n"));
    return c;
  }
  void drain() {
    runtime->call([this] { loop->drain(); });
  }
  static void expect_last(const Answer& answer, int status) {
    EXPECT_EQ(answer.status, status) << answer.body;
    EXPECT_EQ(answer.header("connection"), "close");
  }
  std::string path_;
};

TEST_F(Drain, AWaitIsAnsweredWhenItsJobEnds) {
  begin(30'000, true);
  auto waiting = waiter(), watching = watcher();
  drain();
  runtime->call([this] { runtime->finish(runtime->only_job(), JobState::kSucceeded); });
  const Answer end = waiting->read_answer();
  expect_last(end, 200);
  EXPECT_EQ(text_at(json_of(end), "state"), "succeeded");
  EXPECT_NE(watching->read_answer().body.find("\"succeeded\""), std::string::npos);
  runtime->call([this] { runtime->step_runs = false; });
  thread.join();
}

// Regression: once nothing ran any more, whoever waited was cut off after half a second.
TEST_F(Drain, WhenNothingRunsWhoeverWaitsIsToldTheLastState) {
  begin(30'000, true);
  auto waiting = waiter(), watching = watcher();
  auto submitting = client();
  submitting->write(
      "POST /v1/pipelines/plain/jobs HTTP/1.1\r\nHost: localhost\r\nPrefer: "
      "wait=300\r\nContent-Type: application/json\r\nContent-Length: "
      "25\r\n\r\n{\"inputs\":{\"text\":\"abc\"}}");
  size_t waits = 0;
  while (waits != 2) runtime->call([&] { waits = runtime->waits(); });
  drain();
  runtime->call([this] { runtime->step_runs = false; });
  const Answer submitted = submitting->read_answer();
  expect_last(submitted, 202);
  EXPECT_EQ(text_at(json_of(submitted), "state"), "queued");
  const Answer waited = waiting->read_answer();
  expect_last(waited, 200);
  EXPECT_EQ(text_at(json_of(waited), "state"), "queued");
  const Answer stream = watching->read_answer();
  EXPECT_EQ(stream.status, 200) << "the stream ends as streams do";
  EXPECT_TRUE(watching->ends());
  thread.join();
}

TEST_F(Drain, AtItsLimitTheSameIsSaid) {
  begin(200, true);
  auto waiting = waiter(), watching = watcher();
  drain();
  expect_last(waiting->read_answer(), 200);
  EXPECT_EQ(watching->read_answer().status, 200);
  thread.join();
}

TEST_F(Drain, AnOpenConnectionGetsOneMoreAnswer) {
  begin(30'000, true);
  auto submitting = client(), reading = client();
  EXPECT_EQ(submitting->get("/livez").status, 200);
  EXPECT_EQ(reading->get("/livez").status, 200);
  drain();
  const Answer refused =
      submitting->request("POST", kPlain, kJsonType, "{\"inputs\":{\"text\":\"abc\"}}");
  expect_last(refused, 503);
  EXPECT_EQ(problem(refused), "E028");
  EXPECT_EQ(refused.header("retry-after"), "1");
  expect_last(reading->get(path_), 200);
  EXPECT_FALSE(client()->connected()) << "the socket is closed";
  runtime->call([this] { runtime->step_runs = false; });
  thread.join();
}

}  // namespace
}  // namespace millrace::test
