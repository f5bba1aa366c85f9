#include "tests/core/work_catalogue.h"

#include <cstdio>
#include <cstdlib>

namespace millrace::testing {
namespace {

PortDecl port(const char* name, const char* type) {
  PortDecl decl;
  decl.name = name;
  decl.type = *parse_type(type);
  return decl;
}

StepDecl work(const char* name, Effect effect) {
  StepDecl decl;
  decl.name = name;
  decl.effect = effect;
  decl.lane = effect == Effect::kPure ? Lane::kCpu : Lane::kIo;
  decl.inputs = {port("data", "blob?"), port("more", "blob?")};
  decl.params = {port("text", "json?")};
  decl.outputs = {port("data", "blob?")};
  decl.results = {port("text", "json")};
  decl.reasons = {{"busy", "", true}, {"broken", "", false}};
  return decl;
}

}  // namespace

std::shared_ptr<const Catalogue> work_catalogue() {
  static const auto catalogue = std::make_shared<const Catalogue>(
      std::vector<StepDecl>{work("pure", Effect::kPure), work("idempotent", Effect::kIdempotent),
                            work("keyed", Effect::kKeyed), work("once", Effect::kOnce)});
  return catalogue;
}

std::string chain_yaml(std::string_view chain, std::string_view extra) {
  std::string yaml = "pipeline: chain\ninputs:\n", steps, before;
  std::string source;
  while (!chain.empty()) {
    const size_t arrow = chain.find(" -> ");
    const std::string item(chain.substr(0, arrow));
    chain = arrow == std::string_view::npos ? "" : chain.substr(arrow + 4);
    const size_t bracket = item.find('[');
    if (bracket == std::string::npos) {
      yaml += "  " + item + ": { type: blob }\n";
      source = "inputs." + item;
      continue;
    }
    const std::string id = item.substr(0, bracket);
    const std::string use = item.substr(bracket + 1, item.size() - bracket - 2);
    steps += "  " + id + ":\n    use: " + use + "\n";
    if (!source.empty()) steps += "    with: { data: \"${{ " + source + " }}\" }\n";
    if (!before.empty()) steps += "    needs: [" + before + "]\n";
    steps += extra;
    before = id;
    source = "steps." + id + ".data";
  }
  if (yaml.ends_with("inputs:\n")) yaml.resize(yaml.size() - 8);
  return yaml + "steps:\n" + steps;
}

std::shared_ptr<const Graph> graph_of(const std::string& yaml) {
  ParsedPipeline parsed = parse_pipeline(yaml, work_catalogue());
  if (parsed.graph == nullptr) {
    for (const Diagnostic& diagnostic : parsed.diagnostics) {
      std::fputs(format_diagnostic("test", yaml, diagnostic).c_str(), stderr);
    }
    std::abort();
  }
  return parsed.graph;
}

}  // namespace millrace::testing
