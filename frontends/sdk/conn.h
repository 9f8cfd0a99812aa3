/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client socket: reads into a buffer that all connections share, keeps only what a transport could not
 * use yet, and writes from a queue of references into blocks, once per turn. Embedded as the first member of
 * a transport's connection. An idle one has one libevent event, no buffers and no queue. TLS is between it
 * and its socket (tls.h).
 */
#ifndef SDK_CONN_H
#define SDK_CONN_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"

struct block;
struct block_mark;
struct conn;
struct frontend;
struct peer;
struct tls_stream;

enum conn_room {
    CONN_ROOM_NONE, /* it is too slow */
    CONN_ROOM_MADE, /* the new bytes are to be queued */
    CONN_ROOM_SKIP, /* they are not: they come again later */
};

struct conn_ops {
    /* Bytes of the stream, in order; they may be changed in place. Returns how many are done with: the rest
     * is kept and comes again with more behind it; or negative errno: close. conn_close() may be called in
     * here (then the result is ignored). After conn_pause() the rest is kept until conn_resume(). */
    ssize_t (*on_bytes)(struct conn *c, uint8_t *data, size_t n);
    /* The peer will send no more. Usual: conn_close(c, NULL) or conn_close_soon(). */
    void (*on_eof)(struct conn *c);
    /* More than limits.queue_bytes would be queued for this client. What of the queue goes, and whether the
     * new bytes (fe->incoming) are still wanted: usual is session_overflow(). CONN_ROOM_NONE, or no such
     * function: it is closed. */
    enum conn_room (*on_overflow)(struct conn *c);
    /* Room was made, and the new bytes follow: what is sent here stands where the hole is. Usual:
     * session_tell_dropped(). May be NULL. */
    void (*on_dropped)(struct conn *c);
    /* The queue has become empty after it was not. May be NULL. */
    void (*on_drained)(struct conn *c);
    /* The socket is closed and nothing refers to c any more (from the loop, never from inside another call on
     * c): free it. reason is a clause for the log, or NULL. */
    void (*on_closed)(struct conn *c, const char *reason);
};

struct conn_input {
    struct buf buf;
    size_t at; /* what stands before it is done with; there is more behind it */
};

struct out_piece {
    struct block *block;
    uint32_t at, n;
};

struct conn {
    const struct conn_ops *ops;
    struct frontend *fe;
    struct event ev;
    int fd;
    bool is_paused : 1, is_closing : 1, is_dirty : 1, is_blocked : 1, is_closed : 1, has_eof : 1;
    bool is_resumed : 1;   /* what was kept must be given again, whether or not more comes */
    bool is_shut : 1;      /* closing: everything was written, the peer's end is waited for */
    bool is_aged : 1;      /* closing: it was so at the last sweep already */
    bool is_over : 1;      /* on_overflow() is being called: what it sends is taken */
    short events;          /* what ev is added for, 0 for not at all */
    struct out_piece *out; /* NULL while empty */
    uint16_t out_first, out_n, out_cap;
    size_t out_bytes;
    struct conn_input *in;  /* what on_bytes() left, NULL while empty */
    struct out_piece one;   /* what out points to while one piece is enough */
    struct tls_stream *tls; /* NULL: not encrypted */
    struct peer *peer;      /* whom it counts for; NULL if addresses are not counted */
    struct list in_fe;      /* all connections: fe->conns, or fe->closing_conns */
    struct list in_turn;    /* dirty, to be written at the turn's end; or closed, to be freed */
    const char *reason;
};

/* Takes the descriptor (non-blocking), also on failure. */
int conn_open_take(struct conn *c, struct frontend *fe, int fd, const struct conn_ops *ops);

/* Queues bytes of a block (a reference is taken); they are written at the turn's end. */
void conn_send(struct conn *c, struct block *block, uint32_t at, uint32_t n);
/* Queues a copy: for answers, whose bytes are nobody else's. */
void conn_send_copy(struct conn *c, struct slice bytes);
/* Calls fn for each delivery in the queue that was not begun to be written, in order. */
typedef void (*conn_mark_fn)(const struct block *block, const struct block_mark *mark, void *arg);
void conn_each_mark(const struct conn *c, conn_mark_fn fn, void *arg);
/* Leaves out those for which keep() says false. 0, or -ENOMEM: the queue is as it was. */
typedef bool (*conn_keep_fn)(const struct block *block, const struct block_mark *mark, void *arg);
int conn_filter_queue(struct conn *c, conn_keep_fn keep, void *arg);
/* Writes now what can be written. */
void conn_flush(struct conn *c);

void conn_pause(
    struct conn *c); /* read no more until conn_resume(); EOF is still seen where the kernel tells it */
void conn_resume(struct conn *c);

/* What on_bytes() left. */
struct slice conn_kept(const struct conn *c);

/* At once; on_closed() follows from the loop. reason must live long: a literal. */
void conn_close(struct conn *c, const char *reason);
/* When everything queued has been written, or after a few seconds. */
void conn_close_soon(struct conn *c, const char *reason);

#endif
