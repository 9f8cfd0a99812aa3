/* SPDX-License-Identifier: Apache-2.0 */
/* The broker as a whole: frontends that break the rules, or send frames that make no sense together. */
#include "config.h"

#include <check.h>
#include <string.h>

#include "tests/unit/broker/fakefrontend.h"
#include "tests/unit/broker/latesuite.h"
#include "wire/link.h"

/* Without the broker's own publishes, seqs are what the test makes them. */
#define QUIET "broker: {sys_interval: 0}\n"

/* ---- Those who break the rules. ---- */

static void
break_unnamed_handle(struct fake *f)
{
    frame_put_publish(link_buf(f->link), &(struct frame_publish){.pub = 1, .handle = 40});
}

static void
break_handle_too_large(struct fake *f)
{
    frame_put_name(link_buf(f->link), &(struct frame_name){.handle = 65536, .topic = slice_str("a")});
}

static void
break_filter_twice(struct fake *f)
{
    fake_subscribe(f, 1, "a");
    fake_subscribe(f, 1, "b");
    link_buf(f->link);
}

static void
break_resume_twice(struct fake *f)
{
    fake_resume(f, 0, 0);
    link_buf(f->link);
}

static void
break_request_zero(struct fake *f)
{
    fake_recover(f, 0, "a", RECOVER_SINCE, 1, 0, 0);
    link_buf(f->link);
}

static void
break_direction(struct fake *f)
{
    frame_put_message(link_buf(f->link), &(struct frame_message){.seq = 1});
}

static void
break_garbage(struct fake *f)
{
    buf_put_str(link_buf(f->link), "\x93\x0a\xc1 this is no frame");
}

static void
break_number(struct fake *f)
{
    buf_put_str(link_buf(f->link), "\x91\x7d");
}

static void
break_stats(struct fake *f)
{
    frame_put_stats(link_buf(f->link), &(struct frame_stats){.json = slice_str("{\"a\":")});
}

static void (*const breakers[])(struct fake *f) = {break_unnamed_handle, break_handle_too_large,
    break_filter_twice, break_resume_twice, break_request_zero, break_direction, break_garbage, break_number,
    break_stats};
#define N_BREAKERS (sizeof(breakers) / sizeof(breakers[0]))

START_TEST(malformed_frame_drops_that_link_and_no_other)
{
    struct bus bus;
    struct fake good, bad;

    bus_start(&bus, QUIET);
    fake_open_live(&good, &bus, "ws.1");
    for (size_t i = 0; i < N_BREAKERS; i++) {
        fake_open_live(&bad, &bus, "ws.2");
        breakers[i](&bad);
        ck_assert_int_eq(link_commit(bad.link), 0);
        fake_wait_down(&bad);
        fake_close(&bad);
    }
    fake_expect_nothing(&good);
    ck_assert(!good.is_down);
    fake_close(&good);
    bus_stop(&bus);
}
END_TEST

/* Frames that are well-formed one by one and make any sense or none together. Handles, filters and requests
 * are from so few that they are often in use. */
static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

static const char *
random_name(uint64_t *state)
{
    static const char *const names[] = {"a", "b", "a/b", "a/+", "#", "+/b", "$sys/x", "$sys/#", "none/x",
        "ro/x", "", "a/#/b", "many/1", "many/2", "many/3", "many/4"};

    return names[next_random(state) % (sizeof(names) / sizeof(names[0]))];
}

static void
put_random_recover(struct fake *f, struct buf *out, uint64_t *state)
{
    struct frame_recover recover = {
        .req = next_random(state) % 20 + (next_random(state) % 200 > 0),
        .mode = next_random(state) % 100 == 0 ? 3 : next_random(state) % 3,
        .epoch = next_random(state) % 10 == 0 ? 1 : f->epoch,
        .seq = next_random(state) % 3000,
        .count = next_random(state) % 4,
    };
    struct slice filters[3];
    struct buf packed;
    size_t n = 1 + next_random(state) % 3;

    for (size_t i = 0; i < n; i++) {
        const char *name = random_name(state);

        filters[i] = slice_str(*name == '\0' || strcmp(name, "a/#/b") == 0 ? "a" : name);
    }
    buf_init(&packed, 0);
    strs_from(&packed, &recover.filters, filters, n);
    frame_put_recover(out, &recover);
    buf_fini(&packed);
}

static void
put_random_frame(struct fake *f, uint64_t *state)
{
    static const char body[3000];
    struct buf *out = link_buf(f->link);
    uint64_t what = next_random(state) % 100, small = next_random(state) % 16;

    if (what < 10)
        frame_put_name(out, &(struct frame_name){.handle = small, .topic = slice_str(random_name(state))});
    else if (what < 55)
        frame_put_publish(
            out, &(struct frame_publish){
                     .pub = next_random(state) % 20 == 0 ? next_random(state) % 100 : ++f->pub,
                     .handle = small,
                     .flags = next_random(state) % 2,
                     .kind = MESSAGE_BINARY,
                     .key = slice_of("kkk", next_random(state) % 8 == 0 ? 1 + next_random(state) % 3 : 0),
                     .body = slice_of(body, next_random(state) % sizeof(body)),
                 });
    else if (what < 65)
        frame_put_subscribe(out, &(struct frame_subscribe){.filter = next_random(state) % 5000,
                                     .pattern = slice_str(random_name(state))});
    else if (what < 75)
        frame_put_unsubscribe(out, &(struct frame_unsubscribe){.filter = next_random(state) % 5000});
    else if (what < 85)
        put_random_recover(f, out, state);
    else if (what < 90)
        frame_put_cancel(out, &(struct frame_cancel){.req = next_random(state) % 20});
    else if (what < 95)
        frame_put_list(out,
            &(struct frame_list){.req = small, .filter = slice_str("#"), .limit = next_random(state) % 30});
    else if (what < 99)
        frame_put_stats(out, &(struct frame_stats){.json = slice_str("{}")});
    else
        frame_put_resume(out, &(struct frame_resume){.epoch = next_random(state) % 4 == 0 ? 0 : f->epoch,
                                  .seq = next_random(state) % 2000});
    ck_assert_int_eq(link_commit(f->link), 0);
}

/* All handles named and RESUME said, or the first frame would be the last. */
static void
open_random(struct fake *f, struct bus *bus, uint64_t *state)
{
    fake_open(f, bus, "ws.2", 0);
    f->is_lenient = true;
    for (uint64_t handle = 0; handle < 16; handle++) {
        frame_put_name(link_buf(f->link),
            &(struct frame_name){.handle = handle, .topic = slice_str(random_name(state))});
        ck_assert_int_eq(link_commit(f->link), 0);
    }
}

START_TEST(random_frames_harm_nobody)
{
    uint64_t state = UINT64_C(88172645463325252) + (uint64_t)_i * 7919;
    struct bus bus;
    struct fake good, wild;

    bus_start(&bus,
        "broker: {sys_interval: 100ms, outbox_max: 1MiB, topic_idle: 1s, dedupe_window: 0, topics_max: 6}\n"
        "topics:\n"
        "  - {match: 'none/#', history: {messages: 0}}\n"
        "  - {match: 'many/#', history: {messages: 3, age: 100ms}, retain: last}\n"
        "  - {match: 'ro/#', publish: false}\n");
    fake_open(&good, &bus, "ws.1", 0);
    fake_resume(&good, 0, 0);
    good.is_lenient = true;
    fake_subscribe(&good, 1, "#");
    open_random(&wild, &bus, &state);
    for (unsigned i = 0; i < 1500; i++) {
        if (wild.is_down) {
            fake_close(&wild);
            open_random(&wild, &bus, &state);
        }
        put_random_frame(&wild, &state);
        if (next_random(&state) % 20 == 0)
            link_pause(wild.link, next_random(&state) % 2 == 0);
        if (next_random(&state) % 10 == 0)
            bus_turn(&bus);
        ck_assert_msg(!good.is_down, "%s", good.reason);
    }
    fake_close(&wild);
    fake_list(&good, 77, "#", "", 1);
    while (strcmp(fake_next(&good), "LIST_END 77 more=1") != 0)
        ;
    fake_close(&good);
    bus_stop(&bus);
}
END_TEST

static void
add_late_tests(TCase *t)
{
    tcase_add_loop_test(t, random_frames_harm_nobody, 0, 3);
}

static void
add_other_tests(TCase *t)
{
    tcase_add_test(t, malformed_frame_drops_that_link_and_no_other);
}

int
main(void)
{
    return late_suite_main("broker rules", add_late_tests, add_other_tests);
}
