#include "server/http/http_server.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <ctime>

#include "engine/base/check.h"
#include "engine/base/digest.h"
#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "server/http/connection.h"
#include "server/http/problem.h"
#include "server/http/text.h"

namespace millrace {
namespace {

constexpr size_t kReadBufferBytes = 64 * 1024;
constexpr int kBacklog = 1024;
constexpr uint64_t kAnswersShare = 4;  // of the byte budget so many parts; one for large answers
constexpr size_t kTurnedAwayMax = 32;  // at once, of those who are heard out
constexpr char kTooMany[] = "the server has as many connections as it takes; try again later";
constexpr uint64_t kSmallBodyBytes = 128 * 1024;
constexpr int64_t kSpillUs = 50'000;  // between looks for memory that can wait on the disk
// Of the byte budget (at most an eighth): only for what goes straight on to the disk, so that
// uploads come through whatever fills the rest.
constexpr uint64_t kSpoolReserveBytes = 512 * 1024;
constexpr int kReserveShare = 8;
constexpr int kPatienceShare = 8;  // of stall_ms so many parts; one is what small bodies wait
constexpr size_t kIdleShare =
    64;  // of all connections so many parts; one goes when there is no room
// Made once: it must be cheap while there is no room for anything.
const std::string& too_many() {
  static const std::string text = [] {
    const Response problem = problem_response(Status::busy(errors::kTooManyConnections, kTooMany));
    return fmt::format(
        "HTTP/1.1 503 Service Unavailable\r\n{}Connection: close\r\nContent-Length: {}\r\n\r\n{}",
        problem.head, problem.body.size(), problem.body);
  }();
  return text;
}

Status bad_address(const std::string& address) {
  return Status::invalid(
      errors::kListenFailed,
      fmt::format("listen: '{}' is no address; write HOST:PORT such as 127.0.0.1:8080", address));
}

Status parse_address(const std::string& address, sockaddr_storage* out) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return bad_address(address);
  std::string host = address.substr(0, colon);
  const std::string port_text = address.substr(colon + 1);
  uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (error != std::errc() || end != port_text.data() + port_text.size()) {
    return bad_address(address);
  }
  if (host.empty()) host = "127.0.0.1";
  if (host == "localhost") host = "127.0.0.1";
  if (host == "*") host = "0.0.0.0";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (uv_ip6_addr(host.c_str(), port, reinterpret_cast<sockaddr_in6*>(out)) != 0) {
      return bad_address(address);
    }
    return {};
  }
  if (uv_ip4_addr(host.c_str(), port, reinterpret_cast<sockaddr_in*>(out)) != 0) {
    return bad_address(address);
  }
  return {};
}

std::string address_text(const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
    uv_ip6_name(&in6, host, sizeof host);
    return fmt::format("[{}]:{}", host, ntohs(in6.sin6_port));
  }
  const auto& in4 = reinterpret_cast<const sockaddr_in&>(address);
  uv_ip4_name(&in4, host, sizeof host);
  return fmt::format("{}:{}", host, ntohs(in4.sin_port));
}

template <typename Handle>
void close_and_delete(Handle* handle) {
  uv_close(reinterpret_cast<uv_handle_t*>(handle),
           [](uv_handle_t* h) { delete reinterpret_cast<Handle*>(h); });
}

}  // namespace

HttpServer::HttpServer(uv_loop_t* loop, HttpOptions options, RequestHandler* handler,
                       std::shared_ptr<ByteBudget> budget)
    : loop_(loop), options_(options), handler_(handler), budget_(std::move(budget)) {
  read_buffer_.resize(kReadBufferBytes);
  random_bytes(&id_seed_, sizeof id_seed_);
  sweeper_ = new uv_timer_t;
  CHECK(uv_timer_init(loop_, sweeper_) == 0);
  sweeper_->data = this;
}

HttpServer::~HttpServer() {
  CHECK_MSG(connections_.empty(), "close_all() and a run of the loop come first");
  stop_listening();
  close_and_delete(sweeper_);
}

Status HttpServer::listen(const std::string& address) {
  sockaddr_storage name{};
  RETURN_IF_ERROR(parse_address(address, &name));
  listener_ = new uv_tcp_t;
  CHECK(uv_tcp_init(loop_, listener_) == 0);
  listener_->data = this;
  int error = uv_tcp_bind(listener_, reinterpret_cast<const sockaddr*>(&name), 0);
  if (error == 0) {
    error = uv_listen(reinterpret_cast<uv_stream_t*>(listener_), kBacklog, on_connection);
  }
  int size = sizeof name;
  if (error == 0) {
    error = uv_tcp_getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &size);
  }
  if (error != 0) {
    stop_listening();
    return Status::unavailable(errors::kListenFailed,
                               fmt::format("listen: cannot bind {}: {}; choose another address or "
                                           "end the process that holds it",
                                           address, uv_strerror(error)));
  }
  address_ = address_text(name);
  return {};
}

void HttpServer::stop_listening() {
  if (listener_ == nullptr) return;
  close_and_delete(listener_);
  listener_ = nullptr;
}

void HttpServer::on_connection(uv_stream_t* listener, int status) {
  auto* server = static_cast<HttpServer*>(listener->data);
  if (status < 0) {
    log_event(LogLevel::kWarning, "http.accept_failed", {{"reason", uv_strerror(status)}});
    return;
  }
  server->accept();
}

void HttpServer::accept() {
  const bool room = make_room();
  const auto most = static_cast<size_t>(options_.connections_max);
  if (!room && connections_.size() - closing_ >= most + kTurnedAwayMax) {
    refuse_connection();
    return;
  }
  auto connection = std::make_shared<Connection>(this);
  connections_.insert(connection.get());
  set_sweeping(true);
  if (const Status status = connection->open(reinterpret_cast<uv_stream_t*>(listener_));
      !status.ok()) {
    log_event(LogLevel::kWarning, "http.accept_failed", {{"reason", status.message()}});
    return;
  }
  if (!room) connection->turn_away(Status::busy(errors::kTooManyConnections, kTooMany));
}

// Idle connections make room for new ones, those first that have been idle for longest: nobody
// keeps others out by holding connections and asking nothing. Several go at once, so that a flood
// of new ones does not look through all of them for each.
bool HttpServer::make_room() {
  const auto most = static_cast<size_t>(options_.connections_max);
  if (connections_.size() - closing_ < most) return true;
  std::vector<Connection*> idle;
  for (Connection* connection : connections_) {
    if (connection->idle()) idle.push_back(connection);
  }
  const size_t count = std::min(idle.size(), 1 + most / kIdleShare);
  const auto end = idle.begin() + static_cast<std::ptrdiff_t>(count);
  std::nth_element(idle.begin(), end, idle.end(), [](const Connection* a, const Connection* b) {
    return a->deadline_us() < b->deadline_us();
  });
  idle.erase(end, idle.end());
  bool made = false;
  for (Connection* connection : idle) made = connection->step_aside(too_many()) || made;
  return made;
}

// One write that a fresh socket's buffer always takes, then the end. Who has sent a request already
// may see a reset instead.
void HttpServer::refuse_connection() {
  auto* handle = new uv_tcp_t;
  CHECK(uv_tcp_init(loop_, handle) == 0);
  if (uv_accept(reinterpret_cast<uv_stream_t*>(listener_),
                reinterpret_cast<uv_stream_t*>(handle)) == 0) {
    uv_buf_t buffer =
        uv_buf_init(const_cast<char*>(too_many().data()), static_cast<unsigned>(too_many().size()));
    uv_try_write(reinterpret_cast<uv_stream_t*>(handle), &buffer, 1);
  }
  close_and_delete(handle);
}

uint64_t HttpServer::spool_reserve() const {
  return std::min<uint64_t>(kSpoolReserveBytes, budget_->limit_bytes() / kReserveShare);
}

// Whoever waits for room must not wait for uploads that hold memory and bring no more: what they
// hold waits on the disk as well.
void HttpServer::spill_all() {
  const int64_t now_us = monotonic_us();
  if (now_us < spill_due_us_) return;  // the sweep comes to it, if no turn does
  room_wanted_ = false;
  spill_due_us_ = now_us + kSpillUs;
  for (Connection* connection : connections_) {
    if (connection->held_bytes() > 0) connection->spill();
  }
}

bool HttpServer::turn() {
  dirty_now_.swap(dirty_);
  for (Connection* connection : dirty_now_) {
    if (!connections_.contains(connection)) continue;
    connection->dirty = false;
    connection->flush();
  }
  dirty_now_.clear();
  resuming_now_.swap(resuming_);
  // Small bodies first, or large ones that wait would take the room that was made for those.
  std::stable_partition(resuming_now_.begin(), resuming_now_.end(), [this](Connection* connection) {
    return connections_.contains(connection) && connection->held_bytes() <= kSmallBodyBytes;
  });
  if (room_wanted_) spill_all();
  bool moved = false;
  for (Connection* connection : resuming_now_) {
    if (!connections_.contains(connection)) continue;
    connection->resuming = false;
    moved = connection->resume() || moved;
  }
  resuming_now_.clear();
  return moved || !dirty_.empty();
}

bool HttpServer::take_answer(uint64_t size) {
  const uint64_t most = budget_->limit_bytes() / kAnswersShare;
  if (answer_bytes_ > 0 && answer_bytes_ + size > most)
    return false;  // a single one is always sent
  answer_bytes_ += size;
  return true;
}

void HttpServer::flush_later(Connection* connection) {
  if (connection->dirty) return;
  connection->dirty = true;
  dirty_.push_back(connection);
}

void HttpServer::resume_later(Connection* connection) {
  if (connection->resuming) return;
  connection->resuming = true;
  resuming_.push_back(connection);
}

void HttpServer::remove(Connection* connection) {
  connections_.erase(connection);
  closing_--;
  if (!connections_.empty()) return;
  set_sweeping(false);
  if (on_empty) on_empty();
}

void HttpServer::end_streams() {
  for (Connection* connection : connections_) connection->end_stream();
}

void HttpServer::close_idle() {
  const std::vector<Connection*> all(connections_.begin(), connections_.end());
  for (Connection* connection : all) connection->close_idle();
}

void HttpServer::close_all() {
  const std::vector<Connection*> all(connections_.begin(), connections_.end());
  for (Connection* connection : all) connection->close();
}

// The one timer of all connections; it stands still while there are none.
void HttpServer::set_sweeping(bool on) {
  if (on == sweeping_) return;
  sweeping_ = on;
  if (!on) {
    uv_timer_stop(sweeper_);
    return;
  }
  const int64_t shortest = std::min({options_.idle_ms, options_.head_ms, options_.body_ms,
                                     options_.stall_ms, options_.write_ms, options_.linger_ms});
  const auto period = static_cast<uint64_t>(std::clamp<int64_t>(shortest / 4, 10, 1000));
  uv_timer_start(
      sweeper_, [](uv_timer_t* timer) { static_cast<HttpServer*>(timer->data)->sweep(); }, period,
      period);
}

void HttpServer::sweep() {
  const int64_t now_us = monotonic_us();
  const std::vector<Connection*> all(connections_.begin(), connections_.end());
  if (room_wanted_) spill_all();
  make_way(all, now_us);
  for (Connection* connection : all) connection->check_deadline(now_us);
}

// Bodies that hold much of the byte budget give way to small ones that have waited for room, the
// largest first: nobody keeps others out by sending the beginnings of large requests.
void HttpServer::make_way(const std::vector<Connection*>& all, int64_t now_us) {
  uint64_t wanted = 0;
  std::vector<Connection*> large;
  for (Connection* connection : all) {
    if (connection->held_bytes() > kSmallBodyBytes) {
      large.push_back(connection);
    } else {
      wanted += connection->wanted_bytes(now_us, options_.stall_ms * 1000 / kPatienceShare);
    }
  }
  if (wanted == 0) return;
  std::sort(large.begin(), large.end(), [](const Connection* a, const Connection* b) {
    return a->held_bytes() > b->held_bytes();
  });
  for (Connection* connection : large) {
    if (wanted == 0) return;
    wanted -= std::min(wanted, connection->held_bytes());
    connection->give_way();
  }
}

std::string_view HttpServer::date_line() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != date_second_) {
    date_second_ = now.tv_sec;
    date_line_ = "Date: " + http_date(now.tv_sec) + "\r\n";
  }
  return date_line_;
}

std::string HttpServer::make_request_id() {
  // Not a secret: unique within the boot, and spread so that boots do not collide.
  const uint64_t mixed = (id_seed_ + ++id_count_) * 0x9e3779b97f4a7c15ull;
  char text[16];
  static constexpr char kDigits[] = "0123456789abcdef";
  for (int i = 0; i < 16; i++) text[i] = kDigits[(mixed >> (60 - 4 * i)) & 15];
  return {text, sizeof text};
}

}  // namespace millrace
