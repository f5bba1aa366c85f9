// The pipelines that simulated jobs run. What a simulated step does depends on its id (world.h).
#pragma once

#include <memory>
#include <vector>

#include "engine/pipeline/graph.h"

namespace millrace::sim {

// Number 0 is the canonical one: upload, store, gray, result, notify. The last two make long
// records, which cost the simulator more than all the others together.
const std::vector<std::shared_ptr<const Graph>>& pipelines();
constexpr size_t kLightPipelines = 6;

}  // namespace millrace::sim
