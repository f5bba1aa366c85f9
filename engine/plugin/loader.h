// Loader: opens plugins (shared objects that export mr_plugin_v1), checks what they declare, and
// keeps their functions. It knows neither processes nor wires; in the server it is used only with
// workers.isolation: thread.
//
// A plugin's structs are read by their own size: members behind it are as if they were zero, so a
// plugin that was compiled against an older step.h loads. Plugins are never unloaded.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/abi/step.h"
#include "engine/plugin/declaration.h"

namespace millrace {

struct LoadedPlugin {
  std::string file;
  std::string name, version;
  int32_t (*start)(char* error, size_t error_size) = nullptr;
  bool has_lane[kLanes] = {false, false};
};

struct LoadedStep {
  StepDecl decl;
  int32_t (*run)(const mr_call* call) = nullptr;
  size_t plugin = 0;  // index into LoadedPlugins::plugins
};

struct LoadedPlugins {
  std::vector<LoadedPlugin> plugins;
  std::vector<LoadedStep> steps;  // in the order of their files' names, then as declared
  std::vector<PluginProblem> problems;

  Declarations declarations() const;
};

// Loads every *.so of `directory` in the order of their names; what is refused becomes a problem
// and the others load. Files named in `refused` are not touched and their problems are passed on.
// `before_file` is called with each path before it is opened (a plugin may kill the process). Calls
// dlopen and the plugins' load(): one thread, before others exist. [main]
LoadedPlugins load_plugins(const std::string& directory,
                           const std::vector<PluginProblem>& refused = {},
                           const std::function<void(const std::string&)>& before_file = {});

// Calls start() of the plugins that have a step in `lane`. Unavailable E148: a plugin refused, with
// its words. [main, in a worker]
Status start_plugins(const LoadedPlugins& loaded, Lane lane);

}  // namespace millrace
