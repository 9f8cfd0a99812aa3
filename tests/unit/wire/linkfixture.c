/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends of a link for tests: see linkfixture.h. */
#include "config.h"

#include "tests/unit/wire/linkfixture.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

const struct transport_ops *transport = &transport_nanomsg;
struct loop *loop;
char dir[64], path[96];
const uint8_t token[16] = "sixteen bytes...";
char filler[LINK_BATCH_MAX + 1];
struct end broker, frontend;

/* ---- What they see. ---- */

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

const struct link_ops ops = {on_up, on_frame, on_batch_end, on_drained, on_down};

/* ---- Running the loop until something is so. ---- */

struct waiting {
    bool (*is_done)(void);
    bool is_late;
    struct timespec until;
};

int64_t
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

bool
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

bool
both_up(void)
{
    return broker.is_up && frontend.is_up;
}

bool
both_down(void)
{
    return broker.is_down && frontend.is_down;
}

bool
broker_up(void)
{
    return broker.is_up;
}

bool
broker_down(void)
{
    return broker.is_down;
}

bool
frontend_down(void)
{
    return frontend.is_down;
}

/* ---- Opening. ---- */

struct link_config
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

void
open_broker(uint64_t credit)
{
    struct link_config c = config_of(true, credit);
    ck_assert_int_eq(link_open(&c, &ops, &broker, &broker.link), 0);
}

void
open_both(uint64_t credit)
{
    open_broker(credit);
    struct link_config c = config_of(false, credit);
    ck_assert_int_eq(link_open(&c, &ops, &frontend, &frontend.link), 0);
    ck_assert(run_until(both_up, 2000));
}

int
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

void
write_bare(int fd, const char *p, size_t n)
{
    ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
}

/* ---- Around each test. ---- */

void
setup(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/test-link-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/link.sock", dir);
    memset(&broker, 0, sizeof broker);
    memset(&frontend, 0, sizeof frontend);
    ck_assert_int_eq(loop_new(&loop), 0);
}

void
teardown(void)
{
    broker.link = link_close(broker.link);
    frontend.link = link_close(frontend.link);
    loop = loop_free(loop);
    (void)unlink(path);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else was left there */
}

static int
run(const struct transport_ops *which, SFun before, SFun after, const TTest *const *tests, size_t n_tests)
{
    Suite *suite = suite_create(which->name);
    TCase *tc = tcase_create("link");

    transport = which; /* each test forks from here */
    tcase_add_checked_fixture(tc, before, after);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < n_tests; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed;
}

int
run_tests(const struct transport_ops *which, const TTest *const *tests, size_t n_tests)
{
    return run(which, setup, teardown, tests, n_tests);
}

int
run_bare_tests(const struct transport_ops *which, const TTest *const *tests, size_t n_tests)
{
    return run(which, NULL, NULL, tests, n_tests);
}
