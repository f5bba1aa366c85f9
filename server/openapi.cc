// The OpenAPI 3.1 document: made from the table of routes, so that it describes what is served.
#include <set>

#include "engine/base/value.h"
#include "server/app.h"
#include "server/http/text.h"
#include "server/version.h"

namespace millrace {
namespace {

// What any route may answer, whatever its table says: head and Host, token, Origin, method, load.
constexpr std::string_view kStatusesOfAll = "400 401 403 414 417 421 431 500 503";

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (end > 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

Value reference(const std::string& schema) {
  return Value::Map{{"$ref", "#/components/schemas/" + schema}};
}

Value text_schema() {
  return Value::Map{{"type", "string"}};
}

Value list_of(Value items) {
  return Value::Map{{"type", "array"}, {"items", std::move(items)}};
}

Value object_of(Value::Map properties) {
  Value::List required;
  for (const auto& [name, unused] : properties) required.emplace_back(name);
  return Value::Map{
      {"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}};
}

Value nullable_text() {
  return Value::Map{{"type", Value::List{"string", "null"}}};
}

Value nullable_object() {
  return Value::Map{{"type", Value::List{"object", "null"}}};
}

Value enumeration(std::string_view text) {
  Value::List list;
  for (std::string& word : words(text)) list.emplace_back(std::move(word));
  return Value::Map{{"type", "string"}, {"enum", std::move(list)}};
}

Value::Map schemas() {
  const Value any_object = Value::Map{{"type", "object"}};
  Value::Map out;
  out["Job"] = object_of(
      {{"id", text_schema()},
       {"pipeline", text_schema()},
       {"definition", text_schema()},
       {"state", enumeration("queued running waiting paused succeeded failed cancelled")},
       {"labels", any_object},
       {"created_at", text_schema()},
       {"started_at", nullable_text()},
       {"finished_at", nullable_text()},
       {"inputs", any_object},
       {"steps", Value::Map{{"type", "object"}, {"additionalProperties", reference("Step")}}},
       {"outputs", any_object},
       {"error", nullable_object()},
       {"waiting_for", nullable_object()}});
  out["Step"] = object_of(
      {{"state", enumeration("pending running waiting succeeded failed skipped cancelled")},
       {"attempts", Value::Map{{"type", "integer"}}},
       {"started_at", nullable_text()},
       {"finished_at", nullable_text()},
       {"outputs", any_object},
       {"error", nullable_object()},
       {"waiting_for", nullable_object()}});
  out["DamagedJob"] = object_of({{"id", text_schema()}, {"code", text_schema()}});
  out["JobList"] = object_of({{"jobs", list_of(reference("Job"))}, {"next", nullable_text()}});
  out["JobList"].as_map()["properties"].as_map()["damaged"] = list_of(reference("DamagedJob"));
  out["Blob"] = object_of({{"blob", text_schema()},
                           {"size", Value::Map{{"type", "integer"}}},
                           {"media_type", text_schema()},
                           {"url", text_schema()}});
  out["PipelineList"] = object_of({{"pipelines", list_of(any_object)}});
  out["StepList"] = object_of({{"steps", list_of(any_object)}});
  out["Diagnostics"] = object_of({{"diagnostics", list_of(any_object)}});
  out["Problem"] = object_of({{"type", text_schema()},
                              {"title", text_schema()},
                              {"status", Value::Map{{"type", "integer"}}},
                              {"detail", text_schema()},
                              {"code", text_schema()}});
  return out;
}

Value parameter(const std::string& name, const char* in, bool required) {
  return Value::Map{
      {"name", name}, {"in", in}, {"required", Value(required)}, {"schema", text_schema()}};
}

Value::List parameters(const Route& route) {
  Value::List out;
  const std::string_view pattern = route.pattern;
  for (size_t at = pattern.find('{'); at != std::string_view::npos;
       at = pattern.find('{', at + 1)) {
    std::string name(pattern.substr(at + 1, pattern.find('}', at) - at - 1));
    if (name.back() == '*') name.pop_back();
    out.push_back(parameter(name, "path", true));
  }
  for (const std::string& name : words(route.query)) out.push_back(parameter(name, "query", false));
  for (const std::string& name : words(route.headers)) {
    if (name != "Accept") out.push_back(parameter(name, "header", false));
  }
  return out;
}

Value request_body(const Route& route) {
  const Value binary = Value::Map{{"schema", Value::Map{}}};
  Value::Map content;
  switch (route.body) {
    case BodyKind::kNone:
      return {};
    case BodyKind::kJson:
      content["application/json"] = binary;
      break;
    case BodyKind::kRaw:
      content["*/*"] = binary;
      break;
    case BodyKind::kYaml:
      content["application/yaml"] = binary;
      break;
    case BodyKind::kSubmission:
      content["multipart/form-data"] = Value::Map{{"schema", Value::Map{{"type", "object"}}}};
      content["application/json"] = Value::Map{
          {"schema",
           Value::Map{{"type", "object"},
                      {"properties", Value::Map{{"inputs", Value::Map{{"type", "object"}}},
                                                {"labels", Value::Map{{"type", "object"}}}}}}}};
      content["*/*"] = binary;
      break;
  }
  return Value::Map{{"content", std::move(content)}};
}

Value response_of(const Route& route, const std::string& status) {
  const int number = (status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0');
  Value::Map out{{"description", status_phrase(number)}};
  if (number >= 400) {
    out["content"] =
        Value::Map{{"application/problem+json", Value::Map{{"schema", reference("Problem")}}}};
  } else if (number != 204 && number != 304) {
    const std::string media = *route.media == '\0' ? "*/*" : route.media;
    Value schema = *route.schema == '\0' ? Value(Value::Map{}) : reference(route.schema);
    out["content"] = Value::Map{{media, Value::Map{{"schema", std::move(schema)}}}};
  }
  return out;
}

Value operation(const Route& route) {
  std::set<std::string> statuses;
  for (std::string& status : words(route.statuses)) statuses.insert(std::move(status));
  for (std::string& status : words(kStatusesOfAll)) statuses.insert(std::move(status));
  Value::Map responses;
  for (const std::string& status : statuses) responses[status] = response_of(route, status);
  Value::Map out{{"operationId", route.id},
                 {"summary", route.summary},
                 {"parameters", parameters(route)},
                 {"responses", std::move(responses)}};
  if (Value body = request_body(route); !body.is_null()) out["requestBody"] = std::move(body);
  return out;
}

}  // namespace

std::string openapi_document(const Router& router) {
  Value::Map paths;
  for (const Route& route : router.routes()) {
    std::string path = route.pattern;
    if (const size_t star = path.find('*'); star != std::string::npos) path.erase(star, 1);
    Value& item = paths[path];
    if (item.is_null()) item = Value::Map{};
    item.as_map()[to_lower(method_name(route.method))] = operation(route);
    if (route.method == Method::kGet) {
      Value head = operation(route);
      head.as_map()["operationId"] = std::string(route.id) + "Head";
      item.as_map()["head"] = std::move(head);
    }
  }
  return canonical_json(Value::Map{
      {"openapi", "3.1.0"},
      {"info",
       Value::Map{{"title", "millrace"},
                  {"version", kVersion},
                  {"license", Value::Map{{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
      {"paths", std::move(paths)},
      {"components",
       Value::Map{{"schemas", schemas()},
                  {"securitySchemes",
                   Value::Map{{"token", Value::Map{{"type", "http"}, {"scheme", "bearer"}}}}}}},
      {"security", Value::List{Value::Map{}, Value::Map{{"token", Value::List{}}}}}});
}

}  // namespace millrace
