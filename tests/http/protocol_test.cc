// Goal: HTTP/1.1 is spoken strictly; no byte sequence makes the server answer twice, hang or die.
// Method: raw sockets against a server over a FakeRuntime; after every attack the server still
// answers.
#include "tests/http/server_fixture.h"

namespace millrace::test {
namespace {

class Protocol : public ServerFixture {
 protected:
  // Sends raw bytes on a fresh connection; returns the status of the one answer, and checks that
  // the connection then ends.
  int refused(const std::string& bytes) {
    auto c = client();
    c->write(bytes);
    const Answer answer = c->read_answer();
    EXPECT_TRUE(c->ends()) << bytes.substr(0, 80);
    EXPECT_EQ(answer.header("connection"), "close") << bytes.substr(0, 80);
    EXPECT_EQ(client()->get("/livez").status, 200);
    return answer.status;
  }
};

TEST_F(Protocol, AnswersAndKeepsTheConnection) {
  start();
  auto c = client();
  for (int i = 0; i < 3; i++) {
    const Answer answer = c->get("/livez");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "ok\n");
    EXPECT_FALSE(answer.header("date").empty());
    EXPECT_FALSE(answer.header("x-request-id").empty());
    EXPECT_TRUE(c->connected());
  }
}

TEST_F(Protocol, HeadGivesTheHeadersOfGetWithoutABody) {
  start();
  auto c = client();
  const Answer get = c->get("/openapi.json");
  const Answer head = c->request("HEAD", "/openapi.json");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), get.header("content-length"));
  EXPECT_TRUE(head.body.empty());
  EXPECT_EQ(c->get("/livez").status, 200);
}

TEST_F(Protocol, RequestIdIsEchoedWhenItIsHarmless) {
  start();
  auto c = client();
  EXPECT_EQ(c->get("/livez", "X-Request-Id: abc-123\r\n").header("x-request-id"), "abc-123");
  EXPECT_NE(c->get("/livez", "X-Request-Id: a b\r\n").header("x-request-id"), "a b");
}

TEST_F(Protocol, PipelinedRequestsAreAnsweredInOrder) {
  start();
  auto c = client();
  std::string all;
  for (int i = 0; i < 100; i++) {
    all += "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: n" + std::to_string(i) +
           "\r\n\r\n";
  }
  c->write(all);
  for (int i = 0; i < 100; i++) {
    EXPECT_EQ(c->read_answer().header("x-request-id"), "n" + std::to_string(i));
  }
}

TEST_F(Protocol, TenThousandTinyWritesMakeOneRequest) {
  start();
  auto c = client();
  std::string text = "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n";
  text += std::string(10'000, 'b');
  for (char byte : text) ASSERT_TRUE(c->write(std::string_view(&byte, 1)));
  EXPECT_EQ(c->read_answer().status, 201);
}

TEST_F(Protocol, ConnectionCloseAndHttp10AreHonoured) {
  start();
  auto c = client();
  c->write("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(c->read_answer().header("connection"), "close");
  EXPECT_TRUE(c->ends());
  auto old = client();
  old->write("GET /livez HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old->read_answer().status, 200);
  EXPECT_TRUE(old->ends());
}

TEST_F(Protocol, AClientMayCloseItsSideAndStillReadTheAnswer) {
  start();
  auto c = client();
  c->write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  c->half_close();
  EXPECT_EQ(c->read_answer().status, 200);
  EXPECT_TRUE(c->ends());
}

TEST_F(Protocol, SmugglingFormsAreRefused) {
  start();
  const std::string post = "POST /v1/blobs HTTP/1.1\r\n";
  EXPECT_EQ(refused(post + "Host: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Content-Length: 0\r\n\r\n"), 400);  // no Host
  EXPECT_EQ(refused(post + "Host: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: "
                           "chunked\r\n\r\n0\r\n\r\n"),
            400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
            400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nContent-Length : 3\r\n\r\nabc"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nContent-Length: +3\r\n\r\nabc"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
                           "chunked\r\n\r\n0\r\n\r\n"),
            400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nX: a\r\n b\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\nX: a\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nX: a\rb\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nno colon\r\n\r\n"), 400);
  EXPECT_EQ(refused(post + "Host: localhost\r\nX: a" + std::string(1, '\0') + "b\r\n\r\n"), 400);
  EXPECT_EQ(refused("GET /livez HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
}

TEST_F(Protocol, GarbageIsRefused) {
  start();
  EXPECT_EQ(refused("\x16\x03\x01\x02 TLS hello\r\n\r\n"), 400);
  EXPECT_EQ(refused("GET /livez HTTP/2.0\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(refused("GET  HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(refused("GET  /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400);
}

TEST_F(Protocol, BrokenChunksAreRefused) {
  start();
  const std::string head =
      "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(refused(head + "zz\r\nabc\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refused(head + "3\r\nabcde\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refused(head + "-1\r\nabc\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refused(head + "fffffffffffffffff\r\n"), 400);
  std::string extensions = head + "1";
  extensions += ";" + std::string(100'000, 'x');
  EXPECT_EQ(refused(extensions + "\r\na\r\n0\r\n\r\n"), 400);
}

TEST_F(Protocol, ChunkedBodiesAreRead) {
  start();
  auto c = client();
  c->write(
      "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2;name=value\r\nde\r\n0\r\nTrailer: ignored\r\n\r\n");
  const Answer answer = c->read_answer();
  EXPECT_EQ(answer.status, 201);
  EXPECT_NE(answer.body.find(sha256("abcde").text()), std::string::npos);
  EXPECT_EQ(c->get("/livez").status, 200);
}

TEST_F(Protocol, HeadsHaveLimits) {
  start();
  EXPECT_EQ(refused("GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            414);
  std::string many = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
  for (int i = 0; i < 200; i++) many += "X: y\r\n";
  EXPECT_EQ(refused(many + "\r\n"), 431);
  EXPECT_EQ(refused("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(40'000, 'a') +
                    "\r\n\r\n"),
            431);
}

// Regression: bytes that came in a later read than the refused ones went to the parser again, which
// was in an error without a reason; the null reason ended the server.
TEST_F(Protocol, WhatComesAfterARefusalIsThrownAway) {
  start();
  EXPECT_EQ(refused("GET /" + std::string(300'000, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            414);
  std::string many = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
  for (int i = 0; i < 50'000; i++) many += "a: b\r\n";
  EXPECT_EQ(refused(many + "\r\n"), 431);
}

TEST_F(Protocol, OversizedBodiesAreRefusedBeforeTheyAreRead) {
  start();
  EXPECT_EQ(
      refused("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"),
      413);
  EXPECT_EQ(refused("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n3\r\nabc\r\nffffffffffffffff\r\n"),
            413);
  std::string chunked =
      "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 50; i++) chunked += "20000\r\n" + std::string(0x20000, 'c') + "\r\n";
  auto c = client();
  c->write(chunked);
  EXPECT_EQ(c->read_answer().status, 413);
}

TEST_F(Protocol, ContinueComesOnlyAfterTheHeadWasAccepted) {
  start();
  auto good = client();
  good->write(
      "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: "
      "100-continue\r\n\r\n");
  ASSERT_TRUE(good->read_until("100 Continue"));
  good->write("abc");
  EXPECT_EQ(good->read_answer().status, 201);
  EXPECT_EQ(good->continues, 1);
  EXPECT_EQ(refused("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                    "5000000\r\nExpect: 100-continue\r\n\r\n"),
            413);
  EXPECT_EQ(refused("POST /v1/pipelines/none/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                    "5\r\nExpect: 100-continue\r\n\r\n"),
            404);
  EXPECT_EQ(refused("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: "
                    "more\r\n\r\nabc"),
            417);
}

TEST_F(Protocol, ARefusedSmallBodyKeepsTheConnection) {
  start();
  auto c = client();
  EXPECT_EQ(c->request("POST", "/v1/pipelines/none/jobs", "", "small").status, 404);
  EXPECT_TRUE(c->connected());
  EXPECT_EQ(c->get("/livez").status, 200);
}

TEST_F(Protocol, SlowHeadsAndBodiesAreEnded) {
  options.http.head_ms = 150;
  options.http.body_ms = 150;
  options.http.idle_ms = 400;
  start();
  EXPECT_EQ(refused("GET /livez HTTP/1.1\r\nHost: lo"), 408);
  EXPECT_EQ(refused("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"),
            408);
  auto idle = client();
  EXPECT_TRUE(idle->ends());
}

TEST_F(Protocol, TooManyConnectionsAreToldSo) {
  options.http.connections_max = 2;
  start();
  auto a = client(), b = client();
  a->write("GET /livez HTTP/1.1\r\n");
  b->write(
      "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: "
      "100-continue\r\n\r\n");
  ASSERT_TRUE(b->read_until("100 Continue"));  // both are in the middle of a request by now
  auto c = client();
  const Answer answer = c->read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.header("retry-after"), "1");
  EXPECT_NE(answer.body.find("\"E028\""), std::string::npos);
  EXPECT_EQ(answer.body.back(), '}');
  EXPECT_TRUE(c->ends());
  // Regression: who had sent a request by then saw a reset, not this answer.
  auto d = client();
  d->write("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" +
           std::string(100'000, 'd'));
  EXPECT_EQ(d->read_answer().status, 503);
  EXPECT_TRUE(d->ends());
}

// Regression: connections that had sent nothing yet, or nothing that was read yet, were closed
// without a word to make room for others.
TEST_F(Protocol, WhoMakesRoomBeforeItsFirstAnswerHearsWhy) {
  constexpr int kAtOnce = 24;
  options.http.connections_max = 4;
  start();
  const std::string request =
      "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: "
      "100-continue\r\n\r\n";
  for (const bool connect_first : {true, false}) {
    std::vector<std::unique_ptr<Client>> all;
    for (int i = 0; i < kAtOnce; i++) {
      all.push_back(client());
      if (!connect_first) all.back()->write(request);
    }
    if (connect_first) {
      runtime->call([] {});  // all that have come are accepted, or turned away
      for (const auto& c : all) c->write(request);
    }
    int taken = 0, refused = 0;
    for (const auto& c : all) {
      ASSERT_TRUE(c->read_until("\r\n\r\n")) << "not a word";
      taken += c->buffer().starts_with("HTTP/1.1 100 ");
      refused += c->buffer().find("503 Service Unavailable") != std::string::npos;
    }
    EXPECT_EQ(taken + refused, kAtOnce);
    if (connect_first) {
      EXPECT_GT(taken, 0);
    }
  }
}

// Regression: whoever held all connections and asked nothing kept everybody out.
TEST_F(Protocol, IdleConnectionsMakeRoomTheOldestFirst) {
  options.http.connections_max = 3;
  start();
  auto busy = client(), older = client(), newer = client();
  busy->write("GET /livez HTTP/1.1\r\n");
  EXPECT_EQ(older->get("/livez").status, 200);
  EXPECT_EQ(newer->get("/livez").status, 200);
  auto late = client();
  EXPECT_EQ(late->get("/livez").status, 200);
  EXPECT_TRUE(older->ends());
  EXPECT_EQ(newer->get("/livez").status, 200);
  busy->write("Host: localhost\r\n\r\n");
  EXPECT_EQ(busy->read_answer().status, 200);
}

TEST_F(Protocol, ABodyWaitsForRoomInTheBudgetAndGoesOn) {
  runtime = std::make_unique<FakeRuntime>(1 << 20);
  start();
  ASSERT_TRUE(runtime->budget()->try_charge((1 << 20) - 10));
  auto c = client();
  c->write("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" +
           std::string(1000, 'a'));
  EXPECT_FALSE(c->read_more(200));
  runtime->budget()->release((1 << 20) - 10);
  EXPECT_EQ(c->read_answer().status, 201);
}

TEST_F(Protocol, ABodyThatFindsNoRoomIsToldToComeAgain) {
  runtime = std::make_unique<FakeRuntime>(1000);
  options.http.stall_ms = 100;
  start();
  auto c = client();
  c->write("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n" +
           std::string(2000, 'a'));
  const Answer answer = c->read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.body.find("\"E016\""), std::string::npos);
  EXPECT_EQ(runtime->budget()->used_bytes(), 0u);
}

// Regression: who left while its body waited for room kept what it held until the wait was over.
TEST_F(Protocol, AStalledBodyWhoseClientLeftIsForgotten) {
  runtime = std::make_unique<FakeRuntime>(100'000);
  options.http.stall_ms = 600'000;
  options.http.linger_ms = 100;  // the shortest time says how often is looked
  start();
  for (const bool reset : {false, true}) {
    auto c = client();
    c->write(
        "POST /v1/pipelines/plain/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
        "application/json\r\nContent-Length: 1000000\r\n\r\n" +
        std::string(180'000, ' '));  // the end must fit into the window behind it
    while (runtime->budget()->used_bytes() == 0) std::this_thread::yield();
    if (reset) c->reset();
    c.reset();
    const auto start_time = std::chrono::steady_clock::now();
    while (runtime->budget()->used_bytes() != 0) {
      ASSERT_LT(std::chrono::steady_clock::now() - start_time, std::chrono::seconds(60));
      std::this_thread::yield();
    }
  }
}

// Regression: a few beginnings of large bodies, brought slowly, held the whole budget; everybody
// else waited and was told to come again.
TEST_F(Protocol, ALargeBodyUnderWayGivesWayToSmallOnes) {
  runtime = std::make_unique<FakeRuntime>(1'000'000);
  options.http.stall_ms = 8000;  // small ones wait an eighth of it
  start();
  auto large = client();
  large->write(
      "POST /v1/pipelines/plain/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nContent-Length: 3000000\r\n\r\n" +
      std::string(950'000, ' '));
  while (runtime->budget()->used_bytes() < 800'000) std::this_thread::yield();
  const std::string small = R"({"inputs":{"text":"abc"}})" + std::string(100'000, ' ');
  EXPECT_EQ(
      client()
          ->request("POST", "/v1/pipelines/plain/jobs", "Content-Type: application/json\r\n", small)
          .status,
      202);
  const Answer answer = large->read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.body.find("\"E016\""), std::string::npos);
  EXPECT_TRUE(large->ends());
}

// Regression: after the end of what a client sends nothing was read any more, and a reset that
// followed went unnoticed until the wait was over.
TEST_F(Protocol, AWaitWhoseClientLeftIsGivenUpWhateverWayItLeft) {
  start();
  runtime->call([this] { runtime->ends_by_itself = false; });
  const std::string wait =
      "POST /v1/pipelines/plain/jobs HTTP/1.1\r\nHost: localhost\r\nPrefer: "
      "wait=300\r\nContent-Type: application/json\r\nContent-Length: "
      "25\r\n\r\n{\"inputs\":{\"text\":\"abc\"}}";
  const auto await_waiters = [this](size_t wanted) {
    for (size_t waiters = wanted + 1; waiters != wanted;) {
      runtime->call([&] { waiters = runtime->waiters(); });
    }
  };
  for (const char* way : {"reset", "half closed, then reset", "more sent, then reset"}) {
    SCOPED_TRACE(way);
    auto c = client();
    c->write(wait);
    if (*way == 'h') c->half_close();
    if (*way == 'm') c->write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await_waiters(1);
    EXPECT_EQ(client()->get("/livez").status, 200);  // the server has seen what came before
    c->reset();
    await_waiters(0);
  }
}

TEST_F(Protocol, AWaitOfAHalfClosedClientIsAnswered) {
  start();
  runtime->call([this] { runtime->ends_by_itself = false; });
  auto c = client();
  c->write(
      "POST /v1/pipelines/plain/jobs HTTP/1.1\r\nHost: localhost\r\nPrefer: "
      "wait=300\r\nContent-Type: application/json\r\nContent-Length: "
      "25\r\n\r\n{\"inputs\":{\"text\":\"abc\"}}");
  c->half_close();
  bool waits = false;
  while (!waits) runtime->call([&] { waits = runtime->waits() == 1; });
  runtime->call([this] { runtime->finish(runtime->only_job(), JobState::kSucceeded); });
  EXPECT_EQ(c->read_answer().status, 200);
  EXPECT_TRUE(c->ends());
}

TEST_F(Protocol, AClientThatLeavesIsForgotten) {
  start();
  runtime->call([this] { runtime->ends_by_itself = false; });
  {
    auto c = client();
    c->write(
        "POST /v1/pipelines/plain/jobs HTTP/1.1\r\nHost: localhost\r\nPrefer: "
        "wait=100\r\nContent-Type: application/json\r\nContent-Length: "
        "25\r\n\r\n{\"inputs\":{\"text\":\"abc\"}}");
    size_t waiters = 0;
    while (waiters == 0) runtime->call([&] { waiters = runtime->waiters(); });
  }
  // The end of the connection alone may be half a close; a stream is given up, a wait answered.
  runtime->call([this] { runtime->finish(runtime->only_job(), JobState::kSucceeded); });
  size_t waiters = 1;
  while (waiters != 0) runtime->call([&] { waiters = runtime->waiters(); });
}

}  // namespace
}  // namespace millrace::test
