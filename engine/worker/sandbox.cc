#include "engine/worker/sandbox.h"

#include <fmt/core.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "engine/base/errors.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MILLRACE_SANITIZED 1
#else
#define MILLRACE_SANITIZED 0
#endif

namespace millrace {
namespace {

void set_limit(__rlimit_resource resource, rlim_t value) {
  rlimit limit{};
  getrlimit(resource, &limit);
  limit.rlim_cur =
      limit.rlim_max == RLIM_INFINITY || value < limit.rlim_max ? value : limit.rlim_max;
  limit.rlim_max = limit.rlim_cur;
  setrlimit(resource, &limit);
}

uint64_t address_space_bytes() {
  unsigned long pages = 0;
  if (FILE* file = fopen("/proc/self/statm", "re")) {
    if (fscanf(file, "%lu", &pages) != 1) pages = 0;
    fclose(file);
  }
  return uint64_t{pages} * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void* nothing(void* /*unused*/) {
  return nullptr;
}

// What image codecs, glibc's allocator and threads were seen to need.
const int kAllowed[] = {
    SCMP_SYS(futex),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(membarrier),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(uname),
};

// What libraries try and do without.
const int kRefused[] = {
    SCMP_SYS(openat),
    SCMP_SYS(open),
    SCMP_SYS(ioctl),
    SCMP_SYS(sysinfo),
    SCMP_SYS(umask),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(getpeername),
    SCMP_SYS(access),
    SCMP_SYS(faccessat2),
    SCMP_SYS(faccessat),
    SCMP_SYS(readlink),
    SCMP_SYS(stat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(getcwd),
    SCMP_SYS(fcntl),
    SCMP_SYS(sched_setscheduler),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(prlimit64),
    SCMP_SYS(socket),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
};

int add_rules(scmp_filter_ctx filter) {
  int bad = 0;
  for (const int call : kAllowed) bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
  for (const int call : kRefused) bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), call, 0);
  // Memory, but no code of its own.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
                            SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  }
  // Threads, but no processes. glibc falls back from clone3, whose flags cannot be seen, to clone.
  constexpr uint64_t kThread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
  bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                          SCMP_A0(SCMP_CMP_MASKED_EQ, kThread, kThread));
  bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                          SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
  // abort() signals itself; nobody else.
  bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                          SCMP_A0(SCMP_CMP_EQ, static_cast<uint64_t>(getpid())));
  return bad;
}

}  // namespace

void apply_limits(Lane lane, uint64_t memory_bytes_max) {
  set_limit(RLIMIT_CORE, 0);
  set_limit(RLIMIT_NOFILE, lane == Lane::kCpu ? 64 : 4096);
  if (memory_bytes_max > 0 && !MILLRACE_SANITIZED) {
    set_limit(RLIMIT_AS, address_space_bytes() + memory_bytes_max);
  }
}

Status lock_system_calls() {
  if (MILLRACE_SANITIZED) return {};
  // glibc installs a signal handler at the first thread, libraries read the time zone once.
  tzset();
  pthread_t thread;
  if (pthread_create(&thread, nullptr, nothing, nullptr) == 0) pthread_join(thread, nullptr);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  int bad = filter == nullptr ? -ENOMEM : add_rules(filter);
  if (bad == 0) bad = seccomp_load(filter);
  if (filter != nullptr) seccomp_release(filter);
  if (bad == 0) return {};
  return Status::unavailable(errors::kWorkersUnavailable,
                             fmt::format("the system call filter of a worker cannot be loaded: {}; "
                                         "the kernel needs CONFIG_SECCOMP_FILTER",
                                         strerror(bad < 0 ? -bad : bad)));
}

Status try_system_call_lock() {
  const auto cannot = [](const char* why) {
    return Status::unavailable(
        errors::kWorkersUnavailable,
        fmt::format("a worker cannot be locked into its system calls: {}; the kernel needs "
                    "CONFIG_SECCOMP_FILTER, and a container must allow seccomp",
                    why));
  };
  const pid_t child = fork();
  if (child < 0) return cannot(strerror(errno));
  if (child == 0) _exit(lock_system_calls().ok() ? 0 : 1);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return cannot(strerror(errno));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return cannot(WIFEXITED(status) ? "the filter was refused" : "the filter killed its own test");
}

}  // namespace millrace
