// MongoServer: a server that speaks MongoDB's protocol, as a child process, in memory.
//
// It is `secantusdb` in .cache/secantusdb, which ./run test installs. Its data lie in a directory
// of its own below /dev/shm, so a kill loses nothing that was written, and nothing is left behind.
#pragma once

#include <memory>
#include <string>

#include "tests/store/store_fixture.h"

namespace millrace {

class MongoServer {
 public:
  // A replica set of one member, as it says; or a single server, without change streams.
  enum class Kind : uint8_t { kReplicaSet, kSingle };
  explicit MongoServer(Kind kind = Kind::kReplicaSet) : kind_(kind) {}
  ~MongoServer() { kill(); }
  MongoServer(const MongoServer&) = delete;
  MongoServer& operator=(const MongoServer&) = delete;

  // Starts it on a free port, over the data it had. False: it did not; why() says why.
  bool start();
  // As by kill -9; on return it is gone.
  void kill();
  // As by SIGTERM: it ends by itself.
  void stop();

  bool running() const { return pid_ > 0; }
  int port() const { return port_; }
  const std::string& why() const { return why_; }

  // Where the program should be, and whether it is there.
  static std::string program();
  static bool installed();

 private:
  bool wait_until_it_listens(int fd);
  void end_by(int signal);

  const Kind kind_;
  TemporaryDirectory directory_;
  int pid_ = -1;
  int port_ = 0;
  std::string why_;
};

}  // namespace millrace
