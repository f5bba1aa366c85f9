// GET /v1/jobs/{id}/outputs/{name}
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "server/api.h"
#include "server/sniff.h"

namespace millrace {
namespace {

// What was not read: a disk or a bucket that fails now may give it later, what is missing or
// altered stays so.
Status unreadable(const char* what, const Status& status) {
  const std::string text = fmt::format("{} cannot be read: {}", what, status.message());
  return status.transient() ? Status(status.code(), status.number(), text)
                            : Status::corrupt(errors::kBlobMissing, text);
}

void respond_blob_output(App& app, const ExchangeRef& ref, const BlobRef& blob,
                         const std::string& file_name) {
  const Digest digest = blob.content->digest.value_or(Digest());
  const std::string media_type = blob.media_type;
  app.runtime().read_blob(digest, [&app, ref, digest, media_type, file_name](Result<Bytes> bytes) {
    Exchange* exchange = ref.get();
    if (exchange == nullptr) return;
    if (!bytes.ok()) {
      exchange->respond(unreadable("the output", bytes.status()));
      return;
    }
    Stored stored;
    stored.media_type = media_type;
    stored.etag = "\"" + digest.text() + "\"";
    stored.file_name = file_name;
    respond_bytes(app, *exchange, stored, std::move(*bytes));
  });
}

void respond_output(App& app, Exchange& exchange, const JobRecord& record, const Graph* graph,
                    const std::string& text) {
  const std::string& name = exchange.request.params[1];
  const auto outputs = parse_json(text.empty() ? "{}" : std::string_view(text), BlobsIn::kAllowed);
  const Value* value = outputs.ok() ? outputs->find(name) : nullptr;
  if (value == nullptr || value->is_null()) {
    // A failed job still shows what was made before it failed; this output was not.
    if (record.state == JobState::kSucceeded) {
      exchange.respond(Status::not_found(
          errors::kOutputUnknown,
          fmt::format("the job ended without a value for output '{}'", name.substr(0, 100))));
    } else {
      exchange.respond(Status::conflict(
          errors::kOutputNotReady, fmt::format("the job ended as {} before output '{}' was made",
                                               state_name(record.state), name.substr(0, 100))));
    }
    return;
  }
  if (value->kind() == Value::Kind::kBlob) {
    const std::string_view extension = extension_of(value->as_blob().media_type);
    std::string file_name = record.pipeline + "-" + name;
    if (!extension.empty()) file_name += "." + std::string(extension);
    respond_blob_output(app, exchange.ref(), value->as_blob(), file_name);
    return;
  }
  const int index = graph == nullptr ? -1 : graph->output_index(name);
  const Type* type = index < 0 ? nullptr : &graph->outputs[static_cast<size_t>(index)].type;
  std::string json = value_json(*value, type, app.config().public_url);
  Stored stored;
  stored.media_type = "application/json";
  stored.etag = "\"" + sha256(json).hex().substr(0, 32) + "\"";
  stored.file_name = record.pipeline + "-" + name + ".json";
  respond_bytes(app, exchange, stored, Bytes::of(std::move(json)));
}

void on_job(App& app, const ExchangeRef& ref, const JobReply& reply) {
  Exchange* exchange = exchange_for(ref, reply);
  if (exchange == nullptr) return;
  const std::shared_ptr<const JobRecord> record = reply.view.record;
  std::shared_ptr<const Graph> graph = reply.view.graph;
  if (graph == nullptr) graph = app.runtime().graph_of(*record);
  const std::string& name = exchange->request.params[1];
  if (graph != nullptr && graph->output_index(name) < 0) {
    exchange->respond(Status::not_found(
        errors::kOutputUnknown,
        fmt::format("pipeline '{}' has no output '{}'", record->pipeline, name.substr(0, 100))));
    return;
  }
  if (!is_final(record->state)) {
    exchange->respond(Status::conflict(
        errors::kOutputNotReady,
        fmt::format("the job is {}; read its outputs when it has ended (Prefer: wait on the job)",
                    state_name(record->state))));
    return;
  }
  if (!record->outputs_spilled) {
    respond_output(app, *exchange, *record, graph.get(), record->outputs);
    return;
  }
  app.runtime().read_blob(*record->outputs_spilled, [&app, ref, record, graph](Result<Bytes> text) {
    Exchange* waiting = ref.get();
    if (waiting == nullptr) return;
    if (!text.ok()) {
      waiting->respond(unreadable("what the job gave", text.status()));
      return;
    }
    respond_output(app, *waiting, *record, graph.get(), std::string(text->view()));
  });
}

}  // namespace

void answer_output(App& app, Exchange& exchange) {
  const auto id = job_of(exchange);
  if (!id) return;
  const ExchangeRef ref = exchange.ref();
  keep_waiter(ref, app.runtime().read_job(
                       *id, [&app, ref](const JobReply& reply) { on_job(app, ref, reply); }));
}

}  // namespace millrace
