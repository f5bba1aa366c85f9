// Goal: a bucket that has trouble, or lies, costs patience and never a blob; local copies stay
// within their limit.
// Method: a server on loopback that answers what the test says. Real servers: tests/s3_server/.
#include <atomic>

#include "engine/blob/s3_blob_store.h"
#include "tests/blob/file_blob_fixture.h"
#include "tests/steps_io/receiver.h"

namespace millrace {
namespace {

class S3BlobFaults : public BlobFixture {
 protected:
  // What the server says to a request.
  void serve(Receiver::Script script) {
    server_ = std::make_unique<Receiver>(std::move(script));
    S3BlobOptions options;
    ASSERT_EQ(s3::parse_location("s3://bucket?endpoint=" + server_->url(""), &options.location),
              "");
    options.credentials = {"id", "secret", ""};
    options.policy.attempts_max = 2;
    options.policy.backoff_ms = 1;
    options.directory = directory_;
    options.cache_bytes_max = 1000;
    store_ = std::move(*S3BlobStore::open(options));
  }
  static std::string refusal(const std::string& status, const std::string& code) {
    return answer(status, "", "<Error><Code>" + code + "</Code></Error>");
  }
  static std::string found(size_t size, const Digest& digest) {
    return fmt::format(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"e\"\r\nx-amz-meta-sha256: {}\r\n"
        "Last-Modified: Fri, 24 May 2013 00:00:00 GMT\r\n\r\n",
        size, digest.hex());
  }
  int count(const std::string& method) const {
    int found = 0;
    for (const ReceivedRequest& request : server_->requests()) {
      found += request.line.starts_with(method + " ") ? 1 : 0;
    }
    return found;
  }

  std::unique_ptr<Receiver> server_;
  std::unique_ptr<S3BlobStore> store_;
};

TEST_F(S3BlobFaults, WrongBytesAreFetchedOnceMore) {
  std::atomic<int> gets{0};
  serve([&](const ReceivedRequest&) {
    return answer("200 OK", "", ++gets % 2 == 1 ? "wrong" : "right");
  });
  const auto read = store_->read(sha256("right"));
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->view(), "right");
  EXPECT_EQ(gets, 2);
}

TEST_F(S3BlobFaults, BytesThatStayWrongAreCorruptAndReplacedByAPut) {
  const Digest digest = sha256("right");
  serve([&](const ReceivedRequest& request) {
    if (request.line.starts_with("HEAD")) return found(5, digest);
    return answer("200 OK", "", "wrong");
  });
  EXPECT_EQ(store_->read(digest).status().number(), errors::kBlobMissing);
  ASSERT_TRUE(store_->put(Bytes::of("right")).ok());
  const ReceivedRequest last = server_->requests().back();
  EXPECT_TRUE(last.line.starts_with("PUT"));
  EXPECT_EQ(last.body, "right");
  EXPECT_FALSE(last.headers.contains("if-none-match"));
}

TEST_F(S3BlobFaults, TroubleIsUnavailableAndNotAMissingBlob) {
  serve([](const ReceivedRequest&) { return refusal("503 Slow Down", "SlowDown"); });
  for (const Status& status :
       {store_->read(sha256("x")).status(), store_->put(Bytes::of("x")).status(),
        store_->size(sha256("x")).status(), store_->probe()}) {
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_EQ(status.number(), errors::kBlobWrite);
    EXPECT_FALSE(store_->refused());
  }
}

TEST_F(S3BlobFaults, AnExpiredTokenIsARefusalThatSaysSo) {
  serve([](const ReceivedRequest&) { return refusal("400 Bad Request", "ExpiredToken"); });
  const Status status = store_->read(sha256("x")).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find("AWS_SESSION_TOKEN has expired"), std::string::npos);
  EXPECT_TRUE(store_->refused());
}

// Otherwise the delayed request could take what was put behind it.
TEST_F(S3BlobFaults, ABlobWhoseRemovalIsUnansweredIsNotPutForAWhile) {
  const Digest digest = sha256("x");
  serve([&](const ReceivedRequest& request) {
    return request.line.starts_with("DELETE") ? std::string() : found(1, digest);
  });
  EXPECT_FALSE(store_->remove(digest, nobody).ok());
  const auto put = store_->put(Bytes::of("x"));
  EXPECT_EQ(put.status().code(), Code::kUnavailable);
  EXPECT_NE(put.status().message().find("S3 has not said"), std::string::npos);
  EXPECT_EQ(count("PUT"), 0);
}

TEST_F(S3BlobFaults, AServerWithoutConditionsGetsPlainPuts) {
  serve([](const ReceivedRequest& request) {
    if (request.line.starts_with("HEAD")) return answer("404 Not Found");
    return request.headers.contains("if-none-match") ? refusal("501 No", "NotImplemented")
                                                     : answer("200 OK");
  });
  ASSERT_TRUE(store_->put(Bytes::of("one")).ok());
  ASSERT_TRUE(store_->put(Bytes::of("two")).ok());
  EXPECT_EQ(count("PUT"), 3) << "it is asked once only";
}

TEST_F(S3BlobFaults, AnAnswerThatWasLostIsFoundByLookingAgain) {
  const Digest digest = sha256("x");
  std::atomic<int> puts{0};
  serve([&](const ReceivedRequest& request) -> std::string {
    if (request.line.starts_with("HEAD")) {
      return puts == 0 ? answer("404 Not Found") : found(1, digest);
    }
    if (request.headers.contains("x-amz-copy-source")) {
      return answer("200 OK", "", "<R><LastModified>2026-01-01T00:00:00.000Z</LastModified></R>");
    }
    return ++puts == 1 ? "" : refusal("412 Failed", "PreconditionFailed");
  });
  const auto put = store_->put(Bytes::of("x"));
  EXPECT_TRUE(put.ok()) << put.status().message();
}

TEST_F(S3BlobFaults, StoppingEndsWhoWaits) {
  serve([this](const ReceivedRequest&) {
    store_->stop();
    return refusal("503 Slow Down", "SlowDown");
  });
  EXPECT_EQ(store_->read(sha256("x")).status().code(), Code::kUnavailable);
  EXPECT_EQ(count("GET"), 1);
}

TEST_F(S3BlobFaults, TheCopiesUsedLongestAgoGoFirstAlsoAfterARestart) {
  const auto bytes = [](int i) { return Bytes::of(some_bytes(300, i)); };
  const auto digest = [](int i) { return sha256(some_bytes(300, i)); };
  {
    const auto cache = std::move(*BlobCache::open(directory_, 1000));
    for (int i = 0; i < 3; i++) cache->add(bytes(i), digest(i));
    EXPECT_TRUE(cache->find(digest(0)));
    cache->add(bytes(3), digest(3));  // the fourth: 1 goes
    EXPECT_FALSE(cache->find(digest(1)));
    EXPECT_TRUE(cache->find(digest(2)));
    EXPECT_TRUE(cache->find(digest(0)));
    EXPECT_EQ(cache->used_bytes(), 900u);
    cache->add(Bytes::of(some_bytes(1001)), sha256(some_bytes(1001)));
    EXPECT_EQ(cache->used_bytes(), 900u) << "larger than all of it";
  }
  const auto cache = std::move(*BlobCache::open(directory_, 700));
  EXPECT_EQ(cache->used_bytes(), 600u);
  EXPECT_FALSE(cache->find(digest(3)));
  EXPECT_TRUE(cache->find(digest(0)));
  EXPECT_TRUE(all_true());
}

}  // namespace
}  // namespace millrace
