// PipelineReader: one file's YAML tree to a graph, with every problem on the way. Internal to the
// folder.
//
// Two passes: names first (inputs, vars, steps and what they use), then everything that may refer
// to them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/checker.h"
#include "engine/pipeline/graph.h"
#include "engine/pipeline/problems.h"
#include "engine/pipeline/yaml.h"

namespace millrace {

class PipelineReader {
 public:
  PipelineReader(const YamlDocument& document, std::shared_ptr<const Catalogue> catalogue,
                 Problems* problems);

  // The graph; null when the file has an error.
  std::shared_ptr<Graph> read();

 private:
  // One `key: value` of a map.
  struct Field {
    std::string name;
    const YamlNode* key = nullptr;
    const YamlNode* value = nullptr;
  };
  using Fields = std::vector<Field>;
  using Names = std::vector<std::string_view>;

  // What a template is for.
  struct Slot {
    std::string what;              // "parameter 'quality' of step 'gray'", for messages
    std::string reader;            // "step 'gray'"
    const Type* wanted = nullptr;  // null: an output, which takes any type
    const PortDecl* port = nullptr;
    Reads* reads = nullptr;
    const Narrowed* narrowed = nullptr;
    bool inside = false;  // in a list or map: an absent optional has nowhere to go
  };

  // reader.cc
  void read_top(const Fields& top);
  void read_vars(const YamlNode& node);
  void read_outputs(const YamlNode& node);
  void read_output(const Field& field);
  void warn_unused();
  // fields.cc
  Fields all_fields(const YamlNode& map, const std::string& what);
  Fields known_fields(const YamlNode& map, const std::string& what, const Names& known,
                      const Names& later);
  Fields named_fields(const YamlNode& map, const std::string& what, size_t most);
  static const Field* find(const Fields& fields, std::string_view name);
  bool is_map(const YamlNode& node, const std::string& what);
  const std::string* text(const YamlNode& node, const std::string& what);
  std::optional<int64_t> positive_duration(const Field& field, const std::string& what);
  std::optional<Value> read_as(const Type& type, const YamlNode& node, const std::string& what);
  Value json_scalar(const YamlNode& scalar);
  std::optional<Value> constant(const Type& type, const YamlNode& node, const std::string& what);
  void error(int number, Span at, std::string message, std::string hint = {});
  // read_inputs.cc
  void read_inputs(const YamlNode& node);
  void read_input(const Field& field);
  void read_input_limits(const Fields& fields, InputDecl* input);
  void read_media(const YamlNode& node, InputDecl* input);
  void read_range(const Field& field, bool is_min, InputDecl* input);
  bool in_range(const InputDecl& input, const Value& value);
  // read_steps.cc
  void name_steps(const YamlNode& node);
  const StepDecl* find_use(const YamlNode& step, const std::string& id);
  void read_step(size_t index);
  void read_with(const YamlNode* node, const Field* use, StepNode* step, const Narrowed& narrowed,
                 Reads* reads);
  void read_condition(const YamlNode& node, StepNode* step, Narrowed* narrowed, Reads* reads);
  void read_needs(const YamlNode& node, size_t self, Reads* reads);
  int needed_step(const YamlNode& node, size_t self);
  void read_retry(const YamlNode& node, StepNode* step);
  void read_backoff(const Field& field, const std::string& what, Retry* retry);
  void read_reasons(const Field& field, const StepDecl* decl, const std::string& what,
                    std::vector<std::string>* out);
  // template.cc
  std::optional<Template> read_template(const YamlNode& node, const Slot& slot);
  std::optional<Template> read_scalar(const YamlNode& node, const Slot& slot);
  std::optional<Template> read_constant(const YamlNode& node, const Slot& slot);
  std::optional<Template> read_expression(const YamlNode& node, size_t from, size_t length,
                                          const Slot& slot);
  std::optional<Template> read_text(const YamlNode& node, const Slot& slot);
  bool open_parts(const YamlNode& node, const Slot& slot, Type::Kind kind, Template* made,
                  Slot* part);
  std::optional<Template> read_list(const YamlNode& node, const Slot& slot);
  std::optional<Template> read_members(const YamlNode& node, const Slot& slot);
  Span expression_span(const YamlNode& node, size_t from, size_t length) const;
  bool fits(const YamlNode& node, Span at, const ExpressionNode& root, const Slot& slot);
  bool in_port_range(const PortDecl& port, const Value& value, Span at, const std::string& what);
  // edges.cc
  void check_edges();
  bool report_cycles();
  StepSet skippable() const;

  const YamlDocument& document_;
  Problems* const problems_;
  std::shared_ptr<Graph> graph_;
  Declared declared_;
  std::vector<const YamlNode*> step_nodes_;  // beside declared_.steps
};

// The normalised graph and its digest: everything that decides what a job does, nothing that does
// not. [any]
std::string normalised_graph(const Graph& graph);

}  // namespace millrace
