// CHECK: what only a bug can break. On in release too: a wrong engine must stop before it writes.
//
// ON_THREAD(kLoop) asserts that a function runs on the thread its header names. A thread says which
// it is once, with set_thread(); a thread that never did (tests, the command line) may call
// anything.
#pragma once

#include <cstdint>

namespace millrace {

// Prints file, line, the condition and `detail` (may be null) to stderr and aborts. Exit by signal,
// never a return. [any]
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const char* detail = nullptr);

enum class Thread : uint8_t { kAny, kLoop, kWriter, kBlob, kReader };

void set_thread(Thread thread);  // [any] once per thread
Thread current_thread();         // [any]

}  // namespace millrace

#define CHECK(condition)                                                                        \
  (__builtin_expect(!(condition), 0) ? ::millrace::check_failed(__FILE__, __LINE__, #condition) \
                                     : static_cast<void>(0))
// As CHECK, with a C string that says what the bug would be.
#define CHECK_MSG(condition, detail)                                      \
  (__builtin_expect(!(condition), 0)                                      \
       ? ::millrace::check_failed(__FILE__, __LINE__, #condition, detail) \
       : static_cast<void>(0))
#define ON_THREAD(thread)                                           \
  CHECK(::millrace::current_thread() == ::millrace::Thread::kAny || \
        ::millrace::current_thread() == ::millrace::Thread::thread)
