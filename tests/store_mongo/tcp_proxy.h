// TcpProxy: stands between a store and its server and does what networks do.
//
// A trap waits for one request that contains a text, and then does one thing with it. Traps are for
// requests that fit the needle only: heartbeats and reads pass.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace millrace {

class TcpProxy {
 public:
  enum class Trap : uint8_t {
    kNone,
    kDropAnswer,   // the server carries it out; the connection is cut instead of the answer
    kDropRequest,  // it never reaches the server; the connection is cut
    kDelay,        // the connection is cut; the server gets it with release(), long after
  };

  TcpProxy();
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }
  // Where new connections go from now on.
  void set_server(int port) { server_port_ = port; }

  // Sets a trap for the next `times` requests with `needle` in them.
  void set_trap(Trap trap, std::string needle, int times = 1);
  // Waits until the trap has dealt with so many requests: with kDropAnswer, the server has
  // answered. False: not within a generous time.
  bool wait_for_trap(int times = 1);
  // Delivers what kDelay has kept, and waits for the server's answer to it. False: it failed.
  bool release();

 private:
  struct Link {
    int client = -1, server = -1;
    std::atomic<bool> cut_answer{false};
    std::thread up, down;
  };

  void accept_loop();
  void pump_up(Link* link);
  void pump_down(Link* link);
  Trap spring(const std::string& bytes);
  void sprung();

  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> server_port_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  Trap trap_ = Trap::kNone;
  std::string needle_, kept_;
  int left_ = 0;  // requests that the trap waits for
  int done_ = 0;  // requests that it has dealt with
  std::list<Link> links_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace millrace
