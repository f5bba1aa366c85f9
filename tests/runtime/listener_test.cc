// Goal: while somebody wants to hear of something a stream of it is open, and what it says arrives;
// whatever becomes of streams, the listener says what it covers and opens another one.
// Method: a listener over a store whose streams say what the test tells them to.
#include "engine/runtime/listener.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <deque>

#include "engine/base/errors.h"
#include "tests/runtime/fake_shared_store.h"

namespace millrace {
namespace {

constexpr DurationMs kNever = 3'600'000;

// What the streams of a store say, one after the other, and what became of them.
class Script {
 public:
  void say(Result<Hints> answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answers_.push_back(std::move(answer));
    changed_.notify_all();
  }
  // The openings up to the next `count` fail.
  void fail_opening(const Status& status, int count) {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = status;
    failures_ = count;
  }
  Result<std::shared_ptr<HintStream>> open(const Topics& topics);
  Result<Hints> next(const bool* interrupted) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return *interrupted || !answers_.empty(); });
    if (*interrupted) return Status::not_found(0, "interrupted");
    auto answer = answers_.front();
    answers_.pop_front();
    return answer;
  }
  void interrupt(bool* interrupted) {
    const std::lock_guard<std::mutex> lock(mutex_);
    *interrupted = true;
    changed_.notify_all();
  }
  void closed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_++;
    changed_.notify_all();
  }
  // Waits for so many openings, and gives what each was for.
  std::vector<Topics> opened(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return opened_.size() >= count; });
    return opened_;
  }
  void wait_closed(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return closed_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Result<Hints>> answers_;
  std::vector<Topics> opened_;
  Status failure_;
  int failures_ = 0, closed_ = 0;
};

class ScriptedStream final : public HintStream {
 public:
  explicit ScriptedStream(Script* script) : script_(script) {}
  ~ScriptedStream() override { script_->closed(); }
  ScriptedStream(const ScriptedStream&) = delete;
  ScriptedStream& operator=(const ScriptedStream&) = delete;
  Result<Hints> next() override { return script_->next(&interrupted_); }
  void interrupt() override { script_->interrupt(&interrupted_); }

 private:
  Script* const script_;
  bool interrupted_ = false;  // under the script's lock
};

Result<std::shared_ptr<HintStream>> Script::open(const Topics& topics) {
  const std::lock_guard<std::mutex> lock(mutex_);
  opened_.push_back(topics);
  changed_.notify_all();
  if (failures_ > 0) {
    failures_--;
    return failure_;
  }
  return std::shared_ptr<HintStream>(std::make_shared<ScriptedStream>(this));
}

Status broken() {
  return Status::unavailable(errors::kStoreFailed, "broken");
}

class ListenerTest : public testing::Test {
 protected:
  ListenerTest() {
    store_.on_open_hints = [this](const Topics& topics) { return script_.open(topics); };
    times_.settle_ms = 0;
    times_.linger_ms = kNever;
    times_.pause_ms = times_.idle_pause_ms = 1;
    times_.retry_ms_min = times_.retry_ms_max = 1;
    times_.never_retry_ms = kNever;
  }
  void listen() { listener_ = std::make_unique<Listener>(&store_, times_); }
  static JobKey key(int number) {
    JobKey key;
    key.bytes[0] = static_cast<uint8_t>(number);
    return key;
  }
  Topics jobs(std::vector<JobKey> keys) const {
    Topics topics;
    topics.jobs = std::move(keys);
    return topics;
  }
  Topics verbs() const {
    Topics topics;
    topics.verbs_of = node_;
    return topics;
  }
  static Hints changes_of(const JobKey& key) {
    Hints hints;
    hints.jobs = {key};
    return hints;
  }
  // As a loop does: sleeps until there is news.
  News news() {
    pollfd waiting{listener_->poll_fd(), POLLIN, 0};
    while (!listener_->has_news()) EXPECT_EQ(::poll(&waiting, 1, -1), 1);
    return listener_->take();
  }
  // As a loop does that looks from time to time.
  void want_until_opened(const Topics& topics, size_t times) {
    while (script_.opened(0).size() < times) {
      if (listener_->want(topics)) listener_->interrupt();
      ::poll(nullptr, 0, 1);
    }
  }

  const NodeId node_ = NodeId::random();
  Script script_;
  FakeSharedStore store_;
  ListenerTimes times_;
  std::unique_ptr<Listener> listener_;
};

TEST_F(ListenerTest, OpensNothingUntilSomethingIsWantedAndSaysWhatItHears) {
  listen();
  EXPECT_EQ(listener_->covered(), nullptr);
  EXPECT_FALSE(listener_->want(jobs({key(1), key(2)})));
  EXPECT_TRUE(news().opened);
  ASSERT_NE(listener_->covered(), nullptr);
  EXPECT_EQ(*listener_->covered(), jobs({key(1), key(2)}));
  script_.say(changes_of(key(2)));
  const News heard = news();
  EXPECT_EQ(heard.jobs, std::set<JobKey>{key(2)});
  EXPECT_FALSE(heard.opened || heard.verbs);
  EXPECT_EQ(script_.opened(1).size(), 1u);
}

TEST_F(ListenerTest, OpensAnotherOneForNewTopicsAndNoneForOldOnes) {
  listen();
  EXPECT_FALSE(listener_->want(jobs({key(1), key(2)})));
  EXPECT_TRUE(news().opened);
  EXPECT_FALSE(listener_->want(jobs({key(2)}))) << "it tells of more than that";
  Topics more = jobs({key(2), key(3)});
  more.verbs_of = node_;
  EXPECT_TRUE(listener_->want(more));
  EXPECT_FALSE(listener_->want(more)) << "it is told once";
  listener_->interrupt();
  EXPECT_TRUE(news().opened);
  EXPECT_EQ(script_.opened(2).back(), more);
  EXPECT_EQ(*listener_->covered(), more);
}

TEST_F(ListenerTest, DoesNotOpenAnotherOneForEachNewTopicAtOnce) {
  times_.settle_ms = kNever;
  listen();
  EXPECT_FALSE(listener_->want(jobs({key(1)})));
  EXPECT_TRUE(news().opened);
  EXPECT_FALSE(listener_->want(jobs({key(2)})));
  script_.say(changes_of(key(1)));
  news();
  EXPECT_EQ(script_.opened(1).size(), 1u);
}

TEST_F(ListenerTest, ABrokenStreamIsReplacedAndThatIsSaid) {
  listen();
  EXPECT_FALSE(listener_->want(verbs()));
  EXPECT_TRUE(news().opened);
  for (size_t i = 0; i < 3; i++) {
    script_.fail_opening(broken(), 2);
    script_.say(broken());
    EXPECT_TRUE(news().opened);
    EXPECT_EQ(script_.opened(0).size(), 4 + 3 * i);
  }
}

TEST_F(ListenerTest, AStoreWithoutStreamsIsNotAskedAgainSoon) {
  script_.fail_opening(Status::not_found(0, "a single server"), 1);
  listen();
  EXPECT_FALSE(listener_->want(verbs()));
  script_.opened(1);
  for (int i = 0; i < 20; i++) {
    EXPECT_FALSE(listener_->want(verbs()));
    EXPECT_EQ(listener_->covered(), nullptr);
  }
  EXPECT_FALSE(listener_->has_news());
  EXPECT_EQ(script_.opened(0).size(), 1u);
}

TEST_F(ListenerTest, ClosesWhatNobodyWantsAnyMore) {
  times_.linger_ms = 0;
  listen();
  EXPECT_FALSE(listener_->want(verbs()));
  EXPECT_TRUE(news().opened);
  EXPECT_FALSE(listener_->want({}));
  script_.say(Hints());  // the answer after which it looks
  script_.wait_closed(1);
  want_until_opened(verbs(), 2);
  EXPECT_TRUE(news().opened);
}

TEST_F(ListenerTest, EndsWhileItWaits) {
  listen();
  EXPECT_FALSE(listener_->want(verbs()));
  EXPECT_TRUE(news().opened);
  listener_.reset();
  script_.wait_closed(1);
}

}  // namespace
}  // namespace millrace
