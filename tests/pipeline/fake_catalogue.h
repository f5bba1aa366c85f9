// A catalogue like that of the first plugins (contract section 4), and a scope whose values a test
// sets.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "engine/pipeline/graph.h"
#include "engine/pipeline/parse.h"

namespace millrace {

std::shared_ptr<const Catalogue> fake_catalogue();

// Parses against fake_catalogue(); all diagnostics as "LINE:COL E031 message [hint]" lines.
std::string problems_of(std::string_view yaml);
// The graph; the test ends when there is a problem.
std::shared_ptr<const Graph> graph_of(std::string_view yaml);

class FakeScope final : public Scope {
 public:
  explicit FakeScope(std::shared_ptr<const Graph> graph) : graph_(std::move(graph)) {}
  FakeScope& set_input(std::string_view name, Value value);
  FakeScope& set_output(std::string_view step, std::string_view port, Value value);
  FakeScope& set_job(JobField field, Value value);

  const Value* input(int index) const override;
  const Value* step_output(int step, int port) const override;
  const Value* job(JobField field) const override;

 private:
  static const Value* look(const std::map<std::pair<int, int>, Value>& values, int a, int b);
  const std::shared_ptr<const Graph> graph_;
  std::map<std::pair<int, int>, Value> inputs_, outputs_, job_;
};

Value blob_value(std::string media_type, uint64_t size_bytes);

}  // namespace millrace
