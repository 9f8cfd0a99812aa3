/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of queues, requests and presence that are well-formed one by one and make any sense or none
 * together. Numbers are from so few that they are often in use, or no more. Nobody else is harmed, and when
 * those who said it are gone nothing is left of them.
 */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"

#define N_WILD 2
#define STEPS 4000

/* A frontend that says anything. */
struct wild {
    struct fake fake;
    uint64_t number, req, pub; /* the last that it gave */
};

static uint64_t state;

static uint64_t
pick(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % n;
}

static bool
rarely(void)
{
    return pick(1500) == 0;
}

static struct slice
some_topic(void)
{
    static const char *const topics[] = {"w/a", "w/b", "w/a/b", "w/queue", "w/off", "w/count", "w/deaf"};
    static const char *const bad[] = {"", "w/+", "$sys/w", "$requests/w/a", "$presence/w/a", "w/#/x"};

    return slice_str(pick(20) == 0 ? bad[pick(6)] : topics[pick(7)]);
}

/* Of those that are topics: a frontend that says another is complained of. */
static struct slice
some_good_topic(void)
{
    struct slice topic;

    do
        topic = some_topic();
    while (!rarely() && (topic.n == 0 || topic.p[0] == '$' || memchr(topic.p, '+', topic.n) != NULL ||
                            memchr(topic.p, '#', topic.n) != NULL));
    return topic;
}

static struct slice
some_filter(void)
{
    static const char *const filters[] = {"w/+", "w/#", "w/a/#"};

    return pick(2) == 0 ? slice_str(filters[pick(3)]) : some_topic();
}

static struct slice
some_token(struct wild *w)
{
    static const char *const bad[] = {"", "x", "c0000000000000000-1", "1-1-1", "\xc3\xa4\xc3\xa4"};

    switch (pick(4)) {
    case 0:
        return slice_str(w->fake.lease);
    case 1:
        return slice_str(bad[pick(5)]);
    default:
        return slice_str(w->fake.call);
    }
}

/* ---- One function for each frame. ---- */

static void
put_consume(struct wild *w, struct buf *out)
{
    uint64_t mode = rarely() ? 2 : pick(2);

    frame_put_consume(out, &(struct frame_consume){.consumer = ++w->number, /* numbers are not used again */
                               .topic = mode == 1 ? some_filter() : some_topic(),
                               .group = slice_str(pick(8) == 0 ? "" : "g"),
                               .mode = mode,
                               .flags = pick(2),
                               .credit = pick(4),
                               .epoch = pick(2) == 0 ? 0 : w->fake.epoch,
                               .seq = pick(100)});
}

/* Mostly one that there is. */
static uint64_t
some_consumer(struct wild *w)
{
    return w->number - (w->number > 12 ? pick(12) : pick(w->number + 1));
}

static void
put_unconsume(struct wild *w, struct buf *out)
{
    frame_put_unconsume(out, &(struct frame_unconsume){.consumer = some_consumer(w)});
}

static void
put_credit(struct wild *w, struct buf *out)
{
    frame_put_credit(out,
        &(struct frame_credit){.consumer = some_consumer(w), .more = pick(20) == 0 ? UINT64_MAX : pick(3)});
}

static void
put_hold(struct wild *w, struct buf *out)
{
    if (rarely())
        frame_put_hold(out, &(struct frame_hold){.consumer = some_consumer(w), .lease = some_token(w)});
}

static void
put_request(struct wild *w, struct buf *out)
{
    frame_put_request(out, &(struct frame_request){.req = rarely() ? pick(50) : ++w->req,
                               .topic = some_topic(),
                               .flags = pick(8) == 0,
                               .timeout_ms = pick(3) == 0 ? pick(300) : 60000,
                               .kind = pick(3),
                               .body = slice_str("123")});
}

static uint64_t
some_request(struct wild *w)
{
    return w->req - (w->req > 8 ? pick(8) : 0);
}

static void
put_abandon(struct wild *w, struct buf *out)
{
    frame_put_abandon(out, &(struct frame_abandon){.req = some_request(w)});
}

static void
put_result(struct wild *w, struct buf *out)
{
    frame_put_result(out,
        &(struct frame_result){.req = ++w->req, .id = slice_str(w->fake.request_id), .wait_ms = pick(200)});
}

static void
put_withdraw(struct wild *w, struct buf *out)
{
    frame_put_withdraw(out, &(struct frame_withdraw){.req = ++w->req, .id = slice_str(w->fake.request_id)});
}

static void
put_reply(struct wild *w, struct buf *out)
{
    frame_put_reply(out, &(struct frame_reply){.req = pick(3),
                             .consumer = some_consumer(w),
                             .call = some_token(w),
                             .code = slice_str(pick(5) == 0 ? "no" : ""),
                             .message = slice_str("why"),
                             .kind = rarely() ? 3 : pick(3),
                             .body = slice_str(pick(8) == 0 ? "\xff" : "1")});
}

static void
put_settle(struct wild *w, struct buf *out)
{
    frame_put_settle(out, &(struct frame_settle){.req = pick(3),
                              .consumer = pick(3) == 0 ? 0 : some_consumer(w),
                              .lease = some_token(w),
                              .outcome = rarely() ? 4 : pick(4),
                              .delay_ms = pick(100),
                              .reason = slice_str("why")});
}

static void
put_join(struct wild *w, struct buf *out)
{
    static const char *const ids[] = {"u1", "u2", "u3", "", "\"\\\n"};

    frame_put_join(out, &(struct frame_join){.req = pick(3),
                            .member = ++w->number,
                            .topic = some_topic(),
                            .id = slice_str(ids[pick(5)]),
                            .flags = pick(2),
                            .info = slice_str(pick(5) == 0   ? "{"
                                              : pick(2) == 0 ? "{}"
                                                             : "")});
}

static void
put_leave(struct wild *w, struct buf *out)
{
    frame_put_leave(out, &(struct frame_leave){.member = some_consumer(w), .flags = rarely() ? 2 : pick(2)});
}

static void
put_who(struct wild *w, struct buf *out)
{
    frame_put_who(out, &(struct frame_who){.req = pick(3),
                           .topic = some_good_topic(),
                           .after = slice_str(pick(2) == 0 ? "" : "u1"),
                           .limit = pick(3)});
}

static void
put_publish(struct wild *w, struct buf *out)
{
    frame_put_publish(
        out, &(struct frame_publish){.pub = ++w->pub, .handle = pick(2), .kind = 1, .body = slice_str("x")});
}

static void
put_peek(struct wild *w, struct buf *out)
{
    frame_put_peek(out, &(struct frame_peek){
                            .req = 1, .topic = some_good_topic(), .group = slice_str("g"), .count = pick(5)});
}

static void
put_purge(struct wild *w, struct buf *out)
{
    frame_put_purge(
        out, &(struct frame_purge){
                 .req = 1, .topic = some_good_topic(), .group = slice_str("g"), .flags = pick(2)});
}

static void
put_random(struct wild *w)
{
    static void (*const puts[])(struct wild *, struct buf *) = {put_consume, put_consume, put_unconsume,
        put_credit, put_hold, put_request, put_request, put_request, put_abandon, put_result, put_withdraw,
        put_reply, put_reply, put_reply, put_settle, put_settle, put_join, put_join, put_leave, put_who,
        put_publish, put_peek, put_purge};

    puts[pick(sizeof(puts) / sizeof(puts[0]))](w, link_buf(w->fake.link));
    ck_assert_int_eq(link_commit(w->fake.link), 0);
}

/* ---- The scene. ---- */

static void
open_wild(struct wild *w, struct bus *bus, size_t i)
{
    static const char *const topics[] = {"w/a", "w/queue"};
    char name[8];
    struct buf *out;

    snprintf(name, sizeof(name), "ws.%zu", i + 2);
    bus->hello_epoch = pick(2);
    fake_open(&w->fake, bus, name, 0);
    w->fake.is_lenient = true;
    w->number = w->pub = 0;
    w->req = 1000;
    out = link_buf(w->fake.link);
    for (uint64_t handle = 0; handle < 2; handle++)
        frame_put_name(out, &(struct frame_name){.handle = handle, .topic = slice_str(topics[handle])});
    frame_put_subscribe(out, &(struct frame_subscribe){.filter = 1, .pattern = slice_str("$presence/#")});
    for (int n = 0; n < 8; n++)
        (pick(2) == 0 ? put_consume : put_join)(w, out);
    frame_put_hold(out, &(struct frame_hold){.consumer = 1, .lease = slice_str("x")});
    fake_resume(&w->fake, 0, 0);
}

/* The good one asks and answers as if nobody else were there. */
static void
check_good(struct fake *good, uint64_t req)
{
    fake_request(good, req, "good", "x", 60000);
    fake_expect(good, "CALL 1 good n=1 x");
    fake_reply(good, 0, 1, good->call, NULL, "y");
    fake_expect(good, "REPLIED %" PRIu64 " code= y", req);
}

/* Until the broker's own figures say that nothing is left. */
static void
wait_for_nothing(struct fake *f)
{
    static const char *const wanted[] = {"\"consumers\":1,", "\"requests_open\":0,",
        "\"requests_waiting\":0,", "\"presence_topics\":0,", "\"presence_members\":0,",
        "\"presence_connections\":0,", "\"presence_lingering\":0,"};
    uint64_t end = loop_now_ms(f->bus->loop) + DEADLINE_MS;
    size_t n = 0;

    while (n < sizeof(wanted) / sizeof(wanted[0])) {
        ck_assert_msg(loop_now_ms(f->bus->loop) < end, "%s is not: %s", wanted[n], f->last_body);
        bus_turn(f->bus);
        for (n = 0; n < sizeof(wanted) / sizeof(wanted[0]) && strstr(f->last_body, wanted[n]) != NULL;)
            n++;
    }
}

START_TEST(random_frames_harm_nobody_and_leave_nothing)
{
    static struct fake good, watcher;
    static struct wild wild[N_WILD];
    struct bus bus;

    state = UINT64_C(88172645463325252) + (uint64_t)_i * 7919;
    bus_start(&bus,
        "broker: {sys_interval: 100ms, grace: 300ms, requests_max: 40, members_max: 30, consumers_max: 30}\n"
        "topics:\n"
        "  - {match: 'w/queue', queue: {max_messages: 20, lease: 200ms, max_deliveries: 2}, presence: "
        "{linger: 100ms}}\n"
        "  - {match: 'w/off', presence: {mode: off}}\n"
        "  - {match: 'w/count', presence: {mode: count, linger: 0}}\n"
        "  - {match: 'w/deaf', subscribe: false}\n"
        "  - {match: '#', presence: {linger: 100ms, max_members: 5}}\n");
    fake_open(&good, &bus, "good", 0);
    fake_resume(&good, 0, 0);
    fake_expect(&good, "RESUMED state=0 seq=%" PRIu64, good.seq);
    fake_consume(&good, 1, 1, "good", "", 1);
    fake_expect(&good, "CONSUMING 1");
    for (size_t i = 0; i < N_WILD; i++)
        open_wild(&wild[i], &bus, i);
    for (uint64_t step = 1; step <= STEPS; step++) {
        size_t i = (size_t)pick(N_WILD);

        if (wild[i].fake.is_down || rarely()) {
            fake_close(&wild[i].fake);
            open_wild(&wild[i], &bus, i);
        }
        put_random(&wild[i]);
        if (pick(30) == 0)
            bus_turn(&bus);
        if (step % 500 == 0)
            check_good(&good, step);
    }
    for (size_t i = 0; i < N_WILD; i++)
        fake_close(&wild[i].fake);
    bus.hello_epoch = 0;
    fake_open(&watcher, &bus, "watcher", 0);
    fake_subscribe(&watcher, 1, "$sys/broker");
    fake_resume(&watcher, 0, 0);
    wait_for_nothing(&watcher);
    check_good(&good, STEPS + 1);
    fake_close(&watcher);
    fake_close(&good);
    bus_stop(&bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("wild frames");
    TCase *t = tcase_create("wild frames");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, random_frames_harm_nobody_and_leave_nothing, 0, 3);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
