/* fault: a step that misbehaves as its parameter says; one copy for each lane. Built with the tests
 * only. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/abi/step.h"

static volatile int sink;

static int32_t allocate_without_end(const mr_call* call, int ends_well) {
  for (;;) {
    char* block = malloc(1 << 20);
    if (block == NULL && ends_well) return MR_OK;
    if (block == NULL) return call->host->fail(call, "no_memory", "malloc said no");
    block[1000] = 1; /* the limit is one of addresses */
    sink += block[1000];
  }
}

/* More than is left when a step has used up all. */
static int32_t need_much(const mr_call* call) {
  char* block = malloc(64 << 20);
  if (block == NULL) return call->host->fail(call, "no_memory", "malloc said no");
  free(block);
  return MR_OK;
}

/* As most code does: without a look at what malloc() says. */
static void allocate_blindly(void) {
  for (;;) memset(malloc(1 << 20), 1, 4096);
}

static void corrupt_heap(void) {
  char* first = malloc(24);
  char* second = malloc(24);
  memset(first, 0x41, 64); /* over the head of the second */
  free(second);
  free(first);
  free(malloc(1 << 20));
  abort();
}

static int32_t say(const mr_call* call, const char* text) {
  return call->host->result_string(call, 0, text, strlen(text));
}

/* What most code does: an error of the system becomes the step's. */
static int32_t open_file(const mr_call* call, const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return call->host->fail(call, "broken", strerror(errno));
  close(file);
  return say(call, "opened");
}

static int32_t write_file(const mr_call* call, const char* path) {
  const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return call->host->fail(call, "broken", strerror(errno));
  close(file);
  return say(call, "written");
}

static int32_t open_socket(const mr_call* call, int64_t port) {
  const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int connected = s >= 0 && connect(s, (struct sockaddr*)&to, sizeof to) == 0;
  if (s >= 0) close(s);
  return connected ? say(call, "connected") : call->host->fail(call, "broken", strerror(errno));
}

static int32_t run_program(const mr_call* call) {
  char* arguments[] = {"/bin/true", NULL};
  execv(arguments[0], arguments);
  return call->host->fail(call, "broken", strerror(errno));
}

static int32_t sleep_politely(const mr_call* call, int64_t milliseconds) {
  const struct timespec moment = {0, 1000000};
  for (int64_t i = 0; i < milliseconds; i++) {
    if (call->host->progress(call, 0) != MR_OK) return MR_CANCELLED;
    nanosleep(&moment, NULL);
  }
  return call->host->result_string(call, 0, "slept", 5);
}

/* The test reads a byte from the pipe `path` and knows that this step runs. */
static int32_t say_and_sleep(const mr_call* call, const char* path, int64_t milliseconds) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  const int said = file >= 0 && write(file, "x", 1) == 1;
  if (file >= 0) close(file);
  if (!said) return call->host->fail(call, "broken", strerror(errno));
  return sleep_politely(call, milliseconds);
}

static int32_t write_much(const mr_call* call, int64_t size) {
  static uint8_t chunk[1 << 20];
  for (size_t i = 0; i < sizeof chunk; i++) chunk[i] = (uint8_t)(i * 7);
  for (int64_t left = size; left > 0;) {
    const int64_t n = left < (int64_t)sizeof chunk ? left : (int64_t)sizeof chunk;
    const int32_t status = call->host->write(call, 0, chunk, (uint64_t)n);
    if (status != MR_OK) return status;
    left -= n;
  }
  return MR_OK;
}

/* Two outputs written by turns, in odd pieces. */
static int32_t write_by_turns(const mr_call* call, int64_t size) {
  for (int64_t at = 0; at < size; at += 1000) {
    uint8_t chunk[1000];
    memset(chunk, (int)(at / 1000), sizeof chunk);
    if (call->host->write(call, 0, chunk, sizeof chunk) != MR_OK) return MR_FAILED;
    if (call->host->write(call, 1, chunk, 500) != MR_OK) return MR_FAILED;
  }
  return MR_OK;
}

/* Everything that looks like a socket gets a packet that is no frame. */
static int32_t write_garbage(int64_t kind) {
  char garbage[64];
  memset(garbage, 0xee, sizeof garbage);
  if (kind == 1) memset(garbage, 0, sizeof garbage);
  for (int fd = 3; fd < 64; fd++) send(fd, garbage, sizeof garbage, MSG_DONTWAIT | MSG_NOSIGNAL);
  sleep(5); /* until the host ends it */
  return MR_OK;
}

static void* report_from_thread(void* argument) {
  const mr_call* call = argument;
  call->host->result_string(call, 0, "x", 1);
  return NULL;
}

static int32_t use_other_thread(const mr_call* call) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, report_from_thread, (void*)call) != 0) return MR_FAILED;
  pthread_join(thread, NULL);
  return MR_OK;
}

static void* do_nothing(void* argument) {
  return argument;
}

static int32_t make_thread(const mr_call* call) {
  pthread_t thread;
  const int error = pthread_create(&thread, NULL, do_nothing, NULL);
  if (error != 0) return call->host->fail(call, "broken", strerror(error));
  pthread_join(thread, NULL);
  return say(call, "made");
}

static int32_t recurse(int depth) {
  volatile char frame[4096];
  frame[0] = (char)depth;
  return depth == -1 ? 0 : recurse(depth + 1) + frame[0];
}

/* As libraries that tear down what threads still use. */
static int crashes_at_exit;
__attribute__((destructor)) static void at_exit(void) {
  if (crashes_at_exit) abort();
}

static void exit_badly(int code) {
  crashes_at_exit = 1;
  exit(code);
}

/* As a library that runs a helper. */
static int32_t spawn_program(const mr_call* call) {
  char* arguments[] = {"/bin/true", NULL};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, arguments[0], NULL, NULL, arguments, NULL);
  return error == 0 ? say(call, "spawned") : call->host->fail(call, "broken", strerror(error));
}

static int32_t fork_child(const mr_call* call) {
  const pid_t pid = fork();
  if (pid == 0) _exit(0);
  return say(call, pid > 0 ? "forked" : "refused");
}

static int32_t vfork_child(const mr_call* call) {
  const pid_t pid = vfork();
  if (pid == 0) _exit(0);
  return say(call, pid > 0 ? "forked" : "refused");
}

static int32_t run(const mr_call* call) {
  const char* path = call->params[3].kind == MR_VALUE_STRING ? call->params[3].s : "/etc/passwd";
  const char* how = call->params[0].kind == MR_VALUE_STRING ? call->params[0].s : "ok";
  const int64_t n = call->params[1].kind == MR_VALUE_INT ? call->params[1].i : 0;
  if (strcmp(how, "ok") == 0) return call->host->result_string(call, 0, "fine", 4);
  if (strcmp(how, "crash") == 0) raise(SIGSEGV), sink = *(volatile int*)8;
  if (strcmp(how, "crash_while") == 0 && access(path, F_OK) == 0) abort();
  if (strcmp(how, "crash_while") == 0) return call->host->result_string(call, 0, "fine", 4);
  if (strcmp(how, "overflow") == 0) return recurse(0);
  if (strcmp(how, "abort") == 0) abort();
  if (strcmp(how, "exit") == 0) exit((int)n);
  if (strcmp(how, "_exit") == 0) _exit((int)n);
  if (strcmp(how, "exit_badly") == 0) exit_badly((int)n);
  if (strcmp(how, "hang") == 0) {
    for (;;) sleep(1000);
  }
  if (strcmp(how, "spin") == 0) {
    for (;;) sink++;
  }
  if (strcmp(how, "sleep") == 0) return sleep_politely(call, n);
  if (strcmp(how, "say_and_sleep") == 0) return say_and_sleep(call, path, n);
  if (strcmp(how, "allocate") == 0) return allocate_without_end(call, n != 0);
  if (strcmp(how, "need") == 0) return need_much(call);
  if (strcmp(how, "garbage") == 0) return write_garbage(n);
  if (strcmp(how, "write") == 0) return write_much(call, n);
  if (strcmp(how, "turns") == 0) return write_by_turns(call, n);
  if (strcmp(how, "echo") == 0)
    return call->host->write(call, 0, call->inputs[0].data, call->inputs[0].size);
  if (strcmp(how, "forward") == 0) return call->host->forward(call, 0, 0);
  if (strcmp(how, "fail") == 0) {
    call->host->retry_after(call, 1500);
    call->host->note(call, "503 Service Unavailable");
    return call->host->fail(call, "broken", "it is broken");
  }
  if (strcmp(how, "undeclared") == 0) return call->host->fail(call, "never_declared", "hm");
  if (strcmp(how, "failed") == 0) return MR_FAILED;
  if (strcmp(how, "cancelled") == 0) return MR_CANCELLED;
  if (strcmp(how, "status") == 0) return 77;
  if (strcmp(how, "own_thread") == 0) return make_thread(call);
  if (strcmp(how, "thread") == 0) return use_other_thread(call);
  if (strcmp(how, "wrong_output") == 0) return call->host->write(call, 9, "x", 1), MR_OK;
  if (strcmp(how, "wrong_type") == 0) return call->host->result_int(call, 0, 1), MR_OK;
  if (strcmp(how, "bad_json") == 0) return call->host->result_json(call, 1, "{\"a\":", 5);
  if (strcmp(how, "json") == 0)
    return call->host->result_json(call, 1, "{ \"b\": 1, \"a\": [true] }", 23);
  if (strcmp(how, "bad_text") == 0) return call->host->result_string(call, 0, "\xff\xfe", 2);
  if (strcmp(how, "setting") == 0) {
    const char* value = call->host->setting(call, "test.secret");
    if (value == NULL || call->host->setting(call, "test.other") != NULL) return MR_FAILED;
    return call->host->result_string(call, 0, value, strlen(value));
  }
  if (strcmp(how, "blind") == 0) allocate_blindly();
  if (strcmp(how, "heap") == 0) corrupt_heap();
  if (strcmp(how, "open") == 0) return open_file(call, path);
  if (strcmp(how, "create") == 0) return write_file(call, path);
  if (strcmp(how, "socket") == 0) return open_socket(call, n);
  if (strcmp(how, "exec") == 0) return run_program(call);
  if (strcmp(how, "raise") == 0) return raise((int)n), MR_OK;
  if (strcmp(how, "fork") == 0) return fork_child(call);
  if (strcmp(how, "vfork") == 0) return vfork_child(call);
  if (strcmp(how, "spawn") == 0) return spawn_program(call);
  if (strcmp(how, "environment") == 0) {
    const char* value = getenv("MILLRACE_TEST_SECRET");
    if (value == NULL) value = "";
    return call->host->result_string(call, 0, value, strlen(value));
  }
  if (strcmp(how, "attempt") == 0)
    return call->host->result_string(call, 0, call->effect_key, strlen(call->effect_key));
  return call->host->fail(call, "broken", how);
}

#define PORT(name, type) \
  { sizeof(mr_port), name, type, "", NULL, 0, 0 }
static const mr_port inputs[] = {PORT("data", "blob?")};
static const mr_port params[] = {PORT("how", "string?"), PORT("n", "int?"),
                                 PORT("options", "json?"), PORT("path", "string?")};
static const mr_port outputs[] = {PORT("data", "blob?"), PORT("more", "blob?")};
static const mr_port results[] = {PORT("text", "string?"), PORT("json", "json?")};
static const mr_reason reasons[] = {{sizeof(mr_reason), "broken", "It is broken.", MR_TRANSIENT},
                                    {sizeof(mr_reason), "no_memory", "No memory.", 0}};

#define STEP(step_name, step_lane, step_effect, keys, per_pixel)                                   \
  {                                                                                                \
    .size = sizeof(mr_step), .name = step_name, .major = 3, .effect = step_effect,                 \
    .lane = step_lane, .doc = "Misbehaves.", .inputs = inputs, .input_count = 1, .params = params, \
    .param_count = 4, .outputs = outputs, .output_count = 2, .results = results,                   \
    .result_count = 2, .reasons = reasons, .reason_count = 2, .settings = keys, .run = run,        \
    .memory_per_pixel = per_pixel                                                                  \
  }
static const mr_step fault = STEP("fault", MR_LANE_CPU, MR_PURE, NULL, 0);
static const mr_step fault_io = STEP("fault_io", MR_LANE_IO, MR_KEYED, "test.secret test.unset", 0);
static const mr_step fault_once = STEP("fault_once", MR_LANE_IO, MR_ONCE, NULL, 0);
static const mr_step fault_memory = STEP("fault_memory", MR_LANE_CPU, MR_PURE, NULL, 1);
static const mr_step* const steps[] = {&fault, &fault_io, &fault_once, &fault_memory};

MR_EXPORT const mr_plugin mr_plugin_v1 = {
    .size = sizeof(mr_plugin),
    .abi_major = MR_ABI_MAJOR,
    .abi_minor = MR_ABI_MINOR,
    .name = "fault",
    .version = "1",
    .steps = steps,
    .step_count = 4,
};
