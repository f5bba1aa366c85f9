// PowerCut: a disk that keeps only what was synced.
//
// A server runs under disk_shim.so, which journals what it does to the files below a directory and
// kills it at a chosen point. cut() then gives the directory the contents that a power loss at that
// point could have left: what was synced for certain, and of the rest what chance decides (a prefix
// of the names in their order, any of the writes, the last one torn). kill -9 alone keeps the page
// cache and so proves nothing about syncs.
//
// The rules are the strictest that POSIX allows: fsync of a file keeps its bytes, not its name;
// fsync of a directory keeps its names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/process/disk_shim/control.h"

namespace millrace {

class PowerCut {
 public:
  // Everything below `directory` (which exists) counts as durable. The file that is shared with the
  // shim is made beside it.
  explicit PowerCut(const std::string& directory);
  ~PowerCut();
  PowerCut(const PowerCut&) = delete;
  PowerCut& operator=(const PowerCut&) = delete;

  // "NAME=value" for the environment of a server.
  std::vector<std::string> environment() const;

  // Before a server starts: an empty journal and nothing planned.
  void begin();
  // From now on the server dies at the `count`-th point of this kind (-1: any), before or behind
  // the call (-1: either), or so many calls fail; a write that is torn has made its first half.
  void plan_death(int kind, int count, int side = -1);
  void plan_failure(int kind, int count, int error, int times, bool tear = false);
  // From now on the reads, or writes, of files fail whose paths end in `only`.
  void plan_failures_of(const std::string& only, int kind, int error);
  void mend();  // nothing is planned any more
  // Until begin(): what is called synced is not.
  void lie_about_syncs() { control_->lies = 1; }
  void power_off() { __atomic_store_n(&control_->dead, 1, __ATOMIC_SEQ_CST); }
  // Whether the planned deed was done; the kind, or kind + DISK_KINDS when it was behind the call.
  int fatal() const { return control_->fatal; }
  bool dead() const { return control_->dead != 0; }
  int64_t points(int kind) const { return control_->points[kind]; }

  // The server is gone: its directory becomes what the power loss left.
  void cut(std::mt19937* random);
  // The same where nothing survives that was not synced.
  void cut_all_unsynced();

  static const char* kind_name(int kind);

 private:
  struct Write {
    uint64_t order = 0;  // when it was made, among all entries of the journal
    uint64_t at = 0;
    std::string data;
    bool resizes = false;  // `at` is then the new size
    bool grows = false;    // only upwards
  };
  struct File {
    std::string bytes;           // durable
    std::vector<Write> pending;  // in their order
  };
  struct Change {
    uint64_t order = 0;
    uint32_t op = 0;
    std::string path, path2;
    std::shared_ptr<File> file;
  };
  using Names = std::map<std::string, std::shared_ptr<File>>;  // path -> file; null: a directory

  void learn_tree();
  void replay();
  void on_entry(const disk_entry& entry, const std::string& path, const std::string& path2,
                std::string data);
  void on_synced(uint64_t pair);
  enum class Survives { kNothing, kAll, kSome };  // of what was not synced
  void cut(Survives what, std::mt19937* random);
  void rebuild() const;
  static void apply(const Change& change, Names* names);
  static void apply(const Write& write, std::string* bytes);
  static void survive(File* file, Survives what, std::mt19937* random);

  const std::string directory_, shared_path_;
  disk_control* control_ = nullptr;
  uint64_t order_ = 0;
  Names durable_, names_;        // as after a power loss, and as a running system sees them
  std::vector<Change> changes_;  // from durable_ to names_
  std::map<uint64_t, std::shared_ptr<File>> files_;  // by inode number
  struct Begun {
    uint64_t order = 0;
    std::shared_ptr<File> file;  // or
    std::string folder;
  };
  std::map<uint64_t, Begun> begun_;  // syncs under way
};

}  // namespace millrace
