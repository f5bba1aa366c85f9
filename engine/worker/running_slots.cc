#include "engine/worker/running_slots.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>

#include "engine/base/check.h"
#include "engine/base/errors.h"
#include "engine/worker/call_registers.h"
#include "engine/worker/system_calls.h"

namespace millrace {
namespace {

constexpr char kMagic[8] = {'m', 'r', 's', 'l', 'o', 't', 's', '1'};
constexpr uint32_t kRunning = 1, kFaulted = 2, kExited = 3;  // phases; 0: no process, or it decided
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

thread_local uint32_t t_slot = 0;  // 1 + the slot of the step that this thread runs; 0: none

void copy_name(char* to, size_t size, const char* from) {
  const size_t length = strnlen(from, size - 1);
  memcpy(to, from, length);
  memset(to + length, 0, size - length);
}

}  // namespace

// What signal handlers see. They only write into the mapped file.
struct FaultHandlers {
  static inline std::atomic<RunningSlots::File*> file{nullptr};
  static inline struct sigaction before[sizeof kSignals / sizeof kSignals[0]];

  static void mark(uint32_t phase, int signal, int exit_status) {
    RunningSlots::File* to = file.load();
    if (to == nullptr) return;
    RunningSlots::Header& header = to->header;
    uint32_t running = kRunning;
    if (!header.phase.compare_exchange_strong(running, phase)) return;
    header.signal.store(signal);
    header.exit_status.store(exit_status);
    header.dying.store(t_slot);
  }

  static void on_fault(int signal, siginfo_t* info, void* /*context*/) {
    const bool sent = info->si_code <= 0;
    if (!sent || info->si_pid == getpid()) mark(kFaulted, signal, 0);
    for (size_t i = 0; i < std::size(kSignals); i++) {
      if (kSignals[i] == signal) sigaction(signal, &before[i], nullptr);
    }
    // A fault happens again by itself; what was sent is sent again, and comes when we return.
    if (sent) raise(signal);
  }

  static void on_exit_call(int /*signal*/, siginfo_t* info, void* context) {
    if (info->si_syscall != SYS_exit_group) return;
    const auto status = static_cast<int>(call_argument(*static_cast<ucontext_t*>(context), 0));
    mark(kExited, 0, status);
    for (;;) syscall(SYS_exit_group, status, kExitPass);
  }

  static void install() {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &action, &before[i]);
    action.sa_sigaction = on_exit_call;
    sigaction(SIGSYS, &action, nullptr);
  }
};

RunningSlots::~RunningSlots() {
  if (file_ == nullptr) return;
  end();
  munmap(file_, sizeof(File));
}

LastRun RunningSlots::read(const File& file) {
  LastRun last;
  const Header& header = file.header;
  if (memcmp(header.magic, kMagic, sizeof kMagic) != 0) return last;
  const uint32_t dying = header.dying.load();
  switch (header.phase.load()) {
    case kRunning:
      last.end = LastRun::End::kOutside;
      break;
    case kFaulted:
      last.end = LastRun::End::kFault;
      last.signal = header.signal.load();
      break;
    case kExited:
      // A thread that runs no step ends the process by the server's own decision.
      last.end = dying != 0 ? LastRun::End::kFault : LastRun::End::kDecided;
      last.exit_status = header.exit_status.load();
      break;
    default:
      last.end = LastRun::End::kDecided;
  }
  for (uint32_t i = 0; i < kSlots; i++) {
    const Slot& slot = file.slots[i];
    if (slot.taken.load() == 0) continue;
    last.running.push_back({std::string(slot.job, strnlen(slot.job, sizeof slot.job)),
                            std::string(slot.step, strnlen(slot.step, sizeof slot.step)),
                            slot.attempt, slot.place, slot.deaths, i + 1 == dying});
  }
  return last;
}

LastRun RunningSlots::take_last(const std::string& path) {
  LastRun last;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return last;
  auto file = std::make_unique<File>();
  if (pread(fd, static_cast<void*>(file.get()), sizeof(File), 0) == sizeof(File)) {
    last = read(*file);
  }
  close(fd);
  unlink(path.c_str());
  return last;
}

Status RunningSlots::begin(const std::string& path) {
  CHECK(file_ == nullptr && FaultHandlers::file.load() == nullptr);
  const auto failed = [&](int error) {
    return Status::unavailable(
        errors::kStoreOpen,
        fmt::format("cannot note running steps in {}: {}", path, strerror(error)));
  };
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return failed(errno);
  // With its blocks: a full disk must not become a fault of ours.
  int error = posix_fallocate(fd, 0, sizeof(File));
  void* data = MAP_FAILED;
  if (error == 0) {
    data = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    error = data == MAP_FAILED ? errno : 0;
  }
  close(fd);
  if (error != 0) return failed(error);
  file_ = static_cast<File*>(data);
  for (uint32_t slot = kSlots; slot > 0; slot--) free_.push_back(slot - 1);
  memcpy(file_->header.magic, kMagic, sizeof kMagic);
  file_->header.phase.store(kRunning);
  FaultHandlers::file.store(file_);
  FaultHandlers::install();
  return notice_exits();
}

void RunningSlots::end() {
  if (file_ == nullptr) return;
  FaultHandlers::file.store(nullptr);
  file_->header.phase.store(0);
}

uint32_t RunningSlots::enter(const NotedStep& step) {
  CHECK(file_ != nullptr && t_slot == 0);
  uint32_t index;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    CHECK(!free_.empty());
    index = free_.back();
    free_.pop_back();
  }
  Slot& slot = file_->slots[index];
  slot.attempt = step.attempt;
  slot.place = step.place;
  slot.deaths = step.deaths;
  copy_name(slot.job, sizeof slot.job, step.job);
  copy_name(slot.step, sizeof slot.step, step.step);
  slot.taken.store(1);
  t_slot = index + 1;
  return index;
}

void RunningSlots::leave(uint32_t slot) {
  t_slot = 0;
  file_->slots[slot].taken.store(0);
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(slot);
}

}  // namespace millrace
