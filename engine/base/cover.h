// COVER("name"): marks a rare branch which some run of the simulator must reach.
//
// It costs one predicted branch and does nothing until somebody installs a sink, which only tests
// do. A name is one word with underscores; `tests/sim` lists the names it has to reach.
#pragma once

namespace millrace {

// Called with the name of each mark that is passed; null (the default): nobody listens. Set before
// any thread starts.
inline void (*cover_sink)(const char* name) = nullptr;

}  // namespace millrace

#define COVER(name)                                                                      \
  (__builtin_expect(::millrace::cover_sink != nullptr, 0) ? ::millrace::cover_sink(name) \
                                                          : static_cast<void>(0))
