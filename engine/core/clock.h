// CoreClock: the core's own time, which only moves forward.
//
// Events carry the wall clock, which may jump. Records keep wall times; everything the core waits
// for is measured on this clock instead. A step back of the wall clock does not move it. A step far
// past the next thing that was due is not counted either: had that time truly passed, a Tick would
// have come when it was due. (Twice in a row it is believed: the server may merely be very slow.)
// So a clock set wrong for an hour neither times out every job nor freezes back-offs, and a machine
// that slept goes on where it was. Internal to the folder.
#pragma once

#include <algorithm>

#include "engine/base/time.h"

namespace millrace {

class CoreClock {
 public:
  static constexpr DurationMs kLateMsMax = 10'000;  // how late a Tick may honestly be

  // `due`: the earliest thing waited for, on this clock; kNever: nothing.
  void advance(TimeMs wall, TimeMs due) {
    if (!started_) {
      started_ = true;
      now_ = hurried_ = wall;
    } else if (wall > wall_) {
      const bool late =
          due != kNever && wall - wall_ > std::max<DurationMs>(due - now_, 0) + kLateMsMax;
      const bool jumped = late && !jumped_;
      if (!jumped) now_ += wall - wall_;
      hurried_ += wall - wall_;
      jumped_ = jumped;
    }
    wall_ = wall;
  }

  TimeMs now() const { return now_; }
  // Never behind the time that has truly passed: every step forward counts, also one that now()
  // takes for a jump or a sleep.
  TimeMs hurried() const { return hurried_; }
  TimeMs wall() const { return wall_; }
  // The same moment on the other clock, as far as one can know.
  TimeMs from_wall(TimeMs wall) const { return wall == kNever ? kNever : now_ + (wall - wall_); }
  TimeMs to_wall(TimeMs time) const { return time == kNever ? kNever : wall_ + (time - now_); }

 private:
  bool started_ = false;
  bool jumped_ = false;  // the step before was not counted
  TimeMs now_ = 0, wall_ = 0, hurried_ = 0;
};

}  // namespace millrace
