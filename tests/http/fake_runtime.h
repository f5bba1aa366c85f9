// FakeRuntime: a Runtime without a store, workers or disk, for tests of what stands before it.
//
// Jobs live in a map; a test says whether they end by themselves. Replies come from pump(), as they
// do in truth. Calls from a test's own thread go through call(), which waits for the loop thread.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <future>
#include <mutex>
#include <set>

#include "engine/base/errors.h"
#include "engine/base/value.h"
#include "engine/runtime/runtime.h"

namespace millrace::test {

class FakeRuntime final : public Runtime {
 public:
  explicit FakeRuntime(uint64_t budget_bytes = 1 << 28);
  ~FakeRuntime() override { ::close(fd_); }

  // ---- for tests, through call()
  bool ends_by_itself = true;
  Status submit_refusal;  // not ok: what every submission gets
  Status blob_refusal;
  Status write_refusal;      // of what uploads write
  bool disk_stands = false;  // uploads are not written until it goes on
  size_t open_uploads() const { return open_uploads_; }
  uint64_t written_bytes() const { return written_bytes_; }
  int disk_turns() const { return disk_turns_; }  // pieces of work done off the loop
  Health health_now{true, ""};
  std::vector<SubmitRequest> submitted;
  bool draining = false;
  bool step_runs = false;  // so that it is not drained
  size_t waiters() const { return waiters_.size(); }
  size_t waits() const {  // those of wait() alone
    return static_cast<size_t>(std::count_if(
        waiters_.begin(), waiters_.end(), [](const auto& one) { return one.second.until != 0; }));
  }
  size_t subscriptions() const { return subscriptions_.size(); }
  void finish(const JobKey& key, JobState state);
  void progress(const JobKey& key);      // one more durable revision
  std::vector<Explanation> waiting_for;  // in every view of an unfinished job
  size_t disk_waiting() const { return disk_work_.size(); }
  void run_disk_once();
  void run_disk();  // what waited while it stood
  JobKey only_job() const { return jobs_.begin()->first; }
  // Runs `work` on the loop thread and waits for it. [any]
  void call(const std::function<void()>& work);

  std::shared_ptr<const Catalogue> catalogue() const override { return catalogue_; }
  const std::vector<PluginProblem>& plugin_problems() const override { return problems_; }
  std::shared_ptr<ByteBudget> budget() const override { return budget_; }
  Metrics& metrics() override { return metrics_; }
  std::string metrics_text() override { return metrics_.text(); }
  Status set_pipelines(std::vector<std::shared_ptr<const Graph>> graphs) override;
  std::shared_ptr<const Graph> pipeline(const std::string& name) const override;
  std::vector<std::shared_ptr<const Graph>> pipelines() const override { return graphs_; }
  Status start() override { return {}; }
  WaiterId submit(SubmitRequest request, ReplyFn reply) override;
  WaiterId wait(const JobId& job, TimeMs until, ReplyFn reply) override;
  WaiterId cancel(const JobId& job, ReplyFn reply) override;
  WaiterId read_job(const JobId& job, ReplyFn reply) override;
  void forget(WaiterId waiter) override { waiters_.erase(waiter); }
  void list_jobs(JobFilter filter, std::string cursor, int limit,
                 std::function<void(Result<ViewPage>)> done) override;
  void remove_job(const JobId& job, std::function<void(Status)> done) override;
  SubscriptionId subscribe(const JobKey& job, std::function<void(const JobView&)> changed) override;
  void unsubscribe(SubscriptionId subscription) override { subscriptions_.erase(subscription); }
  std::shared_ptr<const Graph> graph_of(const JobRecord& record) override {
    return pipeline(record.pipeline);
  }
  std::unique_ptr<BlobUpload> begin_blob() override;
  void put_blob(Bytes bytes, std::function<void(Result<Digest>)> done) override;
  void read_blob(const Digest& digest, std::function<void(Result<Bytes>)> done) override;
  bool off_loop(std::function<std::function<void()>()> work) override;
  int poll_fd() const override { return fd_; }
  int64_t next_deadline_us() const override;
  void pump() override;
  void drain() override { draining = true; }
  bool drained() const override { return draining && !step_runs && later_.empty(); }
  void end_waits() override;
  Health health() const override { return health_now; }
  bool workers_stuck() const override { return false; }

 private:
  struct Waiter {
    JobKey job;
    TimeMs until = 0;  // 0: not of a wait
    ReplyFn reply;
  };
  void later(std::function<void()> work);
  void reply_later(WaiterId waiter, JobReply reply);
  void changed(const JobKey& key);
  std::shared_ptr<JobRecord> make_record(const SubmitRequest& request, const JobKey& key);
  Result<JobView> find(const JobId& id) const;
  JobView view_of(const JobKey& key) const;

  int fd_;
  std::shared_ptr<ByteBudget> budget_;
  Metrics metrics_;
  std::vector<PluginProblem> problems_;
  std::shared_ptr<const Catalogue> catalogue_;
  std::vector<std::shared_ptr<const Graph>> graphs_;
  std::map<JobKey, std::shared_ptr<JobRecord>> jobs_;
  std::set<JobKey> deleted_;
  std::map<Digest, Bytes> blobs_;
  class MemorySink;
  size_t open_uploads_ = 0;
  uint64_t written_bytes_ = 0;
  int disk_turns_ = 0;
  std::deque<std::function<std::function<void()>()>> disk_work_;
  std::map<WaiterId, Waiter> waiters_;
  struct Subscription {
    JobKey job;
    std::function<void(const JobView&)> changed;
  };
  std::map<SubscriptionId, Subscription> subscriptions_;
  std::deque<std::function<void()>> later_;
  std::mutex mutex_;  // of calls_
  std::vector<std::function<void()>> calls_;
  uint64_t next_ = 1;
};

// A catalogue with one step, `noop`, and two pipelines: `photo` (image, quality?, tags?, callback?,
// pause?) and `plain` (text) without any blob.
std::shared_ptr<const Catalogue> fake_catalogue();
std::vector<std::shared_ptr<const Graph>> fake_pipelines(std::shared_ptr<const Catalogue> steps);

}  // namespace millrace::test
