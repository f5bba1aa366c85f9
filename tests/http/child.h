// A child process of a test: the program itself, its stderr, its end.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "engine/base/signals.h"

extern char** environ;

namespace millrace::test {

class Child {
 public:
  explicit Child(std::vector<std::string> arguments) {
    int err[2], out[2];
    if (pipe2(err, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    if (posix_spawn(&pid_, pointers[0], &actions, nullptr, pointers.data(), environ) != 0) {
      pid_ = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
    ::close(err[1]);
    ::close(out[1]);
    err_ = err[0];
    out_ = out[0];
  }
  ~Child() {
    if (pid_ > 0 && !ended_) {
      signal_process(pid_, SIGKILL);
      wait();
    }
    ::close(err_);
    ::close(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void signal(int number) { signal_process(pid_, number); }
  // Reads stderr until `mark` is in it; false at its end, or when nothing comes for two minutes.
  bool read_until(const std::string& mark) {
    while (text.find(mark) == std::string::npos) {
      if (!read(err_, &text)) return false;
    }
    return true;
  }
  // Everything it still says, then its exit code; -1: ended by a signal.
  int wait() {
    while (read(out_, &output)) {
    }
    while (read(err_, &text)) {
    }
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_) return -1;
    ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // The word behind `key=` in stderr.
  std::string word_after(const std::string& key) const {
    const size_t at = text.find(key + "=");
    if (at == std::string::npos) return "";
    const size_t start = at + key.size() + 1;
    return text.substr(start, text.find_first_of(" \n", start) - start);
  }
  std::string text, output;  // of stderr, of stdout

 private:
  static bool read(int fd, std::string* out) {
    pollfd waiting{fd, POLLIN, 0};
    if (poll(&waiting, 1, 120'000) <= 0) return false;
    char data[65536];
    const ssize_t size = ::read(fd, data, sizeof data);
    if (size <= 0) return false;
    out->append(data, static_cast<size_t>(size));
    return true;
  }
  pid_t pid_ = -1;
  int err_ = -1, out_ = -1;
  bool ended_ = false;
};

}  // namespace millrace::test
