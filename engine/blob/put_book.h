// PutBook: whose turn it is with a digest, and when this process last put it. What the blob stores
// share.
//
// Thread-safe; hold() blocks while another thread has the digest.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/base/digest.h"
#include "engine/base/status.h"

namespace millrace {

constexpr size_t kDurableBlobsKept = 1 << 16;

class PutBook {
 public:
  // A put or a removal under way; others who want the digest wait for it.
  struct Flight {
    bool is_put = false;
    bool done = false;
    Status status;
    std::condition_variable finished;
  };
  using Held = std::shared_ptr<Flight>;

  // Waits for its turn with the digest. Null: another thread's put of it ended meanwhile, as
  // `shared` says.
  Held hold(const Digest& digest, Status* shared);
  // Null: somebody has it.
  Held try_hold(const Digest& digest);
  void let_go(const Digest& digest, const Held& flight, const Status& status);

  // The newest kDurableBlobsKept puts are remembered.
  void remember(const Digest& digest);  // put just now
  void forget(const Digest& digest);
  bool knows(const Digest& digest);
  // When it was put (monotonic us), or when the newest one was that is not remembered any more.
  int64_t put_us(const Digest& digest);

 private:
  std::mutex mutex_;  // of all below; never held across a system call
  std::unordered_map<Digest, Held, DigestHash> flights_;
  // Half of what a map and a queue take, which is what a server's memory would grow by.
  struct Put {
    Digest digest;
    int64_t put_us = 0;
    uint32_t next = kNone;  // with the same head
    bool known = true;      // false: forgotten, and its place is not taken again yet
  };
  static constexpr uint32_t kNone = UINT32_MAX;
  static_assert(kDurableBlobsKept < kNone);

  uint32_t& head_of(const Digest& digest);
  uint32_t find(const Digest& digest);  // kNone: it is not known
  void link(uint32_t at);
  void unlink(uint32_t at);
  void grow_heads();

  std::deque<Put> puts_;         // a ring once it is full
  std::vector<uint32_t> heads_;  // by hash, a power of two of them; indices into puts_
  uint32_t oldest_ = 0;          // of a full ring
  int64_t forgotten_until_us_ = 0;
};

}  // namespace millrace
