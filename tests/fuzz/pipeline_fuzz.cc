// Fuzzes parse_pipeline: any bytes end in a graph or in diagnostics whose places lie within the
// file, and a graph can be rendered, named and resolved. Seeds: pipelines/ and
// tests/pipeline/cases/.
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/pipeline/render.h"
#include "tests/pipeline/fake_catalogue.h"

namespace millrace {
namespace {

void resolve_all(const std::shared_ptr<const Graph>& graph) {
  const FakeScope empty(graph);
  for (size_t i = 0; i < graph->steps.size(); i++) {
    (void)resolve_condition(*graph, static_cast<int>(i), empty);
    (void)resolve_with(*graph, static_cast<int>(i), empty);
  }
  for (size_t i = 0; i < graph->outputs.size(); i++) {
    (void)resolve_output(*graph, static_cast<int>(i), empty);
  }
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ParsedPipeline parsed = parse_pipeline(text, fake_catalogue());
  for (const Diagnostic& diagnostic : parsed.diagnostics) {
    CHECK(diagnostic.line >= 1 && diagnostic.column >= 1 && diagnostic.length >= 1);
    CHECK(static_cast<size_t>(diagnostic.column) <= size + 1);
    CHECK(!format_diagnostic("f", text, diagnostic).empty());
  }
  if (parsed.graph == nullptr) {
    CHECK(!parsed.diagnostics.empty());
    return 0;
  }
  CHECK(!graph_svg(*parsed.graph).empty() && !graph_dot(*parsed.graph).empty());
  resolve_all(parsed.graph);
  return 0;
}
