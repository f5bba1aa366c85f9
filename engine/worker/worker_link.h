// WorkerLink: the server's side of one worker: its socket, its slab, the calls it holds. Policy
// (which call goes where, when to kill) is the pool's.
//
// Thread: all of it belongs to the loop thread. Nothing here blocks.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "engine/worker/call_writer.h"
#include "engine/worker/slab.h"
#include "engine/worker/wire.h"
#include "engine/worker/worker_memory.h"
#include "engine/worker/workers.h"

namespace millrace {

// Who runs a call: cpu workers have a call each at a time, the io worker many, and each call of a
// step that must not be repeated has an io worker of its own, so that only it can bring it down.
enum class Crew : uint8_t { kCpu, kIo, kOnce };
constexpr int kCrews = 3;
constexpr Lane lane_of(Crew crew) {
  return crew == Crew::kCpu ? Lane::kCpu : Lane::kIo;
}

// A call on its way: in the pool's queue, or held by a worker.
struct WaitingCall {
  StepCall call;
  uint32_t step_index = 0;
  uint32_t lost = 0;          // how often a worker died while it seemed not to have begun
  uint64_t memory_bytes = 0;  // what it takes from WorkerMemory when it goes
  uint32_t overtaken = 0;     // while it was the first that waited for memory
};

class WorkerLink {
 public:
  enum class State : uint8_t {
    kStarting,  // forked or being forked; calls may be sent already
    kReady,
    kRetiring,  // finishes what it holds, then ends
    kClosing,   // dead or killed; waits to be collected
  };

  struct Held {
    WaitingCall waiting;
    uint32_t slot = 0;
    uint32_t sequence = 0;
    std::vector<Extent> regions;
    WorkerMemory::Share memory;
    int64_t sent_us = 0;
    int64_t estimate_us = 0;
    bool stopping = false;
    bool timed_out = false;            // it was asked to stop because its time is over, or nearly
    bool reported = false;             // its end was told already; the worker still has it
    int64_t report_at_us = INT64_MAX;  // of one that was stopped
    int64_t kill_at_us = INT64_MAX;    // the same, when the process must go
  };

  struct Reply {
    Held held;
    CallEnd end;  // its pieces are complete in their bytes
  };

  enum class Heard : uint8_t { kFine, kGone, kGarbage };

  // Makes socket and slab; the worker's end of the socket is for the caller to hand over and close.
  static Result<std::unique_ptr<WorkerLink>> create(uint64_t id, Crew crew, int* worker_socket);
  ~WorkerLink();
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;

  const uint64_t id;
  const Crew crew;
  const Lane lane;  // of the crew
  State state = State::kStarting;
  bool in_order = lane == Lane::kCpu;  // another reply than that to the oldest call is garbage
  int pidfd = -1;                      // owned
  int pid = 0;
  int64_t tidy_at_us = INT64_MAX;  // when tidy() is due
  uint64_t calls = 0;              // ever taken
  int64_t load_us = 0;             // the sum of the estimates of what it holds
  std::string words;               // why it refused to start, or what was wrong with what it sent
  bool killed_by_us = false;
  Ticket culprit = 0;  // whose fault its death is, when that was seen before it came

  int socket() const { return socket_; }
  Slab& slab() { return *slab_; }
  std::deque<Held>& held() { return held_; }

  void send_setup(uint64_t pixels_max, const Settings& settings,
                  const std::vector<PathGrant>& paths);
  // Takes the call (moved from only on kYes). Sent by flush().
  CallWritten take(WaitingCall* waiting, int64_t estimate_us, int64_t now_us);
  // Sends what is unsent. kGone: the worker is.
  Heard flush();
  bool has_unsent() const { return !packets_.empty(); }

  // Reads what has come. Replies are appended even when the answer is not kFine.
  Heard receive(std::string* buffer, std::vector<Reply>* replies);
  // Gives the pages of large inputs back when nobody looks at them any more.
  void tidy();
  void close_socket();
  void kill_now();

  bool begun(const Held& held);
  // When the worker began it, by its own word, kept within reason.
  int64_t begun_us(const Held& held, int64_t now_us);
  // When its time is over; as long as it has not begun, what is left to it from `now_us` on counts.
  int64_t end_us(const Held& held, int64_t now_us);
  void ask_to_stop(const Held& held);
  // Takes back a call that has not begun; false when it has. On true it is removed.
  bool revoke(size_t index, WaitingCall* waiting);
  void plan_tidy();
  // Removes it and gives its memory free.
  Held remove(size_t index);

 private:
  WorkerLink(uint64_t link_id, Crew link_crew, int socket, std::unique_ptr<Slab> slab);
  Heard on_frame(const Frame& frame, std::vector<Reply>* replies);
  bool on_reply(const Frame& frame, std::vector<Reply>* replies);
  bool copy_out(CallEnd* end);
  SlabSlot& slot_of(const Held& held) { return slab_->header().slots[held.slot]; }

  int socket_;
  std::unique_ptr<Slab> slab_;
  RegionAllocator regions_{kSlabHeaderBytes, kSlabInputBytes};
  std::deque<Held> held_;
  std::vector<uint32_t> free_slots_;
  uint32_t next_sequence_ = 1;
  std::deque<std::string> packets_;  // unsent, the last one still growing
  uint64_t consumed_ = 0;
};

}  // namespace millrace
