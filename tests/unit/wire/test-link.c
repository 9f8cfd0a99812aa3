/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends of a link in one process and one loop, over each of the real transports in turn. */
#include "config.h"

#include "tests/unit/wire/linkfixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

int
main(void)
{
    const TTest *const tests[] = {test_attach, test_many_links_one_after_another, test_wrong_token,
        test_nobody_attaches, test_paths, test_both_ways, test_idle_link_is_quiet, test_oversize, test_pause,
        test_one_batch_above_credit_goes_after_a_small_one, test_position, test_put, test_goodbye,
        test_both_say_goodbye, test_goodbye_to_a_paused_peer, test_fail_and_close};
    const size_t n = sizeof tests / sizeof tests[0];
    int n_failed = run_tests(&transport_nanomsg, tests, n) + run_tests(&transport_unix, tests, n);

    return n_failed == 0 ? 0 : 1;
}
