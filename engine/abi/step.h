/*
 * step.h: the contract between millrace and a plugin. C99, no other header of millrace is needed.
 *
 * A plugin is one shared object that exports one const symbol, `mr_plugin_v1`. It declares steps;
 * a step is one blocking C function. steps/example/ is a whole plugin in about 30 lines.
 *
 * Rules, for the whole file:
 *  1. Each struct begins with its size as its writer's compiler saw it. New members come at the
 *     end only. The host never reads beyond a plugin's `size`, a plugin never beyond the
 *     host's; so a plugin built against an older header keeps loading. MR_ABI_MAJOR changes
 *     when this promise cannot be kept.
 *  2. Nothing allocated on one side is freed on the other. What the host passes is valid until
 *     run() returns; what the plugin passes is copied before the host call returns. A plugin's
 *     declarations are const and live for ever: plugins are never unloaded.
 *  3. Text is UTF-8, NUL-terminated where no length stands beside it. Names are
 *     [a-z][a-z0-9_]*.
 *  4. Threads: run() is called in a worker process, one call at a time on the cpu lane
 *     (MR_LANE_CPU), up to `workers.io` calls at a time, on different threads, on the io lane
 *     (MR_LANE_IO). The host's functions may be called only from the thread that run() was
 *     called on, with the `call` that it was given.
 *  5. A step may be killed at any instant and run again with the same inputs. What that may
 *     repeat is its `effect`.
 *  6. Cpu-lane steps have no network, no files, and no new processes: opening a file fails with
 *     EACCES, other forbidden system calls end the process. Io-lane steps have the network, the
 *     settings that they declare, and of the file system the configured stores, their inputs, /etc
 *     and /usr; to start a process ends theirs. Neither has the server's environment or stderr;
 *     with `workers.isolation: thread` a plugin that is being written has both.
 */
#ifndef MILLRACE_STEP_H
#define MILLRACE_STEP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MR_ABI_MAJOR 1u
#define MR_ABI_MINOR 1u

/* What run() returns. Anything else counts as MR_FAILED with reason "invalid_result". */
#define MR_OK 0        /* every required output was written */
#define MR_FAILED 1    /* fail() said why */
#define MR_CANCELLED 2 /* the host said stop, and we stopped */

/* mr_step.effect: what a repeated run may do to the world. */
#define MR_PURE 0       /* nothing: a function of its inputs */
#define MR_IDEMPOTENT 1 /* lands on the same state */
#define MR_KEYED 2 /* carries call->effect_key to a receiver that can tell a repetition by it */
#define MR_ONCE 3  /* must never be repeated by itself; an unknown outcome waits for a person */

/* mr_step.lane */
#define MR_LANE_CPU 0
#define MR_LANE_IO 1

/* One input, parameter, output or result that a step declares.
 * `type` is a type of the pipeline language: blob, image, bool, int, float, string, duration, size,
 * url, json, enum<a,b>, list<T>, map<T>; with a trailing ? it is optional. Blobs and images are
 * passed as bytes, all others as values. */
typedef struct mr_port {
  uint32_t size; /* sizeof(mr_port) */
  const char* name;
  const char* type;
  const char* doc; /* one sentence */
  const char*
      default_value; /* as a pipeline would write it; NULL: none. Not for blobs and results. */
  int64_t min, max;  /* of an int; both 0: no bounds */
} mr_port;

#define MR_TRANSIENT \
  1u /* mr_reason.flags: trying again may help; retried when the pipeline allows attempts */
/* mr_reason.flags: what the step writes to is full. Waited out: tried again until the pipeline's
 * timeout, which does not count as an attempt. Without effect on steps that are MR_ONCE. */
#define MR_NO_SPACE 2u

/* One way in which a step can fail: the word that pipelines use in `on` and `except`. */
typedef struct mr_reason {
  uint32_t size; /* sizeof(mr_reason) */
  const char* name;
  const char* doc; /* what happened and what to do about it, one or two sentences */
  uint32_t flags;
} mr_reason;

/* A blob input. `data` is NULL and `present` 0 for an absent optional. The bytes never change while
 * run() runs. */
typedef struct mr_blob {
  uint32_t size_of; /* sizeof(mr_blob) as the host sees it */
  uint32_t present;
  const uint8_t* data;
  uint64_t size; /* bytes */
  const char* media_type;
  const char* digest;     /* "sha256:…", or NULL when the host does not know it (yet) */
  const char* path;       /* io lane only: a read-only file with exactly these bytes, or NULL */
  uint32_t width, height; /* pixels, 0 when no step has seen the image yet */
} mr_blob;

#define MR_VALUE_ABSENT 0
#define MR_VALUE_BOOL 1   /* i is 0 or 1 */
#define MR_VALUE_INT 2    /* i; also durations (milliseconds) and sizes (bytes) */
#define MR_VALUE_FLOAT 3  /* d */
#define MR_VALUE_STRING 4 /* s, n: the text; also urls and enums */
#define MR_VALUE_JSON 5   /* s, n: canonical JSON text (RFC 8785); also lists and maps */

/* A parameter, after defaults. s is NUL-terminated behind its n bytes. */
typedef struct mr_value {
  uint32_t size_of; /* sizeof(mr_value) as the host sees it */
  uint32_t kind;
  int64_t i;
  double d;
  const char* s;
  uint64_t n;
} mr_value;

struct mr_call;

/* What the host does for a running step. Every function is valid for the time of one run(). Those
 * that return int32_t answer MR_OK, MR_CANCELLED when the step should stop now (return MR_CANCELLED
 * soon), or MR_FAILED when the step used them wrongly (it then fails with reason
 * "invalid_result"). MR_CANCELLED is said 50 ms, or a tenth of the timeout if that is less, before
 * the attempt's time is over; what still succeeds then counts; then the process is killed. A step
 * whose job does not want it any more has 20 ms. */
typedef struct mr_host {
  uint32_t size; /* sizeof(mr_host) as the host sees it */
  /* Appends bytes to blob output number `output` (the order of mr_step.outputs). */
  int32_t (*write)(const struct mr_call* call, uint32_t output, const void* data, uint64_t size);
  /* Says what the written or forwarded bytes of an output are. Width and height in pixels, 0 for
   * what is no image. */
  int32_t (*describe)(const struct mr_call* call, uint32_t output, const char* media_type,
                      uint32_t width, uint32_t height);
  /* Makes the bytes of blob input `input` output `output`: no copy, no second hash. Instead of
   * write(). */
  int32_t (*forward)(const struct mr_call* call, uint32_t output, uint32_t input);
  /* Sets result number `result` (the order of mr_step.results); by its declared type. */
  int32_t (*result_int)(const struct mr_call* call, uint32_t result,
                        int64_t value); /* bool int duration size */
  int32_t (*result_float)(const struct mr_call* call, uint32_t result, double value);
  int32_t (*result_string)(const struct mr_call* call, uint32_t result, const char* text,
                           uint64_t size);
  int32_t (*result_json)(const struct mr_call* call, uint32_t result, const char* text,
                         uint64_t size);
  /* Says why this attempt fails; `reason` is one of mr_step.reasons, `message` a sentence for a
   * person: what, the value, the limit, what to do; never a secret. Returns MR_FAILED, so that
   * `return host->fail(…);` reads well. */
  int32_t (*fail)(const struct mr_call* call, const char* reason, const char* message);
  /* The other side asked to be left alone for so long: the next attempt is not made earlier. */
  int32_t (*retry_after)(const struct mr_call* call, int64_t milliseconds);
  /* One line (at most 200 bytes) that the job's record keeps about this attempt, such as "503
   * Service Unavailable". */
  int32_t (*note)(const struct mr_call* call, const char* text);
  /* How far the step is, 0 to 1000; also the way to learn whether to stop. Cheap: call it often. */
  int32_t (*progress)(const struct mr_call* call, uint32_t permille);
  /* The configuration under a key that mr_step.settings names, as JSON text; "null" when it is not
   * set. NULL for a key that the step did not declare. Secrets arrive resolved: never log or store
   * them. */
  const char* (*setting)(const struct mr_call* call, const char* key);
  /* Since 1.1. After describe() of an output with several frames or pages: the pixels of all of
   * them together, by which the memory of the steps that read it is reckoned. Not said: width x
   * height. */
  int32_t (*pixels)(const struct mr_call* call, uint32_t output, uint64_t pixels);
} mr_host;

/* One attempt of one step. */
typedef struct mr_call {
  uint32_t size; /* sizeof(mr_call) as the host sees it */
  const mr_host* host;
  void* context;          /* the host's; not for the plugin */
  const mr_blob* inputs;  /* one for each of mr_step.inputs, in that order */
  const mr_value* params; /* one for each of mr_step.params, in that order */
  const char* job;        /* the job's id in text form */
  const char* step;       /* the step's id in the pipeline */
  const char*
      effect_key; /* the same in every attempt, never the same for two jobs; NULL for a pure step */
  uint32_t attempt;   /* from 1 */
  int64_t timeout_ms; /* from now until progress() says MR_CANCELLED, shortly before it is killed */
  uint64_t pixels_max; /* limits.pixels: over all frames of one image */
} mr_call;

/* Since 1.1. A value of an input or parameter with which a step takes more; each number counts
 * instead of the step's own where it is more. */
typedef struct mr_memory {
  uint32_t size;      /* sizeof(mr_memory) */
  const char* port;   /* the input's or parameter's name */
  const char* value;  /* of a bool, string or enum; of a blob its media type, such as image/webp */
  uint64_t per_pixel; /* as mr_step.memory_per_pixel */
  uint64_t per_result_pixel; /* as mr_step.memory_per_result_pixel */
} mr_memory;

typedef struct mr_step {
  uint32_t size; /* sizeof(mr_step) */
  const char* name;
  uint32_t major, minor; /* of this step's behaviour; jobs pin the major */
  uint32_t effect;
  uint32_t lane;
  const char* doc;       /* what it does, a short paragraph */
  const mr_port* inputs; /* blobs */
  uint32_t input_count;
  const mr_port* params; /* values */
  uint32_t param_count;
  const mr_port* outputs; /* blobs */
  uint32_t output_count;
  const mr_port* results; /* values */
  uint32_t result_count;
  const mr_reason* reasons;
  uint32_t reason_count;
  const char* settings; /* io lane: configuration keys, separated by spaces; NULL: none */
  int32_t (*run)(const mr_call* call);
  /* Since 1.1, cpu lane. The most memory that run() takes beside the bytes of its inputs and
   * outputs: memory_base, memory_per_pixel for each pixel of every blob input, over all its frames,
   * and memory_per_result_pixel for each pixel that comes out: as many as go in, or, where the int
   * parameters result_width and result_height are given, as many as fill such a side. Either may
   * name a json parameter instead: the largest number under a name `width` or `height` in it, at
   * any depth, is such a side, of a picture of the input's shape or of four to one, whichever is
   * longer, and no fewer count than go in. A call waits until so much of `workers.memory` is free.
   * All 0: it is not known, and the call does not wait. */
  uint64_t memory_base;
  uint64_t memory_per_pixel;
  uint64_t memory_per_result_pixel;
  const char* result_width; /* NULL: no such parameter */
  const char* result_height;
  const mr_memory* memory;
  uint32_t memory_count;
} mr_step;

typedef struct mr_plugin {
  uint32_t size;                 /* sizeof(mr_plugin) */
  uint32_t abi_major, abi_minor; /* MR_ABI_MAJOR, MR_ABI_MINOR */
  const char* name;
  const char* version; /* of the plugin, for people */
  const mr_step* const* steps;
  uint32_t step_count;
  /* Called once in the template process before workers are forked, or NULL. Must not start threads
   * (libraries that do so at their first operation are fine when no operation runs here). 0, or the
   * plugin is refused with `error`. */
  int32_t (*load)(char* error, size_t error_size);
  /* Called once in each worker process before its first step, or NULL; may start threads. Same
   * result. */
  int32_t (*start)(char* error, size_t error_size);
} mr_plugin;

/* The one symbol: MR_EXPORT const mr_plugin mr_plugin_v1 = {…}; */
#define MR_SYMBOL "mr_plugin_v1"
#if defined(__GNUC__)
#define MR_EXPORT __attribute__((visibility("default")))
#else
#define MR_EXPORT
#endif

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MILLRACE_STEP_H */
