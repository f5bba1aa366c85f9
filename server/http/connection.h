// Connection: one HTTP/1.1 client, its bytes, its phases and its clock.
//
// A state machine: idle, head, body, answering, lingering, closed. One request is under way at a
// time; bytes of the next ones wait, so answers keep their order. Reading stops while bytes wait
// and while the byte budget is used up. It knows nothing of routes: a RequestHandler answers.
// Nothing is written inside a callback: output is noted and flushed once a turn of the loop.
//
// Thread: loop.
#pragma once

#include <llhttp.h>
#include <uv.h>

#include <cstdint>
#include <memory>
#include <string>

#include "server/http/exchange.h"
#include "server/http/head_scanner.h"

namespace millrace {

class HttpServer;

class Connection final : public ExchangeOwner {
 public:
  explicit Connection(HttpServer* server);
  ~Connection() override;

  // Accepts from the listening socket and begins to read. The connection then lives until its
  // handle is closed; the server holds it until then.
  Status open(uv_stream_t* listener);
  // Sends what is waiting, as far as the socket takes it; at the end of an answer makes ready for
  // the next request.
  void flush();
  // Goes on with bytes that waited. True when it got somewhere.
  bool resume();
  // Ends what has taken too long. `now_us` as monotonic_us().
  void check_deadline(int64_t now_us);
  // Closes it when it is between requests.
  void close_idle();
  // Bytes of a body under way that are charged to the budget.
  uint64_t held_bytes() const {
    return phase_ == Phase::kBody && !sent_ ? exchange_.charge.size() : 0;
  }
  // How many more it would take, when it has waited for room for so long.
  uint64_t wanted_bytes(int64_t now_us, int64_t waited_us) const;
  void turn_away(const Status& problem) { refuse(problem); }  // before its first request
  // Closes it for another one when it is idle in truth: with nothing unread, which may be a
  // request. Who has had no answer yet hears `why` first, in one write that its socket takes.
  bool step_aside(std::string_view why);
  void give_way();  // refuses the request under way, for others
  // Lets go of memory that can wait on the disk. True: so does what comes now.
  bool spill();
  bool idle() const { return phase_ == Phase::kIdle && pending_.empty(); }
  int64_t deadline_us() const { return deadline_us_; }
  void close();

  void send(Response response) override;
  void start_stream(Response head) override;
  void stream(std::string_view data) override;
  void end_stream() override;
  size_t backlog_bytes() const override;
  Exchange* exchange_of(uint64_t number) override;

  bool dirty = false;     // in the server's list of connections to flush
  bool resuming = false;  // in its list of connections to resume

 private:
  enum class Phase : uint8_t { kIdle, kHead, kBody, kAnswering, kLingering, kClosed };

  // reading: connection.cc
  void on_read(const char* data, ssize_t size);
  size_t consume(const char* data, size_t size);
  size_t consume_head(const char* data, size_t size);
  size_t consume_body(const char* data, size_t size);
  void head_complete();
  Status check_head();
  void split_target();
  void message_complete();
  void refuse(const Status& problem, int http_status = 0);
  bool take_room(size_t size);
  bool sink_ready() const { return exchange_.sink == nullptr || exchange_.sink->ready(); }
  void stall();
  void set_reading(bool on);
  void on_end();
  void expire(const char* what);
  bool peer_gone() const;
  int unread_bytes() const;
  bool body_cut_short() const;
  int chunk_of(uint64_t size);
  int body_data(const char* at, size_t size);
  static const llhttp_settings_t& settings();

  // writing: connection_write.cc
  void charge_answer(Response* response);
  void release_answer();
  void write_head(const Response& response, const std::string& length);
  void mark_dirty();
  BodySource::Got next_piece();
  void write_rest(size_t sent);
  void written_all();
  void finish_exchange();
  void linger();
  void on_written(int status);
  bool small_rest() const;

  HttpServer* const server_;
  uv_tcp_t handle_{};
  llhttp_t parser_{};
  HeadScanner scanner_;
  Exchange exchange_;
  Phase phase_ = Phase::kIdle;
  bool reading_ = false, eof_ = false;
  bool keep_alive_ = true, message_done_ = false, expects_continue_ = false;
  bool sent_ = false, streaming_ = false, writing_ = false, shut_ = false, opened_ = false;
  bool stalled_ = false;
  bool refused_ = false;  // what still comes in is thrown away unread
  uint8_t http_minor_ = 1;
  int status_ = 0;
  uint64_t body_bytes_ = 0, wire_bytes_ = 0, trailer_bytes_ = 0;
  Status refusal_;
  std::string pending_;  // read, not yet consumed

  int64_t deadline_us_ = INT64_MAX;
  int64_t stalled_since_us_ = 0;
  int64_t heartbeat_us_ = 0;   // when the next one is due
  uint64_t window_bytes_ = 0;  // body bytes since the deadline was set
  size_t queue_bytes_seen_ = 0;
  int64_t write_deadline_us_ = INT64_MAX;

  std::string out_text_;
  Bytes out_bytes_;
  std::unique_ptr<BodySource> source_;
  uint64_t source_left_ = 0;
  uint64_t answer_bytes_ = 0;  // taken from the server's room for answers
  std::string writing_text_;
  Bytes writing_bytes_;
  uv_write_t write_{};
  uv_shutdown_t shutdown_{};
  std::shared_ptr<ExchangeOwner> self_;  // from open() until the handle is closed
};

}  // namespace millrace
