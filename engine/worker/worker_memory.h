// WorkerMemory: what the steps that run may be promised of the machine's memory (workers.memory).
//
// A step declares what it takes for each pixel (mr_step.memory_base and what follows), the images'
// sizes are known from their headers: so much is taken from the budget before a worker is given the
// call, and comes back when the worker has done with it, however that ends. It is a reckoning, not
// a bound on what a process takes (that is WorkerLimits): it keeps large images from piling up.
//
// Order: calls that do not fit wait, first come, first served; those behind may go before the first
// that waits while they fit, kMemoryOvertakesMax of them at most. Calls that need none never wait.
// What would take more than the whole budget takes all of it, and so runs alone. Their queue is the
// lane's: the core hands over no more calls than Workers::slots().
//
// Thread: all of it belongs to the loop thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "engine/worker/workers.h"

namespace millrace {

struct WaitingCall;

class WorkerMemory {
 public:
  // Gives back when it goes.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { swap(other); }
    Share& operator=(Share&& other) noexcept {
      Share(std::move(other)).swap(*this);
      return *this;
    }
    ~Share() {
      if (memory_ != nullptr) memory_->reserved_bytes_ -= bytes_;
    }

   private:
    friend class WorkerMemory;
    Share(WorkerMemory* memory, uint64_t bytes) : memory_(memory), bytes_(bytes) {}
    void swap(Share& other) {
      std::swap(memory_, other.memory_);
      std::swap(bytes_, other.bytes_);
    }
    WorkerMemory* memory_ = nullptr;  // outlives it
    uint64_t bytes_ = 0;
  };

  WorkerMemory(uint64_t bytes_max, uint64_t pixels_max)
      : bytes_max_(bytes_max), pixels_max_(pixels_max) {}
  WorkerMemory(const WorkerMemory&) = delete;
  WorkerMemory& operator=(const WorkerMemory&) = delete;

  // What a call takes; 0 when the step declares nothing. `with` is in the order of the step's with
  // ports. An image beyond limits.pixels counts as one of so many: the step refuses it.
  uint64_t need_of(const StepDecl& decl, const std::vector<Value>& with) const;
  bool has_room(uint64_t bytes) const { return bytes <= bytes_max_ - reserved_bytes_; }
  Share take(uint64_t bytes);

  uint64_t reserved_bytes() const { return reserved_bytes_; }
  uint64_t bytes_max() const { return bytes_max_; }

 private:
  const uint64_t bytes_max_, pixels_max_;
  uint64_t reserved_bytes_ = 0;  // at most bytes_max_
};

// One walk through a queue of calls, from its front, over those that may go now.
class Admission {
 public:
  Admission(std::deque<WaitingCall>* queue, WorkerMemory* memory)
      : queue_(queue), memory_(memory) {}

  // The next that may go; null: none.
  WaitingCall* next();
  // It goes: out of the queue, and its memory out of the budget. It may have been moved from.
  WorkerMemory::Share go();
  // It leaves the queue for another reason.
  void drop();

 private:
  std::deque<WaitingCall>* queue_;
  WorkerMemory* memory_;
  size_t at_ = 0;
  size_t first_waiting_ = SIZE_MAX;  // the first of those that do not fit
};

MemoryStats memory_stats(const std::deque<WaitingCall>& queue, const WorkerMemory& memory);

}  // namespace millrace
