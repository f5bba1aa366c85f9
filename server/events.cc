// GET /v1/jobs/{id}/events: server-sent events, one for each durable revision that the client keeps
// up with.
#include <fmt/core.h>

#include <charconv>

#include "engine/base/errors.h"
#include "server/api.h"

namespace millrace {
namespace {

constexpr size_t kBacklogBytesMax = 128 * 1024;  // above it states between are skipped

// One client's stream. Held by the callbacks of its subscription and its exchange.
struct EventStream {
  App* app = nullptr;
  ExchangeRef ref;
  uint64_t sent_rev = 0;
  std::optional<JobView> skipped;  // the newest state not sent yet
};

void send_view(EventStream& stream, const JobView& view) {
  Exchange* exchange = stream.ref.get();
  if (exchange == nullptr || view.record == nullptr || view.record->rev <= stream.sent_rev) return;
  const bool ended = is_final(view.record->state);
  if (!ended && exchange->backlog_bytes() > kBacklogBytesMax) {
    stream.skipped = view;
    return;
  }
  stream.skipped.reset();
  stream.sent_rev = view.record->rev;
  std::string text = fmt::format("id: {}\nevent: job\ndata: ", view.record->rev);
  append_view(*stream.app, view, &text);
  text += "\n\n";
  exchange->stream(text);
  if (ended) exchange->end_stream();
}

void on_job(App& app, const ExchangeRef& ref, uint64_t last_id, const JobReply& reply) {
  Exchange* exchange = exchange_for(ref, reply);
  if (exchange == nullptr) return;
  Response head = Response::empty(200);
  head.header("Content-Type", "text/event-stream");
  head.header("Cache-Control", "no-store");
  if (exchange->request.method == Method::kHead) {
    exchange->respond(std::move(head));
    return;
  }
  const JobRecord& record = *reply.view.record;
  const auto stream = std::make_shared<EventStream>();
  stream->app = &app;
  stream->ref = ref;
  // A client that comes back has seen up to `last_id`; one that claims more than there is gets the
  // snapshot all the same.
  if (last_id <= record.rev) stream->sent_rev = last_id;
  exchange->start_stream(std::move(head));
  exchange->heartbeat = ":\n\n";
  exchange->stream(":\n\n");
  send_view(*stream, reply.view);
  if (is_final(record.state)) {
    if (stream->sent_rev == last_id && last_id == record.rev) exchange->end_stream();
    return;
  }
  exchange->on_drained = [stream] {
    if (stream->skipped) send_view(*stream, JobView(*stream->skipped));
  };
  exchange->subscription = app.runtime().subscribe(
      record.key, [stream](const JobView& view) { send_view(*stream, view); });
}

}  // namespace

void answer_events(App& app, Exchange& exchange) {
  const auto id = job_of(exchange);
  if (!id) return;
  uint64_t last_id = 0;
  if (const auto header = exchange.request.header("last-event-id"); header && !header->empty()) {
    const auto result = std::from_chars(header->data(), header->data() + header->size(), last_id);
    if (result.ec != std::errc() || result.ptr != header->data() + header->size()) {
      exchange.respond(Status::invalid(errors::kQueryInvalid,
                                       "Last-Event-ID is not the id of an event of this stream"));
      return;
    }
  }
  const ExchangeRef ref = exchange.ref();
  keep_waiter(ref, app.runtime().read_job(*id, [&app, ref, last_id](const JobReply& reply) {
    on_job(app, ref, last_id, reply);
  }));
}

}  // namespace millrace
