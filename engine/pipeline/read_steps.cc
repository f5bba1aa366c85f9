// The part of the pipeline reader that reads `steps`.
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "engine/pipeline/reader.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

// Keys of a step, and those that the language has and this version does not.
const std::vector<std::string_view> kStepKeys = {"use",     "with",     "if",   "needs",
                                                 "timeout", "deadline", "retry"};
const std::vector<std::string_view> kLaterStepKeys = {
    "each", "as", "key", "parallel", "max_items", "tolerate", "undo", "cache", "on_error"};
constexpr std::string_view kLaterUses[] = {"sleep", "wait", "approve"};
// How any step can fail, beside its own reasons.
constexpr std::string_view kEngineReasons[] = {"timeout", "worker_died"};

}  // namespace

void PipelineReader::name_steps(const YamlNode& node) {
  if (!is_map(node, "'steps'")) return;
  const Fields fields = named_fields(node, "the steps", static_cast<size_t>(kStepsMax));
  if (node.content.empty()) error(errors::kShapeWrong, node.span, "'steps' holds no step");
  for (const Field& field : fields) {
    Declared::Step step;
    step.id = field.name;
    step.at = field.key->span;
    if (is_map(*field.value, fmt::format("step '{}'", field.name)))
      step.decl = find_use(*field.value, field.name);
    declared_.steps.push_back(std::move(step));
    step_nodes_.push_back(field.value);
  }
}

const StepDecl* PipelineReader::find_use(const YamlNode& step, const std::string& id) {
  const YamlNode* use = nullptr;
  for (size_t i = 0; i + 1 < step.content.size(); i += 2) {
    if (document_.at(step.content[i]).text == "use") use = &document_.at(step.content[i + 1]);
  }
  if (use == nullptr) {
    error(errors::kKeyMissing, step.span, fmt::format("step '{}' has no 'use'", id),
          "name the step it runs: use: grayscale");
    return nullptr;
  }
  const std::string* name = text(*use, fmt::format("'use' of step '{}'", id));
  if (name == nullptr) return nullptr;
  const StepDecl* decl = graph_->catalogue->find(*name);
  if (decl != nullptr) return decl;
  const bool later =
      name->starts_with("pipeline:") ||
      std::find(std::begin(kLaterUses), std::end(kLaterUses), *name) != std::end(kLaterUses);
  if (later) {
    error(errors::kNotInThisVersion, use->span,
          fmt::format("'use: {}' is not supported by this version", *name));
    return nullptr;
  }
  Names known;
  for (const StepDecl& other : graph_->catalogue->steps()) known.push_back(other.name);
  std::string hint = did_you_mean(*name, known);
  if (hint.empty()) hint = "'millrace steps' lists those that the plugins offer";
  error(errors::kStepKindUnknown, use->span,
        fmt::format("step '{}' uses '{}', no plugin offers such a step", id, *name),
        std::move(hint));
  return nullptr;
}

void PipelineReader::read_step(size_t index) {
  const YamlNode& node = *step_nodes_[index];
  StepNode& step = graph_->steps[index];
  step.id = declared_.steps[index].id;
  step.decl = declared_.steps[index].decl;
  if (node.kind != YamlNode::Kind::kMap) return;  // reported
  const std::string what = fmt::format("step '{}'", step.id);
  const Fields fields = known_fields(node, what, kStepKeys, kLaterStepKeys);
  Reads reads;
  Narrowed narrowed;
  if (const Field* condition = find(fields, "if"); condition != nullptr) {
    read_condition(*condition->value, &step, &narrowed, &reads);
  }
  const Field* with = find(fields, "with");
  Field use;
  use.key = find(fields, "use") == nullptr ? nullptr : find(fields, "use")->key;
  read_with(with == nullptr ? nullptr : with->value, use.key == nullptr ? nullptr : &use, &step,
            narrowed, &reads);
  if (const Field* needs = find(fields, "needs"); needs != nullptr)
    read_needs(*needs->value, index, &reads);
  if (const Field* timeout = find(fields, "timeout"); timeout != nullptr) {
    step.timeout_ms = positive_duration(*timeout, what).value_or(step.timeout_ms);
  }
  if (const Field* deadline = find(fields, "deadline"); deadline != nullptr) {
    step.deadline_ms = positive_duration(*deadline, what).value_or(0);
  }
  if (const Field* retry = find(fields, "retry"); retry != nullptr)
    read_retry(*retry->value, &step);
  step.after = reads.after;
  step.require = reads.require;
}

void PipelineReader::read_condition(const YamlNode& node, StepNode* step, Narrowed* narrowed,
                                    Reads* reads) {
  const std::string what = fmt::format("'if' of step '{}'", step->id);
  const std::string* condition = text(node, what);
  if (condition == nullptr) return;
  const bool wrapped = condition->find("${{") != std::string::npos;
  if (wrapped) {
    error(errors::kExpressionSyntax, document_.inside(node, condition->find("${{"), 3),
          fmt::format("{} is an expression by itself", what), "write it without ${{ }}");
    return;
  }
  Checker checker(&declared_, &node, 0, fmt::format("step '{}'", step->id), reads, {});
  NodePtr root = checker.check(*condition, nullptr);
  *narrowed = checker.present_when_true();
  if (root == nullptr) return;
  const Span whole = document_.inside(node, 0, condition->size());
  if (root->type.optional) {
    error(errors::kOptionalUnhandled, whole, fmt::format("{} may be absent", what),
          "give it a fallback with '?\?'");
    return;
  }
  if (root->type.kind != Type::Kind::kBool) {
    error(errors::kTypeMismatch, whole,
          fmt::format("{} is bool, this is {}", what, root->type.text()),
          "compare it with something, or ask has()");
    return;
  }
  if (root->constant && !root->value.as_bool()) {
    error(errors::kStepUnreachable, whole,
          fmt::format("step '{}' can never run: its 'if' is always false", step->id),
          "remove the step");
  }
  step->condition = Expression(std::shared_ptr<const ExpressionNode>(std::move(root)));
}

void PipelineReader::read_with(const YamlNode* node, const Field* use, StepNode* step,
                               const Narrowed& narrowed, Reads* reads) {
  const std::string step_text = fmt::format("step '{}'", step->id);
  if (step->decl != nullptr) {
    step->with.resize(static_cast<size_t>(step->decl->with_count()));
    step->defaults.resize(step->with.size());
  }
  Fields fields;
  if (node != nullptr && node->kind != YamlNode::Kind::kEmpty) {
    const std::string what = fmt::format("'with' of {}", step_text);
    if (!is_map(*node, what)) return;
    fields = all_fields(*node, what);
  }
  // Without a declaration the expressions are still read: their own problems count.
  Slot slot;
  slot.reader = step_text;
  slot.reads = reads;
  slot.narrowed = &narrowed;
  std::vector<bool> given(step->with.size(), false);
  for (const Field& field : fields) {
    slot.what = fmt::format("'{}' of {}", field.name, step_text);
    if (step->decl == nullptr) {
      if (field.value->kind == YamlNode::Kind::kScalar) read_template(*field.value, slot);
      continue;
    }
    const int port = step->decl->with_port(field.name);
    if (port < 0) {
      Names known;
      std::string all;
      for (int i = 0; i < step->decl->with_count(); i++) {
        known.push_back(step->decl->with_at(i).name);
        all += (i == 0 ? "" : ", ") + step->decl->with_at(i).name;
      }
      const std::string meant = nearest(field.name, known);
      if (!meant.empty()) given[static_cast<size_t>(step->decl->with_port(meant))] = true;
      std::string hint = did_you_mean(field.name, known);
      if (hint.empty()) hint = all.empty() ? "it takes none" : fmt::format("it takes {}", all);
      error(errors::kParameterUnknown, field.key->span,
            fmt::format("{} passes '{}', '{}' takes no such parameter", step_text, field.name,
                        step->decl->name),
            std::move(hint));
      continue;
    }
    const PortDecl& decl = step->decl->with_at(port);
    Type wanted = decl.type;
    wanted.optional = wanted.optional || decl.has_default;
    slot.wanted = &wanted;
    slot.port = &decl;
    given[static_cast<size_t>(port)] = true;
    if (auto made = read_template(*field.value, slot))
      step->with[static_cast<size_t>(port)] = *std::move(made);
  }
  for (size_t i = 0; i < given.size(); i++) {
    const PortDecl& decl = step->decl->with_at(static_cast<int>(i));
    if (decl.has_default) {
      auto value = value_from_text(decl.type, decl.default_text);
      if (value.ok())
        step->defaults[i] =
            *std::move(value);  // a plugin with a bad default was refused when it loaded
    }
    if (given[i] || decl.type.optional || decl.has_default) continue;
    const Span at = use != nullptr && use->key != nullptr ? use->key->span : declared_.steps[0].at;
    error(errors::kParameterMissing, at,
          fmt::format("{} lacks '{}' ({}), which '{}' needs", step_text, decl.name,
                      decl.type.text(), step->decl->name),
          fmt::format("add it under 'with'{}{}", decl.doc.empty() ? "" : ": ", decl.doc));
  }
}

// -1, reported, when there is no such step.
int PipelineReader::needed_step(const YamlNode& node, size_t self) {
  const std::string& id = declared_.steps[self].id;
  const std::string* name = text(node, fmt::format("a step in 'needs' of step '{}'", id));
  if (name == nullptr) return -1;
  Names known;
  for (size_t i = 0; i < declared_.steps.size(); i++) {
    if (declared_.steps[i].id == *name) return static_cast<int>(i);
    if (i != self) known.push_back(declared_.steps[i].id);
  }
  error(errors::kStepReferenceUnknown, node.span,
        fmt::format("step '{}' needs '{}', no step is named '{}'", id, *name, *name),
        did_you_mean(*name, known));
  return -1;
}

void PipelineReader::read_needs(const YamlNode& node, size_t self, Reads* reads) {
  const std::string what = fmt::format("'needs' of step '{}'", declared_.steps[self].id);
  if (node.kind == YamlNode::Kind::kList) {
    for (const uint32_t child : node.content) {
      const int needed = needed_step(document_.at(child), self);
      if (needed < 0) continue;
      reads->after |= StepSet{1} << needed;
      reads->require |= StepSet{1} << needed;
    }
    return;
  }
  if (node.kind != YamlNode::Kind::kMap) {
    error(errors::kShapeWrong, node.span, fmt::format("{} must be a list or a map", what),
          node.kind == YamlNode::Kind::kScalar ? fmt::format("write [{}]", node.text) : "");
    return;
  }
  for (const Field& field : all_fields(node, what)) {
    const int needed = needed_step(*field.key, self);
    Type ends = simple_type(Type::Kind::kEnum);
    ends.names = {"succeeded", "done"};
    const auto end = read_as(ends, *field.value, what);
    if (needed < 0 || !end) continue;
    reads->after |= StepSet{1} << needed;
    if (end->as_string() == "succeeded") reads->require |= StepSet{1} << needed;
  }
}

void PipelineReader::read_retry(const YamlNode& node, StepNode* step) {
  const std::string what = fmt::format("'retry' of step '{}'", step->id);
  if (!is_map(node, what)) return;
  const Fields fields =
      known_fields(node, what, {"max", "backoff", "jitter", "on", "except", "give_up_after"}, {});
  Retry& retry = step->retry;
  for (const Field& field : fields) {
    const std::string name = fmt::format("'{}' of {}", field.name, what);
    if (field.name == "max") {
      const auto max = read_as(simple_type(Type::Kind::kInt), *field.value, name);
      if (max && (max->as_int() < 1 || max->as_int() > kAttemptsMax)) {
        error(errors::kValueOutOfRange, field.value->span,
              fmt::format("{} takes 1 to {}, this is {}", name, kAttemptsMax, max->as_int()));
      } else if (max) {
        retry.max = static_cast<uint32_t>(max->as_int());
      }
    } else if (field.name == "backoff") {
      read_backoff(field, name, &retry);
    } else if (field.name == "jitter") {
      Type jitter = simple_type(Type::Kind::kEnum);
      jitter.names = {"full", "none"};
      const auto word = read_as(jitter, *field.value, name);
      if (word) retry.jitter = word->as_string() == "full" ? Jitter::kFull : Jitter::kNone;
    } else if (field.name == "give_up_after") {
      retry.give_up_after_ms = positive_duration(field, what).value_or(0);
    } else {
      read_reasons(field, step->decl, name, field.name == "on" ? &retry.on : &retry.except);
    }
  }
  for (const std::string& reason : retry.on) {
    if (std::find(retry.except.begin(), retry.except.end(), reason) == retry.except.end()) continue;
    error(errors::kKeyConflict, find(fields, "except")->key->span,
          fmt::format("{} names '{}' both in 'on' and in 'except'", what, reason));
  }
}

void PipelineReader::read_backoff(const Field& field, const std::string& what, Retry* retry) {
  const std::string* range = text(*field.value, what);
  if (range == nullptr) return;
  const size_t dots = range->find("..");
  std::optional<DurationMs> from, to;
  if (dots != std::string::npos) {
    from = parse_duration(std::string_view(*range).substr(0, dots));
    to = parse_duration(std::string_view(*range).substr(dots + 2));
  }
  if (!from || !to) {
    error(errors::kValueInvalid, field.value->span,
          fmt::format("{} cannot be read from '{}'", what, *range),
          "write FROM..TO, such as 1s..30s");
  } else if (*from == 0 || *to == 0) {
    error(errors::kValueOutOfRange, field.value->span, fmt::format("{} must be more than 0", what));
  } else if (*from > *to) {
    error(errors::kKeyConflict, field.value->span,
          fmt::format("{} goes from {} down to {}", what, format_duration(*from),
                      format_duration(*to)),
          "the shorter time stands first");
  } else {
    retry->backoff_from_ms = *from;
    retry->backoff_to_ms = *to;
  }
}

void PipelineReader::read_reasons(const Field& field, const StepDecl* decl, const std::string& what,
                                  std::vector<std::string>* out) {
  if (field.value->kind != YamlNode::Kind::kList) {
    error(errors::kShapeWrong, field.value->span, fmt::format("{} must be a list of reasons", what),
          "write [timeout]");
    return;
  }
  Names known(std::begin(kEngineReasons), std::end(kEngineReasons));
  if (decl != nullptr) {
    for (const ReasonDecl& reason : decl->reasons) known.push_back(reason.name);
  }
  for (const uint32_t child : field.value->content) {
    const YamlNode& element = document_.at(child);
    const std::string* reason = text(element, what);
    if (reason == nullptr || decl == nullptr) continue;
    if (std::find(known.begin(), known.end(), *reason) == known.end()) {
      std::string hint = did_you_mean(*reason, known);
      if (hint.empty()) {
        for (const std::string_view name : known)
          hint += (hint.empty() ? "its reasons are " : ", ") + std::string(name);
      }
      error(errors::kReasonUnknown, element.span,
            fmt::format("{}: '{}' never fails with '{}'", what, decl->name, *reason),
            std::move(hint));
    } else if (std::find(out->begin(), out->end(), *reason) != out->end()) {
      error(errors::kKeyDuplicate, element.span, fmt::format("{} names '{}' twice", what, *reason));
    } else {
      out->push_back(*reason);
    }
  }
}

}  // namespace millrace
