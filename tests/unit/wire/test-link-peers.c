/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's end of a link and a frontend that breaks the rules, made by hand on a bare channel; and
 * frontends in processes of their own, to kill and to stop. nanomsg and fork do not go together, so such a
 * process is this program itself, executed with the argument "--peer".
 */
#include "config.h"

#include "tests/unit/wire/linkfixture.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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
    char name[] = "test-link-peers", flag[] = "--peer", by[16];
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

static int
run_over(const struct transport_ops *which)
{
    const TTest *const tests[] = {test_more_than_the_credit, test_killed_peer, test_stopped_peer};
    const TTest *const bare_tests[] = {test_rules};

    return run_tests(which, tests, sizeof tests / sizeof tests[0]) + run_bare_tests(which, bare_tests, 1);
}

int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--peer") == 0)
        return peer_main(argv[2], argv[3]);

    int n_failed = run_over(&transport_nanomsg) + run_over(&transport_unix);
    return n_failed == 0 ? 0 : 1;
}
