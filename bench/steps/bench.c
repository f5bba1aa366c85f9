/* third: reads all of a blob and returns the first third of it, the sizes of a photograph made
 * gray. nothing: returns 200 bytes. overstay: never ends, and asks nobody. */
#include <string.h>
#include <unistd.h>

#include "engine/abi/step.h"

static volatile uint64_t sum;

static int32_t run_third(const mr_call* call) {
  const mr_blob* in = &call->inputs[0];
  uint64_t total = 0;
  for (uint64_t i = 0; i + 8 <= in->size; i += 8) {
    uint64_t word;
    memcpy(&word, in->data + i, 8);
    total += word;
  }
  sum = total;
  return call->host->write(call, 0, in->data, in->size / 3);
}

static int32_t run_nothing(const mr_call* call) {
  char text[200];
  memset(text, 'x', sizeof text);
  return call->host->result_string(call, 0, text, sizeof text);
}

static int32_t run_overstay(const mr_call* call) {
  (void)call;
  for (;;) {
    if (sleep(1000) > 1000) return MR_OK; /* never */
  }
}

static const mr_port data[] = {{sizeof(mr_port), "data", "blob", "", NULL, 0, 0}};
static const mr_port text[] = {{sizeof(mr_port), "text", "string", "", NULL, 0, 0}};
static const mr_step third = {.size = sizeof(mr_step),
                              .name = "third",
                              .major = 1,
                              .effect = MR_PURE,
                              .lane = MR_LANE_CPU,
                              .doc = "",
                              .inputs = data,
                              .input_count = 1,
                              .outputs = data,
                              .output_count = 1,
                              .run = run_third};
static const mr_step nothing = {.size = sizeof(mr_step),
                                .name = "nothing",
                                .major = 1,
                                .effect = MR_PURE,
                                .lane = MR_LANE_CPU,
                                .doc = "",
                                .results = text,
                                .result_count = 1,
                                .run = run_nothing};
static const mr_step overstay = {.size = sizeof(mr_step),
                                 .name = "overstay",
                                 .major = 1,
                                 .effect = MR_PURE,
                                 .lane = MR_LANE_CPU,
                                 .doc = "",
                                 .run = run_overstay};
static const mr_step* const steps[] = {&third, &nothing, &overstay};
MR_EXPORT const mr_plugin mr_plugin_v1 = {.size = sizeof(mr_plugin),
                                          .abi_major = MR_ABI_MAJOR,
                                          .abi_minor = MR_ABI_MINOR,
                                          .name = "bench",
                                          .version = "1",
                                          .steps = steps,
                                          .step_count = 3};
