// Goal: an object is under its key whole and durable, or not there at all; one key has one
// content unless replaced; no key leads outside the store.
// Method: the built plugin runs in a fake host against a directory. What happens when its system
// calls fail is in store_faults_test.cc.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "steps/store/file_store.h"
#include "steps/store/key.h"
#include "tests/steps_io/test_host.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using store_step::digest_of;
using store_step::key_problem;
using store_step::put_object;
using store_step::PutResult;
using store_step::Source;

const char* kAbcDigest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

class StoreStep : public testing::Test {
 protected:
  TestCall call(const std::string& key, const std::string& bytes) {
    TestCall call;
    call.inputs = {{bytes, "", ""}};
    call.params = {{"key", key}};
    call.settings["stores"] = R"({"default":{"url":"file:)" + directory_.path() +
                              R"(","public_url":null},"cdn":{"url":"file://)" + directory_.path() +
                              R"(/cdn","public_url":"https://cdn.example/p/"},)"
                              R"("cloud":{"url":"gs://bucket/prefix"},)"
                              R"("bad":{"url":"s3://B"},"keyless":{"url":"s3://bucket"}})";
    return call;
  }
  TestResult put(const std::string& key, const std::string& bytes) {
    return run_step(step_, call(key, bytes));
  }
  TestResult replace(const std::string& key, const std::string& bytes) {
    TestCall replacing = call(key, bytes);
    replacing.params["replace"] = true;
    return run_step(step_, replacing);
  }
  std::string stored(const std::string& key) { return read_all(directory_ / key); }
  // Every file below the store, for "nothing else was left".
  std::set<std::string> files() {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(directory_.path())) {
      if (!entry.is_directory()) {
        names.insert(fs::relative(entry.path(), directory_.path()).string());
      }
    }
    return names;
  }

  const mr_step& step_ = load_step("store");
  TemporaryDirectory directory_;
};

TEST_F(StoreStep, PutsTheBytesAndSaysWhere) {
  const TestResult result = put("originals/2026/a b%ü.jpg", "abc");
  ASSERT_EQ(result.code, MR_OK) << result.message;
  EXPECT_EQ(stored("originals/2026/a b%ü.jpg"), "abc");
  EXPECT_EQ(result.texts.at("key"), "originals/2026/a b%ü.jpg");
  EXPECT_EQ(result.texts.at("digest"), kAbcDigest);
  EXPECT_EQ(result.texts.at("url"), "/v1/files/default/originals/2026/a%20b%25%C3%BC.jpg");
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(StoreStep, UrlIsOfTheStoreThenOfTheServerThenThePath) {
  TestCall with_server = call("k/x", "abc");
  with_server.settings["server.public_url"] = R"("https://millrace.example/")";
  EXPECT_EQ(run_step(step_, with_server).texts["url"],
            "https://millrace.example/v1/files/default/k/x");
  with_server.params["store"] = "cdn";
  EXPECT_EQ(run_step(step_, with_server).texts["url"], "https://cdn.example/p/k/x");
  EXPECT_EQ(stored("cdn/k/x"), "abc");
}

TEST_F(StoreStep, TheSameBytesAgainAreFine) {
  ASSERT_EQ(put("k", "abc").code, MR_OK);
  const TestResult again = put("k", "abc");
  EXPECT_EQ(again.code, MR_OK) << again.message;
  EXPECT_EQ(again.texts.at("digest"), kAbcDigest);
  EXPECT_NE(again.note.find("already"), std::string::npos);
}

TEST_F(StoreStep, OtherBytesUnderTheKeyAreAnErrorNamingBothDigests) {
  ASSERT_EQ(put("k", "abc").code, MR_OK);
  const TestResult other = put("k", "xyz");
  EXPECT_EQ(other.reason, "exists");
  EXPECT_FALSE(other.transient);
  EXPECT_NE(other.message.find(kAbcDigest), std::string::npos);
  EXPECT_NE(other.message.find(digest_of("xyz", 3)), std::string::npos);
  EXPECT_EQ(stored("k"), "abc");
}

TEST_F(StoreStep, ReplaceSwapsAndLeavesNothingBehind) {
  ASSERT_EQ(replace("a/k", "first").code, MR_OK);
  ASSERT_EQ(replace("a/k", "second, longer").code, MR_OK);
  EXPECT_EQ(stored("a/k"), "second, longer");
  ASSERT_EQ(replace("a/k", "second, longer").code, MR_OK);
  EXPECT_EQ(files(), std::set<std::string>{"a/k"});
}

TEST_F(StoreStep, AnEmptyObjectIsAnObject) {
  ASSERT_EQ(put("empty", "").code, MR_OK);
  EXPECT_TRUE(fs::exists(directory_ / "empty"));
  EXPECT_EQ(put("empty", "x").reason, "exists");
}

TEST_F(StoreStep, TheDirectoryIsMadeWhenAbsent) {
  TestCall deep = call("k", "abc");
  deep.settings["stores"] =
      R"({"default":{"url":"file:)" + (directory_ / "not/yet/there") + R"("}})";
  ASSERT_EQ(run_step(step_, deep).code, MR_OK);
  EXPECT_EQ(stored("not/yet/there/k"), "abc");
}

TEST_F(StoreStep, UnknownAndUnsupportedStoresAreNamed) {
  TestCall other = call("k", "abc");
  other.params["store"] = "nowhere";
  const TestResult unknown = run_step(step_, other);
  EXPECT_EQ(unknown.reason, "store_unknown");
  EXPECT_NE(unknown.message.find("default, cdn, cloud, bad, keyless"), std::string::npos)
      << unknown.message;
  other.params["store"] = "cloud";
  EXPECT_EQ(run_step(step_, other).reason, "store_unsupported");
  other.params["store"] = "bad";
  EXPECT_EQ(run_step(step_, other).reason, "store_unsupported");
  other.params["store"] = "keyless";
  EXPECT_EQ(run_step(step_, other).reason, "access_denied");
  other.settings.clear();
  EXPECT_EQ(run_step(step_, other).reason, "store_unknown");
}

TEST_F(StoreStep, BadKeysAreRefusedBeforeAnythingIsTouched) {
  const std::string long_key(513, 'k');
  for (const std::string& key :
       {std::string(""), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("."), std::string(".."), std::string("../up"), std::string("a/../b"),
        std::string("a/./b"), std::string("a\nb"), std::string("a\0b", 3), std::string("a\x7f"),
        std::string("a\xc2\x85"), std::string("\xff\xfe"), std::string("\xc0\xaf"), long_key,
        std::string(".millrace.tmp/x"), std::string(300, 's')}) {
    const TestResult result = put(key, "abc");
    EXPECT_EQ(result.reason, "invalid_key") << key;
    EXPECT_FALSE(result.transient);
    EXPECT_FALSE(result.message.empty());
  }
  EXPECT_TRUE(files().empty());
}

TEST(StoreKey, UnusualButHonestKeysAreAcceptable) {
  for (const char* key : {"a", "...", "..a", "a..", ".hidden", "a b", "\\", "%2e%2e/x", "日本語/絵",
                          "a:b*c?d", "~", "-rf", "x/.millrace.tmp"}) {
    EXPECT_EQ(key_problem(key), "") << key;
  }
  EXPECT_EQ(key_problem(std::string(512, 'k')), "");
}

TEST_F(StoreStep, LinksInTheStoreAreNeverFollowed) {
  TemporaryDirectory outside;
  write_all(outside / "victim", "untouched");
  fs::create_directory_symlink(outside.path(), directory_ / "link");
  fs::create_symlink(outside / "victim", directory_ / "file");
  fs::create_symlink(outside / "absent", directory_ / "dangling");
  EXPECT_EQ(put("link/x", "abc").reason, "exists");
  EXPECT_EQ(replace("file", "abc").reason, "exists");
  EXPECT_EQ(replace("dangling", "abc").reason, "exists");
  EXPECT_EQ(read_all(outside / "victim"), "untouched");
  EXPECT_FALSE(fs::exists(outside / "x"));
  EXPECT_FALSE(fs::exists(outside / "absent"));
}

TEST_F(StoreStep, AKeyBelowAnObjectAndAnObjectOverADirectoryAreErrors) {
  ASSERT_EQ(put("a/b", "abc").code, MR_OK);
  EXPECT_EQ(put("a/b/c", "abc").reason, "exists");
  EXPECT_EQ(replace("a", "abc").reason, "exists");
  EXPECT_EQ(stored("a/b"), "abc");
}

TEST_F(StoreStep, ABlobOnTheSameFileSystemIsNotWrittenAgain) {
  TemporaryDirectory blobs;  // beside the store, so on its file system
  const std::string bytes(300'000, 'b');
  write_all(blobs / "blob", bytes);
  TestCall with_path = call("k", bytes);
  with_path.inputs[0].path = blobs / "blob";
  ASSERT_EQ(run_step(step_, with_path).code, MR_OK);
  EXPECT_EQ(stored("k"), bytes);
  struct stat blob, object;
  ASSERT_EQ(::stat((blobs / "blob").c_str(), &blob), 0);
  ASSERT_EQ(::stat((directory_ / "k").c_str(), &object), 0);
  const bool linked = blob.st_ino == object.st_ino;
  const TestResult again = run_step(step_, with_path);
  EXPECT_EQ(again.code, MR_OK);
  if (linked) {
    EXPECT_EQ(blob.st_nlink, 2u);
  }
  // The object stays when the blob is swept, and when another object takes its place.
  fs::remove(blobs / "blob");
  EXPECT_EQ(stored("k"), bytes);
  ASSERT_EQ(replace("k", "new").code, MR_OK);
  EXPECT_EQ(stored("k"), "new");
  EXPECT_EQ(files(), std::set<std::string>{"k"});
}

TEST_F(StoreStep, APathThatIsOfNoUseIsNotUsed) {
  TemporaryDirectory blobs;
  write_all(blobs / "short", "ab");
  fs::create_symlink(blobs / "short", blobs / "link");
  for (const std::string& path : {blobs / "short", blobs / "absent", blobs / "link", blobs.path(),
                                  std::string("/dev/null"), std::string("/proc/version")}) {
    TestCall with_path = call("k/" + std::to_string(std::hash<std::string>()(path)), "abc");
    with_path.inputs[0].path = path;
    const TestResult result = run_step(step_, with_path);
    ASSERT_EQ(result.code, MR_OK) << path << ": " << result.message;
    EXPECT_EQ(stored(result.texts.at("key")), "abc");
  }
}

TEST_F(StoreStep, AnotherFileSystemMeansACopy) {
  if (::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no second file system to write to";
  struct stat here, there;
  ASSERT_EQ(::stat(directory_.path().c_str(), &here), 0);
  ASSERT_EQ(::stat("/dev/shm", &there), 0);
  if (here.st_dev == there.st_dev) GTEST_SKIP() << "one file system only";
  char path[] = "/dev/shm/millrace-test-XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_EQ(::write(fd, "abc", 3), 3);
  ::close(fd);
  TestCall with_path = call("k", "abc");
  with_path.inputs[0].path = path;
  EXPECT_EQ(run_step(step_, with_path).code, MR_OK);
  ::unlink(path);
  EXPECT_EQ(stored("k"), "abc");
}

TEST_F(StoreStep, CancelLeavesNothing) {
  TestCall cancelled = call("k", std::string(3 << 20, 'x'));
  int asked = 0;
  cancelled.go_on = [&asked] { return ++asked < 2; };
  EXPECT_EQ(run_step(step_, cancelled).code, MR_CANCELLED);
  EXPECT_TRUE(files().empty());
}

TEST_F(StoreStep, AnUnusableDirectoryIsATransientError) {
  write_all(directory_ / "file", "not a directory");
  TestCall broken = call("k", "abc");
  broken.settings["stores"] = R"({"default":{"url":"file:)" + (directory_ / "file") + R"("}})";
  const TestResult result = run_step(step_, broken);
  EXPECT_EQ(result.reason, "io_error");
  EXPECT_TRUE(result.transient);
}

TEST_F(StoreStep, ManyThreadsWithTheSameBytesAllSucceed) {
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        if (put("d" + std::to_string(i) + "/k", "same bytes").code != MR_OK) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(files().size(), 20u);
}

TEST_F(StoreStep, ManyThreadsWithOtherBytesHaveOneWinner) {
  for (int round = 0; round < 10; ++round) {
    const std::string key = "k" + std::to_string(round);
    std::atomic<int> won = 0, lost = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        const TestResult result = put(key, "bytes of " + std::to_string(t));
        if (result.code == MR_OK) ++won;
        if (result.reason == "exists") ++lost;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(won, 1);
    EXPECT_EQ(lost, 7);
  }
}

// Readers look all the time: the object is always there and always whole.
TEST_F(StoreStep, ReplacingIsNeverSeenHalfDone) {
  const auto version = [](int i) { return std::string(50'000, static_cast<char>('a' + i)); };
  ASSERT_EQ(put("k", version(0)).code, MR_OK);
  std::atomic<bool> done = false;
  std::atomic<int> torn = 0, failed = 0;
  std::thread reader([&] {
    while (!done) {
      const std::string bytes = stored("k");
      if (bytes.size() != 50'000 || bytes.find_first_not_of(bytes[0]) != std::string::npos) ++torn;
    }
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        if (replace("k", version(t * 5 + i % 5)).code != MR_OK) ++failed;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  done = true;
  reader.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(files(), std::set<std::string>{"k"});
}

TEST_F(StoreStep, ManyProcessesWithOtherBytesHaveOneWinner) {
  std::vector<pid_t> children;
  for (int p = 0; p < 6; ++p) {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string bytes = "process " + std::to_string(p);
      Source source = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), nullptr,
                       digest_of(bytes.data(), bytes.size())};
      const PutResult result =
          put_object(directory_.path(), "a/b/c/k", source, false, [] { return true; });
      ::_exit(result.failure ? (result.failure.reason == std::string_view("exists") ? 1 : 2) : 0);
    }
    children.push_back(child);
  }
  std::multiset<int> codes;
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    codes.insert(WEXITSTATUS(status));
  }
  EXPECT_EQ(codes, (std::multiset<int>{0, 1, 1, 1, 1, 1}));
}

}  // namespace
}  // namespace millrace
