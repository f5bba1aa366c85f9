// BlobGuard: puts blobs into a place from which other nodes remove, and knows until when each may
// be named by a record for the first time. The putter's half of the rules of ARCHITECTURE.md; the
// other half is SharedSweep.
//
// A put is: the bytes, then a word to the store that they are wanted, then a look whether they are
// still there. A removal that had begun by the word is waited out, and the bytes are put again.
// From the word on the blob stays for `dying_ms`, whatever anybody finds: marks from before come to
// nothing, and one that is set later waits as long. Half of that is for the record to become
// durable; what takes longer is secured again, before it is sent and before anybody counts on it.
//
// Words of many puts go to the store together: one query is under way, and what comes meanwhile is
// in the next.
//
// Thread: the loop, for everything but the functions that say otherwise.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/base/limits_shared.h"
#include "engine/base/value.h"
#include "engine/blob/blob_threads.h"
#include "engine/core/core.h"

namespace millrace {

class BlobGuard {
 public:
  using Work = std::function<std::function<void()>()>;
  using Done = std::function<void(Result<Digest>)>;
  // The last durable record of a job that is resident; null: none.
  using Durable = std::function<std::shared_ptr<const JobRecord>(const JobKey&)>;

  struct Means {
    BlobStore* blobs = nullptr;
    BlobThreads* threads = nullptr;
    // SharedStore::want_blobs; called by the thread that `on_reader` runs its work on.
    std::function<Result<std::vector<Digest>>(const std::vector<Digest>&)> want_blobs;
    std::function<void(Work)> on_reader;
    std::function<void(int64_t delay_ms, std::function<void()>)> after;
    std::function<int64_t()> now_us;  // a clock that goes on while the machine sleeps
  };

  BlobGuard(Means means, DurationMs dying_ms) : means_(std::move(means)), dying_ms_(dying_ms) {}

  // Puts the bytes of a job's blob. Fails as BlobStore::put does, and with E016 when too much
  // waits.
  void put(std::shared_ptr<BlobContent> content, Done done);
  // Bytes that no job has yet; they are to be kept for a while.
  void put_kept(Bytes bytes, Done done);

  // Of the blobs that the batch names for the first time: those that must be secured again, and
  // until when (now_us) the others are good.
  struct Look {
    std::vector<Digest> stale;
    int64_t good_until_us = INT64_MAX;
  };
  Look look_at(const std::vector<Write>& batch, const Durable& durable) const;

  // Puts them again, until that has gone well for each.
  void secure(const std::vector<Digest>& digests, std::function<void()> done);

  // Puts whose word waits for the next query.
  size_t waiting() const { return waiting_.size(); }

 private:
  struct Putting {
    Bytes bytes;  // absent: they are in nobody's hands any more, and only looked for
    bool keep = false;
    std::shared_ptr<BlobContent> content;
    Digest digest;
    Done done;
  };
  struct Fresh {
    int64_t wanted_us = 0;  // when the last word was given for it
    std::vector<std::weak_ptr<BlobContent>> contents;
  };

  void begin(std::shared_ptr<Putting> put);
  void ask(std::shared_ptr<Putting> put);
  void ask_soon();
  void on_answer(std::vector<std::shared_ptr<Putting>> asked, int64_t asked_us,
                 const Result<std::vector<Digest>>& removing);
  void look_for(const std::shared_ptr<Putting>& put, int64_t asked_us);
  void insist(const Digest& digest, std::function<void()> done);
  void remember(const Putting& put, int64_t asked_us);
  void forget_some();

  const Means means_;
  const DurationMs dying_ms_;
  std::deque<std::shared_ptr<Putting>> waiting_;  // for the next query
  bool asking_ = false;
  std::unordered_map<Digest, Fresh, DigestHash> fresh_;  // of contents that somebody holds
  std::deque<Digest> order_;                             // of fresh_, each once
};

}  // namespace millrace
