// Toxiproxy: the network between replicas and the servers they lean on, and what becomes of it.
//
// It is the program of that name below .cache/bin, which ./run test builds, as a child process. It
// takes a loopback address of its own, so that nobody else takes the port of a way while that is
// closed. Every failure of its own is a failed expectation.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace millrace {

class Toxiproxy {
 public:
  Toxiproxy();
  ~Toxiproxy();
  Toxiproxy(const Toxiproxy&) = delete;
  Toxiproxy& operator=(const Toxiproxy&) = delete;

  static std::string program();
  static bool installed();

  // Makes a way to 127.0.0.1:`port`; where it begins, as "ADDRESS:PORT".
  std::string open_way(const std::string& name, int port);
  void close_way(const std::string& name);
  // From now on it leads there; its connections are cut.
  void lead_to(const std::string& name, int port);

  // Connections are cut, and new ones refused.
  void refuse(const std::string& name);
  // Connections stay, and nothing that is sent arrives: not even when it is healed.
  void swallow(const std::string& name);
  // The same on the way back only: requests are carried out, and nobody hears of it.
  void swallow_answers(const std::string& name);
  // Connections stay, and what is sent arrives when it is healed.
  void hold(const std::string& name);
  // What is sent arrives so much later, half of it on the way there.
  void delay(const std::string& name, int round_trip_ms);
  // Each connection is reset with the first bytes on it.
  void reset(const std::string& name);
  // As it was in the beginning. What was swallowed has cut its connections.
  void heal(const std::string& name);

 private:
  bool start();
  bool answers() const;
  std::string call(const std::string& method, const std::string& path,
                   const std::string& body) const;
  void add_toxic(const std::string& name, const std::string& type, const std::string& stream,
                 const std::string& attribute, int value) const;

  std::string address_;
  pid_t pid_ = -1;
};

}  // namespace millrace
