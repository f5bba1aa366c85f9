#include "engine/core/job.h"

#include <algorithm>

#include "engine/base/limits.h"

namespace millrace {
namespace {

const Digest kUnknownDigest{};

void write_blob(const BlobRef& blob, const void*, std::string* out) {
  const BlobContent& content = *blob.content;
  const Digest& digest = content.digest ? *content.digest : kUnknownDigest;
  *out += R"({"$blob":{"digest":")";
  *out += digest.text();
  *out += '"';
  if (blob.height != 0) *out += ",\"height\":" + std::to_string(blob.height);
  *out += ",\"media_type\":";
  append_json_string(blob.media_type, out);
  if (blob.pixels != 0) *out += ",\"pixels\":" + std::to_string(blob.pixels);
  *out += ",\"size\":" + std::to_string(content.size_bytes);
  if (blob.width != 0) *out += ",\"width\":" + std::to_string(blob.width);
  *out += "}}";
}

}  // namespace

void Job::move_to(int step, Phase phase) {
  LiveStep& s = live(step);
  CHECK((set(s.phase) & bit(step)) != 0);
  CHECK_MSG(s.phase != Phase::kEnded, "an ended step stays ended");
  in[static_cast<size_t>(s.phase)] &= ~bit(step);
  in[static_cast<size_t>(phase)] |= bit(step);
  s.phase = phase;
}

const StepRecord& Job::record_of(int step) const {
  return (included & bit(step)) != 0 ? draft.steps[static_cast<size_t>(step)] : live(step).now;
}

const Value* JobScope::input(int index) const {
  const Value& value = job_.inputs[static_cast<size_t>(index)];
  return value.is_null() ? nullptr : &value;
}

const Value* JobScope::step_output(int step, int port) const {
  if ((job_.succeeded & bit(step)) == 0) return nullptr;
  const Value& value = job_.live(step).outputs[static_cast<size_t>(port)];
  return value.is_null() ? nullptr : &value;
}

const Value* JobScope::job(JobField field) const {
  auto& value = job_.fields[static_cast<size_t>(field)];
  if (!value) {
    switch (field) {
      case JobField::kId:
        value = Value(job_.draft.id().text());
        break;
      case JobField::kPipeline:
        value = Value(job_.draft.pipeline);
        break;
      case JobField::kCreatedAt:
        value = Value(format_time(job_.draft.created_at));
        break;
      case JobField::kLabels: {
        Value::Map labels;
        for (const auto& [name, text] : job_.draft.labels) labels.emplace(name, text);
        value = Value(std::move(labels));
        break;
      }
    }
  }
  return &*value;
}

bool has_blob(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kBlob:
      return true;
    case Value::Kind::kList:
      return std::any_of(value.as_list().begin(), value.as_list().end(), has_blob);
    case Value::Kind::kMap:
      return std::any_of(value.as_map().begin(), value.as_map().end(),
                         [](const auto& member) { return has_blob(member.second); });
    default:
      return false;
  }
}

bool blobs_durable(const std::vector<Value>& values) {
  bool durable = true;
  for (const Value& value : values) {
    if (!has_blob(value)) continue;
    for_each_blob(value, [&](const BlobRef& blob) { durable = durable && blob.content->durable; });
  }
  return durable;
}

std::string object_text(std::vector<NamedValue> members, bool blobs_only) {
  // Names are identifiers of ASCII letters, so byte order is canonical order.
  std::sort(members.begin(), members.end(),
            [](const NamedValue& a, const NamedValue& b) { return a.first < b.first; });
  std::string text = "{";
  for (const auto& [name, value] : members) {
    if (value->is_null() || (blobs_only && !has_blob(*value))) continue;
    if (text.size() > 1) text += ',';
    append_json_string(name, &text);
    text += ':';
    if (value->kind() == Value::Kind::kString) {
      append_json_string(value->as_string(), &text);
    } else {
      text += json_text(*value, write_blob, nullptr);
    }
  }
  text += '}';
  return text;
}

std::vector<NamedValue> named_inputs(const Graph& graph, const std::vector<Value>& inputs) {
  CHECK(inputs.size() == graph.inputs.size());
  std::vector<NamedValue> members;
  members.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); i++) members.emplace_back(graph.inputs[i].name, &inputs[i]);
  return members;
}

std::vector<NamedValue> named_outputs(const StepDecl& decl, const std::vector<Value>& outputs) {
  CHECK(static_cast<int>(outputs.size()) == decl.output_count());
  std::vector<NamedValue> members;
  members.reserve(outputs.size());
  for (size_t i = 0; i < outputs.size(); i++) {
    members.emplace_back(decl.output_at(static_cast<int>(i)).name, &outputs[i]);
  }
  return members;
}

Digest request_digest(const std::string& inputs_text,
                      const std::map<std::string, std::string>& labels) {
  std::string text = inputs_text + '\n';
  for (const auto& [name, value] : labels) {
    append_json_string(name, &text);
    text += ':';
    append_json_string(value, &text);
    text += '\n';
  }
  return sha256(text);
}

Digest frozen_digest(const StepDecl& decl, const std::vector<Value>& with) {
  std::string text = decl.name + '@' + std::to_string(decl.major);
  for (const Value& value : with) {
    text += '\n';
    text += canonical_json(value);
  }
  return sha256(text);
}

}  // namespace millrace
