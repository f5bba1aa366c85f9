// Goal: jobs, outputs and blobs answer with the statuses, headers and bodies of the contract.
// Method: requests against a server over a FakeRuntime, whose jobs end when the test says so.
#include "tests/http/api_fixture.h"

namespace millrace::test {
namespace {

TEST_F(Api, MultipartSubmissionIsAcceptedWithItsLocation) {
  start();
  const Answer answer = client()->request(
      "POST", std::string(kSubmit) + "?label=team:web", kFormType,
      file("image", tiny_jpeg()) + field("quality", "80") + field("tags", "a") +
          field("tags", "b") + field("pause", "90s") + field("label.env", "test") + "--B--\r\n");
  EXPECT_EQ(answer.status, 202) << answer.body;
  const Value job = json_of(answer);
  EXPECT_EQ(answer.header("location"), "/v1/jobs/" + text_at(job, "id"));
  EXPECT_EQ(text_at(*job.find("labels"), "env"), "test");
  EXPECT_EQ(text_at(*job.find("labels"), "team"), "web");
  const Value* inputs = job.find("inputs");
  EXPECT_EQ(inputs->find("quality")->as_int(), 80);
  EXPECT_EQ(inputs->find("tags")->as_list().size(), 2u);
  EXPECT_EQ(text_at(*inputs, "pause"), "90s");
  EXPECT_EQ(text_at(*inputs->find("image"), "media_type"), "image/jpeg");
  EXPECT_EQ(inputs->find("image")->find("size")->as_int(), 300);
  EXPECT_EQ(text_at(*inputs->find("image"), "url"),
            "/v1/blobs/" + text_at(*inputs->find("image"), "blob"));
}

TEST_F(Api, RawBytesAreTheOneImageAndTheQueryTheRest) {
  start();
  for (const char* type :
       {"Content-Type: image/png\r\n", "", "Content-Type: application/octet-stream\r\n"}) {
    const Answer answer = client()->request("POST", std::string(kSubmit) + "?quality=7&tags=x",
                                            std::string(type) + "Prefer: wait=10\r\n", tiny_jpeg());
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.header("preference-applied"), "wait=10");
    const Value job = json_of(answer);
    EXPECT_EQ(text_at(job, "state"), "succeeded");
    EXPECT_EQ(job.find("inputs")->find("quality")->as_int(), 7);
    EXPECT_EQ(text_at(*job.find("steps")->find("work"), "state"), "succeeded");
  }
}

TEST_F(Api, NoBodyIsASubmissionOfTheQueryAlone) {
  start();
  for (const char* type : {"", "Content-Type: application/x-www-form-urlencoded\r\n"}) {
    EXPECT_EQ(client()->request("POST", std::string(kPlain) + "?text=abc", type).status, 202);
  }
  EXPECT_EQ(problem(client()->request("POST", kPlain)), "E010");
}

TEST_F(Api, JsonCarriesBlobsByDigestOrInBase64) {
  start();
  auto c = client();
  const Answer blob = c->request("POST", "/v1/blobs", "", tiny_jpeg());
  EXPECT_EQ(blob.status, 201);
  const std::string digest = text_at(json_of(blob), "blob");
  EXPECT_EQ(blob.header("location"), "/v1/blobs/" + digest);
  EXPECT_EQ(c->request("POST", kSubmit, kJsonType,
                       "{\"inputs\":{\"image\":{\"blob\":\"" + digest + "\"}}}")
                .status,
            202);
  EXPECT_EQ(c->request("POST", kSubmit, kJsonType,
                       "{\"inputs\":{\"image\":{\"base64\":\"" + base64_encode(tiny_jpeg()) +
                           "\",\"media_type\":\"image/png\"}}}")
                .status,
            202);
  const Answer missing =
      c->request("POST", kSubmit, kJsonType,
                 "{\"inputs\":{\"image\":{\"blob\":\"sha256:" + std::string(64, '0') + "\"}}}");
  EXPECT_EQ(missing.status, 422);
  EXPECT_EQ(problem(missing), "E026");
}

struct Bad {
  const char* headers;
  std::string body;
  int status;
  const char* code;
};

TEST_F(Api, BadSubmissionsSayWhatIsWrong) {
  start();
  const std::string image = file("image", tiny_jpeg());
  const Bad cases[] = {
      {kFormType, file("image", "no image") + "--B--", 415, "E018"},
      {kFormType, file("image", "GIF89a......") + "--B--", 415, "E018"},
      {kFormType, image + field("quality", "500") + "--B--", 422, "E011"},
      {kFormType, image + field("quality", "abc") + "--B--", 422, "E011"},
      {kFormType, image + field("colour", "red") + "--B--", 422, "E009"},
      {kFormType, image + field("quality", "1") + field("quality", "2") + "--B--", 422, "E011"},
      {kFormType, field("quality", "80") + "--B--", 422, "E010"},
      {kFormType, image + field("label.a b", "x") + "--B--", 422, "E029"},
      {kFormType, image, 400, "E008"},
      {kFormType, file("image", tiny_jpeg((1 << 20) + 1)) + "--B--", 413, "E017"},
      {"Content-Type: multipart/form-data\r\n", "x", 400, "E008"},
      {kJsonType, "{\"inputs\":", 400, "E007"},
      {kJsonType, "[]", 400, "E007"},
      {kJsonType, "{\"inputs\":{},\"more\":1}", 422, "E009"},
      {kJsonType, "{\"inputs\":{\"image\":\"text\"}}", 422, "E011"},
      {kJsonType, "{\"inputs\":{\"image\":{\"base64\":\"!\"}}}", 422, "E011"},
      {kJsonType, "{\"inputs\":{\"image\":{\"$blob\":{}}}}", 400, "E007"},
      {"Content-Type: application/x-www-form-urlencoded\r\n", "a=b", 415, "E006"},
      {"Content-Type: nonsense\r\n", "a=b", 415, "E006"},
      {"Content-Type: image/jpeg\r\n", "no image at all", 415, "E018"},
      {"Content-Type: image/jpeg\r\nIdempotency-Key: a b\r\n", tiny_jpeg(), 400, "E012"},
      {"Content-Type: image/jpeg\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n", tiny_jpeg(), 400,
       "E012"},
      {"Content-Type: image/jpeg\r\n", tiny_jpeg((1 << 20) + 1), 413, "E017"},
  };
  for (const Bad& bad : cases) {
    const Answer answer = client()->request("POST", kSubmit, bad.headers, bad.body);
    EXPECT_EQ(answer.status, bad.status) << bad.headers << bad.body.substr(0, 200) << answer.body;
    EXPECT_EQ(problem(answer), bad.code) << bad.headers << bad.body.substr(0, 200) << answer.body;
  }
  const std::string key = "Idempotency-Key: " + std::string(256, 'k') + "\r\n";
  EXPECT_EQ(problem(client()->request("POST", kSubmit, key, tiny_jpeg())), "E012");
  EXPECT_EQ(problem(client()->request("POST", "/v1/pipelines/none/jobs", "", "x")), "E004");
  EXPECT_EQ(problem(client()->request("POST", kPlain, "Content-Type: image/jpeg\r\n", "x")),
            "E006");
  EXPECT_EQ(client()->request("POST", std::string(kSubmit) + "?a=%zz", "", tiny_jpeg()).status,
            400);
  size_t submitted = 1;
  runtime->call([&] { submitted = runtime->submitted.size(); });
  EXPECT_EQ(submitted, 0u);
}

TEST_F(Api, AllProblemsComeAtOnceWithTheirPointers) {
  start();
  const Answer answer = client()->request(
      "POST", kSubmit, kFormType,
      field("quality", "abc") + field("colour", "red") + field("pause", "soon") + "--B--");
  EXPECT_EQ(answer.status, 422);
  const Value value = json_of(answer);
  std::set<std::string> pointers;
  for (const Value& item : value.find("errors")->as_list()) {
    pointers.insert(text_at(item, "pointer") + " " + text_at(item, "code"));
  }
  EXPECT_EQ(pointers, (std::set<std::string>{"/inputs/quality E011", "/inputs/colour E009",
                                             "/inputs/pause E011", "/inputs/image E010"}));
}

TEST_F(Api, IdempotencyKeysReplayConflictAndExpire) {
  start();
  const Answer first = submit_plain("Idempotency-Key: k1\r\n");
  EXPECT_EQ(first.status, 202);
  EXPECT_EQ(first.header("idempotency-replayed"), "");
  const Answer again = submit_plain("Idempotency-Key: k1\r\nPrefer: wait=10\r\n");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.header("idempotency-replayed"), "true");
  EXPECT_EQ(id_of(again), id_of(first));
  const Answer other = submit_plain("Idempotency-Key: k1\r\n", "other");
  EXPECT_EQ(other.status, 409);
  EXPECT_EQ(problem(other), "E013");
  EXPECT_EQ(client()->request("DELETE", "/v1/jobs/" + id_of(first)).status, 204);
  const Answer gone = submit_plain("Idempotency-Key: k1\r\n");
  EXPECT_EQ(gone.status, 410);
  EXPECT_EQ(problem(gone), "E014");
}

TEST_F(Api, RefusalsOfTheRuntimeArePassedOn) {
  start();
  struct Case {
    Status status;
    int http;
  };
  for (const Case& one : {Case{Status::busy(errors::kTooManyJobs, "full"), 429},
                          Case{Status::unavailable(errors::kNoSpace, "no space"), 507},
                          Case{Status::busy(errors::kTooManyConnections, "draining"), 503}}) {
    runtime->call([&] { runtime->submit_refusal = one.status; });
    const Answer answer = submit_plain();
    EXPECT_EQ(answer.status, one.http);
    EXPECT_FALSE(answer.header("retry-after").empty());
  }
}

TEST_F(Api, WaitingEndsWithTheJobOrWithTheTime) {
  start();
  hold_jobs();
  const Answer answer = submit_plain("Prefer: wait=1\r\n");
  EXPECT_EQ(answer.status, 202);
  const std::string path = "/v1/jobs/" + id_of(answer);
  auto c = client();
  c->write("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=100\r\n\r\n");
  size_t waiters = 0;
  while (waiters == 0) runtime->call([&] { waiters = runtime->waiters(); });
  runtime->call([this] { runtime->finish(runtime->only_job(), JobState::kFailed); });
  const Answer end = c->read_answer();
  EXPECT_EQ(end.status, 200);
  EXPECT_EQ(end.header("preference-applied"), "wait=100");
  const Value job = json_of(end);
  EXPECT_EQ(text_at(job, "state"), "failed");
  EXPECT_EQ(text_at(*job.find("error"), "code"), "E160");
  EXPECT_EQ(text_at(*job.find("error"), "step"), "work");
}

TEST_F(Api, AJobHasAnEntityTagThatChangesWithIt) {
  start();
  hold_jobs();
  const std::string path = "/v1/jobs/" + id_of(submit_plain());
  auto c = client();
  const Answer first = c->get(path);
  EXPECT_EQ(first.status, 200);
  const std::string match = "If-None-Match: " + first.header("etag") + "\r\n";
  EXPECT_EQ(c->get(path, match).status, 304);
  EXPECT_EQ(c->request("HEAD", path).header("etag"), first.header("etag"));
  runtime->call([this] { runtime->progress(runtime->only_job()); });
  EXPECT_EQ(c->get(path, match).status, 200);
  EXPECT_EQ(problem(c->get("/v1/jobs/nonsense")), "E005");
  EXPECT_EQ(problem(c->get("/v1/jobs/0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b-9f8e7d6c")), "E005");
}

TEST_F(Api, ListsAreFilteredAndPaged) {
  start();
  for (int i = 0; i < 5; i++) {
    EXPECT_EQ(client()
                  ->request("POST", fmt::format("{}?label=n:{}", kPlain, i % 2), kJsonType,
                            "{\"inputs\":{\"text\":\"x\"}}")
                  .status,
              202);
  }
  auto c = client();
  const Value all = json_of(c->get("/v1/jobs"));
  EXPECT_EQ(all.find("jobs")->as_list().size(), 5u);
  EXPECT_TRUE(all.find("next")->is_null());
  const Value page = json_of(c->get("/v1/jobs?limit=2"));
  EXPECT_EQ(page.find("jobs")->as_list().size(), 2u);
  const Value rest = json_of(c->get("/v1/jobs?limit=5&cursor=" + text_at(page, "next")));
  EXPECT_EQ(rest.find("jobs")->as_list().size(), 3u);
  EXPECT_EQ(json_of(c->get("/v1/jobs?label=n:1")).find("jobs")->as_list().size(), 2u);
  EXPECT_EQ(json_of(c->get("/v1/jobs?pipeline=photo")).find("jobs")->as_list().size(), 0u);
  for (const char* query : {"limit=0", "limit=x", "limit=1001", "state=done", "label=x",
                            "created_after=now", "cursor=zz", "colour=red"}) {
    EXPECT_EQ(problem(c->get(std::string("/v1/jobs?") + query)), "E025") << query;
  }
}

TEST_F(Api, AListShowsWhatAJobShows) {
  start();
  hold_jobs();
  runtime->call([this] {
    runtime->waiting_for = {{-1, "no_worker", "no free worker"}, {0, "no_worker", "none free"}};
  });
  auto c = client();
  const std::string job = c->get("/v1/jobs/" + id_of(submit_plain())).body;
  EXPECT_NE(job.find("none free"), std::string::npos);
  EXPECT_EQ(c->get("/v1/jobs").body, "{\"jobs\":[" + job + "],\"next\":null}");
}

TEST_F(Api, CancelAndDeleteObeyTheState) {
  start();
  hold_jobs();
  const std::string path = "/v1/jobs/" + id_of(submit_plain());
  auto c = client();
  EXPECT_EQ(problem(c->request("DELETE", path)), "E021");
  EXPECT_EQ(c->request("POST", path + "/cancel").status, 202);
  EXPECT_EQ(text_at(json_of(c->get(path, "Prefer: wait=10\r\n")), "state"), "cancelled");
  EXPECT_EQ(problem(c->request("POST", path + "/cancel")), "E021");
  EXPECT_EQ(c->request("DELETE", path).status, 204);
  EXPECT_EQ(problem(c->get(path)), "E014");
}

TEST_F(Api, OutputsAreBytesWithRangesAndTags) {
  start();
  const Answer job = client()->request("POST", kSubmit, "Prefer: wait=10\r\n", tiny_jpeg(1000));
  const std::string path = "/v1/jobs/" + id_of(job) + "/outputs/result";
  auto c = client();
  const Answer whole = c->get(path);
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body, tiny_jpeg(1000));
  EXPECT_EQ(whole.header("content-type"), "image/jpeg");
  EXPECT_EQ(whole.header("content-disposition"), "inline; filename=\"photo-result.jpg\"");
  EXPECT_EQ(whole.header("x-content-type-options"), "nosniff");
  EXPECT_EQ(whole.header("content-security-policy"), "default-src 'none'; sandbox");
  EXPECT_EQ(whole.header("accept-ranges"), "bytes");
  const Answer part = c->get(path, "Range: bytes=2-5\r\n");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.header("content-range"), "bytes 2-5/1000");
  EXPECT_EQ(part.body, tiny_jpeg(1000).substr(2, 4));
  EXPECT_EQ(c->get(path, "Range: bytes=2-5\r\nIf-Range: \"other\"\r\n").status, 200);
  const Answer outside = c->get(path, "Range: bytes=1000-\r\n");
  EXPECT_EQ(outside.status, 416);
  EXPECT_EQ(outside.header("content-range"), "bytes */1000");
  EXPECT_EQ(problem(outside), "E195");
  EXPECT_EQ(c->get(path, "If-None-Match: " + whole.header("etag") + "\r\n").status, 304);
  EXPECT_EQ(c->request("HEAD", path).header("content-length"), "1000");
  EXPECT_EQ(problem(c->get("/v1/jobs/" + id_of(job) + "/outputs/none")), "E020");
}

TEST_F(Api, AbusedRangesGetTheWholeOrNothing) {
  start();
  const std::string bytes = tiny_jpeg(1000);
  auto c = client();
  const std::string path =
      "/v1/blobs/" + text_at(json_of(c->request("POST", "/v1/blobs", "", bytes)), "blob");
  std::string many = "0-0", overlapping = "0-999";
  for (int i = 1; i < 2000; i++) many += fmt::format(",{}-{}", i, i);
  for (int i = 0; i < 2000; i++) overlapping += ",0-999";
  for (const std::string& range :
       {many, overlapping, std::string("0-1,1000000-"), std::string("-"), std::string("5-2"),
        std::string("0x1-2"), std::string("+1-2"), std::string("1 - 2"), std::string()}) {
    const Answer answer = c->get(path, "Range: bytes=" + range + "\r\n");
    EXPECT_EQ(answer.status, 200) << range.substr(0, 40);
    EXPECT_TRUE(answer.body == bytes) << range.substr(0, 40);
  }
  for (const char* range : {"1000-", "1000-1000", "18446744073709551615-", "-0"}) {
    const Answer answer = c->get(path, std::string("Range: bytes=") + range + "\r\n");
    EXPECT_EQ(problem(answer), "E195") << range;
    EXPECT_EQ(answer.status, 416) << range;
    EXPECT_EQ(answer.header("content-range"), "bytes */1000") << range;
  }
  for (const char* range : {"0-18446744073709551615", "-18446744073709551615"}) {
    const Answer answer = c->get(path, std::string("Range: bytes=") + range + "\r\n");
    EXPECT_EQ(answer.status, 206) << range;
    EXPECT_TRUE(answer.body == bytes) << range;
  }
}

TEST_F(Api, PartsInAnotherEncodingOrOfPartsAreRefused) {
  start();
  const auto part = [](const std::string& header, const std::string& content) {
    return "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n" + header +
           "\r\n\r\n" + content + "\r\n--B--";
  };
  const std::string nested = "--C\r\nContent-Disposition: attachment; filename=\"b.jpg\"\r\n\r\n" +
                             tiny_jpeg() + "\r\n--C--";
  struct Refused {
    std::string body;
    int status;
    const char* code;
  };
  for (const Refused& bad :
       {Refused{part("Content-Transfer-Encoding: base64", "/9j/4AAQ"), 400, "E008"},
        Refused{part("Content-Transfer-Encoding: quoted-printable", "=FF=D8=FF"), 400, "E008"},
        Refused{part("content-transfer-encoding: x-gzip", "x"), 400, "E008"},
        Refused{part("Content-Type: multipart/mixed; boundary=C", nested), 415, "E018"},
        Refused{part("Content-Type: multipart/mixed; boundary=B", "x\r\n--B\r\n\r\nx"), 400,
                "E008"}}) {
    const Answer answer = client()->request("POST", kSubmit, kFormType, bad.body);
    EXPECT_EQ(answer.status, bad.status) << bad.body << answer.body;
    EXPECT_EQ(problem(answer), bad.code) << bad.body;
  }
  for (const char* type : {"multipart/mixed; boundary=B", "multipart/form-data-x; boundary=B"}) {
    const Answer answer = client()->request(
        "POST", kPlain, fmt::format("Content-Type: {}\r\n", type), field("text", "x") + "--B--");
    EXPECT_EQ(answer.status, 415) << type;
    EXPECT_EQ(problem(answer), "E006") << type;
  }
  for (const char* encoding : {"binary", "8BIT", "7bit"}) {
    const Answer answer =
        client()->request("POST", kSubmit, kFormType,
                          part(std::string("Content-Transfer-Encoding: ") + encoding, tiny_jpeg()));
    EXPECT_EQ(answer.status, 202) << encoding << answer.body;
  }
}

TEST_F(Api, OutputsThatAreNoBytesAreJsonAndComeWhenReady) {
  start();
  hold_jobs();
  const std::string path = "/v1/jobs/" + id_of(submit_plain()) + "/outputs/result";
  EXPECT_EQ(problem(client()->get(path)), "E019");
  runtime->call([this] { runtime->finish(runtime->only_job(), JobState::kSucceeded); });
  const Answer answer = client()->get(path);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "application/json");
  EXPECT_EQ(answer.body, "\"done\"");
}

TEST_F(Api, EventsBeginWithASnapshotAndEndWithTheJob) {
  start();
  hold_jobs();
  const std::string path = "/v1/jobs/" + id_of(submit_plain()) + "/events";
  auto c = client();
  c->write("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(c->read_until("id: 1\n"));
  runtime->call([this] { runtime->progress(runtime->only_job()); });
  ASSERT_TRUE(c->read_until("id: 2\n"));
  runtime->call([this] { runtime->finish(runtime->only_job(), JobState::kSucceeded); });
  const Answer answer = c->read_answer();
  EXPECT_EQ(answer.header("content-type"), "text/event-stream");
  EXPECT_NE(answer.body.find("id: 3\nevent: job\ndata: {"), std::string::npos);
  EXPECT_NE(answer.body.find("\"state\":\"succeeded\""), std::string::npos);
  EXPECT_EQ(c->get(path, "Last-Event-ID: 3\r\n").body.find("data:"), std::string::npos);
  EXPECT_NE(c->get(path, "Last-Event-ID: 2\r\n").body.find("id: 3"), std::string::npos);
  EXPECT_EQ(problem(c->get(path, "Last-Event-ID: x\r\n")), "E025");
  EXPECT_EQ(c->request("HEAD", path).status, 200);
}

TEST_F(Api, AnEventStreamWhoseReaderLeftIsGivenUp) {
  start();
  hold_jobs();
  const std::string path = "/v1/jobs/" + id_of(submit_plain()) + "/events";
  auto c = client();
  c->write("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(c->read_until("id: 1\n"));
  c->disconnect();
  size_t left = 1;
  while (left != 0) runtime->call([&] { left = runtime->subscriptions(); });
}

TEST_F(Api, BlobsAreVerifiedImmutableAndRanged) {
  start();
  auto c = client();
  const std::string digest = sha256("hello").text();
  const Answer put = c->request("PUT", "/v1/blobs/" + digest, "", "hello");
  EXPECT_EQ(put.status, 200);
  EXPECT_EQ(problem(c->request("PUT", "/v1/blobs/" + digest, "", "other")), "E027");
  EXPECT_EQ(problem(c->request("PUT", "/v1/blobs/nonsense", "", "other")), "E025");
  const Answer get = c->get("/v1/blobs/" + digest);
  EXPECT_EQ(get.body, "hello");
  EXPECT_EQ(get.header("etag"), "\"" + digest + "\"");
  EXPECT_EQ(get.header("cache-control"), "public, max-age=31536000, immutable");
  EXPECT_EQ(get.header("content-disposition").substr(0, 10), "attachment");
  EXPECT_EQ(c->get("/v1/blobs/" + digest, "Range: bytes=-2\r\n").body, "lo");
  EXPECT_EQ(problem(c->get("/v1/blobs/sha256:" + std::string(64, '0'))), "E026");
  runtime->call([this] {
    runtime->blob_refusal = Status::unavailable(errors::kNoSpace, "the disk is full");
  });
  EXPECT_EQ(c->request("POST", "/v1/blobs", "", "more").status, 507);
}

}  // namespace
}  // namespace millrace::test
