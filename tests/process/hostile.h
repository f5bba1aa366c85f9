// Hostile clients, many at once, and what a server under them is watched for: its memory, its
// descriptors, its files, and what a well-behaved client meets meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bench/harness/process.h"

namespace millrace {

// How often each status came; 0: the connection ended without one.
using Statuses = std::map<int, int>;

// Connections that all say the same. Nothing is read of what comes before look() is called.
class Crowd {
 public:
  enum class Window { kUsual, kTiny };  // kTiny: the server can send hardly anything ahead
  Crowd(uint16_t port, int count, const std::string& opening, Window window = Window::kUsual);
  ~Crowd();
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  void say(const std::string& more);  // to everybody who still listens, as far as they take it
  // Says all of it to everybody, by turns, until each has taken it or nobody takes more for a
  // second.
  void insist(const std::string& more);
  void half_close();
  void look();       // reads what has come
  void leave();      // closes all
  int size() const;  // those that were connected
  int ended() const { return ended_; }
  // True once the server has ended all of them; until then each is told `trickle` now and then.
  bool outlast(double seconds, const std::string& trickle = "");
  Statuses statuses() const;
  // Of the first one: all it was told, up to a megabyte.
  const std::string& heard() const { return members_.front().heard; }

 private:
  struct Member {
    int fd = -1;
    std::string heard;
  };
  std::vector<Member> members_;
  int ended_ = 0;
};

// One connection: sends `bytes`, reads to the end. Gives up after 30 s, with what came.
std::string exchange(uint16_t port, const std::string& bytes);
int status_of(const std::string& answer);  // 0: none
int answers_in(const std::string& stream);

// Submits one job after the other, each of which must succeed, until it is told to stop.
class GoodClient {
 public:
  // Runs some jobs first, while nobody disturbs it.
  explicit GoodClient(uint16_t port);
  ~GoodClient() { stop(); }
  void stop();
  int jobs() const { return jobs_; }
  double slowest_seconds() { return slowest_.exchange(0); }  // since it was asked last
  double slowest_ever_seconds() const { return slowest_ever_; }
  double undisturbed_seconds() const { return undisturbed_; }  // the slowest of the first ones

 private:
  bool run_job(uint16_t port);
  void work(uint16_t port);
  const std::string photo_;
  std::atomic<bool> stop_{false};
  std::atomic<int> jobs_{0};
  std::atomic<double> slowest_{0}, slowest_ever_{0};
  double undisturbed_ = 0;
  std::thread thread_;
};

// What a process and its descendants take together, looked at again and again: their highest.
class MemoryWatch {
 public:
  explicit MemoryWatch(pid_t root);
  ~MemoryWatch();
  uint64_t peak_bytes() const { return peak_; }

 private:
  void look(pid_t root);
  std::atomic<bool> over_{false};
  std::atomic<uint64_t> peak_{0};
  std::thread thread_;
};

uint64_t pss_bytes(pid_t pid);   // of this process alone
uint64_t peak_bytes(pid_t pid);  // the most that it ever had resident, what it shares included
int descriptors_of(pid_t pid);
// Files under a server's data directory that are written and not yet what they will be.
std::vector<std::string> temporary_files(const std::string& data);
// Raises this program's limit of descriptors as far as it may; the limit.
int raise_descriptors();

}  // namespace millrace
