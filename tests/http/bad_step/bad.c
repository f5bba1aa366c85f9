/* bad: steps that break the contract, each in one way, for `millrace steps --check`. Built with the
 * tests only. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/abi/step.h"

static int32_t say(const mr_call* call, const char* text) {
  return call->host->result_string(call, 0, text, strlen(text));
}

/* Something else each time, although it says that it is pure. */
static int32_t changing(const mr_call* call) {
  char text[32];
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  snprintf(text, sizeof text, "%ld.%09ld", (long)now.tv_sec, now.tv_nsec);
  return say(call, text);
}

/* Declares a text and never gives one. */
static int32_t silent(const mr_call* call) {
  (void)call;
  return MR_OK;
}

static void nap(long milliseconds) {
  const struct timespec moment = {0, milliseconds * 1000000};
  nanosleep(&moment, NULL);
}

/* Busy for a while, and hears nothing. */
static int32_t deaf(const mr_call* call) {
  for (int i = 0; i < 40; i++) nap(10);
  return say(call, "done");
}

/* The same, but it asks. */
static int32_t polite(const mr_call* call) {
  for (int i = 0; i < 400; i++) {
    nap(1);
    if (call->host->progress(call, (uint32_t)i * 2) != MR_OK) return MR_CANCELLED;
  }
  return say(call, "done");
}

/* Takes an image of any size. */
static int32_t boundless(const mr_call* call) {
  return say(call, "what limit?");
}

/* Takes images of no size: the sample has 64 pixels. */
static int32_t bounded(const mr_call* call) {
  if (call->pixels_max < 64) return call->host->fail(call, "too_many_pixels", "64 pixels");
  return say(call, "fine");
}

static int32_t fails(const mr_call* call) {
  return call->host->fail(call, "surprise", "boo");
}

#define PORT(name, type, doc) \
  { sizeof(mr_port), name, type, doc, NULL, 0, 0 }
static const mr_port image[] = {PORT("image", "image", "any image")};
static const mr_port text[] = {PORT("text", "string", "what it has to say")};
static const mr_port secret[] = {PORT("knob", "int?", "")};
static const mr_reason too_many[] = {
    {sizeof(mr_reason), "too_many_pixels", "More pixels than limits.pixels.", 0}};

#define STEP(name_, run_, ...)                                 \
  static const mr_step step_##run_ = {.size = sizeof(mr_step), \
                                      .name = name_,           \
                                      .major = 1,              \
                                      .effect = MR_PURE,       \
                                      .lane = MR_LANE_CPU,     \
                                      .doc = "Bad.",           \
                                      .results = text,         \
                                      .result_count = 1,       \
                                      .run = run_,             \
                                      __VA_ARGS__}
STEP("changing", changing, .minor = 0);
STEP("silent", silent, .minor = 0);
STEP("deaf", deaf, .minor = 0);
STEP("polite", polite, .minor = 0);
STEP("fails", fails, .minor = 0);
STEP("boundless", boundless, .inputs = image, .input_count = 1, .memory_per_pixel = 1);
STEP("bounded", bounded, .inputs = image, .input_count = 1, .reasons = too_many, .reason_count = 1);
static int32_t undocumented(const mr_call* call) {
  return say(call, "fine");
}
STEP("undocumented", undocumented, .params = secret, .param_count = 1);

static const mr_step* const steps[] = {&step_changing, &step_silent,      &step_deaf,
                                       &step_polite,   &step_fails,       &step_boundless,
                                       &step_bounded,  &step_undocumented};

MR_EXPORT const mr_plugin mr_plugin_v1 = {
    .size = sizeof(mr_plugin),
    .abi_major = MR_ABI_MAJOR,
    .abi_minor = MR_ABI_MINOR,
    .name = "bad",
    .version = "1",
    .steps = steps,
    .step_count = sizeof steps / sizeof *steps,
};
