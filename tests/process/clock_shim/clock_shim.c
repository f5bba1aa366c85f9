/* clock_shim.so, for LD_PRELOAD: adds an offset to the wall clock, and to no other.
 *
 * CLOCK_SHIM names a file whose first eight bytes are the offset in nanoseconds; it is mapped, so
 * that a test may set the clock while the process runs. The template process has an environment of
 * its own and keeps the true time. Waits until a moment of the wall clock (the driver of MongoDB
 * has such) are the kernel's, which knows no offset: it is taken off what they are given. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define SECOND 1000000000
/* Moments behind it are of the wall clock; no machine runs for so many seconds (31 years). */
#define WALL_CLOCK_FROM 1000000000

static const int64_t* offset_ns;
static int (*real_clock)(clockid_t, struct timespec*);
static int (*real_wait)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*);

__attribute__((constructor)) static void open_offset(void) {
  real_clock = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  const char* name = getenv("CLOCK_SHIM");
  if (name == NULL) return;
  const int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) abort();
  void* map = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) abort();
  close(fd);
  offset_ns = map;
}

EXPORT int clock_gettime(clockid_t id, struct timespec* out) {
  if (real_clock == NULL)
    real_clock = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  const int done = real_clock(id, out);
  if (done != 0 || offset_ns == NULL || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
    return done;
  const int64_t all =
      out->tv_sec * (int64_t)SECOND + out->tv_nsec + __atomic_load_n(offset_ns, __ATOMIC_SEQ_CST);
  out->tv_sec = all / SECOND;
  out->tv_nsec = all % SECOND;
  return 0;
}

/* The one with today's layout of pthread_cond_t: x86-64 has an older one under the same name. */
static void find_wait(void) {
  void* wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (wait == NULL) wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  real_wait = (int (*)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*))wait;
}

EXPORT int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  const struct timespec* until) {
  if (real_wait == NULL) find_wait();
  if (offset_ns == NULL || until->tv_sec < WALL_CLOCK_FROM)
    return real_wait(condition, mutex, until);
  const int64_t all = until->tv_sec * (int64_t)SECOND + until->tv_nsec -
                      __atomic_load_n(offset_ns, __ATOMIC_SEQ_CST);
  const struct timespec shifted = {.tv_sec = all / SECOND, .tv_nsec = all % SECOND};
  return real_wait(condition, mutex, &shifted);
}

EXPORT int gettimeofday(struct timeval* out, void* zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}

EXPORT time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}
