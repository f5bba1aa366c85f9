#include "engine/worker/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "engine/worker/landlock.h"
#include "engine/worker/system_calls.h"

namespace millrace {
namespace {

constexpr uid_t kNobody = 65534;
constexpr rlim_t kCpuDescriptorsMax = 64;
constexpr rlim_t kIoDescriptorsMax = 4096;
constexpr int64_t kAllowanceKeptUs = 1'000'000;
constexpr rlim_t kAllowanceSlackSeconds = 2;

void set_limit(__rlimit_resource resource, rlim_t value) {
  rlimit limit{};
  getrlimit(resource, &limit);
  limit.rlim_cur =
      limit.rlim_max == RLIM_INFINITY || value < limit.rlim_max ? value : limit.rlim_max;
  limit.rlim_max = limit.rlim_cur;
  setrlimit(resource, &limit);
}

// Of /proc/self/statm: all address space, and what of it is private and writable.
struct MappedBytes {
  uint64_t all = 0, data = 0;
};

MappedBytes mapped_bytes() {
  unsigned long all = 0, data = 0;
  if (FILE* file = fopen("/proc/self/statm", "re")) {
    if (fscanf(file, "%lu %*u %*u %*u %*u %lu", &all, &data) != 2) all = data = 0;
    fclose(file);
  }
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return {all * page, data * page};
}

void apply_limits(const SandboxPlan& plan) {
  const bool cpu = plan.lane == Lane::kCpu;
  set_limit(RLIMIT_CORE, 0);
  set_limit(RLIMIT_NOFILE, cpu ? kCpuDescriptorsMax : kIoDescriptorsMax);
  set_limit(RLIMIT_FSIZE, cpu ? 0 : static_cast<rlim_t>(kBlobBytesMax));
  set_limit(RLIMIT_MEMLOCK, 0);
  if (plan.memory_bytes_max == 0) return;
  const MappedBytes now = mapped_bytes();
  if (cpu) set_limit(RLIMIT_AS, now.all + plan.memory_bytes_max);
  if (!cpu) set_limit(RLIMIT_DATA, now.data + plan.memory_bytes_max);
}

// As root: leaves only the right to use files of any owner, which a `file:` store may need.
void keep_file_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return;
  constexpr uint32_t kKept = 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER;
  for (__user_cap_data_struct& half : data) {
    half.effective &= &half == data ? kKept : 0;
    half.permitted &= &half == data ? kKept : 0;
    half.inheritable = 0;
  }
  syscall(SYS_capset, &header, data);
}

// A user of its own without any right, and a network without interfaces. Root becomes nobody first,
// since inside the namespace it would still own root's files.
bool leave_namespaces() {
  const pid_t parent = getppid();
  if (geteuid() == 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(kNobody, kNobody, kNobody) != 0 ||
        setresuid(kNobody, kNobody, kNobody) != 0) {
      keep_file_capabilities();
    }
  }
  const bool left = unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
  // A change of user forgets that this process dies with its parent.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  return left;
}

}  // namespace

void close_other_descriptors(const std::vector<int>& keep) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  // A sanitizer's report is worth more than a clean log.
  for (int standard = 0; standard < (kSanitized ? 2 : 3); standard++) {
    if (null >= 0) dup2(null, standard);
  }
  std::vector<int> sorted = keep;
  std::sort(sorted.begin(), sorted.end());
  unsigned first = 3;
  for (const int fd : sorted) {
    const auto kept = static_cast<unsigned>(fd);
    if (kept > first) close_range(first, kept - 1, 0);
    first = std::max(first, kept + 1);
  }
  close_range(first, ~0u, 0);
}

Result<uint32_t> enter_sandbox(const SandboxPlan& plan) {
  uint32_t layers = 0;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) layers |= kLayerNoNewPrivileges;
  if (kSanitized) return layers;
  if (plan.lane == Lane::kCpu) {
    if (leave_namespaces()) layers |= kLayerNamespaces;
  } else if (geteuid() == 0) {
    keep_file_capabilities();
  }
  apply_limits(plan);
  layers |= kLayerLimits;
  if (restrict_paths(plan.lane, plan.paths)) layers |= kLayerLandlock;
  RETURN_IF_ERROR(plan.lane == Lane::kCpu ? lock_cpu_calls() : lock_io_calls());
  return layers | kLayerSystemCalls;
}

void CpuAllowance::allow(int64_t timeout_ms) {
  const int64_t now_us = monotonic_us();
  if (timeout_ms <= armed_ms_ && now_us - armed_us_ < kAllowanceKeptUs) return;
  armed_us_ = now_us;
  armed_ms_ = timeout_ms;
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  rlimit limit{};
  limit.rlim_cur = static_cast<rlim_t>(used.tv_sec) + kAllowanceSlackSeconds +
                   cores_ * (static_cast<rlim_t>(timeout_ms) / 1000 + 1);
  limit.rlim_max = RLIM_INFINITY;
  setrlimit(RLIMIT_CPU, &limit);
}

}  // namespace millrace
