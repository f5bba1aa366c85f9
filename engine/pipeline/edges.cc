// The part of the pipeline reader that looks at the whole: cycles, and what may be skipped.
#include <bit>

#include "engine/base/errors.h"
#include "engine/pipeline/reader.h"

namespace millrace {
namespace {

// The shortest way from `start` along `after` edges back to it.
std::vector<int> shortest_cycle(const std::vector<StepNode>& steps, int start) {
  std::vector<int> before(steps.size(), -1), queue{start};
  for (size_t head = 0; head < queue.size(); head++) {
    const int at = queue[head];
    for (StepSet left = steps[static_cast<size_t>(at)].after; left != 0; left &= left - 1) {
      const int next = std::countr_zero(left);
      if (next == start) {
        std::vector<int> cycle{start};
        for (int i = at; i != start; i = before[static_cast<size_t>(i)])
          cycle.insert(cycle.begin() + 1, i);
        return cycle;
      }
      if (before[static_cast<size_t>(next)] != -1) continue;
      before[static_cast<size_t>(next)] = at;
      queue.push_back(next);
    }
  }
  return {};
}

}  // namespace

// Reports each group of steps that wait for each other once, by its shortest cycle.
bool PipelineReader::report_cycles() {
  const std::vector<StepNode>& steps = graph_->steps;
  StepSet reported = 0;
  bool found = false;
  for (size_t i = 0; i < steps.size(); i++) {
    if ((reported >> i & 1) != 0) continue;
    const std::vector<int> cycle = shortest_cycle(steps, static_cast<int>(i));
    if (cycle.empty()) continue;
    found = true;
    std::string names;
    for (const int step : cycle) {
      reported |= StepSet{1} << step;
      names += steps[static_cast<size_t>(step)].id + " -> ";
    }
    error(errors::kStepCycle, declared_.steps[i].at,
          cycle.size() == 1 ? fmt::format("step '{}' waits for itself", steps[i].id)
                            : fmt::format("steps wait for each other: {}{}", names, steps[i].id),
          "what a step reads or needs must come before it");
  }
  return found;
}

// The steps that may end as skipped in a job that succeeds. Only for graphs without cycles.
StepSet PipelineReader::skippable() const {
  const std::vector<StepNode>& steps = graph_->steps;
  StepSet may = 0;
  for (size_t i = 0; i < steps.size(); i++) {
    if (steps[i].condition && !steps[i].condition->root()->constant) may |= StepSet{1} << i;
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < steps.size(); i++) {
      const bool skipped = (may >> i & 1) != 0;
      if (skipped || (steps[i].require & may) == 0) continue;
      may |= StepSet{1} << i;
      changed = true;
    }
  }
  return may;
}

void PipelineReader::check_edges() {
  if (report_cycles()) return;
  const StepSet may = skippable();
  for (OutputDecl& output : graph_->outputs) {
    if ((output.reads & may) != 0) output.type.optional = true;
  }
}

}  // namespace millrace
