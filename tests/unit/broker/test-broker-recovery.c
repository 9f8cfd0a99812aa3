/* SPDX-License-Identifier: Apache-2.0 */
/* The broker as a whole: what it replays to a joiner, to a link that comes back and to one that is slow. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/broker/fakefrontend.h"
#include "tests/unit/broker/latesuite.h"
#include "wire/link.h"

/* Without the broker's own publishes, seqs are what the test makes them. */
#define QUIET "broker: {sys_interval: 0}\n"

/* ---- Recovery of a joiner. ---- */

START_TEST(recovery_replays_what_matches_in_order)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    fake_publish_some(&f, "a", 2);
    fake_publish_some(&f, "b", 1);
    fake_publish_some(&f, "a", 1);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=4");
    fake_subscribe(&f, 1, "a");
    fake_recover(&f, 9, "a", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "SUBSCRIBED 1 seq=4 retained=0");
    fake_expect(&f, "REPLAY 9 a seq=2 prev=1 a2");
    fake_expect(&f, "REPLAY 9 a seq=4 prev=2 a1");
    fake_expect(&f, "RECOVERED 9 state=1 seq=4 more=0");
    fake_recover(&f, 10, "b + a a", RECOVER_SINCE, f.epoch, 1, 0); /* however many filters match: once */
    fake_expect(&f, "REPLAY 10 a seq=2 prev=1 a2");
    fake_expect(&f, "REPLAY 10 b seq=3 prev=0 b1");
    fake_expect(&f, "REPLAY 10 a seq=4 prev=2 a1");
    fake_expect(&f, "RECOVERED 10 state=1 seq=4 more=0");
    fake_recover(&f, 10, "b a a", RECOVER_SINCE, f.epoch, 3, 0); /* the number is free again */
    fake_expect(&f, "REPLAY 10 a seq=4 prev=2 a1");
    fake_expect(&f, "RECOVERED 10 state=1 seq=4 more=0");
    fake_recover(&f, 11, "unknown", RECOVER_SINCE, f.epoch, 0, 0);
    fake_expect(&f, "RECOVERED 11 state=1 seq=4 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(recovery_says_gap_and_reset_exactly)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: '#', history: {messages: 2}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_publish_some(&f, "a", 4);
    fake_publish_some(&f, "b", 1);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=5");
    fake_recover(&f, 1, "#", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "GAP 1 a seq=2");
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a3");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a4");
    fake_expect(&f, "REPLAY 1 b seq=5 prev=0 b1");
    fake_expect(&f, "RECOVERED 1 state=2 seq=5 more=0");
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch, 2, 0); /* nothing above 2 is missing */
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a3");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a4");
    fake_expect(&f, "RECOVERED 1 state=1 seq=5 more=0");
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch + 1, 2, 0);
    fake_expect(&f, "RECOVERED 1 state=3 seq=5 more=0");
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch, 6, 0); /* a seq that was never given out */
    fake_expect(&f, "RECOVERED 1 state=3 seq=5 more=0");
    fake_recover(&f, 1, "+", RECOVER_SINCE, f.epoch, 2, 2);
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a3");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a4");
    fake_expect(&f, "RECOVERED 1 state=1 seq=4 more=1");
    fake_recover(&f, 1, "+", RECOVER_SINCE, f.epoch, 4, 1); /* as many as there are */
    fake_expect(&f, "REPLAY 1 b seq=5 prev=0 b1");
    fake_expect(&f, "RECOVERED 1 state=1 seq=5 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(last_messages_and_retained_values_are_replayed)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    fake_publish_with(&f, "r/1", &(struct frame_publish){.flags = MESSAGE_RETAIN, .body = slice_str("kept")});
    fake_publish_some(&f, "a", 3);
    fake_publish_some(&f, "b", 1);
    fake_publish_with(&f, "r/2", &(struct frame_publish){.flags = MESSAGE_RETAIN, .body = slice_str("gone")});
    fake_publish_with(&f, "r/2", &(struct frame_publish){.flags = MESSAGE_RETAIN});
    fake_expect(&f, "PUBLISHED 1 seq=1 count=7");
    fake_subscribe(&f, 1, "r/#");
    fake_expect(&f, "SUBSCRIBED 1 seq=7 retained=1");
    fake_subscribe(&f, 2, "r/2");
    fake_expect(&f, "SUBSCRIBED 2 seq=7 retained=0");
    fake_subscribe(&f, 3, "r/1");
    fake_expect(&f, "SUBSCRIBED 3 seq=7 retained=1");
    fake_subscribe(&f, 4, "+");
    fake_expect(&f, "SUBSCRIBED 4 seq=7 retained=0");
    fake_recover(&f, 1, "+", RECOVER_LAST, 0, 0, 2);
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a2");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a3");
    fake_expect(&f, "REPLAY 1 b seq=5 prev=0 b1");
    fake_expect(&f, "RECOVERED 1 state=0 seq=7 more=0");
    fake_recover(&f, 2, "a", RECOVER_LAST, 0, 0, 1);
    fake_expect(&f, "REPLAY 2 a seq=4 prev=3 a3");
    fake_expect(&f, "RECOVERED 2 state=0 seq=7 more=0");
    fake_recover(&f, 2, "a", RECOVER_TIME, 0, 1, 1);
    fake_expect(&f, "REPLAY 2 a seq=4 prev=3 a3");
    fake_expect(&f, "RECOVERED 2 state=0 seq=7 more=0");
    fake_recover(&f, 2, "a", RECOVER_TIME, 0, UINT64_C(1) << 62, 1); /* some time after the sun is gone */
    fake_expect(&f, "RECOVERED 2 state=0 seq=7 more=0");
    fake_recover(&f, 3, "#", RECOVER_RETAINED, 0, 0, 0);
    fake_expect(&f, "REPLAY 3 r/1 seq=1 prev=0 kept");
    fake_expect(&f, "RECOVERED 3 state=0 seq=7 more=0");
    fake_recover(&f, 4, "r/1 r/2 none", RECOVER_RETAINED, 0, 0, 0);
    fake_expect(&f, "REPLAY 4 r/1 seq=1 prev=0 kept");
    fake_expect(&f, "RECOVERED 4 state=0 seq=7 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* Many recoveries, some long, while another frontend publishes: for each joiner, what was replayed and then
 * what came live above RECOVERED must be every message, once. */
#define STORM_JOINERS 40u
#define STORM_MESSAGES 3000u

struct storm {
    bool is_joined[STORM_JOINERS + 1];
    uint64_t next[STORM_JOINERS + 1]; /* the seq that the joiner has to see next */
};

static void
storm_take(struct storm *s, const char *line)
{
    uint64_t req, seq, state, more;
    char topic[32];

    if (sscanf(line, "REPLAY %" SCNu64 " %31s seq=%" SCNu64, &req, topic, &seq) == 3) {
        ck_assert(!s->is_joined[req]);
        ck_assert_uint_eq(seq, s->next[req]);
        s->next[req]++;
    } else if (sscanf(line, "RECOVERED %" SCNu64 " state=%" SCNu64 " seq=%" SCNu64 " more=%" SCNu64, &req,
                   &state, &seq, &more) == 4) {
        ck_assert_uint_eq(state, STATE_RECOVERED);
        ck_assert_uint_eq(more, 0);
        ck_assert_uint_eq(seq + 1, s->next[req]);
        s->is_joined[req] = true;
    } else if (sscanf(line, "MESSAGE %31s seq=%" SCNu64, topic, &seq) == 2) {
        for (unsigned i = 1; i <= STORM_JOINERS; i++) {
            if (!s->is_joined[i])
                continue;
            ck_assert_uint_eq(seq, s->next[i]);
            s->next[i]++;
        }
    }
}

START_TEST(replay_and_live_stream_join_without_a_seam)
{
    static char body[2000]; /* so that a replay takes several turns */
    struct storm storm = {0};
    struct bus bus;
    struct fake f, g;
    unsigned n_asked = 0;

    memset(body, 'x', sizeof(body));
    bus_start(&bus, "broker: {sys_interval: 0, outbox_max: 1MiB}\n"
                    "topics: [{match: '#', history: {messages: 100000, bytes: 0}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_open_live(&g, &bus, "ws.2");
    fake_subscribe(&f, 1, "#");
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    for (unsigned i = 1; i <= STORM_JOINERS; i++)
        storm.next[i] = 1;
    for (unsigned i = 0; i < STORM_MESSAGES; i++) {
        fake_publish_with(
            &g, i % 3 == 0 ? "a" : "b/c", &(struct frame_publish){.body = slice_of(body, sizeof(body))});
        if (i % (STORM_MESSAGES / STORM_JOINERS / 2) == 0 && n_asked < STORM_JOINERS) {
            n_asked++;
            fake_recover(&f, n_asked, n_asked % 2 == 0 ? "#" : "a b/c", RECOVER_SINCE, f.epoch, 0, 0);
        }
        if (i % 50 == 0)
            bus_turn(&bus);
    }
    for (bool is_done = false; !is_done;) {
        is_done = true;
        for (unsigned i = 1; i <= STORM_JOINERS; i++)
            is_done = is_done && storm.is_joined[i] && storm.next[i] == STORM_MESSAGES + 1;
        if (!is_done)
            storm_take(&storm, fake_next(&f));
    }
    fake_close(&f);
    fake_close(&g);
    bus_stop(&bus);
}
END_TEST

/* ---- Resuming a link. ---- */

START_TEST(resumed_link_gets_what_it_missed)
{
    struct bus bus;
    struct fake f, g;
    uint64_t epoch;

    bus_start(&bus, QUIET "topics: [{match: 'few/#', history: {messages: 1}}]\n");
    fake_open_live(&g, &bus, "ws.2");
    epoch = g.epoch;
    fake_publish_some(&g, "a", 2);
    fake_publish_some(&g, "other", 1);
    fake_publish_some(&g, "a", 1);
    fake_expect(&g, "PUBLISHED 1 seq=1 count=4");
    fake_open(&f, &bus, "ws.1", 0);
    fake_subscribe(&f, 1, "a");
    fake_resume(&f, epoch, 1);
    fake_expect(&f, "SUBSCRIBED 1 seq=4 retained=0");
    fake_expect(&f, "MESSAGE a seq=2 prev=0 a2");
    fake_expect(&f, "MESSAGE a seq=4 prev=0 a1");
    fake_expect(&f, "RESUMED state=1 seq=4");
    fake_publish_some(&g, "a", 1);
    fake_expect(&f, "MESSAGE a seq=5 prev=4 a1");
    fake_close(&f);

    fake_publish_some(&g, "few/x", 3);
    fake_expect(&g, "PUBLISHED 5 seq=5 count=1");
    fake_expect(&g, "PUBLISHED 6 seq=6 count=3");
    fake_open(&f, &bus, "ws.1", 0);
    fake_subscribe(&f, 1, "#");
    fake_resume(&f, epoch, 5);
    fake_expect(&f, "SUBSCRIBED 1 seq=8 retained=0");
    fake_expect(&f, "GAP 0 few/x seq=7");
    fake_expect(&f, "MESSAGE few/x seq=8 prev=0 few/x3");
    fake_expect(&f, "RESUMED state=2 seq=8");
    fake_close(&f);

    fake_open(&f, &bus, "ws.1", 0);
    fake_subscribe(&f, 1, "#");
    fake_resume(&f, epoch, 9);
    fake_expect(&f, "SUBSCRIBED 1 seq=8 retained=0");
    fake_expect(&f, "RESUMED state=3 seq=8");
    fake_close(&f);
    fake_close(&g);
    bus_stop(&bus);
}
END_TEST

START_TEST(restarted_broker_says_reset)
{
    struct bus bus;
    struct fake f;
    uint64_t epoch;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    epoch = f.epoch;
    fake_publish_some(&f, "a", 2);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=2");
    bus_kill(&bus, SIGKILL);
    fake_wait_down(&f);
    ck_assert(!f.is_clean);
    fake_close(&f);
    bus_spawn(&bus);
    fake_open(&f, &bus, "ws.1", 0);
    ck_assert_uint_ne(f.epoch, epoch);
    fake_subscribe(&f, 1, "a");
    fake_resume(&f, epoch, 2);
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    fake_expect(&f, "RESUMED state=3 seq=0");
    fake_publish(&f, "a", "new");
    fake_expect(&f, "MESSAGE a seq=1 prev=0 new");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

static void
wait_for_messages(struct fake *f, unsigned n)
{
    while (f->n_messages < n) {
        ck_assert_msg(!f->is_down, "%s: the link is down: %s", f->name, f->reason);
        bus_turn(f->bus);
    }
}

/* A frontend that does not read: the broker lets it fall behind, keeps little for it, and sends it everything
 * in the end. */
static void
check_slow_frontend(const char *yaml, bool has_gap)
{
    static char body[20000];
    struct bus bus;
    struct fake slow, fast, publisher;
    const unsigned n = 1000;
    const char *line;
    long rss_before;

    memset(body, 'x', sizeof(body));
    bus_start(&bus, yaml);
    fake_open_live(&slow, &bus, "ws.1");
    fake_open_live(&fast, &bus, "ws.2");
    fake_open_live(&publisher, &bus, "ws.3");
    fake_subscribe(&slow, 1, "a");
    fake_subscribe(&fast, 1, "a");
    fake_expect(&slow, "SUBSCRIBED 1 seq=0 retained=0");
    fake_expect(&fast, "SUBSCRIBED 1 seq=0 retained=0");
    fast.is_quiet = slow.is_quiet = true;
    link_pause(slow.link, true);
    for (unsigned i = 0; i < n; i++) {
        fake_publish_with(&publisher, "a", &(struct frame_publish){.body = slice_of(body, sizeof(body))});
        if (i > 20)
            wait_for_messages(&fast, i - 20); /* the fast one must not be taken for slow */
    }
    wait_for_messages(&fast, n);
    rss_before = bus_rss_kib(&bus);
    ck_assert_uint_lt(slow.n_messages, n);
    link_pause(slow.link, false);
    line = fake_next(&slow);
    if (has_gap) {
        ck_assert_msg(strncmp(line, "GAP 0 a seq=", 12) == 0, "%s", line);
        while (strncmp(line, "GAP 0 a seq=", 12) == 0)
            line = fake_next(&slow);
        ck_assert_str_eq(line, "RESUMED state=2 seq=1000");
        ck_assert_uint_lt(slow.n_messages, n);
    } else {
        ck_assert_str_eq(line, "RESUMED state=1 seq=1000");
        ck_assert_uint_eq(slow.n_messages, n); /* each once: fakefrontend.c checks their order */
    }
    ck_assert_uint_eq(slow.last_message_seq, n);
    ck_assert_int_lt(
        rss_before, 160000); /* 20 MB of history, and not as much again for the link (with sanitizers) */
    fake_publish(&publisher, "a", "live");
    slow.is_quiet = false;
    fake_expect(&slow, "MESSAGE a seq=1001 prev=1000 live");
    fake_close(&slow);
    fake_close(&fast);
    fake_close(&publisher);
    bus_stop(&bus);
}

START_TEST(slow_frontend_is_caught_up_from_the_store)
{
    check_slow_frontend("broker: {sys_interval: 0, outbox_max: 1MiB}\n"
                        "topics: [{match: '#', history: {messages: 100000, bytes: 0}}]\n",
        false);
}
END_TEST

START_TEST(slow_frontend_is_told_of_the_gap)
{
    check_slow_frontend("broker: {sys_interval: 0, outbox_max: 1MiB}\n"
                        "topics: [{match: '#', history: {messages: 10, bytes: 0}}]\n",
        true);
}
END_TEST

static void
add_late_tests(TCase *t)
{
    tcase_add_test(t, recovery_replays_what_matches_in_order);
    tcase_add_test(t, recovery_says_gap_and_reset_exactly);
    tcase_add_test(t, last_messages_and_retained_values_are_replayed);
    tcase_add_test(t, replay_and_live_stream_join_without_a_seam);
    tcase_add_test(t, resumed_link_gets_what_it_missed);
    tcase_add_test(t, slow_frontend_is_caught_up_from_the_store);
    tcase_add_test(t, slow_frontend_is_told_of_the_gap);
}

static void
add_other_tests(TCase *t)
{
    tcase_add_test(t, restarted_broker_says_reset);
}

int
main(void)
{
    return late_suite_main("broker recovery", add_late_tests, add_other_tests);
}
