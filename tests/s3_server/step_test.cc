// Goal: the step `store` keeps its promises in buckets as in directories: one key has one content
// unless replaced, an object is there whole or not at all, keys are never shown.
// Method: the built plugin runs in a fake host against real servers, which are looked at past it.
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "tests/s3_server/server.h"
#include "tests/steps_io/test_host.h"

namespace millrace {
namespace {

class S3Step : public testing::TestWithParam<S3Kind> {
 protected:
  S3Step() : url_(S3Server::shared(GetParam()).make_bucket("objects")) {}

  TestCall call(const std::string& key, const std::string& bytes, bool replace = false) {
    TestCall call;
    call.inputs = {{bytes, "", ""}};
    call.params = {{"key", key}};
    if (replace) call.params["replace"] = true;
    call.settings["stores"] = R"({"default":{"url":")" + url_ + R"(","public_url":null}})";
    call.settings["s3.keys"] =
        R"({"access_key_id":"millrace-test","secret_access_key":"millrace-test-secret",)"
        R"("session_token":""})";
    return call;
  }
  TestResult put(const std::string& key, const std::string& bytes, bool replace = false) {
    return run_step(step_, call(key, bytes, replace));
  }
  std::string stored(const std::string& key) {
    std::string bytes;
    s3::Object object;
    const s3::Error error = s3::Client(location_of(url_), test_credentials())
                                .get(
                                    key,
                                    [&](std::string_view piece) {
                                      bytes += piece;
                                      return true;
                                    },
                                    &object);
    return error ? "error: " + error.message : bytes;
  }

  const mr_step& step_ = load_step("store");
  const std::string url_;
};

std::string kind_name(const testing::TestParamInfo<S3Kind>& kind) {
  return kind.param == S3Kind::kVersity ? "Versity" : "Moto";
}
INSTANTIATE_TEST_SUITE_P(On, S3Step, ::testing::Values(S3Kind::kVersity, S3Kind::kMoto), kind_name);

TEST_P(S3Step, PutsTheBytesAndSaysWhere) {
  const std::string key = "originals/2026/a b%ü+.jpg";
  const TestResult result = put(key, "abc");
  ASSERT_EQ(result.code, MR_OK) << result.message;
  EXPECT_EQ(stored(key), "abc");
  EXPECT_EQ(result.texts.at("key"), key);
  EXPECT_EQ(result.texts.at("digest"), "sha256:" + s3::sha256_hex("abc"));
  EXPECT_EQ(result.texts.at("url"), "/v1/files/default/originals/2026/a%20b%25%C3%BC%2B.jpg");
}

TEST_P(S3Step, TheSameBytesAreFineAndOthersAreNot) {
  ASSERT_EQ(put("k", "abc").code, MR_OK);
  EXPECT_EQ(put("k", "abc").code, MR_OK);
  const TestResult other = put("k", "abd");
  EXPECT_EQ(other.reason, "exists");
  EXPECT_NE(other.message.find(s3::sha256_hex("abc")), std::string::npos) << other.message;
  EXPECT_EQ(put("k", "longer").reason, "exists");
  EXPECT_EQ(stored("k"), "abc");
}

TEST_P(S3Step, AnObjectOfSomebodyElseIsComparedByItsBytes) {
  put_raw(location_of(url_), "theirs", "abc");
  EXPECT_EQ(put("theirs", "abc").code, MR_OK);
  EXPECT_EQ(put("theirs", "abd").reason, "exists");
}

TEST_P(S3Step, ReplaceSwapsWhatItHasSeen) {
  ASSERT_EQ(put("k", "one", true).code, MR_OK);
  ASSERT_EQ(put("k", "two", true).code, MR_OK);
  EXPECT_EQ(stored("k"), "two");
  EXPECT_EQ(put("k", "two", true).code, MR_OK);
}

TEST_P(S3Step, LargeObjectsArriveInParts) {
  const std::string large((size_t{33} << 20) + 5, 'l');
  const TestResult result = put("large", large);
  ASSERT_EQ(result.code, MR_OK) << result.message;
  EXPECT_EQ(s3::sha256_hex(stored("large")), s3::sha256_hex(large));
  EXPECT_EQ(put("large", large).code, MR_OK);
  EXPECT_EQ(put("large", "small").reason, "exists");
}

// moto answers two conditional puts at once with success.
TEST_P(S3Step, OfManyWritersWithOtherBytesOneWins) {
  if (GetParam() == S3Kind::kMoto) return;
  std::atomic<int> won{0}, exist{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; i++) {
    writers.emplace_back([&, i] {
      const TestResult result = put("contested", "bytes of " + std::to_string(i));
      won += result.code == MR_OK ? 1 : 0;
      exist += result.reason == "exists" ? 1 : 0;
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(exist, 3);
}

TEST_P(S3Step, ABucketThatIsNotThereIsRefusedWithWhatToDo) {
  TestCall other = call("k", "abc");
  std::string& stores = other.settings["stores"];
  stores.replace(stores.find("s3://bucket"), 11, "s3://bocket");
  const TestResult result = run_step(step_, other);
  EXPECT_EQ(result.reason, "access_denied");
  EXPECT_FALSE(result.transient);
  EXPECT_NE(result.message.find("make the bucket"), std::string::npos) << result.message;
  EXPECT_EQ(result.message.find("millrace-test-secret"), std::string::npos);
}

TEST(S3StepAlone, AServerThatIsAwayIsTransient) {
  TestCall call;
  call.inputs = {{"abc", "", ""}};
  call.params = {{"key", std::string("k")}};
  call.settings["stores"] = R"({"default":{"url":"s3://bucket?endpoint=http://127.0.0.1:1"}})";
  call.settings["s3.keys"] = R"({"access_key_id":"a","secret_access_key":"hunter2"})";
  const TestResult result = run_step(load_step("store"), call);
  EXPECT_EQ(result.reason, "unavailable");
  EXPECT_TRUE(result.transient);
  EXPECT_EQ(result.message.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace millrace
