/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/conn.h"

#include "tests/unit/sdk/refuse.h"
#include "tests/unit/sdk/suite.h"

#include "base/loop.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/multisend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* One connection on one end of a socket pair; the test is the peer. */
struct client {
    struct conn conn; /* first */
    struct buf seen;  /* what on_bytes() was given and used */
    size_t take_max;  /* how much it uses at once */
    size_t pause_at;  /* pauses when it has used so much; 0: never */
    unsigned n_eof, n_drained, n_overflow, n_closed;
    bool may_drop, is_bad, closes_in_bytes, stops_loop;
    const char *reason;
    struct conn *closes; /* in on_drained() */
};

static struct loop *loop;
static struct frontend fe;
static struct limits_options limits;
static struct loop_timer deadline;

static ssize_t
on_bytes(struct conn *c, uint8_t *data, size_t n)
{
    struct client *x = (struct client *)c;

    if (x->is_bad)
        return -EINVAL;
    if (x->closes_in_bytes) {
        conn_close(c, "by the test");
        buf_put(&x->seen, data, n); /* still readable */
        return (ssize_t)n;
    }
    if (n > x->take_max)
        n = x->take_max;
    buf_put(&x->seen, data, n);
    if (x->pause_at > 0 && x->seen.n >= x->pause_at) {
        x->pause_at = 0;
        conn_pause(c);
    }
    return (ssize_t)n;
}

static void
on_eof(struct conn *c)
{
    ((struct client *)c)->n_eof++;
}

static bool
keeps_third(const struct block *block, const struct block_mark *mark, void *arg)
{
    (void)block;
    (void)arg;
    return mark->tag == 2;
}

static void
count_mark(const struct block *block, const struct block_mark *mark, void *arg)
{
    (void)block;
    (void)mark;
    ++*(unsigned *)arg;
}

static enum conn_room
on_overflow(struct conn *c)
{
    struct client *x = (struct client *)c;
    unsigned before = 0, after = 0;

    x->n_overflow++;
    if (!x->may_drop)
        return CONN_ROOM_NONE;
    conn_each_mark(c, count_mark, &before);
    ck_assert_int_eq(conn_filter_queue(c, keeps_third, NULL), 0);
    conn_each_mark(c, count_mark, &after);
    ck_assert_uint_lt(after, before);
    ck_assert_ptr_ne(fe.incoming.block, NULL);
    return CONN_ROOM_MADE;
}

static void
on_drained(struct conn *c)
{
    struct client *x = (struct client *)c;

    x->n_drained++;
    if (x->closes != NULL)
        conn_close(x->closes, "by another");
}

static void
on_closed(struct conn *c, const char *reason)
{
    struct client *x = (struct client *)c;

    x->n_closed++;
    x->reason = reason;
    if (x->stops_loop)
        loop_stop(loop);
}

static const struct conn_ops ops = {.on_bytes = on_bytes,
    .on_eof = on_eof,
    .on_overflow = on_overflow,
    .on_drained = on_drained,
    .on_closed = on_closed};

static void
on_deadline(void *arg)
{
    ck_abort_msg("the test took too long");
}

static void
settle(void)
{
    loop_settle(loop);
}

static void
setup(void)
{
    ck_assert_int_eq(loop_new(&loop), 0);
    limits = (struct limits_options){.queue_bytes = 64 * 1024, .message_bytes = 1 << 20, .connections = 100};
    ck_assert_int_eq(frontend_init(&fe, loop, &limits), 0);
    deadline = (struct loop_timer){.fn = on_deadline};
    loop_timer_start(loop, &deadline, 20000);
}

static void
teardown(void)
{
    loop_timer_stop(loop, &deadline);
    frontend_fini(&fe);
    loop = loop_free(loop);
}

static int
client_open(struct client *x)
{
    int fds[2], size = 8192;

    *x = (struct client){.take_max = SIZE_MAX};
    buf_init(&x->seen, 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    ck_assert_int_eq(conn_open_take(&x->conn, &fe, fds[0], &ops), 0);
    return fds[1];
}

static void
client_end(struct client *x, int peer)
{
    conn_close(&x->conn, NULL);
    settle();
    ck_assert_uint_eq(x->n_closed, 1);
    ck_assert_uint_eq(fe.n_conns, 0);
    buf_fini(&x->seen);
    close(peer);
}

static void
say(int peer, const char *text)
{
    ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

/* Reads all there is, letting the loop run, until nothing comes. */
static size_t
hear_all(int peer, struct buf *ret)
{
    char chunk[4096];
    ssize_t n;
    size_t before;

    settle();
    do {
        before = ret->n;
        while ((n = read(peer, chunk, sizeof chunk)) > 0)
            buf_put(ret, chunk, (size_t)n);
        settle();
    } while (ret->n > before);
    return ret->n;
}

START_TEST(test_keeps_what_is_left)
{
    struct client x;
    int peer = client_open(&x);

    x.take_max = 3;
    say(peer, "abcdefgh");
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "abc"));
    say(peer, "i");
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "abcdef"));
    x.take_max = SIZE_MAX;
    say(peer, "j");
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "abcdefghij"));
    ck_assert_ptr_null(x.conn.in); /* an idle one keeps nothing */
    ck_assert_uint_eq(fe.counters.bytes_in, 10);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_keeps_much)
{
    struct client x;
    int peer = client_open(&x), sent = 0;
    char *large = malloc(300000);

    for (int i = 0; i < 300000; i++)
        large[i] = (char)('a' + i % 26);
    x.take_max = 0;
    while (sent < 300000) {
        ssize_t n = write(peer, large + sent, (size_t)(300000 - sent));

        if (n > 0)
            sent += (int)n;
        else
            settle();
    }
    settle();
    x.take_max = SIZE_MAX;
    say(peer, "!");
    settle();
    ck_assert_uint_eq(x.seen.n, 300001);
    ck_assert_mem_eq(x.seen.p, large, 300000);
    free(large);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_pause_and_resume)
{
    struct client x;
    int peer = client_open(&x);

    x.take_max = 2;
    x.pause_at = 2;
    say(peer, "abcd");
    settle();
    say(peer, "ef");
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "ab"));
    x.take_max = SIZE_MAX;
    conn_resume(&x.conn);
    ck_assert(slice_is(buf_slice(&x.seen), "ab")); /* never from inside a call */
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "abcdef"));
    client_end(&x, peer);
}
END_TEST

START_TEST(test_resume_gives_what_was_kept)
{
    struct client x;
    int peer = client_open(&x);

    x.take_max = 2;
    x.pause_at = 2;
    say(peer, "abcd");
    settle();
    conn_resume(&x.conn); /* nothing more comes from the peer */
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "abcd"));
    client_end(&x, peer);
}
END_TEST

/* As of a pipeline: one by one, with pauses, while more comes. */
START_TEST(test_keeps_a_pipeline)
{
    struct client x;
    int peer = client_open(&x);
    struct buf said;

    buf_init(&said, 0);
    for (unsigned i = 0; i < 400; i++) {
        char text[16];

        (void)snprintf(text, sizeof text, "<%06u>", i);
        buf_put(&said, text, 8);
        say(peer, text);
        if (i % 100 == 0)
            settle();
        x.take_max = 8;
        x.pause_at = x.seen.n + 8;
        if (i % 3 == 0)
            settle();
        conn_resume(&x.conn);
        settle();
    }
    while (x.seen.n < said.n) {
        size_t before = x.seen.n;

        x.pause_at = before + 8;
        conn_resume(&x.conn);
        settle();
        ck_assert_uint_gt(x.seen.n, before);
    }
    ck_assert_mem_eq(x.seen.p, said.p, said.n);
    conn_resume(&x.conn);
    settle();
    ck_assert_ptr_null(x.conn.in);
    buf_fini(&said);
    client_end(&x, peer);
}
END_TEST

/* Most pauses are over before the peer says anything: they cost no system call. */
START_TEST(test_pause_leaves_the_event)
{
    struct client x;
    int peer = client_open(&x);
    short events = x.conn.events;

    conn_pause(&x.conn);
    settle();
    ck_assert_int_eq(x.conn.events, events);
    conn_resume(&x.conn);
    ck_assert_int_eq(x.conn.events, events);
    conn_pause(&x.conn);
    say(peer, "a"); /* nobody wants it yet: it must not be told of over and over */
    settle();
    ck_assert_int_ne(x.conn.events, events);
    conn_resume(&x.conn);
    settle();
    ck_assert_int_eq(x.conn.events, events);
    ck_assert(slice_is(buf_slice(&x.seen), "a"));
    client_end(&x, peer);
}
END_TEST

START_TEST(test_eof_while_paused)
{
    struct client x;
    int peer = client_open(&x);

    conn_pause(&x.conn);
    shutdown(peer, SHUT_WR);
    settle();
    ck_assert_uint_eq(x.n_eof, 1);
    client_end(&x, peer);

    /* What came before the end is given first. */
    peer = client_open(&x);
    conn_pause(&x.conn);
    say(peer, "last words");
    settle();
    shutdown(peer, SHUT_WR);
    settle();
    ck_assert_uint_eq(x.n_eof, 0);
    conn_resume(&x.conn);
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "last words"));
    ck_assert_uint_eq(x.n_eof, 1);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_bad_input_closes)
{
    struct client x;
    int peer = client_open(&x);

    x.is_bad = true;
    say(peer, "?");
    settle();
    ck_assert_uint_eq(x.n_closed, 1);
    ck_assert_uint_eq(fe.counters.closed_bad_input, 1);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_close_in_on_bytes)
{
    struct client x;
    int peer = client_open(&x);

    x.take_max = 1;
    say(peer, "ab");
    settle();
    x.closes_in_bytes = true;
    say(peer, "cd");
    settle();
    ck_assert(slice_is(buf_slice(&x.seen), "abcd"));
    ck_assert_str_eq(x.reason, "by the test");
    client_end(&x, peer);
}
END_TEST

START_TEST(test_one_write_for_a_turn)
{
    struct client x;
    struct buf heard;
    struct block *block = block_new();
    int peer = client_open(&x);

    buf_init(&heard, 0);
    for (int i = 0; i < 10; i++) {
        uint32_t at = (uint32_t)block->buf.n;

        buf_put_str(&block->buf, "frame;");
        conn_send(&x.conn, block, at, 6);
    }
    ck_assert_uint_eq(x.conn.out_n, 1); /* merged */
    conn_send_copy(&x.conn, slice_str("answer;"));
    conn_send(&x.conn, block, 0, 6);
    block_unref(block);
    hear_all(peer, &heard);
    ck_assert_uint_eq(heard.n, 60 + 7 + 6);
    ck_assert_uint_eq(fe.counters.writes, 1);
    ck_assert_uint_eq(x.n_drained, 1);
    ck_assert_ptr_null(x.conn.out);
    buf_fini(&heard);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_slow_client_gets_all_in_order)
{
    struct client x;
    struct buf heard, expected;
    int peer = client_open(&x);

    buf_init(&heard, 0);
    buf_init(&expected, 0);
    for (int i = 0; i < 500; i++) { /* less than the queue, more than the socket takes */
        struct block *block = block_new();

        buf_printf(&block->buf, "%0100d;", i);
        buf_printf(&expected, "%0100d;", i);
        conn_send(&x.conn, block, 0, 101);
        block_unref(block);
        if (i % 50 == 0)
            settle();
    }
    settle();
    ck_assert(x.conn.is_blocked);
    hear_all(peer, &heard);
    ck_assert(slice_equal(buf_slice(&heard), buf_slice(&expected)));
    ck_assert(!x.conn.is_blocked);
    ck_assert_uint_eq(x.n_overflow, 0);
    buf_fini(&heard);
    buf_fini(&expected);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_overflow_closes)
{
    struct client x;
    struct block *block = block_new();
    int peer = client_open(&x);

    buf_reserve(&block->buf, 1000);
    buf_commit(&block->buf, 1000);
    memset(block->buf.p, 'x', 1000);
    for (int i = 0; i < 200; i++) /* pieces that are not contiguous */
        conn_send(&x.conn, block, 0, 1000);
    settle();
    ck_assert_uint_eq(x.n_overflow, 1);
    ck_assert_uint_eq(x.n_closed, 1);
    ck_assert_uint_eq(fe.counters.closed_too_slow, 1);
    ck_assert_uint_eq(block->n_refs, 1); /* nothing holds it any more */
    block_unref(block);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_overflow_drops_whole_frames)
{
    struct client x;
    struct buf heard;
    int peer = client_open(&x);
    int last = -1, n_frames = 0;

    buf_init(&heard, 0);
    x.may_drop = true;
    for (int i = 0; i < 300; i++) {
        struct block *block = block_new();

        /* Three deliveries in a row, one piece; of each third the last is kept, and what has no mark. */
        for (unsigned k = 0; k < 3; k++) {
            struct block_mark mark = {.at = (uint32_t)block->buf.n, .n = 100, .tag = k};

            buf_printf(&block->buf, "%099d;", i * 3 + (int)k);
            if (i % 500 != 7 || k != 0)
                ck_assert_int_eq(block_add_mark(block, &mark), 0);
        }
        conn_send(&x.conn, block, 0, 300);
        block_unref(block);
        if (i % 100 == 0)
            settle();
    }
    ck_assert_uint_gt(x.n_overflow, 0);
    hear_all(peer, &heard);
    ck_assert_uint_eq(heard.n % 100, 0);
    for (size_t at = 0; at < heard.n; at += 100, n_frames++) {
        ck_assert_int_eq(heard.p[at + 99], ';');
        ck_assert_int_gt(atoi((const char *)heard.p + at), last);
        for (int lost = last + 1; lost < atoi((const char *)heard.p + at); lost++)
            ck_assert(lost % 3 != 2 && lost % 1500 != 21);
        last = atoi((const char *)heard.p + at);
    }
    ck_assert_int_eq(last, 899); /* the newest stay */
    ck_assert_int_lt(n_frames, 900);
    buf_fini(&heard);
    client_end(&x, peer);
}
END_TEST

/* A burst larger than the queue is no overflow while the client reads as fast as it comes. */
START_TEST(test_large_piece_passes_an_empty_queue)
{
    struct client x;
    struct buf heard;
    struct block *block = block_new();
    int peer = client_open(&x);

    buf_init(&heard, 0);
    buf_reserve(&block->buf, 200000);
    buf_commit(&block->buf, 200000);
    memset(block->buf.p, 'y', 200000);
    conn_send(&x.conn, block, 0, 200000);
    block_unref(block);
    ck_assert_uint_eq(hear_all(peer, &heard), 200000);
    ck_assert_uint_eq(x.n_overflow, 0);
    buf_fini(&heard);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_close_soon_writes_all)
{
    struct client x;
    struct buf heard;
    struct block *block = block_new();
    int peer = client_open(&x);
    char byte;

    buf_init(&heard, 0);
    buf_reserve(&block->buf, 60000);
    buf_commit(&block->buf, 60000);
    memset(block->buf.p, 'z', 60000);
    conn_send(&x.conn, block, 0, 60000);
    block_unref(block);
    conn_close_soon(&x.conn, "done");
    conn_send_copy(&x.conn, slice_str("too late"));
    ck_assert_uint_eq(hear_all(peer, &heard), 60000);
    ck_assert_int_eq(read(peer, &byte, 1), 0); /* its side is ended, and ours not yet */
    ck_assert_uint_eq(x.n_closed, 0);
    say(peer, "what nobody reads");
    shutdown(peer, SHUT_WR);
    settle();
    ck_assert_uint_eq(x.n_closed, 1);
    ck_assert_str_eq(x.reason, "done");
    ck_assert_uint_eq(x.seen.n, 0);
    buf_fini(&heard);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_close_soon_does_not_wait_for_ever)
{
    struct client x;
    int peer = client_open(&x);

    x.stops_loop = true;
    conn_close_soon(&x.conn, "done"); /* the peer does not close */
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(x.n_closed, 1);
    client_end(&x, peer);
}
END_TEST

START_TEST(test_peer_gone)
{
    struct client x;
    int peer = client_open(&x);

    close(peer);
    conn_send_copy(&x.conn, slice_str("hello?"));
    settle();
    ck_assert_uint_eq(x.n_closed, 1);
    ck_assert_ptr_null(x.reason);
    client_end(&x, dup(0));
}
END_TEST

#define N_MANY 300

/* By one call: those with room, one that is full, one whose peer has gone; what does not fit follows. */
START_TEST(test_many_by_one_call)
{
    static struct client x[N_MANY];
    static int peers[N_MANY];
    struct block *block = block_new();
    struct buf seen;
    uint64_t n_batches;

    if (multisend_new(&fe.multisend) < 0) {
        block_unref(block);
        return; /* not in this build, or not allowed here */
    }
    for (unsigned i = 0; i < N_MANY; i++)
        peers[i] = client_open(&x[i]);
    for (unsigned i = 0; i < 40000; i++)
        buf_put_byte(&block->buf, (uint8_t)('a' + i % 26));
    conn_send(&x[1].conn, block, 0, 40000);
    settle();
    ck_assert(x[1].conn.is_blocked);
    close(peers[2]);
    for (unsigned i = 0; i < N_MANY; i++)
        conn_send(&x[i].conn, block, 0, i == 3 ? 30000 : 26);
    n_batches = fe.counters.write_batches;
    settle();
    ck_assert_uint_eq(fe.counters.write_batches - n_batches, 2);
    ck_assert_uint_eq(x[2].n_closed, 1);
    ck_assert(x[3].conn.is_blocked);
    for (unsigned i = 0; i < N_MANY; i++) {
        size_t n = i == 1 ? 40026 : i == 3 ? 30000 : 26;

        if (i != 2) {
            buf_init(&seen, 0);
            ck_assert_uint_eq(hear_all(peers[i], &seen), n);
            ck_assert_mem_eq(seen.p, block->buf.p, i == 1 ? 40000 : n);
            ck_assert_uint_ge(x[i].n_drained, 1);
            ck_assert_ptr_null(x[i].conn.out);
            buf_fini(&seen);
            conn_close(&x[i].conn, NULL);
            close(peers[i]);
        }
        buf_fini(&x[i].seen);
    }
    settle();
    ck_assert_uint_eq(fe.n_conns, 0);
    ck_assert_uint_eq(block->n_refs, 1);
    block_unref(block);
}
END_TEST

/* What hears that it was written to closes others: of the same call, of the next one, of those that have more
 * than one piece and wait for a call of their own, and itself. */
START_TEST(test_one_of_many_closes_others)
{
    static const unsigned closed[] = {5, N_MANY - 5, N_MANY - 1, 3};
    static struct client x[N_MANY];
    static int peers[N_MANY];
    struct block *block = block_new();

    if (multisend_new(&fe.multisend) < 0) {
        block_unref(block);
        return; /* not in this build, or not allowed here */
    }
    for (unsigned i = 0; i < 52; i++)
        buf_put_byte(&block->buf, (uint8_t)('a' + i % 26));
    for (unsigned i = 0; i < N_MANY; i++) {
        peers[i] = client_open(&x[i]);
        conn_send(&x[i].conn, block, 0, 26);
    }
    conn_send(&x[N_MANY - 1].conn, block, 30, 10);
    for (unsigned i = 0; i < 4; i++)
        x[i].closes = &x[closed[i]].conn;
    settle();
    for (unsigned i = 0; i < N_MANY; i++) {
        bool is_closed = i == 3 || i == 5 || i == N_MANY - 5 || i == N_MANY - 1;
        size_t n = i >= N_MANY - 5 && is_closed ? 0 : 26; /* 3 and 5 were written to before */

        ck_assert_uint_eq(x[i].n_closed, is_closed);
        ck_assert_uint_eq(hear_all(peers[i], &x[i].seen), n);
        conn_close(&x[i].conn, NULL);
    }
    settle();
    for (unsigned i = 0; i < N_MANY; i++) {
        ck_assert_uint_eq(x[i].n_closed, 1);
        buf_fini(&x[i].seen);
        close(peers[i]);
    }
    ck_assert_uint_eq(fe.n_conns, 0);
    ck_assert_uint_eq(block->n_refs, 1);
    block_unref(block);
}
END_TEST

/* The kernel takes back what it allowed: nobody misses anything. */
START_TEST(test_many_when_the_kernel_refuses)
{
    static struct client x[N_MANY];
    static int peers[N_MANY];
    struct block *block = block_new();

    if (multisend_new(&fe.multisend) < 0) {
        block_unref(block);
        return; /* not in this build, or not allowed here */
    }
    for (unsigned i = 0; i < 26; i++)
        buf_put_byte(&block->buf, (uint8_t)('a' + i));
    for (unsigned i = 0; i < N_MANY; i++)
        peers[i] = client_open(&x[i]);
    refuse_call(SYS_io_uring_enter, EPERM);
    for (unsigned round = 1; round <= 2; round++) {
        for (unsigned i = 0; i < N_MANY; i++)
            conn_send(&x[i].conn, block, 0, 26);
        settle();
        ck_assert_ptr_null(fe.multisend);
        ck_assert_uint_eq(fe.counters.write_batches, 0);
        ck_assert_uint_eq(fe.counters.writes, round * N_MANY);
        for (unsigned i = 0; i < N_MANY; i++) {
            ck_assert_uint_eq(hear_all(peers[i], &x[i].seen), round * 26);
            ck_assert_uint_eq(x[i].n_drained, round);
        }
    }
    for (unsigned i = 0; i < N_MANY; i++)
        conn_close(&x[i].conn, NULL);
    settle();
    for (unsigned i = 0; i < N_MANY; i++) {
        buf_fini(&x[i].seen);
        close(peers[i]);
    }
    ck_assert_uint_eq(fe.n_conns, 0);
    block_unref(block);
}
END_TEST

SUITE_MAIN_WITH("conn", setup, teardown, test_keeps_what_is_left, test_keeps_much, test_pause_and_resume,
    test_resume_gives_what_was_kept, test_keeps_a_pipeline, test_pause_leaves_the_event,
    test_eof_while_paused, test_bad_input_closes, test_close_in_on_bytes, test_one_write_for_a_turn,
    test_slow_client_gets_all_in_order, test_overflow_closes, test_overflow_drops_whole_frames,
    test_large_piece_passes_an_empty_queue, test_close_soon_writes_all,
    test_close_soon_does_not_wait_for_ever, test_peer_gone, test_many_by_one_call,
    test_one_of_many_closes_others, test_many_when_the_kernel_refuses)
