// HttpServer: the listening socket and its connections.
//
// It knows nothing of jobs, nor of when a turn of the loop ends: its owner calls turn() then.
// Thread: loop.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/base/limits.h"
#include "server/http/exchange.h"

namespace millrace {

class Connection;

struct HttpOptions {
  int connections_max = kConnectionsMax;
  int64_t idle_ms = 75'000;  // between requests
  int64_t head_ms = 10'000;  // from a request's first byte to the end of its head
  int64_t body_ms = 20'000;  // in which a body must bring body_window_bytes (or end)
  uint64_t body_window_bytes = 16 * 1024;
  int64_t stall_ms = 20'000;      // that a body waits for room in the byte budget
  int64_t write_ms = 30'000;      // without progress of an answer
  int64_t heartbeat_ms = 15'000;  // of a quiet stream
  int64_t linger_ms = 2'000;      // after an answer that ends a connection with bytes unread
};

class HttpServer {
 public:
  HttpServer(uv_loop_t* loop, HttpOptions options, RequestHandler* handler,
             std::shared_ptr<ByteBudget> budget);
  ~HttpServer();

  // Binds "HOST:PORT" ("[::1]:8080" for IPv6; port 0 picks one). Invalid E105: not an address.
  // Unavailable E105: cannot be bound, with the reason.
  Status listen(const std::string& address);
  const std::string& address() const { return address_; }  // with the port chosen

  // Flushes answers and resumes waiting input. True when there is more to do at once.
  bool turn();
  bool has_work() const { return !dirty_.empty() || !resuming_.empty(); }
  void stop_listening();
  // From now on every answer is the last one of its connection, and says so.
  void retire_all() { retiring_ = true; }
  // Ends streams where they are; closes connections that are between requests.
  void end_streams();
  void close_idle();
  void close_all();
  size_t connections() const { return connections_.size(); }
  std::function<void()> on_empty;  // the last connection has gone
  bool retiring() const { return retiring_; }

  // ---- for connections
  const HttpOptions& options() const { return options_; }
  RequestHandler& handler() { return *handler_; }
  const std::shared_ptr<ByteBudget>& budget() const { return budget_; }
  uv_loop_t* loop() { return loop_; }
  std::string_view date_line();  // "Date: …\r\n", made once a second
  char* read_buffer() { return read_buffer_.data(); }
  size_t read_buffer_size() const { return read_buffer_.size(); }
  void flush_later(Connection* connection);
  void resume_later(Connection* connection);
  void closing() { closing_++; }
  // What request bodies that stay in memory leave of the byte budget.
  uint64_t spool_reserve() const;
  void ask_for_room() { room_wanted_ = true; }  // of uploads that hold memory, in this turn
  // Room for large answers, apart from that for uploads: neither keeps the other out.
  bool take_answer(uint64_t size);
  void release_answer(uint64_t size) { answer_bytes_ -= size; }
  void remove(Connection* connection);
  std::string make_request_id();

 private:
  static void on_connection(uv_stream_t* listener, int status);
  void accept();
  bool make_room();
  void refuse_connection();
  void sweep();
  void spill_all();
  void make_way(const std::vector<Connection*>& all, int64_t now_us);
  void set_sweeping(bool on);

  uv_loop_t* loop_;
  const HttpOptions options_;
  RequestHandler* handler_;
  std::shared_ptr<ByteBudget> budget_;
  uv_tcp_t* listener_ = nullptr;
  uv_timer_t* sweeper_ = nullptr;
  bool sweeping_ = false, retiring_ = false;
  bool room_wanted_ = false;
  int64_t spill_due_us_ = 0;
  uint64_t answer_bytes_ = 0;
  size_t closing_ = 0;  // of connections_: closed, not gone yet
  std::string address_;
  std::unordered_set<Connection*> connections_;
  std::vector<Connection*> dirty_, dirty_now_, resuming_, resuming_now_;
  std::string date_line_;
  int64_t date_second_ = 0;
  std::string read_buffer_;
  uint64_t id_seed_ = 0, id_count_ = 0;
};

}  // namespace millrace
