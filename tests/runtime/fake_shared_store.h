// FakeSharedStore: leases, marks and names of blobs in memory, for tests of what the runtime does
// with them. It keeps no records: what is asked of those is a bug of the test.
//
// Thread-safe, as what it stands for.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "engine/base/check.h"
#include "engine/store/shared_store.h"

namespace millrace {

class FakeSharedStore final : public SharedStore {
 public:
  // ---- what the test says and sees
  // Answers of the next renewals, in order; afterwards all is well.
  void answer_renewals(std::vector<Status> answers);
  // Waits until so many renewals were asked for, and gives them.
  std::vector<NodeLease> renewals(size_t count);
  void name(const Digest& digest, bool is_named = true);
  void add_garbage(const Digest& digest);  // what a sweep of records leaves
  void add_lease(const NodeLease& lease);
  std::map<Digest, DyingMark> marks();
  // Called at the beginning of each names_blob and begin_removal, without the lock.
  std::function<void()> on_names_blob, on_begin_removal;
  // Opens streams of hints; without it there are none.
  std::function<Result<std::shared_ptr<HintStream>>(const Topics&)> on_open_hints;
  // The next so many calls about marks are not answered, although they are carried out.
  void lose_answers(int count);

  // ---- SharedStore
  Status renew(const NodeLease& lease) override;
  Result<std::vector<NodeLease>> leases() override;
  Result<int> sweep(TimeMs now, int max, std::vector<Digest>* orphans) override;
  Result<bool> names_blob(const Digest& digest) override;
  Result<bool> seems_named(const Digest& digest) override;
  Result<std::vector<Digest>> mark_dying(const NodeId& by,
                                         const std::vector<Digest>& digests) override;
  Result<std::vector<Digest>> take_over_dying(const NodeId& by,
                                              const std::vector<DyingMark>& marks) override;
  Result<std::vector<Digest>> begin_removal(const NodeId& by,
                                            const std::vector<Digest>& digests) override;
  Result<std::vector<Digest>> want_blobs(const std::vector<Digest>& digests) override;
  Result<std::vector<DyingMark>> dying_after(const Digest& after, int max) override;
  Status unmark_dying(const NodeId& by, const std::vector<Digest>& digests) override;
  Result<std::shared_ptr<HintStream>> open_hints(const Topics& topics,
                                                 DurationMs wait_ms) override {
    return on_open_hints ? on_open_hints(topics) : SharedStore::open_hints(topics, wait_ms);
  }
  void set_may_send(std::function<bool()> /*may_send*/) override {}
  StoreHealth health() const override { return {}; }
  void give_up() override {}

  // ---- not of this fake
  std::vector<WriteResult> commit(const std::vector<Write>& /*batch*/) override { return {}; }
  Result<std::vector<JobRecord>> claim(const NodeId&, const std::optional<JobRecord>&,
                                       int) override {
    return not_here();
  }
  Status remove(const JobKey&) override { return not_here(); }
  Result<std::optional<StoredJob>> read(const JobKey&) override { return not_here(); }
  Result<JobPage> list(const JobFilter&, const std::string&, int) override { return not_here(); }
  Result<int64_t> count_unfinished() override { return not_here(); }
  Status put_definitions(const std::vector<Definition>&) override { return not_here(); }
  Result<std::optional<std::string>> definition(const Digest&) override { return not_here(); }
  Result<bool> give_node_up(const NodeId&, uint64_t) override { return not_here(); }
  Result<bool> forget_node(const NodeId&) override { return not_here(); }
  Result<ClaimPage> claim_from(const NodeId&, const std::vector<NodeId>&,
                               const std::optional<JobPlace>&, int) override {
    return not_here();
  }
  Result<std::vector<NodeId>> owners() override { return not_here(); }
  Status put_verb(const PendingVerb&) override { return not_here(); }
  Result<std::vector<PendingVerb>> pending_verbs(const NodeId&, int) override { return not_here(); }
  Status remove_verbs(const std::vector<std::array<uint8_t, 16>>&) override { return not_here(); }
  Result<std::optional<StoredJob>> read_confirmed(const JobKey&) override { return not_here(); }
  Result<std::vector<ChangedJob>> changed(const std::vector<WatchedJob>&) override {
    return not_here();
  }

 private:
  static Status not_here() { return Status::unavailable(0, "not of this fake"); }
  // With the lock held.
  template <typename R>
  Result<R> answered(R result) {
    if (lost_ == 0) return result;
    lost_--;
    return not_here();
  }

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::vector<Status> renewal_answers_;
  std::vector<NodeLease> renewals_;
  std::vector<NodeLease> leases_;
  std::set<Digest> named_;
  std::vector<Digest> garbage_;
  std::map<Digest, DyingMark> marks_;
  int lost_ = 0;
};

}  // namespace millrace
