// GraphNames: the names behind a graph's indices, for writing expressions. Internal to the folder.
#pragma once

#include <string>

#include "engine/pipeline/expression_node.h"
#include "engine/pipeline/graph.h"

namespace millrace {

class GraphNames final : public ExpressionNames {
 public:
  explicit GraphNames(const Graph& graph) : graph_(graph) {}
  std::string input(int index) const override;
  std::string step(int index) const override;
  std::string output(int step, int port) const override;

 private:
  const Graph& graph_;
};

}  // namespace millrace
