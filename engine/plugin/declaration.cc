#include "engine/plugin/declaration.h"

#include <algorithm>

#include "engine/base/errors.h"
#include "engine/base/value.h"

namespace millrace {
namespace {

Value port_to_value(const PortDecl& port) {
  Value::Map map;
  map["name"] = port.name;
  map["type"] = port.type.text();
  map["doc"] = port.doc;
  if (port.has_default) map["default"] = port.default_text;
  map["min"] = port.min;
  map["max"] = port.max;
  return map;
}

Value ports_to_value(const std::vector<PortDecl>& ports) {
  Value::List list;
  for (const PortDecl& port : ports) list.emplace_back(port_to_value(port));
  return list;
}

void set_pixel_memory(const PixelMemory& memory, Value::Map* map) {
  (*map)["per_pixel"] = static_cast<int64_t>(memory.per_pixel);
  (*map)["per_result_pixel"] = static_cast<int64_t>(memory.per_result_pixel);
}

Value memory_to_value(const StepDecl& step) {
  Value::List more;
  for (const MemoryDecl& one : step.more_memory) {
    Value::Map map{{"port", int64_t{one.port}}, {"value", one.value}};
    set_pixel_memory(one.memory, &map);
    more.emplace_back(std::move(map));
  }
  Value::Map map{{"base", static_cast<int64_t>(step.memory_base)},
                 {"result_width", int64_t{step.result_width}},
                 {"result_height", int64_t{step.result_height}},
                 {"more", std::move(more)}};
  set_pixel_memory(step.memory, &map);
  return map;
}

Value step_to_value(const StepDecl& step) {
  Value::Map map;
  map["name"] = step.name;
  map["major"] = int64_t{step.major};
  map["minor"] = int64_t{step.minor};
  map["effect"] = static_cast<int64_t>(step.effect);
  map["lane"] = static_cast<int64_t>(step.lane);
  map["doc"] = step.doc;
  map["plugin"] = step.plugin;
  map["inputs"] = ports_to_value(step.inputs);
  map["params"] = ports_to_value(step.params);
  map["outputs"] = ports_to_value(step.outputs);
  map["results"] = ports_to_value(step.results);
  Value::List reasons;
  for (const ReasonDecl& reason : step.reasons) {
    Value::Map one;
    one["name"] = reason.name;
    one["doc"] = reason.doc;
    one["transient"] = reason.transient;
    one["no_space"] = reason.no_space;
    reasons.emplace_back(std::move(one));
  }
  map["reasons"] = std::move(reasons);
  Value::List settings;
  for (const std::string& key : step.settings) settings.emplace_back(key);
  map["settings"] = std::move(settings);
  map["memory"] = memory_to_value(step);
  return map;
}

// Reads members of one JSON object; `ok` turns false at the first that is absent or of another
// kind.
class Members {
 public:
  Members(const Value& value, bool* ok) : value_(value), ok_(ok) {}
  std::string text(const char* name) const {
    const Value* member = get(name, Value::Kind::kString);
    return member ? member->as_string() : "";
  }
  int64_t integer(const char* name) const {
    const Value* member = get(name, Value::Kind::kInt);
    return member ? member->as_int() : 0;
  }
  bool boolean(const char* name) const {
    const Value* member = get(name, Value::Kind::kBool);
    return member && member->as_bool();
  }
  const Value::List& list(const char* name) const {
    static const Value::List empty;
    const Value* member = get(name, Value::Kind::kList);
    return member ? member->as_list() : empty;
  }

 private:
  const Value* get(const char* name, Value::Kind kind) const {
    const Value* member = value_.find(name);
    if (member != nullptr && member->kind() == kind) return member;
    *ok_ = false;
    return nullptr;
  }
  const Value& value_;
  bool* ok_;
};

std::vector<PortDecl> ports_from_value(const Value::List& list, bool* ok) {
  std::vector<PortDecl> ports;
  for (const Value& value : list) {
    const Members members(value, ok);
    PortDecl port;
    port.name = members.text("name");
    auto type = parse_type(members.text("type"));
    if (type.ok()) {
      port.type = std::move(type).value();
    } else {
      *ok = false;
    }
    port.doc = members.text("doc");
    port.min = members.integer("min");
    port.max = members.integer("max");
    if (const Value* text = value.find("default")) {
      port.has_default = true;
      if (text->kind() == Value::Kind::kString) port.default_text = text->as_string();
    }
    ports.push_back(std::move(port));
  }
  return ports;
}

PixelMemory pixel_memory(const Members& members) {
  return {static_cast<uint64_t>(members.integer("per_pixel")),
          static_cast<uint64_t>(members.integer("per_result_pixel"))};
}

void memory_from_value(const Value& value, StepDecl* step, bool* ok) {
  const Members members(value, ok);
  step->memory_base = static_cast<uint64_t>(members.integer("base"));
  step->memory = pixel_memory(members);
  step->result_width = static_cast<int>(members.integer("result_width"));
  step->result_height = static_cast<int>(members.integer("result_height"));
  *ok = *ok && std::max(step->result_width, step->result_height) < step->with_count();
  for (const Value& item : members.list("more")) {
    const Members more(item, ok);
    step->more_memory.push_back(
        {static_cast<int>(more.integer("port")), more.text("value"), pixel_memory(more)});
    const int port = step->more_memory.back().port;
    *ok = *ok && port >= 0 && port < step->with_count();
  }
}

StepDecl step_from_value(const Value& value, bool* ok) {
  const Members members(value, ok);
  StepDecl step;
  step.name = members.text("name");
  step.major = static_cast<uint32_t>(members.integer("major"));
  step.minor = static_cast<uint32_t>(members.integer("minor"));
  const int64_t effect = members.integer("effect");
  const int64_t lane = members.integer("lane");
  if (effect < 0 || effect > static_cast<int64_t>(Effect::kOnce) || lane < 0 || lane >= kLanes) {
    *ok = false;
    return step;
  }
  step.effect = static_cast<Effect>(effect);
  step.lane = static_cast<Lane>(lane);
  step.doc = members.text("doc");
  step.plugin = members.text("plugin");
  step.inputs = ports_from_value(members.list("inputs"), ok);
  step.params = ports_from_value(members.list("params"), ok);
  step.outputs = ports_from_value(members.list("outputs"), ok);
  step.results = ports_from_value(members.list("results"), ok);
  for (const Value& item : members.list("reasons")) {
    const Members reason(item, ok);
    step.reasons.push_back({reason.text("name"), reason.text("doc"), reason.boolean("transient"),
                            reason.boolean("no_space")});
  }
  for (const Value& key : members.list("settings")) {
    if (key.kind() == Value::Kind::kString) step.settings.push_back(key.as_string());
  }
  const Value* memory = value.find("memory");
  memory_from_value(memory != nullptr ? *memory : Value(), &step, ok);
  return step;
}

}  // namespace

std::string declarations_to_json(const Declarations& declarations) {
  Value::List steps;
  for (const StepDecl& step : declarations.steps) steps.emplace_back(step_to_value(step));
  Value::List problems;
  for (const PluginProblem& problem : declarations.problems) {
    Value::Map one;
    one["file"] = problem.file;
    one["message"] = problem.message;
    one["number"] = problem.number;
    problems.emplace_back(std::move(one));
  }
  Value::Map map;
  map["steps"] = std::move(steps);
  map["problems"] = std::move(problems);
  return canonical_json(map);
}

Result<Declarations> declarations_from_json(std::string_view text) {
  auto parsed = parse_json(text);
  if (!parsed.ok()) return parsed.status();
  bool ok = true;
  const Members members(*parsed, &ok);
  Declarations declarations;
  for (const Value& step : members.list("steps")) {
    declarations.steps.push_back(step_from_value(step, &ok));
  }
  for (const Value& value : members.list("problems")) {
    const Members problem(value, &ok);
    declarations.problems.push_back({problem.text("file"), problem.text("message"),
                                     static_cast<int>(problem.integer("number"))});
  }
  if (!ok) {
    return Status::invalid(errors::kPluginDeclaration,
                           "the template process reported declarations that cannot be read");
  }
  return declarations;
}

void fill_defaults(const StepDecl& step, std::vector<Value>* with) {
  for (size_t i = 0; i < step.params.size(); i++) {
    const PortDecl& port = step.params[i];
    const size_t at = step.inputs.size() + i;
    if (!port.has_default || at >= with->size() || !(*with)[at].is_null()) continue;
    auto value = value_from_text(port.type, port.default_text);
    if (value.ok()) (*with)[at] = std::move(value).value();  // the loader has tried it
  }
}

bool is_step_name(std::string_view name) {
  if (name.empty() || name.size() > 64 || name[0] < 'a' || name[0] > 'z') return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

}  // namespace millrace
