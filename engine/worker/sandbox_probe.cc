#include "engine/worker/sandbox_probe.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/worker/landlock.h"

namespace millrace {
namespace {

constexpr int kNotEntered = 100;

struct LayerName {
  uint32_t layer;
  const char* name;
};
constexpr LayerName kNames[] = {
    {kLayerSystemCalls, "system call filter"},
    {kLayerLimits, "limits"},
    {kLayerNoNewPrivileges, "no new privileges"},
    {kLayerNamespaces, "namespaces"},
    {kLayerLandlock, "Landlock"},
};

// The exit status (as of waitpid) of a child that enters the sandbox and then does `attempt`.
int status_of(Lane lane, int (*attempt)(uint32_t layers)) {
  const pid_t pid = fork();
  if (pid == 0) {
    SandboxPlan plan;
    plan.lane = lane;
    const auto layers = enter_sandbox(plan);
    _exit(layers.ok() ? attempt(*layers) : kNotEntered);
  }
  int status = kNotEntered << 8;
  if (pid > 0) waitpid(pid, &status, 0);
  return status;
}

bool died_of_it(int status) {
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

int open_a_file(uint32_t /*layers*/) {
  return open("/proc/version", O_RDONLY | O_CLOEXEC) < 0 ? 0 : 1;
}

int start_a_process(uint32_t /*layers*/) {
  return fork() == 0 ? 0 : 1;
}

int run_a_program(uint32_t /*layers*/) {
  char name[] = "/bin/true";
  char* arguments[] = {name, nullptr};
  execv(name, arguments);
  return 0;
}

std::string names(uint32_t layers) {
  std::string text;
  for (const LayerName& each : kNames) {
    if ((layers & each.layer) == 0) continue;
    if (!text.empty()) text += ", ";
    text += each.name;
    if (each.layer == kLayerLandlock) text += fmt::format(" {}", landlock_version());
  }
  return text;
}

}  // namespace

std::string SandboxProbe::layer_names() const {
  return names(layers);
}

std::string SandboxProbe::missing_names() const {
  std::string text;
  for (const LayerName& each : kNames) {
    // The io lane is for the network, and has none of its own by design.
    if ((layers & each.layer) != 0) continue;
    if (lane == Lane::kIo && each.layer == kLayerNamespaces) continue;
    if (!text.empty()) text += ", ";
    text += each.name;
  }
  return text;
}

SandboxProbe probe_sandbox(Lane lane) {
  SandboxProbe probe;
  probe.lane = lane;
  const int status = status_of(lane, [](uint32_t layers) { return static_cast<int>(layers); });
  if (!WIFEXITED(status) || WEXITSTATUS(status) == kNotEntered) return probe;
  probe.layers = static_cast<uint32_t>(WEXITSTATUS(status));
  if (lane == Lane::kCpu) {
    probe.locked =
        died_of_it(status_of(lane, open_a_file)) &&
        died_of_it(status_of(lane, [](uint32_t) { return socket(AF_INET, SOCK_STREAM, 0); })) &&
        died_of_it(status_of(lane, start_a_process)) && died_of_it(status_of(lane, run_a_program));
    return probe;
  }
  const bool paths = (probe.layers & kLayerLandlock) == 0 || status_of(lane, open_a_file) == 0;
  probe.locked = paths && died_of_it(status_of(lane, start_a_process)) &&
                 died_of_it(status_of(lane, run_a_program));
  return probe;
}

}  // namespace millrace
