// GET /v1/pipelines, /v1/pipelines/{name}; POST /v1/pipelines/validate; PUT and DELETE are refused.
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/pipeline/diagnostics.h"
#include "server/api.h"
#include "server/catalogue_json.h"
#include "server/http/text.h"

namespace millrace {
namespace {

void append_summary(const App& app, const Graph& graph, std::string* out) {
  *out += "{\"name\":";
  append_json_string(graph.name, out);
  *out += ",\"description\":";
  append_json_string(graph.description, out);
  *out += ",\"digest\":\"" + graph.digest.text() + "\",\"url\":";
  append_json_string(app.config().url_of("/v1/pipelines/" + graph.name), out);
}

bool wants_yaml(std::string_view accept) {
  for (const std::string_view element : split_list(accept)) {
    const std::string type = media_type_of(element);
    if (type == "application/json" || type == "*/*") return false;
    if (type == "application/yaml" || type == "application/x-yaml" || type == "text/yaml") {
      return true;
    }
  }
  return false;
}

}  // namespace

void answer_pipelines(App& app, Exchange& exchange) {
  std::string body = "{\"pipelines\":[";
  bool first = true;
  for (const auto& graph : app.runtime().pipelines()) {
    if (!first) body += ',';
    first = false;
    append_summary(app, *graph, &body);
    body += '}';
  }
  body += "]}";
  exchange.respond(Response::json(200, std::move(body)));
}

void answer_pipeline(App& app, Exchange& exchange) {
  const Request& request = exchange.request;
  const auto graph = app.runtime().pipeline(request.params[0]);
  if (graph == nullptr) {
    exchange.respond(unknown_pipeline(app, request.params[0]));
    return;
  }
  const bool yaml = wants_yaml(request.header_list("accept"));
  std::string body;
  if (yaml) {
    body = graph->source;
  } else {
    append_summary(app, *graph, &body);
    body += ",\"yaml\":";
    append_json_string(graph->source, &body);
    body += ",\"graph\":" + graph_json(*graph) + "}";
  }
  Response response = yaml ? Response::text(200, "application/yaml", std::move(body))
                           : Response::json(200, std::move(body));
  // The digest leaves comments out, so the tag is of the text that is shown.
  const std::string etag = "\"" + sha256(response.body).hex().substr(0, 32) + "\"";
  response.header("ETag", etag);
  response.header("Vary", "Accept");
  const std::string list = request.header_list("if-none-match");
  if (!list.empty() && etag_in_list(list, etag)) {
    response.status = 304;
    response.body.clear();
  }
  exchange.respond(std::move(response));
}

void begin_change_pipeline(App&, Exchange& exchange) {
  exchange.respond(Status::invalid(
      errors::kPipelinesReadOnly,
      "pipelines.writable is false: change the files in the directory of pipelines, then send "
      "SIGHUP"));
}

void begin_validate(App&, Exchange& exchange) {
  const auto header = exchange.request.header("content-type");
  if (!header) return;
  const std::string type = media_type_of(*header);
  for (const std::string_view taken :
       {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain",
        "application/octet-stream", "application/x-www-form-urlencoded"}) {
    if (type == taken) return;
  }
  exchange.respond(Status::invalid(
      errors::kMediaTypeUnsupported,
      fmt::format("send the YAML text as application/yaml, not '{}'", header->substr(0, 100))));
}

void answer_validate(App& app, Exchange& exchange) {
  const ParsedPipeline parsed = parse_pipeline(exchange.request.body, app.runtime().catalogue());
  exchange.respond(Response::json(
      200, "{\"diagnostics\":" + canonical_json(diagnostics_value(parsed.diagnostics)) + "}"));
}

}  // namespace millrace
