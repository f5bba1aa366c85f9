// Clients: what careful clients of a service of several servers do, on threads of their own.
//
// Each submission has an idempotency key and is repeated, at whatever server runs, until one has
// acknowledged it; also when one has not answered for long, though it may yet do what it was asked.
// Two kinds of jobs: pictures (a result, two objects, one notification) and chains (four
// notifications, one after the other). There are never more unfinished ones than kOpenMax, so that
// the load goes as fast as the service does and leaves no mountain behind.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/harness/receiver.h"

namespace millrace {

struct Work {
  std::string key;
  int photo = -1;   // of a picture; a chain has none
  std::string job;  // set when acknowledged
};

class Clients {
 public:
  using Ports = std::function<std::vector<uint16_t>()>;  // of the servers that run. [any]
  // `callback`: a URL of the receiver.
  Clients(Ports ports, std::vector<std::string> photos, const Receiver* receiver,
          std::string callback);
  ~Clients() { stop(); }
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  // `patience_ms`: until a client asks another server for the same.
  void start(int threads, uint32_t seed, int patience_ms);
  // Returns when every request under way has been answered, or its connection is gone.
  void stop();

  // One submission to one server; whether it was acknowledged. What is not said politely (503)
  // fails the test. `callback` empty: the receiver. `patience_ms` 0: waits for ever.
  bool submit(uint16_t port, Work* work, const std::string& callback = "",
              int patience_ms = 0) const;

  uint64_t acknowledged() const { return count_.load(); }
  // Not while it runs.
  std::vector<Work>& done() { return acknowledged_; }
  std::vector<Work>& open() { return unacknowledged_; }

 private:
  void submit_until_stopped(uint32_t seed, int patience_ms);
  Work next_work(std::mt19937* random);

  const Ports ports_;
  const std::vector<std::string> photos_;
  const Receiver* const receiver_;
  const std::string callback_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> count_{0};
  std::vector<std::thread> threads_;
  std::mutex mutex_;  // of what follows
  std::vector<Work> acknowledged_, unacknowledged_;
  int next_ = 0;
};

}  // namespace millrace
