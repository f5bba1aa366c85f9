// Goal: what is removed from a shared place was marked for long enough, is wanted by nobody, and
// goes only by the hand of a node that is not in doubt; and whatever is interrupted is ended by
// somebody.
// Method: a sweep over real files and a store in memory; time passes when the test says so, and
// other nodes act between any two steps.
#include "engine/runtime/shared_sweep.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "engine/blob/file_blob_store.h"
#include "tests/runtime/fake_loop.h"
#include "tests/runtime/fake_shared_store.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

constexpr DurationMs kDyingMs = 80'000;

class SharedSweepTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = FileBlobStore::open(directory_.path() + "/blobs");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    blobs_ = *std::move(opened);
    loop_ = std::make_unique<FakeLoop>(blobs_.get());
    SharedSweep::Means means;
    means.store = &store_;
    means.blobs = blobs_.get();
    means.threads = &loop_->threads;
    means.self = self_;
    means.dying_ms = kDyingMs;
    means.lease_holds = [this] { return lease_holds_.load(); };
    means.after = loop_->after();
    means.drop_wanted = [this](std::vector<Digest>* digests) {
      std::erase_if(*digests, [this](const Digest& digest) { return digest == held_; });
    };
    means.kept_since = [] { return wall_clock_ms() + 60'000; };
    sweep_ = std::make_unique<SharedSweep>(means);
    for (const NodeId& node : {self_, other_}) {
      NodeLease lease;
      lease.node = node;
      store_.add_lease(lease);
    }
  }

  Digest stored(const std::string& text) {
    const auto digest = blobs_->put(Bytes::of(text));
    EXPECT_TRUE(digest.ok());
    return *digest;
  }
  bool is_there(const Digest& digest) const {
    return std::filesystem::exists(blobs_->path(digest));
  }
  SharedSweep::Outcome collect(SharedSweep::Round round) {
    std::optional<SharedSweep::Outcome> outcome;
    sweep_->begin(round, [&](const SharedSweep::Outcome& o) { outcome = o; });
    loop_->run_until([&] { return outcome.has_value(); });
    return *outcome;
  }
  void collect_suspects(const std::vector<Digest>& digests) {
    sweep_->suspect(digests);
    collect({});
  }
  void end_waves() {
    loop_->pass(kDyingMs);
    loop_->run_until([&] { return sweep_->idle(); });
  }

  TemporaryDirectory directory_;
  FakeSharedStore store_;
  std::unique_ptr<FileBlobStore> blobs_;
  std::unique_ptr<FakeLoop> loop_;
  std::unique_ptr<SharedSweep> sweep_;
  std::atomic<bool> lease_holds_{true};
  Digest held_;  // by the core
  NodeId self_ = NodeId::random(), other_ = NodeId::random(), gone_ = NodeId::random();
};

TEST_F(SharedSweepTest, ABlobOfADeletedJobIsMarkedAndGoesAfterATime) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  EXPECT_EQ(store_.marks().at(digest).by, self_);
  loop_->pass(kDyingMs - 1);
  EXPECT_TRUE(is_there(digest));
  loop_->pass(1);
  loop_->run_until([&] { return sweep_->idle(); });
  EXPECT_FALSE(is_there(digest));
  EXPECT_TRUE(store_.marks().empty());
}

TEST_F(SharedSweepTest, WhatARecordNamesOrTheCoreHoldsIsNotMarked) {
  const Digest named = stored("named");
  held_ = stored("held");
  store_.name(named);
  collect_suspects({named, held_});
  EXPECT_TRUE(store_.marks().empty());
  EXPECT_TRUE(sweep_->idle());
}

TEST_F(SharedSweepTest, WhatSomebodyWantsStays) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  ASSERT_TRUE(store_.want_blobs({digest})->empty());
  end_waves();
  EXPECT_TRUE(is_there(digest));
  EXPECT_TRUE(store_.marks().empty());
}

TEST_F(SharedSweepTest, WhatWasNamedMeanwhileStays) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  store_.name(digest);
  end_waves();
  EXPECT_TRUE(is_there(digest));
  EXPECT_TRUE(store_.marks().empty());
}

// As if the process had been stopped between the question and the removal.
TEST_F(SharedSweepTest, WhatIsNamedAfterTheQuestionIsGivenBack) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  std::atomic<int> asked{0};
  store_.on_names_blob = [&] {
    if (++asked == 2) store_.name(digest);
  };
  end_waves();
  EXPECT_EQ(asked, 2);
  EXPECT_TRUE(is_there(digest));
  EXPECT_TRUE(store_.marks().empty());
}

TEST_F(SharedSweepTest, NothingIsRemovedInDoubt) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  store_.on_begin_removal = [&] { lease_holds_ = false; };
  end_waves();
  EXPECT_TRUE(is_there(digest));
}

TEST_F(SharedSweepTest, WhoLosesItsLeaseWhileABlobIsAsideGivesItBack) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  std::atomic<int> asked{0};
  store_.on_names_blob = [&] {
    if (++asked == 2) lease_holds_ = false;
  };
  end_waves();
  EXPECT_TRUE(is_there(digest));
}

TEST_F(SharedSweepTest, AMarkThatWasTakenOverIsNotOursToActOn) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  ASSERT_EQ(store_.take_over_dying(other_, {{digest, self_}})->size(), 1u);
  end_waves();
  EXPECT_TRUE(is_there(digest));
  EXPECT_EQ(store_.marks().at(digest).by, other_);
}

TEST_F(SharedSweepTest, WhatAnotherNodeHasMarkedIsLeftToIt) {
  const Digest digest = stored("a");
  ASSERT_TRUE(store_.mark_dying(other_, {digest}).ok());
  collect_suspects({digest});
  SharedSweep::Round round;
  round.marks = true;
  collect(round);
  EXPECT_TRUE(sweep_->idle());
  EXPECT_EQ(store_.marks().at(digest).by, other_);
}

TEST_F(SharedSweepTest, WhatANodeThatIsGoneHasMarkedIsEnded) {
  const Digest waits = stored("waits"), removing = stored("removing");
  ASSERT_TRUE(store_.mark_dying(gone_, {waits, removing}).ok());
  ASSERT_TRUE(store_.begin_removal(gone_, {removing}).ok());
  SharedSweep::Round round;
  round.marks = true;
  collect(round);
  EXPECT_EQ(store_.marks().at(waits).by, self_);
  EXPECT_TRUE(store_.marks().at(removing).removing);  // who wants it waits on
  loop_->pass(kDyingMs - 1);
  EXPECT_TRUE(is_there(removing));
  loop_->pass(1);
  loop_->run_until([&] { return sweep_->idle(); });
  EXPECT_FALSE(is_there(waits));
  EXPECT_FALSE(is_there(removing));
  EXPECT_TRUE(store_.marks().empty());
}

TEST_F(SharedSweepTest, AMarkingWithoutAnAnswerIsFoundAgain) {
  const Digest digest = stored("a");
  store_.lose_answers(1);
  collect_suspects({digest});
  EXPECT_TRUE(sweep_->idle());
  EXPECT_TRUE(sweep_->has_lost_marks());
  SharedSweep::Round round;
  round.marks = true;
  collect(round);
  EXPECT_FALSE(sweep_->has_lost_marks());
  end_waves();
  EXPECT_FALSE(is_there(digest));
}

TEST_F(SharedSweepTest, AnUnansweredBeginAndUnmarkAreSentAgain) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  store_.lose_answers(1);
  loop_->pass(kDyingMs);
  loop_->run_until([&] { return loop_->has_timer(); });
  store_.on_names_blob = [this] { store_.lose_answers(1); };
  loop_->pass_to_next_timer();
  loop_->run_until([&] { return loop_->has_timer(); });
  EXPECT_FALSE(is_there(digest));
  loop_->pass_to_next_timer();
  loop_->run_until([&] { return sweep_->idle(); });
  EXPECT_TRUE(store_.marks().empty());
}

TEST_F(SharedSweepTest, ADrainTakesItsMarksOffAndMarksNothingMore) {
  const Digest digest = stored("a");
  collect_suspects({digest});
  sweep_->drain();
  EXPECT_FALSE(sweep_->idle());
  loop_->run_until([&] { return sweep_->idle(); });
  EXPECT_TRUE(store_.marks().empty());
  loop_->pass(2 * kDyingMs);  // its timer finds nothing
  EXPECT_TRUE(is_there(digest));
}

TEST_F(SharedSweepTest, OldFilesAndWhatExpiredRecordsNamedAreFound) {
  const Digest old = stored("old"), expired = stored("expired"), named = stored("named");
  store_.name(named);
  store_.add_garbage(expired);
  SharedSweep::Round round;
  round.records = true;
  round.files_before = wall_clock_ms() + 60'000;
  const auto outcome = collect(round);
  EXPECT_TRUE(outcome.all_files);
  EXPECT_FALSE(outcome.more_records);
  EXPECT_EQ(store_.marks().size(), 2u);
  end_waves();
  EXPECT_FALSE(is_there(old));
  EXPECT_FALSE(is_there(expired));
  EXPECT_TRUE(is_there(named));
}

TEST_F(SharedSweepTest, WavesOverlapEachWithItsOwnTime) {
  const Digest first = stored("first"), second = stored("second");
  collect_suspects({first});
  loop_->pass(kDyingMs / 2);
  collect_suspects({first, second});
  loop_->pass(kDyingMs / 2);
  loop_->run_until([&] { return !is_there(first); });
  EXPECT_TRUE(is_there(second));
  end_waves();
  EXPECT_FALSE(is_there(second));
}

}  // namespace
}  // namespace millrace
