#include "tests/s3_server/server.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/services.h"
#include "cmake/tree.h"
#include "engine/base/signals.h"

extern char** environ;

namespace millrace {
namespace {

constexpr char kKey[] = "millrace-test", kSecret[] = "millrace-test-secret";
const std::string kCache = in_source("/.cache");

s3::Answer signed_request(const s3::Location& location, const std::string& method,
                          const std::string& path, const std::string& body) {
  s3::SignedRequest request{method, path, {}, {{"host", location.request_host()}}};
  const std::string hash = s3::sha256_hex(body);
  const int64_t now = ::time(nullptr);
  request.headers["x-amz-content-sha256"] = hash;
  request.headers["x-amz-date"] = s3::amz_time(now);
  s3::Exchange exchange;
  exchange.method = method;
  exchange.url = location.scheme + "://" + location.request_host() + path;
  for (const auto& [name, value] : request.headers) {
    if (name != "host") exchange.headers.push_back(name + ": " + value);
  }
  exchange.headers.push_back("authorization: " + s3::authorization(request, hash,
                                                                   test_credentials(),
                                                                   {location.region, "s3", now}));
  exchange.body = body;
  exchange.connect_ms = 3'000;
  exchange.stall_ms = 30'000;
  return s3::transfer(exchange);
}

pid_t spawn(std::vector<std::string> arguments, const std::string& log) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
  }
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  pid_t pid = -1;
  if (posix_spawn(&pid, pointers[0], &actions, nullptr, pointers.data(), environ) != 0) pid = -1;
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

std::string log_of(const std::string& path) {
  std::string text(4096, '\0');
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t size = ::read(fd, text.data(), text.size());
  ::close(fd);
  text.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  return text;
}

}  // namespace

S3Server::S3Server(S3Kind kind) : kind_(kind), directory_(make_directory("s3-server")) {
  std::filesystem::create_directory(directory_ + "/data");
  // Another process may take the port in between: then another one is tried.
  for (int attempt = 0; attempt < 3 && pid_ < 0; attempt++) {
    port_ = free_port();
    start();
  }
  EXPECT_GT(pid_, 0) << "the S3 server does not start; `./run test` installs it below .cache:\n"
                     << log_of(directory_ + "/log");
}

S3Server::~S3Server() {
  stop();
  remove_tree(directory_);
}

void S3Server::start() {
  const std::string port = std::to_string(port_);
  std::vector<std::string> command;
  // The watcher ends the server when this program is gone, however it ends.
  if (kind_ == S3Kind::kVersity) {
    command = {kCache + "/bin/versitygw",
               "--port",
               "127.0.0.1:" + port,
               "--access",
               kKey,
               "--secret",
               kSecret,
               "--virtual-domain",
               "localhost:" + port,
               "--quiet",
               "posix"};
    if (!has_attributes(directory_)) {
      std::filesystem::create_directory(directory_ + "/sidecar");
      command.insert(command.end(), {"--sidecar", directory_ + "/sidecar"});
    }
    command.push_back(directory_ + "/data");
  } else {
    command = {kCache + "/moto/bin/moto_server", "-H", "127.0.0.1", "-p", port};
  }
  pid_ = spawn(command, directory_ + "/log");
  const double until = now_seconds() + 60;
  while (pid_ > 0 && !answers()) {
    if (::waitpid(pid_, nullptr, WNOHANG) != 0) {
      pid_ = -1;  // it has ended
    } else if (now_seconds() > until) {
      stop();
    } else {
      ::usleep(20'000);
    }
  }
}

void S3Server::stop() {
  if (pid_ <= 1) return;
  signal_process(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

bool S3Server::answers() const {
  s3::Exchange exchange;
  exchange.method = "GET";
  exchange.url = endpoint() + "/";
  exchange.connect_ms = 1'000;
  exchange.stall_ms = 5'000;
  return s3::transfer(exchange).status != 0;
}

std::string S3Server::endpoint() const {
  return fmt::format("http://localhost:{}", port_);
}

std::string S3Server::make_bucket(const std::string& prefix) {
  static std::atomic<int> next{1};
  const std::string name = fmt::format("bucket-{}-{}", ::getpid(), next++);
  const std::string url =
      fmt::format("s3://{}{}{}?endpoint={}", name, prefix.empty() ? "" : "/", prefix, endpoint());
  const s3::Answer answer = signed_request(location_of(url), "PUT", "/" + name, "");
  EXPECT_EQ(answer.status, 200) << answer.body << answer.detail;
  return url;
}

S3Server& S3Server::shared(S3Kind kind) {
  static std::unique_ptr<S3Server> servers[2];
  auto& server = servers[static_cast<int>(kind)];
  if (server == nullptr) server = std::make_unique<S3Server>(kind);
  return *server;
}

s3::Credentials test_credentials() {
  return {kKey, kSecret, ""};
}

s3::Location location_of(const std::string& url) {
  s3::Location location;
  EXPECT_EQ(s3::parse_location(url, &location), "") << url;
  return location;
}

void put_raw(const s3::Location& location, const std::string& key, const std::string& bytes) {
  const s3::Answer answer =
      signed_request(location, "PUT", location.path(location.key(key)), bytes);
  ASSERT_EQ(answer.status, 200) << answer.body << answer.detail;
}

}  // namespace millrace
