// What SharedStoreSuite says of marks of dying blobs. Included by shared_store_suite.h alone.
#pragma once

#include "tests/contract/shared_store_suite.h"

namespace millrace {

TEST_P(SharedStoreSuite, ABlobIsMarkedByOneNodeAtATime) {
  const Digest a = sha256("a"), b = sha256("b"), c = sha256("c");
  EXPECT_EQ(store().mark_dying(node(1), {a, b})->size(), 2u);
  EXPECT_EQ(*other().mark_dying(node(2), {b, c}), std::vector<Digest>{c});
  EXPECT_EQ(store().mark_dying(node(1), {a, b})->size(), 2u);  // again: still its own
  EXPECT_EQ(store().dying_after({}, 10)->size(), 3u);
  ASSERT_TRUE(store().unmark_dying(node(1), {a, c}).ok());  // c is the other's
  const auto left = store().dying_after({}, 10);
  ASSERT_EQ(left->size(), 2u);
  for (const DyingMark& mark : *left) {
    EXPECT_EQ(mark.by, mark.digest == b ? node(1) : node(2));
    EXPECT_FALSE(mark.wanted || mark.removing);
  }
  EXPECT_EQ(*other().mark_dying(node(2), {a}), std::vector<Digest>{a});
}

TEST_P(SharedStoreSuite, AWantedBlobIsNotRemoved) {
  const Digest a = sha256("a"), b = sha256("b"), c = sha256("c");
  ASSERT_EQ(store().mark_dying(node(1), {a, b})->size(), 2u);
  EXPECT_TRUE(other().want_blobs({a, c})->empty());
  EXPECT_EQ(*store().begin_removal(node(1), {a, b, c}), std::vector<Digest>{b});
  EXPECT_EQ(*store().begin_removal(node(1), {a, b}), std::vector<Digest>{b});  // sent again
  const auto marks = store().dying_after({}, 10);
  for (const DyingMark& mark : *marks) {
    EXPECT_EQ(mark.wanted, mark.digest == a);
    EXPECT_EQ(mark.removing, mark.digest == b);
  }
}

TEST_P(SharedStoreSuite, ARemovalThatHasBegunIsToBeWaitedFor) {
  const Digest a = sha256("a"), b = sha256("b");
  ASSERT_EQ(store().mark_dying(node(1), {a, b})->size(), 2u);
  ASSERT_EQ(store().begin_removal(node(1), {a})->size(), 1u);
  EXPECT_EQ(*other().want_blobs({a, b}), std::vector<Digest>{a});
  EXPECT_EQ(*other().want_blobs({a}), std::vector<Digest>{a});
  EXPECT_EQ(*store().begin_removal(node(1), {a, b}), std::vector<Digest>{a});  // it goes on
  ASSERT_TRUE(store().unmark_dying(node(1), {a, b}).ok());
  EXPECT_TRUE(other().want_blobs({a, b})->empty());
}

TEST_P(SharedStoreSuite, OnlyWhoHasSetAMarkMayRemove) {
  const Digest a = sha256("a");
  ASSERT_EQ(store().mark_dying(node(1), {a})->size(), 1u);
  EXPECT_TRUE(other().begin_removal(node(2), {a})->empty());
  EXPECT_FALSE(store().dying_after({}, 10)->at(0).removing);
}

TEST_P(SharedStoreSuite, MarksAreTakenOverWithWhatTheySay) {
  const Digest a = sha256("a"), b = sha256("b"), c = sha256("c"), d = sha256("d");
  ASSERT_EQ(store().mark_dying(node(1), {a, b, c})->size(), 3u);
  ASSERT_EQ(store().begin_removal(node(1), {a})->size(), 1u);
  ASSERT_TRUE(store().want_blobs({b})->empty());
  ASSERT_EQ(store().mark_dying(node(3), {d})->size(), 1u);
  // c went meanwhile, d is not that node's.
  ASSERT_TRUE(store().unmark_dying(node(1), {c}).ok());
  auto taken =
      other().take_over_dying(node(2), {{a, node(1)}, {b, node(1)}, {c, node(1)}, {d, node(1)}});
  ASSERT_TRUE(taken.ok()) << taken.status().message();
  std::sort(taken->begin(), taken->end());
  EXPECT_EQ(*taken, (a < b ? std::vector{a, b} : std::vector{b, a}));
  EXPECT_EQ(*other().want_blobs({a, b}), std::vector<Digest>{a});
  EXPECT_TRUE(store().begin_removal(node(1), {a, b})->empty());
  EXPECT_EQ(*other().begin_removal(node(2), {a, b}), std::vector<Digest>{a});
}

TEST_P(SharedStoreSuite, OfMarkingAndWantingOneComesFirst) {
  // Goal: of a node that removes and one that wants the same blobs each gets its way with some, and
  // never both with one.
  // Method: both at once, over the same marks.
  std::vector<Digest> digests;
  for (int i = 0; i < 40; i++) digests.push_back(sha256("race" + std::to_string(i)));
  ASSERT_EQ(store().mark_dying(node(1), digests)->size(), digests.size());
  factory_->node(1);
  std::set<Digest> waited_for;
  std::thread putter([&] {
    for (const Digest& digest : digests) {
      const auto removing = other().want_blobs({digest});
      EXPECT_TRUE(removing.ok());
      if (removing.ok() && !removing->empty()) waited_for.insert(digest);
    }
  });
  std::set<Digest> removed;
  for (auto at = digests.rbegin(); at != digests.rend(); ++at) {
    const auto begun = store().begin_removal(node(1), {*at});
    EXPECT_TRUE(begun.ok());
    if (begun.ok() && !begun->empty()) removed.insert(*at);
  }
  putter.join();
  EXPECT_EQ(removed, waited_for);
}

TEST_P(SharedStoreSuite, ABlobSeemsNamedWhileARecordNamesIt) {
  JobRecord record = record_of(1, node(1));
  record.outputs_spilled = sha256("named");
  ASSERT_EQ(commit(write(record, 0, {})), WriteResult::kApplied);
  EXPECT_TRUE(*other().seems_named(sha256("named")));
  EXPECT_FALSE(*other().seems_named(sha256("not named")));
}

TEST_P(SharedStoreSuite, AllMarksAreListedByPages) {
  std::vector<Digest> digests;
  for (int i = 0; i < 5; i++) digests.push_back(sha256(std::to_string(i)));
  ASSERT_TRUE(store().mark_dying(node(1), digests).ok());
  std::sort(digests.begin(), digests.end());
  std::vector<Digest> seen;
  for (Digest last;; last = seen.back()) {
    const auto page = store().dying_after(last, 2);
    ASSERT_TRUE(page.ok());
    if (page->empty()) break;
    EXPECT_LE(page->size(), 2u);
    for (const DyingMark& mark : *page) {
      EXPECT_EQ(mark.by, node(1));
      seen.push_back(mark.digest);
    }
  }
  EXPECT_EQ(seen, digests);
}

}  // namespace millrace
