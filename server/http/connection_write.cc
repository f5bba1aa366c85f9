// The writing half of Connection: answers, streams, the end.
#include <fmt/core.h>

#include "engine/base/check.h"
#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "server/http/connection.h"
#include "server/http/http_server.h"
#include "server/http/problem.h"

namespace millrace {
namespace {

constexpr uint64_t kDrainBytesMax = 64 * 1024;  // of a refused body, read to keep the connection
constexpr size_t kPieceBytes = 256 * 1024;
constexpr int kPiecesPerTurn = 4;
constexpr size_t kKeptBufferBytes = 64 * 1024;

bool has_no_body(int status) {
  return status == 204 || status == 304;
}

}  // namespace

bool Connection::small_rest() const {
  const Request& request = exchange_.request;
  return !expects_continue_ && !request.chunked && request.content_length > 0 &&
         request.content_length - std::min(request.content_length, body_bytes_) <= kDrainBytesMax;
}

void Connection::write_head(const Response& response, const std::string& length) {
  std::string& out = out_text_;
  out += "HTTP/1.1 ";
  char digits[3] = {static_cast<char>('0' + response.status / 100),
                    static_cast<char>('0' + response.status / 10 % 10),
                    static_cast<char>('0' + response.status % 10)};
  out.append(digits, 3);
  out += ' ';
  out += status_phrase(response.status);
  out += "\r\n";
  out += server_->date_line();
  if (!exchange_.request.id.empty()) {
    out += "X-Request-Id: ";
    out += exchange_.request.id;
    out += "\r\n";
  }
  out += exchange_.extra_head;
  out += response.head;
  out += length;
  if (!keep_alive_) {
    out += "Connection: close\r\n";
  } else if (http_minor_ == 0) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
}

// A large answer counts as memory until it has been sent: many that nobody reads would be more than
// there is. Not that to a request that changed something: it was carried out.
void Connection::charge_answer(Response* response) {
  const size_t size = response->body.size();
  if (exchange_.request.method != Method::kGet || size <= kKeptBufferBytes) return;
  if (server_->take_answer(size)) {
    answer_bytes_ = size;
    return;
  }
  *response = problem_response(Status::busy(
      errors::kOutOfMemoryBudget,
      fmt::format(
          "the answer has {} bytes, and others that were not read yet leave no room for it; "
          "try again",
          size)));
}

void Connection::release_answer() {
  server_->release_answer(std::exchange(answer_bytes_, 0));
}

void Connection::send(Response response) {
  CHECK(!sent_);
  if (phase_ == Phase::kClosed) return;
  charge_answer(&response);
  sent_ = true;
  stalled_ = false;
  status_ = response.status;
  if (response.close || server_->retiring()) keep_alive_ = false;
  if (phase_ == Phase::kBody && !message_done_ && !small_rest()) keep_alive_ = false;
  const uint64_t size = response.source != nullptr ? response.source_bytes
                        : response.bytes.present() ? response.bytes.size()
                                                   : response.body.size();
  std::string length;
  if (!has_no_body(response.status)) {
    length = "Content-Length: " + std::to_string(size) + "\r\n";
  }
  write_head(response, length);
  if (exchange_.request.method != Method::kHead && !has_no_body(response.status)) {
    if (response.source != nullptr) {
      source_ = std::move(response.source);
      source_left_ = size;
    } else if (response.bytes.present()) {
      out_bytes_ = std::move(response.bytes);
    } else {
      out_text_ += response.body;
    }
  }
  exchange_.sink.reset();
  exchange_.charge.clear();
  mark_dirty();
  if (!pending_.empty()) server_->resume_later(this);
}

void Connection::start_stream(Response head) {
  CHECK(!sent_);
  if (phase_ == Phase::kClosed) return;
  sent_ = true;
  streaming_ = true;
  status_ = head.status;
  if (server_->retiring() || http_minor_ == 0) keep_alive_ = false;
  write_head(head, http_minor_ == 0 ? "" : "Transfer-Encoding: chunked\r\n");
  mark_dirty();
}

void Connection::stream(std::string_view data) {
  if (!streaming_ || phase_ == Phase::kClosed || data.empty()) return;
  heartbeat_us_ = monotonic_us() + server_->options().heartbeat_ms * 1000;
  if (http_minor_ == 0) {
    out_text_ += data;
  } else {
    out_text_ += fmt::format("{:x}\r\n", data.size());
    out_text_ += data;
    out_text_ += "\r\n";
  }
  mark_dirty();
}

void Connection::end_stream() {
  if (!streaming_ || phase_ == Phase::kClosed) return;
  streaming_ = false;
  if (http_minor_ != 0) out_text_ += "0\r\n\r\n";
  mark_dirty();
}

size_t Connection::backlog_bytes() const {
  return out_text_.size() + (writing_ ? writing_text_.size() : 0);
}

void Connection::mark_dirty() {
  server_->flush_later(this);
}

BodySource::Got Connection::next_piece() {
  using Got = BodySource::Got;
  if (source_ == nullptr || !out_text_.empty()) return Got::kBytes;
  const size_t want = static_cast<size_t>(std::min<uint64_t>(kPieceBytes, source_left_));
  if (want > 0) {
    const Got got = source_->read(want, &out_text_, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) static_cast<Connection*>(self.get())->mark_dirty();
    });
    if (got != Got::kBytes) return got;
    CHECK(!out_text_.empty() && out_text_.size() <= want);
  }
  source_left_ -= out_text_.size();
  if (source_left_ == 0) source_.reset();
  return Got::kBytes;
}

void Connection::flush() {
  if (phase_ == Phase::kClosed || writing_) return;
  for (int piece = 0; piece < kPiecesPerTurn; piece++) {
    const BodySource::Got got = next_piece();
    if (got == BodySource::Got::kLater) return;
    if (got == BodySource::Got::kNothing) {
      close();
      return;
    }
    uv_buf_t buffers[2];
    unsigned count = 0;
    if (!out_text_.empty()) {
      buffers[count++] = uv_buf_init(out_text_.data(), static_cast<unsigned>(out_text_.size()));
    }
    if (!out_bytes_.empty()) {
      // libuv takes char* but does not write through it.
      buffers[count++] =
          uv_buf_init(const_cast<char*>(reinterpret_cast<const char*>(out_bytes_.data())),
                      static_cast<unsigned>(out_bytes_.size()));
    }
    if (count == 0) {
      written_all();
      return;
    }
    const size_t total = out_text_.size() + out_bytes_.size();
    int sent = uv_try_write(reinterpret_cast<uv_stream_t*>(&handle_), buffers, count);
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0) {
      close();
      return;
    }
    if (static_cast<size_t>(sent) < total) {
      write_rest(static_cast<size_t>(sent));
      return;
    }
    out_text_.clear();
    if (out_text_.capacity() > kKeptBufferBytes) out_text_ = std::string();
    out_bytes_ = Bytes();
  }
  mark_dirty();  // others first
}

void Connection::write_rest(size_t sent) {
  writing_ = true;
  writing_text_.swap(out_text_);
  out_text_.clear();
  writing_bytes_ = std::move(out_bytes_);
  out_bytes_ = Bytes();
  uv_buf_t buffers[2];
  unsigned count = 0;
  const size_t from_text = std::min(sent, writing_text_.size());
  if (from_text < writing_text_.size()) {
    buffers[count++] = uv_buf_init(writing_text_.data() + from_text,
                                   static_cast<unsigned>(writing_text_.size() - from_text));
  }
  const size_t from_bytes = sent - from_text;
  if (from_bytes < writing_bytes_.size()) {
    buffers[count++] = uv_buf_init(
        const_cast<char*>(reinterpret_cast<const char*>(writing_bytes_.data())) + from_bytes,
        static_cast<unsigned>(writing_bytes_.size() - from_bytes));
  }
  write_.data = this;
  queue_bytes_seen_ = 0;
  write_deadline_us_ = monotonic_us() + server_->options().write_ms * 1000;
  const int error = uv_write(&write_, reinterpret_cast<uv_stream_t*>(&handle_), buffers, count,
                             [](uv_write_t* request, int status) {
                               static_cast<Connection*>(request->data)->on_written(status);
                             });
  if (error != 0) {
    writing_ = false;
    close();
  }
}

void Connection::on_written(int status) {
  writing_ = false;
  writing_text_.clear();
  writing_bytes_ = Bytes();
  if (phase_ == Phase::kClosed) return;
  if (status < 0) {
    close();
    return;
  }
  mark_dirty();
}

void Connection::written_all() {
  release_answer();
  if (streaming_) {
    if (exchange_.on_drained) exchange_.on_drained();
    return;
  }
  if (!sent_ || phase_ == Phase::kLingering) return;
  if (!keep_alive_) {
    server_->handler().finished(exchange_, status_);
    linger();
    return;
  }
  if (message_done_) finish_exchange();
}

void Connection::finish_exchange() {
  server_->handler().finished(exchange_, status_);
  exchange_.reset(exchange_.number + 1);
  scanner_.reset();
  llhttp_reset(&parser_);
  sent_ = message_done_ = expects_continue_ = false;
  body_bytes_ = wire_bytes_ = trailer_bytes_ = 0;
  refusal_ = Status();
  phase_ = Phase::kIdle;
  if (server_->retiring()) {  // its answer was on its way before
    close();
    return;
  }
  deadline_us_ = monotonic_us() + server_->options().idle_ms * 1000;
  if (!pending_.empty()) {
    server_->resume_later(this);
  } else if (eof_) {
    close();
  } else {
    set_reading(true);
  }
}

// Says that nothing more comes, and reads what the client still sends for a while: a socket closed
// with bytes unread would be reset, and the answer lost with it.
void Connection::linger() {
  if (eof_ || (message_done_ && pending_.empty())) {
    exchange_.number++;
    phase_ = Phase::kLingering;
    close();
    return;
  }
  phase_ = Phase::kLingering;
  exchange_.number++;
  pending_.clear();
  deadline_us_ = monotonic_us() + server_->options().linger_ms * 1000;
  if (!shut_) {
    shut_ = true;
    shutdown_.data = this;
    if (uv_shutdown(&shutdown_, reinterpret_cast<uv_stream_t*>(&handle_),
                    [](uv_shutdown_t*, int) {}) != 0) {
      close();
      return;
    }
  }
  set_reading(true);
}

bool Connection::step_aside(std::string_view why) {
  if (!idle() || unread_bytes() > 0) return false;
  if (exchange_.number == 1) {
    uv_buf_t buffer = uv_buf_init(const_cast<char*>(why.data()), static_cast<unsigned>(why.size()));
    uv_try_write(reinterpret_cast<uv_stream_t*>(&handle_), &buffer, 1);
  }
  close();
  return true;
}

void Connection::close_idle() {
  if (phase_ == Phase::kIdle) close();
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  const Phase before = phase_;
  phase_ = Phase::kClosed;
  if (before == Phase::kHead || before == Phase::kBody || before == Phase::kAnswering) {
    server_->handler().finished(exchange_, sent_ ? status_ : 499);  // 499: the client went away
  }
  exchange_.reset(exchange_.number + 1);
  release_answer();
  source_.reset();
  if (!opened_) return;
  server_->closing();
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_), [](uv_handle_t* handle) {
    auto* connection = static_cast<Connection*>(handle->data);
    connection->server_->remove(connection);
    const auto last = std::move(connection->self_);  // may end the connection, here and not earlier
  });
}

}  // namespace millrace
