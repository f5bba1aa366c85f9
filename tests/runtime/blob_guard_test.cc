// Goal: a blob that was put into a shared place is there for as long as a record may take to name
// it, whatever other nodes remove meanwhile.
// Method: a guard over real files and a store in memory; removals of others are made by hand at the
// moment that hurts, and time passes when the test says so.
#include "engine/runtime/blob_guard.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "engine/blob/file_blob_store.h"
#include "tests/runtime/fake_loop.h"
#include "tests/runtime/fake_shared_store.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

constexpr DurationMs kDyingMs = 80'000;

class BlobGuardTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = FileBlobStore::open(directory_.path() + "/blobs");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    blobs_ = *std::move(opened);
    loop_ = std::make_unique<FakeLoop>(blobs_.get());
    BlobGuard::Means means;
    means.blobs = blobs_.get();
    means.threads = &loop_->threads;
    means.want_blobs = [this](const std::vector<Digest>& digests) {
      words_++;
      if (on_word_) on_word_();
      return store_.want_blobs(digests);
    };
    means.on_reader = loop_->on_reader();
    means.after = loop_->after();
    means.now_us = [this] { return loop_->now_us(); };
    guard_ = std::make_unique<BlobGuard>(means, kDyingMs);
  }

  static std::shared_ptr<BlobContent> content_of(const std::string& text) {
    auto content = std::make_shared<BlobContent>();
    content->bytes = Bytes::of(text);
    content->size_bytes = text.size();
    return content;
  }
  // The result of a put lies in `results_` once it is known.
  void put(const std::shared_ptr<BlobContent>& content) {
    guard_->put(content, [this](const Result<Digest>& digest) { results_.push_back(digest); });
  }
  void put_whole(const std::shared_ptr<BlobContent>& content) {
    const size_t before = results_.size();
    put(content);
    loop_->run_until([&] { return results_.size() > before; });
    ASSERT_TRUE(results_.back().ok()) << results_.back().status().message();
    content->digest = *results_.back();
    content->durable = true;
  }
  bool is_there(const Digest& digest) const {
    return std::filesystem::exists(blobs_->path(digest));
  }
  void take(const Digest& digest) { std::filesystem::remove(blobs_->path(digest)); }
  static std::vector<Write> naming(const Digest& digest, uint64_t rev = 1) {
    auto record = std::make_shared<JobRecord>();
    record->rev = rev;
    record->outputs_spilled = digest;
    return {Write{record, rev - 1, {}}};
  }
  BlobGuard::Look look(const std::vector<Write>& batch,
                       std::shared_ptr<const JobRecord> durable = nullptr) {
    return guard_->look_at(batch, [&](const JobKey&) { return durable; });
  }

  TemporaryDirectory directory_;
  FakeSharedStore store_;
  std::unique_ptr<FileBlobStore> blobs_;
  std::unique_ptr<FakeLoop> loop_;
  std::unique_ptr<BlobGuard> guard_;
  std::vector<Result<Digest>> results_;
  int words_ = 0;
  std::function<void()> on_word_;
  NodeId other_ = NodeId::random();
};

TEST_F(BlobGuardTest, APutMakesAMarkFromBeforeComeToNothing) {
  const Digest digest = sha256("a");
  ASSERT_TRUE(store_.mark_dying(other_, {digest}).ok());
  put_whole(content_of("a"));
  EXPECT_TRUE(is_there(digest));
  EXPECT_TRUE(store_.begin_removal(other_, {digest})->empty());
}

TEST_F(BlobGuardTest, ARemovalThatHasBegunIsWaitedOutAndTheBytesArePutAgain) {
  const Digest digest = sha256("a");
  ASSERT_TRUE(store_.mark_dying(other_, {digest}).ok());
  ASSERT_EQ(store_.begin_removal(other_, {digest})->size(), 1u);
  put(content_of("a"));
  loop_->run_until([&] { return loop_->has_timer(); });  // it waits
  EXPECT_TRUE(results_.empty());
  take(digest);
  ASSERT_TRUE(store_.unmark_dying(other_, {digest}).ok());
  loop_->pass_to_next_timer();
  loop_->run_until([&] { return !results_.empty(); });
  ASSERT_TRUE(results_[0].ok());
  EXPECT_TRUE(is_there(digest));
}

TEST_F(BlobGuardTest, WhatWentBetweenPutAndWordIsPutAgain) {
  const Digest digest = sha256("a");
  on_word_ = [&] {
    if (words_ == 1) take(digest);  // a removal that began and ended meanwhile
  };
  put_whole(content_of("a"));
  EXPECT_EQ(words_, 2);
  EXPECT_TRUE(is_there(digest));
}

TEST_F(BlobGuardTest, AWordThatGotNoAnswerIsGivenAgain) {
  store_.lose_answers(1);
  put(content_of("a"));
  loop_->run_until([&] { return loop_->has_timer(); });
  loop_->pass_to_next_timer();
  loop_->run_until([&] { return !results_.empty(); });
  EXPECT_TRUE(results_[0].ok());
  EXPECT_EQ(words_, 2);
}

TEST_F(BlobGuardTest, WordsOfManyPutsGoTogether) {
  loop_->reader_held = true;
  put(content_of("first"));
  loop_->run_until([&] { return loop_->reads() == 1; });
  for (int i = 0; i < 50; i++) put(content_of(std::to_string(i)));
  loop_->run_until([&] { return guard_->waiting() == 50; });
  loop_->reader_held = false;
  loop_->run_until([&] { return results_.size() == 51; });
  EXPECT_EQ(words_, 2);
}

TEST_F(BlobGuardTest, ABlobIsGoodForHalfOfWhatAMarkWaits) {
  const auto content = content_of("a");
  put_whole(content);
  const auto batch = naming(*content->digest);
  EXPECT_TRUE(look(batch).stale.empty());
  EXPECT_EQ(look(batch).good_until_us, loop_->now_us() + kDyingMs * 1000 / 2);
  loop_->pass(kDyingMs / 2 + 1);
  EXPECT_EQ(look(batch).stale, std::vector<Digest>{*content->digest});
}

TEST_F(BlobGuardTest, WhatADurableRecordNamesNeedsNoLook) {
  const auto content = content_of("a");
  put_whole(content);
  loop_->pass(kDyingMs);
  const auto before = naming(*content->digest)[0].record;
  EXPECT_TRUE(look(naming(*content->digest, 2), before).stale.empty());
  EXPECT_EQ(look(naming(*content->digest, 2), before).good_until_us, INT64_MAX);
}

TEST_F(BlobGuardTest, WhatIsSecuredAgainIsThereAndGoodAgain) {
  const auto content = content_of("a");
  put_whole(content);
  loop_->pass(kDyingMs);
  take(*content->digest);
  bool secured = false;
  guard_->secure(look(naming(*content->digest)).stale, [&] { secured = true; });
  loop_->run_until([&] { return secured; });
  EXPECT_TRUE(is_there(*content->digest));
  EXPECT_TRUE(look(naming(*content->digest)).stale.empty());
}

TEST_F(BlobGuardTest, WhatNobodyHoldsIsForgotten) {
  auto content = content_of("a");
  put_whole(content);
  const auto batch = naming(*content->digest);
  const std::weak_ptr<BlobContent> held = content;
  content.reset();
  while (!held.expired()) std::this_thread::yield();  // the blob thread lets go after it has told
  for (int i = 0; i < 3; i++) put_whole(content_of("other" + std::to_string(i)));
  loop_->pass(kDyingMs);
  EXPECT_TRUE(look(batch).stale.empty());
}

TEST_F(BlobGuardTest, AnUploadWithoutAJobIsPutToBeKept) {
  guard_->put_kept(Bytes::of("a"), [this](const Result<Digest>& put) { results_.push_back(put); });
  loop_->run_until([&] { return !results_.empty(); });
  ASSERT_TRUE(results_[0].ok());
  struct stat info {};
  ASSERT_EQ(::stat(blobs_->path(*results_[0]).c_str(), &info), 0);
  EXPECT_NE(info.st_mode & S_ISVTX, 0u);
  EXPECT_EQ(words_, 1);
}

}  // namespace
}  // namespace millrace
