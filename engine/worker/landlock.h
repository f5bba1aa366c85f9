// Landlock: which paths a worker may use, by the kernel's own word. Raw system calls: the C library
// has none, and the constants must not depend on the headers that this is compiled with.
#pragma once

#include <vector>

#include "engine/pipeline/catalogue.h"
#include "engine/worker/workers.h"

namespace millrace {

// The kernel's version of it; 0: there is none.
int landlock_version();

// From now on this thread, and those that it makes, use no path but: on the io lane what `grants`
// names and, to be read, what resolvers, certificates and libraries need. On the cpu lane none at
// all, and no TCP. False: the kernel has no Landlock. Needs no_new_privs. [main, in a worker]
bool restrict_paths(Lane lane, const std::vector<PathGrant>& grants);

}  // namespace millrace
