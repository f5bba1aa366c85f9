// Outage: while nobody answers, one call at a time finds out by one attempt when that is over, all
// others fail at once. Otherwise each of them would hold its thread for all its attempts, one
// behind the other, and whoever asks would not even hear that it is in vain.
//
// It begins when a call has used up its attempts without an answer, and ends with any answer.
//
// Thread: any.
#pragma once

#include <atomic>

namespace millrace::s3 {

class Outage {
 public:
  // A call, from before its first attempt to behind its last.
  class Turn {
   public:
    explicit Turn(Outage* outage) : outage_(outage) {
      if (!outage->on_) return;
      alone_ = !outage->taken_.exchange(true);
      may_try_ = alone_;
    }
    ~Turn() {
      if (alone_) outage_->taken_ = false;
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    bool may_try() const { return may_try_; }
    // Others may have found out meanwhile; and who finds out tries once, or it would be the one
    // that waits.
    bool may_try_again() const { return !outage_->on_; }

   private:
    Outage* const outage_;
    bool alone_ = false, may_try_ = true;
  };

  void begin() { on_ = true; }
  void end() { on_ = false; }

 private:
  std::atomic<bool> on_{false}, taken_{false};
};

}  // namespace millrace::s3
