#include "engine/worker/landlock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace millrace {
namespace {

// Of linux/landlock.h, by the version that brought them.
constexpr uint64_t kExecute = 1 << 0, kWriteFile = 1 << 1, kReadFile = 1 << 2, kReadDir = 1 << 3,
                   kRemoveDir = 1 << 4, kRemoveFile = 1 << 5, kMakeDir = 1 << 7, kMakeReg = 1 << 8;
constexpr uint64_t kAllOfVersion1 = (1 << 13) - 1;
constexpr uint64_t kRefer = 1 << 13;        // 2: names in other directories
constexpr uint64_t kTruncate = 1 << 14;     // 3
constexpr uint64_t kTcp = 3;                // 4: bind and connect
constexpr uint64_t kIoctlDevice = 1 << 15;  // 5
constexpr uint64_t kScopes = 3;             // 6: abstract sockets and signals of others
constexpr int kRulePathBeneath = 1;

struct RulesetAttributes {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
};
struct __attribute__((packed)) PathBeneath {
  uint64_t allowed_access;
  int32_t parent_fd;
};

size_t attributes_bytes(int version) {
  return version < 4 ? 8 : version < 6 ? 16 : sizeof(RulesetAttributes);
}

uint64_t paths_handled(int version) {
  return kAllOfVersion1 | (version >= 2 ? kRefer : 0) | (version >= 3 ? kTruncate : 0) |
         (version >= 5 ? kIoctlDevice : 0);
}

// A path that is not there needs no rule.
void allow(int ruleset, const std::string& path, uint64_t access) {
  const int fd = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) return;
  struct stat info {};
  constexpr uint64_t kOfFiles = kExecute | kWriteFile | kReadFile | kTruncate | kIoctlDevice;
  if (fstat(fd, &info) != 0 || !S_ISDIR(info.st_mode)) access &= kOfFiles;
  const PathBeneath rule{access, fd};
  syscall(SYS_landlock_add_rule, ruleset, kRulePathBeneath, &rule, 0);
  close(fd);
}

void allow_io_paths(int ruleset, uint64_t handled, const std::vector<PathGrant>& grants) {
  // Directories and not the files in them: a file that is replaced is another one to the kernel.
  for (const char* path : {"/etc", "/usr", "/lib", "/lib64", "/run/systemd/resolve",
                           "/run/resolvconf", "/run/NetworkManager"}) {
    allow(ruleset, path, kReadFile | kReadDir | kExecute);
  }
  for (const char* name : {"SSL_CERT_FILE", "SSL_CERT_DIR"}) {
    if (const char* path = getenv(name)) allow(ruleset, path, kReadFile | kReadDir);
  }
  for (const char* path : {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}) {
    allow(ruleset, path, kReadFile | kWriteFile);
  }
  // A file can get a further name only where it has no more rights than under its first: so files
  // to be linked carry the same ones. Theirs is that they exist; nothing can be made beside them.
  constexpr uint64_t kUse = kReadFile | kWriteFile | kTruncate | kRefer;
  constexpr uint64_t kChange = kUse | kReadDir | kMakeReg | kMakeDir | kRemoveFile | kRemoveDir;
  for (const PathGrant& grant : grants) {
    allow(ruleset, grant.path, (grant.change ? kChange : kUse) & handled);
  }
}

}  // namespace

int landlock_version() {
  constexpr uint32_t kAskVersion = 1;
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, kAskVersion);
  return version > 0 ? static_cast<int>(version) : 0;
}

bool restrict_paths(Lane lane, const std::vector<PathGrant>& grants) {
  const int version = landlock_version();
  // The first one knows no links between directories and would forbid them all.
  if (version == 0 || (version == 1 && lane == Lane::kIo)) return false;
  RulesetAttributes attributes{};
  attributes.handled_access_fs = paths_handled(version);
  if (version >= 4 && lane == Lane::kCpu) attributes.handled_access_net = kTcp;
  if (version >= 6) attributes.scoped = kScopes;
  const auto ruleset = static_cast<int>(
      syscall(SYS_landlock_create_ruleset, &attributes, attributes_bytes(version), 0));
  if (ruleset < 0) return false;
  if (lane == Lane::kIo) allow_io_paths(ruleset, attributes.handled_access_fs, grants);
  const bool restricted = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
  close(ruleset);
  return restricted;
}

}  // namespace millrace
