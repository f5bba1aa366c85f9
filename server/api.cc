#include "server/api.h"

#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/pipeline/text.h"
#include "server/http/problem.h"
#include "server/http/text.h"
#include "server/sniff.h"

namespace millrace {
namespace {

// RFC 6266: a plain name, and the exact one in UTF-8 when it is not plain.
std::string disposition(const Stored& stored) {
  std::string out = is_raster_image(stored.media_type) ? "inline" : "attachment";
  if (stored.file_name.empty()) return out;
  std::string plain;
  bool exact = true;
  for (char c : stored.file_name) {
    const bool ok = c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '%';
    plain += ok ? c : '_';
    exact = exact && ok;
  }
  out += "; filename=\"" + plain + "\"";
  if (!exact) out += "; filename*=UTF-8''" + percent_encode(stored.file_name);
  return out;
}

// Who stores bytes chooses what they claim to be: only what no browser runs keeps its type.
std::string_view served_type(std::string_view type) {
  for (const std::string_view group : {"image/", "audio/", "video/", "font/"}) {
    if (type.starts_with(group) && !type.ends_with("xml")) return type;  // image/svg+xml is a page
  }
  for (const std::string_view plain :
       {"text/plain", "text/csv", "application/json", "application/pdf", "application/zip"}) {
    if (type == plain) return type;
  }
  return "application/octet-stream";
}

Response head_for(const App& app, const Stored& stored, int status) {
  Response response = Response::empty(status);
  response.header("ETag", stored.etag);
  if (stored.immutable) {
    response.header("Cache-Control", app.has_token() ? "private, max-age=31536000, immutable"
                                                     : "public, max-age=31536000, immutable");
  } else {
    response.header("Cache-Control", "private, no-cache");
  }
  response.header("Accept-Ranges", "bytes");
  response.header("X-Content-Type-Options", "nosniff");
  response.header("Content-Security-Policy", "default-src 'none'; sandbox");
  return response;
}

struct Cut {
  bool answered = false;  // 304 or 416 went out
  int status = 200;
  ByteRange range;
};

Cut cut(App& app, Exchange& exchange, const Stored& stored, uint64_t total) {
  const Request& request = exchange.request;
  Cut out;
  out.range = {0, total};
  if (const std::string list = request.header_list("if-none-match");
      !list.empty() && etag_in_list(list, stored.etag)) {
    exchange.respond(head_for(app, stored, 304));
    out.answered = true;
    return out;
  }
  const auto range = request.header("range");
  if (!range) return out;
  // If-Range wants a strong, equal tag; anything else (a date, too) means the whole.
  if (const auto condition = request.header("if-range"); condition && *condition != stored.etag) {
    return out;
  }
  switch (parse_range(*range, total, &out.range)) {
    case RangeKind::kWhole:
      out.range = {0, total};
      break;
    case RangeKind::kPart:
      out.status = 206;
      break;
    case RangeKind::kUnsatisfiable: {
      Response response = problem_response(
          Status::invalid(errors::kRangeUnsatisfiable,
                          fmt::format("there are {} bytes; the range lies behind them", total)));
      response.header("Content-Range", fmt::format("bytes */{}", total));
      exchange.respond(std::move(response));
      out.answered = true;
      break;
    }
  }
  return out;
}

Response body_head(App& app, const Stored& stored, const Cut& part, uint64_t total) {
  Response response = head_for(app, stored, part.status);
  response.header("Content-Type", served_type(stored.media_type));
  response.header("Content-Disposition", disposition(stored));
  if (part.status == 206) {
    response.header("Content-Range", fmt::format("bytes {}-{}/{}", part.range.first,
                                                 part.range.first + part.range.size - 1, total));
  }
  return response;
}

}  // namespace

void append_view(App& app, const JobView& view, std::string* out) {
  std::shared_ptr<const Graph> graph = view.graph;
  if (graph == nullptr) graph = app.runtime().graph_of(*view.record);
  append_job_json(view, graph.get(), app.config().public_url, out);
}

Response job_response(App& app, int status, const JobView& view) {
  std::string body;
  append_view(app, view, &body);
  return Response::json(status, std::move(body));
}

std::string job_location(const App& app, const JobRecord& record) {
  return app.config().url_of("/v1/jobs/" + record.id().text());
}

std::optional<JobId> job_of(Exchange& exchange) {
  auto id = JobId::parse(exchange.request.params[0]);
  if (!id) {
    exchange.respond(Status::not_found(
        errors::kJobUnknown,
        fmt::format("'{}' is no job id", exchange.request.params[0].substr(0, 100))));
  }
  return id;
}

void respond_bytes(App& app, Exchange& exchange, const Stored& stored, Bytes bytes) {
  const uint64_t total = bytes.size();
  const Cut part = cut(app, exchange, stored, total);
  if (part.answered) return;
  Response response = body_head(app, stored, part, total);
  const uint8_t* first = bytes.data() + part.range.first;
  response.bytes =
      Bytes(std::make_shared<Bytes>(bytes), first, static_cast<size_t>(part.range.size));
  exchange.respond(std::move(response));
}

void respond_source(App& app, Exchange& exchange, const Stored& stored, uint64_t total,
                    const std::function<std::unique_ptr<BodySource>(const ByteRange&)>& seek) {
  const Cut part = cut(app, exchange, stored, total);
  if (part.answered) return;
  Response response = body_head(app, stored, part, total);
  response.source = seek(part.range);
  response.source_bytes = part.range.size;
  exchange.respond(std::move(response));
}

Exchange* exchange_for(const ExchangeRef& ref, const JobReply& reply) {
  Exchange* exchange = ref.get();
  if (exchange == nullptr) return nullptr;
  exchange->waiter = 0;
  if (reply.status.ok()) return exchange;
  exchange->respond(reply.status);
  return nullptr;
}

Status unknown_pipeline(App& app, const std::string& name) {
  const auto graphs = app.runtime().pipelines();
  std::vector<std::string_view> names;
  for (const auto& graph : graphs) names.emplace_back(graph->name);
  const std::string hint = did_you_mean(name, names);
  return Status::not_found(errors::kPipelineUnknown,
                           fmt::format("no pipeline is named '{}'{}{}", name.substr(0, 100),
                                       hint.empty() ? "" : "; ", hint));
}

}  // namespace millrace
