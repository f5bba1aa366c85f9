#include "engine/runtime/definitions.h"

#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {

void Definitions::set_current(std::vector<std::shared_ptr<const Graph>> graphs) {
  for (const auto& [name, graph] : current_) {
    if (old_.size() < kDefinitionsKept) old_[graph->digest] = graph;
  }
  current_.clear();
  for (auto& graph : graphs) {
    CHECK(graph != nullptr);
    const std::string name = graph->name;
    current_[name] = std::move(graph);
  }
}

std::shared_ptr<const Graph> Definitions::current(const std::string& name) const {
  const auto found = current_.find(name);
  return found == current_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const Graph>> Definitions::all_current() const {
  std::vector<std::shared_ptr<const Graph>> graphs;
  for (const auto& [name, graph] : current_) graphs.push_back(graph);
  return graphs;
}

std::shared_ptr<const Graph> Definitions::known(const Digest& digest) const {
  for (const auto& [name, graph] : current_) {
    if (graph->digest == digest) return graph;
  }
  const auto found = old_.find(digest);
  return found == old_.end() ? nullptr : found->second;
}

std::shared_ptr<const Graph> Definitions::restore(const Digest& digest, const std::string& source,
                                                  std::string* why) {
  if (auto graph = known(digest)) return graph;
  ParsedPipeline parsed = parse_pipeline(source, catalogue_);
  if (parsed.graph == nullptr) {
    std::string first = "it has no diagnostics";
    for (const Diagnostic& diagnostic : parsed.diagnostics) {
      if (diagnostic.severity != Diagnostic::Severity::kError) continue;
      first = fmt::format("{} (line {}): {}", error_code(diagnostic.number), diagnostic.line,
                          diagnostic.message);
      break;
    }
    *why = fmt::format("the stored definition {} no longer loads: {}", digest.text(), first);
    return nullptr;
  }
  if (parsed.graph->digest != digest) {
    *why = fmt::format(
        "the stored definition {} now means another graph ({}): a step it uses changed its major "
        "version; install the plugins the job was accepted with",
        digest.text(), parsed.graph->digest.text());
    return nullptr;
  }
  if (old_.size() >= kDefinitionsKept) old_.erase(old_.begin());
  old_[digest] = parsed.graph;
  return parsed.graph;
}

}  // namespace millrace
