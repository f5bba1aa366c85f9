// The part of the contract of Store that is about how much a page of a list may hold. Included by
// store_suite.h.
#pragma once

#include "engine/base/limits.h"
#include "tests/contract/store_suite.h"

namespace millrace {

TEST_P(StoreSuite, APageOfLargeRecordsEndsEarlyAndNoneIsLeftOut) {
  constexpr int kJobs = 80;
  std::vector<JobKey> expected;
  for (int i = 0; i < kJobs; i++) {
    JobRecord record = suite_record(i, 1'000'000 + i);
    record.inputs = R"({"text":")" + std::string(kRecordBytesMax - 8'000, 'x') + "\"}";
    must(record);
    expected.insert(expected.begin(), record.key);
  }
  std::vector<JobKey> keys;
  std::string cursor;
  int pages = 0;
  do {
    const auto page = store().list({}, cursor, kListLimitMax);
    ASSERT_TRUE(page.ok()) << page.status().message();
    ASSERT_FALSE(page->jobs.empty());
    size_t bytes = 0;
    for (const JobRecord& job : page->jobs) {
      keys.push_back(job.key);
      bytes += job.inputs.size();
    }
    EXPECT_LE(bytes, kListBytesMax);
    EXPECT_TRUE(page->next.empty() || bytes > kListBytesMax - 2 * kRecordBytesMax) << bytes;
    cursor = page->next;
    pages++;
  } while (!cursor.empty());
  EXPECT_EQ(keys, expected);
  EXPECT_GT(pages, 1);
}

}  // namespace millrace
