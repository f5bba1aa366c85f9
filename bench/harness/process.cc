#include "bench/harness/process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "engine/base/signals.h"

namespace millrace {
namespace {

constexpr double kReadySeconds = 120;  // under a sanitizer, on a machine with other work

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What a file holds from `start` on, read through a descriptor that is already open.
std::string read_from(int file, off_t start) {
  std::string text;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t got =
        ::pread(file, buffer, sizeof buffer, start + static_cast<off_t>(text.size()));
    if (got < 0) die(fmt::format("cannot read the server's log: {}", std::strerror(errno)));
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

// The fields of /proc/PID/stat behind the name, from the state (field 3) on; empty when the process
// is gone.
std::vector<std::string> stat_fields(pid_t pid) {
  const std::string text = read_file(fmt::format("/proc/{}/stat", pid));
  const size_t end = text.rfind(')');
  std::vector<std::string> fields;
  if (end == std::string::npos) return fields;
  std::istringstream rest(text.substr(end + 1));
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

std::vector<pid_t> tree(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto fields = stat_fields(std::atoi(name.c_str()));
    if (fields.size() > 1) children.emplace(std::atoi(fields[1].c_str()), std::atoi(name.c_str()));
  }
  std::vector<pid_t> all = {root};
  for (size_t i = 0; i < all.size(); i++) {
    const auto [first, last] = children.equal_range(all[i]);
    for (auto it = first; it != last; ++it) all.push_back(it->second);
  }
  return all;
}

// The number behind "NAME:" in a /proc status file, summed over its occurrences.
uint64_t field_sum(const std::string& text, const std::string& name) {
  uint64_t sum = 0;
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    if (at == 0 || text[at - 1] == '\n')
      sum += std::strtoull(text.c_str() + at + name.size(), nullptr, 10);
  }
  return sum;
}

}  // namespace

ServerProcess::ServerProcess(const ServerSettings& settings, May may) {
  log_path_ = settings.data + ".log";
  const int log = ::open(log_path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) die("cannot write " + log_path_);
  const off_t log_start = ::lseek(log, 0, SEEK_END);
  std::vector<std::string> arguments = {settings.program, "serve",
                                        "--set",          "listen=127.0.0.1:0",
                                        "--set",          "data=" + settings.data,
                                        "--set",          "pipelines=" + settings.pipelines};
  for (const std::string& set : settings.extra) {
    arguments.push_back("--set");
    arguments.push_back(set);
  }
  const double started = now_seconds();
  pid_ = ::fork();
  if (pid_ < 0) die("cannot fork");
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // a program that is killed leaves no server behind
    ::dup2(log, STDERR_FILENO);
    ::dup2(log, STDOUT_FILENO);
    for (const std::string& variable : settings.environment) ::putenv(::strdup(variable.c_str()));
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(settings.program.c_str(), argv.data());
    std::fprintf(stderr, "cannot execute %s: %s\n", settings.program.c_str(), std::strerror(errno));
    ::_exit(127);
  }
  // The ready line is the only signal a stranger has, so it is what we wait for.
  const std::string mark = "ev=server.ready addr=127.0.0.1:";
  while (port_ == 0) {
    const std::string text = read_from(log, log_start);
    const size_t at = text.find(mark);
    if (at != std::string::npos &&
        text.find_first_of(" \n", at + mark.size()) != std::string::npos) {
      port_ = static_cast<uint16_t>(std::atoi(text.c_str() + at + mark.size()));
      seconds_to_ready_ = now_seconds() - started;
      break;
    }
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      if (may == May::kDie) break;
      die("the server ended before it was ready:\n" + text);
    }
    if (now_seconds() - started > kReadySeconds) die("the server was not ready in time:\n" + text);
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  ::close(log);
}

bool ServerProcess::running() const {
  siginfo_t ended{};
  return pid_ > 0 &&
         ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         ended.si_pid == 0;
}

ServerProcess::~ServerProcess() {
  kill();
}

void ServerProcess::kill() {
  if (pid_ < 0) return;
  signal_process(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

int ServerProcess::stop() {
  if (pid_ < 0) return -1;
  signal_process(pid_, SIGTERM);
  return wait();
}

int ServerProcess::wait() {
  if (pid_ < 0) return -1;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

const std::string& ServerProcess::log() const {
  return log_path_;
}

double tree_cpu_seconds(pid_t root) {
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  double seconds = 0;
  for (const pid_t pid : tree(root)) {
    const auto fields = stat_fields(pid);  // utime stime cutime cstime are fields 14 to 17
    if (fields.size() < 15) continue;
    for (size_t i = 11; i < 15; i++) seconds += std::atof(fields[i].c_str()) / ticks;
  }
  return seconds;
}

uint64_t tree_pss_bytes(pid_t root) {
  uint64_t kilobytes = 0;
  for (const pid_t pid : tree(root)) {
    kilobytes += field_sum(read_file(fmt::format("/proc/{}/smaps_rollup", pid)), "Pss:");
  }
  return kilobytes * 1024;
}

uint64_t tree_own_bytes(pid_t root) {
  uint64_t kilobytes = 0;
  for (const pid_t pid : tree(root)) {
    const std::string rollup = read_file(fmt::format("/proc/{}/smaps_rollup", pid));
    kilobytes += field_sum(rollup, "Pss_Anon:") + field_sum(rollup, "Pss_Shmem:");
  }
  return kilobytes * 1024;
}

uint64_t tree_wakeups(pid_t root) {
  uint64_t switches = 0;
  for (const pid_t pid : tree(root)) {
    std::error_code error;
    for (const auto& task :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
      switches += field_sum(read_file(task.path() / "status"), "voluntary_ctxt_switches:");
    }
  }
  return switches;
}

uint64_t device_flushes() {
  // Field 16 after the name: flush requests completed (Documentation/admin-guide/iostats.rst).
  // Whole disks only.
  std::ifstream file("/proc/diskstats");
  uint64_t flushes = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string major, minor, name, word;
    words >> major >> minor >> name;
    if (!std::filesystem::exists("/sys/block/" + name) || name.starts_with("loop")) continue;
    for (int i = 0; i < 16; i++) words >> word;
    if (words) flushes += std::strtoull(word.c_str(), nullptr, 10);
  }
  return flushes;
}

double machine_cpu_seconds() {
  std::ifstream file("/proc/stat");
  std::string cpu;
  double user = 0, nice = 0, system = 0;
  file >> cpu >> user >> nice >> system;
  return (user + nice + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double now_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::string make_directory(const std::string& name) {
  const char* base = std::getenv("TMPDIR");
  std::string path = fmt::format("{}/millrace-{}-XXXXXX", base ? base : "/var/tmp", name);
  if (::mkdtemp(path.data()) == nullptr) die("cannot make a directory " + path);
  return path;
}

void remove_tree(const std::string& directory) {
  std::error_code error;
  std::filesystem::remove_all(directory, error);
}

}  // namespace millrace
