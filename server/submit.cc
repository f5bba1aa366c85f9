// POST /v1/pipelines/{name}/jobs
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "server/api.h"
#include "server/http/problem.h"
#include "server/submission.h"

namespace millrace {
namespace {

// What travels from callback to callback of one submission.
struct Pending {
  std::unique_ptr<Submission> submission;
  std::optional<int64_t> wait_seconds;
  size_t blobs_left = 0;
  Status trouble;  // a stored blob that is named could not be read just now
};

Response accepted(App& app, int status, const JobReply& reply, bool replayed,
                  std::optional<int64_t> waited) {
  Response response = job_response(app, status, reply.view);
  response.header("Location", job_location(app, *reply.view.record));
  if (replayed) response.header("Idempotency-Replayed", "true");
  if (waited) response.header("Preference-Applied", fmt::format("wait={}", *waited));
  return response;
}

void on_reply(App& app, const ExchangeRef& ref, std::optional<int64_t> wait_seconds,
              JobReply reply) {
  Exchange* exchange = exchange_for(ref, reply);
  if (exchange == nullptr) return;
  const JobRecord& record = *reply.view.record;
  const bool ended = is_final(record.state);
  if (ended || !wait_seconds || *wait_seconds == 0) {
    // Who did not wait is told that the job was accepted, even when its first write showed its end.
    const bool show_end = ended && (wait_seconds || reply.replayed);
    exchange->respond(accepted(app, show_end ? 200 : 202, reply, reply.replayed, wait_seconds));
    return;
  }
  const TimeMs until = wall_clock_ms() + *wait_seconds * 1000;
  const bool replayed = reply.replayed;
  const WaiterId waiter =
      app.runtime().wait(record.id(), until, [&app, ref, wait_seconds, replayed](JobReply end) {
        Exchange* waiting = exchange_for(ref, end);
        if (waiting == nullptr) return;
        const int status = is_final(end.view.record->state) ? 200 : 202;
        waiting->respond(accepted(app, status, end, replayed, wait_seconds));
      });
  keep_waiter(ref, waiter);
}

void submit(App& app, const ExchangeRef& ref, const std::shared_ptr<Pending>& pending) {
  Exchange* exchange = ref.get();
  if (exchange == nullptr) return;
  if (!pending->trouble.ok()) {
    exchange->respond(pending->trouble);
    return;
  }
  SubmitRequest request = pending->submission->submit_request();
  if (!pending->submission->problems().empty()) {
    const auto& problems = pending->submission->problems();
    // A blob that is named and missing is a fault of the request's content here, not of its path.
    const bool unprocessable = problems[0].number == errors::kBlobUnknown;
    exchange->respond(problem_response(problems, unprocessable ? 422 : 0));
    return;
  }
  const auto wait_seconds = pending->wait_seconds;
  request.until_end = wait_seconds.value_or(0) > 0;
  const WaiterId waiter =
      app.runtime().submit(std::move(request), [&app, ref, wait_seconds](JobReply reply) {
        on_reply(app, ref, wait_seconds, std::move(reply));
      });
  keep_waiter(ref, waiter);
}

// All that was uploaded can be read, or could not be written.
void on_uploads(App& app, const ExchangeRef& ref, const std::shared_ptr<Pending>& pending,
                Status status) {
  Exchange* exchange = ref.get();
  if (exchange == nullptr) return;
  Submission& submission = *pending->submission;
  if (status.ok()) status = submission.finish(&exchange->charge);
  if (!status.ok()) {
    exchange->respond(status);
    return;
  }
  pending->blobs_left = submission.wanted().size();
  if (pending->blobs_left == 0) {
    submit(app, ref, pending);
    return;
  }
  const std::vector<Digest> wanted = submission.wanted();
  for (const Digest& digest : wanted) {
    app.runtime().read_blob(digest, [&app, ref, pending, digest](Result<Bytes> bytes) {
      if (bytes.status().transient()) {
        pending->trouble = bytes.status();  // the request is right, it comes at a bad time
      } else {
        pending->submission->found(digest, bytes);
      }
      if (--pending->blobs_left == 0) submit(app, ref, pending);
    });
  }
}

}  // namespace

void begin_submit(App& app, Exchange& exchange) {
  const std::string& name = exchange.request.params[0];
  std::shared_ptr<const Graph> graph = app.runtime().pipeline(name);
  if (graph == nullptr) {
    exchange.respond(unknown_pipeline(app, name));
    return;
  }
  if (app.draining()) {
    exchange.respond(
        Status::busy(errors::kTooManyConnections, "the server is draining and takes no new jobs"));
    return;
  }
  auto submission = std::make_unique<Submission>(std::move(graph));
  if (const Status status = submission->begin(&exchange, &app.runtime()); !status.ok()) {
    exchange.respond(status);
    return;
  }
  exchange.sink = std::move(submission);
}

void answer_submit(App& app, Exchange& exchange) {
  auto pending = std::make_shared<Pending>();
  pending->submission.reset(static_cast<Submission*>(exchange.sink.release()));
  const Request& request = exchange.request;
  pending->wait_seconds = prefer_wait_seconds(request.header_list("prefer"), kWaitSecondsMax);
  const ExchangeRef ref = exchange.ref();
  pending->submission->finish_uploads(
      [&app, ref, pending](const Status& status) { on_uploads(app, ref, pending, status); });
}

}  // namespace millrace
