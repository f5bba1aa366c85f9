// LossyVfs: a SQLite file layer that knows what was synced, fails on demand, and can lose power.
//
// It passes everything through to the system's layer and keeps, for the database and its log, the
// bytes as of the last sync and the writes since. power_loss() replaces the files by what a disk
// may hold then: the synced bytes, any subset of the later writes, the last of them torn. One per
// test program run at a time; single-threaded.
#pragma once

#include <sqlite3.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace millrace {

class LossyVfs {
 public:
  static constexpr const char* kName = "millrace-lossy";
  enum class Fault : uint8_t { kNone, kIoError, kFull, kPowerOff, kUnreadable };

  LossyVfs();
  ~LossyVfs();
  LossyVfs(const LossyVfs&) = delete;
  LossyVfs& operator=(const LossyVfs&) = delete;

  // From the `at`-th write, truncation or sync on (from 1), `count` of them fail so; kUnreadable:
  // of the reads.
  void fail(Fault fault, int at, int count = 1);
  bool reached() const { return calls_ >= fail_at_; }
  // Everything fails from now on, as if the machine were off.
  void power_off() { off_ = true; }
  // To be called when no connection is open: the files become what the disk kept.
  void power_loss(std::mt19937* random);

  struct Change {
    int64_t at = 0;
    std::string bytes;
    bool truncate = false;
  };
  struct Disk {
    std::string synced;
    std::vector<Change> since;
  };
  // Of the calls below. SQLITE_OK: go on.
  int before(bool is_sync);
  int before_read();
  Disk* disk(const std::string& path);
  sqlite3_vfs* system() const { return system_; }

 private:
  sqlite3_vfs vfs_{};
  sqlite3_vfs* system_ = nullptr;
  std::map<std::string, Disk> disks_;
  Fault fault_ = Fault::kNone;
  int calls_ = 0, fail_at_ = 0, fail_count_ = 0;
  bool off_ = false;
};

}  // namespace millrace
