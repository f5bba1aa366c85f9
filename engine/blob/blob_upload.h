// BlobUpload: a blob on its way in. Pieces are handed over on the loop as they come and written, in
// their order, on blob threads.
//
// It knows nothing of sockets: whoever hands pieces over looks at waiting_bytes() and stops for a
// while. Thread: the loop, for everything; callbacks run in BlobThreads::drain().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/blob/blob_store.h"

namespace millrace {

class BlobUpload {
 public:
  using Done = std::function<void()>;
  // BlobThreads::run, or what stands for it in a test.
  using Runner = std::function<bool(std::function<Done()> work)>;

  // `on_failure` hears of the first failure, whoever else does.
  BlobUpload(std::unique_ptr<BlobSink> sink, Runner run,
             std::function<void(const Status&)> on_failure);
  // Gives up what was written, on a blob thread, unless finish() was called.
  ~BlobUpload();
  BlobUpload(const BlobUpload&) = delete;
  BlobUpload& operator=(const BlobUpload&) = delete;

  // Takes one piece more; it is let go once it is written. After a failure it is dropped.
  void append(Bytes piece);
  uint64_t waiting_bytes() const;  // handed over and not yet written
  // The first failure: those of BlobSink, or Busy E016 when too much waits for the disk.
  const Status& status() const;
  // All has come. `done` gets the written bytes or the first failure; perhaps inside the call.
  void finish(std::function<void(Result<WrittenBlob>)> done);

 private:
  struct State;
  static void go_on(const std::shared_ptr<State>& state);
  static void on_written(const std::shared_ptr<State>& state, uint64_t size, const Status& status,
                         std::optional<WrittenBlob> blob);
  static void fail(State& state, const Status& status);

  const std::shared_ptr<State> state_;  // shared with the work under way
};

}  // namespace millrace
