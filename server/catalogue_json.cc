#include "server/catalogue_json.h"

#include <fmt/core.h>

namespace millrace {
namespace {

Value::List ports_value(const std::vector<PortDecl>& ports) {
  Value::List out;
  for (const PortDecl& port : ports) {
    Value::Map one{{"name", port.name}, {"type", port.type.text()}, {"doc", port.doc}};
    if (port.has_default) one["default"] = port.default_text;
    if (port.min != 0 || port.max != 0) {
      one["min"] = port.min;
      one["max"] = port.max;
    }
    out.emplace_back(std::move(one));
  }
  return out;
}

void no_blobs(const BlobRef&, const void*, std::string* out) {
  *out += "null";
}

std::string text_of(const Value& value) {
  return json_text(value, no_blobs, nullptr);
}

Value memory_value(const StepDecl& step) {
  const auto map_of = [](const PixelMemory& memory) {
    return Value::Map{{"per_pixel", static_cast<int64_t>(memory.per_pixel)},
                      {"per_result_pixel", static_cast<int64_t>(memory.per_result_pixel)}};
  };
  Value::List more;
  for (const MemoryDecl& one : step.more_memory) {
    Value::Map map = map_of(one.memory);
    map["port"] = step.with_at(one.port).name;
    map["value"] = one.value;
    more.emplace_back(std::move(map));
  }
  Value::Map map = map_of(step.memory);
  map["base"] = static_cast<int64_t>(step.memory_base);
  map["more"] = std::move(more);
  return map;
}

}  // namespace

std::string step_json(const StepDecl& step) {
  Value::List reasons, settings;
  for (const ReasonDecl& reason : step.reasons) {
    reasons.emplace_back(Value::Map{
        {"name", reason.name}, {"doc", reason.doc}, {"transient", Value(reason.transient)}});
  }
  for (const std::string& setting : step.settings) settings.emplace_back(setting);
  return text_of(Value::Map{{"name", step.name},
                            {"version", fmt::format("{}.{}", step.major, step.minor)},
                            {"effect", effect_name(step.effect)},
                            {"lane", lane_name(step.lane)},
                            {"doc", step.doc},
                            {"plugin", step.plugin},
                            {"inputs", ports_value(step.inputs)},
                            {"params", ports_value(step.params)},
                            {"outputs", ports_value(step.outputs)},
                            {"results", ports_value(step.results)},
                            {"reasons", std::move(reasons)},
                            {"settings", std::move(settings)},
                            {"memory", memory_value(step)}});
}

std::string graph_json(const Graph& graph) {
  const auto names = [&graph](StepSet set) {
    Value::List list;
    for (size_t i = 0; i < graph.steps.size(); i++) {
      if ((set >> i & 1) != 0) list.emplace_back(graph.steps[i].id);
    }
    return list;
  };
  Value::List inputs, steps, outputs;
  for (const InputDecl& input : graph.inputs) {
    Value::List media;
    for (const std::string& type : input.media) media.emplace_back(type);
    inputs.emplace_back(Value::Map{{"name", input.name},
                                   {"type", input.type.text()},
                                   {"description", input.description},
                                   {"required", Value(!input.type.optional && !input.has_default)},
                                   {"media", std::move(media)}});
  }
  for (const StepNode& step : graph.steps) {
    steps.emplace_back(Value::Map{{"id", step.id},
                                  {"use", step.decl->name},
                                  {"effect", effect_name(step.decl->effect)},
                                  {"lane", lane_name(step.decl->lane)},
                                  {"after", names(step.after)},
                                  {"require", names(step.require)},
                                  {"conditional", Value(step.condition.has_value())}});
  }
  for (const OutputDecl& output : graph.outputs) {
    outputs.emplace_back(Value::Map{
        {"name", output.name}, {"type", output.type.text()}, {"reads", names(output.reads)}});
  }
  return text_of(Value::Map{
      {"inputs", std::move(inputs)}, {"steps", std::move(steps)}, {"outputs", std::move(outputs)}});
}

}  // namespace millrace
