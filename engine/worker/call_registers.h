// The registers of a system call that a filter stopped (SIGSYS): what it asked, and what it shall
// hear. Where the machine is not known here, nobody asks (kKnowsRegisters).
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace millrace {

#if defined(__x86_64__)
constexpr bool kKnowsRegisters = true;
inline uint64_t call_argument(const ucontext_t& at, int n) {
  return static_cast<uint64_t>(at.uc_mcontext.gregs[n == 0 ? REG_RDI : REG_RSI]);
}
inline void answer_call(ucontext_t* at, int64_t value) {
  at->uc_mcontext.gregs[REG_RAX] = value;
}
#elif defined(__aarch64__)
constexpr bool kKnowsRegisters = true;
inline uint64_t call_argument(const ucontext_t& at, int n) {
  return at.uc_mcontext.regs[n];
}
inline void answer_call(ucontext_t* at, int64_t value) {
  at->uc_mcontext.regs[0] = static_cast<uint64_t>(value);
}
#else
constexpr bool kKnowsRegisters = false;
inline uint64_t call_argument(const ucontext_t&, int) {
  return 0;
}
inline void answer_call(ucontext_t*, int64_t) {}
#endif

}  // namespace millrace
