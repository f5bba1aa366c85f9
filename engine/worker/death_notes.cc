#include "engine/worker/death_notes.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "engine/worker/call_registers.h"
#include "engine/worker/sandbox.h"

namespace millrace {
namespace {

constexpr size_t kMemoryProbeBytes = 16 << 20;

SlabHeader* g_notes = nullptr;
thread_local uint32_t t_slot = 0;

void note_culprit() {
  uint32_t nobody = 0;
  if (t_slot != 0) g_notes->culprit.compare_exchange_strong(nobody, t_slot);
}

// Writable, since the io lane's limit counts nothing else.
bool is_limit_reached() {
  void* probe =
      mmap(nullptr, kMemoryProbeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED) return true;
  munmap(probe, kMemoryProbeBytes);
  return false;
}

// The default action follows: SA_RESETHAND, and the fault happens again.
void on_fatal_signal(int signal) {
  note_culprit();
  if (is_limit_reached()) g_notes->memory_full.store(1);
  raise(signal);
}

// What the allocator and the C library look at by themselves says nothing about the step.
bool is_habit(const char* path) {
  return path == nullptr || strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/sys/", 5) == 0;
}

void on_forbidden_call(int /*signal*/, siginfo_t* info, void* context) {
  auto* at = static_cast<ucontext_t*>(context);
  const int number = info->si_syscall;
  if (is_refused_call(number)) {
    const bool path_first = number != SYS_openat && number != SYS_unlinkat;
    const auto* path = reinterpret_cast<const char*>(call_argument(*at, path_first ? 0 : 1));
    if (!is_habit(path)) g_notes->refused_call.store(static_cast<uint32_t>(number) + 1);
    return answer_call(at, -EACCES);
  }
  note_culprit();
  g_notes->forbidden_call.store(static_cast<uint32_t>(number) + 1);
  // The signal is blocked while its handler runs: to cause it again is the end, in either lane.
  syscall(SYS_execve, nullptr, nullptr, nullptr);
  _exit(128 + SIGSYS);
}

// At once: what would be torn down on the way out is in use by the other threads' steps.
void on_regular_exit(int status, void* /*unused*/) {
  note_culprit();
  _exit(status);
}

std::string named(uint32_t note) {
  return system_call_name(static_cast<int>(note - 1));
}

std::string why(int signal, const SlabHeader& notes) {
  const uint32_t call = notes.forbidden_call.load();
  switch (signal) {
    case SIGSYS:
      if (call == 0) return " (it made a system call that the sandbox forbids)";
      return fmt::format(" (it called {}, which the sandbox forbids)", named(call));
    case SIGXCPU:
      return " (it used more CPU time than its timeout allows on two cores)";
    case SIGXFSZ:
      return " (it wrote a file beyond the limit)";
    case SIGKILL:
      return " (from outside, or the machine's memory ran out)";
    default:
      return notes.memory_full.load() != 0 ? " (its limit of memory was reached)" : "";
  }
}

}  // namespace

SignalStack::SignalStack() {
#if !defined(__SANITIZE_ADDRESS__)  // it has one of its own in each thread, and looks for it
  stack_t stack{};
  stack.ss_sp = memory_;
  stack.ss_size = sizeof memory_;
  sigaltstack(&stack, nullptr);
#endif
}

void set_current_slot(uint32_t slot) {
  t_slot = slot;
}

bool memory_is_full() {
  return g_notes != nullptr && is_limit_reached();
}

void retire_with_full_memory() {
  g_notes->memory_full.store(1);
  _exit(0);
}

void write_death_notes(Slab* slab, bool cpu_lane) {
  g_notes = &slab->header();
  struct sigaction action {};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND | SA_NODEFER);
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    sigaction(signal, &action, nullptr);
  }
  struct sigaction forbidden {};
  forbidden.sa_sigaction = on_forbidden_call;
  forbidden.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSYS, &forbidden, nullptr);
  if (cpu_lane) return;
  std::signal(SIGXFSZ, SIG_IGN);  // the write fails with EFBIG
  on_exit(on_regular_exit, nullptr);
}

bool says_it_retired(int status, const SlabHeader& notes) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 && notes.memory_full.load() != 0;
}

std::string how_it_died(int status, const SlabHeader& notes) {
  if (says_it_retired(status, notes)) return "it ended because a step had left it no memory";
  if (!WIFSIGNALED(status)) {
    return fmt::format("it ended with exit status {}", WEXITSTATUS(status));
  }
  const int signal = WTERMSIG(status);
  const char* name = sigabbrev_np(signal);
  return fmt::format("killed by signal SIG{}{}", name == nullptr ? "?" : name, why(signal, notes));
}

std::string refusal_words(const SlabHeader& notes) {
  const uint32_t call = notes.refused_call.load(std::memory_order_relaxed);
  if (call == 0) return "";
  return fmt::format("; the sandbox refused it the system call {}", named(call));
}

}  // namespace millrace
