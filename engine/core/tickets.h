// TicketTable: what each outstanding ticket stands for. Tickets are never reused within a boot: the
// low bits are a place in the table, the high bits count. Internal to the folder.
#pragma once

#include <vector>

#include "engine/core/job.h"

namespace millrace {

struct TicketUse {
  enum class Kind : uint8_t { kNone, kStep, kJobBlob, kReplayBlob };
  Kind kind = Kind::kNone;
  Lane lane = Lane::kCpu;  // of a step
  Job* job = nullptr;      // null: the job is gone, the workers still have the step
  int step = 0;
  bool alone = false;  // a suspect: nothing else starts while it runs
  uint64_t replay = 0;
  const BlobContent* content = nullptr;
};

class TicketTable {
 public:
  Ticket open(const TicketUse& use) {
    uint32_t place = 0;
    if (free_.empty()) {
      place = static_cast<uint32_t>(rows_.size());
      CHECK(place < kPlaces);
      rows_.emplace_back();
    } else {
      place = free_.back();
      free_.pop_back();
    }
    rows_[place].use = use;
    rows_[place].ticket = ++count_ << kPlaceBits | place;
    open_++;
    return rows_[place].ticket;
  }

  // Null: nobody waits for this ticket any more.
  TicketUse* find(Ticket ticket) {
    const size_t place = ticket & (kPlaces - 1);
    if (place >= rows_.size() || rows_[place].ticket != ticket) return nullptr;
    return &rows_[place].use;
  }

  void close(Ticket ticket) {
    CHECK(find(ticket) != nullptr);
    const auto place = static_cast<uint32_t>(ticket & (kPlaces - 1));
    rows_[place] = {};
    free_.push_back(place);
    open_--;
  }

  size_t open_count() const { return open_; }

 private:
  static constexpr int kPlaceBits = 22;
  static constexpr uint64_t kPlaces = uint64_t{1} << kPlaceBits;
  struct Row {
    Ticket ticket = 0;
    TicketUse use;
  };
  std::vector<Row> rows_;
  std::vector<uint32_t> free_;
  uint64_t count_ = 0;
  size_t open_ = 0;
};

}  // namespace millrace
