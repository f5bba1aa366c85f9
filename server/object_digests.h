// ObjectDigests: the SHA-256 of files whose bytes nobody has hashed yet, kept while they stay as
// they are.
//
// An object may be linked to its blob, whose times change whenever the same bytes come again; so
// only the bytes themselves can say whether an object is still the same. A file is hashed piece by
// piece, off the loop, when it is first asked for, and again when its times or its size changed.
//
// Thread: loop.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "engine/base/digest.h"
#include "engine/runtime/runtime.h"

namespace millrace {

// Which file, in which state: equal only when its bytes are.
struct FileState {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t changed_s = 0, changed_ns = 0;
  auto operator<=>(const FileState&) const = default;

  static FileState of(const struct stat& info);
};

class ObjectDigests {
 public:
  explicit ObjectDigests(Runtime* runtime) : runtime_(runtime) {}

  // `done` hears the digest of the bytes behind `fd`, perhaps inside the call; nothing: too much
  // waits for the disk. Of a file that shrinks meanwhile it is the digest of what could be read.
  // `holder` keeps the descriptor open; `wanted` is asked between pieces, and after a no nobody
  // hears anything.
  using Done = std::function<void(const std::optional<Digest>&)>;
  void find(const std::shared_ptr<const void>& holder, int fd, const FileState& state,
            std::function<bool()> wanted, Done done);

 private:
  struct Hashing;
  void go_on(const std::shared_ptr<Hashing>& hashing);
  void remember(const FileState& state, const Digest& digest);

  Runtime* const runtime_;
  std::map<FileState, Digest> known_;
};

}  // namespace millrace
