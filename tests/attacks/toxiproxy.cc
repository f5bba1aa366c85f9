#include "tests/attacks/toxiproxy.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <random>

#include "bench/harness/process.h"
#include "cmake/tree.h"
#include "engine/base/signals.h"
#include "engine/base/value.h"
#include "s3/transport.h"

namespace millrace {
namespace {

constexpr double kStartSeconds = 60;
constexpr int kStartsMax = 5;
constexpr char kPort[] = "8474";
constexpr int kForeverMs = 86'400'000;
constexpr int kNotFound = 404, kConflict = 409;
const char* const kToxics[] = {"timeout_upstream", "timeout_downstream", "latency_upstream",
                               "latency_downstream", "reset_peer_upstream"};

// Of 127.0.0.0/8, where clients and other servers take 127.0.0.1.
std::string own_address() {
  std::random_device random;
  return fmt::format("127.{}.{}.{}", 1 + random() % 254, random() % 256, 2 + random() % 253);
}

}  // namespace

std::string Toxiproxy::program() {
  return in_source("/.cache/bin/toxiproxy");
}

bool Toxiproxy::installed() {
  return ::access(program().c_str(), X_OK) == 0;
}

Toxiproxy::Toxiproxy() {
  bool running = false;
  for (int i = 0; i < kStartsMax && !running; i++) running = start();
  EXPECT_TRUE(running) << program() << " does not start; `./run test` installs it";
}

Toxiproxy::~Toxiproxy() {
  if (pid_ <= 1) return;
  signal_process(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool Toxiproxy::start() {
  address_ = own_address();
  const std::string path = program();
  const int parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere, fd);
    ::execl(path.c_str(), path.c_str(), "-host", address_.c_str(), "-port", kPort,
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  const double until = now_seconds() + kStartSeconds;
  while (pid_ > 0 && now_seconds() < until) {
    if (answers()) return true;
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
    ::poll(nullptr, 0, 5);
  }
  return false;
}

bool Toxiproxy::answers() const {
  s3::Exchange exchange;
  exchange.method = "GET";
  exchange.url = fmt::format("http://{}:{}/version", address_, kPort);
  exchange.connect_ms = exchange.stall_ms = 10'000;
  return s3::transfer(exchange).status == 200;
}

std::string Toxiproxy::call(const std::string& method, const std::string& path,
                            const std::string& body) const {
  s3::Exchange exchange;
  exchange.method = method;
  exchange.url = fmt::format("http://{}:{}/proxies{}", address_, kPort, path);
  exchange.headers = {"content-type: application/json"};
  exchange.body = body;
  exchange.connect_ms = exchange.stall_ms = 60'000;
  s3::Answer answer = s3::transfer(exchange);
  // A toxic that is not there need not be removed.
  const bool done = answer.status / 100 == 2 ||
                    (method == "DELETE" && answer.status == kNotFound) ||
                    answer.status == kConflict;
  EXPECT_TRUE(done) << method << ' ' << exchange.url << ' ' << body << ": " << answer.status << ' '
                    << answer.body << answer.detail;
  return std::move(answer.body);
}

std::string Toxiproxy::open_way(const std::string& name, int port) {
  const std::string made =
      call("POST", "",
           fmt::format(R"({{"name": "{}", "listen": "{}:0", "upstream": "127.0.0.1:{}"}})", name,
                       address_, port));
  const auto json = parse_json(made);
  const Value* listen = json.ok() ? json->find("listen") : nullptr;
  EXPECT_NE(listen, nullptr) << made;
  return listen != nullptr ? listen->as_string() : "";
}

void Toxiproxy::close_way(const std::string& name) {
  call("DELETE", "/" + name, "");
}

void Toxiproxy::lead_to(const std::string& name, int port) {
  call("POST", "/" + name, fmt::format(R"({{"upstream": "127.0.0.1:{}"}})", port));
}

void Toxiproxy::add_toxic(const std::string& name, const std::string& type,
                          const std::string& stream, const std::string& attribute,
                          int value) const {
  call("POST", "/" + name + "/toxics",
       fmt::format(R"({{"type": "{}", "stream": "{}", "attributes": {{"{}": {}}}}})", type, stream,
                   attribute, value));
}

void Toxiproxy::refuse(const std::string& name) {
  call("POST", "/" + name, R"({"enabled": false})");
}

void Toxiproxy::swallow(const std::string& name) {
  add_toxic(name, "timeout", "upstream", "timeout", 0);
  swallow_answers(name);
}

void Toxiproxy::swallow_answers(const std::string& name) {
  add_toxic(name, "timeout", "downstream", "timeout", 0);
}

void Toxiproxy::hold(const std::string& name) {
  delay(name, 2 * kForeverMs);
}

void Toxiproxy::delay(const std::string& name, int round_trip_ms) {
  for (const char* stream : {"upstream", "downstream"}) {
    add_toxic(name, "latency", stream, "latency", round_trip_ms / 2);
  }
}

void Toxiproxy::reset(const std::string& name) {
  add_toxic(name, "reset_peer", "upstream", "timeout", 0);
}

void Toxiproxy::heal(const std::string& name) {
  for (const char* toxic : kToxics) call("DELETE", "/" + name + "/toxics/" + toxic, "");
  call("POST", "/" + name, R"({"enabled": true})");
}

}  // namespace millrace
