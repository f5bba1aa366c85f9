/* noop: two steps that do nothing, for tests and benchmarks of the engine itself. */
#include <string.h>

#include "engine/abi/step.h"

#define DEFAULT_BYTES 200

/* Result 0 is parameter 0, or 200 bytes of 'x'. */
static int32_t run(const mr_call* call) {
  const mr_value* data = &call->params[0];
  if (data->kind == MR_VALUE_STRING) return call->host->result_string(call, 0, data->s, data->n);
  char text[DEFAULT_BYTES];
  memset(text, 'x', sizeof text);
  return call->host->result_string(call, 0, text, sizeof text);
}

static const mr_port params[] = {
    {sizeof(mr_port), "data", "string?", "what to return; 200 bytes of x when absent", NULL, 0, 0}};
static const mr_port results[] = {
    {sizeof(mr_port), "data", "string", "the parameter, unchanged", NULL, 0, 0}};

static const mr_step noop = {
    .size = sizeof(mr_step),
    .name = "noop",
    .major = 1,
    .effect = MR_PURE,
    .lane = MR_LANE_CPU,
    .doc = "Returns its parameter. Pure: it may run before anything is durable.",
    .params = params,
    .param_count = 1,
    .results = results,
    .result_count = 1,
    .run = run,
};

static const mr_step noop_keyed = {
    .size = sizeof(mr_step),
    .name = "noop_keyed",
    .major = 1,
    .effect = MR_KEYED,
    .lane = MR_LANE_CPU,
    .doc =
        "The same, declared as an effect under a key: it starts only after everything before it "
        "is durable.",
    .params = params,
    .param_count = 1,
    .results = results,
    .result_count = 1,
    .run = run,
};

static const mr_step* const steps[] = {&noop, &noop_keyed};

MR_EXPORT const mr_plugin mr_plugin_v1 = {
    .size = sizeof(mr_plugin),
    .abi_major = MR_ABI_MAJOR,
    .abi_minor = MR_ABI_MINOR,
    .name = "noop",
    .version = "1.0",
    .steps = steps,
    .step_count = 2,
};
