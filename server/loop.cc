#include "server/loop.h"

#include <csignal>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/time.h"

namespace millrace {
namespace {

constexpr int kRoundsPerTurn = 4;
constexpr uint64_t kFarewellMs = 500;  // for answers to leave once everything is done
constexpr int kExitWorkersStuck = 6;

ServerLoop* self(void* data) {
  return static_cast<ServerLoop*>(data);
}

void close_handle(uv_handle_t* handle) {
  if (uv_is_closing(handle) == 0) uv_close(handle, nullptr);
}

}  // namespace

ServerLoop::ServerLoop(Runtime* runtime, App* app, const LoopOptions& options)
    : runtime_(runtime), app_(app), options_(options) {
  CHECK(uv_loop_init(&loop_) == 0);
  http_ = std::make_unique<HttpServer>(&loop_, options_.http, app_, runtime_->budget());
  http_->on_empty = [this] {
    if (draining_) check_drained();
  };
  CHECK(uv_poll_init(&loop_, &poll_, runtime_->poll_fd()) == 0);
  CHECK(uv_timer_init(&loop_, &deadline_) == 0);
  CHECK(uv_timer_init(&loop_, &drain_timer_) == 0);
  CHECK(uv_timer_init(&loop_, &farewell_) == 0);
  CHECK(uv_check_init(&loop_, &check_) == 0);
  CHECK(uv_prepare_init(&loop_, &prepare_) == 0);
  CHECK(uv_idle_init(&loop_, &idle_) == 0);
  CHECK(uv_async_init(&loop_, &stop_, [](uv_async_t* handle) {
          self(handle->data)->stopping_ = true;
          uv_stop(handle->loop);
        }) == 0);
  for (void** data : {&poll_.data, &deadline_.data, &drain_timer_.data, &farewell_.data,
                      &check_.data, &prepare_.data, &idle_.data, &stop_.data}) {
    *data = this;
  }
  uv_poll_start(&poll_, UV_READABLE,
                [](uv_poll_t* handle, int, int) { self(handle->data)->due_ = true; });
  uv_check_start(&check_, [](uv_check_t* handle) { self(handle->data)->turn(); });
  // Timers fire before the poll phase; what they noted must not wait for it.
  uv_prepare_start(&prepare_, [](uv_prepare_t* handle) {
    ServerLoop* loop = self(handle->data);
    if (loop->due_ || loop->http_->has_work()) loop->turn();
  });
  if (options_.signals) {
    std::signal(SIGPIPE, SIG_IGN);
    watch_signal(&signals_[0], SIGTERM);
    watch_signal(&signals_[1], SIGINT);
    watch_signal(&signals_[2], SIGHUP);
  }
}

ServerLoop::~ServerLoop() {
  http_->on_empty = nullptr;
  http_->close_all();
  for (int i = 0; i < 100 && http_->connections() > 0; i++) uv_run(&loop_, UV_RUN_NOWAIT);
  http_.reset();
  for (uv_handle_t* handle :
       {reinterpret_cast<uv_handle_t*>(&poll_), reinterpret_cast<uv_handle_t*>(&deadline_),
        reinterpret_cast<uv_handle_t*>(&drain_timer_), reinterpret_cast<uv_handle_t*>(&farewell_),
        reinterpret_cast<uv_handle_t*>(&check_), reinterpret_cast<uv_handle_t*>(&prepare_),
        reinterpret_cast<uv_handle_t*>(&idle_), reinterpret_cast<uv_handle_t*>(&stop_)}) {
    close_handle(handle);
  }
  if (options_.signals) {
    for (uv_signal_t& handle : signals_) close_handle(reinterpret_cast<uv_handle_t*>(&handle));
  }
  uv_run(&loop_, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop_) == 0);
}

void ServerLoop::watch_signal(uv_signal_t* handle, int number) {
  CHECK(uv_signal_init(&loop_, handle) == 0);
  handle->data = this;
  uv_signal_start(
      handle, [](uv_signal_t* h, int signum) { self(h->data)->on_signal(signum); }, number);
}

int ServerLoop::run() {
  ON_THREAD(kLoop);
  turn();
  if (!stopping_) uv_run(&loop_, UV_RUN_DEFAULT);
  return exit_code_;
}

void ServerLoop::request_stop() {
  uv_async_send(&stop_);
}

void ServerLoop::on_signal(int number) {
  due_ = true;
  if (number == SIGHUP) {
    log_event(LogLevel::kInfo, "server.reload");
    if (on_reload) on_reload();
    return;
  }
  if (draining_) {
    log_event(LogLevel::kWarning, "server.stopped", {{"reason", "a second signal came"}});
    stopping_ = true;
    uv_stop(&loop_);
    return;
  }
  drain();
}

void ServerLoop::drain() {
  if (draining_) return;
  draining_ = true;
  due_ = true;
  log_event(LogLevel::kInfo, "server.draining",
            {{"connections", static_cast<uint64_t>(http_->connections())},
             {"at_most", format_duration(options_.drain_ms)}});
  http_->stop_listening();
  app_->set_draining();
  runtime_->drain();
  http_->retire_all();
  uv_update_time(&loop_);
  uv_timer_start(
      &drain_timer_,
      [](uv_timer_t* timer) {
        log_event(LogLevel::kWarning, "server.drain_ended",
                  {{"reason", "time is up; running steps will be run again"}});
        self(timer->data)->say_farewell();
      },
      static_cast<uint64_t>(options_.drain_ms), 0);
}

void ServerLoop::turn() {
  due_ = false;
  bool more = true;
  for (int round = 0; more && round < kRoundsPerTurn; round++) {
    runtime_->pump();
    more = http_->turn();
  }
  if (more) {
    uv_idle_start(&idle_, [](uv_idle_t*) {});  // the next poll phase must not wait
    due_ = true;
  } else {
    uv_idle_stop(&idle_);
  }
  if (runtime_->workers_stuck()) {
    log_event(LogLevel::kError, "server.workers_stuck",
              {{"reason", "no worker process could be brought up for a while"}});
    exit_code_ = kExitWorkersStuck;
    stopping_ = true;
    uv_stop(&loop_);
  }
  set_deadline();
  if (draining_) check_drained();
}

void ServerLoop::set_deadline() {
  const int64_t at_us = runtime_->next_deadline_us();
  if (at_us == deadline_us_) return;
  deadline_us_ = at_us;
  if (at_us == INT64_MAX) {
    uv_timer_stop(&deadline_);
    return;
  }
  const int64_t left_us = std::max<int64_t>(at_us - monotonic_us(), 0);
  uv_update_time(&loop_);
  uv_timer_start(
      &deadline_,
      [](uv_timer_t* timer) {
        ServerLoop* loop = self(timer->data);
        loop->due_ = true;
        loop->deadline_us_ = INT64_MAX;  // asked for again after the pump
      },
      static_cast<uint64_t>((left_us + 999) / 1000), 0);
}

void ServerLoop::check_drained() {
  if (runtime_->drained()) say_farewell();
  if (farewell_set_ && http_->connections() == 0) {
    stopping_ = true;
    uv_stop(&loop_);
  }
}

// Nothing will change any more while this process lives: whoever still waits is told how things
// stand.
void ServerLoop::say_farewell() {
  if (farewell_set_) return;
  farewell_set_ = true;
  due_ = true;
  runtime_->end_waits();
  http_->end_streams();
  http_->close_idle();
  uv_update_time(&loop_);
  uv_timer_start(
      &farewell_,
      [](uv_timer_t* timer) {
        self(timer->data)->stopping_ = true;
        uv_stop(timer->loop);
      },
      kFarewellMs, 0);
}

}  // namespace millrace
