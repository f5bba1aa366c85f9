#include "server/pipeline_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "server/config_parts.h"

namespace millrace {

Result<std::vector<std::string>> pipeline_files_of(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return std::vector<std::string>{path};
  std::filesystem::directory_iterator entries(path, error);
  if (error) {
    return Status::invalid(errors::kPipelinesUnreadable,
                           fmt::format("cannot read '{}': {}", path, error.message()));
  }
  std::vector<std::string> files;
  for (const auto end = std::filesystem::directory_iterator(); entries != end;
       entries.increment(error)) {
    if (error) break;
    const std::string name = entries->path().filename().string();
    const bool yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    const bool test = name.ends_with(".test.yaml") || name.ends_with(".test.yml");
    if (yaml && !test && name[0] != '.' && entries->is_regular_file(error)) {
      files.push_back(entries->path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

PipelineFiles::Loaded PipelineFiles::load(const std::shared_ptr<const Catalogue>& catalogue) {
  Loaded out;
  const auto files = pipeline_files_of(directory_);
  if (!files.ok()) {
    out.errors.push_back(
        fmt::format("{}: error {}: {}; set 'pipelines' to a directory of YAML files", directory_,
                    error_code(files.status().number()), files.status().message()));
    for (const auto& [file, graph] : good_) out.graphs.push_back(graph);
    return out;
  }
  std::map<std::string, std::shared_ptr<const Graph>> now;
  for (const std::string& file : *files) {
    auto text = read_small_file(file, kPipelineFileBytesMax);
    std::shared_ptr<const Graph> graph;
    if (!text.ok()) {
      out.errors.push_back(fmt::format("{}: error {}: {}", file,
                                       error_code(errors::kPipelinesUnreadable),
                                       text.status().message()));
    } else {
      ParsedPipeline parsed = parse_pipeline(*text, catalogue);
      graph = std::move(parsed.graph);
      for (const Diagnostic& problem : parsed.diagnostics) {
        auto& list = problem.severity == Diagnostic::Severity::kError ? out.errors : out.warnings;
        list.push_back(format_diagnostic(file, *text, problem));
      }
    }
    if (graph == nullptr && good_.contains(file)) graph = good_[file];
    if (graph != nullptr) now[file] = std::move(graph);
  }
  std::map<std::string, std::string> names;
  for (auto at = now.begin(); at != now.end();) {
    const auto [known, fresh] = names.emplace(at->second->name, at->first);
    if (!fresh) {
      out.errors.push_back(fmt::format(
          "{}: error {}: the pipeline '{}' is defined in {} already; give one of them another name",
          at->first, error_code(errors::kPipelinesUnreadable), at->second->name, known->second));
      at = now.erase(at);
    } else {
      out.graphs.push_back(at->second);
      ++at;
    }
  }
  good_ = std::move(now);
  return out;
}

}  // namespace millrace
