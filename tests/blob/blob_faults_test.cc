// Goal: a put that returned ok survives power loss; a put that failed leaves nothing behind and can
// be repeated.
// Method: the store's system calls go through layers that fail the first, second, third … of them,
// and that forget what was never synced.
#include <fcntl.h>

#include <map>
#include <mutex>

#include "tests/blob/file_blob_fixture.h"

namespace millrace {
namespace {

// Fails call number `fail_at` (from 1) with `error`; 0: none.
class FaultyOps final : public FileOps {
 public:
  FaultyOps(int fail_at, int error, bool unnamed_files)
      : fail_at_(fail_at), error_(error), unnamed_files_(unnamed_files) {}
  bool reached() const { return calls_ >= fail_at_; }

  int open(const char* path, int flags, mode_t mode) override {
    if (!unnamed_files_ && (flags & O_TMPFILE) == O_TMPFILE) {
      errno = EOPNOTSUPP;
      return -1;
    }
    return fails() ? -1 : FileOps::open(path, flags, mode);
  }
  ssize_t write(int fd, const void* data, size_t size) override {
    // Short writes all along, so that each call may be the one that fails.
    return fails() ? -1 : FileOps::write(fd, data, std::min<size_t>(size, 1000));
  }
  ssize_t pread(int fd, void* data, size_t size, off_t at) override {
    return fails() ? -1 : FileOps::pread(fd, data, std::min<size_t>(size, 100'000), at);
  }
  int fsync(int fd) override { return fails() ? -1 : FileOps::fsync(fd); }
  int link_open_file(int fd, const char* path) override {
    return fails() ? -1 : FileOps::link_open_file(fd, path);
  }
  int rename(const char* from, const char* to) override {
    return fails() ? -1 : FileOps::rename(from, to);
  }
  int mkdir(const char* path, mode_t mode) override {
    return fails() ? -1 : FileOps::mkdir(path, mode);
  }
  int stat(const char* path, struct stat* info) override {
    return fails() ? -1 : FileOps::stat(path, info);
  }
  int touch(const char* path) override { return fails() ? -1 : FileOps::touch(path); }

 private:
  bool fails() {
    if (++calls_ != fail_at_) return false;
    errno = error_;
    return true;
  }
  const int fail_at_, error_;
  const bool unnamed_files_;
  int calls_ = 0;
};

class BlobFaults : public BlobFixture {
 protected:
  // Runs `prepare` on a healthy store, then a put on one that fails at call 1, 2, 3 … until none is
  // left to fail.
  void fail_each_call(int error, int expected, bool unnamed_files, bool found_on_disk,
                      bool spooled = false) {
    const std::string bytes = some_bytes(3500);
    for (int at = 1;; at++) {
      std::filesystem::remove_all(directory_);
      auto healthy = open();
      if (found_on_disk) {
        ASSERT_TRUE(healthy->put(Bytes::of(bytes)).ok());
      }
      FaultyOps ops(at + calls_of_open(), error, unnamed_files);
      const auto store = open(&ops);
      const auto digest =
          spooled ? spool_and_put(store.get(), bytes) : store->put(Bytes::of(bytes));
      SCOPED_TRACE(at);
      EXPECT_TRUE(temporary_files().empty());
      EXPECT_TRUE(all_true());
      if (!digest.ok()) {
        EXPECT_EQ(digest.status().number(), expected) << digest.status().message();
      }
      // The store goes on: the fault is over.
      const auto again = store->put(Bytes::of(bytes));
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_TRUE(open()->read(*again, true).ok());
      EXPECT_TRUE(temporary_files().empty());
      if (!ops.reached()) return;
      ASSERT_LT(at, 100);
    }
  }

 protected:
  // Opening makes calls as well; they are not what is tested here.
  int calls_of_open() {
    for (int calls = 0;; calls++) {
      FaultyOps ops(calls + 1, EIO, true);
      const auto store = FileBlobStore::open(directory_, &ops);
      if (store.ok() && !ops.reached()) return calls;
    }
  }
};

TEST_F(BlobFaults, AFailureOfAnyCallLeavesNothingBehind) {
  fail_each_call(EIO, errors::kBlobWrite, true, false);
}

TEST_F(BlobFaults, AFullDiskAtAnyCallLeavesNothingBehind) {
  fail_each_call(ENOSPC, errors::kNoSpace, true, false);
}

TEST_F(BlobFaults, TheSameWithoutUnnamedFiles) {
  fail_each_call(EIO, errors::kBlobWrite, false, false);
  fail_each_call(ENOSPC, errors::kNoSpace, false, false);
}

TEST_F(BlobFaults, TheSameForABlobFoundOnDisk) {
  fail_each_call(EIO, errors::kBlobWrite, true, true);
  fail_each_call(EDQUOT, errors::kNoSpace, false, true);
}

TEST_F(BlobFaults, TheSameForWhatIsWrittenWhileItComes) {
  for (const bool unnamed_files : {true, false}) {
    fail_each_call(EIO, errors::kBlobWrite, unnamed_files, false, true);
    fail_each_call(ENOSPC, errors::kNoSpace, unnamed_files, false, true);
    fail_each_call(EIO, errors::kBlobWrite, unnamed_files, true, true);
  }
}

// The bytes at hand are tried again until they are durable, as the core does.
TEST_F(BlobFaults, AFailedPutOfWrittenBytesCanBeRepeated) {
  const std::string bytes = some_bytes(3500);
  for (const bool unnamed_files : {true, false}) {
    for (int at = 1;; at++) {
      SCOPED_TRACE(at);
      std::filesystem::remove_all(directory_);
      FaultyOps ops(at, EIO, unnamed_files);
      auto store = FileBlobStore::open(directory_, &ops);
      if (!store.ok()) continue;
      auto written = spool(store->get(), bytes);
      if (!written.ok()) continue;
      (*store)->put(written->bytes).status();
      const auto again = (*store)->put(written->bytes);
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_TRUE(open()->read(*again, true).ok());
      written = Status::invalid(0, "let go");
      EXPECT_TRUE(temporary_files().empty());
      if (!ops.reached()) break;
      ASSERT_LT(at, 100);
    }
  }
}

// Of a small blob, which is copied, and of a large one, which is mapped once it was read. A disk
// that fails is not a blob that is missing: whoever asks may ask again.
TEST_F(BlobFaults, AFailureOfAnyCallOfAReadIsSaidAndIsOverWithTheFault) {
  for (const int size : {3500, 1'000'000}) {
    const std::string bytes = some_bytes(size);
    const Digest digest = *open()->put(Bytes::of(bytes));
    for (int at = 1;; at++) {
      SCOPED_TRACE(fmt::format("{} bytes, call {}", size, at));
      ASSERT_LT(at, 100);
      FaultyOps ops(at + calls_of_open(), EIO, true);
      const auto store = open(&ops);
      const auto failed = store->read(digest);
      if (failed.ok()) {
        EXPECT_FALSE(ops.reached());
        EXPECT_EQ(failed->view(), bytes);
        break;
      }
      EXPECT_EQ(failed.status().number(), errors::kBlobWrite);
      EXPECT_EQ(failed.status().code(), Code::kUnavailable);
      EXPECT_NE(failed.status().message().find(store->path(digest)), std::string::npos);
      const auto again = store->read(digest);
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_EQ(again->view(), bytes);
    }
  }
}

// Remembers which bytes and names were synced; power_loss() takes the others away.
class LossyOps final : public FileOps {
 public:
  explicit LossyOps(bool unnamed_files) : unnamed_files_(unnamed_files) {}
  bool name_syncs_fail = false;  // of the directories that hold blobs

  int open(const char* path, int flags, mode_t mode) override {
    if (!unnamed_files_ && (flags & O_TMPFILE) == O_TMPFILE) {
      errno = EOPNOTSUPP;
      return -1;
    }
    const int fd = FileOps::open(path, flags, mode);
    const bool unnamed = (flags & O_TMPFILE) == O_TMPFILE;
    if (fd >= 0) paths_[fd] = unnamed ? "" : path;
    if (fd >= 0 && !unnamed && (flags & O_CREAT) != 0) names_[path] = {false, false};
    if (fd >= 0) synced_.erase(fd);
    return fd;
  }
  int close(int fd) override {
    paths_.erase(fd);
    return FileOps::close(fd);
  }
  int fsync(int fd) override {
    const std::string path = paths_[fd];
    if (std::filesystem::is_directory(path)) {
      if (name_syncs_fail && std::filesystem::path(path).filename().string().size() == 2) {
        errno = EIO;
        return -1;
      }
      for (auto& [name, state] : names_) {
        if (std::filesystem::path(name).parent_path() == std::filesystem::path(path)) {
          state.name_synced = true;
        }
      }
    } else if (path.empty()) {
      synced_.insert(fd);
    } else {
      names_[path].bytes_synced = true;
    }
    return FileOps::fsync(fd);
  }
  int link_open_file(int fd, const char* path) override {
    const int code = FileOps::link_open_file(fd, path);
    if (code == 0) names_[path] = {synced_.contains(fd), false};
    return code;
  }
  int rename(const char* from, const char* to) override {
    const int code = FileOps::rename(from, to);
    if (code == 0) {
      names_[to] = {names_[from].bytes_synced, false};
      names_.erase(from);
    }
    return code;
  }
  int mkdir(const char* path, mode_t mode) override {
    const int code = FileOps::mkdir(path, mode);
    if (code == 0) names_[path] = {true, false};
    return code;
  }

  // What was never synced is gone. Names first, since a lost directory takes all below with it.
  void power_loss() {
    for (const auto& [name, state] : names_) {
      if (!state.name_synced) {
        std::filesystem::remove_all(name);
      } else if (!state.bytes_synced && std::filesystem::exists(name)) {
        std::filesystem::permissions(name, std::filesystem::perms::owner_all);
        std::filesystem::resize_file(name, 0);
      }
    }
    names_.clear();
  }

 private:
  struct Name {
    bool bytes_synced = false, name_synced = false;
  };
  const bool unnamed_files_;
  std::map<int, std::string> paths_;
  std::set<int> synced_;
  std::map<std::string, Name> names_;
};

class BlobPowerLoss : public BlobFixture, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(UnnamedFiles, BlobPowerLoss, ::testing::Bool());

TEST_P(BlobPowerLoss, WhatWasPutSurvives) {
  LossyOps ops(GetParam());
  std::vector<Digest> digests;
  {
    const auto store = open(&ops);
    for (int i = 0; i < 40; i++) {
      digests.push_back(*store->put(Bytes::of(some_bytes(3000, i))));
      digests.push_back(*spool_and_put(store.get(), some_bytes(3000, 100 + i)));
    }
  }
  ops.power_loss();
  const auto store = open();
  for (const Digest& digest : digests) {
    EXPECT_TRUE(store->read(digest, true).ok());
  }
}

TEST_P(BlobPowerLoss, ABlobFoundOnDiskIsSyncedBeforeItCounts) {
  LossyOps ops(GetParam());
  const std::string bytes = some_bytes(3000);
  {
    const auto store = open(&ops);
    ops.name_syncs_fail = true;
    const auto unlucky = store->put(Bytes::of(bytes));
    ASSERT_FALSE(unlucky.ok());
    ASSERT_TRUE(std::filesystem::exists(store->path(sha256(bytes))));
    ops.name_syncs_fail = false;
  }
  // The next process finds the file under its name and knows nothing of what went wrong.
  Digest digest;
  {
    const auto store = open(&ops);
    digest = *store->put(Bytes::of(bytes));
  }
  ops.power_loss();
  EXPECT_TRUE(open()->read(digest, true).ok());
}

TEST_P(BlobPowerLoss, AFailedSyncIsNotBelievedWhenRepeated) {
  LossyOps ops(GetParam());
  const std::string bytes = some_bytes(3000);
  const auto store = open(&ops);
  ops.name_syncs_fail = true;
  ASSERT_FALSE(store->put(Bytes::of(bytes)).ok());
  ops.name_syncs_fail = false;
  const auto digest = store->put(Bytes::of(bytes));
  ASSERT_TRUE(digest.ok()) << digest.status().message();
  ops.power_loss();
  EXPECT_TRUE(store->read(*digest, true).ok());
}

}  // namespace
}  // namespace millrace
