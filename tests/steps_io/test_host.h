// A host for one call of one step, in this process: loads the built plugin, runs a step with given
// inputs, parameters and settings, and keeps what the step told it. Knows no engine.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "engine/abi/step.h"

namespace millrace {

// The plugin steps/NAME.so of this build; never unloaded. Fails the test program when it does not
// load.
const mr_step& load_step(const std::string& name);

struct TestBlob {
  std::string bytes;
  std::string digest;  // empty: the host does not know it
  std::string path;    // empty: none
};

using TestValue = std::variant<bool, int64_t, std::string>;

// What a step is run with.
struct TestCall {
  std::vector<TestBlob> inputs;
  std::map<std::string, TestValue> params;  // json parameters as text; what is not named is absent
  std::map<std::string, std::string> settings;  // key -> JSON text; what is not named is "null"
  std::string effect_key = "effect-key-1";
  uint32_t attempt = 1;
  int64_t timeout_ms = 30'000;
  std::function<bool()> go_on = [] { return true; };
};

// What came of it.
struct TestResult {
  int32_t code = -1;
  std::string reason, message;
  bool transient = false;  // as declared for the reason
  std::string note;
  int64_t retry_after_ms = 0;
  std::map<std::string, std::string> texts;
  std::map<std::string, int64_t> ints;
};

// Runs the step as a worker would. A use of the host that the header forbids (an undeclared reason,
// setting or result) is a failed expectation.
TestResult run_step(const mr_step& step, const TestCall& call);

// A directory of its own, removed with everything in it.
class TemporaryDirectory {
 public:
  // Below `parent` when one can be made there, else below the usual temporary directory.
  explicit TemporaryDirectory(const std::string& parent = "");
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string read_all(const std::string& path);
void write_all(const std::string& path, const std::string& bytes);

}  // namespace millrace
