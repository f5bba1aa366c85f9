// Fuzzes the HTTP connection: any bytes, cut anywhere, end in answers and a closed connection; and
// where they are cut changes nothing of what the handler sees.
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/check.h"
#include "server/http/http_server.h"

namespace millrace {
namespace {

constexpr uint64_t kBodyBytesMax = 4096;
constexpr int kTurnsMax = 200'000;

class Recorder final : public RequestHandler {
 public:
  void begin(Exchange& exchange) override {
    exchange.body_bytes_max = kBodyBytesMax;
    seen += fmt::format("{} {}\n", method_name(exchange.request.method), exchange.request.target);
    begun++;
  }
  void complete(Exchange& exchange) override {
    CHECK(exchange.request.body.size() <= kBodyBytesMax);
    seen += fmt::format("body {}\n", exchange.request.body);
    exchange.respond(Response::text(200, "text/plain", exchange.request.body));
  }
  void finished(const Exchange&, int status) override {
    // Of two faults in one head, the one that is met first is named.
    seen += status < 400 ? fmt::format("end {}\n", status) : "refused\n";
    ended++;
  }

  std::string seen;
  int begun = 0, ended = 0;
};

// A server whose loop is turned by hand, so that nothing depends on a thread's timing.
class Bench {
 public:
  Bench() : budget_(std::make_shared<ByteBudget>(1 << 20)) {
    CHECK(uv_loop_init(&loop_) == 0);
    server_ = std::make_unique<HttpServer>(&loop_, HttpOptions{}, &recorder_, budget_);
    CHECK(server_->listen("127.0.0.1:0").ok());
    const std::string& address = server_->address();
    port_ = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  }

  // What the handler saw when `bytes` came in pieces of `piece` bytes.
  std::string serve(std::string_view bytes, size_t piece) {
    recorder_ = Recorder();
    const int client = connect();
    for (size_t at = 0; at < bytes.size();) {
      const std::string_view part = bytes.substr(at, piece);
      const ssize_t sent = ::send(client, part.data(), part.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) break;  // the server has had enough
      at += sent < 0 ? 0 : static_cast<size_t>(sent);
      turn();
      drain(client);
    }
    ::shutdown(client, SHUT_WR);
    int turns = 0;
    while (drain(client)) {
      turn();
      CHECK_MSG(++turns < kTurnsMax, "the connection does not end");
    }
    ::close(client);
    while (server_->connections() > 0) {
      turn();
      CHECK_MSG(++turns < kTurnsMax, "the connection is not given up");
    }
    CHECK_MSG(recorder_.begun <= recorder_.ended, "a request never ended");
    CHECK_MSG(budget_->used_bytes() == 0, "bytes stay charged");
    return recorder_.seen;
  }

 private:
  int connect() {
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(client >= 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    // No TIME_WAIT: thousands of connections a second would use up the ports.
    const linger none{1, 0};
    ::setsockopt(client, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    ::fcntl(client, F_SETFL, O_NONBLOCK);
    while (server_->connections() == 0) turn();
    return client;
  }

  void turn() {
    uv_run(&loop_, UV_RUN_NOWAIT);
    for (int round = 0; server_->turn() && round < 100; round++) {
    }
  }

  // False once the server has closed its side.
  static bool drain(int client) {
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::recv(client, buffer, sizeof buffer, 0)) > 0) {
    }
    return got < 0 && errno == EAGAIN;
  }

  uv_loop_t loop_{};
  Recorder recorder_;
  std::shared_ptr<ByteBudget> budget_;
  std::unique_ptr<HttpServer> server_;
  uint16_t port_ = 0;
};

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  if (size < 1 || size > 64 * 1024) return 0;
  static Bench* const bench = new Bench;  // lives as long as the process
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::string whole = bench->serve(bytes, bytes.size() + 1);
  const size_t piece = 1 + data[0] % 32;
  // Small pieces of a long input cost a turn each and show nothing that the beginning does not.
  if (bytes.size() / piece > 2000) return 0;
  const std::string cut = bench->serve(bytes, piece);
  CHECK_MSG(whole == cut, (whole + "--- cut:\n" + cut).c_str());
  return 0;
}
