// A server on a free port over a FakeRuntime, its loop in a thread of its own.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <set>
#include <thread>

#include "server/loop.h"
#include "tests/http/client.h"
#include "tests/http/fake_runtime.h"

namespace millrace::test {

inline std::string tiny_jpeg(size_t size = 300) {
  std::string out = "\xff\xd8\xff\xe0";
  out.resize(size, 'x');
  return out;
}

class ServerFixture : public testing::Test {
 protected:
  // Before start(): options.http, config, token may be changed.
  void start() {
    config.listen = "127.0.0.1:0";
    config.body_bytes_max = 4 << 20;
    options.signals = false;
    std::signal(SIGPIPE, SIG_IGN);  // as the program does; clients here leave whenever they like
    if (config.stores.empty()) config.stores.push_back({"default", testing::TempDir(), ""});
    if (runtime == nullptr) runtime = std::make_unique<FakeRuntime>();
    app = std::make_unique<App>(runtime.get(), &config, token);
    app->observer = [this](const Route& route, Method method, int status) {
      observed.insert({route.id, method == Method::kHead ? "head" : "", status});
    };
    loop = std::make_unique<ServerLoop>(runtime.get(), app.get(), options);
    ASSERT_TRUE(loop->listen(config.listen).ok());
    thread = std::thread([this] { loop->run(); });
  }
  void stop() {
    if (!thread.joinable()) return;
    loop->request_stop();
    thread.join();
    loop.reset();
  }
  void TearDown() override { stop(); }
  std::unique_ptr<Client> client() { return std::make_unique<Client>(loop->address()); }

  struct Seen {
    std::string route, variant;
    int status;
    auto operator<=>(const Seen&) const = default;
  };
  Config config;
  std::string token;
  LoopOptions options;
  std::unique_ptr<FakeRuntime> runtime;
  std::unique_ptr<App> app;
  std::unique_ptr<ServerLoop> loop;
  std::thread thread;
  std::set<Seen> observed;  // read after stop()
};

}  // namespace millrace::test
