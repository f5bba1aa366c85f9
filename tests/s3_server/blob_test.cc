// Goal: blobs on S3 keep the contract of BlobStore, and what only S3 has: ages renewed by copies, a
// local cache that may be lost or wrong, a server that is away.
// Method: the suite of tests/contract/blob_suite.h and more, against real servers.
#include <filesystem>
#include <fstream>

#include "bench/harness/process.h"
#include "engine/blob/s3_blob_store.h"
#include "tests/contract/blob_suite.h"
#include "tests/s3_server/server.h"

namespace millrace {
namespace {

template <S3Kind kind>
class S3Factory final : public BlobFactory {
 public:
  S3Factory() : url_(S3Server::shared(kind).make_bucket("some/where")) {
    // A sweep passes over what is no blob. versitygw removes a directory with its last object, and
    // a put that meets this fails (409) or is lost; with this object there is never a last one.
    put_raw(location_of(url_), "no-blob", "stays");
    reopen();
  }
  ~S3Factory() override { remove_tree(directory_); }
  BlobStore* store() override { return store_.get(); }
  void reopen() override {
    store_.reset();
    if (!directory_.empty()) remove_tree(directory_);
    directory_ = make_directory("s3-cache");
    S3BlobOptions options;
    options.location = location_of(url_);
    options.credentials = test_credentials();
    options.directory = directory_ + "/cache";
    options.cache_bytes_max = 64 << 20;
    auto opened = S3BlobStore::open(options);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    store_ = std::move(*opened);
  }
  void damage(const Digest& digest) override {
    put_raw(location_of(url_), digest.hex(), "other bytes");
  }

 private:
  const std::string url_;
  std::string directory_;
  std::unique_ptr<S3BlobStore> store_;
};

template <S3Kind kind>
std::unique_ptr<BlobFactory> make_factory() {
  return std::make_unique<S3Factory<kind>>();
}

INSTANTIATE_TEST_SUITE_P(Versity, BlobSuite, ::testing::Values(&make_factory<S3Kind::kVersity>));
INSTANTIATE_TEST_SUITE_P(Moto, BlobSuite, ::testing::Values(&make_factory<S3Kind::kMoto>));

class S3Blobs : public testing::TestWithParam<S3Kind> {
 protected:
  S3Blobs() : directory_(make_directory("s3-cache")) {
    options_.location = location_of(S3Server::shared(GetParam()).make_bucket("p"));
    options_.credentials = test_credentials();
    options_.directory = directory_ + "/cache";
    options_.cache_bytes_max = 1 << 20;
  }
  ~S3Blobs() override { remove_tree(directory_); }
  std::unique_ptr<S3BlobStore> open() {
    auto opened = S3BlobStore::open(options_);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return opened.ok() ? std::move(*opened) : nullptr;
  }
  s3::Object object_of(const Digest& digest) {
    s3::Object object;
    const s3::Error error =
        s3::Client(options_.location, options_.credentials).head(digest.hex(), &object);
    EXPECT_FALSE(error) << error.message;
    return object;
  }
  std::string cached(const Digest& digest) const {
    return options_.directory + "/" + digest.hex().substr(0, 2) + "/" + digest.hex();
  }

  const std::string directory_;
  S3BlobOptions options_;
};

std::string kind_name(const testing::TestParamInfo<S3Kind>& info) {
  return info.param == S3Kind::kVersity ? "Versity" : "Moto";
}
INSTANTIATE_TEST_SUITE_P(On, S3Blobs, ::testing::Values(S3Kind::kVersity, S3Kind::kMoto),
                         kind_name);

TEST_P(S3Blobs, AHitRenewsTheAge) {
  options_.renew_after_ms = -60'000;  // also of what was put just now
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"), true);
  const int64_t first_ms = object_of(digest).modified_ms;
  // S3 counts in seconds.
  const int64_t until_us = monotonic_us() + 30'000'000;
  while (object_of(digest).modified_ms <= first_ms && monotonic_us() < until_us) {
    const auto again = store->put(Bytes::of("x"));
    ASSERT_TRUE(again.ok()) << again.status().message();
  }
  EXPECT_GT(object_of(digest).modified_ms, first_ms);
  EXPECT_TRUE(object_of(digest).metadata.contains("keep")) << "it stays one that is kept";
  EXPECT_EQ(object_of(digest).sha256, digest.hex());
}

TEST_P(S3Blobs, AYoungHitCostsNoCopy) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"));
  const std::string etag = object_of(digest).etag;
  const int64_t modified_ms = object_of(digest).modified_ms;
  ASSERT_TRUE(store->put(Bytes::of("x")).ok());
  EXPECT_EQ(object_of(digest).etag, etag);
  EXPECT_LE(std::abs(object_of(digest).modified_ms - modified_ms), 1000);
}

TEST_P(S3Blobs, AnObjectThatVanishedIsPutAgain) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"));
  EXPECT_FALSE(s3::Client(options_.location, options_.credentials).remove(digest.hex()));
  ASSERT_TRUE(store->put(Bytes::of("x")).ok());
  EXPECT_EQ(object_of(digest).size, 1u);
}

TEST_P(S3Blobs, TheCacheAnswersWithoutS3AndNeverWrongly) {
  const std::string bytes(300'000, 'b');
  Digest digest;
  {
    const auto store = open();
    digest = *store->put(Bytes::of(bytes));
  }
  EXPECT_FALSE(s3::Client(options_.location, options_.credentials).remove(digest.hex()));
  {
    const auto store = open();
    const auto read = store->read(digest);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_TRUE(read->view() == bytes);
    EXPECT_EQ(store->read(digest, true).status().number(), errors::kBlobUnknown)
        << "to verify is to ask S3";
    ASSERT_TRUE(store->put(Bytes::of(bytes)).ok());
  }
  std::filesystem::permissions(cached(digest), std::filesystem::perms::owner_all);
  std::ofstream(cached(digest), std::ios::binary) << "torn";
  const auto store = open();
  const auto read = store->read(digest);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_TRUE(read->view() == bytes);
  EXPECT_EQ(std::filesystem::file_size(cached(digest)), bytes.size()) << "and is cached again";
}

TEST_P(S3Blobs, TheBucketThatHasNoBlobIsEmpty) {
  const auto store = open();
  EXPECT_TRUE(*store->empty());
  EXPECT_TRUE(store->probe().ok());
  put_raw(options_.location, "somebody/elses", "x");
  EXPECT_TRUE(*store->empty());
  ASSERT_TRUE(store->put(Bytes::of("x")).ok());
  EXPECT_FALSE(*store->empty());
  ASSERT_TRUE(store
                  ->sweep(wall_clock_ms() + 3'600'000, 10,
                          [](const Digest&) -> Result<bool> { return false; })
                  .ok());
  s3::Object object;
  EXPECT_FALSE(s3::Client(options_.location, options_.credentials).head("somebody/elses", &object));
}

TEST_P(S3Blobs, AccessIsCheckedAndRefusalsSayWhatToDo) {
  EXPECT_TRUE(open()->check_access().ok()) << open()->check_access().message();
  options_.location.bucket = "no-such-bucket";
  const auto store = open();
  const Status status = store->check_access();
  EXPECT_EQ(status.number(), errors::kBlobWrite);
  EXPECT_NE(status.message().find("make the bucket"), std::string::npos) << status.message();
  EXPECT_TRUE(store->refused());
  EXPECT_EQ(store->read(sha256("x")).status().code(), Code::kUnavailable)
      << "a bucket that is gone says nothing about a blob";
}

// moto checks no keys.
TEST(S3BlobsOnVersity, WrongKeysAreRefusedAndNeverShown) {
  S3BlobOptions options;
  options.location = location_of(S3Server::shared(S3Kind::kVersity).make_bucket());
  for (const bool known : {false, true}) {
    options.credentials = test_credentials();
    (known ? options.credentials.secret_access_key : options.credentials.access_key_id) = "hunter2";
    const auto store = std::move(*S3BlobStore::open(options));
    const Status status = store->check_access();
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_NE(status.message().find(known ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"),
              std::string::npos)
        << status.message();
    EXPECT_EQ(status.message().find("hunter2"), std::string::npos) << status.message();
    EXPECT_EQ(status.message().find("millrace-test-secret"), std::string::npos);
  }
}

TEST(S3BlobsOnVersity, ABucketMayStandInTheHost) {
  S3BlobOptions options;
  options.location = location_of(S3Server::shared(S3Kind::kVersity).make_bucket("p"));
  options.location.path_style = false;
  options.credentials = test_credentials();
  const auto store = std::move(*S3BlobStore::open(options));
  const Status access = store->check_access();
  EXPECT_TRUE(access.ok()) << access.message();
  const auto digest = store->put(Bytes::of("x"));
  ASSERT_TRUE(digest.ok()) << digest.status().message();
  EXPECT_TRUE(store->read(*digest, true).ok());
}

}  // namespace
}  // namespace millrace
