// ShiftedClock: the wall clock of a server under clock_shim.so, which a test sets while it runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

class ShiftedClock {
 public:
  // The offset is shared through a file in `directory`.
  explicit ShiftedClock(const std::string& directory);
  ~ShiftedClock();
  ShiftedClock(const ShiftedClock&) = delete;
  ShiftedClock& operator=(const ShiftedClock&) = delete;

  // "NAME=value" for the environment of a server.
  std::vector<std::string> environment() const;
  // From now on the server's clock is so many minutes before the true time (or behind it).
  void set_minutes(int minutes);
  void set_hours(int hours) { set_minutes(hours * 60); }

 private:
  const std::string file_;
  int64_t* offset_ns_ = nullptr;
};

}  // namespace millrace
