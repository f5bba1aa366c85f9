// The contract of BlobStore, as tests that every implementation passes: files, and S3 on each
// server that the tests know.
//
// To run it: derive a BlobFactory, then in one source file
//
//   INSTANTIATE_TEST_SUITE_P(Files, BlobSuite, ::testing::Values(+[] {
//     return std::unique_ptr<BlobFactory>(new FilesFactory);
//   }));
//
// Header-only, so that a factory needs nothing of the others.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/errors.h"
#include "engine/blob/blob_store.h"

namespace millrace {

class BlobFactory {
 public:
  virtual ~BlobFactory() = default;
  // A store that is empty the first time; after reopen() the same one with what survived.
  virtual BlobStore* store() = 0;
  // As if the process had been killed and started again, on a machine without local copies.
  virtual void reopen() = 0;
  // Puts other bytes where the blob lies.
  virtual void damage(const Digest& digest) = 0;
};

using MakeBlobFactory = std::unique_ptr<BlobFactory> (*)();

class BlobSuite : public ::testing::TestWithParam<MakeBlobFactory> {
 protected:
  void SetUp() override { factory_ = GetParam()(); }
  BlobStore& store() { return *factory_->store(); }
  Digest must_put(const std::string& bytes, bool keep = false) {
    const auto digest = store().put(Bytes::of(bytes), keep);
    EXPECT_TRUE(digest.ok()) << digest.status().message();
    return digest.ok() ? *digest : Digest();
  }
  bool is_there(const Digest& digest) {
    const auto size = store().size(digest);
    EXPECT_TRUE(size.ok() || size.status().number() == errors::kBlobUnknown)
        << size.status().message();
    return size.ok();
  }
  void must_sweep(TimeMs before, int max, int expected,
                  const std::function<Result<bool>(const Digest&)>& named) {
    const auto swept = store().sweep(before, max, named);
    ASSERT_TRUE(swept.ok()) << swept.status().message();
    EXPECT_EQ(*swept, expected);
  }
  Result<WrittenBlob> spool(std::string_view bytes) {
    const auto sink = store().sink();
    for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(bytes.size(), 100'000))) {
      RETURN_IF_ERROR(sink->append(bytes.substr(0, 100'000)));
    }
    return sink->finish();
  }
  static std::string some(size_t size, int seed = 0) {
    std::string bytes(size, '\0');
    uint32_t state = 12345u + static_cast<uint32_t>(seed);
    for (char& byte : bytes) {
      byte = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
    }
    return bytes;
  }
  // Everything is older than the first, nothing than the second.
  static TimeMs soon() { return wall_clock_ms() + 3'600'000; }
  static TimeMs once() { return wall_clock_ms() - 3'600'000; }
  static Result<bool> no_record(const Digest&) { return false; }
  static Result<bool> a_record(const Digest&) { return true; }

  std::unique_ptr<BlobFactory> factory_;
};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BlobSuite);

TEST_P(BlobSuite, WhatIsPutIsReadBackAlsoAfterARestart) {
  std::vector<Digest> digests;
  const size_t sizes[] = {0, 1, 1000, 3'000'000, (size_t{16} << 20) + 1};
  for (const size_t size : sizes) digests.push_back(must_put(some(size)));
  for (const bool again : {false, true}) {
    if (again) factory_->reopen();
    for (size_t i = 0; i < digests.size(); i++) {
      EXPECT_EQ(digests[i], sha256(some(sizes[i])));
      const auto read = store().read(digests[i], again);
      ASSERT_TRUE(read.ok()) << sizes[i] << ": " << read.status().message();
      EXPECT_TRUE(read->view() == some(sizes[i]));
      const auto size = store().size(digests[i]);
      ASSERT_TRUE(size.ok()) << size.status().message();
      EXPECT_EQ(*size, sizes[i]);
    }
  }
}

TEST_P(BlobSuite, WhatIsWrittenWhileItComesIsDurableOnceItIsPut) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{2'000'000}}) {
    const auto written = spool(some(size));
    ASSERT_TRUE(written.ok()) << written.status().message();
    EXPECT_TRUE(written->bytes.view() == some(size));
    EXPECT_FALSE(is_there(written->digest));
    const auto digest = store().put(written->bytes);
    ASSERT_TRUE(digest.ok()) << digest.status().message();
    EXPECT_EQ(*digest, sha256(some(size)));
    factory_->reopen();
    const auto read = store().read(*digest);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_TRUE(read->view() == some(size));
  }
}

TEST_P(BlobSuite, AnUnknownDigestIsNotFound) {
  EXPECT_EQ(store().read(sha256("no")).status().number(), errors::kBlobUnknown);
  EXPECT_EQ(store().size(sha256("no")).status().number(), errors::kBlobUnknown);
  EXPECT_TRUE(store().remove(sha256("no"), no_record).ok());
}

TEST_P(BlobSuite, WrongBytesAreNoticedAndMendedByAPut) {
  const std::string bytes = some(100'000);
  const Digest digest = must_put(bytes);
  factory_->damage(digest);
  const auto read = store().read(digest, true);
  EXPECT_EQ(read.status().code(), Code::kCorrupt);
  EXPECT_EQ(read.status().number(), errors::kBlobMissing);
  EXPECT_NE(read.status().message().find(digest.text()), std::string::npos);
  factory_->reopen();
  EXPECT_EQ(store().read(digest).status().code(), Code::kCorrupt) << "not asked to verify";
  EXPECT_EQ(must_put(bytes), digest);
  const auto mended = store().read(digest, true);
  ASSERT_TRUE(mended.ok()) << mended.status().message();
  EXPECT_TRUE(mended->view() == bytes);
}

TEST_P(BlobSuite, RemoveLeavesWhatIsNamed) {
  const Digest digest = must_put("x");
  EXPECT_TRUE(store().remove(digest, a_record).ok());
  EXPECT_TRUE(is_there(digest));
  EXPECT_TRUE(store().remove(digest, no_record).ok());
  EXPECT_FALSE(is_there(digest));
  EXPECT_EQ(store().read(digest).status().number(), errors::kBlobUnknown) << "nor a copy of it";
  EXPECT_EQ(must_put("x"), digest);
  EXPECT_TRUE(is_there(digest));
}

TEST_P(BlobSuite, RemoveLeavesWhatWasPutSinceTheCallerLooked) {
  const Digest digest = must_put("x");
  const int64_t looked_us = monotonic_us() + 1;
  while (monotonic_us() <= looked_us) {
  }
  must_put("x");
  EXPECT_TRUE(store().remove(digest, no_record, looked_us).ok());
  EXPECT_TRUE(is_there(digest));
  EXPECT_TRUE(store().remove(digest, no_record, monotonic_us()).ok());
  EXPECT_FALSE(is_there(digest));
}

TEST_P(BlobSuite, WhetherABlobIsStillThereIsAskedOfThePlace) {
  const Digest digest = must_put("a");
  EXPECT_TRUE(*store().still_there(digest));
  EXPECT_FALSE(*store().still_there(sha256("no")));
  ASSERT_TRUE(store().remove(digest, no_record).ok());
  EXPECT_FALSE(*store().still_there(digest));
  must_put("a");
  EXPECT_TRUE(*store().still_there(digest));
}

TEST_P(BlobSuite, OfASharedPlaceABlobIsRemovedUnlessItIsNamed) {
  const Digest digest = must_put("a"), kept = must_put("kept", true);
  EXPECT_TRUE(store().remove_shared(sha256("no"), no_record, kNever).ok());
  EXPECT_TRUE(store().remove_shared(digest, a_record, kNever).ok());
  EXPECT_TRUE(is_there(digest));
  const auto broken = [](const Digest&) -> Result<bool> {
    return Status::unavailable(errors::kStoreFailed, "no answer");
  };
  EXPECT_EQ(store().remove_shared(digest, broken, kNever).number(), errors::kStoreFailed);
  EXPECT_TRUE(is_there(digest));
  EXPECT_TRUE(store().remove_shared(digest, no_record, kNever).ok());
  EXPECT_FALSE(is_there(digest));
  EXPECT_TRUE(store().remove_shared(kept, no_record, once()).ok());
  EXPECT_TRUE(is_there(kept));
  EXPECT_TRUE(store().remove_shared(kept, no_record, soon()).ok());
  EXPECT_FALSE(is_there(kept));
}

TEST_P(BlobSuite, WhatWasPutToBeKeptOutlivesTheJobsThatNameIt) {
  for (const std::string order : {"k", "jk", "kj"}) {
    SCOPED_TRACE(order);
    Digest digest;
    for (const char put : order) digest = must_put("bytes of " + order, put == 'k');
    factory_->reopen();
    ASSERT_TRUE(store().remove(digest, no_record, INT64_MAX, once()).ok());
    EXPECT_TRUE(is_there(digest));
    ASSERT_TRUE(store().remove(digest, no_record, INT64_MAX, soon()).ok());
    EXPECT_FALSE(is_there(digest)) << "its time is over";
  }
  const Digest of_a_job = must_put("a job's alone");
  ASSERT_TRUE(store().remove(of_a_job, no_record, INT64_MAX, once()).ok());
  EXPECT_FALSE(is_there(of_a_job));
}

TEST_P(BlobSuite, ASweepTakesWhatIsOldAndUnnamed) {
  const Digest unnamed = must_put("1"), named = must_put("2");
  must_sweep(once(), 100, 0, no_record);
  EXPECT_TRUE(is_there(unnamed));
  const uint64_t rounds = store().sweep_rounds();
  must_sweep(soon(), 100, 1, [&](const Digest& d) -> Result<bool> { return d == named; });
  EXPECT_FALSE(is_there(unnamed));
  EXPECT_TRUE(is_there(named));
  EXPECT_EQ(store().sweep_rounds(), rounds + 1);
}

TEST_P(BlobSuite, ASweepRemovesAtMostMaxAndTheNextGoesOn) {
  for (int i = 0; i < 12; i++) must_put(std::to_string(i));
  must_sweep(soon(), 5, 5, no_record);
  must_sweep(soon(), 5, 5, no_record);
  must_sweep(soon(), 5, 2, no_record);
}

TEST_P(BlobSuite, ASweepStopsWhenNobodyKnowsWhoNamesABlob) {
  const Digest digest = must_put("x");
  const auto broken = [](const Digest&) -> Result<bool> {
    return Status::corrupt(errors::kStoreCorrupt, "damaged");
  };
  EXPECT_EQ(store().sweep(soon(), 10, broken).status().number(), errors::kStoreCorrupt);
  EXPECT_TRUE(is_there(digest));
}

TEST_P(BlobSuite, ManyThreadsPutAndSweepTheSameFewBlobs) {
  BlobStore& blobs = store();
  std::atomic<bool> stop{false};
  std::thread sweeper([&] {
    while (!stop) EXPECT_TRUE(blobs.sweep(soon(), 100, no_record).ok());
  });
  std::vector<std::thread> putters;
  for (int t = 0; t < 4; t++) {
    putters.emplace_back([&, t] {
      for (int i = 0; i < 20; i++) {
        const auto digest = blobs.put(Bytes::of(some(2000, (t + i) % 5)));
        ASSERT_TRUE(digest.ok()) << digest.status().message();
      }
    });
  }
  for (std::thread& thread : putters) thread.join();
  stop = true;
  sweeper.join();
  for (int i = 0; i < 5; i++) {
    const Digest digest = must_put(some(2000, i));
    const auto read = store().read(digest, true);
    EXPECT_TRUE(read.ok() && read->view() == some(2000, i)) << read.status().message();
  }
}

TEST_P(BlobSuite, AStoreThatWorksSaysSo) {
  EXPECT_TRUE(store().probe().ok());
}

}  // namespace millrace
