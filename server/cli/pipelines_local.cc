// millrace validate, graph, schema, steps: what needs the catalogue and no store.
#include <fmt/core.h>
#include <unistd.h>

#include "engine/base/errors.h"
#include "engine/pipeline/diagnostics.h"
#include "engine/pipeline/render.h"
#include "engine/pipeline/schema.h"
#include "engine/pipeline/text.h"
#include "engine/worker/workers.h"
#include "server/catalogue_json.h"
#include "server/cli/cli.h"
#include "server/config_parts.h"
#include "server/pipeline_files.h"
#include "server/version.h"

namespace millrace {
namespace {

constexpr uint64_t kCatalogueBudgetBytes = 1 << 20;

// The plugins are asked what they declare, in a process of their own as always.
std::shared_ptr<const Catalogue> catalogue_for_verb(const ConfigArguments& arguments, int* code) {
  Config config;
  *code = kExitConfig;
  if (!load_for_verb(arguments, &config)) return nullptr;
  WorkerOptions options;
  options.steps_directory = config.steps;
  options.cpu = 1;
  options.io = 1;
  options.budget = std::make_shared<ByteBudget>(kCatalogueBudgetBytes);
  auto workers = start_process_workers(options);
  if (!workers.ok()) {
    print_error(workers.status());
    *code = kExitWorkers;
    return nullptr;
  }
  for (const PluginProblem& problem : (*workers)->problems()) {
    print_warning(fmt::format("warning {}: {}", error_code(problem.number), problem.message));
  }
  *code = kExitDone;
  return (*workers)->catalogue();
}

struct Checked {
  std::vector<FileDiagnostics> files;
  std::vector<std::string> texts;
  bool broken = false;
};

bool check_path(const std::string& path, const std::shared_ptr<const Catalogue>& catalogue,
                Checked* out) {
  const auto files = pipeline_files_of(path);
  if (!files.ok()) {
    print_error(fmt::format("error {}: {}; name a pipeline's file, or a directory of them",
                            error_code(files.status().number()), files.status().message()));
    return false;
  }
  for (const std::string& file : *files) {
    auto text = read_pipeline_file(file);
    if (!text.ok()) {
      print_error(text.status());
      return false;
    }
    ParsedPipeline parsed = parse_pipeline(*text, catalogue);
    for (const Diagnostic& one : parsed.diagnostics) {
      if (one.severity == Diagnostic::Severity::kError) out->broken = true;
    }
    out->files.push_back({file, std::move(parsed.diagnostics)});
    out->texts.push_back(std::move(*text));
  }
  return true;
}

void print_ports(const char* title, const std::vector<PortDecl>& ports) {
  if (ports.empty()) return;
  print(fmt::format("{}\n", title));
  for (const PortDecl& port : ports) {
    const std::string fallback = port.has_default ? " = " + port.default_text : "";
    print(fmt::format("  {} ({}{})  {}\n", port.name, port.type.text(), fallback, port.doc));
  }
}

void print_memory(const StepDecl& step) {
  if (!step.declares_memory()) return;
  const auto amount = [](const PixelMemory& memory) {
    return fmt::format("{} bytes a pixel, and {} a pixel of the result", memory.per_pixel,
                       memory.per_result_pixel);
  };
  print(fmt::format("Memory\n  {} bytes, {}\n", step.memory_base, amount(step.memory)));
  for (const MemoryDecl& more : step.more_memory) {
    print(fmt::format("  {} {}: at least {}\n", step.with_at(more.port).name, more.value,
                      amount(more.memory)));
  }
}

void print_step(const StepDecl& step) {
  print(fmt::format("{} {}.{}  {}, lane {}  ({})\n{}\n", step.name, step.major, step.minor,
                    effect_name(step.effect), lane_name(step.lane), step.plugin, step.doc));
  print_ports("Inputs", step.inputs);
  print_ports("Parameters", step.params);
  print_ports("Outputs", step.outputs);
  print_ports("Results", step.results);
  print_memory(step);
  if (!step.reasons.empty()) print("Errors\n");
  for (const ReasonDecl& reason : step.reasons) {
    print(fmt::format("  {}{}  {}\n", reason.name, reason.transient ? " (transient)" : "",
                      reason.doc));
  }
}

}  // namespace

int run_validate(const FilesArguments& arguments) {
  int code = 0;
  const auto catalogue = catalogue_for_verb(arguments.config, &code);
  if (catalogue == nullptr) return code;
  Checked checked;
  for (const std::string& path : arguments.paths) {
    if (!check_path(path, catalogue, &checked)) return kExitConfig;
  }
  if (arguments.format == "json") {
    print(diagnostics_json(checked.files) + "\n");
  } else if (arguments.format == "sarif") {
    print(diagnostics_sarif(checked.files, kVersion) + "\n");
  } else {
    size_t problems = 0;
    for (size_t i = 0; i < checked.files.size(); i++) {
      for (const Diagnostic& one : checked.files[i].diagnostics) {
        print_error(format_diagnostic(checked.files[i].file, checked.texts[i], one));
        problems++;
      }
    }
    print_warning(fmt::format("{} file{}, {} problem{}", checked.files.size(),
                              checked.files.size() == 1 ? "" : "s", problems,
                              problems == 1 ? "" : "s"));
  }
  return checked.broken ? kExitFailed : kExitDone;
}

int run_graph(const FilesArguments& arguments) {
  int code = 0;
  const auto catalogue = catalogue_for_verb(arguments.config, &code);
  if (catalogue == nullptr) return code;
  const std::string& file = arguments.paths[0];
  auto text = read_pipeline_file(file);
  if (!text.ok()) {
    print_error(text.status());
    return kExitConfig;
  }
  const ParsedPipeline parsed = parse_pipeline(*text, catalogue);
  for (const Diagnostic& one : parsed.diagnostics) {
    print_error(format_diagnostic(file, *text, one));
  }
  if (parsed.graph == nullptr) return kExitConfig;
  std::string out = arguments.format == "svg"       ? graph_svg(*parsed.graph)
                    : arguments.format == "mermaid" ? graph_mermaid(*parsed.graph)
                                                    : graph_dot(*parsed.graph);
  if (!out.empty() && out.back() != '\n') out += '\n';
  print(out);
  return kExitDone;
}

int run_schema(const ConfigArguments& arguments, const std::string& what) {
  if (what == "config") {
    print(config_schema() + "\n");
    return kExitDone;
  }
  int code = 0;
  const auto catalogue = catalogue_for_verb(arguments, &code);
  if (catalogue == nullptr) return code;
  print(canonical_json(pipeline_json_schema(*catalogue)) + "\n");
  return kExitDone;
}

int run_steps(const ConfigArguments& arguments, const std::string& name, bool json) {
  int code = 0;
  const auto catalogue = catalogue_for_verb(arguments, &code);
  if (catalogue == nullptr) return code;
  if (!name.empty()) {
    const StepDecl* step = catalogue->find(name);
    if (step == nullptr) {
      std::vector<std::string_view> names;
      for (const StepDecl& known : catalogue->steps()) names.emplace_back(known.name);
      const std::string hint = did_you_mean(name, names);
      print_error(fmt::format("error {}: no plugin offers a step '{}'{}{}",
                              error_code(errors::kStepKindUnknown), name, hint.empty() ? "" : "; ",
                              hint));
      return kExitFailed;
    }
    if (json) {
      print(step_json(*step) + "\n");
    } else {
      print_step(*step);
    }
    return kExitDone;
  }
  std::string out = "{\"steps\":[";
  for (const StepDecl& step : catalogue->steps()) {
    if (json) {
      if (out.back() != '[') out += ',';
      out += step_json(step);
    } else {
      print(fmt::format("{:<16} {:<11} {}\n", step.name, effect_name(step.effect), step.doc));
    }
  }
  if (json) print(out + "]}\n");
  return kExitDone;
}

}  // namespace millrace
