// Declarations: what plugins say about their steps, as plain data that travels from the process
// that opened the plugin to the one that must not.
//
// It knows no shared objects; loader.h makes these, the server builds its Catalogue from them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/pipeline/catalogue.h"

namespace millrace {

// A plugin that could not be loaded; the others are.
struct PluginProblem {
  std::string file;
  std::string message;  // file, symbol, both versions, what to do
  int number = 0;       // E140…
};

struct Declarations {
  std::vector<StepDecl> steps;
  std::vector<PluginProblem> problems;
};

// One JSON text and back. Invalid: the text is not what declarations_to_json wrote. [any]
std::string declarations_to_json(const Declarations& declarations);
Result<Declarations> declarations_from_json(std::string_view text);

// Gives every absent param that has a default its default; `with` is in the order of the step's
// with ports. [any]
void fill_defaults(const StepDecl& step, std::vector<Value>* with);

// Whether `name` is [a-z][a-z0-9_]* and at most 64 bytes. [any]
bool is_step_name(std::string_view name);

}  // namespace millrace
