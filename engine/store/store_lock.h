// StoreLock: at most one process per store.
//
// A record lock on a file beside the database, held until the process ends, however it ends. It is
// a POSIX record lock and not flock(): a forked worker does not inherit it, so a killed server's
// store is free even while a worker of it is still on its way out. Such a lock does not keep two
// stores of one process apart; a list of what this process holds does.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"

namespace millrace {

class StoreLock {
 public:
  StoreLock() = default;
  ~StoreLock() { release(); }
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;

  // Creates the file at `path` when it is absent and writes our process id into it. E121 names the
  // holder, E120 anything else. [any]
  Status acquire(const std::string& path);
  void release();

 private:
  int fd_ = -1;
  uint64_t device_ = 0, inode_ = 0;
};

// Why a store must not live on the file system that holds `path`, or ok. Locks and shared memory
// are not reliable over a network: E120 names the kind. [any]
Status check_local_file_system(const std::string& path);
// The same for a file system's magic number (statfs) and, for FUSE, its type in mountinfo.
// Empty: nothing against it. [any]
std::string remote_file_system(uint64_t magic, const std::string& type);

// Makes the entries of a directory durable. E120. [any]
Status sync_directory(const std::string& path);
// The directory part of a path; "." when there is none. [any]
std::string directory_of(const std::string& path);

}  // namespace millrace
