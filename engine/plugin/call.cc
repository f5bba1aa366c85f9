#include "engine/plugin/call.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "engine/base/limits.h"
#include "engine/base/time.h"

namespace millrace {
namespace {

constexpr size_t kNoteBytesMax = 200;
constexpr size_t kMediaTypeBytesMax = 255;

struct Running {
  const CallInput* input;
  PieceSink* sink;
  CallEnd* end;
  std::thread::id thread;
  std::atomic<bool> foreign_thread{false};
  bool failed = false;  // fail() was called
};

const StepDecl& decl_of(const Running& running) {
  return running.input->step->decl;
}

bool stop_wanted(const Running& running) {
  return running.input->cancel != nullptr &&
         running.input->cancel->load(std::memory_order_relaxed) != 0;
}

int32_t go_on(const Running& running) {
  return stop_wanted(running) ? MR_CANCELLED : MR_OK;
}

// Only the first wrong use is kept: what follows is often its consequence.
int32_t wrong(Running* running, std::string message) {
  if (!running->end->invalid) {
    running->end->invalid = true;
    running->end->message = std::move(message);
  }
  return MR_FAILED;
}

// Null when the call comes from another thread: then nothing of it may be touched but one flag.
Running* enter(const mr_call* call) {
  auto* running = static_cast<Running*>(call->context);
  if (running->thread == std::this_thread::get_id()) return running;
  running->foreign_thread.store(true, std::memory_order_relaxed);
  return nullptr;
}

int32_t host_write(const mr_call* call, uint32_t output, const void* data, uint64_t size) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  auto& outputs = running->end->outputs;
  if (output >= outputs.size()) {
    return wrong(running,
                 fmt::format("write() to output {}, the step declares {}", output, outputs.size()));
  }
  CallOutput& to = outputs[output];
  if (to.forward >= 0) {
    return wrong(running, fmt::format("write() to output '{}', which was forwarded",
                                      decl_of(*running).outputs[output].name));
  }
  if (data == nullptr && size > 0) return wrong(running, "write() of a null pointer");
  const auto most = static_cast<uint64_t>(kBlobBytesMax);
  to.piece.set = true;
  if (size > most || to.piece.size > most - size || !running->sink->append(&to.piece, data, size)) {
    return wrong(running, fmt::format("output '{}' is larger than a worker can hand over: {} bytes "
                                      "are written and {} more do not fit",
                                      decl_of(*running).outputs[output].name, to.piece.size, size));
  }
  return go_on(*running);
}

int32_t host_describe(const mr_call* call, uint32_t output, const char* media_type, uint32_t width,
                      uint32_t height) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  auto& outputs = running->end->outputs;
  if (output >= outputs.size()) {
    return wrong(running, fmt::format("describe() of output {}, the step declares {}", output,
                                      outputs.size()));
  }
  if (media_type == nullptr || strnlen(media_type, kMediaTypeBytesMax + 1) > kMediaTypeBytesMax) {
    return wrong(running, "describe() without a media type, or with one above 255 bytes");
  }
  CallOutput& to = outputs[output];
  to.described = true;
  to.media_type = media_type;
  to.width = width;
  to.height = height;
  to.pixels = 0;
  return go_on(*running);
}

int32_t host_pixels(const mr_call* call, uint32_t output, uint64_t pixels) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  auto& outputs = running->end->outputs;
  if (output >= outputs.size()) {
    return wrong(running, fmt::format("pixels() of output {}, the step declares {}", output,
                                      outputs.size()));
  }
  if (!outputs[output].described) return wrong(running, "pixels() before describe()");
  outputs[output].pixels = pixels;
  return go_on(*running);
}

int32_t host_forward(const mr_call* call, uint32_t output, uint32_t input) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  auto& outputs = running->end->outputs;
  const auto& inputs = running->input->inputs;
  if (output >= outputs.size() || input >= inputs.size()) {
    return wrong(running,
                 fmt::format("forward() of input {} as output {}, the step declares {} and "
                             "{}",
                             input, output, inputs.size(), outputs.size()));
  }
  if (inputs[input].present == 0) {
    return wrong(running, fmt::format("forward() of input '{}', which is absent",
                                      decl_of(*running).inputs[input].name));
  }
  if (outputs[output].piece.set) {
    return wrong(running, fmt::format("forward() as output '{}', which was written",
                                      decl_of(*running).outputs[output].name));
  }
  outputs[output].forward = static_cast<int32_t>(input);
  return go_on(*running);
}

using Kind = Type::Kind;

Kind bare_kind(const Type& type) {
  return type.kind;
}

// The result to be set, or null after wrong().
CallResult* result_at(Running* running, uint32_t result, std::initializer_list<Kind> kinds,
                      const char* function) {
  const auto& results = decl_of(*running).results;
  if (result >= results.size()) {
    wrong(running,
          fmt::format("{}() of result {}, the step declares {}", function, result, results.size()));
    return nullptr;
  }
  const PortDecl& port = results[result];
  if (std::find(kinds.begin(), kinds.end(), bare_kind(port.type)) == kinds.end()) {
    wrong(running, fmt::format("{}() of result '{}', which is declared as {}", function, port.name,
                               port.type.text()));
    return nullptr;
  }
  return &running->end->results[result];
}

int32_t host_result_int(const mr_call* call, uint32_t result, int64_t value) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  CallResult* to = result_at(running, result,
                             {Kind::kBool, Kind::kInt, Kind::kDuration, Kind::kSize}, "result_int");
  if (to == nullptr) return MR_FAILED;
  const bool is_bool = decl_of(*running).results[result].type.kind == Kind::kBool;
  to->kind = is_bool ? MR_VALUE_BOOL : MR_VALUE_INT;
  to->i = value;
  return go_on(*running);
}

int32_t host_result_float(const mr_call* call, uint32_t result, double value) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  CallResult* to = result_at(running, result, {Kind::kFloat}, "result_float");
  if (to == nullptr) return MR_FAILED;
  if (!std::isfinite(value)) {
    return wrong(running, fmt::format("result_float() of result '{}': {} is no JSON number",
                                      decl_of(*running).results[result].name, value));
  }
  to->kind = MR_VALUE_FLOAT;
  to->d = value;
  return go_on(*running);
}

int32_t set_text(Running* running, uint32_t result, CallResult* to, uint32_t kind, const char* text,
                 uint64_t size) {
  const char* name = decl_of(*running).results[result].name.c_str();
  if (text == nullptr && size > 0) {
    return wrong(running, fmt::format("result '{}': a null pointer", name));
  }
  if (to->kind != MR_VALUE_ABSENT) {
    return wrong(running, fmt::format("result '{}' is set twice", name));
  }
  if (size > kSpilledJsonBytesMax || !running->sink->append(&to->piece, text, size)) {
    return wrong(running, fmt::format("result '{}' has {} bytes, at most {} are possible", name,
                                      size, kSpilledJsonBytesMax));
  }
  to->kind = kind;
  to->piece.set = true;
  return go_on(*running);
}

int32_t host_result_string(const mr_call* call, uint32_t result, const char* text, uint64_t size) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  CallResult* to =
      result_at(running, result, {Kind::kString, Kind::kUrl, Kind::kEnum}, "result_string");
  if (to == nullptr) return MR_FAILED;
  return set_text(running, result, to, MR_VALUE_STRING, text, size);
}

int32_t host_result_json(const mr_call* call, uint32_t result, const char* text, uint64_t size) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  CallResult* to =
      result_at(running, result, {Kind::kJson, Kind::kList, Kind::kMap}, "result_json");
  if (to == nullptr) return MR_FAILED;
  return set_text(running, result, to, MR_VALUE_JSON, text, size);
}

int32_t host_fail(const mr_call* call, const char* reason, const char* message) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  const std::string name = reason == nullptr ? "" : reason;
  const std::string text = message == nullptr ? "" : message;
  const auto& reasons = decl_of(*running).reasons;
  if (std::none_of(reasons.begin(), reasons.end(),
                   [&](const ReasonDecl& declared) { return declared.name == name; })) {
    return wrong(running,
                 fmt::format("fail() with reason '{}', which the step does not declare; it "
                             "said: {}",
                             name, text));
  }
  running->failed = true;
  running->end->reason = name;
  if (!running->end->invalid) running->end->message = text;
  return MR_FAILED;
}

int32_t host_retry_after(const mr_call* call, int64_t milliseconds) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  running->end->retry_after_ms = std::max<int64_t>(milliseconds, 0);
  return go_on(*running);
}

int32_t host_note(const mr_call* call, const char* text) {
  Running* running = enter(call);
  if (running == nullptr) return MR_FAILED;
  running->end->note.assign(text == nullptr ? "" : text,
                            text == nullptr ? 0 : strnlen(text, kNoteBytesMax));
  return go_on(*running);
}

int32_t host_progress(const mr_call* call, uint32_t /*permille*/) {
  Running* running = enter(call);
  return running == nullptr ? MR_FAILED : go_on(*running);
}

const char* host_setting(const mr_call* call, const char* key) {
  Running* running = enter(call);
  if (running == nullptr || key == nullptr) return nullptr;
  const auto& declared = decl_of(*running).settings;
  if (std::find(declared.begin(), declared.end(), key) == declared.end()) return nullptr;
  if (running->input->settings != nullptr) {
    for (const auto& [name, json] : *running->input->settings) {
      if (name == key) return json.c_str();
    }
  }
  return "null";
}

const mr_host kHost = {sizeof(mr_host), host_write,        host_describe,      host_forward,
                       host_result_int, host_result_float, host_result_string, host_result_json,
                       host_fail,       host_retry_after,  host_note,          host_progress,
                       host_setting,    host_pixels};

void reset(const StepDecl& decl, CallEnd* end) {
  end->status = MR_OK;
  end->invalid = false;
  end->reason.clear();
  end->message.clear();
  end->note.clear();
  end->retry_after_ms = 0;
  end->run_us = 0;
  end->outputs.clear();
  end->outputs.resize(decl.outputs.size());
  end->results.clear();
  end->results.resize(decl.results.size());
}

// What the step returned, against what it did.
void judge(const Running& running, int32_t status, CallEnd* end) {
  if (running.foreign_thread.load(std::memory_order_relaxed)) {
    end->invalid = true;
    end->message = "a function of the host was called from another thread than run()'s";
  }
  if (!end->invalid && status == MR_FAILED && !running.failed) {
    end->invalid = true;
    end->message = "run() returned MR_FAILED without fail() having said why";
  }
  if (!end->invalid && status != MR_OK && status != MR_FAILED && status != MR_CANCELLED) {
    end->invalid = true;
    end->message = fmt::format("run() returned {}, which is not a result", status);
  }
  if (!end->invalid && status == MR_CANCELLED && !stop_wanted(running)) {
    end->invalid = true;
    end->message = "run() returned MR_CANCELLED although nobody had asked it to stop";
  }
  end->status = end->invalid ? MR_FAILED : status;
}

}  // namespace

bool HeapSink::append(Piece* piece, const void* data, uint64_t size) {
  piece->bytes.append(static_cast<const char*>(data), size);
  piece->size += size;
  return true;
}

void run_step(const CallInput& input, PieceSink* sink, CallEnd* end) {
  const StepDecl& decl = input.step->decl;
  reset(decl, end);
  Running running{&input, sink, end, std::this_thread::get_id(), false, false};
  mr_call call{};
  call.size = sizeof call;
  call.host = &kHost;
  call.context = &running;
  call.inputs = input.inputs.data();
  call.params = input.params.data();
  call.job = input.job;
  call.step = input.step_id;
  call.effect_key = input.effect_key;
  call.attempt = input.attempt;
  call.timeout_ms = input.timeout_ms;
  call.pixels_max = input.pixels_max;
  const int64_t began_us = monotonic_us();
  const int32_t status = input.step->run(&call);
  end->run_us = monotonic_us() - began_us;
  judge(running, status, end);
}

}  // namespace millrace
