// Loops that the compiler makes of whole registers, in two versions: wider registers where the
// machine has them. Which one runs is decided when the plugin is loaded.
//
// Both give the same numbers: nothing but loops whose order of sums does not matter may be declared
// so. Sanitizers cannot run code as early as the choice is made.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MILLRACE_WIDE __attribute__((optimize("O3"), target_clones("avx2", "default")))
#else
#define MILLRACE_WIDE
#endif
#define MILLRACE_INLINE inline __attribute__((always_inline))
