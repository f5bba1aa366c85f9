// What a definition is: the normalised graph as canonical JSON.
//
// In: the pipeline's name, inputs with all that is checked about them, vars, steps in their order
// with the step they use and its major version, templates with normalised expressions, conditions,
// edges, times in milliseconds, retry with its defaults, outputs. Out: comments, descriptions,
// spelling, the order of keys, and the defaults of a plugin's parameters, which belong to the
// plugin. The order of steps is in: records count steps by position.
#include "engine/pipeline/identity.h"

#include "engine/pipeline/expression_node.h"
#include "engine/pipeline/reader.h"

namespace millrace {
namespace {

constexpr int64_t kIdentityFormat = 1;

Value strings(std::vector<std::string> words) {
  std::sort(words.begin(), words.end());
  Value::List list;
  for (std::string& word : words) list.emplace_back(std::move(word));
  return Value(std::move(list));
}

Value input_value(const InputDecl& input) {
  Value::Map map;
  map["type"] = Value(input.type.text());
  if (!input.media.empty()) map["media"] = strings(input.media);
  if (input.max_bytes != 0) map["max_bytes"] = Value(input.max_bytes);
  if (input.min) map["min"] = Value(*input.min);
  if (input.max) map["max"] = Value(*input.max);
  if (input.min_float) map["min"] = Value(*input.min_float);
  if (input.max_float) map["max"] = Value(*input.max_float);
  if (input.has_default) map["default"] = input.default_value;
  return Value(std::move(map));
}

Value template_value(const Template& source, const ExpressionNames& names) {
  Value::Map map;
  Value::List parts;
  switch (source.kind) {
    case Template::Kind::kUnset:
      return {};
    case Template::Kind::kConstant:
      map["value"] = source.constant;
      return Value(std::move(map));
    case Template::Kind::kExpression:
      map["expression"] = Value(expression_text(*source.expression.root(), names));
      return Value(std::move(map));
    case Template::Kind::kText:
    case Template::Kind::kList:
      for (const Template& part : source.parts) parts.push_back(template_value(part, names));
      map[source.kind == Template::Kind::kText ? "text" : "list"] = Value(std::move(parts));
      return Value(std::move(map));
    case Template::Kind::kMap: {
      Value::Map members;
      for (size_t i = 0; i < source.parts.size(); i++)
        members[source.names[i]] = template_value(source.parts[i], names);
      map["map"] = Value(std::move(members));
      return Value(std::move(map));
    }
  }
  return {};
}

Value retry_value(const Retry& retry) {
  Value::Map map;
  map["max"] = Value(int64_t{retry.max});
  map["backoff_from_ms"] = Value(retry.backoff_from_ms);
  map["backoff_to_ms"] = Value(retry.backoff_to_ms);
  map["jitter"] = Value(retry.jitter == Jitter::kFull ? "full" : "none");
  map["on"] = strings(retry.on);
  map["except"] = strings(retry.except);
  map["give_up_after_ms"] = Value(retry.give_up_after_ms);
  return Value(std::move(map));
}

Value steps_in(const Graph& graph, StepSet set) {
  std::vector<std::string> names;
  for (size_t i = 0; i < graph.steps.size(); i++) {
    if ((set >> i & 1) != 0) names.push_back(graph.steps[i].id);
  }
  return strings(std::move(names));
}

Value step_value(const Graph& graph, const StepNode& step, const ExpressionNames& names) {
  Value::Map with;
  for (size_t i = 0; i < step.with.size(); i++) {
    if (step.with[i].kind == Template::Kind::kUnset) continue;
    with[step.decl->with_at(static_cast<int>(i)).name] = template_value(step.with[i], names);
  }
  Value::Map map;
  map["id"] = Value(step.id);
  map["use"] = Value(step.decl->name);
  map["major"] = Value(int64_t{step.decl->major});
  map["with"] = Value(std::move(with));
  if (step.condition) map["if"] = Value(expression_text(*step.condition->root(), names));
  map["after"] = steps_in(graph, step.after);
  map["require"] = steps_in(graph, step.require);
  map["timeout_ms"] = Value(step.timeout_ms);
  map["deadline_ms"] = Value(step.deadline_ms);
  map["retry"] = retry_value(step.retry);
  return Value(std::move(map));
}

}  // namespace

std::string GraphNames::input(int index) const {
  return graph_.inputs[static_cast<size_t>(index)].name;
}

std::string GraphNames::step(int index) const {
  return graph_.steps[static_cast<size_t>(index)].id;
}

std::string GraphNames::output(int step, int port) const {
  return graph_.steps[static_cast<size_t>(step)].decl->output_at(port).name;
}

std::string normalised_graph(const Graph& graph) {
  const GraphNames names(graph);
  Value::Map inputs, outputs;
  for (const InputDecl& input : graph.inputs) inputs[input.name] = input_value(input);
  for (const OutputDecl& output : graph.outputs)
    outputs[output.name] = template_value(output.source, names);
  Value::List steps;
  for (const StepNode& step : graph.steps) steps.push_back(step_value(graph, step, names));
  Value::Map map;
  map["format"] = Value(kIdentityFormat);
  map["pipeline"] = Value(graph.name);
  map["inputs"] = Value(std::move(inputs));
  map["vars"] = Value(graph.vars);
  map["timeout_ms"] = Value(graph.timeout_ms);
  map["steps"] = Value(std::move(steps));
  map["outputs"] = Value(std::move(outputs));
  return canonical_json(Value(std::move(map)));
}

}  // namespace millrace
