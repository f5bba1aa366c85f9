// Goal: blobs are what they are named, once each, and go only when nobody wants them.
// Method: a store in a fresh directory; the files are looked at from outside.
#include <fcntl.h>
#include <sys/stat.h>

#include <thread>

#include "engine/blob/blob_threads.h"
#include "tests/blob/file_blob_fixture.h"

namespace millrace {
namespace {

using FileBlobStoreTest = BlobFixture;

TEST_F(FileBlobStoreTest, WhatIsPutIsReadBackByItsDigest) {
  const auto store = open();
  for (const size_t size : {0u, 1u, 1000u, 65536u, 3'000'000u}) {
    const std::string bytes = some_bytes(size);
    const auto digest = store->put(Bytes::of(bytes));
    ASSERT_TRUE(digest.ok()) << digest.status().message();
    EXPECT_EQ(digest->hex(), sha256(bytes).hex());
    const auto read = store->read(*digest, true);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_TRUE(read->view() == bytes);
    EXPECT_EQ(*store->size(*digest), size);
    EXPECT_TRUE(content(store->path(*digest)) == bytes);
  }
  EXPECT_TRUE(all_true());
  EXPECT_TRUE(temporary_files().empty());
}

TEST_F(FileBlobStoreTest, WhatIsWrittenWhileItComesBecomesTheBlobItself) {
  const auto store = open();
  for (const size_t size : {0u, 1u, 3'000'000u}) {
    const std::string bytes = some_bytes(size);
    const auto written = spool(store.get(), bytes);
    ASSERT_TRUE(written.ok()) << written.status().message();
    EXPECT_EQ(written->digest.hex(), sha256(bytes).hex());
    EXPECT_TRUE(written->bytes.view() == bytes) << "readable before it is durable";
    EXPECT_FALSE(store->read(written->digest).ok());
    const auto digest = store->put(written->bytes);
    ASSERT_TRUE(digest.ok()) << digest.status().message();
    EXPECT_EQ(*digest, written->digest);
    EXPECT_TRUE(content(store->path(*digest)) == bytes);
    struct stat info {};
    ASSERT_EQ(::stat(store->path(*digest).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0444u);
  }
  EXPECT_TRUE(temporary_files().empty());
}

// Counts what is written to files.
class CountingOps final : public FileOps {
 public:
  size_t written = 0;
  ssize_t write(int fd, const void* data, size_t size) override {
    const ssize_t count = FileOps::write(fd, data, size);
    if (count > 0) written += static_cast<size_t>(count);
    return count;
  }
};

TEST_F(FileBlobStoreTest, WhatWasWrittenIsNotWrittenAgainByItsPut) {
  CountingOps ops;
  const auto store = open(&ops);
  const std::string bytes = some_bytes(1 << 20);
  const auto written = spool(store.get(), bytes);
  ASSERT_TRUE(written.ok());
  const Digest digest = *store->put(written->bytes);
  EXPECT_EQ(*store->put(written->bytes), digest);
  EXPECT_EQ(ops.written, bytes.size());
  // A part of the mapping is another blob.
  const Bytes part(written->bytes.owner(), written->bytes.data(), 10);
  EXPECT_EQ(*store->put(part), sha256(bytes.substr(0, 10)));
  // Removed while its bytes were still in somebody's hands, it is written from them.
  ASSERT_TRUE(store->remove(digest, nobody).ok());
  EXPECT_EQ(*store->put(written->bytes), digest);
  EXPECT_TRUE(store->read(digest, true).ok());
}

TEST_F(FileBlobStoreTest, ASinkThatIsGivenUpLeavesNothing) {
  const auto store = open();
  {
    const auto sink = store->sink();
    ASSERT_TRUE(sink->append("half of it").ok());
    const auto other = spool(store.get(), "all of it, and never put");
    ASSERT_TRUE(other.ok());
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(FileBlobStoreTest, AMappingOutlivesTheStoreAndTheFile) {
  auto store = open();
  const std::string bytes = some_bytes(1 << 20);
  const Digest digest = *store->put(Bytes::of(bytes));
  const Bytes read = *store->read(digest);
  ASSERT_TRUE(store->remove(digest, nobody).ok());
  store.reset();
  EXPECT_TRUE(read.view() == bytes);
}

TEST_F(FileBlobStoreTest, FilesAreReadOnly) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"));
  struct stat info {};
  ASSERT_EQ(::stat(store->path(digest).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0444u);
}

TEST_F(FileBlobStoreTest, EqualBytesAreOneFile) {
  const auto store = open();
  for (int i = 0; i < 3; i++) ASSERT_TRUE(store->put(Bytes::of("same")).ok());
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(FileBlobStoreTest, AnUnknownDigestIsNotFound) {
  const auto store = open();
  EXPECT_EQ(store->read(sha256("no")).status().number(), errors::kBlobUnknown);
  EXPECT_EQ(store->size(sha256("no")).status().number(), errors::kBlobUnknown);
  EXPECT_TRUE(store->remove(sha256("no"), nobody).ok());
}

TEST_F(FileBlobStoreTest, AlteredBytesAreNoticedWhenVerified) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of(some_bytes(100'000)));
  const std::string file = store->path(digest);
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).put('?');
  EXPECT_TRUE(store->read(digest).ok());
  const auto verified = store->read(digest, true);
  EXPECT_EQ(verified.status().code(), Code::kCorrupt);
  EXPECT_EQ(verified.status().number(), errors::kBlobMissing);
}

TEST_F(FileBlobStoreTest, AFoundFileOfAnotherLengthIsWrittenAnew) {
  const std::string bytes = some_bytes(5000);
  {
    const auto store = open();
    const Digest digest = *store->put(Bytes::of(bytes));
    std::filesystem::permissions(store->path(digest), std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
    std::filesystem::resize_file(store->path(digest), 10);
  }
  const auto store = open();
  const Digest digest = *store->put(Bytes::of(bytes));
  EXPECT_TRUE(content(store->path(digest)) == bytes);
  EXPECT_TRUE(temporary_files().empty());
}

TEST_F(FileBlobStoreTest, AFileThatVanishedIsWrittenAgain) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"));
  std::filesystem::remove(store->path(digest));
  ASSERT_TRUE(store->put(Bytes::of("x")).ok());
  EXPECT_EQ(content(store->path(digest)), "x");
}

void make_old(const std::string& file, int64_t seconds) {
  timespec times[2] = {};
  clock_gettime(CLOCK_REALTIME, &times[1]);
  times[1].tv_sec -= seconds;
  times[0] = times[1];
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
}

TEST_F(FileBlobStoreTest, ASweepTakesWhatIsOldAndUnnamed) {
  const auto store = open();
  const Digest old_unnamed = *store->put(Bytes::of("1")), old_named = *store->put(Bytes::of("2")),
               young = *store->put(Bytes::of("3"));
  make_old(store->path(old_unnamed), 3600);
  make_old(store->path(old_named), 3600);
  const auto named = [&](const Digest& d) -> Result<bool> { return d == old_named; };
  EXPECT_EQ(*store->sweep(wall_clock_ms() - 600'000, 100, named), 1);
  EXPECT_FALSE(store->size(old_unnamed).ok());
  EXPECT_TRUE(store->size(old_named).ok());
  EXPECT_TRUE(store->size(young).ok());
}

TEST_F(FileBlobStoreTest, AHitRenewsTheAge) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"));
  make_old(store->path(digest), 3600);
  ASSERT_TRUE(store->put(Bytes::of("x")).ok());
  EXPECT_EQ(*store->sweep(wall_clock_ms() - 600'000, 100, nobody), 0);
}

TEST_F(FileBlobStoreTest, ASweepRemovesAtMostMaxAndTheNextGoesOn) {
  const auto store = open();
  for (int i = 0; i < 50; i++) {
    make_old(store->path(*store->put(Bytes::of(std::to_string(i)))), 3600);
  }
  const TimeMs before = wall_clock_ms() - 600'000;
  EXPECT_EQ(*store->sweep(before, 20, nobody), 20);
  EXPECT_EQ(*store->sweep(before, 20, nobody), 20);
  EXPECT_EQ(*store->sweep(before, 20, nobody), 10);
  EXPECT_TRUE(files().empty());
}

TEST_F(FileBlobStoreTest, ASweepStopsWhenNobodyKnowsWhoNamesABlob) {
  const auto store = open();
  make_old(store->path(*store->put(Bytes::of("x"))), 3600);
  const auto broken = [](const Digest&) -> Result<bool> {
    return Status::corrupt(errors::kStoreCorrupt, "damaged");
  };
  EXPECT_EQ(store->sweep(wall_clock_ms(), 10, broken).status().number(), errors::kStoreCorrupt);
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(FileBlobStoreTest, RemoveLeavesWhatIsNamed) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"));
  EXPECT_TRUE(store->remove(digest, somebody).ok());
  EXPECT_TRUE(store->size(digest).ok());
  EXPECT_TRUE(store->remove(digest, nobody).ok());
  EXPECT_FALSE(store->size(digest).ok());
}

// The putter may not have heard of its success yet, and nobody else knows that it wants the blob.
// Regression: a blob that a client had just put went with a job that had made the same bytes.
TEST_F(FileBlobStoreTest, WhatWasPutToBeKeptOutlivesTheJobsThatNameIt) {
  for (const std::string order : {"k", "jk", "kj", "sk", "ks"}) {
    SCOPED_TRACE(order);
    const std::string bytes = "bytes of " + order;
    const TimeMs before = wall_clock_ms() - 1000;
    Digest digest;
    {
      const auto store = open();
      for (const char put : order) {
        const Bytes given =
            put == 's' || order[0] == 's' ? spool(store.get(), bytes)->bytes : Bytes::of(bytes);
        digest = *store->put(given, put == 'k');
      }
    }
    const auto store = open();  // it is known after a restart too
    ASSERT_TRUE(store->remove(digest, nobody, INT64_MAX, before).ok());
    EXPECT_TRUE(store->read(digest).ok());
    ASSERT_TRUE(store->remove(digest, nobody, INT64_MAX, wall_clock_ms() + 1000).ok());
    EXPECT_FALSE(store->read(digest).ok()) << "its time is over";
  }
  const auto store = open();
  const Digest job = *store->put(Bytes::of("a job's alone"));
  ASSERT_TRUE(store->remove(job, nobody, INT64_MAX, 0).ok());
  EXPECT_FALSE(store->read(job).ok());
}

// Method: the second question is asked when the file is out of the way already; another process
// puts the same bytes meanwhile, or does not.
TEST_F(FileBlobStoreTest, WhatIsNamedAfterTheFirstQuestionIsGivenBack) {
  for (const bool put_again : {false, true}) {
    const auto store = open(), other = open();
    const Digest digest = *store->put(Bytes::of("x"));
    int asked = 0;
    const auto named = [&](const Digest&) -> Result<bool> {
      if (++asked == 1) return false;
      EXPECT_FALSE(other->size(digest).ok());
      EXPECT_FALSE(*other->still_there(digest));
      if (put_again) {
        EXPECT_TRUE(other->put(Bytes::of("x")).ok());
      }
      return true;
    };
    EXPECT_TRUE(store->remove_shared(digest, named, kNever).ok());
    EXPECT_EQ(asked, 2);
    EXPECT_EQ(store->read(digest, true)->view(), "x");
    EXPECT_TRUE(temporary_files().empty());
  }
}

TEST_F(FileBlobStoreTest, RemoveLeavesWhatWasPutSinceTheCallerLooked) {
  const auto store = open();
  const Digest digest = *store->put(Bytes::of("x"));
  const int64_t looked_us = monotonic_us() + 1;
  while (monotonic_us() <= looked_us) {
  }
  ASSERT_TRUE(store->put(Bytes::of("x")).ok());
  EXPECT_TRUE(store->remove(digest, nobody, looked_us).ok());
  EXPECT_TRUE(store->size(digest).ok());
}

TEST_F(FileBlobStoreTest, TemporaryFilesOfTheDeadAndTheOldAreCleanedAtOpen) {
  { const auto store = open(); }
  const std::string tmp = directory_ + "/tmp/";
  for (const char* name : {"dead-1", "dead.alive", "strange-1", "old-1"}) {
    std::ofstream(tmp + name) << "x";
  }
  make_old(tmp + "old-1", 2 * 86'400);
  const auto store = open();
  EXPECT_FALSE(std::filesystem::exists(tmp + "dead-1"));
  EXPECT_FALSE(std::filesystem::exists(tmp + "dead.alive"));
  EXPECT_FALSE(std::filesystem::exists(tmp + "old-1"));
  EXPECT_TRUE(std::filesystem::exists(tmp + "strange-1"));  // perhaps another host's, and young
}

TEST_F(FileBlobStoreTest, ADirectoryThatCannotBeMadeIsRefused) {
  std::ofstream(root_ + "/file") << "x";
  const auto store = FileBlobStore::open(root_ + "/file/blobs");
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.status().number(), errors::kBlobWrite);
  EXPECT_NE(store.status().message().find(root_ + "/file"), std::string::npos);
}

TEST_F(FileBlobStoreTest, ManyThreadsPutAndSweepTheSameFewBlobs) {
  const auto store = open();
  std::atomic<bool> stop{false};
  std::thread sweeper([&] {
    // Ages are ignored (kNever): only the holding of a blob keeps puts and removals apart.
    while (!stop) ASSERT_TRUE(store->sweep(kNever, 100, nobody).ok());
  });
  std::vector<std::thread> putters;
  for (int t = 0; t < 4; t++) {
    putters.emplace_back([&, t] {
      for (int i = 0; i < 100; i++) {
        const auto digest = store->put(Bytes::of(some_bytes(2000, (t + i) % 5)));
        ASSERT_TRUE(digest.ok()) << digest.status().message();
      }
    });
  }
  for (std::thread& thread : putters) thread.join();
  stop = true;
  sweeper.join();
  EXPECT_TRUE(all_true());
  EXPECT_TRUE(temporary_files().empty());
}

// ---- threads

void wait_for(BlobThreads* threads, const std::function<bool()>& condition) {
  while (!condition()) threads->drain();
}

TEST_F(FileBlobStoreTest, ThreadsAnswerEveryRequestOnTheCallersThread) {
  const auto store = open();
  BlobThreads threads(store.get());
  const auto caller = std::this_thread::get_id();
  int puts = 0, reads = 0;
  for (int i = 0; i < 100; i++) {
    threads.put(Bytes::of(some_bytes(1000, i)), [&](Result<Digest> digest) {
      EXPECT_EQ(std::this_thread::get_id(), caller);
      ASSERT_TRUE(digest.ok());
      puts++;
      threads.read(*digest, [&](Result<Bytes> bytes) {
        EXPECT_TRUE(bytes.ok() && bytes->size() == 1000);
        reads++;
      });
    });
  }
  wait_for(&threads, [&] { return reads == 100; });
  EXPECT_EQ(puts, 100);
}

TEST_F(FileBlobStoreTest, WhatIsSettledHasBeenTold) {
  const auto store = open();
  BlobThreads threads(store.get());
  bool told = false;
  Digest digest;
  threads.put(Bytes::of("x"), [&](Result<Digest> d) {
    digest = *d;
    told = true;
    // Not settled before its callback: a removal that was decided now must leave it.
    EXPECT_TRUE(store->remove(digest, nobody, threads.settled_us()).ok());
    EXPECT_TRUE(store->size(digest).ok());
  });
  wait_for(&threads, [&] { return told; });
  const int64_t now = monotonic_us();
  wait_for(&threads, [&] { return threads.settled_us() > now; });
  EXPECT_TRUE(store->remove(digest, nobody, threads.settled_us()).ok());
  EXPECT_FALSE(store->size(digest).ok());
}

}  // namespace
}  // namespace millrace
