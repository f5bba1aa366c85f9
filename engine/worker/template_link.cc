#include "engine/worker/template_link.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/signals.h"
#include "engine/base/time.h"
#include "engine/worker/system_calls.h"

namespace millrace {
namespace {

constexpr int kControl = 3;
constexpr size_t kListedCrashesMax = 64;

// Nothing of the server's environment, which may hold secrets, but where certificates are; and what
// sanitizers are told, in a program that has one.
std::vector<std::string> environment() {
  std::vector<std::string> variables = {
      "VIPS_NOVECTOR=1",            // liborc would write code, which the sandbox forbids
      "VIPS_DISC_THRESHOLD=1000g",  // never spill an image to a file
      "VIPS_WARNING=1",             // no warnings on stderr
      "VIPS_CONCURRENCY=1",         // one core a worker
      "VIPSHOME=/nonexistent",      // no loadable modules
      "MALLOC_ARENA_MAX=1",
      // What is freed into a thread's cache keeps its page from malloc_trim(): more and more of
      // them, all over the heap. A step does not notice that it is off.
      "GLIBC_TUNABLES=glibc.malloc.tcache_count=0",
      "LC_ALL=C.UTF-8",
  };
  std::vector<const char*> passed = {"SSL_CERT_FILE", "SSL_CERT_DIR"};
  if (kSanitized) {
    passed.insert(passed.end(), {"ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"});
  }
  for (const char* name : passed) {
    if (const char* value = getenv(name)) variables.push_back(fmt::format("{}={}", name, value));
  }
  return variables;
}

Status failed(const std::string& executable, const std::string& what) {
  return Status::unavailable(
      errors::kWorkersUnavailable,
      fmt::format("the template process of the workers ({} worker-template) {}", executable, what));
}

int spawn_process(const std::string& executable, int socket, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, socket, kControl);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, kControl + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  const std::vector<std::string> variables = environment();
  std::vector<char*> pointers;
  for (const std::string& variable : variables) {
    pointers.push_back(const_cast<char*>(variable.c_str()));
  }
  pointers.push_back(nullptr);
  char name[] = "millrace", verb[] = "worker-template";
  char* arguments[] = {name, verb, nullptr};
  const int error =
      posix_spawn(pid, executable.c_str(), &actions, &attributes, arguments, pointers.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

}  // namespace

TemplateLink::TemplateLink(std::string executable, std::string steps_directory)
    : executable_(std::move(executable)), steps_directory_(std::move(steps_directory)) {
  buffer_.resize(kPacketBytesMax);
}

TemplateLink::~TemplateLink() {
  if (socket_ >= 0) close(socket_);
  if (pid_ < 0) return;
  signal_process(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Status TemplateLink::spawn() {
  CHECK(socket_ < 0);
  CHECK(pid_ < 0);
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return failed(executable_, fmt::format("has no socket: {}", strerror(errno)));
  }
  const int error = spawn_process(executable_, sockets[1], &pid_);
  close(sockets[1]);
  if (error != 0) {
    close(sockets[0]);
    pid_ = -1;
    return failed(executable_, fmt::format("could not be started: {}", strerror(error)));
  }
  socket_ = sockets[0];
  fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
  loaded_ = false;
  partial_json_.clear();
  opening_.clear();
  std::string packet;
  FrameWriter frame(&packet);
  frame.begin(FrameKind::kLoad, 0);
  frame.text(steps_directory_);
  frame.u32(static_cast<uint32_t>(refused_.size()));
  for (const PluginProblem& problem : refused_) {
    frame.text(problem.file);
    frame.text(problem.message);
    frame.u32(static_cast<uint32_t>(problem.number));
  }
  frame.end();
  // When this fails the process is dead already, which receive() will tell.
  send_packet(socket_, packet, nullptr, 0);
  return {};
}

Status TemplateLink::wait_loaded(int64_t timeout_us) {
  const int64_t until_us = monotonic_us() + timeout_us;
  std::vector<Event> events;
  while (!loaded_) {
    const int64_t left_us = until_us - monotonic_us();
    if (left_us <= 0) return failed(executable_, "has not loaded the plugins in time");
    if (!running()) {
      // Only a file that killed it is a reason to try again at once: each one only once.
      const size_t crashed = refused_.size();
      if (!reap()) {
        poll(nullptr, 0, 1);
        continue;
      }
      if (opening_.empty() || crashed > kListedCrashesMax) {
        return failed(executable_, "ended before it had loaded the plugins");
      }
      RETURN_IF_ERROR(spawn());
    }
    pollfd ready{socket_, POLLIN, 0};
    poll(&ready, 1, static_cast<int>(left_us / 1000 + 1));
    receive(&events);
  }
  return {};
}

bool TemplateLink::fork_worker(uint64_t worker, Lane lane, const WorkerLimits& limits, int socket,
                               int slab) {
  if (!loaded_ || socket_ < 0) return false;
  std::string packet;
  FrameWriter frame(&packet);
  frame.begin(FrameKind::kFork, worker);
  frame.u8(static_cast<uint8_t>(lane));
  frame.u64(limits.memory_bytes_max);
  frame.u32(limits.step_cores);
  frame.end();
  const int descriptors[2] = {socket, slab};
  return send_packet(socket_, packet, descriptors, 2);
}

bool TemplateLink::kill_worker(uint64_t worker) {
  if (socket_ < 0) return false;
  std::string packet;
  FrameWriter frame(&packet);
  frame.begin(FrameKind::kKill, worker);
  frame.end();
  return send_packet(socket_, packet, nullptr, 0);
}

void TemplateLink::on_frame(const Frame& frame, const int* descriptors, int count,
                            std::vector<Event>* events) {
  FrameReader reader = frame.reader();
  switch (frame.kind) {
    case FrameKind::kOpening:
      opening_ = reader.text();
      break;
    case FrameKind::kLoaded: {
      const bool last = reader.u8() != 0;
      partial_json_ += reader.text();
      if (!last) break;
      json_ = std::move(partial_json_);
      loaded_ = true;
      opening_.clear();
      events->push_back({Event::Kind::kLoaded});
      break;
    }
    case FrameKind::kForked: {
      const int pid = reader.i32();
      Event event{pid > 0 ? Event::Kind::kForked : Event::Kind::kForkFailed, frame.ticket};
      event.pid = pid;
      event.status = -pid;
      event.pidfd = count > 0 ? descriptors[0] : -1;
      events->push_back(event);
      break;
    }
    case FrameKind::kExited: {
      Event event{Event::Kind::kExited, frame.ticket};
      event.status = reader.i32();
      events->push_back(event);
      break;
    }
    default:
      break;
  }
}

void TemplateLink::receive(std::vector<Event>* events) {
  while (socket_ >= 0) {
    int descriptors[2] = {-1, -1}, count = 0;
    const int64_t got =
        receive_packet(socket_, buffer_.data(), buffer_.size(), descriptors, &count);
    if (got == -EAGAIN) return;
    if (got <= 0) return on_death(events);
    FrameCutter cutter(buffer_.data(), static_cast<size_t>(got));
    for (Frame frame; cutter.next(&frame);) on_frame(frame, descriptors, count, events);
  }
}

void TemplateLink::on_death(std::vector<Event>* events) {
  close(socket_);
  socket_ = -1;
  loaded_ = false;
  if (!opening_.empty()) {
    refused_.push_back(
        {opening_,
         fmt::format("{}: the process that loaded it died in its constructors or in load(); remove "
                     "the file or rebuild it",
                     opening_),
         errors::kPluginCrashed});
  }
  signal_process(pid_, SIGKILL);
  reap();
  events->push_back({Event::Kind::kDied});
}

void TemplateLink::kill_it() {
  if (pid_ > 0) signal_process(pid_, SIGKILL);
}

bool TemplateLink::reap() {
  if (pid_ < 0) return true;
  if (waitpid(pid_, nullptr, WNOHANG) == 0) return false;
  pid_ = -1;
  return true;
}

}  // namespace millrace
