// The catalogue of steps and a pipeline's graph as JSON, for the API and the command line.
#pragma once

#include <string>

#include "engine/pipeline/graph.h"

namespace millrace {

std::string step_json(const StepDecl& step);  // one object. [any]
std::string graph_json(const Graph& graph);   // one object. [any]

}  // namespace millrace
