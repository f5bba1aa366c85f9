// ClusterDemo: three replicas over one database and one bucket; see cluster.cc.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bench/harness/client.h"
#include "bench/harness/photos.h"
#include "bench/harness/process.h"
#include "bench/harness/receiver.h"
#include "bench/harness/services.h"

namespace millrace {

struct ClusterSettings {
  std::string program;   // path of `millrace`
  std::string database;  // a server of MongoDB; empty: one is started
  std::vector<std::string> photos;
  int jobs = 500;
};

class ClusterDemo {
 public:
  explicit ClusterDemo(ClusterSettings settings);
  ~ClusterDemo();

  // The program's exit code. Once.
  int run();
  // Ends and removes everything that was started, and this program. [any]
  [[noreturn]] void clean_up_and_exit(int code);

 private:
  void clean_up();
  void start_services();
  void start_replica(int number);
  std::string photo(int number);
  void submit_all();
  bool kill_one();  // false: nobody took over
  void await_all();
  uint64_t count_stored();
  uint64_t count_objects();
  bool report();

  const ClusterSettings settings_;
  const std::string directory_;
  std::string database_url_;
  Receiver receiver_;
  std::vector<uint16_t> ports_;    // of the replicas
  std::vector<std::string> logs_;  // of the same

  std::mutex processes_;  // of the next three: Ctrl-C ends them from another thread
  std::unique_ptr<DatabaseServer> database_;
  std::unique_ptr<BucketServer> bucket_;
  std::vector<std::unique_ptr<ServerProcess>> replicas_;

  std::atomic<int> next_{0};
  std::mutex mutex_;  // of the next four while submitters run
  std::condition_variable more_;
  std::vector<Photos> photos_;
  std::vector<std::string> jobs_;
  int last_to_ = -1;  // the replica that accepted the last one

  struct Report {
    std::map<std::string, uint64_t> states;
    uint64_t further_attempts = 0;
    double take_over_seconds = 0, seconds = 0;
  };
  Report report_;
};

// "mongodb://HOSTS/…?OPTIONS" with the name of a database that is not there yet.
std::string new_database_of(const std::string& server);
void drop_database(const std::string& url);

}  // namespace millrace
