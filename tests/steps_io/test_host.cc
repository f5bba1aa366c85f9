#include "tests/steps_io/test_host.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cmake/tree.h"

namespace millrace {
namespace {

struct Context {
  const mr_step* step;
  const TestCall* call;
  TestResult result;
};

Context& context_of(const mr_call* call) {
  return *static_cast<Context*>(call->context);
}

int32_t no_output(const mr_call*, uint32_t, const void*, uint64_t) {
  ADD_FAILURE() << "the step has no blob output";
  return MR_FAILED;
}
int32_t no_describe(const mr_call*, uint32_t, const char*, uint32_t, uint32_t) {
  return no_output(nullptr, 0, nullptr, 0);
}
int32_t no_pixels(const mr_call*, uint32_t, uint64_t) {
  return MR_FAILED;
}
int32_t no_forward(const mr_call*, uint32_t, uint32_t) {
  return no_output(nullptr, 0, nullptr, 0);
}

const char* result_name(const mr_call* call, uint32_t result) {
  const mr_step& step = *context_of(call).step;
  EXPECT_LT(result, step.result_count);
  return result < step.result_count ? step.results[result].name : "";
}
int32_t result_int(const mr_call* call, uint32_t result, int64_t value) {
  context_of(call).result.ints[result_name(call, result)] = value;
  return MR_OK;
}
int32_t result_float(const mr_call*, uint32_t, double) {
  return MR_FAILED;
}
int32_t result_text(const mr_call* call, uint32_t result, const char* text, uint64_t size) {
  context_of(call).result.texts[result_name(call, result)] = std::string(text, size);
  return MR_OK;
}
int32_t fail(const mr_call* call, const char* reason, const char* message) {
  Context& context = context_of(call);
  bool declared = false;
  for (uint32_t i = 0; i < context.step->reason_count; ++i) {
    const mr_reason& known = context.step->reasons[i];
    if (std::string_view(known.name) != reason) continue;
    declared = true;
    context.result.transient = (known.flags & MR_TRANSIENT) != 0;
  }
  EXPECT_TRUE(declared) << reason;
  context.result.reason = reason;
  context.result.message = message;
  return MR_FAILED;
}
int32_t retry_after(const mr_call* call, int64_t milliseconds) {
  context_of(call).result.retry_after_ms = milliseconds;
  return MR_OK;
}
int32_t note(const mr_call* call, const char* text) {
  EXPECT_LE(std::string_view(text).size(), 200u);
  context_of(call).result.note = text;
  return MR_OK;
}
int32_t progress(const mr_call* call, uint32_t permille) {
  EXPECT_LE(permille, 1000u);
  return context_of(call).call->go_on() ? MR_OK : MR_CANCELLED;
}
const char* setting(const mr_call* call, const char* key) {
  const Context& context = context_of(call);
  const std::string declared = std::string(" ") + context.step->settings + " ";
  EXPECT_NE(declared.find(std::string(" ") + key + " "), std::string::npos) << key;
  const auto found = context.call->settings.find(key);
  return found == context.call->settings.end() ? "null" : found->second.c_str();
}

const mr_host kHost = {
    sizeof(mr_host), no_output, no_describe, no_forward, result_int, result_float, result_text,
    result_text,     fail,      retry_after, note,       progress,   setting,      no_pixels};

mr_value value_of(const mr_port& port, const TestCall& call) {
  mr_value value = {};
  value.size_of = sizeof value;
  const auto found = call.params.find(port.name);
  if (found == call.params.end()) return value;
  if (const bool* b = std::get_if<bool>(&found->second)) {
    value.kind = MR_VALUE_BOOL;
    value.i = *b ? 1 : 0;
  } else if (const int64_t* i = std::get_if<int64_t>(&found->second)) {
    value.kind = MR_VALUE_INT;
    value.i = *i;
  } else {
    const auto& text = std::get<std::string>(found->second);
    value.kind = std::string_view(port.type) == "json" ? MR_VALUE_JSON : MR_VALUE_STRING;
    value.s = text.c_str();
    value.n = text.size();
  }
  return value;
}

}  // namespace

const mr_step& load_step(const std::string& name) {
  const std::string path = in_build("/steps/" + name + ".so");
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    ADD_FAILURE() << ::dlerror();
    ::abort();
  }
  const auto* plugin = static_cast<const mr_plugin*>(::dlsym(library, MR_SYMBOL));
  if (plugin == nullptr || plugin->size != sizeof(mr_plugin) || plugin->step_count != 1) ::abort();
  return *plugin->steps[0];
}

TestResult run_step(const mr_step& step, const TestCall& call) {
  Context context = {&step, &call, {}};
  std::vector<mr_blob> inputs;
  for (const TestBlob& blob : call.inputs) {
    mr_blob input = {};
    input.size_of = sizeof input;
    input.present = 1;
    input.data = reinterpret_cast<const uint8_t*>(blob.bytes.data());
    input.size = blob.bytes.size();
    input.media_type = "application/octet-stream";
    input.digest = blob.digest.empty() ? nullptr : blob.digest.c_str();
    input.path = blob.path.empty() ? nullptr : blob.path.c_str();
    inputs.push_back(input);
  }
  EXPECT_EQ(inputs.size(), step.input_count);
  std::vector<mr_value> params;
  for (uint32_t i = 0; i < step.param_count; ++i) params.push_back(value_of(step.params[i], call));
  mr_call raw = {};
  raw.size = sizeof raw;
  raw.host = &kHost;
  raw.context = &context;
  raw.inputs = inputs.data();
  raw.params = params.data();
  raw.job = "0193-job";
  raw.step = step.name;
  raw.effect_key = call.effect_key.c_str();
  raw.attempt = call.attempt;
  raw.timeout_ms = call.timeout_ms;
  raw.pixels_max = 1'000'000;
  context.result.code = step.run(&raw);
  EXPECT_EQ(context.result.code == MR_FAILED, !context.result.reason.empty());
  return context.result;
}

TemporaryDirectory::TemporaryDirectory(const std::string& parent) {
  path_ = parent + "/millrace-test-XXXXXX";
  if (!parent.empty() && ::mkdtemp(path_.data()) != nullptr) return;
  path_ = std::filesystem::temp_directory_path() / "millrace-test-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) ::abort();
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void write_all(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace millrace
