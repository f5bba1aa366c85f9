// Goal: what S3 answers while it has trouble is waited out within bounds; what it refuses is said
// at once, with what to do; bytes arrive whole or not at all; keys are in no message.
// Method: a receiver on loopback that answers what the test says, request by request. Real servers
// are in tests/s3_server/.
#include "s3/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "tests/steps_io/receiver.h"

namespace millrace::s3 {
namespace {

constexpr char kSecret[] = "a-very-secret-key";
constexpr char kToken[] = "a-very-secret-token";

std::string s3_error(const std::string& status, const std::string& code,
                     const std::string& headers = "") {
  return answer(
      status, headers,
      "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>so it is</Message></Error>");
}

class S3Client : public testing::Test {
 protected:
  // Answers in this order, and the last one ever after; "" closes the connection.
  void answers(std::vector<std::string> in_order) {
    listens([this, in_order](const ReceivedRequest&) {
      const size_t at = next_++;
      return in_order[std::min(at, in_order.size() - 1)];
    });
  }
  void listens(Receiver::Script script) {
    server_ = std::make_unique<Receiver>(std::move(script));
    Location location;
    ASSERT_EQ(parse_location("s3://bucket/p?endpoint=" + server_->url(""), &location), "");
    policy_.backoff_ms = 1;
    client_ = std::make_unique<Client>(location, Credentials{"AKID", kSecret, kToken}, policy_);
  }
  Error put(const std::string& bytes) {
    Put put;
    put.key = "k/x";
    put.bytes = bytes;
    put.sha256 = sha256_hex(bytes);
    return client_->put(put);
  }
  Error get(std::string* out, Object* object = nullptr) {
    Object ours;
    return client_->get(
        "k/x",
        [out](std::string_view piece) {
          *out += piece;
          return true;
        },
        object == nullptr ? &ours : object);
  }

  Policy policy_;
  std::atomic<size_t> next_{0};
  std::unique_ptr<Receiver> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(S3Client, SendsWhatTheServerCanCheck) {
  answers({answer("200 OK")});
  ASSERT_FALSE(put("abc")) << put("abc").message;
  const ReceivedRequest request = server_->requests().at(0);
  EXPECT_EQ(request.line, "PUT /bucket/p/k/x HTTP/1.1");
  EXPECT_EQ(request.body, "abc");
  EXPECT_EQ(request.headers.at("x-amz-content-sha256"), sha256_hex("abc"));
  EXPECT_EQ(request.headers.at("x-amz-checksum-sha256"), base64(sha256_bytes("abc")));
  EXPECT_EQ(request.headers.at("x-amz-security-token"), kToken);
  const std::string& authorization = request.headers.at("authorization");
  EXPECT_NE(authorization.find("Credential=AKID/"), std::string::npos);
  EXPECT_NE(authorization.find(
                "SignedHeaders=content-type;host;x-amz-checksum-sha256;x-amz-content-sha256;"
                "x-amz-date;x-amz-meta-sha256;x-amz-security-token"),
            std::string::npos)
      << authorization;
}

TEST_F(S3Client, TroubleIsWaitedOut) {
  answers({s3_error("503 Slow Down", "SlowDown"), "", s3_error("500 Error", "InternalError"),
           answer("200 OK")});
  const Error error = put("abc");
  EXPECT_FALSE(error) << error.message;
  EXPECT_EQ(server_->requests().size(), 4u);
  for (const ReceivedRequest& request : server_->requests()) EXPECT_EQ(request.body, "abc");
}

TEST_F(S3Client, TroubleThatStaysIsSaidAfterTheLastAttempt) {
  policy_.attempts_max = 3;
  answers({s3_error("503 Slow Down", "SlowDown")});
  const Error error = put("abc");
  EXPECT_EQ(error.failure, Failure::kUnavailable);
  EXPECT_EQ(error.message, "PUT " + server_->url("/bucket/p/k/x") +
                               " answered 503 SlowDown: so it is; attempt 3 of 3");
  EXPECT_EQ(server_->requests().size(), 3u);
}

TEST_F(S3Client, WaitsAsLongAsItIsAskedTo) {
  answers({s3_error("429 Too Many", "SlowDown", "Retry-After: 1\r\n"), answer("200 OK")});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(put("abc"));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(990));
}

TEST_F(S3Client, ARefusalIsNotRepeatedAndSaysWhatToDo) {
  for (const auto& [code, todo] : std::vector<std::pair<std::string, std::string>>{
           {"ExpiredToken", "AWS_SESSION_TOKEN has expired"},
           {"InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"},
           {"SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"},
           {"AccessDenied", "s3:PutObject"},
           {"NoSuchBucket", "make the bucket"}}) {
    next_ = 0;
    answers({s3_error(code == "NoSuchBucket"   ? "404 Not Found"
                      : code == "ExpiredToken" ? "400 Bad Request"
                                               : "403 Forbidden",
                      code)});
    const Error error = put("abc");
    EXPECT_EQ(error.failure, Failure::kRefused) << code;
    EXPECT_NE(error.message.find(todo), std::string::npos) << error.message;
    EXPECT_EQ(error.message.find(kSecret), std::string::npos);
    EXPECT_EQ(error.message.find(kToken), std::string::npos);
    EXPECT_EQ(server_->requests().size(), 1u) << code;
  }
}

TEST_F(S3Client, AClockThatIsWrongIsMadeUpFor) {
  answers(
      {s3_error("403 Forbidden", "RequestTimeTooSkewed", "Date: Fri, 24 May 2013 00:00:00 GMT\r\n"),
       answer("200 OK")});
  EXPECT_FALSE(put("abc"));
  EXPECT_EQ(server_->requests().at(1).headers.at("x-amz-date").substr(0, 8), "20130524");
}

TEST_F(S3Client, ATransferThatBreaksGoesOnWhereItBroke) {
  answers({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"e\"\r\nConnection: close\r\n\r\n0123",
           "HTTP/1.1 206 Partial\r\nContent-Length: 6\r\nETag: \"e\"\r\nConnection: close\r\n\r\n4",
           answer("206 Partial", "ETag: \"e\"\r\n", "56789")});
  std::string bytes;
  Object object;
  const Error error = get(&bytes, &object);
  EXPECT_FALSE(error) << error.message;
  EXPECT_EQ(bytes, "0123456789");
  EXPECT_EQ(object.size, 10u);
  EXPECT_EQ(server_->requests().at(1).headers.at("range"), "bytes=4-");
  EXPECT_EQ(server_->requests().at(1).headers.at("if-match"), "\"e\"");
  EXPECT_EQ(server_->requests().at(2).headers.at("range"), "bytes=5-");
}

TEST_F(S3Client, NothingIsAddedToAPartThatAnotherObjectReplaced) {
  answers({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"e\"\r\nConnection: close\r\n\r\n0123",
           s3_error("412 Failed", "PreconditionFailed")});
  std::string bytes;
  EXPECT_EQ(get(&bytes).failure, Failure::kUnavailable);
  EXPECT_EQ(bytes, "0123");
}

TEST_F(S3Client, ARangeThatIsAnsweredFromTheBeginningIsRefused) {
  answers({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"e\"\r\nConnection: close\r\n\r\n0123",
           answer("200 OK", "ETag: \"e\"\r\n", "0123456789")});
  std::string bytes;
  EXPECT_TRUE(get(&bytes));
}

TEST_F(S3Client, AChunkedBodyThatBreaksIsNotTakenForWhole) {
  policy_.attempts_max = 2;
  answers(
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\n0123\r\n"});
  std::string bytes;
  EXPECT_TRUE(get(&bytes));
}

TEST_F(S3Client, AServerThatSaysNothingIsGivenUp) {
  policy_.stall_ms = 100;
  policy_.attempts_max = 1;
  answers({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Test: stall\r\n\r\n0"});
  std::string bytes;
  const Error error = get(&bytes);
  EXPECT_EQ(error.failure, Failure::kUnavailable);
  EXPECT_TRUE(error.unknown);
  EXPECT_NE(error.message.find("nothing moved for 100 ms"), std::string::npos) << error.message;
}

TEST_F(S3Client, NobodyThereIsKnownNotToHaveHeard) {
  policy_.attempts_max = 2;
  answers({answer("200 OK")});
  server_.reset();
  const Error error = client_->remove("k/x");
  EXPECT_EQ(error.failure, Failure::kUnavailable);
  EXPECT_FALSE(error.unknown);
  EXPECT_NE(error.message.find("attempt 2 of 2"), std::string::npos) << error.message;
}

TEST_F(S3Client, WhileNobodyAnswersOneFindsOutAndAllOthersHearAtOnce) {
  policy_.fail_fast = true;
  policy_.attempts_max = 2;
  std::promise<void> found_out, may_answer;
  listens([&](const ReceivedRequest&) -> std::string {
    const size_t at = next_++;
    if (at < 2) return "";
    if (at == 2) {
      found_out.set_value();
      may_answer.get_future().wait();
    }
    return answer("200 OK");
  });
  const Error first = put("bytes");
  EXPECT_EQ(first.failure, Failure::kUnavailable);
  EXPECT_NE(first.message.find("attempt 2 of 2"), std::string::npos) << first.message;

  Error finding{Failure::kInvalid, 0, "", "", false};
  std::thread finder([&] { finding = put("bytes"); });
  found_out.get_future().wait();
  const Error other = put("bytes");
  EXPECT_EQ(other.failure, Failure::kUnavailable);
  EXPECT_FALSE(other.unknown) << "nothing was sent";
  EXPECT_NE(other.message.find("was not sent: nobody answers there"), std::string::npos)
      << other.message;

  may_answer.set_value();
  finder.join();
  EXPECT_EQ(finding.failure, Failure::kNone);
  EXPECT_EQ(put("bytes").failure, Failure::kNone) << "it is over";
  EXPECT_EQ(next_, 4u);
}

TEST_F(S3Client, StopsWhenItIsToldTo) {
  answers({s3_error("503 Slow Down", "SlowDown")});
  client_->set_go_on([this] { return next_ < 2; });
  EXPECT_EQ(put("abc").failure, Failure::kStopped);
  EXPECT_EQ(server_->requests().size(), 2u);
}

TEST_F(S3Client, OneThreadUsesOneConnection) {
  answers({answer("200 OK")});
  for (int i = 0; i < 5; i++) EXPECT_FALSE(put("abc"));
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(S3Client, AFailureBehindA200IsAFailure) {
  answers({s3_error("200 OK", "InternalError"), answer("200 OK", "", "<CopyObjectResult/>")});
  int64_t modified_ms = 0;
  EXPECT_FALSE(client_->renew("k/x", "\"e\"", Put(), &modified_ms));
  EXPECT_EQ(server_->requests().size(), 2u);
  EXPECT_EQ(server_->requests().at(0).headers.at("x-amz-copy-source"), "/bucket/p/k/x");
}

TEST_F(S3Client, AnUploadInPartsThatFailsIsGivenUp) {
  answers({answer("200 OK", "", "<R><UploadId>u1</UploadId></R>"),
           answer("200 OK", "ETag: \"e1\"\r\n"), s3_error("403 Forbidden", "AccessDenied"),
           answer("204 No Content")});
  EXPECT_EQ(put(std::string(kPartBytes + 1, 'x')).failure, Failure::kRefused);
  ASSERT_EQ(server_->requests().size(), 4u);
  EXPECT_EQ(server_->requests().at(0).line, "POST /bucket/p/k/x?uploads= HTTP/1.1");
  EXPECT_EQ(server_->requests().at(2).line, "PUT /bucket/p/k/x?partNumber=2&uploadId=u1 HTTP/1.1");
  EXPECT_EQ(server_->requests().at(3).line, "DELETE /bucket/p/k/x?uploadId=u1 HTTP/1.1");
}

// Regression: the body of the refusal was taken for bytes of the object.
TEST_F(S3Client, AnObjectThatIsNotThereIsNotFoundWhateverIsSaidAboutIt) {
  answers({s3_error("404 Not Found", "NoSuchKey")});
  std::string bytes;
  EXPECT_EQ(get(&bytes).failure, Failure::kNotFound);
  EXPECT_EQ(bytes, "");
  EXPECT_EQ(server_->requests().size(), 1u);
  Object object;
  EXPECT_EQ(client_->head("k/x", &object).failure, Failure::kNotFound);
  EXPECT_FALSE(client_->remove("k/x"));
}

TEST_F(S3Client, A404OfSomethingElseIsNoMissingObject) {
  for (const std::string code : {"NoSuchBucket", "XAdminUserNotFound"}) {
    answers({s3_error("404 Not Found", code)});
    std::string bytes;
    EXPECT_EQ(get(&bytes).failure, Failure::kRefused) << code;
  }
}

TEST_F(S3Client, AnObjectSaysWhatItsBytesHashTo) {
  const std::string sum = base64(sha256_bytes("abc")), noted = sha256_hex("noted");
  answers({answer("200 OK", "x-amz-checksum-sha256: " + sum + "\r\nx-amz-meta-keep: 1\r\n"),
           answer("200 OK",
                  "x-amz-checksum-sha256: " + sum + "-2\r\nx-amz-meta-sha256: " + noted + "\r\n"),
           answer("200 OK", "ETag: \"e-2\"\r\nx-amz-checksum-sha256: " + sum +
                                "\r\nx-amz-meta-sha256: " + noted + "\r\n"),
           answer("200 OK")});
  Object object;
  EXPECT_FALSE(client_->head("k", &object));
  EXPECT_EQ(object.sha256, sha256_hex("abc"));
  EXPECT_EQ(object.metadata.at("keep"), "1");
  EXPECT_FALSE(client_->head("k", &object));
  EXPECT_EQ(object.sha256, noted) << "a hash of hashes is none of the bytes";
  EXPECT_FALSE(client_->head("k", &object));
  EXPECT_EQ(object.sha256, noted) << "nor where it is not marked as one";
  EXPECT_FALSE(client_->head("k", &object));
  EXPECT_EQ(object.sha256, "");
}

}  // namespace
}  // namespace millrace::s3
