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

// Ends the process, to the account of the current thread's call, when that call failed where next
// to no memory is left: what it may still hold would fail the calls beside and after it. Nothing
// happens in the server's own process. [any, io lane]
void end_if_memory_is_full();

// A thread that is to note even that its stack overflowed needs another one for the handler.
class SignalStack {
 public:
  SignalStack();

 private:
  char memory_[16 * 1024];
};

// How the process ended, for a person: `status` as of waitpid, the rest from its notes. [loop]
std::string how_it_died(int status, const SlabHeader& notes);

// The words that a failed step's message gets when the sandbox refused it something; else empty.
std::string refusal_words(const SlabHeader& notes);

}  // namespace millrace
