// Goal: files, pipelines and operations answer as the contract says, and nobody comes in who may
// not. Method: requests against a server over a FakeRuntime, whose jobs end when the test says so.
#include <cstdlib>
#include <fstream>

#include "tests/http/api_fixture.h"

namespace millrace::test {
namespace {

TEST_F(Api, FilesAreServedAndNeverLeaveTheirStore) {
  const std::string root = testing::TempDir() + "files_test_store";
  ASSERT_EQ(std::system(("rm -rf " + root + " && mkdir -p " + root + "/a " + root +
                         "/.millrace.tmp && ln -s /etc/passwd " + root + "/link && ln -s /etc " +
                         root + "/dir")
                            .c_str()),
            0);
  std::ofstream(root + "/a/b c.jpg", std::ios::binary) << tiny_jpeg(600'000);
  std::ofstream(root + "/.millrace.tmp/x") << "secret";
  std::ofstream(root + "/../files_test_outside") << "secret";
  config.stores = {{"default", root, ""}};
  start();
  auto c = client();
  const Answer answer = c->get("/v1/files/default/a/b%20c.jpg");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, tiny_jpeg(600'000));
  EXPECT_EQ(answer.header("content-type"), "image/jpeg");
  EXPECT_EQ(c->get("/v1/files/default/a/b%20c.jpg", "Range: bytes=300000-300009\r\n").body.size(),
            10u);
  EXPECT_EQ(
      c->get("/v1/files/default/a/b%20c.jpg", "If-None-Match: " + answer.header("etag") + "\r\n")
          .status,
      304);
  for (const char* key : {"../files_test_outside", "a/../../files_test_outside", "%2e%2e/x", "link",
                          "dir/passwd", ".millrace.tmp/x", "a", "a//b%20c.jpg", "a/%00", "none"}) {
    const Answer refused = c->get(std::string("/v1/files/default/") + key);
    EXPECT_EQ(refused.status, 404) << key;
    EXPECT_EQ(refused.body.find("secret"), std::string::npos) << key;
  }
  EXPECT_EQ(problem(c->get("/v1/files/other/a")), "E194");
}

// Regression: 60 MiB of JSON became three gigabytes and held the loop for a quarter of a minute,
// and names of the client's came back, escaped, as long as they were.
TEST_F(Api, WhatCannotBeAJobIsRefusedBeforeItCosts) {
  start();
  std::string many, names = "{\"inputs\":{\"a\":1", unknown = "{\"a\":1";
  for (int i = 0; i < 200'000; i++) many += "0,";
  for (int i = 0; i < 200; i++) {
    names += fmt::format(",\"a{}\":1", i);
    unknown += fmt::format(",\"{}\":1", std::string(2'000, 'u') + std::to_string(i));
  }
  const std::string list = "[" + many + "0]";
  auto c = client();
  const auto json = [&c](const std::string& body) {
    return c->request("POST", kPlain, kJsonType, body);
  };
  EXPECT_EQ(problem(json("{\"inputs\":{\"text\":" + list + "}}")), "E017");
  EXPECT_EQ(problem(c->request("POST", kPlain, kFormType, field("text", list) + "--B--\r\n")),
            "E017");
  EXPECT_EQ(problem(json(names + "}}")), "E009");
  EXPECT_EQ(problem(json("{\"inputs\":{\"" + std::string(100'000, 'n') + "\":1}}")), "E009");
  const Answer answer = json(unknown + "}");
  EXPECT_EQ(problem(answer), "E009");
  EXPECT_LE(answer.body.size(), 300'000u);  // a hundred problems, each cut to a kilobyte twice
}

// Regression: answers that nobody read were memory that nothing counted.
TEST_F(Api, LargeAnswersThatNobodyReadsHaveABound) {
  runtime = std::make_unique<FakeRuntime>(1 << 20);
  start();
  for (int i = 0; i < 100; i++) EXPECT_EQ(submit_plain("", std::string(1000, 'a')).status, 202);
  const std::string all = "/v1/jobs?limit=100";
  auto c = client();
  const size_t size = c->get(all).body.size();
  ASSERT_GT(size, 64u * 1024);
  // One after the other on one connection, unread: only those that the socket takes at once go out.
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 4; i++) {
    silent.push_back(client());
    std::string many;
    for (int k = 0; k < 100; k++) many += "GET " + all + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
    silent.back()->write(many);
  }
  Answer answer;
  constexpr int kTries = 10'000;
  for (int i = 0; i < kTries && (answer = c->get(all)).status == 200; i++) {
    EXPECT_EQ(answer.body.size(), size);
  }
  EXPECT_EQ(problem(answer), "E016");
  EXPECT_EQ(c->get("/v1/jobs?limit=10").status, 200);
  silent.clear();
  for (int i = 0; i < kTries && (answer = c->get(all)).status == 503; i++) {
    std::this_thread::yield();
  }
  EXPECT_EQ(answer.status, 200);
}

TEST_F(Api, PipelinesAreListedShownAndNotChanged) {
  start();
  auto c = client();
  EXPECT_EQ(json_of(c->get("/v1/pipelines")).find("pipelines")->as_list().size(), 2u);
  const Answer one = c->get("/v1/pipelines/photo");
  const Value value = json_of(one);
  EXPECT_EQ(text_at(value, "name"), "photo");
  EXPECT_EQ(text_at(value, "yaml"), "pipeline: photo\n");
  EXPECT_EQ(text_at(value, "digest").substr(0, 7), "sha256:");
  EXPECT_EQ(value.find("graph")->find("steps")->as_list().size(), 1u);
  EXPECT_EQ(c->get("/v1/pipelines/photo", "Accept: application/yaml\r\n").body,
            "pipeline: photo\n");
  EXPECT_EQ(c->get("/v1/pipelines/photo", "If-None-Match: " + one.header("etag") + "\r\n").status,
            304);
  EXPECT_EQ(problem(c->get("/v1/pipelines/none")), "E004");
  EXPECT_EQ(problem(c->request("PUT", "/v1/pipelines/photo", "", "x: y")), "E196");
  EXPECT_EQ(problem(c->request("DELETE", "/v1/pipelines/photo")), "E196");
  const Answer broken = c->request("POST", "/v1/pipelines/validate", "", "a: [");
  EXPECT_EQ(broken.status, 200);
  EXPECT_FALSE(json_of(broken).find("diagnostics")->as_list().empty());
  EXPECT_EQ(
      problem(c->request("POST", "/v1/pipelines/validate", "Content-Type: image/png\r\n", "x")),
      "E006");
}

TEST_F(Api, OperationsAnswer) {
  start();
  auto c = client();
  EXPECT_EQ(json_of(c->get("/v1/steps")).find("steps")->as_list().size(), 1u);
  const Answer metrics = c->get("/metrics");
  EXPECT_EQ(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(metrics.body.find("millrace_http_requests_total{route=\"/v1/steps\",method=\"GET\","
                              "status=\"200\"} 1"),
            std::string::npos);
  EXPECT_EQ(c->get("/readyz").status, 200);
  runtime->call([this] { runtime->health_now = {false, "the disk is full"}; });
  const Answer unready = c->get("/readyz");
  EXPECT_EQ(unready.status, 503);
  EXPECT_EQ(unready.body, "the disk is full\n");
  EXPECT_EQ(c->get("/livez").status, 200);
}

TEST_F(Api, UnknownPathsAndWrongMethodsAreToldApart) {
  start();
  auto c = client();
  EXPECT_EQ(problem(c->get("/v1/none")), "E002");
  EXPECT_EQ(problem(c->get("/v1/jobs/")), "E002");
  EXPECT_EQ(problem(c->get("/v1/jobs/%zz")), "E002");
  const Answer wrong = c->request("DELETE", "/v1/jobs");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.header("allow"), "GET, HEAD");
  EXPECT_EQ(problem(wrong), "E003");
  EXPECT_EQ(c->request("PATCH", "/v1/jobs").status, 405);
  EXPECT_EQ(c->request("POST", "/v1/jobs/x/pause").status, 404);
}

TEST_F(Api, BrowsersAreKeptOut) {
  config.public_url = "https://images.example";
  config.cors_origins = {"https://app.example"};
  start();
  const auto with_host = [this](const std::string& host) {
    auto c = client();
    c->write("GET /v1/jobs HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
    return c->read_answer().status;
  };
  EXPECT_EQ(with_host("localhost:1"), 200);
  EXPECT_EQ(with_host("[::1]:1"), 200);
  EXPECT_EQ(with_host("images.example"), 200);
  EXPECT_EQ(with_host("evil.example"), 421);
  EXPECT_EQ(with_host("127.0.0.1.evil.example"), 421);
  auto c = client();
  c->write("GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(c->read_answer().status, 200);
  EXPECT_EQ(problem(submit_plain("Origin: https://evil.example\r\n")), "E023");
  EXPECT_EQ(problem(submit_plain("Origin: null\r\n")), "E023");
  EXPECT_EQ(submit_plain("Origin: https://images.example\r\n").status, 202);
  const Answer allowed = submit_plain("Origin: https://app.example\r\n");
  EXPECT_EQ(allowed.status, 202);
  EXPECT_EQ(allowed.header("access-control-allow-origin"), "https://app.example");
  EXPECT_EQ(allowed.header("location").substr(0, 31), "https://images.example/v1/jobs/");
  const Answer preflight =
      client()->request("OPTIONS", "/v1/jobs",
                        "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_FALSE(preflight.header("access-control-allow-methods").empty());
  EXPECT_EQ(client()->request("OPTIONS", "/v1/jobs").status, 405);
}

TEST_F(Api, ATokenIsAskedFor) {
  token = "s3cret";
  start();
  auto c = client();
  const Answer none = c->get("/v1/jobs");
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(none.header("www-authenticate"), "Bearer realm=\"millrace\"");
  EXPECT_EQ(problem(none), "E024");
  EXPECT_EQ(c->get("/v1/jobs", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(c->get("/v1/jobs", "Authorization: Bearer s3cret\r\n").status, 200);
  EXPECT_EQ(c->get("/livez").status, 200);
  c->write("GET /v1/jobs HTTP/1.1\r\nHost: any.example\r\nAuthorization: bearer s3cret\r\n\r\n");
  EXPECT_EQ(c->read_answer().status, 200);
}

TEST_F(Api, DrainingRefusesNewJobsAndEndsWhenAllIsAnswered) {
  start();
  auto c = client();
  EXPECT_EQ(c->get("/livez").status, 200);
  runtime->call([this] { loop->drain(); });
  EXPECT_TRUE(c->ends());
  thread.join();
  loop.reset();
}

}  // namespace
}  // namespace millrace::test
