// Goal: an object is read off the loop, in bounded pieces, and comes out byte for byte.
// Method: a server over a FakeRuntime whose disk stands still when a test says so.
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
  runtime->call([this] { runtime->run_disk_once(); });  // it is opened, with its length
  await_disk(1);
  std::filesystem::resize_file(directory_ + "/object.bin", 1000);
  stand(false);
  EXPECT_EQ(c->read_answer().status, 0);
  EXPECT_EQ(client()->get(kObject).body.size(), 1000u);
}

}  // namespace
}  // namespace millrace::test
