// Checker: gives an expression's names and operators their meaning and types. Internal to the
// folder.
//
// All problems of an expression are reported; a part that has one has no node (null), and what
// stands around it is checked as far as it can be without.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/expression_node.h"
#include "engine/pipeline/graph.h"
#include "engine/pipeline/problems.h"
#include "engine/pipeline/syntax.h"
#include "engine/pipeline/yaml.h"

namespace millrace {

// What the names of a file mean, known before its first expression is checked. Uses are noted in
// it.
struct Declared {
  struct Input {
    std::string name;
    std::optional<Type>
        type;  // as expressions see it: present when there is a default. Nothing: it has a problem
    Span at;
    bool used = false;
  };
  struct Step {
    std::string id;
    const StepDecl* decl = nullptr;  // null: its `use` has a problem
    Span at;
  };
  struct Var {
    std::string name;
    Value value;
    Type type;
    Span at;
    bool used = false;
  };
  std::vector<Input> inputs;
  std::vector<Step> steps;
  std::vector<Var> vars;
  Problems* problems = nullptr;
  const YamlDocument* document = nullptr;
};

// The steps that something reads.
struct Reads {
  StepSet after = 0;
  StepSet require = 0;
};

// Static paths ("inputs.callback") known to be present.
using Narrowed = std::vector<std::string>;

class Checker {
 public:
  // The expression stands in `scalar` from byte `base`; `reader` is who reads, as messages name it:
  // "step 'gray'".
  Checker(Declared* declared, const YamlNode* scalar, size_t base, std::string reader, Reads* reads,
          Narrowed narrowed)
      : declared_(declared),
        scalar_(scalar),
        base_(base),
        reader_(std::move(reader)),
        reads_(reads),
        narrowed_(std::move(narrowed)) {}

  // Parses and checks `text`; null when there is a problem (reported). `wanted` gives texts in it
  // the type of an enum, url, duration or size; whether the result fits is the caller's question.
  NodePtr check(std::string_view text, const Type* wanted);
  // What is certainly present where the expression just checked is true, also when it has a
  // problem.
  const Narrowed& present_when_true() const { return present_when_true_; }
  // Wraps `node` so that it yields `to`, where that takes a conversion.
  static NodePtr converted(NodePtr node, const Type& to);
  void error(int number, Span at, std::string message, std::string hint = {});

 private:
  struct Local {
    std::string name;
    Type type;
  };
  using Op = ExpressionNode::Op;

  // checker.cc
  NodePtr node_of(const Syntax& syntax, const Type* wanted, bool lenient);
  NodePtr literal(const Syntax& syntax, const Type* wanted);
  NodePtr text_as(NodePtr node, const Type* wanted, Span at);
  NodePtr list(const Syntax& syntax, const Type* wanted);
  NodePtr map(const Syntax& syntax, const Type* wanted);
  NodePtr negation(const Syntax& syntax);
  NodePtr ternary(const Syntax& syntax, const Type* wanted);
  NodePtr fallback(const Syntax& syntax, const Type* wanted, bool lenient);
  NodePtr logic(const Syntax& syntax);
  NodePtr member(const Syntax& syntax, bool lenient);
  NodePtr index(const Syntax& syntax, bool lenient);
  bool present(const ExpressionNode& node, const Syntax& syntax);
  bool boolean(const ExpressionNode& node, const Syntax& syntax);
  std::optional<Type> common(const Type& a, const Type& b) const;
  NodePtr folded(NodePtr node, const Syntax& syntax);
  // checker_operators.cc
  NodePtr compare(const Syntax& syntax);
  NodePtr arithmetic(const Syntax& syntax);
  NodePtr call(const Syntax& syntax);
  NodePtr method(const Syntax& syntax);
  NodePtr has(const Syntax& syntax);
  NodePtr size(const Syntax& syntax, const Syntax& argument);
  NodePtr text_function(const Syntax& syntax, Op op);
  NodePtr macro(const Syntax& syntax, Op op);
  bool compile_pattern(ExpressionNode* node, const Syntax& syntax);
  NodePtr arguments_wrong(const Syntax& syntax, std::string_view usage);
  // checker_names.cc
  bool is_root(const Syntax& syntax, std::string_view name) const;
  NodePtr name(const Syntax& syntax, const Type* wanted);
  NodePtr reference(const Syntax& syntax, const Type* wanted, bool lenient, bool* is_reference);
  NodePtr input(const Syntax& syntax, bool lenient);
  NodePtr step_output(const Syntax& step, const Syntax& port, bool lenient);
  NodePtr job(const Syntax& syntax);
  NodePtr var(const Syntax& syntax, const Type* wanted);
  static std::string path_of(const Syntax& syntax);
  static void present_if(const Syntax& syntax, bool holds, Narrowed* found);
  bool is_narrowed(const std::string& path) const;
  NodePtr with_narrowed(const Syntax& syntax, const Type* wanted, bool lenient, Narrowed more);

  static NodePtr make(Op op, Type type);

  Declared* const declared_;
  const YamlNode* const scalar_;
  const size_t base_;
  const std::string reader_;
  Reads* const reads_;
  Narrowed narrowed_;
  Narrowed present_when_true_;
  std::vector<Local> locals_;
};

Type simple_type(Type::Kind kind, bool optional = false);
Type list_of(Type element);
// The steps that one evaluation can take, at most; a list whose length is not known counts as
// kExpressionListMax.
int64_t evaluation_cost(const ExpressionNode& node);

}  // namespace millrace
