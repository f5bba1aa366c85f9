// Goal: an object is read off the loop, in bounded pieces, and comes out byte for byte.
// Method: a server over a FakeRuntime whose disk stands still when a test says so.
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/http/api_fixture.h"

namespace millrace::test {
namespace {

constexpr size_t kObjectBytes = 3'000'001;
constexpr char kObject[] = "/v1/files/default/object.bin";

class Files : public Api {
 protected:
  void SetUp() override {
    char name[] = "/tmp/millrace-files-XXXXXX";
    directory_ = ::mkdtemp(name);
    for (size_t i = 0; i < kObjectBytes; i++) bytes_ += static_cast<char>((i * 7 + i / 251) & 255);
    std::ofstream(directory_ + "/object.bin", std::ios::binary) << bytes_;
    config.stores.push_back({"default", directory_, ""});
    start();
  }
  void TearDown() override {
    Api::TearDown();
    std::filesystem::remove_all(directory_);
  }
  void stand(bool still) {
    runtime->call([this, still] {
      runtime->disk_stands = still;
      runtime->run_disk();
    });
  }
  // Until `count` pieces of work wait for the disk.
  void await_disk(size_t count) {
    size_t waiting = count + 1;
    while (waiting != count) runtime->call([&] { waiting = runtime->disk_waiting(); });
  }
  int disk_turns() {
    int turns = 0;
    runtime->call([&] { turns = runtime->disk_turns(); });
    return turns;
  }
  std::string directory_, bytes_;
};

TEST_F(Files, EveryRangeIsRight) {
  auto c = client();
  EXPECT_TRUE(c->get(kObject).body == bytes_);
  struct Case {
    const char* range;
    size_t first, size;
  };
  for (const Case& one :
       {Case{"0-0", 0, 1}, Case{"262143-262144", 262143, 2}, Case{"1-2999999", 1, 2'999'999},
        Case{"-1", kObjectBytes - 1, 1}, Case{"2999999-", 2'999'999, 2}}) {
    const Answer answer = c->get(kObject, fmt::format("Range: bytes={}\r\n", one.range));
    EXPECT_EQ(answer.status, 206) << one.range;
    EXPECT_TRUE(answer.body == bytes_.substr(one.first, one.size)) << one.range;
  }
  EXPECT_EQ(c->request("HEAD", kObject).header("content-length"), std::to_string(kObjectBytes));
}

// Regression: the loop read the file itself, and everybody waited for its disk.
TEST_F(Files, NobodyElseWaitsForTheDisk) {
  stand(true);
  auto reading = client();
  reading->write(std::string("GET ") + kObject + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await_disk(1);
  EXPECT_EQ(client()->get("/livez").status, 200);
  EXPECT_EQ(disk_turns(), 0);
  EXPECT_TRUE(reading->buffer().empty());
  stand(false);
  EXPECT_TRUE(reading->read_answer().body == bytes_);
}

TEST_F(Files, AClientThatDoesNotReadHoldsOnePieceBack) {
  // Far more than sockets buffer, and no disk is used for it.
  std::filesystem::resize_file(directory_ + "/object.bin", 256 << 20);
  auto c = client();
  c->write(std::string("GET ") + kObject + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(c->read_until("\r\n\r\n"));
  int turns = 0;
  for (int now = disk_turns(); now != turns; now = disk_turns()) {
    turns = now;
    EXPECT_EQ(client()->get("/livez").status, 200);
  }
  EXPECT_LT(turns, 128) << "half of it was read for nobody";
}

TEST_F(Files, OneThatShrinksBreaksTheConnectionOff) {
  stand(true);
  auto c = client();
  c->write(std::string("GET ") + kObject + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await_disk(1);
  for (int turn = 0; turn < 2; turn++) {  // it is opened, with its length, and hashed
    runtime->call([this] { runtime->run_disk_once(); });
    await_disk(1);
  }
  std::filesystem::resize_file(directory_ + "/object.bin", 1000);
  stand(false);
  EXPECT_EQ(c->read_answer().status, 0);
  EXPECT_EQ(client()->get(kObject).body.size(), 1000u);
}

// Regression: an object that is linked to its blob changed its ETag when the blob came again.
TEST_F(Files, TheEtagSaysWhatTheBytesAreAndNothingElse) {
  const std::string file = directory_ + "/object.bin";
  const std::string etag = client()->get(kObject).header("etag");
  EXPECT_EQ(etag, "\"" + sha256(bytes_).text() + "\"");
  timespec times[2] = {{1'000'000'000, 5}, {1'000'000'000, 5}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  EXPECT_EQ(client()->get(kObject, "If-None-Match: " + etag + "\r\n").status, 304);
  std::filesystem::copy(file, file + ".copy");
  std::filesystem::rename(file + ".copy", file);
  EXPECT_EQ(client()->get(kObject, "If-None-Match: " + etag + "\r\n").status, 304);
  // Other bytes in the same file, of the same length and with the same times.
  std::ofstream(file, std::ios::binary | std::ios::in) << "other";
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  const Answer other = client()->get(kObject);
  EXPECT_EQ(other.header("etag"), "\"" + sha256("other" + bytes_.substr(5)).text() + "\"");
}

TEST_F(Files, AnObjectThatRestsIsHashedOnce) {
  ASSERT_TRUE(client()->get(kObject).status == 200);
  // What changed a moment ago may change again without a trace in its times.
  const auto turns_of_head = [this] {
    const int before = disk_turns();
    EXPECT_EQ(client()->request("HEAD", kObject).status, 200);
    return disk_turns() - before;
  };
  const auto start_time = std::chrono::steady_clock::now();
  while (turns_of_head() > 1) {
    ASSERT_LT(std::chrono::steady_clock::now() - start_time, std::chrono::seconds(60));
  }
  EXPECT_EQ(turns_of_head(), 1) << "opening it, and nothing else";
}

}  // namespace
}  // namespace millrace::test
