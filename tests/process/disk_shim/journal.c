#define _GNU_SOURCE
#include "tests/process/disk_shim/journal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct disk_control* control;
char setting[PATH_MAX * 2];
static char root[PATH_MAX];

void* real(const char* name) {
  return dlsym(RTLD_NEXT, name);
}

/* A template of workers may still be loading when its server is dead already and the next one is to
 * be noted. */
static int is_template(void) {
  char arguments[64] = "";
  const int fd =
      ((int (*)(const char*, int, ...))real("open"))("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t got = ((ssize_t(*)(int, void*, size_t))real("read"))(fd, arguments, 63);
  close(fd);
  const size_t first = strlen(arguments) + 1;
  return got > (ssize_t)first && strcmp(arguments + first, "worker-template") == 0;
}

__attribute__((constructor)) static void open_control(void) {
  const char* given = getenv("DISK_SHIM");
  if (given == NULL) return;
  snprintf(setting, sizeof setting, "%s", given);
  char path[PATH_MAX + 16];
  const char* colon = strchr(given, ':');
  if (colon == NULL || colon - given >= PATH_MAX) abort();
  snprintf(path, sizeof path, "%.*s", (int)(colon - given), given);
  snprintf(root, sizeof root, "%s", colon + 1);
  const int fd = ((int (*)(const char*, int, ...))real("open"))(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) abort();
  control = mmap(NULL, DISK_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (control == MAP_FAILED) abort();
  close(fd);
  if (control->server == 0 && !is_template()) control->server = getpid();
}

/* ---- points */

static void wait_for_the_end(void) {
  for (;;) pause();
}

/* As engine/base/signals.h: never to a whole group, nor to every process. */
static int signal_process(pid_t pid, int number) {
  if (pid <= 1) abort();
  return kill(pid, number);
}

int point(int kind, int behind) {
  if (control == NULL) return 0;
  if (__atomic_load_n(&control->dead, __ATOMIC_SEQ_CST)) wait_for_the_end();
  if (!behind) __atomic_fetch_add(&control->points[kind], 1, __ATOMIC_RELAXED);
  const int deed = __atomic_load_n(&control->deed, __ATOMIC_SEQ_CST);
  const int planned = control->kind >= 0 ? control->kind == kind : kind != DISK_READ;
  if (deed == DISK_NOTHING || !planned) return 0;
  if (deed == DISK_FAIL && behind) return 0;
  if (deed == DISK_KILL && control->side >= 0 && control->side != behind) return 0;
  const int left = __atomic_sub_fetch(&control->countdown, 1, __ATOMIC_SEQ_CST);
  if (left > 0) return 0;
  if (deed == DISK_FAIL) {
    if (left <= -control->times) return 0;
    control->fatal = kind;
    return control->error;
  }
  if (left < 0) wait_for_the_end(); /* another process is ending it */
  control->fatal = kind + (behind ? DISK_KINDS : 0);
  __atomic_store_n(&control->dead, 1, __ATOMIC_SEQ_CST);
  signal_process(control->server, SIGKILL);
  wait_for_the_end();
  return 0;
}

/* ---- the journal */

static int below(const char* path) {
  const size_t size = strlen(root);
  return strncmp(path, root, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

void locate(int directory, const char* name, char* out) {
  char base[PATH_MAX] = "", link[64];
  out[0] = '\0';
  if (control == NULL) return;
  if (name[0] != '/') {
    snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d",
             directory);
    const ssize_t got = readlink(link, base, sizeof base - 1);
    if (got <= 0) return;
    base[got] = '\0';
  }
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s%s%s", base, base[0] ? "/" : "", name) >= (int)sizeof path)
    return;
  if (below(path)) strcpy(out, path);
}

uint64_t inode_of(int fd, char* path, int* is_directory) {
  struct stat status;
  if (control == NULL || fstat(fd, &status) != 0) return 0;
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t got = readlink(link, path, PATH_MAX - 1);
  if (got <= 0) return 0;
  path[got] = '\0';
  if (!below(path)) return 0;
  *is_directory = S_ISDIR(status.st_mode);
  return status.st_ino;
}

static void note_entry(uint32_t op, uint64_t file, uint64_t offset, const char* path,
                       const char* path2, const void* data, size_t size) {
  const struct disk_entry entry = {
      op, (uint32_t)strlen(path), (uint32_t)strlen(path2), (uint32_t)size, file, offset};
  const size_t bytes = sizeof entry + entry.path_bytes + entry.path2_bytes + size;
  const int32_t self = getpid();
  for (int32_t holder = 0; !__atomic_compare_exchange_n(&control->lock, &holder, self, 0,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);) {
    /* A worker may have been killed with the lock; its entry was not counted yet. */
    if (holder != self && signal_process(holder, 0) != 0 && errno == ESRCH) {
      __atomic_compare_exchange_n(&control->lock, &holder, 0, 0, __ATOMIC_SEQ_CST,
                                  __ATOMIC_SEQ_CST);
    }
    sched_yield();
    holder = 0;
  }
  char* at = (char*)control + DISK_JOURNAL_AT + control->journal_bytes;
  if (DISK_JOURNAL_AT + control->journal_bytes + bytes > DISK_FILE_BYTES) abort();
  memcpy(at, &entry, sizeof entry);
  at += sizeof entry;
  memcpy(at, path, entry.path_bytes);
  at += entry.path_bytes;
  memcpy(at, path2, entry.path2_bytes);
  at += entry.path2_bytes;
  if (size > 0) memcpy(at, data, size);
  __atomic_fetch_add(&control->journal_bytes, bytes, __ATOMIC_SEQ_CST);
  __atomic_store_n(&control->lock, 0, __ATOMIC_SEQ_CST);
}

void note(uint32_t op, uint64_t file, uint64_t offset, const char* path, const char* path2,
          const void* data, size_t size) {
  const int saved = errno;
  note_entry(op, file, offset, path, path2, data, size);
  errno = saved;
}

void note_written(int fd, const void* data, ssize_t size, off_t offset) {
  char path[PATH_MAX];
  int is_directory = 0;
  if (size <= 0) return;
  const uint64_t file = inode_of(fd, path, &is_directory);
  if (file == 0) return;
  if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - size;
  note(DISK_WRITTEN, file, (uint64_t)offset, "", "", data, (size_t)size);
}

int ours(int fd) {
  char path[PATH_MAX];
  int is_directory = 0;
  return inode_of(fd, path, &is_directory) != 0;
}

int point_of(int fd, int kind) {
  char path[PATH_MAX];
  int is_directory = 0;
  const size_t size = strlen(control->only);
  if (size > 0 && control->deed == DISK_FAIL && inode_of(fd, path, &is_directory) != 0) {
    const size_t all = strlen(path);
    if (all < size || strcmp(path + all - size, control->only) != 0) return 0;
  }
  return point(kind, 0);
}
