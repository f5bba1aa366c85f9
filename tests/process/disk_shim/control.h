/* What a test and disk_shim.so share: a mapped file with a control block and the journal of
 * everything that a server and its workers did to the files below a directory. Plain C: the shim is
 * no part of the program. */
#pragma once

#include <stdint.h>

/* The points at which a server can be made to die or a call to fail. */
enum disk_kind {
  DISK_SYNC,
  DISK_RENAME,
  DISK_LINK,
  DISK_UNLINK,
  DISK_WRITE,
  DISK_SEND,
  DISK_READ, /* by the server itself, and only when it is named: to read changes nothing */
  DISK_KINDS
};
enum disk_deed { DISK_NOTHING, DISK_KILL, DISK_FAIL };

struct disk_control {
  int32_t countdown; /* points of `kind` left until the deed; counted in all processes together */
  int32_t kind;      /* -1: any */
  int32_t side;      /* of DISK_KILL: before the call (0), behind it (1), or either (-1) */
  int32_t deed;
  int32_t error;  /* the errno of DISK_FAIL */
  int32_t times;  /* how many calls in a row fail */
  int32_t tear;   /* a write that fails has written its first half */
  int32_t lies;   /* a sync is said to be done, and is not */
  int32_t dead;   /* the power is off: nothing that is called from now on happens */
  int32_t server; /* pid, set by the shim */
  int32_t fatal;  /* the kind of the last deed, -1 before it; + DISK_KINDS: behind the call */
  int32_t lock;   /* of the journal: the pid that holds it, 0: nobody */
  char only[128]; /* what the path of a file ends in whose calls fail; empty: any */
  int64_t points[DISK_KINDS];
  uint64_t journal_bytes; /* how much of the journal behind this block is written */
};

/* The file holds the block and behind it, from this offset on, the journal. Sparse. */
#define DISK_JOURNAL_AT 4096u
#define DISK_FILE_BYTES (UINT64_C(1) << 30)

enum disk_op {
  DISK_CREATED,   /* path (empty: unnamed), file */
  DISK_WRITTEN,   /* file, offset, data */
  DISK_TRUNCATED, /* file, offset: its new size */
  DISK_GROWN,     /* file, offset: its size is at least this */
  DISK_SYNC_BEGUN,
  DISK_SYNCED,    /* file, or path of a directory; `offset` pairs it with its beginning */
  DISK_LINKED,    /* file, path */
  DISK_RENAMED,   /* path, path2 */
  DISK_EXCHANGED, /* path, path2 */
  DISK_UNLINKED,  /* path */
  DISK_MADE_DIR,  /* path */
};

/* One entry of the journal; path, path2 and data follow it. */
struct disk_entry {
  uint32_t op, path_bytes, path2_bytes, data_bytes;
  uint64_t file; /* inode number; 0: none */
  uint64_t offset;
};
