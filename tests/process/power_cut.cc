#include "tests/process/power_cut.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "cmake/tree.h"
#include "engine/base/check.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSectorBytes = 512;  // what a disk writes whole

std::string read_whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string folder_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

// Made anew from its log by whoever opens the database; it is only ever mapped, so nobody sees its
// writes.
bool is_shared_memory(const std::string& path) {
  return path.ends_with("-shm");
}

}  // namespace

PowerCut::PowerCut(const std::string& directory)
    : directory_(fs::canonical(directory)), shared_path_(directory_ + ".shim") {
  const int fd = ::open(shared_path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && ::ftruncate(fd, static_cast<off_t>(DISK_FILE_BYTES)) == 0);
  void* map = ::mmap(nullptr, DISK_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
  ::close(fd);
  control_ = static_cast<disk_control*>(map);
  learn_tree();
}

PowerCut::~PowerCut() {
  ::munmap(control_, DISK_FILE_BYTES);
  fs::remove(shared_path_);
}

std::vector<std::string> PowerCut::environment() const {
  return {"LD_PRELOAD=" + in_build("/tests/process/disk_shim/disk_shim.so"),
          "DISK_SHIM=" + shared_path_ + ":" + directory_};
}

const char* PowerCut::kind_name(int kind) {
  static const char* const names[] = {"sync", "rename", "link", "unlink", "write", "send", "read"};
  return kind < 0 ? "none" : names[kind % DISK_KINDS];
}

void PowerCut::begin() {
  // The pages of the journal go too; a hole reads as zeros.
  CHECK(::madvise(control_, DISK_FILE_BYTES, MADV_REMOVE) == 0);
  *control_ = disk_control{};
  control_->fatal = -1;
  learn_tree();
}

void PowerCut::plan_death(int kind, int count, int side) {
  control_->kind = kind;
  control_->side = side;
  control_->countdown = count;
  __atomic_store_n(&control_->deed, static_cast<int32_t>(DISK_KILL), __ATOMIC_SEQ_CST);
}

void PowerCut::plan_failure(int kind, int count, int error, int times, bool tear) {
  control_->kind = kind;
  control_->countdown = count;
  control_->error = error;
  control_->times = times;
  control_->tear = tear;
  __atomic_store_n(&control_->deed, static_cast<int32_t>(DISK_FAIL), __ATOMIC_SEQ_CST);
}

void PowerCut::plan_failures_of(const std::string& only, int kind, int error) {
  constexpr int kAll = 1 << 30;
  CHECK(only.size() < sizeof control_->only);
  std::copy_n(only.c_str(), only.size() + 1, control_->only);
  plan_failure(kind, 1, error, kAll);
}

void PowerCut::mend() {
  __atomic_store_n(&control_->deed, static_cast<int32_t>(DISK_NOTHING), __ATOMIC_SEQ_CST);
  control_->only[0] = '\0';
}

// What lies on the disk is durable now.
void PowerCut::learn_tree() {
  durable_.clear();
  files_.clear();
  changes_.clear();
  begun_.clear();
  for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
    const std::string path = entry.path();
    if (entry.is_directory()) {
      durable_[path] = nullptr;
    } else if (!is_shared_memory(path)) {
      struct stat status {};
      CHECK(::stat(path.c_str(), &status) == 0);
      std::shared_ptr<File>& file = files_[status.st_ino];
      if (file == nullptr) {
        file = std::make_shared<File>();
        file->bytes = read_whole(path);
      }
      durable_[path] = file;
    }
  }
  names_ = durable_;
}

// ---- the journal

void PowerCut::replay() {
  const char* at = reinterpret_cast<const char*>(control_) + DISK_JOURNAL_AT;
  const char* const end = at + control_->journal_bytes;
  const auto take = [&at](uint32_t size) {
    const std::string text(at, size);
    at += size;
    return text;
  };
  while (at < end) {
    disk_entry entry{};
    std::copy(at, at + sizeof entry, reinterpret_cast<char*>(&entry));
    at += sizeof entry;
    const std::string path = take(entry.path_bytes);
    const std::string path2 = take(entry.path2_bytes);
    order_++;
    on_entry(entry, path, path2, take(entry.data_bytes));
  }
  CHECK(at == end);
}

void PowerCut::on_entry(const disk_entry& entry, const std::string& path, const std::string& path2,
                        std::string data) {
  std::shared_ptr<File> file;
  if (entry.op == DISK_CREATED) {
    file = files_[entry.file] = std::make_shared<File>();
    if (path.empty()) return;
  } else if (const auto found = files_.find(entry.file); found != files_.end()) {
    file = found->second;
  }
  switch (entry.op) {
    case DISK_WRITTEN:
    case DISK_TRUNCATED:
    case DISK_GROWN:
      if (file == nullptr) return;  // shared memory
      file->pending.push_back({order_, entry.offset, std::move(data), entry.op == DISK_TRUNCATED,
                               entry.op == DISK_GROWN});
      return;
    case DISK_SYNC_BEGUN:
      begun_[entry.offset] = {order_, file, path};
      return;
    case DISK_SYNCED:
      on_synced(entry.offset);
      return;
    case DISK_RENAMED:
    case DISK_EXCHANGED:
      file = names_[path];
      break;
    default:
      break;
  }
  const Change change{order_, entry.op, path, path2, file};
  apply(change, &names_);
  changes_.push_back(change);
}

void PowerCut::on_synced(uint64_t pair) {
  const auto node = begun_.extract(pair);
  CHECK(!node.empty());
  const Begun& begun = node.mapped();
  if (!begun.folder.empty()) {
    std::erase_if(changes_, [this, &begun](const Change& change) {
      const bool here = folder_of(change.path) == begun.folder ||
                        (!change.path2.empty() && folder_of(change.path2) == begun.folder);
      if (!here || change.order > begun.order) return false;
      apply(change, &durable_);
      return true;
    });
  } else if (begun.file != nullptr) {
    std::erase_if(begun.file->pending, [&begun](const Write& write) {
      if (write.order > begun.order) return false;
      apply(write, &begun.file->bytes);
      return true;
    });
  }
}

void PowerCut::apply(const Change& change, Names* names) {
  switch (change.op) {
    case DISK_RENAMED:
      names->erase(change.path);
      (*names)[change.path2] = change.file;
      break;
    case DISK_EXCHANGED:
      std::swap((*names)[change.path], (*names)[change.path2]);
      break;
    case DISK_UNLINKED:
      names->erase(change.path);
      break;
    default:
      (*names)[change.path] = change.file;
  }
}

void PowerCut::apply(const Write& write, std::string* bytes) {
  if (write.resizes || write.grows) {
    if (write.resizes || write.at > bytes->size()) bytes->resize(write.at);
    return;
  }
  if (bytes->size() < write.at + write.data.size()) bytes->resize(write.at + write.data.size());
  bytes->replace(write.at, write.data.size(), write.data);
}

// ---- the loss

void PowerCut::survive(File* file, Survives what, std::mt19937* random) {
  for (size_t i = 0; i < file->pending.size(); i++) {
    Write& write = file->pending[i];
    const bool some = what == Survives::kSome;
    if (what == Survives::kNothing || (some && (*random)() % 2 == 0)) continue;
    if (some && i + 1 == file->pending.size()) {
      const size_t sectors = write.data.size() / kSectorBytes;
      if (sectors > 0) write.data.resize(kSectorBytes * ((*random)() % (sectors + 1)));
    }
    apply(write, &file->bytes);
  }
  file->pending.clear();
}

void PowerCut::cut(std::mt19937* random) {
  constexpr Survives kAny[] = {Survives::kNothing, Survives::kAll, Survives::kSome};
  cut(kAny[(*random)() % 3], random);
}

void PowerCut::cut_all_unsynced() {
  cut(Survives::kNothing, nullptr);
}

void PowerCut::cut(Survives what, std::mt19937* random) {
  replay();
  const size_t names = what == Survives::kNothing ? 0
                       : what == Survives::kAll   ? changes_.size()
                                                  : (*random)() % (changes_.size() + 1);
  for (size_t i = 0; i < names; i++) apply(changes_[i], &durable_);
  for (const auto& [number, file] : files_) survive(file.get(), what, random);
  rebuild();
  learn_tree();
}

void PowerCut::rebuild() const {
  for (const auto& entry : fs::directory_iterator(directory_)) fs::remove_all(entry.path());
  std::map<const File*, std::string> written;
  for (const auto& [path, file] : durable_) {
    if (file == nullptr) {
      fs::create_directories(path);
      continue;
    }
    if (is_shared_memory(path)) continue;
    // A name in a directory whose own name was lost is lost with it.
    if (!fs::exists(folder_of(path))) continue;
    const auto [first, fresh] = written.emplace(file.get(), path);
    if (!fresh) {
      fs::create_hard_link(first->second, path);
      continue;
    }
    std::ofstream out(path, std::ios::binary);
    out.write(file->bytes.data(), static_cast<std::streamsize>(file->bytes.size()));
    CHECK(out.good());
  }
}

}  // namespace millrace
