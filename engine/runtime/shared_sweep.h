// SharedSweep: removes expired records, and blobs that nobody names any more, of a store that other
// nodes use too. The remover's half of the rules of ARCHITECTURE.md; the other half is BlobGuard.
//
//   blob thread  collect: expired records go; what they named, blobs of deleted jobs and old files
//                that no record seems to name are garbage; marks of nodes that are gone are taken
//                over
//   blob thread  the garbage is marked: a wave
//   (dying_ms)
//   blob thread  begin_removal; names_blob of each, removal, all of it while the lease holds;
//   unmark
//
// Waves overlap, each with its own time. What an answer that was lost left marked, a later look at
// the marks finds. Everything that fails is tried again, or left for the next round; whatever is
// interrupted leaves a mark at most, which somebody takes over.
//
// Thread: the loop, for everything but the functions that say otherwise.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "engine/blob/blob_threads.h"
#include "engine/store/shared_store.h"

namespace millrace {

class SharedSweep {
 public:
  struct Means {
    SharedStore* store = nullptr;
    BlobStore* blobs = nullptr;
    BlobThreads* threads = nullptr;
    NodeId self;
    DurationMs dying_ms = 0;
    std::function<bool()> lease_holds;  // [any]
    std::function<void(int64_t delay_ms, std::function<void()>)> after;
    // Leaves those that nobody here wants.
    std::function<void(std::vector<Digest>*)> drop_wanted;
    // A blob that was put to be kept stays when that was at this time or later.
    std::function<TimeMs()> kept_since;
  };
  struct Round {
    TimeMs wall = 0;
    bool records = false;                // sweep those that have expired
    bool marks = false;                  // look for those that nobody looks after
    std::optional<TimeMs> files_before;  // look for files last put before
  };
  struct Outcome {
    bool more_records = false;
    bool all_files = false;  // have been looked at
  };

  explicit SharedSweep(Means means) : means_(std::move(means)) {}

  // Blobs of a job that was deleted: looked at in the next round.
  void suspect(const std::vector<Digest>& digests);
  bool has_suspects() const { return !suspects_.empty(); }
  // The answer to a marking was lost: the next round should look at the marks.
  bool has_lost_marks() const { return lost_marks_; }

  // One at a time; `done` is told when its wave is on its way.
  void begin(const Round& round, std::function<void(Outcome)> done);
  bool collecting() const { return collecting_; }

  // No new wave; what waits is unmarked, what is being removed goes on to its end.
  void drain();
  bool idle() const { return !collecting_ && waves_.empty(); }

 private:
  struct Wave {
    std::vector<Digest> digests;
    bool waiting = true;
    std::shared_ptr<char> alive = std::make_shared<char>();  // for its timer, which may outlive it
  };
  using Waves = std::list<Wave>;  // iterators stay
  struct Found {
    int removed = 0;
    bool all_files = false;
    std::vector<Digest> marked;   // ours now, of nobody's wave
    std::vector<Digest> garbage;  // not marked yet
  };

  Found collect(const Round& round, std::vector<Digest> suspects) const;              // [blob]
  void find_left(Found* found) const;                                                 // [blob]
  void find_files(TimeMs before, std::vector<Digest>* suspects, Found* found) const;  // [blob]
  void on_found(Found found, const std::function<void(Outcome)>& done);
  void mark(std::vector<Digest> garbage, const std::function<void()>& done);
  void start_wave(std::vector<Digest> digests);
  void remove(Waves::iterator wave);
  std::optional<std::vector<Digest>> remove_all(const std::vector<Digest>& digests,
                                                TimeMs kept_since) const;  // [blob]
  bool remove_one(const Digest& digest, TimeMs kept_since) const;          // [blob]
  void unmark(Waves::iterator wave);
  void on_thread(std::function<std::function<void()>()> work);

  const Means means_;
  Waves waves_;
  std::unordered_set<Digest, DigestHash> under_way_;  // of all waves
  std::vector<Digest> suspects_;
  bool collecting_ = false, draining_ = false, lost_marks_ = false;
};

}  // namespace millrace
