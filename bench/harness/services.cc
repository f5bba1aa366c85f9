#include "bench/harness/services.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "bench/harness/client.h"
#include "bench/harness/photos.h"
#include "bench/harness/process.h"
#include "cmake/tree.h"
#include "engine/base/signals.h"

namespace millrace {
namespace {

constexpr double kStartSeconds = 120;
constexpr int kPortTries = 3;  // another process may take a free port before the server does
const std::string kDatabaseProgram = in_source("/.cache/secantusdb/bin/secantusd-py");
const std::string kBucketProgram = in_source("/.cache/bin/versitygw");
constexpr char kKey[] = "millrace-demo", kSecret[] = "millrace-demo-secret";
constexpr char kBucket[] = "millrace";

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

void pause_shortly() {
  const timespec pause{0, 10'000'000};
  ::nanosleep(&pause, nullptr);
}

pid_t spawn(std::vector<std::string> command, const std::string& log) {
  if (::access(command[0].c_str(), X_OK) != 0) {
    die(fmt::format("{} is missing; `./run cluster` installs it", command[0]));
  }
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid(), pid = ::fork();
  if (pid < 0) die("cannot fork");
  if (pid > 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

bool ended(pid_t pid) {
  return ::waitpid(pid, nullptr, WNOHANG) == pid;
}

void kill_and_wait(pid_t* pid) {
  if (*pid <= 1) return;
  signal_process(*pid, SIGKILL);
  ::waitpid(*pid, nullptr, 0);
  *pid = -1;
}

}  // namespace

uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

bool has_attributes(const std::string& directory) {
  return ::setxattr(directory.c_str(), "user.probe", "", 0, 0) == 0;
}

bool DatabaseServer::installed() {
  return ::access(kDatabaseProgram.c_str(), X_OK) == 0;
}

DatabaseServer::DatabaseServer(const std::string& directory, Kind kind) {
  std::filesystem::create_directories(directory);
  const std::string log = directory + "/log", mark = "listening on 127.0.0.1:";
  std::vector<std::string> command = {
      kDatabaseProgram,    "--host",           "127.0.0.1",   "--port", "0", "--storage-path",
      directory + "/data", "--sync-on-commit", "--log-level", "INFO"};
  if (kind == Kind::kSingle) command.emplace_back("--standalone");
  pid_ = spawn(std::move(command), log);
  const double until = now_seconds() + kStartSeconds;
  // It says in its log which port it took.
  for (;; pause_shortly()) {
    const bool over = ended(pid_) || now_seconds() > until;
    const std::string text = file_bytes(log);
    const size_t at = text.find(mark);
    if (at != std::string::npos && text.find('\n', at) != std::string::npos) {
      port_ = static_cast<uint16_t>(std::atoi(text.c_str() + at + mark.size()));
      return;
    }
    if (over) die("the database did not start:\n" + text);
  }
}

void DatabaseServer::kill() {
  kill_and_wait(&pid_);
}

std::string DatabaseServer::url(const std::string& name) const {
  return fmt::format("mongodb://127.0.0.1:{}/{}", port_, name);
}

bool BucketServer::installed() {
  return ::access(kBucketProgram.c_str(), X_OK) == 0;
}

BucketServer::BucketServer(const std::string& directory) : data_(directory + "/data") {
  // A directory of its root is a bucket of whoever has the keys.
  std::filesystem::create_directories(data_ + "/" + kBucket);
  for (int i = 0; i < kPortTries; i++) {
    if (start(directory)) return;
  }
  die("the S3 server did not start:\n" + file_bytes(directory + "/log"));
}

bool BucketServer::start(const std::string& directory) {
  port_ = free_port();
  std::vector<std::string> command = {kBucketProgram, "--port",  fmt::format("127.0.0.1:{}", port_),
                                      "--access",     kKey,      "--secret",
                                      kSecret,        "--quiet", "posix"};
  if (!has_attributes(data_)) {
    std::filesystem::create_directories(directory + "/sidecar");
    command.insert(command.end(), {"--sidecar", directory + "/sidecar"});
  }
  command.push_back(data_);
  pid_ = spawn(std::move(command), directory + "/log");
  const double until = now_seconds() + kStartSeconds;
  for (; !http_request(port_, "GET", "/"); pause_shortly()) {
    if (ended(pid_)) {
      pid_ = -1;
      return false;
    }
    if (now_seconds() > until) {
      kill();
      return false;
    }
  }
  return true;
}

void BucketServer::kill() {
  kill_and_wait(&pid_);
}

std::string BucketServer::url(const std::string& prefix) const {
  return fmt::format("s3://{}/{}?endpoint=http://127.0.0.1:{}", kBucket, prefix, port_);
}

std::vector<std::string> BucketServer::environment() {
  return {fmt::format("AWS_ACCESS_KEY_ID={}", kKey),
          fmt::format("AWS_SECRET_ACCESS_KEY={}", kSecret)};
}

uint64_t BucketServer::objects(const std::string& prefix) const {
  uint64_t count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(
           fmt::format("{}/{}/{}", data_, kBucket, prefix), error)) {
    count += entry.is_regular_file() ? 1 : 0;
  }
  return count;
}

}  // namespace millrace
