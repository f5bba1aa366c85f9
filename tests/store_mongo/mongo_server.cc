#include "tests/store_mongo/mongo_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "cmake/tree.h"
#include "engine/base/check.h"
#include "engine/base/signals.h"
#include "engine/base/time.h"

namespace millrace {
namespace {

constexpr int64_t kStartMs = 90'000;
constexpr std::string_view kReady = "listening on 127.0.0.1:";

}  // namespace

std::string MongoServer::program() {
  return in_source("/.cache/secantusdb/bin/secantusd-py");
}

bool MongoServer::installed() {
  return ::access(program().c_str(), X_OK) == 0;
}

bool MongoServer::start() {
  CHECK(pid_ < 0);
  const std::string path = program(), log = directory_.path() + "/log",
                    data = directory_.path() + "/data";
  const int parent = ::getpid();
  const int fd = ::open(log.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0);
  pid_ = ::fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::dup2(fd, STDOUT_FILENO);
    ::dup2(fd, STDERR_FILENO);
    ::execl(path.c_str(), path.c_str(), "--host", "127.0.0.1", "--port", "0", "--storage-path",
            data.c_str(), "--sync-on-commit", "--enable-test-commands", "--log-level", "INFO",
            "--cache-size", "64M", kind_ == Kind::kSingle ? "--standalone" : nullptr,
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  const bool listens = wait_until_it_listens(fd);
  ::close(fd);
  if (!listens) kill();
  return listens;
}

// It says in its log which port it took.
bool MongoServer::wait_until_it_listens(int fd) {
  const int64_t until_us = monotonic_us() + kStartMs * 1000;
  std::string text;
  while (monotonic_us() < until_us) {
    char buffer[4096];
    const ssize_t n = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()));
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
    const size_t at = text.find(kReady);
    if (at != std::string::npos && text.find('\n', at) != std::string::npos) {
      port_ = std::atoi(text.c_str() + at + kReady.size());
      return true;
    }
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      why_ = "it ended at once: " + text;
      return false;
    }
    ::poll(nullptr, 0, 20);
  }
  why_ = "it did not listen in time: " + text;
  return false;
}

void MongoServer::kill() {
  end_by(SIGKILL);
}

void MongoServer::stop() {
  end_by(SIGTERM);
}

void MongoServer::end_by(int signal) {
  if (pid_ <= 1) return;
  signal_process(pid_, signal);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

}  // namespace millrace
