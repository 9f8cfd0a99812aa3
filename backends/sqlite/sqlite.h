/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the backend that keeps messages in an SQLite file (its ops: backend_sqlite). */
#ifndef BACKENDS_SQLITE_SQLITE_H
#define BACKENDS_SQLITE_SQLITE_H

#include <stdint.h>

/* What has happened before an append is answered; docs/durability.md says what survives what. */
enum sqlite_sync {
    SQLITE_SYNC_NONE,     /* handed to the operating system */
    SQLITE_SYNC_INTERVAL, /* the same, and it is on the disk at most sync_interval_ms later */
    SQLITE_SYNC_ALWAYS,   /* it is on the disk */
};

struct sqlite_options {
    const char
        *path; /* of the file; its folder is made if its parent is there. Lives until open() returned */
    enum sqlite_sync sync;
    uint64_t sync_interval_ms;
    uint64_t cache_bytes;   /* of recent messages, read without the disk */
    uint64_t queue_max;     /* appends under way; past that append_take() says -EAGAIN */
    uint64_t queue_bytes;   /* likewise, their bytes */
    uint64_t bytes_max;     /* of the histories of all topics together; 0: no limit */
    uint64_t key_window_ms; /* how long idempotency keys are remembered; 0: not at all */
    uint64_t keys_max;
};

#endif
