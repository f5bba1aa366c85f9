// Goal: whatever system call fails, and wherever the process dies, an object is the old one or
// the new one, whole, and the next attempt mends the rest.
// Method: the file store is compiled in with a hook before each of its system calls; every call
// of every way to put is made to fail, and to be the one before which the process ends.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "steps/store/file_store.h"
#include "steps/store/key.h"
#include "steps/store/system.h"
#include "tests/steps_io/test_host.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using store_step::digest_of;
using store_step::How;
using store_step::put_object;
using store_step::PutResult;
using store_step::Source;

// The N-th system call of a put fails, or is never made because the process died before it.
class FaultyPut : public testing::Test {
 protected:
  static int hook(const char* name) {
    if (++calls != fail_at) return 0;
    last_name = name;
    if (die) ::_exit(77);
    return error;
  }
  void TearDown() override { store_step::system_hook = nullptr; }
  void arm(int at, int with_error, bool and_die) {
    calls = 0;
    fail_at = at;
    error = with_error;
    die = and_die;
    store_step::system_hook = &hook;
  }
  PutResult put_new(const std::string& root, const char* path, bool replacing) {
    const Source source = {reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size(), path,
                           digest_of(bytes_.data(), bytes_.size())};
    return put_object(root, "x/y/k", source, replacing, [] { return true; });
  }
  // A store directory for this N, with an older object when it is to be replaced.
  std::string prepare(int n, bool replacing) {
    const std::string root = directory_ / ("root" + std::to_string(n));
    if (!replacing) return root;
    fs::create_directories(root + "/x/y");
    write_all(root + "/x/y/k", "old");
    return root;
  }
  // Whole or absent; nothing else but what may lie in the temporary directory.
  void check(const std::string& root, bool replacing, bool leftovers_allowed) {
    const std::string object = root + "/x/y/k";
    if (fs::exists(object)) {
      const std::string bytes = read_all(object);
      EXPECT_TRUE(bytes == bytes_ || (replacing && bytes == "old")) << last_name << ": " << bytes;
    } else {
      EXPECT_FALSE(replacing) << last_name << ": the object is gone";
    }
    if (!fs::exists(root)) return;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.is_directory() || entry.path() == object) continue;
      const std::string parent = entry.path().parent_path().filename();
      EXPECT_TRUE(leftovers_allowed && parent == store_step::kTemporaryDirectory)
          << last_name << ": " << entry.path();
    }
  }
  void finish(const std::string& root, const char* path, bool replacing) {
    store_step::system_hook = nullptr;
    const PutResult again = put_new(root, path, replacing);
    EXPECT_FALSE(again.failure) << last_name << ": " << again.failure.message;
    EXPECT_EQ(read_all(root + "/x/y/k"), bytes_);
  }
  void fail_each(int with_error, const char* expected_reason, const char* path, bool replacing) {
    for (int n = 1;; ++n) {
      ASSERT_LT(n, 200);
      const std::string root = prepare(n, replacing);
      last_name.clear();
      arm(n, with_error, false);
      const PutResult result = put_new(root, path, replacing);
      if (last_name.empty()) break;
      check(root, replacing, last_name == "unlinkat");
      if (result.failure) {
        EXPECT_STREQ(result.failure.reason, expected_reason) << last_name;
      } else {
        // Only what is not needed for the promise may fail in silence.
        EXPECT_TRUE(last_name == "ioctl" || last_name == "unlinkat" || last_name == "flock" ||
                    last_name == "openat" || last_name == "fstat" || last_name == "linkat" ||
                    last_name == "fstatat")
            << last_name;
        EXPECT_EQ(read_all(root + "/x/y/k"), bytes_);
      }
      finish(root, path, replacing);
      fs::remove_all(root);
    }
  }
  void die_each(const char* path, bool replacing) {
    for (int n = 1;; ++n) {
      ASSERT_LT(n, 200);
      const std::string root = prepare(n, replacing);
      const pid_t child = ::fork();
      if (child == 0) {
        arm(n, 0, true);
        ::_exit(put_new(root, path, replacing).failure ? 1 : 0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      check(root, replacing, true);
      finish(root, path, replacing);
      fs::remove_all(root);
      if (WEXITSTATUS(status) == 0) break;
      EXPECT_EQ(WEXITSTATUS(status), 77);
    }
  }

  static inline int calls, fail_at, error;
  static inline bool die;
  static inline std::string last_name;
  // In memory where there is such a place: hundreds of puts, and nothing here loses power.
  TemporaryDirectory directory_{"/dev/shm"};
  std::string bytes_ = "the new bytes";
};

TEST_F(FaultyPut, AnyFailingCallLeavesOldOrNewAndTheNextAttemptMendsIt) {
  fail_each(EIO, "io_error", nullptr, false);
  fail_each(ENOSPC, "no_space", nullptr, false);
  fail_each(EIO, "io_error", nullptr, true);
  fail_each(EDQUOT, "no_space", nullptr, true);
}

TEST_F(FaultyPut, AnyFailingCallWhileLinkingLeavesOldOrNew) {
  const std::string blob = directory_ / "blob";
  write_all(blob, bytes_);
  fail_each(EIO, "io_error", blob.c_str(), false);
  fail_each(EIO, "io_error", blob.c_str(), true);
}

TEST_F(FaultyPut, DeathAtAnyCallLeavesOldOrNewAndTheNextAttemptMendsIt) {
  die_each(nullptr, false);
  die_each(nullptr, true);
  const std::string blob = directory_ / "blob";
  write_all(blob, bytes_);
  die_each(blob.c_str(), false);
  die_each(blob.c_str(), true);
}

std::string calls_made;
int record(const char* name) {
  const std::string_view call = name;
  if (call == "write" || call == "fsync" || call == "linkat" || call == "renameat2" ||
      call == "mkdirat" || call == "ioctl") {
    calls_made += calls_made.empty() ? "" : " ";
    calls_made += call;
  }
  return call == "ioctl" ? EOPNOTSUPP : 0;
}

// Each arrow of "bytes, then name, then the directory that holds the name" is a sync.
TEST_F(FaultyPut, SyncsBytesBeforeTheNameAndTheDirectoryAfterIt) {
  const std::string root = directory_ / "root";
  ASSERT_FALSE(put_new(root, nullptr, false).failure);  // makes the directories
  const auto calls_of = [&](const char* key, const char* path, bool replacing) {
    calls_made.clear();
    store_step::system_hook = &record;
    const Source source = {reinterpret_cast<const uint8_t*>(key), 3, path, digest_of(key, 3)};
    EXPECT_FALSE(put_object(root, "x/y/object", source, replacing, [] { return true; }).failure);
    store_step::system_hook = nullptr;
    return calls_made;
  };
  EXPECT_EQ(calls_of("one", nullptr, false), "write fsync linkat fsync");
  EXPECT_EQ(calls_of("one", nullptr, false), "fsync fsync") << "the work of one who may have died";
  write_all(directory_ / "blob", "two");
  EXPECT_TRUE(calls_of("two", (directory_ / "blob").c_str(), true)
                  .ends_with("fsync mkdirat fsync linkat renameat2 fsync"));
  EXPECT_EQ(calls_of("six", nullptr, true), "write fsync linkat renameat2 fsync");
}

TEST_F(FaultyPut, NewDirectoriesAreSyncedBeforeTheObjectIsNamed) {
  const std::string root = directory_ / "root";
  fs::create_directory(root);
  calls_made.clear();
  store_step::system_hook = &record;
  ASSERT_FALSE(put_new(root, nullptr, false).failure);
  EXPECT_EQ(calls_made, "fsync mkdirat fsync mkdirat fsync write fsync linkat fsync");
}

TEST_F(FaultyPut, WaitingForTheLockCanBeCancelled) {
  const std::string root = prepare(0, true);
  const store_step::File holder = store_step::open_at(AT_FDCWD, root + "/x/y", O_RDONLY);
  ASSERT_EQ(store_step::lock_file(holder, LOCK_EX), 0);
  const Source source = {reinterpret_cast<const uint8_t*>("new"), 3, nullptr, digest_of("new", 3)};
  int asked = 0;
  const PutResult result =
      put_object(root, "x/y/k", source, true, [&asked] { return ++asked < 10; });
  EXPECT_TRUE(result.cancelled);
  EXPECT_EQ(read_all(root + "/x/y/k"), "old");
}

int no_clone(const char* name) {
  return std::string_view(name) == "ioctl" ? EOPNOTSUPP : 0;
}

TEST_F(FaultyPut, WithoutCloneTheFileIsLinked) {
  store_step::system_hook = &no_clone;
  const std::string blob = directory_ / "blob";
  write_all(blob, bytes_);
  const PutResult result = put_new(directory_ / "root", blob.c_str(), false);
  EXPECT_FALSE(result.failure);
  EXPECT_EQ(result.how, How::kLinked);
}

int too_many_links(const char* name) {
  static bool refused = false;
  if (std::string_view(name) != "linkat" || refused) return 0;
  refused = true;
  return EMLINK;
}

TEST_F(FaultyPut, AFileWithTooManyNamesIsCopied) {
  store_step::system_hook = &too_many_links;
  const std::string blob = directory_ / "blob";
  write_all(blob, bytes_);
  const PutResult result = put_new(directory_ / "root", blob.c_str(), false);
  EXPECT_FALSE(result.failure) << result.failure.message;
  EXPECT_EQ(result.how, How::kCopied);
  EXPECT_EQ(read_all(directory_ / "root/x/y/k"), bytes_);
}

int no_exchange(const char* name) {
  return std::string_view(name) == "renameat2" ? EINVAL : 0;
}

TEST_F(FaultyPut, WithoutExchangeAPlainRenameReplaces) {
  store_step::system_hook = &no_exchange;
  const std::string root = prepare(0, true);
  const PutResult result = put_new(root, nullptr, true);
  EXPECT_FALSE(result.failure) << result.failure.message;
  EXPECT_TRUE(result.replaced);
  EXPECT_EQ(read_all(root + "/x/y/k"), bytes_);
  check(root, true, false);
}

std::string foreign_path;
int foreign_rounds = 0;
int write_between(const char* name) {
  if (std::string_view(name) == "renameat2" && foreign_rounds > 0) {
    --foreign_rounds;
    fs::remove(foreign_path);
    write_all(foreign_path, "foreign " + std::to_string(foreign_rounds));
  }
  return 0;
}

// A writer that takes no lock changes the object between the look and the swap.
TEST_F(FaultyPut, AForeignWriterInBetweenIsSeenAndNotLost) {
  const std::string root = prepare(0, true);
  foreign_path = root + "/x/y/k";
  foreign_rounds = 1;
  store_step::system_hook = &write_between;
  const PutResult result = put_new(root, nullptr, true);
  EXPECT_FALSE(result.failure) << result.failure.message;
  EXPECT_EQ(foreign_rounds, 0);
  EXPECT_EQ(read_all(foreign_path), bytes_);
  check(root, true, false);
  write_all(directory_ / "again", "");
  foreign_rounds = 1'000'000;
  bytes_ = "other bytes";
  const PutResult hopeless = put_new(root, nullptr, true);
  EXPECT_STREQ(hopeless.failure.reason, "conflict");
}

TEST_F(FaultyPut, LeftoversThatMayBeInUseAreNotRemoved) {
  const std::string root = prepare(0, true);
  fs::create_directories(root + "/.millrace.tmp");
  write_all(root + "/.millrace.tmp/young", "of somebody alive");
  ASSERT_FALSE(put_new(root, nullptr, true).failure);
  EXPECT_TRUE(fs::exists(root + "/.millrace.tmp/young"));
}

}  // namespace
}  // namespace millrace
