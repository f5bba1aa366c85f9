#include "engine/blob/blob_upload.h"

#include "engine/base/check.h"
#include "engine/base/errors.h"

namespace millrace {

struct BlobUpload::State {
  std::unique_ptr<BlobSink> sink;  // a blob thread's while `busy`
  Runner run;
  std::function<void(const Status&)> on_failure;
  std::vector<Bytes> pieces;
  uint64_t waiting_bytes = 0;
  bool busy = false, given_up = false;
  Status status;
  std::function<void(Result<WrittenBlob>)> finished;
};

BlobUpload::BlobUpload(std::unique_ptr<BlobSink> sink, Runner run,
                       std::function<void(const Status&)> on_failure)
    : state_(std::make_shared<State>()) {
  CHECK(sink != nullptr && run && on_failure);
  state_->sink = std::move(sink);
  state_->run = std::move(run);
  state_->on_failure = std::move(on_failure);
}

BlobUpload::~BlobUpload() {
  if (state_->finished) return;  // the work under way holds the state, and answers
  state_->given_up = true;
  state_->pieces.clear();
  go_on(state_);
}

void BlobUpload::append(Bytes piece) {
  CHECK(!state_->finished);
  if (!state_->status.ok()) return;
  state_->waiting_bytes += piece.size();
  state_->pieces.push_back(std::move(piece));
  go_on(state_);
}

uint64_t BlobUpload::waiting_bytes() const {
  return state_->waiting_bytes;
}

const Status& BlobUpload::status() const {
  return state_->status;
}

void BlobUpload::finish(std::function<void(Result<WrittenBlob>)> done) {
  CHECK(done && !state_->finished);
  if (!state_->status.ok()) {
    done(state_->status);
    return;
  }
  state_->finished = std::move(done);
  go_on(state_);
}

// One piece of work at a time: whatever came meanwhile is the next one.
void BlobUpload::go_on(const std::shared_ptr<State>& state) {
  if (state->busy || state->sink == nullptr) return;
  if (state->given_up) {
    // A file that goes gives its space back, which may take a while.
    std::shared_ptr<BlobSink> sink = std::move(state->sink);
    [[maybe_unused]] const bool taken = state->run([held = std::move(sink)]() mutable -> Done {
      held.reset();
      return [] {};
    });
    return;
  }
  const bool last = state->finished != nullptr;
  if (state->pieces.empty() && !last) return;
  const uint64_t size = state->waiting_bytes;
  std::vector<Bytes> pieces;
  pieces.swap(state->pieces);
  state->busy = true;
  const bool taken = state->run([state, size, last, pieces = std::move(pieces)]() mutable -> Done {
    Status status;
    std::optional<WrittenBlob> blob;
    for (const Bytes& piece : pieces) {
      if (status.ok()) status = state->sink->append(piece.view());
    }
    pieces.clear();
    if (status.ok() && last) {
      auto written = state->sink->finish();
      status = written.status();
      if (written.ok()) blob = *std::move(written);
    }
    if (!status.ok() || last) state->sink.reset();
    return [state, size, status, blob = std::move(blob)] { on_written(state, size, status, blob); };
  });
  if (taken) return;
  state->busy = false;
  state->waiting_bytes = 0;
  fail(*state, Status::busy(errors::kOutOfMemoryBudget,
                            "too many uploads wait for the disk; try again later"));
  go_on(state);
}

void BlobUpload::on_written(const std::shared_ptr<State>& state, uint64_t size,
                            const Status& status, std::optional<WrittenBlob> blob) {
  state->busy = false;
  CHECK(state->waiting_bytes >= size);
  state->waiting_bytes -= size;
  if (!status.ok()) {
    state->pieces.clear();
    state->waiting_bytes = 0;
    fail(*state, status);
  } else if (blob) {
    const auto done = std::move(state->finished);
    state->finished = nullptr;
    done(*std::move(blob));
    return;
  }
  go_on(state);
}

void BlobUpload::fail(State& state, const Status& status) {
  state.status = status;
  state.given_up = true;
  state.on_failure(status);
  const auto done = std::move(state.finished);
  state.finished = nullptr;
  if (done) done(status);
}

}  // namespace millrace
