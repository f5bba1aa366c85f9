// Fleet: replicas of the real program over one database and one bucket, each with ways of its own
// to both, which a test attacks; clients that keep them busy; somebody who starts those again that
// have ended, as an orchestrator does; and an oracle.
//
// Database, S3 server and network are of the whole test program; a fleet has a database and a
// bucket of its own in them.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/receiver.h"
#include "tests/attacks/clients.h"
#include "tests/attacks/toxiproxy.h"
#include "tests/store_mongo/mongo_server.h"

namespace millrace {

struct FleetSettings {
  int replicas = 2;
  int lease_ms = 2000;
  bool clocks = false;  // each replica has a clock that can be set
  // They know the database as a replica set, follow its primary, and go past the network to it.
  bool replica_set = false;
};

class Fleet {
 public:
  explicit Fleet(const FleetSettings& settings);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // ---- the servers of the whole program
  static bool installed();
  static Toxiproxy& network();
  static MongoServer& database();
  // Starts it again after its end, and leads every way to it.
  void start_database();
  // A command to it, as JSON, past the network.
  void command(const std::string& json) const;

  // ---- replicas
  int size() const { return static_cast<int>(nodes_.size()); }
  uint16_t port(int i) const { return nodes_.at(i)->process->port(); }
  const std::string& to_database(int i) const { return nodes_.at(i)->database; }
  const std::string& to_bucket(int i) const { return nodes_.at(i)->bucket; }
  // The application that the database knows it as.
  static std::string application(int i);
  bool ready(int i) const;
  std::string log(int i) const;
  // Waits until its log says so often `what`.
  ::testing::AssertionResult says(int i, const std::string& what, int times = 1) const;
  void kill_replica(int i);
  void start(int i);
  void set_clock(int i, int seconds);  // off the true time
  // Waits until it has ended by itself since others have its jobs (exit code 5), and starts it
  // again.
  void expect_given_up(int i);
  // Starts again what has ended by itself: nothing but exit code 5 is forgiven.
  void tend();

  // How often a replica has ended by itself since others had its jobs.
  int given_up() const { return given_up_; }
  int kills() const { return kills_; }

  // ---- load
  Clients& clients() { return clients_; }
  // Clients ask another server when one has not answered for so long.
  void start_load(int patience_ms = 2'000);
  // Waits until the clients have had so many more acknowledgements; tends meanwhile.
  void await_progress(uint64_t jobs);
  // A picture taken in by this replica whose notification finds nobody until release().
  void submit_held(int i);
  // Waits until each held job that has not told the receiver has tried to.
  void await_held_tried() const;
  void release();
  void hold_back();  // the opposite
  // Waits until each held job has told the receiver, whoever runs it.
  void expect_held_told();

  // ---- the oracle
  // The attack is over: heals every way, stops the load, waits for every job's end, prints how long
  // that took, and compares jobs, results, objects and notifications.
  void settle_and_compare(const std::string& what);

 private:
  struct Node {
    ServerSettings settings;
    std::string database, bucket;  // names of its ways
    std::unique_ptr<ServerProcess> process;
    std::atomic<uint16_t> port{0};  // 0: it does not run
    int64_t* clock_ns = nullptr;
  };
  void make_node(const FleetSettings& settings, int i);
  void give_clock(Node* node) const;
  std::vector<uint16_t> ports() const;
  void finish_submissions();
  std::string await_end(const Work& work);
  void compare_job(const Work& work) const;
  void compare_list();
  void compare_effects();

  bool is_ours(const std::string& head) const;

  const std::string directory_, name_, objects_, blobs_;
  const int lease_ms_;
  // The port may have been another receiver's a moment ago, of whom others still know.
  Receiver receiver_{[this](const std::string& head, const std::string&) { return is_ours(head); }};
  std::string hook_;  // where held notifications are sent; refused until release()
  std::vector<std::unique_ptr<Node>> nodes_;
  Clients clients_;
  std::vector<Work> held_;
  int given_up_ = 0, kills_ = 0;
};

// A test with fleets: skipped without the servers, but never in continuous integration.
class FleetTest : public ::testing::Test {
 protected:
  void SetUp() override;
};

}  // namespace millrace
