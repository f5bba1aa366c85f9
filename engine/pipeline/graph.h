// Graph: one pipeline, checked and immutable. What the core runs.
//
// Made by parse_pipeline (parse.h) from YAML text and a catalogue. Steps are indices in file order;
// sets of steps are bit masks. A graph outlives every job that runs on it (shared_ptr) and may be
// read from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/digest.h"
#include "engine/base/time.h"
#include "engine/pipeline/catalogue.h"
#include "engine/pipeline/expression.h"
#include "engine/pipeline/type.h"

namespace millrace {

using StepSet = uint64_t;  // bit i: step i

struct InputDecl {
  std::string name;
  Type type;
  std::string description;
  std::vector<std::string> media;   // of a blob or image: accepted media types; empty: any
  int64_t max_bytes = 0;            // of a blob or image; 0: limits.body
  std::optional<int64_t> min, max;  // of an int, inclusive
  std::optional<double> min_float, max_float;
  bool has_default = false;
  Value default_value;
};

enum class Jitter : uint8_t { kFull, kNone };

struct Retry {
  uint32_t max = 1;  // all attempts
  DurationMs backoff_from_ms = 1000;
  DurationMs backoff_to_ms = 60'000;
  Jitter jitter = Jitter::kFull;
  std::vector<std::string> on;  // reasons; empty: transient reasons, timeouts and worker deaths
  std::vector<std::string> except;
  DurationMs give_up_after_ms = 0;  // 0: never
};

struct StepNode {
  std::string id;
  const StepDecl* decl = nullptr;  // in the graph's catalogue
  std::vector<Template>
      with;  // one for each of decl's with ports; an unset one passes the default or nothing
  std::vector<Value>
      defaults;  // beside `with`: what an absent value becomes; null without a default
  std::optional<Expression> condition;  // `if`
  // Edges. A step may be decided when every step of `after` has ended. It runs when `require` have
  // all succeeded and its condition is true; it is skipped when one of `require` ended otherwise.
  StepSet after = 0;               // every step it reads or needs
  StepSet require = 0;             // those it reads not as optional, or needs with success
  DurationMs timeout_ms = 60'000;  // one attempt
  DurationMs deadline_ms = 0;      // over all attempts, wall clock; 0: none
  Retry retry;
};

struct OutputDecl {
  std::string name;
  Type type;  // optional when a step it reads may be skipped
  Template source;
  StepSet reads = 0;
};

// What an expression may look at. Called on the thread that evaluates. Null: absent (or not known,
// which only `??`, has() and optional parameters may meet).
class Scope {
 public:
  virtual ~Scope() = default;
  virtual const Value* input(int index) const = 0;
  virtual const Value* step_output(
      int step, int port) const = 0;  // port as StepDecl::output_port numbers them
  virtual const Value* job(JobField field) const = 0;
};

class Graph {
 public:
  std::string name;
  std::string description;
  std::vector<InputDecl> inputs;
  std::vector<StepNode> steps;
  std::vector<OutputDecl> outputs;
  Value::Map vars;
  DurationMs timeout_ms = 0;  // 0: none
  Digest digest;  // SHA-256 of the normalised graph (canonical JSON), independent of comments and
                  // order of keys
  std::string source;  // the YAML text it was read from
  std::shared_ptr<const Catalogue> catalogue;

  int input_index(std::string_view name) const;   // -1: none
  int step_index(std::string_view name) const;    // -1: none
  int output_index(std::string_view name) const;  // -1: none
  StepSet all_steps() const {
    return steps.size() == 64 ? ~StepSet{0} : (StepSet{1} << steps.size()) - 1;
  }
};

// The values of a step's `with` ports in port order, after defaults; null where absent. Invalid: an
// expression failed on these values (division by zero, index out of range, a number out of range);
// the message names step and port. [any]
Result<std::vector<Value>> resolve_with(const Graph& graph, int step, const Scope& scope);
// Whether `if` holds; true without one. Invalid as above. [any]
Result<bool> resolve_condition(const Graph& graph, int step, const Scope& scope);
// One output of the job; null where a step that it reads has no value. Invalid as above. [any]
Result<Value> resolve_output(const Graph& graph, int output, const Scope& scope);

// Checks `given` (name -> value; blobs as blob values, everything else as JSON values) against the
// declared inputs and fills defaults: a vector in the order of graph.inputs, null where absent. All
// problems at once in `problems`.
struct InputProblem {
  int number;  // E009, E010, E011; of a blob also E017 (too large), E018 (not a media type the
               // input takes)
  std::string input;  // its name
  std::string message;
};
std::vector<Value> bind_inputs(const Graph& graph, const Value::Map& given,
                               std::vector<InputProblem>* problems);

}  // namespace millrace
