// A graph as a picture: Graphviz, Mermaid, and SVG by our own small layered layout. Text from the
// file is escaped.
//
// Solid edges carry data or need success; dashed ones only wait for an end or read what may be
// absent.
#pragma once

#include <string>

#include "engine/pipeline/graph.h"

namespace millrace {

std::string graph_dot(const Graph& graph);      // [any]
std::string graph_mermaid(const Graph& graph);  // [any]
std::string graph_svg(
    const Graph& graph);  // a whole document, readable on light and dark ground. [any]

// What `with`, `if` or an output says, as text in its normal spelling: "${{ steps.gray.image }}".
// [any]
std::string template_text(const Graph& graph, const Template& source);
std::string condition_text(const Graph& graph, const StepNode& step);  // empty without one. [any]

}  // namespace millrace
