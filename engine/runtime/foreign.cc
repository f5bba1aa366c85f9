// What happens at other nodes of a shared store and somebody here wants to know: jobs that they own
// and somebody waits for here, verbs that they leave for jobs of this node.
//
// All of it is looked for: often while nothing tells of changes, rarely while a stream does
// (listener.h). A stream that a look was quicker than is not trusted for a while: then looks are as
// frequent as without one, whatever keeps it (a sharded cluster with an idle shard, for instance).
#include <algorithm>
#include <map>

#include "engine/runtime/local_runtime.h"

namespace millrace {
namespace {

// Between looks at other nodes' jobs, while somebody waits; and where a stream tells of them.
constexpr int64_t kWatchEveryMs = 100, kWatchHeardEveryMs = 1'000;
constexpr int64_t kDistrustMs = 10'000;

bool covers(const Topics* covered, const JobKey& key) {
  return covered != nullptr && std::binary_search(covered->jobs.begin(), covered->jobs.end(), key);
}

}  // namespace

// ---- hints

void LocalRuntime::listen() {
  if (!cluster_.listener->want(cluster_.topics)) return;
  on_reader([this] {
    cluster_.listener->interrupt();
    return [] {};
  });
}

// Worth a stream when there is somebody who may leave any, and a job that was here at the last look
// still is: shorter ones end before anybody can ask for anything.
void LocalRuntime::listen_for_verbs() {
  const CoreStats& stats = core_->stats();
  const bool last = stats.oldest <= cluster_.taken_in || stats.accepted > stats.resident;
  cluster_.taken_in = stats.taken_in;
  const bool wanted = last && stats.accepted > 0 && cluster_.peers.living() > 1 && !draining_;
  cluster_.topics.verbs_of = wanted ? node_ : NodeId{};
  listen();
}

// `keys` ascending. Those beyond the bound are looked for as without a stream.
void LocalRuntime::listen_for_jobs(std::vector<JobKey> keys) {
  if (keys.size() > kHintedJobsMax) keys.resize(kHintedJobsMax);
  cluster_.topics.jobs = std::move(keys);
  listen();
}

void LocalRuntime::hear() {
  if (!cluster_.listener->has_news()) return;
  News news = cluster_.listener->take();
  if (news.verbs || news.opened) look_for_verbs(true);
  if (news.jobs.empty() && !news.opened) return;
  cluster_.hinted.merge(news.jobs);
  cluster_.hinted_all = cluster_.hinted_all || news.opened;
  look_at_foreign(true);
}

bool LocalRuntime::trusts_stream() const {
  return monotonic_us() >= cluster_.distrust_until_us;
}

bool LocalRuntime::hears_verbs() const {
  const auto covered = cluster_.listener->covered();
  return covered != nullptr && covered->verbs_of == node_;
}

void LocalRuntime::count_heard(const char* what, bool hinted, bool covered) {
  metrics_->heard_changes.with({what, hinted ? "stream" : "poll"}).add();
  if (!hinted && covered) cluster_.distrust_until_us = monotonic_us() + kDistrustMs * 1000;
}

// A verb is read again until it is carried out, and counts once.
void LocalRuntime::count_verbs(const std::vector<PendingVerb>& verbs, bool hinted, bool covered) {
  std::set<std::array<uint8_t, 16>> seen;
  for (const PendingVerb& verb : verbs) {
    seen.insert(verb.id);
    if (!cluster_.seen_verbs.contains(verb.id)) count_heard("verb", hinted, covered);
  }
  cluster_.seen_verbs = std::move(seen);
}

// ---- jobs of other nodes that somebody here waits for

void LocalRuntime::watch_foreign() {
  if (shared_ != nullptr) plan_foreign_look(kWatchEveryMs);
}

void LocalRuntime::plan_foreign_look(int64_t in_ms) {
  if (cluster_.looking_at_foreign) return;  // its end plans the next one
  const int64_t due_us = monotonic_us() + in_ms * 1000;
  if (cluster_.foreign_due_us != 0 && cluster_.foreign_due_us <= due_us) return;
  cluster_.foreign_due_us = due_us;
  after(in_ms, [this, due_us] {
    if (cluster_.foreign_due_us != due_us) return;  // an earlier one was planned since
    cluster_.foreign_due_us = 0;
    look_at_foreign(false);
  });
}

// Until the next look when nothing is heard.
int64_t LocalRuntime::foreign_pause_ms(const std::vector<WatchedJob>& known) const {
  const auto covered = cluster_.listener->covered();
  const bool heard = trusts_stream() && std::all_of(known.begin(), known.end(), [&](const auto& k) {
                       return covers(covered.get(), k.key);
                     });
  if (!heard) return kWatchEveryMs;
  TimeMs pause = kWatchHeardEveryMs;
  const TimeMs now = wall_clock_ms();
  for (const auto& [waiter, wait] : cluster_.waits) pause = std::min(pause, wait.until - now);
  return std::max<int64_t>(pause, 1);
}

// Answers the waits that are over, and collects the jobs that the others are for, by key.
std::vector<WatchedJob> LocalRuntime::foreign_jobs() {
  const TimeMs now = wall_clock_ms();
  std::map<JobKey, uint64_t> known;
  const auto ask = [&](const JobKey& key) {
    const auto rev = cluster_.known_revs.find(key);
    known.emplace(key, rev == cluster_.known_revs.end() ? 0 : rev->second);
  };
  std::vector<std::pair<WaiterId, ForeignWait>> over;
  for (const auto& [waiter, wait] : cluster_.waits) {
    const bool here = core_->view(wait.job.key).has_value();
    if (here || now >= wait.until || !waiters_.contains(waiter)) {
      over.emplace_back(waiter, wait);
    } else {
      ask(wait.job.key);
    }
  }
  for (const auto& [waiter, wait] : over) {
    cluster_.waits.erase(waiter);
    if (!waiters_.contains(waiter)) continue;
    if (now < wait.until) {
      note(Wait{now, waiter, wait.job.key, wait.until});  // it came here
      continue;
    }
    read_stored(wait.job.key, [this, waiter = waiter, job = wait.job](StoredResult stored) {
      reply_to(waiter, stored_reply(job, stored));
    });
  }
  for (const auto& [key, subscriptions] : subscribed_) {
    if (!core_->resident(key)) ask(key);
  }
  std::erase_if(cluster_.known_revs, [&](const auto& one) { return !known.contains(one.first); });
  std::vector<WatchedJob> jobs;
  for (const auto& [key, rev] : known) jobs.push_back({key, rev});
  return jobs;
}

// What is read for the first time, or read again because it is gone, did not change just now.
bool LocalRuntime::is_news(const ChangedJob& change) const {
  const auto known = cluster_.known_revs.find(change.key);
  return change.job && !change.job->tombstone && known != cluster_.known_revs.end() &&
         known->second != change.job->record.rev;
}

// `hinted`: because something was heard, and only at what was.
void LocalRuntime::look_at_foreign(bool hinted) {
  if (cluster_.looking_at_foreign) {
    cluster_.hinted_all = cluster_.hinted_all || !hinted;
    return;
  }
  const std::vector<WatchedJob> all = foreign_jobs();
  std::vector<JobKey> keys;
  for (const WatchedJob& job : all) keys.push_back(job.key);
  listen_for_jobs(std::move(keys));
  const std::set<JobKey> told = std::exchange(cluster_.hinted, {});
  const bool everything = std::exchange(cluster_.hinted_all, false) || !hinted;
  std::vector<WatchedJob> asked;
  for (const WatchedJob& job : all) {
    if (everything || told.contains(job.key)) asked.push_back(job);
  }
  if (asked.empty()) {  // nothing that was heard of is awaited any more
    if (!all.empty()) plan_foreign_look(foreign_pause_ms(all));
    return;
  }
  cluster_.looking_at_foreign = true;
  on_reader([this, hinted, told, asked = std::move(asked), covered = cluster_.listener->covered()] {
    auto changed = std::make_shared<Result<std::vector<ChangedJob>>>(shared_->changed(asked));
    return [this, hinted, told, covered, changed] {
      cluster_.looking_at_foreign = false;
      if (changed->ok()) {
        for (const ChangedJob& change : **changed) {
          if (is_news(change)) {
            count_heard("wait", hinted || told.contains(change.key),
                        covers(covered.get(), change.key));
          }
          on_changed(change);
        }
      }
      if (cluster_.hinted_all || !cluster_.hinted.empty()) {
        look_at_foreign(true);
      } else {
        const std::vector<WatchedJob> left = foreign_jobs();
        if (!left.empty()) plan_foreign_look(foreign_pause_ms(left));
      }
    };
  });
}

void LocalRuntime::on_changed(const ChangedJob& change) {
  if (change.job) cluster_.known_revs[change.key] = change.job->record.rev;
  const bool ended = !change.job || change.job->tombstone || is_final(change.job->record.state);
  if (change.job && !change.job->tombstone && subscribed_.contains(change.key) &&
      !core_->resident(change.key)) {
    publish(change.key, stored_view(change.job->record));
  }
  if (!ended) return;
  std::vector<std::pair<WaiterId, JobId>> answered;
  for (const auto& [waiter, wait] : cluster_.waits) {
    if (wait.job.key == change.key) answered.emplace_back(waiter, wait.job);
  }
  for (const auto& [waiter, job] : answered) {
    cluster_.waits.erase(waiter);
    reply_to(waiter, stored_reply(job, change.job));
  }
}

}  // namespace millrace
