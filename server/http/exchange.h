// Exchange: one request and its answer, between a connection and the handler that answers.
//
// A handler may answer at once or keep a ref() and answer later; a ref gives null once the exchange
// is over or the peer has gone, so a late callback does nothing. Exactly one answer a request.
// Thread: loop, for everything here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/bytes.h"
#include "engine/base/status.h"
#include "server/http/request.h"
#include "server/http/response.h"

namespace millrace {

// Bytes charged to a budget on behalf of one request; released with it.
class Charge {
 public:
  explicit Charge(std::shared_ptr<ByteBudget> budget) : budget_(std::move(budget)) {}
  ~Charge() { clear(); }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;
  // False: the budget has no room for `size` more that leaves `spare` of it.
  bool try_add(uint64_t size, uint64_t spare = 0);
  // Hands `size` charged bytes over to a Bytes; charges what is missing.
  Bytes detach(std::string data);
  // Releases `size` of them, or all there are.
  void give_back(uint64_t size);
  void clear();
  uint64_t size() const { return size_; }

 private:
  std::shared_ptr<ByteBudget> budget_;
  uint64_t size_ = 0;
};

// Takes a request's body as it arrives, already charged. A refusal ends the request with a problem.
class BodySink {
 public:
  virtual ~BodySink() = default;
  virtual Status write(std::string_view data) = 0;
  // False: nothing more for now. The connection stops reading and asks again.
  virtual bool ready() const { return true; }
  // Memory is short: what it holds goes to the disk. True: so does all that comes now, at once.
  virtual bool spill() { return false; }
};

class Exchange;

// The connection, as its exchange sees it.
class ExchangeOwner : public std::enable_shared_from_this<ExchangeOwner> {
 public:
  virtual ~ExchangeOwner() = default;
  virtual void send(Response response) = 0;
  virtual void start_stream(Response head) = 0;
  virtual void stream(std::string_view data) = 0;
  virtual void end_stream() = 0;
  virtual size_t backlog_bytes() const = 0;
  virtual Exchange* exchange_of(uint64_t number) = 0;  // null: another one by now
};

class ExchangeRef {
 public:
  ExchangeRef() = default;
  ExchangeRef(std::weak_ptr<ExchangeOwner> owner, uint64_t number)
      : owner_(std::move(owner)), number_(number) {}
  Exchange* get() const {
    const auto owner = owner_.lock();
    return owner == nullptr ? nullptr : owner->exchange_of(number_);
  }

 private:
  std::weak_ptr<ExchangeOwner> owner_;
  uint64_t number_ = 0;
};

class Exchange {
 public:
  Exchange(ExchangeOwner* owner, std::shared_ptr<ByteBudget> budget)
      : charge(std::move(budget)), owner_(owner) {}

  Request request;
  Charge charge;
  int route = -1;                    // index in the router's table; -1: none
  uint64_t body_bytes_max = 0;       // set by the handler in begin()
  std::unique_ptr<BodySink> sink;    // set by the handler in begin(); null: request.body
  uint64_t waiter = 0;               // for the handler: what to give up when the peer
  uint64_t subscription = 0;         // leaves; 0: nothing
  std::function<void()> on_drained;  // of a stream: everything written has been sent
  std::string heartbeat;             // of a stream: sent when nothing was for a while
  std::string extra_head;            // header lines for whatever answer comes (CORS)
  int64_t started_us = 0;            // first byte of the request
  uint64_t number = 0;

  void respond(Response response) {
    answered_ = true;
    owner_->send(std::move(response));
  }
  void respond(const Status& problem);  // as application/problem+json
  bool answered() const { return answered_; }

  // A body of unknown length; stream() any number of times, then end_stream().
  void start_stream(Response head) {
    answered_ = true;
    owner_->start_stream(std::move(head));
  }
  void stream(std::string_view data) { owner_->stream(data); }
  void end_stream() { owner_->end_stream(); }
  size_t backlog_bytes() const { return owner_->backlog_bytes(); }

  ExchangeRef ref() { return {owner_->weak_from_this(), number}; }

  void reset(uint64_t next_number);  // for the connection: ready for the next request

 private:
  ExchangeOwner* owner_;
  bool answered_ = false;
};

// Who answers requests. Calls come from the connection, on the loop thread.
class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  // The head is complete. May respond (a refusal: the body will not be read), or set sink and
  // body_bytes_max.
  virtual void begin(Exchange& exchange) = 0;
  // The body is complete too.
  virtual void complete(Exchange& exchange) = 0;
  // The exchange is over, answered or not (`status` 499: the peer left first). For metrics and
  // logs, and to give up what nobody waits for any more.
  virtual void finished(const Exchange& exchange, int status) = 0;
};

}  // namespace millrace
