#include "engine/worker/system_calls.h"

#include <fmt/core.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/worker/call_registers.h"
#include "engine/worker/sandbox.h"

namespace millrace {
namespace {

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
    SCMP_SYS(ioctl),
    SCMP_SYS(sysinfo),
    SCMP_SYS(umask),
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
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
};

// The same, but a step that then fails should hear of it: the handler of SIGSYS notes the call and
// answers EACCES. On machines whose registers it does not know they are simply refused.
const int kRefusedAndNoted[] = {
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
};

constexpr int kFchmodat2 = 452;  // younger than our headers; the same number everywhere

// No step of the io lane starts a process: it would outlive its attempt and the lane's limits.
const int kStartsProcesses[] = {
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
};

const int kForbiddenToIo[] = {
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(kcmp),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(rt_sigqueueinfo),
    SCMP_SYS(rt_tgsigqueueinfo),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    kFchmodat2,
    SCMP_SYS(chown),
    SCMP_SYS(fchown),
    SCMP_SYS(lchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(reboot),
};

constexpr uint32_t kNotedAction = kKnowsRegisters ? SCMP_ACT_TRAP : SCMP_ACT_ERRNO(EACCES);

void* nothing(void* /*unused*/) {
  return nullptr;
}

int add_cpu_rules(scmp_filter_ctx filter) {
  constexpr uint32_t kRefuse = SCMP_ACT_ERRNO(EACCES);
  int bad = 0;
  const auto rule = [&](uint32_t action, int call, auto... conditions) {
    bad |= seccomp_rule_add(filter, action, call, sizeof...(conditions), conditions...);
  };
  for (const int call : kAllowed) rule(SCMP_ACT_ALLOW, call);
  for (const int call : kRefused) rule(kRefuse, call);
  if (kNotedAction != SCMP_ACT_TRAP) {  // else the default
    for (const int call : kRefusedAndNoted) rule(kNotedAction, call);
  }
  // Memory, but no code of its own.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    rule(SCMP_ACT_ALLOW, call, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  }
  // Threads, but no processes. glibc falls back from clone3, whose flags cannot be seen, to clone.
  constexpr uint64_t kThread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
  rule(SCMP_ACT_ALLOW, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, kThread, kThread));
  rule(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
  rule(SCMP_ACT_ALLOW, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
  // Its own CPU time (CpuAllowance): whatever it gives itself, the server's timeout comes first.
  rule(SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), SCMP_A0(SCMP_CMP_EQ, 0),
       SCMP_A1(SCMP_CMP_EQ, RLIMIT_CPU));
  rule(kRefuse, SCMP_SYS(prlimit64), SCMP_A1(SCMP_CMP_NE, RLIMIT_CPU));
  // abort() signals itself; nobody else.
  rule(SCMP_ACT_ALLOW, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, static_cast<uint64_t>(getpid())));
  return bad;
}

int add_exit_rules(scmp_filter_ctx filter) {
  return seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(exit_group), 1,
                          SCMP_A1(SCMP_CMP_NE, kExitPass));
}

int add_io_rules(scmp_filter_ctx filter) {
  int bad = 0;
  for (const int call : kStartsProcesses) {
    bad |= seccomp_rule_add(filter, SCMP_ACT_TRAP, call, 0);
  }
  // Threads, as resolvers make them, are what the kernel lets share all of a process: the flag
  // implies the others. clone3 hides its flags, and glibc falls back from it to clone.
  bad |= seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(clone), 1,
                          SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
  bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  for (const int call : kForbiddenToIo) {
    bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
  }
  // abort() signals itself, limits are one's own; nobody else's.
  const auto self = static_cast<uint64_t>(getpid());
  bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(tgkill), 1,
                          SCMP_A0(SCMP_CMP_NE, self));
  bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 1,
                          SCMP_A0(SCMP_CMP_NE, 0));
  return bad;
}

Status load(uint32_t otherwise, int (*add_rules)(scmp_filter_ctx)) {
  scmp_filter_ctx filter = seccomp_init(otherwise);
  int bad = filter == nullptr ? -ENOMEM : add_rules(filter);
  // A plugin's start() may have made threads already.
  if (bad == 0) bad = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
  if (bad == 0) bad = seccomp_load(filter);
  if (filter != nullptr) seccomp_release(filter);
  if (bad == 0) return {};
  return Status::unavailable(errors::kWorkersUnavailable,
                             fmt::format("the system call filter of a worker cannot be loaded: {}; "
                                         "the kernel needs CONFIG_SECCOMP_FILTER",
                                         strerror(bad < 0 ? -bad : bad)));
}

}  // namespace

Status lock_cpu_calls() {
  // glibc installs a signal handler at the first thread, libraries read the time zone once.
  tzset();
  pthread_t thread;
  if (pthread_create(&thread, nullptr, nothing, nullptr) == 0) pthread_join(thread, nullptr);
  return load(SCMP_ACT_TRAP, add_cpu_rules);
}

Status lock_io_calls() {
  return load(SCMP_ACT_ALLOW, add_io_rules);
}

Status notice_exits() {
  if (!kKnowsRegisters) return {};
  return load(SCMP_ACT_ALLOW, add_exit_rules);
}

bool is_refused_call(int number) {
  return std::find(std::begin(kRefusedAndNoted), std::end(kRefusedAndNoted), number) !=
         std::end(kRefusedAndNoted);
}

std::string system_call_name(int number) {
  char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
  const std::string text = name == nullptr ? "?" : name;
  free(name);
  return text;
}

}  // namespace millrace
