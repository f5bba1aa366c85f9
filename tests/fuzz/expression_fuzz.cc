// Fuzzes expressions: whatever parses and checks evaluates without a crash, and its normal text
// reads as itself.
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/pipeline/render.h"
#include "tests/pipeline/fake_catalogue.h"

namespace {

std::string pipeline_of(std::string_view expression) {
  std::string quoted;
  millrace::append_json_string(expression, &quoted);
  return "pipeline: e\ninputs: { n: int, maybe: \"int?\", text: string, list: list<int>, doc: "
         "json, wait: duration }\n"
         "vars: { v: 1 }\nsteps: { p: { use: probe } }\noutputs:\n  o: " +
         quoted + "\n";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ParsedPipeline parsed =
      parse_pipeline(pipeline_of("${{ " + std::string(text) + " }}"), fake_catalogue());
  if (parsed.graph == nullptr) return 0;
  FakeScope scope(parsed.graph);
  scope.set_input("n", 7)
      .set_input("text", "héllo")
      .set_input("list", Value::List{1, 2, 3})
      .set_input("wait", 5000);
  scope.set_input("doc", Value::Map{{"a", Value::List{1, "x", Value()}}})
      .set_output("p", "text", "out");
  const auto value = resolve_output(*parsed.graph, 0, scope);
  if (value.ok()) (void)canonical_json(*value);
  const std::string normal = template_text(*parsed.graph, parsed.graph->outputs[0].source);
  const ParsedPipeline again = parse_pipeline(pipeline_of(normal), fake_catalogue());
  CHECK_MSG(again.graph != nullptr, normal.c_str());
  CHECK_MSG(again.graph->digest == parsed.graph->digest, normal.c_str());
  return 0;
}
