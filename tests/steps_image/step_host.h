// StepHost: the smallest host that can run a step of a real plugin, in this process or in a forked
// child.
//
// It collects what the step says and checks that the step keeps the contract; it knows no pipeline
// and no image.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/abi/step.h"

namespace millrace::testing {

struct StepAnswer {
  int32_t code = -1;  // what run() returned; -1: no such step
  std::string reason, message;
  std::vector<std::string> outputs;  // bytes; of a forwarded one the input's
  std::string media_type;            // of output 0
  uint32_t width = 0, height = 0;
  uint64_t pixels = 0;  // over all frames; 0: not said
  bool forwarded = false;
  std::map<std::string, std::string> results;  // numbers as text
  std::vector<std::string> notes;
  uint32_t progress_calls = 0;
  std::string misuse;  // how the step broke the contract, if it did
  bool ok() const { return code == MR_OK && misuse.empty(); }
};

struct StepRequest {
  std::string plugin, step;
  std::string image;
  std::map<std::string, std::string> params;  // numbers as text; absent ones take their default
  uint64_t pixels_max = 268'000'000;
  uint32_t cancel_after = 0;  // progress() says stop from this call on; 0: never
  std::string second = "";    // bytes of the second input; empty: absent
};

// Runs it here: for timing, in a program that forks no more (a child forked after libvips' first
// operation would hang).
StepAnswer run_step_here(const StepRequest& request);

// Runs it as the product does: in a child forked from a process that loaded the plugin and ran
// nothing; its address space is limited. `died` says "" for a clean end (with any code), else
// "signal 11", "exit 3" or "timeout".
struct StepRun {
  StepAnswer answer;
  std::string died;
};
StepRun run_step_apart(const StepRequest& request, int timeout_s = 30);
// The same; a death is put into `misuse`.
StepAnswer run_step(const StepRequest& request);

// Shorthands.
StepAnswer upload(const std::string& image);
StepAnswer grayscale(const std::string& image, std::map<std::string, std::string> params = {});

// The declaration of a loaded plugin.
const mr_plugin* load_plugin(const std::string& name);

// Files of the shared corpus; empty when it is absent.
std::string corpus(const std::string& name);
bool has_corpus();
std::vector<std::string> corpus_files(const std::string& folder, const std::string& ending);

}  // namespace millrace::testing
