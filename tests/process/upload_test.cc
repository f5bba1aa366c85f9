// Goal: a large upload costs disk and not memory, becomes the blob it was written as, and leaves
// nothing when it fails.
// Method: the real binary with less memory than the uploads have bytes; the disk is a small file
// system of its own where the right to mount is given.
#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include <filesystem>
#include <fstream>

#include "engine/base/digest.h"
#include "engine/base/limits.h"
#include "tests/http/client.h"
#include "tests/process/photo.h"
#include "tests/process/small_disk.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr size_t kUploadBytes = 24 << 20;

class LargeUpload : public testing::Test {
 protected:
  void SetUp() override { directory_ = make_directory("upload"); }
  void TearDown() override {
    disk_.reset();
    remove_tree(directory_);
  }
  ServerSettings settings() const {
    ServerSettings settings = settings_in(directory_);
    settings.extra.push_back("drain=1s");
    settings.extra.push_back("limits.memory=8MiB");
    return settings;
  }
  // The same picture behind comments that nobody needs: a JPEG of any size.
  static std::string large_photo(size_t size) {
    const std::string photo = make_photo(0);
    std::string out = photo.substr(0, 2);
    while (out.size() + photo.size() < size) {
      out += std::string("\xff\xfe\xff\xff", 4) + std::string(0xfffd, 'c');
    }
    return out + photo.substr(2);
  }
  std::set<std::string> temporary_files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_ + "/data/blobs/tmp")) {
      if (entry.path().extension() != ".alive") names.insert(entry.path().filename());
    }
    return names;
  }
  uint64_t free_bytes() const {
    struct statvfs fs {};
    ::statvfs((directory_ + "/data").c_str(), &fs);
    return uint64_t{fs.f_bavail} * fs.f_frsize;
  }

  std::string directory_;
  std::unique_ptr<SmallDisk> disk_;
};

TEST_F(LargeUpload, OfMoreBytesThanMemoryIsABlobAndAJob) {
  ServerProcess server(settings());
  const std::string photo = large_photo(kUploadBytes);
  const std::string digest = sha256(photo).text();
  const Reply job = submit_image(server.port(), photo, "Prefer: wait=120\r\n");
  ASSERT_EQ(job.text("state"), "succeeded") << job.shown();
  EXPECT_EQ(job.text("inputs.image.blob"), digest) << job.shown();
  const Reply blob = ask(server.port(), "GET", "/v1/blobs/" + digest);
  EXPECT_TRUE(blob.body == photo);
  // What comes out is what the picture itself gives.
  const Reply small = submit_image(server.port(), make_photo(0), "Prefer: wait=120\r\n");
  EXPECT_EQ(job.text("outputs.image.blob"), small.text("outputs.image.blob")) << job.shown();
  EXPECT_EQ(ask(server.port(), "PUT", "/v1/blobs/" + digest, "", photo).status, 200);
  EXPECT_EQ(ask(server.port(), "POST", "/v1/blobs", "", photo + "!").status, 201);
  EXPECT_TRUE(temporary_files().empty());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(LargeUpload, ThatBreaksOffGivesItsSpaceBack) {
  disk_ = std::make_unique<SmallDisk>(directory_ + "/data", "size=64m");
  if (!disk_->mounted()) GTEST_SKIP() << "not permitted to mount";
  ServerProcess server(settings());
  const uint64_t before = free_bytes();
  {
    test::Client client(fmt::format("127.0.0.1:{}", server.port()));
    client.write(
        fmt::format("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                    "{}\r\n\r\n",
                    kUploadBytes));
    client.write(std::string(kUploadBytes / 2, 'u'));
    EXPECT_TRUE(eventually([&] { return free_bytes() < before - kUploadBytes / 3; }));
  }
  EXPECT_TRUE(eventually([&] { return free_bytes() + (1 << 20) > before; }));
  EXPECT_TRUE(temporary_files().empty());
}

TEST_F(LargeUpload, ThatFillsTheDiskIs507AndLeavesNothing) {
  disk_ = std::make_unique<SmallDisk>(directory_ + "/data", "size=24m");
  if (!disk_->mounted()) GTEST_SKIP() << "not permitted to mount";
  ServerProcess server(settings());
  const uint64_t before = free_bytes();
  const std::string photo = large_photo(kUploadBytes);
  const uint16_t port = server.port();
  for (const bool job : {false, true}) {
    const Reply refused =
        job ? submit_image(port, photo) : ask(port, "POST", "/v1/blobs", "", photo);
    expect_problem(refused, 507, "E123");
    EXPECT_TRUE(eventually([&] { return free_bytes() + (1 << 20) > before; }));
    EXPECT_TRUE(temporary_files().empty());
  }
  EXPECT_NE(file_text(server.log()).find("ev=disk.full"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return ask(port, "GET", "/readyz").status == 200; }));
  EXPECT_EQ(submit_image(port, make_photo(0), "Prefer: wait=120\r\n").text("state"), "succeeded");
}

// Regression: an object is linked to its blob, and changed its ETag whenever the same bytes came.
TEST_F(LargeUpload, KeepsTheEtagOfItsObjectWhenItComesAgain) {
  ServerProcess server(settings());
  const uint16_t port = server.port();
  const std::string photo = large_photo(1000);
  const Reply job = submit_image(port, photo, "Prefer: wait=120\r\n");
  ASSERT_EQ(job.text("state"), "succeeded") << job.shown();
  const std::string object = "/v1/files/default/originals/" + job.text("id") + ".jpg";
  const std::string etag = "\"" + sha256(photo).text() + "\"";
  const Reply first = ask(port, "GET", object);
  EXPECT_TRUE(first.body == photo);
  EXPECT_NE(first.head.find("ETag: " + etag), std::string::npos) << first.head;
  EXPECT_EQ(ask(port, "POST", "/v1/blobs", "", photo).status, 201);
  EXPECT_EQ(submit_image(port, photo, "Prefer: wait=120\r\n").text("state"), "succeeded");
  EXPECT_EQ(ask(port, "GET", object, "If-None-Match: " + etag + "\r\n").status, 304);
}

// A blob that a client put has its own time, whatever jobs made the same bytes and go.
TEST_F(LargeUpload, OutlivesAJobOfTheSameBytes) {
  auto server = std::make_unique<ServerProcess>(settings());
  for (const size_t size : {size_t{1000}, kSpoolBytes * 2}) {
    const std::string photo = large_photo(size);
    const Reply job = submit_image(server->port(), photo, "Prefer: wait=120\r\n");
    ASSERT_EQ(job.text("state"), "succeeded") << job.shown();
    const std::string kept = "/v1/blobs/" + sha256(photo).text();
    EXPECT_EQ(ask(server->port(), "POST", "/v1/blobs", "", photo).status, 201);
    server->stop();
    server = std::make_unique<ServerProcess>(settings());
    ASSERT_EQ(ask(server->port(), "DELETE", "/v1/jobs/" + job.text("id")).status, 204);
    const std::string result = "/v1/blobs/" + job.text("outputs.image.blob");
    EXPECT_TRUE(eventually([&] { return ask(server->port(), "GET", result).status == 404; }));
    EXPECT_EQ(ask(server->port(), "GET", kept).status, 200);
  }
}

}  // namespace
}  // namespace millrace
