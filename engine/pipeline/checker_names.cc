// The part of the checker that knows what inputs, steps, job and vars are, and what has() makes
// certain.
#include "engine/base/errors.h"
#include "engine/pipeline/checker.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

constexpr std::string_view kRoots[] = {"inputs", "steps", "job", "vars"};

Type labels_type() {
  Type type = simple_type(Kind::kMap);
  type.element = std::make_shared<const Type>(simple_type(Kind::kString));
  return type;
}

}  // namespace

bool Checker::is_root(const Syntax& syntax, std::string_view wanted) const {
  if (syntax.kind != Syntax::Kind::kName || syntax.name != wanted) return false;
  return std::none_of(locals_.begin(), locals_.end(),
                      [&](const Local& l) { return l.name == wanted; });
}

NodePtr Checker::name(const Syntax& syntax, const Type*) {
  for (size_t i = locals_.size(); i-- > 0;) {
    if (locals_[i].name != syntax.name) continue;
    NodePtr node = make(Op::kLocal, locals_[i].type);
    node->index = static_cast<int>(locals_.size() - 1 - i);
    node->name = syntax.name;
    return node;
  }
  for (const std::string_view root : kRoots) {
    if (syntax.name != root) continue;
    error(errors::kTypeMismatch, syntax.at, fmt::format("'{}' is no value by itself", root),
          root == "steps" ? "write steps.STEP.OUTPUT" : fmt::format("write {}.NAME", root));
    return nullptr;
  }
  std::vector<std::string_view> known(std::begin(kRoots), std::end(kRoots));
  for (const Local& local : locals_) known.push_back(local.name);
  std::string hint;
  if (syntax.name == "secrets") {
    hint = "this server's configuration names no secrets";
  } else if (syntax.name == "failure") {
    hint = "'failure' exists in on_failure steps only, which this version does not have";
  } else {
    for (const Declared::Input& in : declared_->inputs) {
      if (in.name == syntax.name) hint = fmt::format("did you mean 'inputs.{}'?", in.name);
    }
    for (const Declared::Step& step : declared_->steps) {
      if (step.id == syntax.name) hint = fmt::format("did you mean 'steps.{}'?", step.id);
    }
    if (hint.empty()) hint = did_you_mean(syntax.name, known);
    if (hint.empty()) hint = "text needs quotes; names begin with inputs, steps, job or vars";
  }
  error(errors::kNameUnknown, syntax.at,
        fmt::format("{} uses the name '{}', which does not exist", reader_, syntax.name),
        std::move(hint));
  return nullptr;
}

NodePtr Checker::reference(const Syntax& syntax, const Type* wanted, bool lenient,
                           bool* is_reference) {
  *is_reference = false;
  if (syntax.kind != Syntax::Kind::kMember) return nullptr;
  const Syntax& base = *syntax.args[0];
  *is_reference = true;
  if (is_root(base, "inputs")) return input(syntax, lenient);
  if (is_root(base, "job")) return job(syntax);
  if (is_root(base, "vars")) return var(syntax, wanted);
  if (is_root(base, "steps")) {  // steps.ID without an output
    const bool known = std::any_of(declared_->steps.begin(), declared_->steps.end(),
                                   [&](const Declared::Step& s) { return s.id == syntax.name; });
    if (!known) return step_output(syntax, syntax, lenient);
    error(errors::kTypeMismatch, syntax.at,
          fmt::format("the step '{}' is no value by itself", syntax.name),
          fmt::format("name one of its outputs: steps.{}.NAME", syntax.name));
    return nullptr;
  }
  if (base.kind == Syntax::Kind::kMember && is_root(*base.args[0], "steps")) {
    return step_output(base, syntax, lenient);
  }
  *is_reference = false;
  return nullptr;
}

NodePtr Checker::input(const Syntax& syntax, bool lenient) {
  for (size_t i = 0; i < declared_->inputs.size(); i++) {
    Declared::Input& found = declared_->inputs[i];
    if (found.name != syntax.name) continue;
    found.used = true;
    if (!found.type) return nullptr;
    NodePtr node = make(Op::kInput, *found.type);
    if (is_narrowed(path_of(syntax))) node->type.optional = false;
    node->index = static_cast<int>(i);
    node->lenient = lenient;
    node->name = "inputs." + found.name;
    return node;
  }
  std::vector<std::string_view> known;
  for (const Declared::Input& in : declared_->inputs) known.push_back(in.name);
  error(
      errors::kInputReferenceUnknown, syntax.name_at,
      fmt::format("{} reads the input '{}', the pipeline has no such input", reader_, syntax.name),
      did_you_mean(syntax.name, known));
  const std::string meant = nearest(syntax.name, known);
  for (Declared::Input& in : declared_->inputs) in.used = in.used || in.name == meant;
  return nullptr;
}

NodePtr Checker::step_output(const Syntax& step, const Syntax& port, bool lenient) {
  size_t index = 0;
  while (index < declared_->steps.size() && declared_->steps[index].id != step.name) index++;
  if (index == declared_->steps.size()) {
    std::vector<std::string_view> known;
    for (const Declared::Step& s : declared_->steps) known.push_back(s.id);
    const std::string what = &step == &port ? step.name : step.name + "." + port.name;
    error(errors::kStepReferenceUnknown, step.name_at,
          fmt::format("{} reads '{}', no step is named '{}'", reader_, what, step.name),
          did_you_mean(step.name, known));
    return nullptr;
  }
  const bool narrowed = is_narrowed(path_of(port));
  reads_->after |= StepSet{1} << index;
  if (!lenient && !narrowed) reads_->require |= StepSet{1} << index;
  const StepDecl* decl = declared_->steps[index].decl;
  if (decl == nullptr) return nullptr;
  const int number = decl->output_port(port.name);
  if (number < 0) {
    std::vector<std::string_view> known;
    std::string all;
    for (int i = 0; i < decl->output_count(); i++) {
      known.push_back(decl->output_at(i).name);
      all += (i == 0 ? "" : ", ") + decl->output_at(i).name;
    }
    std::string hint = did_you_mean(port.name, known);
    if (hint.empty()) hint = all.empty() ? "it has none" : fmt::format("it has {}", all);
    error(errors::kOutputReferenceUnknown, port.name_at,
          fmt::format("{} reads '{}.{}', but '{}' ({}) has no output '{}'", reader_, step.name,
                      port.name, step.name, decl->name, port.name),
          std::move(hint));
    return nullptr;
  }
  NodePtr node = make(Op::kStepOutput, decl->output_at(number).type);
  if (lenient) node->type.optional = true;
  if (narrowed) node->type.optional = false;
  node->lenient = lenient;
  node->index = static_cast<int>(index);
  node->port = number;
  node->name = fmt::format("steps.{}.{}", step.name, port.name);
  return node;
}

NodePtr Checker::job(const Syntax& syntax) {
  constexpr std::string_view kFields[] = {"id", "pipeline", "created_at", "labels"};
  for (size_t i = 0; i < std::size(kFields); i++) {
    if (syntax.name != kFields[i]) continue;
    const bool labels = static_cast<JobField>(i) == JobField::kLabels;
    NodePtr node = make(Op::kJob, labels ? labels_type() : simple_type(Kind::kString));
    node->index = static_cast<int>(i);
    node->name = "job." + syntax.name;
    return node;
  }
  error(errors::kNameUnknown, syntax.name_at,
        fmt::format("{} reads 'job.{}'; a job has id, pipeline, created_at and labels", reader_,
                    syntax.name),
        did_you_mean(syntax.name, {std::begin(kFields), std::end(kFields)}));
  return nullptr;
}

NodePtr Checker::var(const Syntax& syntax, const Type* wanted) {
  std::vector<std::string_view> known;
  for (Declared::Var& var : declared_->vars) {
    known.push_back(var.name);
    if (var.name != syntax.name) continue;
    var.used = true;
    NodePtr node = make(Op::kVar, var.type);
    node->value = var.value;
    node->name = "vars." + var.name;
    return text_as(std::move(node), wanted, syntax.at);
  }
  error(errors::kNameUnknown, syntax.name_at,
        fmt::format("{} reads 'vars.{}', no such var is declared", reader_, syntax.name),
        did_you_mean(syntax.name, known));
  return nullptr;
}

std::string Checker::path_of(const Syntax& syntax) {
  if (syntax.kind == Syntax::Kind::kName) return syntax.name;
  std::string last;
  if (syntax.kind == Syntax::Kind::kMember) {
    last = syntax.name;
  } else if (syntax.kind == Syntax::Kind::kIndex &&
             syntax.args[1]->kind == Syntax::Kind::kLiteral &&
             syntax.args[1]->value.kind() == Value::Kind::kString) {
    last = syntax.args[1]->value.as_string();
  } else {
    return {};
  }
  const std::string base = path_of(*syntax.args[0]);
  return base.empty() ? base : base + '.' + last;
}

// Adds the paths that are certainly present when the condition is `holds`.
void Checker::present_if(const Syntax& syntax, bool holds, Narrowed* found) {
  using S = Syntax::Kind;
  if (syntax.kind == S::kNot) {
    present_if(*syntax.args[0], !holds, found);
  } else if (syntax.kind == (holds ? S::kAnd : S::kOr)) {
    for (const SyntaxPtr& arg : syntax.args) present_if(*arg, holds, found);
  } else if (holds && syntax.kind == S::kCall && syntax.name == "has" && syntax.args.size() == 1) {
    // has(a.b.c) makes a.b certain too.
    for (const Syntax* at = syntax.args[0].get();; at = at->args[0].get()) {
      std::string path = path_of(*at);
      if (path.find('.') == std::string::npos) break;
      found->push_back(std::move(path));
    }
  }
}

bool Checker::is_narrowed(const std::string& path) const {
  if (path.empty()) return false;
  // A local that hides a root would make the path mean something else.
  for (const Local& local : locals_) {
    if (path.starts_with(local.name + '.')) return false;
  }
  return std::find(narrowed_.begin(), narrowed_.end(), path) != narrowed_.end();
}

NodePtr Checker::with_narrowed(const Syntax& syntax, const Type* wanted, bool lenient,
                               Narrowed more) {
  const size_t before = narrowed_.size();
  narrowed_.insert(narrowed_.end(), more.begin(), more.end());
  NodePtr node = node_of(syntax, wanted, lenient);
  narrowed_.resize(before);
  return node;
}

}  // namespace millrace
