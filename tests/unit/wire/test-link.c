/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends of a link in one process and one loop, over each of the real transports in turn; a frontend that
 * breaks the rules, made by hand on a bare channel; and frontends in processes of their own, to kill and to
 * stop. nanomsg and fork do not go together, so such a process is this program itself, executed with the
 * argument "--peer".
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"
#include "wire/errors.h"
#include "wire/link.h"
#include "wire/transport.h"

#define SESSION 77
#define HEARTBEAT_MS 150

static const struct transport_ops *transport = &transport_nanomsg; /* then the other */
static struct loop *loop;
static char dir[64], path[96];
static const uint8_t token[16] = "sixteen bytes...";

/* What one end has seen. */
struct end {
    struct link *link;
    bool is_up, is_down, is_clean;
    char reason[256];
    uint64_t n_frames, last; /* of PUBLISH: pub; of MESSAGE: seq */
    uint64_t n_batches, n_drained;
    uint64_t epoch;    /* of ATTACHED */
    uint64_t pause_at; /* pause when `last` comes here */
    bool is_wrong;     /* something came out of order */
    bool is_position;  /* a batch's position is the seq of the last message in it */
    size_t biggest;
    struct timespec down_at;
};
static struct end broker, frontend;

static void
on_up(struct link *link, const struct frame *f, void *arg)
{
    struct end *end = arg;
    end->is_up = true;
    if (end == &broker) {
        frame_put_attached(link_buf(link), &(struct frame_attached){.epoch = 5, .seq = 6});
        ck_assert_int_eq(link_commit(link), 0);
    } else {
        end->epoch = f->attached.epoch;
    }
}

static int
on_frame(struct link *link, const struct frame *f, void *arg)
{
    struct end *end = arg;
    uint64_t number = f->type == FRAME_PUBLISH   ? f->publish.pub
                      : f->type == FRAME_MESSAGE ? f->message.seq
                                                 : 0;
    size_t n = f->type == FRAME_PUBLISH ? f->publish.body.n : f->message.body.n;

    if (number == 0)
        return -EINVAL;
    end->is_wrong |= number != end->last + 1;
    end->last = number;
    end->n_frames++;
    if (n > end->biggest)
        end->biggest = n;
    if (end->pause_at == number)
        link_pause(link, true);
    return 0;
}

static void
on_batch_end(struct link *link, void *arg)
{
    struct end *end = arg;

    end->n_batches++;
    end->is_wrong |= end->is_position && link_peer_position(link) != end->last;
}

static void
on_drained(struct link *link, void *arg)
{
    ((struct end *)arg)->n_drained++;
}

static void
on_down(struct link *link, const char *reason, bool is_clean, void *arg)
{
    struct end *end = arg;
    ck_assert(!end->is_down); /* once */
    end->is_down = true;
    end->is_clean = is_clean;
    (void)snprintf(end->reason, sizeof end->reason, "%s", reason);
    (void)clock_gettime(CLOCK_MONOTONIC, &end->down_at);
    end->link = link_close(link);
}

static const struct link_ops ops = {on_up, on_frame, on_batch_end, on_drained, on_down};

/* ---- Running the loop until something is so. ---- */

struct waiting {
    bool (*is_done)(void);
    bool is_late;
    struct timespec until;
};

static int64_t
ms_between(struct timespec a, struct timespec b)
{
    return (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
    struct waiting *w = arg;
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    w->is_late = ms_between(now, w->until) < 0;
    if (w->is_late || (w->is_done != NULL && w->is_done()))
        loop_stop(loop);
}

/* True if it came to be so in time. Without is_done: runs for that long. */
static bool
run_until(bool (*is_done)(void), int ms)
{
    struct waiting w = {.is_done = is_done};
    struct timeval often = {0, 2000};
    struct event *look = event_new(loop_base(loop), -1, EV_PERSIST, on_look, &w);

    (void)clock_gettime(CLOCK_MONOTONIC, &w.until);
    w.until.tv_sec += ms / 1000;
    w.until.tv_nsec += ms % 1000 * 1000000L;
    ck_assert_int_eq(event_add(look, &often), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    event_free(look);
    return is_done == NULL || is_done();
}

static bool
both_up(void)
{
    return broker.is_up && frontend.is_up;
}
static bool
both_down(void)
{
    return broker.is_down && frontend.is_down;
}
static bool
broker_up(void)
{
    return broker.is_up;
}
static bool
broker_down(void)
{
    return broker.is_down;
}
static bool
frontend_down(void)
{
    return frontend.is_down;
}

/* ---- The fixture. ---- */

static void
setup(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/test-link-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/link.sock", dir);
    memset(&broker, 0, sizeof broker);
    memset(&frontend, 0, sizeof frontend);
    ck_assert_int_eq(loop_new(&loop), 0);
}

static void
teardown(void)
{
    broker.link = link_close(broker.link);
    frontend.link = link_close(frontend.link);
    loop = loop_free(loop);
    (void)unlink(path);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else was left there */
}

static struct link_config
config_of(bool is_broker, uint64_t credit)
{
    struct link_config c = {.loop = loop,
        .transport = transport,
        .path = path,
        .peer = is_broker ? "ws.1" : "broker",
        .is_broker = is_broker,
        .session = SESSION,
        .peer_credit = credit,
        .own_credit = credit,
        .heartbeat_ms = HEARTBEAT_MS,
        .attach_timeout_ms = 1000};
    memcpy(c.token, token, sizeof c.token);
    return c;
}

static void
open_broker(uint64_t credit)
{
    struct link_config c = config_of(true, credit);
    ck_assert_int_eq(link_open(&c, &ops, &broker, &broker.link), 0);
}

static void
open_both(uint64_t credit)
{
    open_broker(credit);
    struct link_config c = config_of(false, credit);
    ck_assert_int_eq(link_open(&c, &ops, &frontend, &frontend.link), 0);
    ck_assert(run_until(both_up, 2000));
}

static char filler[LINK_BATCH_MAX + 1];

static int
put_publish(uint64_t pub, size_t n)
{
    frame_put_publish(
        link_buf(frontend.link), &(struct frame_publish){.pub = pub, .body = slice_of(filler, n)});
    return link_commit(frontend.link);
}

static int
put_message(uint64_t seq, size_t n)
{
    frame_put_message(
        link_buf(broker.link), &(struct frame_message){.seq = seq, .body = slice_of(filler, n)});
    return link_commit(broker.link);
}

static uint64_t want;
static bool
broker_has_all(void)
{
    return broker.last >= want || broker.is_down;
}
static bool
frontend_has_all(void)
{
    return frontend.last >= want || frontend.is_down;
}

static void
assert_fine(const struct end *end)
{
    ck_assert_msg(!end->is_down, "down: %s", end->reason);
    ck_assert(!end->is_wrong);
}

/* ---- Attaching. ---- */

START_TEST(test_attach)
{
    open_both(1 << 20);
    ck_assert_uint_eq(frontend.epoch, 5);
    ck_assert(link_is_up(broker.link) && link_is_up(frontend.link));
    ck_assert_uint_eq(link_session(broker.link), SESSION);
}
END_TEST

/* The lowest free descriptor: it grows if descriptors leak. */
static int
next_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    return fd;
}

START_TEST(test_many_links_one_after_another)
{
    int before = 0;

    for (int i = 0; i < 30; i++) { /* each on a new path, as the broker gives them */
        (void)snprintf(path, sizeof path, "%s/%d.sock", dir, i);
        memset(&broker, 0, sizeof broker);
        memset(&frontend, 0, sizeof frontend);
        open_both(1 << 20);
        if (i % 2 == 0) {
            link_part(broker.link, "next");
            ck_assert(run_until(both_down, 2000));
        } else {
            broker.link = link_close(broker.link);
            ck_assert(run_until(frontend_down, 2000));
        }
        if (i == 10)
            before = next_fd();
    }
    ck_assert_int_le(next_fd(), before + 4); /* nanomsg closes some in its own thread, in its own time */
}
END_TEST

START_TEST(test_wrong_token)
{
    open_broker(1 << 20);
    struct link_config c = config_of(false, 1 << 20);
    c.token[15] ^= 1;
    c.attach_timeout_ms = 300;
    ck_assert_int_eq(link_open(&c, &ops, &frontend, &frontend.link), 0);
    ck_assert(run_until(both_down, 2000));
    ck_assert_str_eq(broker.reason, "ATTACH with a wrong session or token");
    ck_assert_str_eq(
        frontend.reason, transport == &transport_unix ? "the peer is gone" : "nobody attached in time");
    ck_assert(!broker.is_up && !frontend.is_up && !broker.is_clean);
}
END_TEST

START_TEST(test_nobody_attaches)
{
    struct link_config c = config_of(true, 1 << 20);
    c.attach_timeout_ms = 100;
    ck_assert_int_eq(link_open(&c, &ops, &broker, &broker.link), 0);
    ck_assert(run_until(broker_down, 1000));
    ck_assert_str_eq(broker.reason, "nobody attached in time");
}
END_TEST

START_TEST(test_paths)
{
    struct link_config c = config_of(true, 1 << 20);
    char longer[200];
    struct stat st;

    memset(longer, 'x', sizeof longer);
    longer[0] = '/';
    longer[108] = '\0'; /* 107 fit */
    c.path = longer;
    ck_assert_int_eq(link_open(&c, &ops, &broker, &broker.link), -ENAMETOOLONG);
    c.path = path;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    ck_assert_int_eq(link_open(&c, &ops, &broker, &broker.link), -EEXIST); /* somebody's file */
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    ck_assert_ptr_null(broker.link);
}
END_TEST

/* ---- Batches, credit, pausing. ---- */

START_TEST(test_both_ways)
{
    open_both(64 << 10); /* far less than what is sent: acks must come */
    for (uint64_t i = 1; i <= 20000; i++) {
        ck_assert_int_eq(put_publish(i, 100), 0);
        ck_assert_int_eq(put_message(i, 150), 0);
    }
    want = 20000;
    ck_assert(run_until(broker_has_all, 20000));
    ck_assert(run_until(frontend_has_all, 20000));
    assert_fine(&broker);
    assert_fine(&frontend);
    ck_assert_uint_eq(broker.n_frames, 20000);
    ck_assert_uint_eq(link_backlog(broker.link), 0);
    ck_assert_uint_lt(broker.n_batches, 200); /* batches, not one message each */
}
END_TEST

START_TEST(test_idle_link_is_quiet)
{
    open_both(1 << 20);
    ck_assert_int_eq(put_publish(1, 10), 0);
    struct link_stats before, after;
    link_get_stats(broker.link, &before);
    ck_assert(run_until(NULL, 5 * HEARTBEAT_MS) || true);
    link_get_stats(broker.link, &after);
    assert_fine(&broker);
    assert_fine(&frontend);
    ck_assert_uint_ge(after.batches_out - before.batches_out, 2); /* heartbeats */
    ck_assert_uint_le(after.batches_out - before.batches_out, 7); /* and one ack: no ping-pong of acks */
}
END_TEST

START_TEST(test_oversize)
{
    open_both(1 << 20);
    ck_assert_int_eq(put_publish(1, 10), 0);
    ck_assert_int_eq(put_publish(99, sizeof filler), -EMSGSIZE);
    ck_assert_int_eq(
        put_publish(2, LINK_MESSAGE_MAX), 0); /* far above the credit, with something before it */
    ck_assert_int_eq(put_publish(3, LINK_BATCH_MAX - 100), 0); /* fits only alone */
    ck_assert_int_eq(put_publish(4, 10), 0);
    want = 4;
    ck_assert(run_until(broker_has_all, 10000));
    assert_fine(&broker);
    assert_fine(&frontend);
    ck_assert_uint_eq(broker.biggest, LINK_BATCH_MAX - 100);
    ck_assert_uint_eq(link_backlog(frontend.link), 0);
}
END_TEST

START_TEST(test_pause)
{
    open_both(128 << 10);
    link_set_mark(broker.link, 256 << 10);
    frontend.pause_at = 3;
    for (uint64_t i = 1; i <= 1000; i++)
        ck_assert_int_eq(put_message(i, 1000), 0);
    ck_assert(run_until(NULL, 5 * HEARTBEAT_MS)); /* longer than a silent peer would be let live */
    assert_fine(&broker);
    assert_fine(&frontend);
    ck_assert_uint_eq(frontend.last, 3); /* in the middle of a batch */
    ck_assert_uint_ge(link_backlog(broker.link), 1000000 - (128 << 10));
    ck_assert_uint_eq(broker.n_drained, 0);
    for (uint64_t i = 1; i <= 500; i++) /* the other way goes on */
        ck_assert_int_eq(put_publish(i, 1000), 0);
    want = 500;
    ck_assert(run_until(broker_has_all, 5000));
    ck_assert_uint_eq(frontend.last, 3);
    link_pause(frontend.link, false);
    want = 1000;
    ck_assert(run_until(frontend_has_all, 5000));
    assert_fine(&broker);
    assert_fine(&frontend);
    ck_assert_uint_eq(broker.n_drained, 1);
}
END_TEST

START_TEST(test_one_batch_above_credit_goes_after_a_small_one)
{
    open_both(64 << 10);
    ck_assert_int_eq(put_message(1, 1000), 0);
    ck_assert(run_until(NULL, 10)); /* it is on its way, and has not been acknowledged */
    ck_assert_int_eq(put_message(2, 80 << 10), 0);
    want = 2;
    ck_assert(run_until(frontend_has_all, HEARTBEAT_MS + 1000));
    assert_fine(&frontend);
}
END_TEST

static bool
position_is_9(void)
{
    return link_peer_position(frontend.link) == 9;
}

START_TEST(test_position)
{
    open_both(64 << 10);
    frontend.pause_at = 1;
    ck_assert_int_eq(put_message(1, 40 << 10), 0); /* a batch of its own */
    link_set_position(broker.link, 1);
    ck_assert_int_eq(put_message(2, 40 << 10), 0); /* waits for credit */
    link_set_position(broker.link, 9);
    ck_assert(run_until(NULL, 3 * HEARTBEAT_MS)); /* heartbeats must not claim what waits */
    ck_assert_uint_eq(frontend.last, 1);
    ck_assert_uint_lt(link_peer_position(frontend.link), 9);
    link_pause(frontend.link, false);
    ck_assert(run_until(position_is_9, 2000));
    ck_assert_uint_eq(frontend.last, 2);
}
END_TEST

/* Groups that were packed elsewhere: they stand behind each other, at the end of a batch, alone in one that
 * they fill, or not at all, and each batch carries the position of its last one. */
START_TEST(test_put)
{
    static const size_t sizes[] = {0, 1, 100, 3000, LINK_BATCH_BYTES - 60, LINK_BATCH_BYTES, 100 << 10};
    struct buf packed;
    uint64_t seq = 0;

    buf_init(&packed, 0);
    open_both(1 << 20);
    frontend.is_position = true;
    link_set_mark(broker.link, 256 << 10);
    for (int i = 0; i < 2000; i++) {
        size_t n = i == 1000 ? LINK_MESSAGE_MAX : i % 40 == 0 ? sizes[i / 40 % 7] : (size_t)i % 700;

        if (i == 1500)
            ck_assert_int_eq(link_put(broker.link, slice_of(filler, LINK_BATCH_MAX), seq), -EMSGSIZE);
        buf_reset(&packed);
        frame_put_message(&packed, &(struct frame_message){.seq = ++seq, .body = slice_of(filler, n)});
        if (i % 50 == 7) { /* between those that are packed in place */
            buf_put_slice(link_buf(broker.link), buf_slice(&packed));
            link_set_position(broker.link, seq);
            ck_assert_int_eq(link_commit(broker.link), 0);
        } else {
            ck_assert_int_eq(link_put(broker.link, buf_slice(&packed), seq), 0);
        }
    }
    ck_assert_uint_gt(link_backlog(broker.link), 256 << 10);
    want = seq;
    ck_assert(run_until(frontend_has_all, 10000));
    assert_fine(&broker);
    assert_fine(&frontend);
    ck_assert_uint_eq(frontend.n_frames, seq);
    ck_assert_uint_eq(frontend.biggest, LINK_MESSAGE_MAX);
    ck_assert_uint_ge(broker.n_drained, 1); /* it had noted that there was much */
    ck_assert_uint_lt(frontend.n_batches, 200);
    link_part(broker.link, "enough");
    size_t before = link_backlog(broker.link);
    ck_assert_int_eq(link_put(broker.link, buf_slice(&packed), seq), 0);
    ck_assert_uint_eq(link_backlog(broker.link), before); /* what comes after GOODBYE is not taken */
    buf_fini(&packed);
}
END_TEST

/* ---- Parting. ---- */

START_TEST(test_goodbye)
{
    open_both(64 << 10);
    for (uint64_t i = 1; i <= 3000; i++)
        ck_assert_int_eq(put_publish(i, 100), 0);
    link_part(frontend.link, "the frontend stops");
    ck_assert_int_eq(put_publish(3001, 1), 0); /* too late: dropped */
    ck_assert(run_until(both_down, 900));
    ck_assert_msg(broker.is_clean && frontend.is_clean, "%s; %s", broker.reason, frontend.reason);
    ck_assert_uint_eq(broker.last, 3000);
    ck_assert_str_eq(broker.reason, "the peer said goodbye: the frontend stops");
}
END_TEST

START_TEST(test_both_say_goodbye)
{
    open_both(64 << 10);
    link_part(frontend.link, "one");
    link_part(broker.link, "two");
    ck_assert(run_until(both_down, 900));
    ck_assert_msg(broker.is_clean && frontend.is_clean, "%s; %s", broker.reason, frontend.reason);
}
END_TEST

START_TEST(test_goodbye_to_a_paused_peer)
{
    open_both(64 << 10);
    link_pause(broker.link, true);
    link_part(frontend.link, "stop");
    ck_assert(run_until(frontend_down, 2000)); /* it does not wait for ever */
    ck_assert(!frontend.is_clean);
    ck_assert_str_eq(frontend.reason, "no BYE in time");
}
END_TEST

START_TEST(test_fail_and_close)
{
    open_both(64 << 10);
    link_fail(broker.link, "the owner says so");
    ck_assert(!broker.is_down); /* not from inside the call */
    ck_assert(run_until(both_down, 1000));
    ck_assert_str_eq(broker.reason, "the owner says so");
    ck_assert_str_eq(frontend.reason, "the peer is gone");
    ck_assert(!broker.is_clean && !frontend.is_clean);
}
END_TEST

/* ---- A frontend by hand. ---- */

static struct channel *bare;

static void
bare_send(struct buf *b)
{
    struct timespec nap = {0, 1000000};
    int r = -EAGAIN;

    for (int i = 0; i < 2000 && r == -EAGAIN; i++) {
        r = transport->send(bare, buf_slice(b));
        if (r == -EAGAIN)
            (void)nanosleep(&nap, NULL); /* nanomsg's own thread is connecting */
    }
    ck_assert_int_eq(r, 0);
    buf_reset(b);
}

static void
put_head(struct buf *b, uint64_t number)
{
    frame_put_batch(b, &(struct frame_batch){.session = SESSION, .number = number, .credit = 1 << 20});
}

static void
put_attach(struct buf *b)
{
    frame_put_attach(b, &(struct frame_attach){.session = SESSION, .token = slice_of(token, 16)});
}

/* Attaches, or not, then sends what was put into b as the second (or first) message. */
static void
assert_refused(struct buf *b, bool is_attached, const char *reason)
{
    struct buf attach;

    setup();
    buf_init(&attach, 0);
    open_broker(16 << 10);
    ck_assert_int_eq(transport->connect(path, &bare), 0);
    if (is_attached) {
        put_head(&attach, 1);
        put_attach(&attach);
        bare_send(&attach);
        ck_assert(run_until(broker_up, 2000));
    }
    bare_send(b);
    ck_assert(run_until(broker_down, 1000));
    ck_assert_msg(
        strcmp(broker.reason, reason) == 0, "the link ended with '%s', not '%s'", broker.reason, reason);
    transport->close(bare);
    buf_fini(&attach);
    teardown();
}

START_TEST(test_rules)
{
    struct buf b;
    struct frame_batch head = {.session = SESSION, .number = 2, .credit = 1};

    buf_init(&b, 0);
    put_head(&b, 3);
    assert_refused(&b, true, "a gap in the numbers of the batches (batch 3)");
    put_head(&b, 1);
    assert_refused(&b, true, "a gap in the numbers of the batches (batch 1)");
    head.session = SESSION + 1;
    frame_put_batch(&b, &head);
    assert_refused(&b, true, "a batch of another session (batch 2)");
    head.session = SESSION;
    head.ack = 2; /* one was sent: ATTACHED */
    frame_put_batch(&b, &head);
    assert_refused(&b, true, "an ack of a batch that was not sent (batch 2)");
    put_attach(&b);
    assert_refused(&b, true, "a batch that begins with ATTACH");
    put_head(&b, 2);
    put_attach(&b);
    assert_refused(&b, true, "a second ATTACH");
    put_head(&b, 1);
    frame_put_cancel(&b, &(struct frame_cancel){.req = 1});
    assert_refused(&b, false, "a CANCEL frame before the link stood");
    put_head(&b, 2);
    frame_put_message(&b, &(struct frame_message){.seq = 1});
    assert_refused(&b, true, "a MESSAGE frame does not belong here");
    put_head(&b, 2);
    put_head(&b, 2);
    assert_refused(&b, true, "a BATCH frame does not belong here");
    put_head(&b, 2);
    frame_put_bye(&b, &(struct frame_bye){});
    assert_refused(&b, true, "a BYE without a GOODBYE");
    put_head(&b, 2);
    frame_put_cancel(&b, &(struct frame_cancel){.req = 1}); /* our on_frame() does not take it */
    assert_refused(&b, true, "a CANCEL frame that makes no sense");
    put_head(&b, 2);
    buf_put(&b, "\x92\x17\xcd", 3);
    assert_refused(&b, true, "a malformed frame in batch 2: the batch ends inside field req");
    buf_put(&b, "hello", 5);
    assert_refused(&b, true, "a malformed batch: a frame is not an array, or claims too many fields");
    buf_fini(&b);
}
END_TEST

START_TEST(test_more_than_the_credit)
{
    struct buf b;

    buf_init(&b, 0);
    open_broker(16 << 10);
    ck_assert_int_eq(transport->connect(path, &bare), 0);
    put_head(&b, 1);
    put_attach(&b);
    bare_send(&b);
    ck_assert(run_until(broker_up, 2000));
    link_pause(broker.link, true); /* nothing is acknowledged any more */
    for (uint64_t i = 1; i <= 3; i++) {
        put_head(&b, 1 + i);
        frame_put_publish(&b, &(struct frame_publish){.pub = i, .body = slice_of(filler, 10000)});
        if (i == 3)
            ck_assert(!run_until(broker_down, 100)); /* 20,000 bytes: within the slack */
        bare_send(&b);
    }
    ck_assert(run_until(broker_down, 1000));
    ck_assert_str_eq(broker.reason, "more bytes than the credit of 16384 allows");
    transport->close(bare);
    buf_fini(&b);
}
END_TEST

/* ---- A frontend in its own process. ---- */

static pid_t
spawn_peer(void)
{
    char name[] = "test-link", flag[] = "--peer", by[16];
    char *const argv[] = {name, flag, path, by, NULL};
    extern char **environ;
    pid_t pid;

    (void)snprintf(by, sizeof by, "%s", transport->name);
    ck_assert_int_eq(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    return pid;
}

static void
peer_on_up(struct link *link, const struct frame *f, void *arg)
{
}

static int
peer_on_frame(struct link *link, const struct frame *f, void *arg)
{
    return 0;
}

static void
peer_on_down(struct link *link, const char *reason, bool is_clean, void *arg)
{
    loop_stop(loop);
}

/* Attaches and stays until its link ends. No test runs in this process, so no assertions of Check. */
static int
peer_main(const char *at, const char *by)
{
    static const struct link_ops peer_ops = {
        .on_up = peer_on_up, .on_frame = peer_on_frame, .on_down = peer_on_down};

    (void)snprintf(path, sizeof path, "%s", at);
    transport = transport_find(by);
    (void)alarm(20); /* never outlives a broken test for long */
    if (loop_new(&loop) < 0)
        return 2;
    struct link_config c = config_of(false, 1 << 20);
    if (link_open(&c, &peer_ops, NULL, &frontend.link) < 0)
        return 3;
    int r = loop_run(loop);
    frontend.link = link_close(frontend.link);
    loop = loop_free(loop);
    return r < 0 ? 4 : 0;
}

static int64_t
ms_since(struct timespec start)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return ms_between(start, now);
}

START_TEST(test_killed_peer)
{
    struct timespec start;

    open_broker(1 << 20);
    pid_t pid = spawn_peer();
    ck_assert(run_until(broker_up, 5000));
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert(run_until(broker_down, 3 * HEARTBEAT_MS));
    ck_assert_int_le(ms_since(start), 200); /* long before three heartbeats */
    ck_assert_str_eq(broker.reason, "the peer is gone");
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(test_stopped_peer)
{
    struct timespec start;
    int status;

    open_broker(1 << 20);
    pid_t pid = spawn_peer();
    ck_assert(run_until(broker_up, 5000));
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    ck_assert(run_until(broker_down, 10 * HEARTBEAT_MS));
    ck_assert_int_ge(ms_since(start), 2 * HEARTBEAT_MS);
    ck_assert_msg(strncmp(broker.reason, "nothing came from the peer", 26) == 0, "%s", broker.reason);
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid); /* it sees its own end, and ends */
    ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- The control socket. ---- */

static struct control *server, *call;
static struct {
    bool is_done;
    int error;
    enum frame_type type;
    char text[64];
} answer;
static bool
has_answer(void)
{
    return answer.is_done;
}

static void
on_hello(const struct frame_hello *hello, struct frame *ret, void *arg)
{
    ck_assert(slice_is(hello->kind, "ws"));
    if (slice_is(hello->name, "ws.1"))
        *ret = (struct frame){.type = FRAME_WELCOME,
            .welcome = {.proto = LINK_PROTO,
                .session = 9,
                .token = slice_of(token, 16),
                .url = slice_str("ipc:///x")}};
    else
        *ret = (struct frame){.type = FRAME_REFUSED,
            .refused = {.code = slice_str(error_code_name(ERROR_NOT_ALLOWED)), .message = slice_str("no")}};
}

static void
on_answer(const struct frame *f, int error, void *arg)
{
    ck_assert(!answer.is_done);
    call = control_close(call); /* allowed in here; the answer stays */
    answer.is_done = true;
    answer.error = error;
    if (f == NULL)
        return;
    answer.type = f->type;
    (void)snprintf(answer.text, sizeof answer.text, "%.*s",
        SLICE_ARG(f->type == FRAME_WELCOME ? f->welcome.url : f->refused.code));
}

static void
ask(const char *name, uint64_t proto)
{
    struct frame_hello hello = {.proto = proto, .name = slice_str(name), .kind = slice_str("ws")};

    memset(&answer, 0, sizeof answer);
    ck_assert_int_eq(control_call(loop, transport, path, &hello, 400, on_answer, NULL, &call), 0);
    ck_assert(run_until(has_answer, 2000));
}

START_TEST(test_control)
{
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &server), 0);
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_int_eq(answer.type, FRAME_WELCOME);
    ck_assert_str_eq(answer.text, "ipc:///x");
    ask("ws.2", LINK_PROTO);
    ck_assert_int_eq(answer.type, FRAME_REFUSED);
    ck_assert_str_eq(answer.text, "not_allowed");
    ask("ws.1", LINK_PROTO + 1);
    ck_assert_str_eq(answer.text, "version_unsupported");
    ask("\xff", LINK_PROTO); /* not UTF-8: malformed */
    ck_assert_str_eq(answer.text, "request_invalid");
#ifndef __SANITIZE_ADDRESS__ /* nanomsg leaks a little here */
    struct control *second;
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &second), -EADDRINUSE);
#endif
    server = control_close(server);
}
END_TEST

START_TEST(test_control_without_a_broker)
{
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, -ETIMEDOUT);
}
END_TEST

START_TEST(test_control_comes_later)
{
    struct frame_hello hello = {.proto = LINK_PROTO, .name = slice_str("ws.1"), .kind = slice_str("ws")};

    memset(&answer, 0, sizeof answer);
    ck_assert_int_eq(control_call(loop, transport, path, &hello, 2000, on_answer, NULL, &call), 0);
    ck_assert(!run_until(has_answer, 50));
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &server), 0);
    ck_assert(run_until(has_answer, 2500));
    ck_assert_int_eq(answer.error, 0);
    server = control_close(server);
}
END_TEST

/* ---- What only AF_UNIX promises: its channels by hand. ---- */

static struct channel *a, *b;

static void
open_channels(void)
{
    struct slice m;

    ck_assert_int_eq(transport->bind(path, &a), 0);
    ck_assert_int_eq(transport->connect(path, &b), 0);
    ck_assert_int_eq(transport->recv(a, &m), -EAGAIN); /* accepts */
    ck_assert(transport->has_peer(a) && transport->has_peer(b));
}

static void
close_channels(void)
{
    if (a != NULL)
        transport->close(a);
    if (b != NULL)
        transport->close(b);
    a = b = NULL;
}

static bool
is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void
assert_received(struct channel *c, const char *want_text)
{
    struct slice m;
    int r;

    while ((r = transport->recv(c, &m)) == -EAGAIN)
        ck_assert(is_readable(transport->recv_fd(c)));
    ck_assert_int_eq(r, 0);
    ck_assert_msg(slice_is(m, want_text), "'%.*s', not '%s'", SLICE_ARG(m), want_text);
    transport->release(c, m);
}

START_TEST(test_descriptors_say_what_would_work)
{
    struct slice m;

    ck_assert_int_eq(transport->connect(path, &b), 0);
    ck_assert_int_eq(transport->send(b, slice_str("x")), -EAGAIN);
    ck_assert_int_eq(transport->bind(path, &a), 0);
    for (int i = 0; i < 200 && transport->send(b, slice_str("one")) == -EAGAIN; i++) {
        struct pollfd p = {.fd = transport->send_fd(b), .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 1000), 1); /* says when to try again */
    }
    ck_assert(is_readable(transport->send_fd(b)));
    ck_assert_int_eq(transport->send(b, slice_str("")), 0);
    ck_assert_int_eq(transport->send(b, slice_str("three")), 0);
    ck_assert(is_readable(transport->recv_fd(a)));
    assert_received(a, "one"); /* one read brings all three */
    ck_assert(is_readable(transport->recv_fd(a)));
    assert_received(a, "");
    ck_assert(is_readable(transport->recv_fd(a)));
    assert_received(a, "three");
    ck_assert(!is_readable(transport->recv_fd(a)));
    ck_assert_int_eq(transport->recv(a, &m), -EAGAIN);
    ck_assert_int_eq(access(path, F_OK), -1); /* used once: nobody else finds it */
    close_channels();
}
END_TEST

START_TEST(test_a_message_in_parts)
{
    struct slice m = slice_of(filler, LINK_BATCH_MAX);
    int n = 0, r;

    open_channels();
    ck_assert_int_eq(transport->send(b, slice_of(filler, sizeof filler)), -EMSGSIZE);
    filler[0] = 'a';
    filler[LINK_BATCH_MAX - 1] = 'z';
    ck_assert_int_eq(transport->send(b, m), 0); /* taken, though the kernel has no room for all of it */
    ck_assert_int_eq(transport->send(b, slice_str("next")), -EAGAIN);
    ck_assert(!is_readable(transport->send_fd(b)));
    ck_assert(!is_readable(transport->recv_fd(b)));
    while ((r = transport->recv(a, &m)) == -EAGAIN) {
        ck_assert(is_readable(transport->recv_fd(b))); /* there is room: the rest goes on, by recv() */
        ck_assert_int_eq(transport->recv(b, &m), -EAGAIN);
        ck_assert_int_lt(++n, 10000);
    }
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(m.n, LINK_BATCH_MAX);
    ck_assert(m.p[0] == 'a' && m.p[m.n - 1] == 'z');
    transport->release(a, m);
    ck_assert(!is_readable(transport->recv_fd(b))); /* nothing is left to write */
    ck_assert_int_eq(transport->send(b, slice_str("next")), 0);
    assert_received(a, "next");
    close_channels();
}
END_TEST

START_TEST(test_last_words)
{
    struct slice m;

    open_channels();
    ck_assert_int_eq(transport->send(b, slice_str("one")), 0);
    ck_assert_int_eq(transport->send(b, slice_str("two")), 0);
    ck_assert_int_eq(transport->send(a, slice_str("unread")), 0);
    transport->close(b);
    b = NULL;
    ck_assert_int_eq(transport->send(a, slice_str("lost")), 0);
    ck_assert_int_eq(transport->send(a, slice_str("lost")), 0);
    assert_received(a, "one");
    assert_received(a, "two");
    while (transport->recv(a, &m) == -EAGAIN)
        ck_assert(is_readable(transport->recv_fd(a)));
    ck_assert_int_eq(transport->recv(a, &m), -ECONNRESET);
    ck_assert(!transport->has_peer(a));
    close_channels();
}
END_TEST

/* A connection to path that can send anything. */
static int
connect_bare(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_lt(
        snprintf(address.sun_path, sizeof address.sun_path, "%s", path), (int)sizeof address.sun_path);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void
write_bare(int fd, const char *p, size_t n)
{
    ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
}

START_TEST(test_one_byte_at_a_time)
{
    static const char bytes[] = "\0\0\0\3abc\0\0\0\0\0\0\0\2de";
    struct slice m;

    ck_assert_int_eq(transport->bind(path, &a), 0);
    int fd = connect_bare();
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        write_bare(fd, bytes + i, 1);
        if (i == 6)
            assert_received(a, "abc");
        else if (i == 10)
            assert_received(a, "");
        else if (i == 16)
            assert_received(a, "de");
        while (is_readable(transport->recv_fd(a)))
            ck_assert_int_eq(transport->recv(a, &m), -EAGAIN);
        (void)transport->recv(a, &m);
    }
    write_bare(fd, "\0\0\0\5abc", 7); /* and never the rest */
    (void)close(fd);
    int r;
    while ((r = transport->recv(a, &m)) == -EAGAIN)
        ck_assert(is_readable(transport->recv_fd(a)));
    ck_assert_int_eq(r, -ECONNRESET);
    close_channels();
}
END_TEST

START_TEST(test_malformed_lengths)
{
    static const struct {
        const char bytes[9];
        int error;
    } cases[] = {{"\1\1\0\1", -EPROTO}, {"\xff\xff\xff\xff", -EPROTO}, {"\x7f\xff\xff\xff", -EPROTO},
        {"\0SP\0\0\x10\0\0", 0 /* fits into a link's */}};
    struct slice m;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(transport->bind(path, &a), 0);
        int fd = connect_bare(), r;
        write_bare(fd, cases[i].bytes, 8);
        if (cases[i].error == 0)
            (void)close(fd);
        while ((r = transport->recv(a, &m)) == -EAGAIN)
            ck_assert(is_readable(transport->recv_fd(a)));
        ck_assert_int_eq(r, cases[i].error == 0 ? -ECONNRESET : cases[i].error);
        if (cases[i].error != 0)
            (void)close(fd);
        close_channels();
    }
}
END_TEST

/* Many who say nothing or nonsense do not keep a frontend from its answer, nor a dead broker's socket a new
 * broker from its place. */
START_TEST(test_control_among_strangers)
{
    int fds[100];

    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &server), 0);
    for (size_t i = 0; i < 100; i++) {
        fds[i] = connect_bare();
        if (i % 3 == 1)
            write_bare(fds[i], "\0SP\0\0\x30\0\0", 8);
        else if (i % 3 == 2)
            write_bare(fds[i], "\0\0\0\2\0", 5);
    }
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_int_eq(answer.type, FRAME_WELCOME);
    for (size_t i = 0; i < 100; i++)
        (void)close(fds[i]);
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, 0);
    struct control *second;
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &second), -EADDRINUSE);
    server = control_close(server);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(test_stale_socket)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)close(fd);
    open_channels(); /* in its place */
    close_channels();
}
END_TEST

#ifndef __SANITIZE_ADDRESS__ /* nanomsg leaks a little when it refuses somebody */
START_TEST(test_the_other_transport)
{
    ck_assert_int_eq(control_serve(loop, &transport_nanomsg, path, on_hello, NULL, &server), 0);
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, -EPROTONOSUPPORT);
    server = control_close(server);
}
END_TEST
#endif

static void
add_unix_tests(TCase *tc)
{
    tcase_add_test(tc, test_descriptors_say_what_would_work);
    tcase_add_test(tc, test_a_message_in_parts);
    tcase_add_test(tc, test_last_words);
    tcase_add_test(tc, test_one_byte_at_a_time);
    tcase_add_test(tc, test_malformed_lengths);
    tcase_add_test(tc, test_control_among_strangers);
    tcase_add_test(tc, test_stale_socket);
#ifndef __SANITIZE_ADDRESS__
    tcase_add_test(tc, test_the_other_transport);
#endif
}

static int
run(const struct transport_ops *which)
{
    Suite *suite = suite_create(which->name);
    TCase *tc = tcase_create("link"), *bare_tc = tcase_create("rules");

    tcase_add_checked_fixture(tc, setup, teardown);
    transport = which; /* each test forks from here */
    tcase_set_timeout(tc, 60);
    tcase_set_timeout(bare_tc, 60);
    tcase_add_test(tc, test_attach);
    tcase_add_test(tc, test_many_links_one_after_another);
    tcase_add_test(tc, test_wrong_token);
    tcase_add_test(tc, test_nobody_attaches);
    tcase_add_test(tc, test_paths);
    tcase_add_test(tc, test_both_ways);
    tcase_add_test(tc, test_idle_link_is_quiet);
    tcase_add_test(tc, test_oversize);
    tcase_add_test(tc, test_pause);
    tcase_add_test(tc, test_one_batch_above_credit_goes_after_a_small_one);
    tcase_add_test(tc, test_position);
    tcase_add_test(tc, test_put);
    tcase_add_test(tc, test_goodbye);
    tcase_add_test(tc, test_both_say_goodbye);
    tcase_add_test(tc, test_goodbye_to_a_paused_peer);
    tcase_add_test(tc, test_fail_and_close);
    tcase_add_test(tc, test_more_than_the_credit);
    tcase_add_test(tc, test_killed_peer);
    tcase_add_test(tc, test_stopped_peer);
    tcase_add_test(tc, test_control);
    tcase_add_test(tc, test_control_without_a_broker);
    tcase_add_test(tc, test_control_comes_later);
    tcase_add_test(bare_tc, test_rules);
    if (which == &transport_unix)
        add_unix_tests(tc);
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, bare_tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed;
}

int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--peer") == 0)
        return peer_main(argv[2], argv[3]);

    int n_failed = run(&transport_nanomsg) + run(&transport_unix);
    return n_failed == 0 ? 0 : 1;
}
