// Goal: what is handed over comes back on the loop, in order, with one wake-up a burst; a read
// never waits for a commit.
#include <poll.h>

#include <atomic>
#include <thread>

#include "engine/store/reader.h"
#include "engine/store/writer.h"
#include "tests/contract/suite_record.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

bool readable(int fd) {
  pollfd wait{fd, POLLIN, 0};
  return ::poll(&wait, 1, 0) == 1;
}

TEST(Mailbox, ABurstIsOneWakeUpAndKeepsItsOrder) {
  Mailbox<int> mailbox(10);
  EXPECT_FALSE(readable(mailbox.poll_fd()));
  for (int i = 0; i < 3; i++) EXPECT_TRUE(mailbox.push(int{i}));
  uint64_t signals = 0;
  ASSERT_EQ(::read(mailbox.poll_fd(), &signals, sizeof signals), 8);
  EXPECT_EQ(signals, 1u);
  std::vector<int> items;
  mailbox.take(&items);
  EXPECT_EQ(items, (std::vector<int>{0, 1, 2}));
  EXPECT_FALSE(readable(mailbox.poll_fd()));
  mailbox.take(&items);
  EXPECT_TRUE(items.empty());
}

TEST(Mailbox, AFullOneRefusesAndRecovers) {
  Mailbox<int> mailbox(2);
  EXPECT_TRUE(mailbox.push(1));
  EXPECT_TRUE(mailbox.push(2));
  EXPECT_FALSE(mailbox.push(3));
  std::vector<int> items;
  mailbox.take(&items);
  EXPECT_TRUE(mailbox.push(3));
}

TEST(Mailbox, NothingIsLostBetweenManyThreads) {
  Mailbox<int> mailbox(1 << 20);
  constexpr int kThreads = 4, kEach = 20'000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([&mailbox, t] {
      for (int i = 0; i < kEach; i++) ASSERT_TRUE(mailbox.push(t * kEach + i));
    });
  }
  std::vector<int> last(kThreads, -1), items;
  for (int taken = 0; taken < kThreads * kEach;) {
    pollfd wait{mailbox.poll_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&wait, 1, 10'000), 1);  // a lost wake-up would end the test here
    mailbox.take(&items);
    for (const int item : items) {
      EXPECT_LT(last[item / kEach], item % kEach);
      last[item / kEach] = item % kEach;
    }
    taken += static_cast<int>(items.size());
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(WorkQueue, AClosedOneHandsOutWhatItHas) {
  WorkQueue<int> queue(2);
  EXPECT_TRUE(queue.push(1));
  EXPECT_TRUE(queue.push(2));
  EXPECT_FALSE(queue.push(3));
  queue.close();
  EXPECT_FALSE(queue.push(4));
  int item = 0;
  EXPECT_TRUE(queue.pop(&item) && item == 1);
  EXPECT_TRUE(queue.pop(&item) && item == 2);
  EXPECT_FALSE(queue.pop(&item));
}

class Threads : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
  std::unique_ptr<SqliteStore> store_ = open_store(sqlite_options(directory_.path()));
};

Write first(int seed) {
  return {std::make_shared<const JobRecord>(suite_record(seed)), 0, {}};
}

TEST_F(Threads, ABatchIsCommittedAndReported) {
  Writer writer(store_.get());
  std::optional<CommitReport> report;
  writer.submit({first(1), first(2), first(1)}, [&](const CommitReport& r) { report = r; });
  EXPECT_TRUE(writer.busy());
  while (!report) writer.wait_and_drain();
  EXPECT_FALSE(writer.busy());
  EXPECT_EQ(report->results, (std::vector<WriteResult>{WriteResult::kApplied, WriteResult::kApplied,
                                                       WriteResult::kExists}));
  EXPECT_GT(report->duration_us, 0);
}

TEST_F(Threads, TheNextBatchMayBeSubmittedFromTheReport) {
  Writer writer(store_.get());
  int reports = 0;
  std::function<void(const CommitReport&)> again = [&](const CommitReport&) {
    if (++reports < 20) writer.submit({first(reports)}, again);
  };
  writer.submit({first(0)}, again);
  while (reports < 20) writer.wait_and_drain();
  EXPECT_EQ(*store_->count_unfinished(), 20);
}

TEST_F(Threads, OtherWorkRunsBetweenTheBatchesInOrder) {
  Writer writer(store_.get());
  std::vector<int> order;
  int64_t seen = -1;
  writer.submit({first(1)}, [&](const CommitReport&) { order.push_back(1); });
  writer.run([&]() -> Writer::Done {
    EXPECT_EQ(current_thread(), Thread::kWriter);
    const int64_t count = *store_->count_unfinished();
    return [&, count] {
      seen = count;
      order.push_back(2);
    };
  });
  while (order.size() < 2) writer.wait_and_drain();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_EQ(seen, 1);
}

TEST_F(Threads, EndingTheWriterCommitsWhatItWasGivenAndCallsNobody) {
  {
    Writer writer(store_.get());
    writer.submit({first(1)}, [](const CommitReport&) { FAIL(); });
  }
  EXPECT_EQ(*store_->count_unfinished(), 1);
}

TEST_F(Threads, ReadsGoOnDuringCommits) {
  Writer writer(store_.get());
  Reader reader;
  int commits = 0, reads = 0;
  std::function<void(const CommitReport&)> commit_again = [&](const CommitReport&) {
    if (++commits < 200) writer.submit({first(commits)}, commit_again);
  };
  const std::function<void()> read_again = [&] {
    reader.run([&]() -> Reader::Done {
      EXPECT_EQ(current_thread(), Thread::kReader);
      const auto page = store_->list({}, "", 50);
      EXPECT_TRUE(page.ok());
      const auto job = store_->read(suite_record(0).key);
      EXPECT_TRUE(job.ok());
      return [&] {
        if (++reads < 200) read_again();
      };
    });
  };
  writer.submit({first(0)}, commit_again);
  read_again();
  while (commits < 200 || reads < 200) {
    pollfd both[2] = {{writer.poll_fd(), POLLIN, 0}, {reader.poll_fd(), POLLIN, 0}};
    ASSERT_GT(::poll(both, 2, 60'000), 0);
    writer.drain();
    reader.drain();
  }
}

}  // namespace
}  // namespace millrace
