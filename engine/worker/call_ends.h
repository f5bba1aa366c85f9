// How calls end, in words: the outcomes that the workers themselves make. Shared by the pool of
// processes and the threads.
#pragma once

#include <string>

#include "engine/core/event.h"
#include "engine/worker/worker_link.h"

namespace millrace {

// The worker answered; `end` is complete. [loop]
StepOutcome replied_outcome(const WorkerLink::Held& held, CallEnd end,
                            const std::shared_ptr<ByteBudget>& budget);
// The call could not be handed to a worker; not for kYes and kNoRoom. [any]
StepOutcome unwritten_outcome(const StepCall& call, CallWritten written);
StepOutcome timeout_outcome(const StepCall& call);
StepOutcome stopped_outcome(const StepCall& call, bool begun);
StepOutcome died_outcome(const StepCall& call, int pid, const std::string& how);
// `why`: what happened to the worker, through no fault of this call.
StepOutcome requeued_outcome(const std::string& why);

}  // namespace millrace
