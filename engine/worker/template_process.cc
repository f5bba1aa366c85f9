// The template process: loads the plugins once, forks workers on request, reports their ends.
//
// It stays single-threaded and never runs a step: libvips starts threads at its first operation,
// and a process forked after that hangs at its own first one. It dies with the server
// (PR_SET_PDEATHSIG, and the end of the control socket); the workers die with it.
#include <fmt/core.h>
#include <malloc.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <map>

#include "engine/base/limits.h"
#include "engine/base/signals.h"
#include "engine/worker/wire.h"
#include "engine/worker/worker_process.h"
#include "engine/worker/workers.h"

namespace millrace {
namespace {

constexpr int kWorkerMmapBytes = 8 << 20;
constexpr int kWorkerTrimBytes = 64 << 20;

constexpr int kControl = 3;
constexpr size_t kDeclarationPartBytes = 32 * 1024;

void send_or_end(const std::string& packet, const int* descriptors = nullptr, int count = 0) {
  if (!send_packet(kControl, packet, descriptors, count)) _exit(0);
}

class TemplateProcess {
 public:
  [[noreturn]] void run() {
    block_child_signal();
    load();
    for (;;) {
      pollfd ready[2] = {{kControl, POLLIN, 0}, {signals_, POLLIN, 0}};
      if (poll(ready, 2, -1) < 0) continue;
      if (ready[1].revents != 0) reap();
      if (ready[0].revents != 0) take_request();
    }
  }

 private:
  void block_child_signal() {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    signals_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) _exit(1);
  }

  // Bytes of the next packet; ends the process when the server is gone.
  size_t receive(int* descriptors, int* count) {
    const int64_t got = receive_packet(kControl, buffer_, sizeof buffer_, descriptors, count);
    if (got <= 0) _exit(0);
    return static_cast<size_t>(got);
  }

  void load() {
    int descriptors[2], count = 0;
    FrameCutter cutter(buffer_, receive(descriptors, &count));
    Frame frame;
    if (!cutter.next(&frame) || frame.kind != FrameKind::kLoad) _exit(1);
    FrameReader reader = frame.reader();
    const std::string directory(reader.text());
    std::vector<PluginProblem> refused(std::min<uint32_t>(reader.u32(), 4096));
    for (PluginProblem& problem : refused) {
      problem.file = reader.text();
      problem.message = reader.text();
      problem.number = static_cast<int>(reader.u32());
    }
    if (!reader.ok()) _exit(1);
    plugins_ = load_plugins(directory, refused, [](const std::string& file) {
      std::string packet;
      FrameWriter writer(&packet);
      writer.begin(FrameKind::kOpening, 0);
      writer.text(file);
      writer.end();
      send_or_end(packet);
    });
    report_loaded(declarations_to_json(plugins_.declarations()));
    malloc_trim(0);  // what loading needed: every worker would have it too
  }

  void report_loaded(const std::string& json) {
    for (size_t at = 0; at < json.size(); at += kDeclarationPartBytes) {
      std::string packet;
      FrameWriter frame(&packet);
      frame.begin(FrameKind::kLoaded, 0);
      frame.u8(at + kDeclarationPartBytes >= json.size() ? 1 : 0);
      frame.text(std::string_view(json).substr(at, kDeclarationPartBytes));
      frame.end();
      send_or_end(packet);
    }
  }

  void take_request() {
    int descriptors[2] = {-1, -1}, count = 0;
    FrameCutter cutter(buffer_, receive(descriptors, &count));
    Frame frame;
    if (!cutter.next(&frame)) _exit(1);
    if (frame.kind == FrameKind::kKill && count == 0) return kill_worker(frame.ticket);
    if (frame.kind != FrameKind::kFork || count != 2) _exit(1);
    FrameReader reader = frame.reader();
    WorkerStart start;
    start.lane = static_cast<Lane>(reader.u8());
    start.limits.memory_bytes_max = reader.u64();
    start.limits.step_cores = reader.u32();
    start.socket = descriptors[0];
    start.slab = descriptors[1];
    start.plugins = &plugins_;
    const pid_t self = getpid();
    const pid_t pid = fork();
    if (pid == 0) become_worker(start, self);
    const int error = errno;
    close(start.socket);
    close(start.slab);
    report_forked(frame.ticket, pid > 0 ? pid : -error);
  }

  // Only of one that was not reaped: its pid is its own as long.
  void kill_worker(uint64_t ticket) {
    for (const auto& [pid, worker] : children_) {
      if (worker == ticket) signal_process(pid, SIGKILL);
    }
  }

  [[noreturn]] void become_worker(const WorkerStart& start, pid_t parent) {
    close(kControl);
    close(signals_);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    prctl(PR_SET_NAME, start.lane == Lane::kCpu ? "millrace-cpu" : "millrace-io");
    worker_process_main(start);
  }

  void report_forked(uint64_t ticket, pid_t pid) {
    std::string packet;
    FrameWriter frame(&packet);
    frame.begin(FrameKind::kForked, ticket);
    frame.i32(pid);
    frame.end();
    if (pid <= 0) return send_or_end(packet);
    children_[pid] = ticket;
    const int handle = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    send_or_end(packet, &handle, handle >= 0 ? 1 : 0);
    if (handle >= 0) close(handle);
  }

  void reap() {
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof info) > 0) {
    }
    for (;;) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      if (pid <= 0) return;
      const auto child = children_.find(pid);
      if (child == children_.end()) continue;
      std::string packet;
      FrameWriter frame(&packet);
      frame.begin(FrameKind::kExited, child->second);
      frame.i32(status);
      frame.end();
      send_or_end(packet);
      children_.erase(child);
    }
  }

  int signals_ = -1;
  LoadedPlugins plugins_;
  std::map<pid_t, uint64_t> children_;
  char buffer_[kPacketBytesMax];
};

// The kernel's choice, when memory runs out, should be a worker and not the server.
void prefer_to_be_killed() {
  if (FILE* file = fopen("/proc/self/oom_score_adj", "we")) {
    fputs("500", file);
    fclose(file);
  }
}

}  // namespace

void worker_template_main() {
  // The server decides when workers end; a Ctrl-C at the terminal reaches the whole group.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) std::signal(signal, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_NAME, "millrace-tmpl");
  mallopt(M_ARENA_MAX, 1);
  // A picture's buffers are reused by the next step instead of being given back, faulted in and
  // zeroed again each time (a tenth of a quick step). An idle worker trims itself.
  mallopt(M_MMAP_THRESHOLD, kWorkerMmapBytes);
  mallopt(M_TRIM_THRESHOLD, kWorkerTrimBytes);
  prefer_to_be_killed();
  static TemplateProcess process;
  process.run();
}

}  // namespace millrace
