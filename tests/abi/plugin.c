/* One plugin in many variants: each wrong in one way, as VARIANT says. */
#ifdef OLD_HEADER
#include "tests/abi/old_step.h"
#else
#include "engine/abi/step.h"
#endif
#include <stdlib.h>
#include <string.h>

#define GOOD 0
#define WRONG_MAJOR 1
#define NEWER_MINOR 2
#define BAD_TYPE 3
#define BAD_NAME 4
#define NO_SIZE 5
#define BLOB_PARAM 6
#define CRASHES 7
#define REFUSES 8
#define BAD_DEFAULT 9
#define CPU_SETTINGS 10
#define BAD_EFFECT 11
#define IO_MEMORY 12
#define MEMORY_TOO_MUCH 13
#define MEMORY_PORT 14
#define MEMORY_SIDE 15

#ifndef STEP_NAME
#define STEP_NAME "abi_step"
#endif

static int32_t run(const mr_call* call) {
  const mr_blob* second = &call->inputs[1];
  if (call->params[0].kind != MR_VALUE_INT || call->params[0].i != 7)
    return call->host->fail(call, "wrong", "param");
  if (second->size != 3 || memcmp(second->data, "two", 3) != 0)
    return call->host->fail(call, "wrong", "input");
  return call->host->result_int(call, 1, call->params[0].i + (int64_t)call->inputs[0].size);
}

static const mr_port inputs[] = {
    {.size = sizeof(mr_port), .name = "first", .type = "blob", .doc = ""},
    {.size = sizeof(mr_port), .name = "second", .type = "image", .doc = ""}};
static const mr_port params[] = {
#if VARIANT == BAD_TYPE
    {.size = sizeof(mr_port), .name = "number", .type = "lisst<int>", .doc = ""}
#elif VARIANT == BAD_NAME
    {.size = sizeof(mr_port), .name = "Number", .type = "int", .doc = ""}
#elif VARIANT == NO_SIZE
    {.name = "number", .type = "int", .doc = ""}
#elif VARIANT == BLOB_PARAM
    {.size = sizeof(mr_port), .name = "number", .type = "list<blob>", .doc = ""}
#elif VARIANT == BAD_DEFAULT
    {.size = sizeof(mr_port), .name = "number", .type = "int", .doc = "", .default_value = "seven"}
#else
    {.size = sizeof(mr_port), .name = "number", .type = "int", .doc = "", .default_value = "7"}
#endif
};
static const mr_port results[] = {
    {.size = sizeof(mr_port), .name = "unset", .type = "string?", .doc = ""},
    {.size = sizeof(mr_port), .name = "sum", .type = "int", .doc = ""}};
static const mr_reason reasons[] = {{.size = sizeof(mr_reason), .name = "other", .doc = ""},
                                    {.size = sizeof(mr_reason), .name = "wrong", .doc = ""}};

#if (VARIANT == GOOD && !defined(OLD_HEADER)) || VARIANT == MEMORY_PORT
static const mr_memory more[] = {{sizeof(mr_memory), "number", "1", 8, 0},
#if VARIANT == MEMORY_PORT
                                 {sizeof(mr_memory), "no_such_port", "1", 8, 0}};
#else
                                 {sizeof(mr_memory), "second", "image/webp", 9, 10}};
#endif
#endif

static const mr_step step = {
    .size = sizeof(mr_step),
    .name = STEP_NAME,
    .major = 1,
#if VARIANT == IO_MEMORY
    .lane = MR_LANE_IO,
#else
    .lane = MR_LANE_CPU,
#endif
#if VARIANT == GOOD && !defined(OLD_HEADER)
    .memory_base = 1000000,
    .memory_per_pixel = 4,
    .memory_per_result_pixel = 5,
    .result_width = "number",
    .memory = more,
    .memory_count = 2,
#elif VARIANT == IO_MEMORY
    .memory_base = 1,
#elif VARIANT == MEMORY_TOO_MUCH
    .memory_per_pixel = (uint64_t)1 << 21,
#elif VARIANT == MEMORY_SIDE
    .memory_base = 1,
    .result_height = "second",
#elif VARIANT == MEMORY_PORT
    .memory = more,
    .memory_count = 2,
#endif
#if VARIANT == BAD_EFFECT
    .effect = 9,
#else
    .effect = MR_PURE,
#endif
#if VARIANT == CPU_SETTINGS
    .settings = "a b",
#endif
    .doc = "",
    .inputs = inputs,
    .input_count = 2,
    .params = params,
    .param_count = 1,
    .results = results,
    .result_count = 2,
    .reasons = reasons,
    .reason_count = 2,
    .run = run,
};
static const mr_step* const steps[] = {&step};

#if VARIANT == CRASHES
static int32_t load(char* error, size_t size) {
  (void)error, (void)size;
  abort();
}
#elif VARIANT == REFUSES
static int32_t load(char* error, size_t size) {
  strncpy(error, "no such luck", size - 1);
  return 1;
}
#endif

#ifndef SYMBOL
#define SYMBOL mr_plugin_v1
#endif
MR_EXPORT const mr_plugin SYMBOL = {
    .size = sizeof(mr_plugin),
#if VARIANT == WRONG_MAJOR
    .abi_major = MR_ABI_MAJOR + 1,
#else
    .abi_major = MR_ABI_MAJOR,
#endif
#if VARIANT == NEWER_MINOR
    .abi_minor = MR_ABI_MINOR + 1,
#else
    .abi_minor = MR_ABI_MINOR,
#endif
    .name = "abi",
    .version = "1",
    .steps = steps,
    .step_count = 1,
#if VARIANT == CRASHES || VARIANT == REFUSES
    .load = load,
#endif
};
