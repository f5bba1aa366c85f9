// Receiver: a webhook endpoint on a free loopback port that remembers every delivery.
//
// One thread of its own. It answers 200 at once and counts, or 401 to what `accepts` refuses; what
// it holds is what a receiver that remembers ids would see.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace {

class Receiver {
 public:
  // Asked on the receiver's thread; null: everything is accepted, and counted.
  using Accepts = std::function<bool(const std::string& head, const std::string& body)>;

  explicit Receiver(Accepts accepts = nullptr);
  ~Receiver();

  uint16_t port() const { return port_; }
  std::string url() const;  // http://127.0.0.1:PORT/hook

  // While away it answers 503 and remembers what came all the same.
  void set_away(bool away) { away_ = away; }

  struct Delivery {
    uint64_t times = 0;
    std::string body;           // of the first one
    uint64_t other_bodies = 0;  // how many later ones differed: must stay 0
  };
  // By webhook-id.
  std::map<std::string, Delivery> deliveries() const;
  uint64_t count() const { return count_.load(); }  // all deliveries
  uint64_t distinct() const;                        // distinct ids
  // Waits until there are so many distinct ids; false: not within `seconds`.
  bool wait_for(uint64_t distinct, double seconds) const;

 private:
  void serve();
  bool take(int connection, const std::string& head, const std::string& body);

  const Accepts accepts_;
  std::atomic<bool> away_{false};
  int listener_ = -1;
  int stop_ = -1;
  uint16_t port_ = 0;
  std::atomic<uint64_t> count_{0};
  mutable std::mutex mutex_;
  mutable std::condition_variable arrived_;
  std::map<std::string, Delivery> deliveries_;
  std::thread thread_;
};

// The value of a header in a request's head, without its line end; empty when absent.
std::string header_of(const std::string& head, const std::string& name);

}  // namespace millrace
