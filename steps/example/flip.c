/* flip: a whole plugin. One step that inverts every bit of a blob. Start your own from a copy of
 * this file. */
#include "engine/abi/step.h"

/* Called for each attempt, in a worker process. It is pure: nothing but its inputs goes in, nothing
 * but its outputs comes out, so it may run twice and nobody can tell. */
static int32_t run(const mr_call* call) {
  const mr_blob* in = &call->inputs[0];
  uint8_t chunk[64 * 1024];
  if (in->size == 0)
    return call->host->fail(call, "empty",
                            "there is not one byte to flip; pass a file that has some");
  for (uint64_t at = 0; at < in->size;) {
    const uint64_t n = in->size - at < sizeof chunk ? in->size - at : sizeof chunk;
    for (uint64_t i = 0; i < n; i++) chunk[i] = (uint8_t)~in->data[at + i];
    /* Anything but MR_OK: the host wants us to stop, or has no room; it knows why. */
    if (call->host->write(call, 0, chunk, n) != MR_OK) return MR_CANCELLED;
    at += n;
    if (call->host->progress(call, (uint32_t)(at * 1000 / in->size)) != MR_OK) return MR_CANCELLED;
  }
  call->host->describe(call, 0, "application/octet-stream", 0, 0);
  call->host->result_int(call, 0, (int64_t)in->size * 8);
  return MR_OK;
}

static const mr_port inputs[] = {
    {sizeof(mr_port), "data", "blob", "the bytes to flip", NULL, 0, 0}};
static const mr_port outputs[] = {
    {sizeof(mr_port), "data", "blob", "each bit inverted", NULL, 0, 0}};
static const mr_port results[] = {
    {sizeof(mr_port), "bits", "int", "how many were flipped", NULL, 0, 0}};
static const mr_reason reasons[] = {{sizeof(mr_reason), "empty", "The blob has no bytes.", 0}};

static const mr_step flip = {
    .size = sizeof(mr_step),
    .name = "flip",
    .major = 1,
    .effect = MR_PURE,
    .lane = MR_LANE_CPU,
    .doc = "Inverts every bit of a blob.",
    .inputs = inputs,
    .input_count = 1,
    .outputs = outputs,
    .output_count = 1,
    .results = results,
    .result_count = 1,
    .reasons = reasons,
    .reason_count = 1,
    .run = run,
};
static const mr_step* const steps[] = {&flip};

MR_EXPORT const mr_plugin mr_plugin_v1 = {
    .size = sizeof(mr_plugin),
    .abi_major = MR_ABI_MAJOR,
    .abi_minor = MR_ABI_MINOR,
    .name = "example",
    .version = "1.0",
    .steps = steps,
    .step_count = 1,
};
