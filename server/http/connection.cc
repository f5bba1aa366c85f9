#include "server/http/connection.h"

#include <fmt/core.h>

#include "engine/base/check.h"
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "server/http/http_server.h"
#include "server/http/problem.h"
#include "server/http/text.h"

namespace millrace {
namespace {

constexpr size_t kPendingBytesMax = 64 * 1024;
constexpr uint64_t kChunkOverheadBytesMax = 64 * 1024;  // beyond 16 bytes for each byte of content
constexpr size_t kRequestIdBytesMax = 128;
constexpr unsigned kAskPeerSeconds = 10;  // between questions whether a silent peer is there

Method method_of(uint8_t method) {
  switch (method) {
    case HTTP_GET:
      return Method::kGet;
    case HTTP_HEAD:
      return Method::kHead;
    case HTTP_POST:
      return Method::kPost;
    case HTTP_PUT:
      return Method::kPut;
    case HTTP_DELETE:
      return Method::kDelete;
    case HTTP_OPTIONS:
      return Method::kOptions;
    default:
      return Method::kOther;
  }
}

bool visible_ascii(std::string_view text) {
  for (char c : text) {
    if (c <= ' ' || c > '~') return false;
  }
  return !text.empty();
}

// llhttp leaves the reason null for errors that its callbacks raised.
const char* parser_reason(const llhttp_t& parser) {
  const char* reason = llhttp_get_error_reason(&parser);
  return reason != nullptr ? reason : "it was refused before";
}

Status malformed(std::string message) {
  return Status::invalid(errors::kMalformedRequest, std::move(message));
}

}  // namespace

Connection::Connection(HttpServer* server) : server_(server), exchange_(this, server->budget()) {
  llhttp_init(&parser_, HTTP_REQUEST, &settings());
  parser_.data = this;
  exchange_.reset(1);
}

Connection::~Connection() {
  CHECK_MSG(!opened_ || phase_ == Phase::kClosed, "a connection is closed before it goes");
}

const llhttp_settings_t& Connection::settings() {
  static const llhttp_settings_t made = [] {
    llhttp_settings_t s;
    llhttp_settings_init(&s);
    s.on_url = [](llhttp_t* p, const char* at, size_t size) {
      auto* c = static_cast<Connection*>(p->data);
      c->exchange_.request.target.append(at, size);
      return c->exchange_.request.target.size() > kUrlBytesMax ? static_cast<int>(HPE_USER) : 0;
    };
    s.on_header_field = [](llhttp_t* p, const char* at, size_t size) {
      auto* c = static_cast<Connection*>(p->data);
      if (c->phase_ == Phase::kBody) {  // a trailer: counted, not kept
        c->trailer_bytes_ += size;
        return 0;
      }
      c->exchange_.request.append_name({at, size});
      return c->exchange_.request.header_total() > kHeadersMax ? static_cast<int>(HPE_USER) : 0;
    };
    s.on_header_value = [](llhttp_t* p, const char* at, size_t size) {
      auto* c = static_cast<Connection*>(p->data);
      if (c->phase_ == Phase::kBody) {
        c->trailer_bytes_ += size;
        return 0;
      }
      c->exchange_.request.append_value({at, size});
      return 0;
    };
    s.on_chunk_header = [](llhttp_t* p) {
      return static_cast<Connection*>(p->data)->chunk_of(p->content_length);
    };
    s.on_body = [](llhttp_t* p, const char* at, size_t size) {
      return static_cast<Connection*>(p->data)->body_data(at, size);
    };
    s.on_message_complete = [](llhttp_t* p) {
      static_cast<Connection*>(p->data)->message_done_ = true;
      return static_cast<int>(HPE_PAUSED);
    };
    return s;
  }();
  return made;
}

Status Connection::open(uv_stream_t* listener) {
  CHECK(uv_tcp_init(server_->loop(), &handle_) == 0);
  handle_.data = this;
  opened_ = true;
  self_ = shared_from_this();
  const int error = uv_accept(listener, reinterpret_cast<uv_stream_t*>(&handle_));
  if (error != 0) {
    close();
    return Status::unavailable(0, uv_strerror(error));
  }
  uv_tcp_nodelay(&handle_, 1);
  deadline_us_ = monotonic_us() + server_->options().idle_ms * 1000;
  set_reading(true);
  return {};
}

void Connection::set_reading(bool on) {
  if (on == reading_ || phase_ == Phase::kClosed) return;
  if (on && eof_) return;
  reading_ = on;
  auto* stream = reinterpret_cast<uv_stream_t*>(&handle_);
  if (!on) {
    uv_read_stop(stream);
    return;
  }
  const int error = uv_read_start(
      stream,
      [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
        HttpServer* server = static_cast<Connection*>(handle->data)->server_;
        *buffer =
            uv_buf_init(server->read_buffer(), static_cast<unsigned>(server->read_buffer_size()));
      },
      [](uv_stream_t* s, ssize_t size, const uv_buf_t* buffer) {
        static_cast<Connection*>(s->data)->on_read(buffer->base, size);
      });
  if (error != 0) close();
}

void Connection::on_read(const char* data, ssize_t size) {
  if (size == 0) return;
  if (size == UV_EOF) {
    on_end();
    return;
  }
  if (size < 0) {
    close();
    return;
  }
  const auto count = static_cast<size_t>(size);
  if (!pending_.empty()) {
    pending_.append(data, count);
    if (pending_.size() >= kPendingBytesMax) set_reading(false);
    return;
  }
  const size_t used = consume(data, count);
  if (phase_ == Phase::kClosed || used == count) return;
  pending_.assign(data + used, count - used);
  set_reading(false);  // until the request before it is answered, or the budget has room
}

bool Connection::resume() {
  if (phase_ == Phase::kClosed) return false;
  if (pending_.empty()) return false;
  const size_t used = consume(pending_.data(), pending_.size());
  if (phase_ == Phase::kClosed) return true;
  pending_.erase(0, used);
  if (pending_.empty()) {
    if (eof_) {
      on_end();
    } else {
      set_reading(true);
    }
  }
  return used > 0;
}

size_t Connection::consume(const char* data, size_t size) {
  size_t at = 0;
  while (at < size) {
    switch (phase_) {
      case Phase::kIdle:
        // RFC 9112 2.2: empty lines before a request line are ignored.
        if (data[at] == '\r' || data[at] == '\n') {
          at++;
          break;
        }
        phase_ = Phase::kHead;
        exchange_.started_us = monotonic_us();
        deadline_us_ = exchange_.started_us + server_->options().head_ms * 1000;
        break;
      case Phase::kHead:
        at += consume_head(data + at, size - at);
        break;
      case Phase::kBody: {
        if (refused_) return size;  // the answer is on its way, and the parser is in an error
        const size_t used = consume_body(data + at, size - at);
        if (used == 0) return at;  // stalled
        at += used;
        break;
      }
      case Phase::kAnswering:
        return at;
      case Phase::kLingering:
      case Phase::kClosed:
        return size;
    }
  }
  return at;
}

size_t Connection::consume_head(const char* data, size_t size) {
  const size_t used = scanner_.feed(data, size);
  if (scanner_.error() != nullptr) {
    refuse(malformed(scanner_.error()));
    return used;
  }
  const llhttp_errno_t error = llhttp_execute(&parser_, data, used);
  const bool paused = error == HPE_PAUSED || error == HPE_PAUSED_UPGRADE;
  if (exchange_.request.target.size() > kUrlBytesMax) {
    refuse(
        Status::invalid(errors::kUrlTooLong,
                        fmt::format("the request target is longer than {} bytes", kUrlBytesMax)));
  } else if (exchange_.request.header_total() > kHeadersMax) {
    refuse(Status::invalid(errors::kHeadTooLarge,
                           fmt::format("the request has more than {} header lines", kHeadersMax)));
  } else if (error != HPE_OK && !paused) {
    refuse(malformed(fmt::format("the request's head does not parse: {}", parser_reason(parser_))));
  } else if (scanner_.total_bytes() > kHeaderBytesMax) {
    refuse(Status::invalid(
        errors::kHeadTooLarge,
        fmt::format("the request's head is longer than {} bytes", kHeaderBytesMax)));
  } else if (scanner_.done()) {
    if (paused) message_done_ = true;
    head_complete();
  }
  return used;
}

void Connection::split_target() {
  Request& request = exchange_.request;
  std::string_view target = request.target;
  request.host = request.header_or_empty("host");
  const size_t scheme = target.find("://");
  if (!target.empty() && target[0] != '/' && scheme != std::string_view::npos) {
    const size_t slash = std::min(target.find_first_of("/?", scheme + 3), target.size());
    request.host = target.substr(scheme + 3, slash - scheme - 3);
    target = target.substr(slash);
    if (target.empty() || target[0] == '?') {
      // Views need memory that stays: an absolute target without a path means "/".
      request.path = "/";
      request.query = target.empty() ? target : target.substr(1);
      return;
    }
  }
  target = target.substr(0, std::min(target.find('#'), target.size()));
  const size_t question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  request.query = question < target.size() ? target.substr(question + 1) : std::string_view();
}

// What llhttp lets pass and two parsers might read differently.
Status Connection::check_head() {
  Request& request = exchange_.request;
  if (parser_.http_major != 1) return malformed("only HTTP/1.1 and HTTP/1.0 are spoken here");
  const int hosts = request.header_count("host");
  if (hosts > 1) return malformed("the request has more than one Host field");
  if (hosts == 0 && http_minor_ >= 1) return malformed("the request has no Host field");
  const int lengths = request.header_count("content-length");
  const int encodings = request.header_count("transfer-encoding");
  if (lengths > 1) return malformed("the request has more than one Content-Length field");
  if (lengths > 0 && encodings > 0) {
    return malformed("the request has both Content-Length and Transfer-Encoding");
  }
  if (encodings > 0) {
    if (http_minor_ == 0) return malformed("HTTP/1.0 has no Transfer-Encoding");
    if (encodings > 1 ||
        !equals_ignoring_case(request.header_or_empty("transfer-encoding"), "chunked")) {
      return malformed("the only Transfer-Encoding understood is a single 'chunked'");
    }
    request.chunked = true;
  } else if (lengths > 0) {
    request.content_length = parser_.content_length;
  }
  return {};
}

void Connection::head_complete() {
  Request& request = exchange_.request;
  http_minor_ = parser_.http_minor;
  request.method = method_of(parser_.method);
  keep_alive_ = llhttp_should_keep_alive(&parser_) != 0;
  split_target();
  if (const Status status = check_head(); !status.ok()) {
    refuse(status);
    return;
  }
  const std::string_view id = request.header_or_empty("x-request-id");
  if (id.size() <= kRequestIdBytesMax && visible_ascii(id)) {
    request.id = id;
  } else {
    request.id = server_->make_request_id();
  }
  const auto expect = request.header("expect");
  if (expect && http_minor_ >= 1) {
    if (!equals_ignoring_case(*expect, "100-continue")) {
      refuse(Status::invalid(errors::kMalformedRequest, "the only Expect is 100-continue"), 417);
      return;
    }
    expects_continue_ = !message_done_;
  }
  phase_ = message_done_ ? Phase::kAnswering : Phase::kBody;
  deadline_us_ = message_done_ ? INT64_MAX : monotonic_us() + server_->options().body_ms * 1000;
  window_bytes_ = 0;
  if (request.method == Method::kOther && parser_.method == HTTP_CONNECT) keep_alive_ = false;
  server_->handler().begin(exchange_);
  if (phase_ == Phase::kClosed) return;
  if (!sent_ && request.content_length > exchange_.body_bytes_max) {
    refuse(Status::invalid(errors::kBodyTooLarge,
                           fmt::format("the body is {} bytes, at most {} are taken here",
                                       request.content_length, exchange_.body_bytes_max)));
    return;
  }
  if (!sent_ && expects_continue_) {
    out_text_ += "HTTP/1.1 100 Continue\r\n\r\n";
    expects_continue_ = false;
    mark_dirty();
  }
  if (message_done_ && !sent_) message_complete();
}

size_t Connection::consume_body(const char* data, size_t size) {
  const bool discard = sent_;
  if (!discard && (!sink_ready() || !take_room(size))) {
    stall();
    return 0;
  }
  if (stalled_) {
    stalled_ = false;
    window_bytes_ = 0;
    deadline_us_ = monotonic_us() + server_->options().body_ms * 1000;
  }
  const uint64_t content_before = body_bytes_;
  if (parser_.error == HPE_PAUSED) llhttp_resume(&parser_);
  const llhttp_errno_t error = llhttp_execute(&parser_, data, size);
  size_t used = size;
  if (error != HPE_OK) {
    used = static_cast<size_t>(llhttp_get_error_pos(&parser_) - data);
  }
  wire_bytes_ += used;
  // Framing, and what belongs to the next request, is not kept as part of this body.
  exchange_.charge.give_back(size - std::min<uint64_t>(size, body_bytes_ - content_before));
  if (error != HPE_OK && error != HPE_PAUSED) {
    refuse(refusal_.ok() ? malformed(fmt::format("the request's body does not parse: {}",
                                                 parser_reason(parser_)))
                         : refusal_);
    return size;
  }
  const uint64_t overhead = wire_bytes_ - std::min(wire_bytes_, body_bytes_);
  if (trailer_bytes_ > kHeaderBytesMax || overhead > kChunkOverheadBytesMax + 16 * body_bytes_) {
    refuse(malformed("the chunked body has more framing than content"));
    return size;
  }
  if (message_done_) {
    if (sent_) {
      phase_ = Phase::kAnswering;
      mark_dirty();  // the answer may be out already: flush() goes on to the next request
    } else {
      message_complete();
    }
  }
  return used == 0 ? size : used;
}

// An upload that finds no room goes to the disk, and for what goes there some room is left.
bool Connection::take_room(size_t size) {
  if (exchange_.charge.try_add(size, server_->spool_reserve())) return true;
  if (spill() && exchange_.charge.try_add(size)) return true;
  server_->ask_for_room();
  return false;
}

bool Connection::spill() {
  return phase_ == Phase::kBody && !sent_ && exchange_.sink != nullptr && exchange_.sink->spill();
}

// A chunk that says it is too long is not waited for.
int Connection::chunk_of(uint64_t size) {
  const uint64_t most = exchange_.body_bytes_max;
  if (sent_ || size <= most - std::min(most, body_bytes_)) return 0;
  refusal_ = Status::invalid(errors::kBodyTooLarge,
                             fmt::format("the body is longer than the {} bytes taken here", most));
  return HPE_USER;
}

int Connection::body_data(const char* at, size_t size) {
  body_bytes_ += size;
  window_bytes_ += size;
  if (sent_) return 0;
  if (body_bytes_ > exchange_.body_bytes_max) {
    refusal_ = Status::invalid(
        errors::kBodyTooLarge,
        fmt::format("the body is longer than the {} bytes taken here", exchange_.body_bytes_max));
    return HPE_USER;
  }
  if (exchange_.sink == nullptr) {
    std::string& body = exchange_.request.body;
    if (body.empty() && exchange_.request.content_length > 0) {
      body.reserve(exchange_.request.content_length);  // untouched pages cost nothing
    }
    body.append(at, size);
    return 0;
  }
  refusal_ = exchange_.sink->write({at, size});
  return refusal_.ok() ? 0 : static_cast<int>(HPE_USER);
}

void Connection::message_complete() {
  phase_ = Phase::kAnswering;
  deadline_us_ = INT64_MAX;
  server_->handler().complete(exchange_);
}

void Connection::refuse(const Status& problem, int http_status) {
  Response response = problem_response(problem, http_status);
  response.close = true;
  refused_ = true;
  if (phase_ == Phase::kHead || phase_ == Phase::kIdle) phase_ = Phase::kBody;
  if (sent_) {  // already answered: nothing more to say
    keep_alive_ = false;
    mark_dirty();
    return;
  }
  exchange_.respond(std::move(response));
}

void Connection::on_end() {
  eof_ = true;
  set_reading(false);
  if (!pending_.empty()) return;  // consumed first
  if (phase_ != Phase::kAnswering || streaming_) {
    close();
    return;
  }
  // A client may close its side after the request and still read the answer. Whether it does cannot
  // be seen without a word to it: the system asks, and check_deadline() looks what came of it.
  keep_alive_ = false;
  uv_tcp_keepalive(&handle_, 1, kAskPeerSeconds);
}

Exchange* Connection::exchange_of(uint64_t number) {
  return phase_ != Phase::kClosed && exchange_.number == number && (!sent_ || streaming_)
             ? &exchange_
             : nullptr;
}

}  // namespace millrace
