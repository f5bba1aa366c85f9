// ServerLoop: the libuv loop that a server process lives in. Sockets, signals, the runtime's
// descriptor and its deadlines meet here; once a turn, after everything that came was noted, the
// runtime is pumped and the answers are flushed.
//
// It knows nothing of routes. Thread: the one that calls run(), for everything but request_stop().
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "server/app.h"
#include "server/http/http_server.h"

namespace millrace {

struct LoopOptions {
  HttpOptions http;
  DurationMs drain_ms = 30'000;
  bool signals = true;  // false in tests, which have their own
};

class ServerLoop {
 public:
  // Both outlive the loop.
  ServerLoop(Runtime* runtime, App* app, const LoopOptions& options);
  ~ServerLoop();

  Status listen(const std::string& address) { return http_->listen(address); }
  const std::string& address() const { return http_->address(); }
  HttpServer& http() { return *http_; }
  std::function<void()> on_reload;  // SIGHUP

  // Runs until a drain has ended. 0; 6 when no worker can be brought up.
  int run();
  // Ends run() soon, without a drain. [any]
  void request_stop();
  // Takes no more connections and jobs; run() returns when everything is done or drain_ms is over.
  // Whoever waits for a job is answered at its end, and at the latest then with the state of then.
  void drain();

 private:
  void turn();
  void set_deadline();
  void check_drained();
  void say_farewell();
  void on_signal(int number);
  void watch_signal(uv_signal_t* handle, int number);

  Runtime* runtime_;
  App* app_;
  const LoopOptions options_;
  uv_loop_t loop_{};
  std::unique_ptr<HttpServer> http_;
  uv_poll_t poll_{};
  uv_timer_t deadline_{}, drain_timer_{}, farewell_{};
  uv_check_t check_{};
  uv_prepare_t prepare_{};
  uv_idle_t idle_{};
  uv_async_t stop_{};
  uv_signal_t signals_[3] = {};
  int64_t deadline_us_ = INT64_MAX;
  bool due_ = false, draining_ = false, farewell_set_ = false, stopping_ = false;
  int exit_code_ = 0;
};

}  // namespace millrace
