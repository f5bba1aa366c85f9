#include "tests/store/lossy_vfs.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/base/check.h"

namespace millrace {
namespace {

LossyVfs* instance = nullptr;

struct File {
  sqlite3_file base;
  LossyVfs::Disk* disk;  // null: not tracked
  sqlite3_file* real;
};

File* of(sqlite3_file* file) {
  return reinterpret_cast<File*>(file);
}
sqlite3_file* real(sqlite3_file* file) {
  return of(file)->real;
}

void apply_change(const LossyVfs::Change& change, std::string* bytes) {
  const auto at = static_cast<size_t>(change.at);
  if (change.truncate) {
    bytes->resize(at);
    return;
  }
  if (bytes->size() < at + change.bytes.size()) bytes->resize(at + change.bytes.size());
  std::memcpy(bytes->data() + at, change.bytes.data(), change.bytes.size());
}

int x_close(sqlite3_file* f) {
  return real(f)->pMethods->xClose(real(f));
}
int x_read(sqlite3_file* f, void* data, int size, sqlite3_int64 at) {
  if (of(f)->disk != nullptr) {
    if (const int code = instance->before_read(); code != SQLITE_OK) return code;
  }
  return real(f)->pMethods->xRead(real(f), data, size, at);
}
int x_write(sqlite3_file* f, const void* data, int size, sqlite3_int64 at) {
  if (of(f)->disk != nullptr) {
    if (const int code = instance->before(false); code != SQLITE_OK) return code;
    of(f)->disk->since.push_back(
        {at, std::string(static_cast<const char*>(data), static_cast<size_t>(size)), false});
  }
  return real(f)->pMethods->xWrite(real(f), data, size, at);
}
int x_truncate(sqlite3_file* f, sqlite3_int64 size) {
  if (of(f)->disk != nullptr) {
    if (const int code = instance->before(false); code != SQLITE_OK) return code;
    of(f)->disk->since.push_back({size, "", true});
  }
  return real(f)->pMethods->xTruncate(real(f), size);
}
int x_sync(sqlite3_file* f, int) {
  if (of(f)->disk != nullptr) {
    if (const int code = instance->before(true); code != SQLITE_OK) return code;
    for (const auto& change : of(f)->disk->since) apply_change(change, &of(f)->disk->synced);
    of(f)->disk->since.clear();
  }
  return SQLITE_OK;
}
int x_size(sqlite3_file* f, sqlite3_int64* size) {
  return real(f)->pMethods->xFileSize(real(f), size);
}
int x_lock(sqlite3_file* f, int level) {
  return real(f)->pMethods->xLock(real(f), level);
}
int x_unlock(sqlite3_file* f, int level) {
  return real(f)->pMethods->xUnlock(real(f), level);
}
int x_check(sqlite3_file* f, int* out) {
  return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
int x_control(sqlite3_file* f, int op, void* arg) {
  return real(f)->pMethods->xFileControl(real(f), op, arg);
}
int x_sector(sqlite3_file* f) {
  return real(f)->pMethods->xSectorSize(real(f));
}
int x_device(sqlite3_file*) {
  return 0;  // promises nothing: no atomic writes, no safe appends
}
int x_shm_map(sqlite3_file* f, int page, int size, int extend, void volatile** out) {
  return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}
int x_shm_lock(sqlite3_file* f, int offset, int n, int flags) {
  return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}
void x_shm_barrier(sqlite3_file* f) {
  real(f)->pMethods->xShmBarrier(real(f));
}
int x_shm_unmap(sqlite3_file* f, int remove) {
  return real(f)->pMethods->xShmUnmap(real(f), remove);
}

constexpr sqlite3_io_methods kMethods = {
    2,          x_close,       x_read,      x_write,   x_truncate, x_sync,   x_size,
    x_lock,     x_unlock,      x_check,     x_control, x_sector,   x_device, x_shm_map,
    x_shm_lock, x_shm_barrier, x_shm_unmap, nullptr,   nullptr};

int x_open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
  File* f = of(file);
  f->base.pMethods = nullptr;
  f->real = reinterpret_cast<sqlite3_file*>(f + 1);
  const bool tracked = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0;
  f->disk = tracked ? instance->disk(name) : nullptr;
  const int code = instance->system()->xOpen(instance->system(), name, f->real, flags, out);
  if (f->real->pMethods != nullptr) f->base.pMethods = &kMethods;
  return code;
}

int x_delete(sqlite3_vfs*, const char* name, int sync) {
  if (instance->before(false) != SQLITE_OK) return SQLITE_IOERR_DELETE;
  // A log that comes back is harmless: it was copied before. A rollback journal that comes back
  // would undo everything; the store syncs its directory before it is used, which this stands for.
  LossyVfs::Disk* disk = instance->disk(name);
  if (std::string_view(name).ends_with("-wal")) {
    disk->since.push_back({0, "", true});
  } else {
    *disk = {};
  }
  return instance->system()->xDelete(instance->system(), name, sync);
}

}  // namespace

LossyVfs::LossyVfs() {
  CHECK(instance == nullptr);
  instance = this;
  system_ = sqlite3_vfs_find(nullptr);
  vfs_ = *system_;
  vfs_.szOsFile = static_cast<int>(sizeof(File)) + system_->szOsFile;
  vfs_.zName = kName;
  vfs_.pNext = nullptr;
  vfs_.xOpen = x_open;
  vfs_.xDelete = x_delete;
  CHECK(sqlite3_vfs_register(&vfs_, 0) == SQLITE_OK);
}

LossyVfs::~LossyVfs() {
  sqlite3_vfs_unregister(&vfs_);
  instance = nullptr;
}

void LossyVfs::fail(Fault fault, int at, int count) {
  fault_ = fault;
  calls_ = 0;
  fail_at_ = at;
  fail_count_ = count;
}

int LossyVfs::before_read() {
  if (fault_ != Fault::kUnreadable) return SQLITE_OK;
  calls_++;
  const bool fails = calls_ >= fail_at_ && calls_ < fail_at_ + fail_count_;
  return fails ? SQLITE_IOERR_READ : SQLITE_OK;
}

int LossyVfs::before(bool is_sync) {
  if (off_) return SQLITE_IOERR;
  if (fault_ == Fault::kUnreadable) return SQLITE_OK;
  calls_++;
  if (fault_ == Fault::kNone || calls_ < fail_at_ || calls_ >= fail_at_ + fail_count_) {
    return SQLITE_OK;
  }
  if (fault_ == Fault::kPowerOff) off_ = true;
  if (fault_ == Fault::kFull && !is_sync) return SQLITE_FULL;
  if (fault_ == Fault::kFull) return SQLITE_OK;
  return is_sync ? SQLITE_IOERR_FSYNC : SQLITE_IOERR_WRITE;
}

LossyVfs::Disk* LossyVfs::disk(const std::string& path) {
  const auto [found, fresh] = disks_.try_emplace(path);
  if (fresh) {
    std::ifstream in(path, std::ios::binary);
    found->second.synced.assign(std::istreambuf_iterator<char>(in), {});
  }
  return &found->second;
}

void LossyVfs::power_loss(std::mt19937* random) {
  for (auto& [path, disk] : disks_) {
    std::string bytes = disk.synced;
    for (Change change : disk.since) {
      const auto fate = (*random)() % 3;  // lost, torn, written
      if (fate == 0) continue;
      if (fate == 1 && !change.truncate)
        change.bytes.resize((*random)() % (change.bytes.size() + 1));
      apply_change(change, &bytes);
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    std::filesystem::remove(path + "-shm");
  }
  disks_.clear();
  fault_ = Fault::kNone;
  off_ = false;
}

}  // namespace millrace
