#include "engine/worker/call_ends.h"

#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "engine/plugin/outcome.h"

namespace millrace {

using Kind = StepOutcome::Kind;

namespace {

StepOutcome make(Kind kind, int number, const char* reason, std::string message) {
  StepOutcome outcome;
  outcome.kind = kind;
  outcome.number = number;
  outcome.reason = reason;
  outcome.message = std::move(message);
  return outcome;
}

StepOutcome unreadable_outcome(const StepCall& call, const std::string& path) {
  StepOutcome outcome =
      make(Kind::kFailed, errors::kInputUnreadable, "input_unreadable",
           fmt::format("an input of step '{}' cannot be read: {}", call.step, path));
  outcome.transient = true;
  return outcome;
}

}  // namespace

StepOutcome replied_outcome(const WorkerLink::Held& held, CallEnd end,
                            const std::shared_ptr<ByteBudget>& budget) {
  const StepCall& call = held.waiting.call;
  const bool cancelled = end.status == MR_CANCELLED;
  if (cancelled && end.reason == "input_unreadable") {
    return unreadable_outcome(call, clean_text(end.message, 300));
  }
  // What succeeded in the last moment has succeeded, above all when it is an effect.
  if (held.timed_out && end.status != MR_OK) return timeout_outcome(call);
  if (cancelled && held.stopping) return stopped_outcome(call, true);
  if (cancelled) {
    return invalid_result(*call.decl, "says it was cancelled, but nobody had asked it to stop");
  }
  return outcome_of(*call.decl, call.with, std::move(end), budget);
}

StepOutcome unwritten_outcome(const StepCall& call, CallWritten written) {
  CHECK(written == CallWritten::kTooLarge || written == CallWritten::kUnreadable);
  if (written == CallWritten::kUnreadable) {
    return unreadable_outcome(call, "it is not in memory and its file cannot be read");
  }
  return make(Kind::kFailed, errors::kInputTooLarge, "input_too_large",
              fmt::format("the inputs of step '{}' together exceed the {} that a worker can be "
                          "handed",
                          call.step, format_size(static_cast<int64_t>(kSlabInputBytes))));
}

StepOutcome timeout_outcome(const StepCall& call) {
  if (call.until_us <= monotonic_us()) {
    return make(Kind::kTimeout, errors::kStepTimeout, "timeout",
                fmt::format("step '{}' was stopped because its deadline or its job's timeout was "
                            "reached",
                            call.step));
  }
  return make(Kind::kTimeout, errors::kStepTimeout, "timeout",
              fmt::format("step '{}' ran longer than its timeout of {} and was stopped", call.step,
                          format_duration(call.timeout_ms)));
}

StepOutcome stopped_outcome(const StepCall& call, bool begun) {
  return make(
      Kind::kStopped, errors::kStepStopped, "stopped",
      fmt::format("step '{}' was stopped{}", call.step, begun ? "" : " before it had begun"));
}

StepOutcome died_outcome(const StepCall& call, int pid, const std::string& how) {
  return make(Kind::kWorkerDied, errors::kWorkerDied, "worker_died",
              fmt::format("worker process {} died under step '{}' ({} of plugin {}): {}", pid,
                          call.step, call.decl->name, call.decl->plugin, how));
}

StepOutcome requeued_outcome(const std::string& why) {
  return make(Kind::kRequeued, errors::kWorkerDied, "worker_died", why);
}

}  // namespace millrace
