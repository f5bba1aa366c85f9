/* What the calls of disk_shim.c share: the block that the test has mapped too, the points at which
 * a call fails or the server dies, and the journal. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/process/disk_shim/control.h"

extern struct disk_control* control; /* NULL: nobody watches */
extern char setting[PATH_MAX * 2];   /* DISK_SHIM, for the processes that are spawned */

/* The function of this name that the shim hides. */
void* real(const char* name);

/* A point before (behind = 0) or behind a call. Nonzero: the call is to fail with this errno. */
int point(int kind, int behind);
/* As point(), before a call on a file below the root, of which only some may be meant. */
int point_of(int fd, int kind);

/* The absolute path that `name` means from `directory`; empty when it is not below the root. */
void locate(int directory, const char* name, char* out);
/* The inode behind `fd` when it is a file or directory below the root, else 0; its path in `path`.
 */
uint64_t inode_of(int fd, char* path, int* is_directory);
int ours(int fd);

/* errno stays as the call left it. */
void note(uint32_t op, uint64_t file, uint64_t offset, const char* path, const char* path2,
          const void* data, size_t size);
/* offset < 0: where the file stands now. */
void note_written(int fd, const void* data, ssize_t size, off_t offset);
