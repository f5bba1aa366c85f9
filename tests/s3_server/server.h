// S3Server: a real server of S3 on loopback, for tests: versitygw (over a directory) or moto.
//
// `./run test` installs both below .cache; without them the tests fail and say so. A server of each
// kind is started once and shared by all tests of the program, each in a bucket of its own; those
// that stop one start their own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "s3/client.h"

namespace millrace {

enum class S3Kind { kVersity, kMoto };

class S3Server {
 public:
  // Starts it and waits until it answers; a failed expectation when it does not within 60 s.
  explicit S3Server(S3Kind kind);
  ~S3Server();
  S3Server(const S3Server&) = delete;
  S3Server& operator=(const S3Server&) = delete;

  void stop();   // SIGKILL; what a versitygw holds is kept
  void start();  // again, at the same address

  std::string endpoint() const;
  // A new bucket, as a URL: "s3://t1?endpoint=…". `prefix` goes behind the name.
  std::string make_bucket(const std::string& prefix = "");

  // Of the whole program; ends with it.
  static S3Server& shared(S3Kind kind);

 private:
  bool answers() const;
  S3Kind kind_;
  std::string directory_;
  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

// The keys that both servers take.
s3::Credentials test_credentials();
s3::Location location_of(const std::string& url);
// Writes an object past the client's conveniences, with no metadata.
void put_raw(const s3::Location& location, const std::string& key, const std::string& bytes);

}  // namespace millrace
