#include "engine/pipeline/schema.h"

#include "engine/base/limits.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

constexpr const char* kName = "^[a-z][a-z0-9_]{0,62}$";
constexpr const char* kDuration = "^[0-9]+(ms|s|m|h|d)$";
constexpr const char* kSize = "^[0-9]+(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$";

Value word(const char* text) {
  return Value(text);
}

Value typed(const char* type) {
  return Value(Value::Map{{"type", word(type)}});
}

Value pattern(const char* text) {
  return Value(Value::Map{{"type", word("string")}, {"pattern", word(text)}});
}

Value strings(std::initializer_list<const char*> words) {
  Value::List list;
  for (const char* text : words) list.push_back(word(text));
  return Value(std::move(list));
}

Value one_of(std::initializer_list<const char*> words) {
  return Value(Value::Map{{"enum", strings(words)}});
}

Value any_of(Value::List list) {
  return Value(Value::Map{{"anyOf", Value(std::move(list))}});
}

Value list_of_strings() {
  return Value(Value::Map{{"type", word("array")}, {"items", typed("string")}});
}

Value described(Value schema, const std::string& text) {
  if (!text.empty()) schema.as_map()["description"] = Value(text);
  return schema;
}

// A value of a port as a file may write it: itself, or text with an expression. Recursion follows
// the type.
Value port_value(const PortDecl& port, const Type& type) {
  const Value expression(Value::Map{{"type", word("string")}, {"pattern", word("\\$\\{\\{")}});
  switch (type.kind) {
    case Kind::kBool:
      return any_of({typed("boolean"), one_of({"true", "false"}), expression});
    case Kind::kInt: {
      Value::Map number{{"type", word("integer")}};
      if (port.min != 0 || port.max != 0) {
        number["minimum"] = Value(port.min);
        number["maximum"] = Value(port.max);
      }
      return any_of({Value(std::move(number)), pattern("^-?[0-9]+$"), expression});
    }
    case Kind::kFloat:
      return any_of({typed("number"), typed("string")});
    case Kind::kDuration:
      return any_of({pattern(kDuration), expression});
    case Kind::kSize:
      return any_of({pattern(kSize), expression});
    case Kind::kEnum: {
      Value::List names;
      for (const std::string& name : type.names) names.emplace_back(name);
      return any_of({Value(Value::Map{{"enum", Value(std::move(names))}}), expression});
    }
    case Kind::kBlob:
    case Kind::kImage:
      return expression;
    case Kind::kList:
      return any_of(
          {Value(Value::Map{{"type", word("array")}, {"items", port_value(port, *type.element)}}),
           expression});
    case Kind::kMap:
      return any_of({Value(Value::Map{{"type", word("object")},
                                      {"additionalProperties", port_value(port, *type.element)}}),
                     expression});
    case Kind::kString:
    case Kind::kUrl:
      // YAML editors read 010 or on as other things than text; the pipeline language does not.
      return any_of({typed("string"), typed("number"), typed("boolean")});
    case Kind::kJson:
    case Kind::kSecret:
      break;
  }
  return Value(Value::Map{});
}

Value object(Value::Map properties, Value required) {
  Value::Map map{{"type", word("object")},
                 {"additionalProperties", Value(false)},
                 {"properties", Value(std::move(properties))}};
  if (!required.is_null()) map["required"] = std::move(required);
  return Value(std::move(map));
}

Value with_schema(const StepDecl& step) {
  Value::Map ports;
  Value::List required;
  for (int i = 0; i < step.with_count(); i++) {
    const PortDecl& port = step.with_at(i);
    ports[port.name] = described(port_value(port, port.type), port.doc);
    if (!port.type.optional && !port.has_default) required.emplace_back(port.name);
  }
  return object(std::move(ports), required.empty() ? Value() : Value(std::move(required)));
}

Value retry_schema(const StepDecl* step) {
  Value reasons = list_of_strings();
  if (step != nullptr) {
    Value::List names = strings({"timeout", "worker_died"}).as_list();
    for (const ReasonDecl& reason : step->reasons) names.emplace_back(reason.name);
    reasons = Value(Value::Map{{"type", word("array")},
                               {"items", Value(Value::Map{{"enum", Value(std::move(names))}})}});
  }
  return object({{"max", Value(Value::Map{{"type", word("integer")},
                                          {"minimum", Value(1)},
                                          {"maximum", Value(kAttemptsMax)}})},
                 {"backoff", pattern("^[0-9]+(ms|s|m|h|d)\\.\\.[0-9]+(ms|s|m|h|d)$")},
                 {"jitter", one_of({"full", "none"})},
                 {"on", reasons},
                 {"except", reasons},
                 {"give_up_after", pattern(kDuration)}},
                Value());
}

Value step_schema(const Catalogue& catalogue) {
  Value::List uses, cases;
  for (const StepDecl& step : catalogue.steps()) {
    uses.push_back(described(Value(Value::Map{{"const", Value(step.name)}}), step.doc));
    Value::Map condition{
        {"properties", Value(Value::Map{{"use", Value(Value::Map{{"const", Value(step.name)}})}})}};
    Value::Map then{{"properties", Value(Value::Map{{"with", with_schema(step)},
                                                    {"retry", retry_schema(&step)}})}};
    const bool needs_with = with_schema(step).find("required") != nullptr;
    if (needs_with) then["required"] = strings({"with"});
    cases.emplace_back(
        Value::Map{{"if", Value(std::move(condition))}, {"then", Value(std::move(then))}});
  }
  Value needs =
      any_of({list_of_strings(),
              Value(Value::Map{{"type", word("object")},
                               {"additionalProperties", one_of({"succeeded", "done"})}})});
  Value step = object({{"use", any_of(std::move(uses))},
                       {"with", typed("object")},
                       {"if", any_of({typed("string"), typed("boolean")})},
                       {"needs", std::move(needs)},
                       {"timeout", pattern(kDuration)},
                       {"deadline", pattern(kDuration)},
                       {"retry", retry_schema(nullptr)}},
                      strings({"use"}));
  step.as_map()["allOf"] = Value(std::move(cases));
  return step;
}

Value named(Value schema) {
  return Value(Value::Map{{"type", word("object")},
                          {"propertyNames", Value(Value::Map{{"pattern", word(kName)}})},
                          {"additionalProperties", std::move(schema)}});
}

Value input_schema() {
  Value long_form = object({{"type", typed("string")},
                            {"media", list_of_strings()},
                            {"min", any_of({typed("number"), typed("string")})},
                            {"max", any_of({typed("number"), typed("string")})},
                            {"default", Value(Value::Map{})},
                            {"description", typed("string")}},
                           strings({"type"}));
  return any_of({typed("string"), std::move(long_form)});
}

}  // namespace

Value pipeline_json_schema(const Catalogue& catalogue) {
  Value steps = named(step_schema(catalogue));
  steps.as_map()["minProperties"] = Value(1);
  steps.as_map()["maxProperties"] = Value(kStepsMax);
  Value schema = object({{"pipeline", pattern("^[a-z][a-z0-9_-]{0,62}$")},
                         {"description", typed("string")},
                         {"inputs", named(input_schema())},
                         {"vars", named(Value(Value::Map{}))},
                         {"timeout", pattern(kDuration)},
                         {"steps", std::move(steps)},
                         {"outputs", named(Value(Value::Map{}))}},
                        strings({"pipeline", "steps"}));
  schema.as_map()["$schema"] = word("https://json-schema.org/draft/2020-12/schema");
  schema.as_map()["title"] = word("A millrace pipeline");
  return schema;
}

}  // namespace millrace
