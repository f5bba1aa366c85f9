// What replicas share, for the demo and the benchmarks: a server of MongoDB's protocol and one of
// S3, each a child process on a free loopback port over a directory of its own.
//
// `./run` installs both below .cache. One that is missing or does not start ends this program with
// a message. They are told to end when the thread that started them does.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

// A loopback port that was free a moment ago, for servers that do not say which one they were given
// for port 0; 0: none.
uint16_t free_port();
// Whether files in the directory may carry attributes: versitygw keeps an object's metadata there.
// Beside the files ("sidecar"), a deletion that meets a put of the same key leaves an object
// without metadata, which it then neither serves nor lets anybody replace.
bool has_attributes(const std::string& directory);

class DatabaseServer {
 public:
  // Whether its program is there.
  static bool installed();
  // SecantusDB; each commit is synced. `directory` is made. A single server has no change streams,
  // else it is a replica set of one.
  enum class Kind : uint8_t { kReplicaSet, kSingle };
  explicit DatabaseServer(const std::string& directory, Kind kind = Kind::kReplicaSet);
  ~DatabaseServer() { kill(); }
  DatabaseServer(const DatabaseServer&) = delete;
  DatabaseServer& operator=(const DatabaseServer&) = delete;

  // "mongodb://…/NAME"
  std::string url(const std::string& name) const;
  uint16_t port() const { return port_; }
  pid_t pid() const { return pid_; }
  void kill();  // SIGKILL, and waits for it

 private:
  pid_t pid_ = -1;
  uint16_t port_ = 0;
};

class BucketServer {
 public:
  static bool installed();
  // versitygw over files, with one bucket, "millrace". `directory` is made.
  explicit BucketServer(const std::string& directory);
  ~BucketServer() { kill(); }
  BucketServer(const BucketServer&) = delete;
  BucketServer& operator=(const BucketServer&) = delete;

  // "s3://millrace/PREFIX?…"
  std::string url(const std::string& prefix) const;
  // The keys that it takes, as variables of a server's environment.
  static std::vector<std::string> environment();
  // How many objects there are below `prefix`.
  uint64_t objects(const std::string& prefix) const;
  pid_t pid() const { return pid_; }
  void kill();

 private:
  bool start(const std::string& directory);
  std::string data_;
  pid_t pid_ = -1;
  uint16_t port_ = 0;
};

}  // namespace millrace
