#include "tests/steps_image/step_host.h"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cmake/tree.h"
#include "engine/base/signals.h"

namespace millrace::testing {
namespace {

struct Context {
  const StepRequest* request;
  const mr_step* step;
  StepAnswer answer;
};

Context& of(const mr_call* call) {
  return *static_cast<Context*>(call->context);
}

int32_t misuse(const mr_call* call, const std::string& text) {
  of(call).answer.misuse = text;
  return MR_FAILED;
}

int32_t do_write(const mr_call* call, uint32_t output, const void* data, uint64_t size) {
  Context& context = of(call);
  if (output >= context.step->output_count) return misuse(call, "write: no such output");
  context.answer.outputs[output].append(static_cast<const char*>(data), size);
  return MR_OK;
}
int32_t do_describe(const mr_call* call, uint32_t output, const char* media_type, uint32_t width,
                    uint32_t height) {
  if (output != 0) return misuse(call, "describe: no such output");
  of(call).answer.media_type = media_type;
  of(call).answer.width = width;
  of(call).answer.height = height;
  return MR_OK;
}
int32_t do_pixels(const mr_call* call, uint32_t output, uint64_t pixels) {
  if (output != 0 || of(call).answer.media_type.empty()) return misuse(call, "pixels: too early");
  of(call).answer.pixels = pixels;
  return MR_OK;
}
int32_t do_forward(const mr_call* call, uint32_t output, uint32_t input) {
  if (output != 0 || input != 0) return misuse(call, "forward: no such port");
  of(call).answer.forwarded = true;
  of(call).answer.outputs[0] = of(call).request->image;
  return MR_OK;
}
int32_t set(const mr_call* call, uint32_t result, const char* type, const std::string& text) {
  Context& context = of(call);
  if (result >= context.step->result_count) return misuse(call, "no such result");
  const mr_port& port = context.step->results[result];
  const bool flag = std::strcmp(port.type, "bool") == 0 && std::strcmp(type, "int") == 0;
  if (std::string(port.type) != type && !flag)
    return misuse(call, std::string("wrong type for ") + port.name);
  context.answer.results[port.name] = text;
  return MR_OK;
}
int32_t do_int(const mr_call* call, uint32_t result, int64_t value) {
  return set(call, result, "int", std::to_string(value));
}
int32_t do_float(const mr_call* call, uint32_t result, double value) {
  return set(call, result, "float", std::to_string(value));
}
int32_t do_string(const mr_call* call, uint32_t result, const char* text, uint64_t size) {
  return set(call, result, "string", std::string(text, size));
}
int32_t do_json(const mr_call* call, uint32_t result, const char* text, uint64_t size) {
  return set(call, result, "json", std::string(text, size));
}
int32_t do_fail(const mr_call* call, const char* reason, const char* message) {
  Context& context = of(call);
  bool declared = false;
  for (uint32_t i = 0; i < context.step->reason_count; ++i) {
    declared = declared || std::strcmp(context.step->reasons[i].name, reason) == 0;
  }
  if (!declared) misuse(call, std::string("undeclared reason '") + reason + "'");
  context.answer.reason = reason;
  context.answer.message = message;
  return MR_FAILED;
}
int32_t do_retry_after(const mr_call*, int64_t) {
  return MR_OK;
}
int32_t do_note(const mr_call* call, const char* text) {
  of(call).answer.notes.push_back(text);
  return MR_OK;
}
int32_t do_progress(const mr_call* call, uint32_t permille) {
  Context& context = of(call);
  if (permille > 1000) misuse(call, "progress above 1000");
  const uint32_t limit = context.request->cancel_after;
  return limit > 0 && ++context.answer.progress_calls >= limit ? MR_CANCELLED : MR_OK;
}
const char* do_setting(const mr_call*, const char*) {
  return nullptr;
}

constexpr mr_host kHost = {sizeof(mr_host), do_write,    do_describe, do_forward, do_int,
                           do_float,        do_string,   do_json,     do_fail,    do_retry_after,
                           do_note,         do_progress, do_setting,  do_pixels};

std::vector<mr_value> values_of(const mr_step& step, const StepRequest& request,
                                std::vector<std::string>* texts) {
  std::vector<mr_value> values;
  texts->reserve(step.param_count);
  for (uint32_t i = 0; i < step.param_count; ++i) {
    const mr_port& port = step.params[i];
    mr_value value = {};
    value.size_of = sizeof value;
    const auto given = request.params.find(port.name);
    if (given != request.params.end() || port.default_value != nullptr) {
      texts->push_back(given != request.params.end() ? given->second : port.default_value);
      if (std::strncmp(port.type, "int", 3) == 0) {
        value.kind = MR_VALUE_INT;
        value.i = std::stoll(texts->back());
      } else if (std::strncmp(port.type, "float", 5) == 0) {
        value.kind = MR_VALUE_FLOAT;
        value.d = std::stod(texts->back());
      } else if (std::strncmp(port.type, "bool", 4) == 0) {
        value.kind = MR_VALUE_BOOL;
        value.i = texts->back() == "true";
      } else {
        value.kind = std::strcmp(port.type, "json") == 0 ? MR_VALUE_JSON : MR_VALUE_STRING;
        value.s = texts->back().c_str();
        value.n = texts->back().size();
      }
    }
    values.push_back(value);
  }
  return values;
}

void put(std::string* out, const std::string& text) {
  const uint64_t size = text.size();
  out->append(reinterpret_cast<const char*>(&size), sizeof size);
  out->append(text);
}

std::string get(const std::string& in, size_t* at) {
  uint64_t size = 0;
  if (*at + sizeof size > in.size()) return "";
  std::memcpy(&size, in.data() + *at, sizeof size);
  const std::string text = in.substr(*at + sizeof size, size);
  *at += sizeof size + size;
  return text;
}

void limit_memory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const rlimit limit = {2ull << 30, 2ull << 30};
  setrlimit(RLIMIT_AS, &limit);
#endif
}

std::string drain(int fd, pid_t child, int timeout_s, std::string* how) {
  std::string bytes;
  char chunk[65536];
  for (;;) {
    pollfd waiting = {fd, POLLIN, 0};
    if (poll(&waiting, 1, timeout_s * 1000) <= 0) {
      *how = "timeout";
      signal_process(child, SIGKILL);
      break;
    }
    const ssize_t count = read(fd, chunk, sizeof chunk);
    if (count <= 0) break;
    bytes.append(chunk, static_cast<size_t>(count));
  }
  return bytes;
}

}  // namespace

const mr_plugin* load_plugin(const std::string& name) {
  static std::map<std::string, const mr_plugin*> loaded;
  auto found = loaded.find(name);
  if (found != loaded.end()) return found->second;
  void* handle =
      dlopen(in_build(std::string("/steps/") + name + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto* plugin =
      handle == nullptr ? nullptr : static_cast<const mr_plugin*>(dlsym(handle, MR_SYMBOL));
  char error[256] = "";
  if (plugin != nullptr && plugin->load != nullptr && plugin->load(error, sizeof error) != 0) {
    plugin = nullptr;
  }
  if (plugin == nullptr)
    fprintf(stderr, "%s: %s %s\n", name.c_str(), handle ? "" : dlerror(), error);
  return loaded[name] = plugin;
}

StepAnswer run_step_here(const StepRequest& request) {
  Context context = {&request, nullptr, {}};
  const mr_plugin* plugin = load_plugin(request.plugin);
  for (uint32_t i = 0; plugin != nullptr && i < plugin->step_count; ++i) {
    if (request.step == plugin->steps[i]->name) context.step = plugin->steps[i];
  }
  if (context.step == nullptr) return context.answer;
  context.answer.outputs.resize(context.step->output_count);
  std::vector<std::string> texts;
  const std::vector<mr_value> params = values_of(*context.step, request, &texts);
  mr_blob inputs[2] = {};
#if defined(__SANITIZE_ADDRESS__)
  // Copies of exactly their size, so that the first byte read beyond them is seen.
  const auto copy_of = [](const std::string& text) {
    return std::vector<char>(text.begin(), text.end());
  };
  const std::vector<char> first = copy_of(request.image), second = copy_of(request.second);
  const std::vector<char>* bytes[2] = {&first, &second};
#else
  const std::string* bytes[2] = {&request.image, &request.second};
#endif
  for (int i = 0; i < 2; ++i) {
    inputs[i].size_of = sizeof *inputs;
    inputs[i].present = i == 0 || !bytes[i]->empty();
    inputs[i].data = reinterpret_cast<const uint8_t*>(bytes[i]->data());
    inputs[i].size = bytes[i]->size();
  }
  mr_call call = {};
  call.size = sizeof call;
  call.host = &kHost;
  call.context = &context;
  call.inputs = inputs;
  call.params = params.data();
  call.job = call.step = "test";
  call.attempt = 1;
  call.timeout_ms = 60'000;
  call.pixels_max = request.pixels_max;
  context.answer.code = context.step->run(&call);
  return context.answer;
}

namespace {

std::string pack(const StepAnswer& answer) {
  std::string bytes;
  for (const std::string& text :
       {std::to_string(answer.code), answer.reason, answer.message, answer.misuse,
        answer.media_type, std::to_string(answer.width), std::to_string(answer.height),
        std::to_string(answer.forwarded), std::to_string(answer.progress_calls),
        std::to_string(answer.outputs.size())}) {
    put(&bytes, text);
  }
  for (const std::string& output : answer.outputs) put(&bytes, output);
  put(&bytes, std::to_string(answer.results.size()));
  for (const auto& [name, text] : answer.results) put(&bytes, name), put(&bytes, text);
  for (const std::string& note : answer.notes) put(&bytes, note);
  return bytes;
}

StepAnswer unpack(const std::string& bytes) {
  StepAnswer answer;
  size_t at = 0;
  const auto number = [&] { return static_cast<uint32_t>(std::stol("0" + get(bytes, &at))); };
  if (bytes.empty()) return answer;
  answer.code = std::stoi(get(bytes, &at));
  answer.reason = get(bytes, &at);
  answer.message = get(bytes, &at);
  answer.misuse = get(bytes, &at);
  answer.media_type = get(bytes, &at);
  answer.width = number();
  answer.height = number();
  answer.forwarded = number() != 0;
  answer.progress_calls = number();
  answer.outputs.resize(number());
  for (std::string& output : answer.outputs) output = get(bytes, &at);
  for (uint32_t count = number(); count > 0; --count) {
    const std::string name = get(bytes, &at);
    answer.results[name] = get(bytes, &at);
  }
  while (at < bytes.size()) answer.notes.push_back(get(bytes, &at));
  return answer;
}

[[noreturn]] void run_and_exit(const StepRequest& request, int fd) {
  limit_memory();
  const std::string bytes = pack(run_step_here(request));
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count = write(fd, bytes.data() + at, bytes.size() - at);
    if (count <= 0) break;
    at += static_cast<size_t>(count);
  }
  _exit(0);
}

}  // namespace

StepRun run_step_apart(const StepRequest& request, int timeout_s) {
  StepRun run;
  load_plugin(request.plugin);
  int ends[2];
  if (pipe(ends) != 0) return run;
  const pid_t child = fork();
  if (child == 0) run_and_exit(request, ends[1]);
  close(ends[1]);
  const std::string bytes = drain(ends[0], child, timeout_s, &run.died);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (run.died.empty() && WIFSIGNALED(status))
    run.died = "signal " + std::to_string(WTERMSIG(status));
  if (run.died.empty() && WEXITSTATUS(status) != 0)
    run.died = "exit " + std::to_string(WEXITSTATUS(status));
  if (run.died.empty()) run.answer = unpack(bytes);
  return run;
}

StepAnswer run_step(const StepRequest& request) {
  StepRun run = run_step_apart(request);
  if (!run.died.empty()) run.answer.misuse = run.died;
  return run.answer;
}

StepAnswer upload(const std::string& image) {
  return run_step({"upload", "upload", image, {}});
}

StepAnswer grayscale(const std::string& image, std::map<std::string, std::string> params) {
  return run_step({"grayscale", "grayscale", image, std::move(params)});
}

namespace fs = std::filesystem;
static fs::path corpus_root() {
  return fs::path(in_source("/../shared/corpus"));
}

bool has_corpus() {
  return fs::exists(corpus_root());
}

std::string corpus(const std::string& name) {
  std::ifstream file(corpus_root() / name, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::vector<std::string> corpus_files(const std::string& folder, const std::string& ending) {
  std::vector<std::string> names;
  if (!fs::exists(corpus_root() / folder)) return names;
  for (const auto& entry : fs::directory_iterator(corpus_root() / folder)) {
    if (entry.path().string().ends_with(ending))
      names.push_back(folder + "/" + entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace millrace::testing
