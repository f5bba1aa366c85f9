// PipelineFiles: the directory of pipelines, read at start and on SIGHUP.
//
// Takes *.yaml and *.yml, not *.test.yaml, not subfolders. Remembers the last good definition of
// each file, so that a broken one leaves the old in place. Thread: the one that starts the server,
// then the loop.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/pipeline/parse.h"

namespace millrace {

class PipelineFiles {
 public:
  explicit PipelineFiles(std::string directory) : directory_(std::move(directory)) {}

  struct Loaded {
    std::vector<std::shared_ptr<const Graph>> graphs;  // what should be served now
    std::vector<std::string> errors;  // ready to print; a file with one keeps its old definition
    std::vector<std::string> warnings;
  };
  Loaded load(const std::shared_ptr<const Catalogue>& catalogue);

 private:
  const std::string directory_;
  std::map<std::string, std::shared_ptr<const Graph>> good_;  // by file
};

// The pipeline files of a directory, sorted; or the file itself. E107 when it cannot be read. [any]
Result<std::vector<std::string>> pipeline_files_of(const std::string& path);

}  // namespace millrace
