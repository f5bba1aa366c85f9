#include "server/job_json.h"

#include <charconv>
#include <functional>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "engine/pipeline/graph.h"

namespace millrace {
namespace {

constexpr std::string_view kHidden = "\"***\"";

void append_number(uint64_t number, std::string* out) {
  char text[24];
  const auto result = std::to_chars(text, text + sizeof text, number);
  out->append(text, result.ptr);
}

void append_time(TimeMs time, std::string* out) {
  if (time == 0) {
    *out += "null";
    return;
  }
  *out += '"';
  *out += format_time(time);
  *out += '"';
}

// Whether values of this type are stored in another form than they are shown in.
bool needs_view(const Type& type) {
  switch (type.kind) {
    case Type::Kind::kDuration:
    case Type::Kind::kSize:
    case Type::Kind::kSecret:
      return true;
    case Type::Kind::kList:
    case Type::Kind::kMap:
      return type.element != nullptr && needs_view(*type.element);
    default:
      return false;
  }
}

void write_blob(const BlobRef& blob, const void* context, std::string* out) {
  append_blob_json(blob, *static_cast<const std::string*>(context), out);
}

using TypeOf = const Type* (*)(const void* context, std::string_view name);

// Appends a stored object (name -> value). Its canonical text is spliced in when nothing in it is
// shown otherwise than it is stored; that is the fast path of every job without blobs.
void append_object(const std::string& text, bool plain, const void* context, TypeOf type_of,
                   const std::string& public_url, std::string* out) {
  if (text.empty()) {
    *out += "{}";
    return;
  }
  if (plain && text.find("$blob") == std::string::npos) {
    *out += text;
    return;
  }
  const auto value = parse_json(text, BlobsIn::kAllowed);
  if (!value.ok() || value->kind() != Value::Kind::kMap) {
    *out += "{}";
    return;
  }
  *out += '{';
  bool first = true;
  for (const auto& [name, member] : value->as_map()) {
    if (!first) *out += ',';
    first = false;
    append_json_string(name, out);
    *out += ':';
    *out += value_json(member, type_of(context, name), public_url);
  }
  *out += '}';
}

const Type* input_type(const void* context, std::string_view name) {
  const auto* graph = static_cast<const Graph*>(context);
  if (graph == nullptr) return nullptr;
  const int index = graph->input_index(name);
  return index < 0 ? nullptr : &graph->inputs[static_cast<size_t>(index)].type;
}

const Type* output_type(const void* context, std::string_view name) {
  const auto* graph = static_cast<const Graph*>(context);
  if (graph == nullptr) return nullptr;
  const int index = graph->output_index(name);
  return index < 0 ? nullptr : &graph->outputs[static_cast<size_t>(index)].type;
}

const Type* port_type(const void* context, std::string_view name) {
  const auto* decl = static_cast<const StepDecl*>(context);
  const int port = decl->output_port(name);
  return port < 0 ? nullptr : &decl->output_at(port).type;
}

void append_error(const std::optional<JobError>& error, std::string* out) {
  if (!error) {
    *out += "null";
    return;
  }
  *out += "{\"code\":";
  append_json_string(error_code(error->number), out);
  *out += ",\"reason\":";
  append_json_string(error->reason, out);
  *out += ",\"message\":";
  append_json_string(error->message, out);
  *out += ",\"step\":";
  if (error->step.empty()) {
    *out += "null";
  } else {
    append_json_string(error->step, out);
  }
  *out += ",\"attempt\":";
  if (error->attempt == 0) {
    *out += "null";
  } else {
    append_number(error->attempt, out);
  }
  *out += '}';
}

void append_waiting_for(const JobView& view, int step, std::string* out) {
  for (const Explanation& explanation : view.waiting_for) {
    if (explanation.step != step) continue;
    *out += "{\"reason\":";
    append_json_string(explanation.reason, out);
    *out += ",\"message\":";
    append_json_string(explanation.message, out);
    *out += '}';
    return;
  }
  *out += "null";
}

void append_tries(const std::vector<Try>& tries, std::string* out) {
  *out += ",\"tries\":[";
  bool first = true;
  for (const Try& one : tries) {
    if (!first) *out += ',';
    first = false;
    *out += "{\"attempt\":";
    append_number(one.attempt, out);
    *out += ",\"started_at\":";
    append_time(one.started_at, out);
    *out += ",\"finished_at\":";
    append_time(one.finished_at, out);
    *out += ",\"reason\":";
    append_json_string(one.reason, out);
    *out += ",\"note\":";
    append_json_string(one.note, out);
    *out += '}';
  }
  *out += ']';
}

void append_step(const JobView& view, const Graph& graph, size_t index,
                 const std::string& public_url, std::string* out) {
  const StepRecord& step = view.record->steps[index];
  const StepNode& node = graph.steps[index];
  const RunningStep* running = nullptr;
  for (const RunningStep& candidate : view.running) {
    if (candidate.step == static_cast<int>(index) && !is_final(step.state)) running = &candidate;
  }
  append_json_string(node.id, out);
  *out += ":{\"state\":\"";
  *out += running != nullptr ? state_name(StepState::kRunning) : state_name(step.state);
  *out += "\",\"attempts\":";
  append_number(running != nullptr ? running->attempt : step.attempts, out);
  *out += ",\"started_at\":";
  append_time(step.started_at != 0 || running == nullptr ? step.started_at : running->started_at,
              out);
  *out += ",\"finished_at\":";
  append_time(step.finished_at, out);
  *out += ",\"outputs\":";
  if (step.spilled) {
    append_blob_json(*step.spilled, 0, "application/json", public_url, out);
  } else {
    bool plain = true;
    for (const PortDecl& port : node.decl->results) plain = plain && !needs_view(port.type);
    append_object(step.outputs, plain, node.decl, port_type, public_url, out);
  }
  *out += ",\"error\":";
  append_error(step.error, out);
  *out += ",\"waiting_for\":";
  append_waiting_for(view, static_cast<int>(index), out);
  // One good attempt without a word about it says nothing that is not said above.
  const bool telling =
      step.tries.size() > 1 ||
      (step.tries.size() == 1 && (!step.tries[0].reason.empty() || !step.tries[0].note.empty()));
  if (telling) append_tries(step.tries, out);
  *out += '}';
}

void append_head(const JobView& view, std::string* out) {
  const JobRecord& record = *view.record;
  const bool shown_running = record.state == JobState::kQueued && !view.running.empty();
  *out += "{\"id\":\"";
  *out += record.id().text();
  *out += "\",\"pipeline\":";
  append_json_string(record.pipeline, out);
  *out += ",\"definition\":\"";
  *out += record.definition.text();
  *out += "\",\"state\":\"";
  *out += state_name(shown_running ? JobState::kRunning : record.state);
  *out += "\",\"labels\":{";
  bool first = true;
  for (const auto& [name, text] : record.labels) {
    if (!first) *out += ',';
    first = false;
    append_json_string(name, out);
    *out += ':';
    append_json_string(text, out);
  }
  *out += "},\"created_at\":";
  append_time(record.created_at, out);
  *out += ",\"started_at\":";
  append_time(
      record.started_at == 0 && shown_running ? view.running[0].started_at : record.started_at,
      out);
  *out += ",\"finished_at\":";
  append_time(record.finished_at, out);
}

}  // namespace

void append_blob_json(const Digest& digest, uint64_t size, std::string_view media_type,
                      const std::string& public_url, std::string* out) {
  const std::string name = digest.text();
  *out += "{\"blob\":\"";
  *out += name;
  *out += '"';
  if (size != 0) {
    *out += ",\"size\":";
    append_number(size, out);
  }
  *out += ",\"media_type\":";
  append_json_string(media_type, out);
  *out += ",\"url\":";
  append_json_string(public_url + "/v1/blobs/" + name, out);
  *out += '}';
}

void append_blob_json(const BlobRef& blob, const std::string& public_url, std::string* out) {
  CHECK(blob.content != nullptr);
  if (!blob.content->digest) {  // not durable yet; a view never holds one, but a bug must not kill
    *out += "null";
    return;
  }
  const std::string name = blob.content->digest->text();
  *out += "{\"blob\":\"";
  *out += name;
  *out += "\",\"size\":";
  append_number(blob.content->size_bytes, out);
  *out += ",\"media_type\":";
  append_json_string(blob.media_type, out);
  *out += ",\"url\":";
  append_json_string(public_url + "/v1/blobs/" + name, out);
  if (blob.width != 0) {
    *out += ",\"width\":";
    append_number(blob.width, out);
    *out += ",\"height\":";
    append_number(blob.height, out);
  }
  *out += '}';
}

std::string value_json(const Value& value, const Type* type, const std::string& public_url) {
  if (type != nullptr && type->kind == Type::Kind::kSecret && !value.is_null()) {
    return std::string(kHidden);
  }
  if (type != nullptr && needs_view(*type)) {
    return json_text(value_for_view(*type, value), write_blob, &public_url);
  }
  return json_text(value, write_blob, &public_url);
}

void append_job_json(const JobView& view, const Graph* graph, const std::string& public_url,
                     std::string* out) {
  CHECK(view.record != nullptr);
  const JobRecord& record = *view.record;
  if (graph != nullptr && graph->steps.size() != record.steps.size()) graph = nullptr;
  out->reserve(out->size() + 1024 + record.inputs.size() + record.outputs.size());
  append_head(view, out);
  bool plain_inputs = true, plain_outputs = true;
  if (graph != nullptr) {
    for (const InputDecl& input : graph->inputs)
      plain_inputs = plain_inputs && !needs_view(input.type);
    for (const OutputDecl& o : graph->outputs) plain_outputs = plain_outputs && !needs_view(o.type);
  }
  *out += ",\"inputs\":";
  append_object(record.inputs, plain_inputs, graph, input_type, public_url, out);
  *out += ",\"steps\":{";
  if (graph != nullptr) {
    for (size_t i = 0; i < record.steps.size(); i++) {
      if (i > 0) *out += ',';
      append_step(view, *graph, i, public_url, out);
    }
  }
  *out += "},\"outputs\":";
  if (record.outputs_spilled) {
    append_blob_json(*record.outputs_spilled, 0, "application/json", public_url, out);
  } else {
    append_object(record.outputs, plain_outputs, graph, output_type, public_url, out);
  }
  *out += ",\"error\":";
  append_error(record.error, out);
  *out += ",\"waiting_for\":";
  append_waiting_for(view, -1, out);
  *out += '}';
}

std::string job_etag(const JobView& view, std::string_view json) {
  char text[24];
  const auto result =
      std::to_chars(text, text + sizeof text, std::hash<std::string_view>()(json), 16);
  return "\"" + std::to_string(view.record->rev) + "-" + std::string(text, result.ptr) + "\"";
}

}  // namespace millrace
