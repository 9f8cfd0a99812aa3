/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to one client socket: a queue of pieces of blocks. Pieces that follow one another in one block are
 * one piece. What is queued in a turn is written at its end by one call; the rest waits for EV_WRITE.
 */
#include "config.h"

#include "frontends/sdk/conn.h"

#include "base/log.h"
#include "base/memguard.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/connpriv.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/frontendpriv.h"
#include "frontends/sdk/multisend.h"
#include "frontends/sdk/session.h"
#include "frontends/sdk/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define PIECES_PER_WRITE 64
#define PIECES_MAX UINT16_MAX
#define FIRST_CAP 8
/* A block of small answers is not grown past this: one slow client with one answer keeps it all. */
#define ANSWERS_MAX (32u * 1024)

void
conn_mark_dirty(struct conn *c)
{
    if (c->is_dirty)
        return;
    c->is_dirty = true;
    list_push_back(&c->fe->dirty_conns, &c->in_turn);
    frontend_defer_turn(c->fe);
}

/* ---- The queue. ---- */

static void
conn_free_array(struct conn *c)
{
    if (c->out != &c->one)
        free(c->out);
    c->out = NULL;
    c->out_first = 0;
    c->out_n = 0;
    c->out_cap = 0;
}

void
conn_drop_queue(struct conn *c)
{
    for (unsigned i = 0; i < c->out_n; i++)
        block_unref(c->out[c->out_first + i].block);
    conn_free_array(c);
    c->out_bytes = 0;
}

/* Before the piece is appended. What is of another epoch than the first, or finds no memory, is never left
 * out of the queue any more. */
static void
conn_copy_marks(struct block *to, const struct out_piece *piece)
{
    const struct block *from = piece->block;

    if (to->n_marks == 0)
        to->epoch = from->epoch;
    for (uint32_t i = block_find_mark(from, piece->at); i < from->n_marks; i++) {
        struct block_mark mark = from->marks[i];

        if (mark.at >= piece->at + piece->n)
            break;
        if (mark.at < piece->at || from->epoch != to->epoch)
            continue;
        mark.at = (uint32_t)to->buf.n + (mark.at - piece->at);
        (void)block_add_mark(to, &mark);
    }
}

/* The whole queue as one piece of its own, because it has more pieces than can be counted. */
static int
conn_merge_queue(struct conn *c)
{
    struct block *block = block_new();

    if (block == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < c->out_n; i++) {
        const struct out_piece *piece = &c->out[c->out_first + i];

        conn_copy_marks(block, piece);
        buf_put(&block->buf, piece->block->buf.p + piece->at, piece->n);
    }
    if (buf_failed(&block->buf)) {
        block_unref(block);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < c->out_n; i++)
        block_unref(c->out[c->out_first + i].block);
    c->out_first = 0;
    c->out_n = 1;
    c->out[0] = (struct out_piece){.block = block, .at = 0, .n = (uint32_t)block->buf.n};
    return 0;
}

/* Room for one more piece behind the last. */
static int
conn_grow_queue(struct conn *c)
{
    struct out_piece *out;
    unsigned cap;

    if (c->out == NULL) {
        c->out = &c->one;
        c->out_cap = 1;
        return 0;
    }
    if (c->out_first + c->out_n < c->out_cap)
        return 0;
    if (c->out_first > 0) {
        memmove(c->out, c->out + c->out_first, c->out_n * sizeof *c->out);
        c->out_first = 0;
        return 0;
    }
    if (c->out_cap == PIECES_MAX)
        return conn_merge_queue(c);
    cap = c->out == &c->one ? FIRST_CAP : c->out_cap * 2u;
    if (cap > PIECES_MAX)
        cap = PIECES_MAX;
    out = realloc(c->out == &c->one ? NULL : c->out, cap * sizeof *out);
    if (out == NULL)
        return -ENOMEM;
    if (c->out == &c->one)
        out[0] = c->one;
    c->out = out;
    c->out_cap = (uint16_t)cap;
    return 0;
}

static void
conn_push(struct conn *c, struct block *block, uint32_t at, uint32_t n)
{
    struct out_piece *last = c->out_n > 0 ? &c->out[c->out_first + c->out_n - 1] : NULL;

    if (last != NULL && last->block == block && last->at + last->n == at) {
        last->n += n;
        c->out_bytes += n;
        return;
    }
    if (conn_grow_queue(c) < 0) {
        conn_close(c, "no memory for its queue");
        return;
    }
    c->out[c->out_first + c->out_n++] = (struct out_piece){.block = block_ref(block), .at = at, .n = n};
    c->out_bytes += n;
}

/* ---- Writing. ---- */

/* n bytes of the queue have gone. */
static inline void
conn_advance(struct conn *c, size_t n)
{
    c->out_bytes -= n;
    while (n > 0) {
        struct out_piece *piece = &c->out[c->out_first];

        if (n < piece->n) {
            piece->at += (uint32_t)n;
            piece->n -= (uint32_t)n;
            return;
        }
        n -= piece->n;
        block_unref(piece->block);
        c->out_first++;
        c->out_n--;
    }
}

/* What one record of TLS holds of the queue; or, of nothing queued, what waits encrypted already. */
static ssize_t
conn_write_record(struct conn *c, size_t *ret_tried)
{
    const struct out_piece *piece;
    const uint8_t *p;
    size_t n = 0;

    *ret_tried = 0;
    if (c->out_n == 0)
        return tls_stream_send(c->tls, NULL, 0);
    piece = &c->out[c->out_first];
    p = piece->block->buf.p + piece->at;
    if (c->out_n == 1 || piece->n >= TLS_RECORD_MAX) {
        n = piece->n < TLS_RECORD_MAX ? piece->n : TLS_RECORD_MAX;
    } else {
        uint8_t *scratch = tls_scratch(tls_stream_tls(c->tls));

        for (unsigned i = 0; i < c->out_n && n < TLS_RECORD_MAX; i++, piece++) {
            size_t part = piece->n < TLS_RECORD_MAX - n ? piece->n : TLS_RECORD_MAX - n;

            memcpy(scratch + n, piece->block->buf.p + piece->at, part);
            n += part;
        }
        p = scratch;
    }
    *ret_tried = n;
    return tls_stream_send(c->tls, p, n);
}

static ssize_t
conn_write_pieces(struct conn *c, size_t *ret_tried)
{
    struct iovec iov[PIECES_PER_WRITE];
    struct msghdr msg = {.msg_iov = iov};
    size_t total = 0;

    for (; msg.msg_iovlen < c->out_n && msg.msg_iovlen < PIECES_PER_WRITE; msg.msg_iovlen++) {
        const struct out_piece *piece = &c->out[c->out_first + msg.msg_iovlen];

        iov[msg.msg_iovlen].iov_base = piece->block->buf.p + piece->at;
        iov[msg.msg_iovlen].iov_len = piece->n;
        total += piece->n;
    }
    *ret_tried = total;
    return sendmsg(c->fd, &msg, MSG_NOSIGNAL);
}

static ssize_t
conn_write_some(struct conn *c, size_t *ret_tried)
{
    const struct out_piece *piece;

    c->fe->counters.writes++;
    if (c->tls != NULL)
        return conn_write_record(c, ret_tried);
    if (c->out_n > 1)
        return conn_write_pieces(c, ret_tried);
    piece = &c->out[c->out_first];
    *ret_tried = piece->n;
    return send(c->fd, piece->block->buf.p + piece->at, piece->n, MSG_NOSIGNAL);
}

void
conn_set_blocked(struct conn *c, bool is_blocked)
{
    if (c->is_blocked == is_blocked)
        return;
    c->is_blocked = is_blocked;
    if (!is_blocked && c->out_n > 0)
        conn_mark_dirty(c);
    conn_update_event(c);
}

static bool
conn_has_unsent(const struct conn *c)
{
    return c->tls != NULL && tls_stream_has_unsent(c->tls);
}

/* n of `tried` bytes have gone, or n is negative errno. False: no more can be written now.
 * inline: once for each delivery where one message is in flight. */
static inline bool
conn_wrote(struct conn *c, ssize_t n, size_t tried)
{
    if (n == -EINTR)
        return true;
    if (n < 0 && n != -EAGAIN) {
        conn_close(c, NULL); /* EPIPE, ECONNRESET: it went away */
        return false;
    }
    if (n > 0) {
        c->fe->counters.bytes_out += (uint64_t)n;
        conn_advance(c, (size_t)n);
    }
    if (n < (ssize_t)tried)
        conn_set_blocked(c, true);
    return n >= (ssize_t)tried;
}

/* Everything was written. */
static inline void
conn_be_empty(struct conn *c)
{
    conn_free_array(c);
    conn_set_blocked(c, false);
}

/* Writes until the queue is empty or the socket is full. May close. */
static void
conn_write(struct conn *c)
{
    while (c->out_n > 0 || conn_has_unsent(c)) {
        size_t tried;
        ssize_t n = conn_write_some(c, &tried);

        if (!conn_wrote(c, n < 0 ? -errno : n, tried))
            return;
    }
    conn_be_empty(c);
}

/* After a write from the loop: the queue may have become empty. */
static void
conn_after_write(struct conn *c)
{
    if (c->is_closed || c->is_blocked)
        return;
    if (!c->is_closing) {
        if (c->ops->on_drained != NULL)
            c->ops->on_drained(c);
        return;
    }
    if (c->is_shut)
        return;
    if (c->tls != NULL && !tls_stream_say_bye(c->tls)) {
        conn_set_blocked(c, true);
        return;
    }
    c->is_shut = true;
    if (c->has_eof || shutdown(c->fd, SHUT_WR) < 0)
        conn_close(c, c->reason);
}

void
conn_on_writable(struct conn *c)
{
    conn_write(c);
    conn_after_write(c);
}

/* ---- Writing to many by one call. ---- */

/* In the midst of others' results: what may call a transport waits until all of them are known. */
static void
conn_on_sent(void *arg, ssize_t r)
{
    struct conn *c = arg;

    if (conn_wrote(c, r, c->out[c->out_first].n) && r >= 0)
        conn_be_empty(c);
}

static void
conn_flush_many(struct frontend *fe)
{
    unsigned n = multisend_flush(fe->multisend, conn_on_sent);

    fe->counters.writes += n;
    fe->counters.write_batches += multisend_was_one_call(fe->multisend);
    /* One of these calls may close another of them: it stays what it is until the turn's end. */
    for (unsigned i = 0; i < n; i++) {
        struct conn *c = multisend_arg(fe->multisend, i);

        if (c->out_n > 0 && !c->is_blocked && !c->is_closed)
            conn_mark_dirty(c); /* interrupted, or there is more by now */
        else
            conn_after_write(c);
    }
}

/* Those that have one piece to write, and nothing else to do, leave the list when it is written. No transport
 * is called between a push and the flush, so a piece stays what it is. */
static void
conn_write_many(struct frontend *fe, struct list *todo)
{
    struct list others;

    list_init(&others);
    while (!list_empty(todo)) {
        struct conn *c = list_entry(todo->next, struct conn, in_turn);
        const struct out_piece *piece;

        list_remove(&c->in_turn);
        if (c->out_n != 1 || c->is_blocked || c->is_closing || c->tls != NULL) {
            list_push_back(&others, &c->in_turn);
            continue;
        }
        c->is_dirty = false;
        piece = &c->out[c->out_first];
        multisend_push(fe->multisend, c->fd, piece->block->buf.p + piece->at, piece->n, c);
        if (multisend_is_full(fe->multisend))
            conn_flush_many(fe);
    }
    conn_flush_many(fe);
    list_take_all(todo, &others);
    if (multisend_has_failed(fe->multisend)) {
        log_warn("io_uring failed; clients are written to by send from now on");
        fe->multisend = multisend_free(fe->multisend);
    }
}

void
conn_write_dirty(struct frontend *fe)
{
    struct list todo;

    /* Who has something new to say in on_drained() says it in the next turn: others are waiting. */
    list_init(&todo);
    list_take_all(&todo, &fe->dirty_conns);
    if (fe->multisend != NULL)
        conn_write_many(fe, &todo);
    while (!list_empty(&todo)) {
        struct conn *c = list_entry(todo.next, struct conn, in_turn);

        list_remove(&c->in_turn);
        c->is_dirty = false;
        if (!c->is_blocked) {
            conn_write(c);
            conn_after_write(c);
        }
    }
    block_unref(fe->answers);
    fe->answers = NULL;
}

void
conn_flush(struct conn *c)
{
    if (!c->is_closed && !c->is_blocked && c->out_n > 0)
        conn_write(c);
}

/* ---- Queueing. ---- */

/* A queue that is being built. */
struct conn_pieces {
    struct out_piece *p;
    size_t n, cap;
    bool is_failed;
};

static void
pieces_push(struct conn_pieces *to, struct block *block, uint32_t at, uint32_t n)
{
    struct out_piece *last = to->n > 0 ? &to->p[to->n - 1] : NULL;

    if (n == 0)
        return;
    if (last != NULL && last->block == block && last->at + last->n == at) {
        last->n += n;
        return;
    }
    if (to->n == to->cap) {
        size_t cap = to->cap == 0 ? FIRST_CAP : to->cap * 2;
        struct out_piece *p = realloc(to->p, cap * sizeof *p);

        if (p == NULL) {
            to->is_failed = true;
            return;
        }
        to->p = p;
        to->cap = cap;
    }
    to->p[to->n++] = (struct out_piece){.block = block, .at = at, .n = n};
}

static void
pieces_take(struct conn_pieces *to, const struct out_piece *piece, conn_keep_fn keep, void *arg)
{
    struct block *block = piece->block;
    uint32_t at = piece->at, end = piece->at + piece->n;

    for (uint32_t i = block_find_mark(block, at); i < block->n_marks; i++) {
        const struct block_mark *mark = &block->marks[i];

        if (mark->at >= end)
            break;
        if (mark->at < piece->at || keep(block, mark, arg)) /* the client has some of it already */
            continue;
        pieces_push(to, block, at, mark->at - at);
        at = mark->at + mark->n;
    }
    pieces_push(to, block, at, end - at);
}

int
conn_filter_queue(struct conn *c, conn_keep_fn keep, void *arg)
{
    struct conn_pieces pieces = {0};
    size_t n_bytes = 0;

    for (unsigned i = 0; i < c->out_n; i++)
        pieces_take(&pieces, &c->out[c->out_first + i], keep, arg);
    if (pieces.is_failed || pieces.n > PIECES_MAX) {
        free(pieces.p);
        return -ENOMEM;
    }
    for (size_t i = 0; i < pieces.n; i++) {
        (void)block_ref(pieces.p[i].block);
        n_bytes += pieces.p[i].n;
    }
    conn_drop_queue(c);
    if (pieces.n == 0) {
        free(pieces.p);
        return 0;
    }
    c->out = pieces.p;
    c->out_n = (uint16_t)pieces.n;
    c->out_cap = (uint16_t)(pieces.cap < PIECES_MAX ? pieces.cap : PIECES_MAX);
    c->out_bytes = n_bytes;
    return 0;
}

void
conn_each_mark(const struct conn *c, conn_mark_fn fn, void *arg)
{
    for (unsigned i = 0; i < c->out_n; i++) {
        const struct out_piece *piece = &c->out[c->out_first + i];
        const struct block *block = piece->block;

        for (uint32_t k = block_find_mark(block, piece->at); k < block->n_marks; k++) {
            if (block->marks[k].at >= piece->at + piece->n)
                break;
            if (block->marks[k].at >= piece->at)
                fn(block, &block->marks[k], arg);
        }
    }
}

static enum conn_room
conn_ask_for_room(struct conn *c, const struct out_piece *incoming)
{
    enum conn_room room = CONN_ROOM_NONE;

    c->is_over = true;
    c->fe->incoming = *incoming;
    if (c->ops->on_overflow != NULL)
        room = c->ops->on_overflow(c);
    if (room != CONN_ROOM_NONE && c->ops->on_dropped != NULL && !c->is_closed && !c->is_closing)
        c->ops->on_dropped(c);
    c->fe->incoming = (struct out_piece){0};
    c->is_over = false;
    return room;
}

/* Makes room for a piece, or ends the connection. False: it is not to be queued. */
static bool
conn_make_room(struct conn *c, struct block *block, uint32_t at, uint32_t n)
{
    enum conn_room room;

    conn_flush(c);
    if (c->is_closed)
        return false;
    if (c->out_n == 0 || c->out_bytes + n <= c->fe->limits->queue_bytes)
        return true;
    room = conn_ask_for_room(c, &(struct out_piece){.block = block, .at = at, .n = n});
    if (c->is_closed || c->is_closing)
        return false;
    if (room == CONN_ROOM_NONE) {
        c->fe->counters.closed_too_slow++;
        conn_close(c, "it reads too slowly");
    }
    return room == CONN_ROOM_MADE;
}

void
conn_send(struct conn *c, struct block *block, uint32_t at, uint32_t n)
{
    if (c->is_closed || c->is_closing || n == 0)
        return;
    if (c->is_blocked && c->out_bytes + n > c->fe->limits->queue_bytes / 4 &&
        memguard_is_tight(c->fe->memory)) {
        c->fe->counters.closed_memory++;
        conn_close(c, "memory is nearly used up, and it reads too slowly");
        return;
    }
    if (c->out_n > 0 && c->out_bytes + n > c->fe->limits->queue_bytes && !c->is_over &&
        !conn_make_room(c, block, at, n))
        return;
    conn_push(c, block, at, n);
    if (!c->is_blocked && !c->is_closed)
        conn_mark_dirty(c);
}

/* A block to append a small answer to: for a blocked client one of its own, so that it keeps nothing of
 * others; else the turn's shared one. NULL if memory ran out. */
static struct block *
conn_answer_block(struct conn *c)
{
    struct frontend *fe = c->fe;

    if (c->is_blocked && c->out_n > 0) {
        struct out_piece *last = &c->out[c->out_first + c->out_n - 1];

        if (last->block->n_refs == 1 && last->at + last->n == last->block->buf.n &&
            last->block->buf.n < ANSWERS_MAX)
            return block_ref(last->block);
        return block_new();
    }
    if (fe->answers != NULL && fe->answers->buf.n >= ANSWERS_MAX) {
        block_unref(fe->answers);
        fe->answers = NULL;
    }
    if (fe->answers == NULL)
        fe->answers = block_new();
    return fe->answers == NULL ? NULL : block_ref(fe->answers);
}

static void
conn_send_answer_block(struct conn *c, struct block *block, size_t at)
{
    if (buf_failed(&block->buf)) {
        /* The block's earlier bytes are still good for those who have them queued. */
        block->buf.n = at;
        block->buf.is_failed = false;
        conn_close(c, "no memory for an answer");
    } else {
        conn_send(c, block, (uint32_t)at, (uint32_t)(block->buf.n - at));
    }
    block_unref(block);
}

void
conn_send_copy(struct conn *c, struct slice bytes)
{
    struct block *block;
    size_t at;

    if (c->is_closed || c->is_closing || bytes.n == 0)
        return;
    block = conn_answer_block(c);
    if (block == NULL) {
        conn_close(c, "no memory for an answer");
        return;
    }
    at = block->buf.n;
    buf_put_slice(&block->buf, bytes);
    conn_send_answer_block(c, block, at);
}

void
frontend_send_answer(
    struct frontend *fe, struct conn *c, const struct session *s, const struct answer *answer)
{
    struct block *block;
    size_t at;

    if (c->is_closed || c->is_closing)
        return;
    block = conn_answer_block(c);
    if (block == NULL) {
        conn_close(c, "no memory for an answer");
        return;
    }
    at = block->buf.n;
    s->encoder->put_answer(s->encoder, &block->buf, answer);
    if (answer->type == ANSWER_DROPPED && !buf_failed(&block->buf)) {
        const struct block_mark mark = {.at = (uint32_t)at,
            .n = (uint32_t)(block->buf.n - at),
            .policy = BLOCK_NOTICE,
            .seq = answer->count};

        if (mark.n > 0)
            (void)block_add_mark(block, &mark); /* without it there may be two, which is no harm */
    }
    conn_send_answer_block(c, block, at);
}
