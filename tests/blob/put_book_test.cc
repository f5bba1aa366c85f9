// Goal: the newest puts are remembered, each until as many others came after it, whatever is
// forgotten in between.
// Method: numbers as digests, more of them than are kept.
#include "engine/blob/put_book.h"

#include <gtest/gtest.h>

#include "engine/base/time.h"

namespace millrace {
namespace {

Digest digest_of(uint64_t number) {
  return sha256(std::to_string(number));
}

TEST(PutBook, RemembersTheNewestPuts) {
  PutBook book;
  EXPECT_FALSE(book.knows(digest_of(0)));
  EXPECT_EQ(book.put_us(digest_of(0)), 0);
  for (uint64_t i = 0; i < kDurableBlobsKept; i++) book.remember(digest_of(i));
  for (uint64_t i = 0; i < kDurableBlobsKept; i++) ASSERT_TRUE(book.knows(digest_of(i))) << i;
  EXPECT_EQ(book.put_us(digest_of(kDurableBlobsKept)), 0);  // nobody is forgotten
  constexpr uint64_t kMore = 1000;
  const int64_t before_us = monotonic_us();
  for (uint64_t i = 0; i < kMore; i++) book.remember(digest_of(kDurableBlobsKept + i));
  for (uint64_t i = 0; i < kDurableBlobsKept + kMore; i++) {
    ASSERT_EQ(book.knows(digest_of(i)), i >= kMore) << i;
  }
  // Of those that are not known any more it is known that they were put no later than this.
  const int64_t forgotten_us = book.put_us(digest_of(0));
  EXPECT_GT(forgotten_us, 0);
  EXPECT_LE(forgotten_us, before_us);
  EXPECT_LE(forgotten_us, book.put_us(digest_of(kMore)));
  EXPECT_GE(book.put_us(digest_of(kDurableBlobsKept)), before_us);
}

// Regression: what was forgotten and put again was forgotten as early as if it had never been put
// again.
TEST(PutBook, WhatIsPutAgainAfterItWasForgottenIsAsGoodAsNew) {
  PutBook book;
  for (uint64_t i = 0; i < 10; i++) book.remember(digest_of(i));
  for (uint64_t i = 0; i < 10; i++) book.forget(digest_of(i));
  book.forget(digest_of(0));
  for (uint64_t i = 0; i < 10; i++) EXPECT_FALSE(book.knows(digest_of(i)));
  for (uint64_t i = 0; i < 10; i++) book.remember(digest_of(i));
  for (uint64_t i = 10; i < kDurableBlobsKept; i++) book.remember(digest_of(i));
  for (uint64_t i = 0; i < kDurableBlobsKept; i++) ASSERT_TRUE(book.knows(digest_of(i))) << i;
  EXPECT_EQ(book.put_us(digest_of(kDurableBlobsKept)), 0);
}

}  // namespace
}  // namespace millrace
