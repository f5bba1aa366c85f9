// Steps whose result is a picture: the way from the host's call through a chain and back.
#pragma once

#include "steps/common/picture/operation.h"
#include "steps/common/picture/ports.h"

namespace millrace {

// A step of one operation. Its parameters are the kind's, then kOutputPorts.
int32_t run_operation(const mr_call* call, const OperationKind& kind);

// Runs a chain that is made by `make(job, chain)`; its output options are those of the call, whose
// kOutputPorts begin at parameter `first_output`.
int32_t run_chain_step(const mr_call* call, uint32_t first_output,
                       const std::function<Problem(PictureJob*, Chain*)>& make);

// Writes the result and says what it is.
int32_t finish_picture(PictureJob* job, const ChainResult& result);

// fail(), or MR_CANCELLED when the host has said stop.
int32_t fail_picture(const PictureJob& job, const Problem& problem);

}  // namespace millrace
