// Death notes: what a worker process that dies of a signal still says, in the slab: whose thread it
// was, which forbidden system call, whether its memory had run out. Hints only: a worker may write
// there whatever it likes.
#pragma once

#include <string>

#include "engine/worker/slab.h"

namespace millrace {

// Installs the handlers; before the sandbox is entered. [main, in a worker]
void write_death_notes(Slab* slab, bool cpu_lane);

// Which call the current thread runs: 1 + its slot, 0 for none.
void set_current_slot(uint32_t slot);

// Whether next to no memory is left to this process, below a limit of its own: what a call that
// failed there may still hold would fail those beside and after it. Never in the server's own
// process. [any]
bool memory_is_full();

// Ends the process for that, between two calls: no call is to pay for it. [main, cpu lane]
[[noreturn]] void retire_with_full_memory();

// A thread that is to note even that its stack overflowed needs another one for the handler.
class SignalStack {
 public:
  SignalStack();

 private:
  char memory_[16 * 1024];
};

// Whether it ended by retire_with_full_memory(), or pretends to have. [loop]
bool says_it_retired(int status, const SlabHeader& notes);

// How the process ended, for a person: `status` as of waitpid, the rest from its notes. [loop]
std::string how_it_died(int status, const SlabHeader& notes);

// The words that a failed step's message gets when the sandbox refused it something; else empty.
std::string refusal_words(const SlabHeader& notes);

}  // namespace millrace
