// What takes too long, or waits: the clock's half of Connection.
#include <poll.h>
#include <sys/ioctl.h>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "server/http/connection.h"
#include "server/http/http_server.h"

namespace millrace {

void Connection::stall() {
  const int64_t now_us = monotonic_us();
  if (!stalled_) stalled_since_us_ = now_us;
  stalled_ = true;
  deadline_us_ = INT64_MAX;  // the client is not to blame; check_deadline looks at the stall
  set_reading(false);
  server_->resume_later(this);  // tried again in every turn of the loop, and at each sweep
}

uint64_t Connection::wanted_bytes(int64_t now_us, int64_t waited_us) const {
  return stalled_ && sink_ready() && now_us - stalled_since_us_ >= waited_us ? pending_.size() : 0;
}

void Connection::give_way() {
  refuse(
      Status::busy(errors::kOutOfMemoryBudget,
                   "the server's byte budget is used up, and smaller requests wait for what this "
                   "one held; try again"));
}

void Connection::expire(const char* what) {
  if (sent_ || phase_ == Phase::kIdle) {
    close();
    return;
  }
  refuse(Status::invalid(errors::kRequestTimeout, what));
  deadline_us_ = monotonic_us() + server_->options().linger_ms * 1000;
}

void Connection::check_deadline(int64_t now_us) {
  if (phase_ == Phase::kClosed) return;
  const HttpOptions& options = server_->options();
  if (writing_) {
    const size_t queue = uv_stream_get_write_queue_size(reinterpret_cast<uv_stream_t*>(&handle_));
    if (queue != queue_bytes_seen_) {
      queue_bytes_seen_ = queue;
      write_deadline_us_ = now_us + options.write_ms * 1000;
    } else if (now_us >= write_deadline_us_) {
      close();
      return;
    }
  }
  if (phase_ == Phase::kAnswering && !reading_ && !writing_ && peer_gone()) {
    close();
    return;
  }
  if (stalled_) {
    if (body_cut_short()) {
      close();
      return;
    }
    server_->resume_later(this);
    if (now_us - stalled_since_us_ > options.stall_ms * 1000) {
      stalled_ = false;
      refuse(sink_ready()
                 ? Status::busy(errors::kOutOfMemoryBudget,
                                "the server's byte budget is used up by other requests; try again")
                 : Status::busy(errors::kBlobWrite,
                                "the server's disk does not keep up with uploads; try again"));
    }
    return;
  }
  if (streaming_ && !exchange_.heartbeat.empty() && now_us >= heartbeat_us_ && !writing_) {
    stream(exchange_.heartbeat);
  }
  if (now_us < deadline_us_) return;
  if (phase_ == Phase::kBody && !sent_ && window_bytes_ >= options.body_window_bytes) {
    window_bytes_ = 0;
    deadline_us_ = now_us + options.body_ms * 1000;
    return;
  }
  expire(phase_ == Phase::kBody ? "the body came too slowly"
                                : "the request's head came too slowly");
}

// In the socket; -1: not to be known.
int Connection::unread_bytes() const {
  uv_os_fd_t fd = -1;
  int unread = 0;
  if (uv_fileno(reinterpret_cast<const uv_handle_t*>(&handle_), &fd) != 0) return -1;
  return ::ioctl(fd, FIONREAD, &unread) == 0 ? unread : -1;
}

// Nothing is read while a body waits for room: what has come is all there will be, and too little.
bool Connection::body_cut_short() const {
  uv_os_fd_t fd = -1;
  if (uv_fileno(reinterpret_cast<const uv_handle_t*>(&handle_), &fd) != 0) return false;
  pollfd state{fd, POLLRDHUP, 0};
  if (::poll(&state, 1, 0) <= 0) return false;
  if ((state.revents & (POLLERR | POLLHUP)) != 0) return true;
  const int unread = unread_bytes();
  if (exchange_.request.chunked || unread < 0) return false;
  return body_bytes_ + pending_.size() + static_cast<uint64_t>(unread) <
         exchange_.request.content_length;
}

// Nothing is read while an answer is awaited and more has come, or all has: a reset goes unnoticed
// then.
bool Connection::peer_gone() const {
  uv_os_fd_t fd = -1;
  if (uv_fileno(reinterpret_cast<const uv_handle_t*>(&handle_), &fd) != 0) return false;
  pollfd state{fd, 0, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace millrace
