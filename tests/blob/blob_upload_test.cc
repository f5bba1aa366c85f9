// Goal: pieces handed over on one thread become the blob, in their order, whatever other uploads
// do; what ends early leaves nothing and releases what it held. Method: many uploads at once over
// real threads and files; a disk that fails.
#include "engine/blob/blob_upload.h"

#include <poll.h>

#include "engine/blob/blob_threads.h"
#include "tests/blob/file_blob_fixture.h"

namespace millrace {
namespace {

class FullDisk final : public FileOps {
 public:
  ssize_t write(int, const void*, size_t) override {
    errno = ENOSPC;
    return -1;
  }
};

class BlobUploads : public BlobFixture {
 protected:
  std::unique_ptr<BlobUpload> begin(FileBlobStore* store, BlobThreads* threads) {
    return std::make_unique<BlobUpload>(
        store->sink(),
        [threads](std::function<BlobUpload::Done()> work) { return threads->run(std::move(work)); },
        [this](const Status&) { failures_++; });
  }
  // A piece that is charged as long as anybody holds it.
  Bytes charged(std::string text) {
    budget_->charge(text.size());
    return charged_bytes(std::move(text), budget_);
  }
  template <typename Holds>
  static void await(BlobThreads* threads, Holds holds) {
    while (!holds()) {
      pollfd waiting{threads->poll_fd(), POLLIN, 0};
      ::poll(&waiting, 1, 10);
      threads->drain();
    }
  }
  std::shared_ptr<ByteBudget> budget_ = std::make_shared<ByteBudget>(1 << 30);
  int failures_ = 0;
};

TEST_F(BlobUploads, PiecesBecomeTheBlobInTheirOrder) {
  const auto store = open();
  BlobThreads threads(store.get());
  constexpr int kUploads = 24, kPieces = 50;
  std::vector<std::unique_ptr<BlobUpload>> uploads;
  std::vector<std::string> contents(kUploads);
  for (int i = 0; i < kUploads; i++) uploads.push_back(begin(store.get(), &threads));
  for (int piece = 0; piece < kPieces; piece++) {
    for (int i = 0; i < kUploads; i++) {
      // Every third pair of uploads brings the same bytes.
      const std::string text = some_bytes(3000, piece * 100 + i / 3);
      contents[static_cast<size_t>(i)] += text;
      uploads[static_cast<size_t>(i)]->append(charged(text));
    }
    threads.drain();
  }
  int put = 0;
  for (int i = 0; i < kUploads; i++) {
    if (i % 4 == 3) {  // breaks off, perhaps while it is being written
      uploads[static_cast<size_t>(i)].reset();
      continue;
    }
    uploads[static_cast<size_t>(i)]->finish([&, i](Result<WrittenBlob> blob) {
      ASSERT_TRUE(blob.ok()) << blob.status().message();
      EXPECT_TRUE(blob->bytes.view() == contents[static_cast<size_t>(i)]);
      threads.put(blob->bytes, [&, wanted = blob->digest](Result<Digest> digest) {
        EXPECT_TRUE(digest.ok() && *digest == wanted);
        put++;
      });
    });
    uploads[static_cast<size_t>(i)].reset();  // finished: it goes on without its owner
  }
  await(&threads, [&] { return put == kUploads - kUploads / 4 && budget_->used_bytes() == 0; });
  EXPECT_EQ(failures_, 0);
  EXPECT_TRUE(all_true());
  EXPECT_EQ(files().size(), static_cast<size_t>(kUploads / 3));
}

TEST_F(BlobUploads, AFailureIsToldAndEndsIt) {
  FullDisk ops;
  const auto store = open(&ops);
  BlobThreads threads(store.get());
  const auto upload = begin(store.get(), &threads);
  upload->append(charged("first"));
  EXPECT_EQ(upload->waiting_bytes(), 5u);
  await(&threads, [&] { return !upload->status().ok(); });
  EXPECT_EQ(upload->status().number(), errors::kNoSpace);
  EXPECT_EQ(upload->waiting_bytes(), 0u);
  upload->append(charged("dropped"));
  EXPECT_EQ(budget_->used_bytes(), 0u);
  int told = 0;
  upload->finish([&](Result<WrittenBlob> blob) {
    EXPECT_EQ(blob.status().number(), errors::kNoSpace);
    told++;
  });
  EXPECT_EQ(told, 1);
  EXPECT_EQ(failures_, 1);
  EXPECT_TRUE(files().empty());
}

TEST_F(BlobUploads, TheEndOfTheThreadsEndsThemAll) {
  const auto store = open();
  {
    BlobThreads threads(store.get());
    for (int i = 0; i < 20; i++) {
      auto upload = begin(store.get(), &threads);
      upload->append(charged(some_bytes(100'000, i)));
      upload->finish([](Result<WrittenBlob>) { FAIL() << "nobody drains any more"; });
    }
  }
  EXPECT_EQ(budget_->used_bytes(), 0u);
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace millrace
