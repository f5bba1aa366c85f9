#include "engine/pipeline/reader.h"

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

constexpr size_t kPipelineNameBytesMax = 63;

bool is_pipeline_name(std::string_view text) {
  if (text.empty() || text.size() > kPipelineNameBytesMax || text[0] < 'a' || text[0] > 'z')
    return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// The type that expressions see in a var. Recursion is bounded by kYamlDepthMax.
Type type_of(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kBool:
      return simple_type(Kind::kBool);
    case Value::Kind::kInt:
      return simple_type(Kind::kInt);
    case Value::Kind::kDouble:
      return simple_type(Kind::kFloat);
    case Value::Kind::kString:
      return simple_type(Kind::kString);
    case Value::Kind::kList: {
      if (value.as_list().empty()) return list_of(simple_type(Kind::kJson));
      Type first = type_of(value.as_list()[0]);
      for (const Value& element : value.as_list()) {
        if (!(type_of(element) == first)) return simple_type(Kind::kJson);
      }
      return list_of(std::move(first));
    }
    default:
      return simple_type(Kind::kJson);
  }
}

}  // namespace

PipelineReader::PipelineReader(const YamlDocument& document,
                               std::shared_ptr<const Catalogue> catalogue, Problems* problems)
    : document_(document), problems_(problems), graph_(std::make_shared<Graph>()) {
  graph_->catalogue = std::move(catalogue);
  declared_.problems = problems;
  declared_.document = &document;
}

std::shared_ptr<Graph> PipelineReader::read() {
  if (!is_map(document_.root(), "a pipeline")) return nullptr;
  const Fields top =
      known_fields(document_.root(), "a pipeline",
                   {"pipeline", "description", "inputs", "vars", "timeout", "steps", "outputs"},
                   {"on_failure", "finally", "queue", "triggers", "each", "secrets"});
  read_top(top);
  if (const Field* inputs = find(top, "inputs"); inputs != nullptr) read_inputs(*inputs->value);
  if (const Field* vars = find(top, "vars"); vars != nullptr) read_vars(*vars->value);
  if (const Field* steps = find(top, "steps"); steps != nullptr) {
    name_steps(*steps->value);
  } else {
    error(errors::kKeyMissing, document_.root().span, "the pipeline has no 'steps'");
  }
  graph_->steps.resize(declared_.steps.size());
  for (size_t i = 0; i < declared_.steps.size(); i++) read_step(i);
  if (const Field* outputs = find(top, "outputs"); outputs != nullptr)
    read_outputs(*outputs->value);
  check_edges();
  warn_unused();
  if (problems_->has_errors()) return nullptr;
  graph_->digest = sha256(normalised_graph(*graph_));
  return graph_;
}

void PipelineReader::read_top(const Fields& top) {
  const Field* name = find(top, "pipeline");
  if (name == nullptr) {
    error(errors::kKeyMissing, document_.root().span, "the file names no pipeline",
          "begin it with 'pipeline: NAME'");
  } else if (const std::string* words = text(*name->value, "'pipeline'"); words != nullptr) {
    graph_->name = *words;
    if (!is_pipeline_name(*words)) {
      error(errors::kNameInvalid, name->value->span,
            fmt::format("'{}' is no acceptable name of a pipeline", *words),
            fmt::format("names are a lower-case letter, then lower-case letters, digits, '_' and "
                        "'-', at most {}",
                        kPipelineNameBytesMax));
    }
  }
  if (const Field* description = find(top, "description"); description != nullptr) {
    const std::string* words = text(*description->value, "'description'");
    if (words != nullptr) graph_->description = *words;
  }
  if (const Field* timeout = find(top, "timeout"); timeout != nullptr) {
    graph_->timeout_ms = positive_duration(*timeout, "the pipeline").value_or(0);
  }
}

void PipelineReader::read_vars(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kEmpty || !is_map(node, "'vars'")) return;
  for (const Field& field : named_fields(node, "the vars", static_cast<size_t>(kInputsMax))) {
    const std::string what = fmt::format("var '{}'", field.name);
    if (field.value->kind == YamlNode::Kind::kEmpty) {
      error(errors::kShapeWrong, field.key->span, fmt::format("{} has no value", what));
      continue;
    }
    if (field.value->text.find("${{") != std::string::npos) {
      error(errors::kValueInvalid, field.value->span,
            fmt::format("{} is a constant and holds no expression", what));
    }
    auto value = constant(simple_type(Kind::kJson), *field.value, what);
    if (!value) continue;
    Declared::Var var;
    var.name = field.name;
    var.type = type_of(*value);
    var.at = field.key->span;
    var.value = *value;
    declared_.vars.push_back(std::move(var));
    graph_->vars.emplace(field.name, *std::move(value));
  }
}

void PipelineReader::read_outputs(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kEmpty || !is_map(node, "'outputs'")) return;
  for (const Field& field : named_fields(node, "the outputs", static_cast<size_t>(kInputsMax)))
    read_output(field);
}

void PipelineReader::read_output(const Field& field) {
  Reads reads;
  const Narrowed nothing;
  Slot slot;
  slot.what = slot.reader = fmt::format("output '{}'", field.name);
  slot.reads = &reads;
  slot.narrowed = &nothing;
  auto made = read_template(*field.value, slot);
  if (!made) return;
  OutputDecl output;
  output.name = field.name;
  output.type = made->type;
  output.source = *std::move(made);
  output.reads = reads.after;
  graph_->outputs.push_back(std::move(output));
}

void PipelineReader::warn_unused() {
  // What stands in an expression that could not be read may well be a use.
  if (problems_->has(errors::kExpressionSyntax) || problems_->has(errors::kExpressionTooLarge))
    return;
  for (const Declared::Input& input : declared_.inputs) {
    if (!input.used && input.type)
      problems_->warning(errors::kInputUnused, input.at,
                         fmt::format("the input '{}' is never used", input.name));
  }
  for (const Declared::Var& var : declared_.vars) {
    if (!var.used)
      problems_->warning(errors::kVarUnused, var.at,
                         fmt::format("the var '{}' is never used", var.name));
  }
}

ParsedPipeline parse_pipeline(std::string_view text, std::shared_ptr<const Catalogue> catalogue) {
  ParsedPipeline parsed;
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  std::string_view body = text;
  if (body.starts_with(kByteOrderMark)) body.remove_prefix(kByteOrderMark.size());
  Problems problems(body);
  const size_t control = [&] {
    for (size_t i = 0; i < body.size(); i++) {
      const auto byte = static_cast<uint8_t>(body[i]);
      if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f) return i;
    }
    return body.size();
  }();
  if (body.size() > kPipelineFileBytesMax) {
    problems.error(errors::kPipelineTooLarge, {0, 1},
                   fmt::format("the file has {} bytes, at most {} are allowed", body.size(),
                               kPipelineFileBytesMax));
  } else if (control < body.size()) {
    problems.error(errors::kYamlSyntax, {control, 1},
                   fmt::format("a control character (0x{:02x}) stands here",
                               static_cast<uint8_t>(body[control])));
  } else if (const size_t valid = utf8_prefix(body); valid < body.size()) {
    problems.error(errors::kYamlSyntax, {valid, 1}, "the file is not UTF-8 from here on");
  } else if (const auto document = YamlDocument::read(body, &problems)) {
    auto graph = PipelineReader(*document, std::move(catalogue), &problems).read();
    if (graph != nullptr) graph->source = text;
    parsed.graph = std::move(graph);
  }
  parsed.diagnostics = problems.finish();
  return parsed;
}

}  // namespace millrace
