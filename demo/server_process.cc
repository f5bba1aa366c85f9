#include "demo/server_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

namespace millrace::demo {
namespace {

constexpr size_t kLinesMax = 40;
constexpr auto kReadyTimeout = std::chrono::seconds(20);
constexpr int kDrainTimeoutMs = 40'000;

std::string address_in(const std::string& line) {
  if (line.find("ev=server.ready") == std::string::npos) return {};
  const size_t begin = line.find("addr=");
  if (begin == std::string::npos) return {};
  return line.substr(begin + 5, line.find_first_of(" \r\n", begin) - begin - 5);
}

std::string ending_of(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was ended by signal {}", WTERMSIG(status));
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

}  // namespace

ServerProcess::~ServerProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (reader_.joinable()) reader_.join();
}

bool ServerProcess::start(const std::vector<std::string>& command,
                          const std::vector<std::string>& environment, std::string* problem) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    *problem = "cannot make a pipe";
    return false;
  }
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::dup2(ends[1], STDERR_FILENO);
    for (const std::string& variable : environment) {
      ::putenv(const_cast<char*>(variable.c_str()));
    }
    ::execv(arguments[0], arguments.data());
    const std::string message = fmt::format("{}: {}\n", command[0], ::strerror(errno));
    (void)!::write(STDERR_FILENO, message.data(), message.size());
    ::_exit(127);
  }
  ::close(ends[1]);
  if (pid_ < 0) {
    ::close(ends[0]);
    *problem = "cannot fork";
    return false;
  }
  reader_ = std::thread([this, pipe = ends[0]] { read_log(pipe); });
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kReadyTimeout, [this] { return !address_.empty() || log_ended_; });
  if (!address_.empty()) return true;
  *problem = log_ended_
                 ? fmt::format("{} ended before it was ready", command[0])
                 : fmt::format("{} was not ready after {} s", command[0], kReadyTimeout.count());
  return false;
}

bool ServerProcess::stop(std::string* problem) {
  ::kill(pid_, SIGTERM);
  int status = 0;
  if (!wait_for_end(kDrainTimeoutMs, &status)) {
    *problem = fmt::format("the server did not end within {} s of SIGTERM", kDrainTimeoutMs / 1000);
    return false;
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  *problem = "the server " + ending_of(status) + " after SIGTERM";
  return false;
}

std::vector<std::string> ServerProcess::log_tail() const {
  const std::lock_guard lock(mutex_);
  return {lines_.begin(), lines_.end()};
}

// Its workers may hold the pipe's other end a moment longer than the server itself.
void ServerProcess::read_log(int pipe) {
  std::string text;
  char chunk[4096];
  ssize_t got;
  while ((got = ::read(pipe, chunk, sizeof chunk)) > 0) {
    text.append(chunk, static_cast<size_t>(got));
    const std::lock_guard lock(mutex_);
    for (size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) {
      lines_.push_back(text.substr(0, end));
      if (lines_.size() > kLinesMax) lines_.pop_front();
      if (address_.empty()) address_ = address_in(lines_.back());
    }
    changed_.notify_all();
  }
  ::close(pipe);
  const std::lock_guard lock(mutex_);
  if (!text.empty()) lines_.push_back(text);
  log_ended_ = true;
  changed_.notify_all();
}

bool ServerProcess::wait_for_end(int timeout_ms, int* status) {
  for (int waited_ms = 0; waited_ms < timeout_ms; waited_ms += 10) {
    if (::waitpid(pid_, status, WNOHANG) == pid_) return true;
    ::usleep(10'000);
  }
  return false;
}

}  // namespace millrace::demo
