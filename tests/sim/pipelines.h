// The pipelines that simulated jobs run. What a simulated step does depends on its id (world.h).
#pragma once

#include <memory>
#include <vector>

#include "engine/pipeline/graph.h"

namespace millrace::sim {

// Number 0 is the canonical one: upload, store, gray, result, notify.
const std::vector<std::shared_ptr<const Graph>>& pipelines();

}  // namespace millrace::sim
