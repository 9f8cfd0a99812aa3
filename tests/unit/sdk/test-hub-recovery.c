/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: what came before a subscription, or was set back, and how it meets what is live. */
#include "config.h"

#include "frontends/sdk/hub.h"

#include "tests/unit/sdk/hubfixture.h"

#include <stdio.h>
#include <string.h>

static void
setup(void)
{
    setup_hub();
    tells_positions = true;
}

/* ---- Since a cursor. ---- */

START_TEST(test_since)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1 a/2", "e-5");
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/1; SUBSCRIBE 2 a/2; ");
    subscribed(1, 10, false);
    subscribed(2, 10, false);
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-5 count 256 a/1 a/2; ");
    replay(1, 1, 7, "seven");
    replay(1, 2, 9, "nine");
    expect(&x, ""); /* the state is known at the end only */
    recovered(1, STATE_RECOVERED, 10, false);
    ck_assert_int_eq(message(1, 11, 7, "eleven"), 0);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,recovered,e-5) 1:a/1=seven 1:a/2=nine 1:a/1=eleven ");
    client_end(&x);
}
END_TEST

START_TEST(test_since_states)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", "e-5");
    subscribed(1, 10, false);
    recovered(1, STATE_RECOVERED, 10, false); /* nothing was missed */
    expect(&x, "SUBSCRIBED(1,recovered,e-10) ");
    sub(&x, "2", "a/1", "e-3");
    gap(1, "a/1", 6);
    replay(1, 1, 7, "seven");
    recovered(1, STATE_GAP, 10, false);
    expect(&x, "SUBSCRIBED(2,gap,e-6,a/1) 2:a/1=seven ");
    sub(&x, "3", "a/1", "d-3");
    recovered(1, STATE_RESET, 10, false);
    expect(&x, "SUBSCRIBED(3,reset,e-10) ");
    client_end(&x);
}
END_TEST

/* What came live while the replay was under way, and is not in it, is asked for. */
START_TEST(test_since_and_live_meet)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", "e-5");
    subscribed(1, 10, false);
    frames();
    ck_assert_int_eq(message(1, 11, 0, "eleven"), 0);
    replay(1, 1, 7, "seven");
    replay(1, 1, 11, "eleven");
    ck_assert_int_eq(message(1, 12, 11, "twelve"), 0);
    recovered(1, STATE_RECOVERED, 11, false);
    loop_settle(loop);
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-11 count 512 a/1; ");
    replay(1, 1, 12, "twelve");
    recovered(1, STATE_RECOVERED, 12, false);
    ck_assert_int_eq(message(1, 13, 12, "thirteen"), 0);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,recovered,e-5) 1:a/1=seven 1:a/1=eleven 1:a/1=twelve 1:a/1=thirteen ");
    client_end(&x);
}
END_TEST

START_TEST(test_pages_wait_for_the_client)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", "e-5");
    subscribed(1, 10, false);
    frames();
    replay(1, 1, 7, "seven");
    x.queued = limits.queue_bytes;
    recovered(1, STATE_RECOVERED, 7, true);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,recovered,e-5) 1:a/1=seven ");
    ck_assert_str_eq(frames(), "");
    x.queued = 0;
    loop_defer(loop, &fe.turn_hook);
    loop_settle(loop);
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-7 count 512 a/1; ");
    gap(1, "a/1", 8);
    replay(1, 1, 9, "nine");
    recovered(1, STATE_GAP, 10, false);
    expect(&x, "STATE(1,gap,e-8,a/1) 1:a/1=nine ");
    client_end(&x);
}
END_TEST

/* Each page is a request of its own and meets the gaps that lie above it: the client is told each once. */
START_TEST(test_gaps_are_told_once)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/+", "e-1");
    subscribed(1, 10, false);
    gap(1, "a/1", 8);
    replay(1, 2, 3, "three");
    recovered(1, STATE_GAP, 3, true);
    expect(&x, "SUBSCRIBED(1,gap,e-2,a/1) 1:a/2=three ");
    loop_settle(loop);
    frames();
    gap(1, "a/1", 8); /* of a page that does not come to its end */
    gap(1, "a/2", 5);
    replay(1, 2, 6, "six");
    hub_on_down(fe.hub);
    attach_topics();
    gap(1, "a/1", 8);
    gap(1, "a/2", 5);
    replay(1, 2, 6, "six");
    recovered(1, STATE_GAP, 6, true);
    expect(&x, "STATE(1,gap,e-5,a/2) 1:a/2=six ");
    loop_settle(loop);
    gap(1, "a/1", 8);
    replay(1, 2, 7, "seven");
    recovered(1, STATE_GAP, 7, true);
    expect(&x, "1:a/2=seven ");
    loop_settle(loop);
    gap(1, "a/1", 9); /* more than was told */
    recovered(1, STATE_GAP, 10, false);
    expect(&x, "STATE(1,gap,e-10,a/1) ");
    client_end(&x);
}
END_TEST

START_TEST(test_large_pages_are_cut)
{
    struct client x;
    char body[10001] = {0};

    memset(body, 'z', sizeof body - 1);
    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", "e-1");
    subscribed(1, 10, false);
    frames();
    for (uint64_t seq = 2; seq < 8; seq++) /* a page is 16 KiB: the first two */
        replay(1, 1, seq, body);
    recovered(1, STATE_RECOVERED, 10, false);
    ck_assert_uint_gt(x.log.n, 20000);
    ck_assert_uint_lt(x.log.n, 21000);
    loop_settle(loop);
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-3 count 2 a/1; ");
    client_end(&x);
    ck_assert_str_eq(frames(), "CANCEL 1; ");
    replay(1, 1, 4, "for nobody");
    recovered(1, STATE_RECOVERED, 5, true);
}
END_TEST

START_TEST(test_recovery_goes_on_on_another_link)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", "e-5");
    subscribed(1, 10, false);
    replay(1, 1, 7, "seven");
    hub_on_down(fe.hub); /* the first page was not delivered */
    frames();
    hub_on_attached(fe.hub);
    topic(1, "a/1");
    subscribed(1, 10, false);
    resumed(STATE_RECOVERED, EPOCH, 10);
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/1; RECOVER 1 mode 0 e-5 count 256 a/1; ");
    replay(1, 1, 7, "seven");
    recovered(1, STATE_RECOVERED, 7, true);
    loop_settle(loop);
    frames();
    hub_on_down(fe.hub); /* the second was asked for */
    hub_on_attached(fe.hub);
    topic(1, "a/1");
    resumed(STATE_RECOVERED, EPOCH, 10);
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/1; RECOVER 1 mode 0 e-7 count 512 a/1; ");
    replay(1, 1, 9, "nine");
    recovered(1, STATE_RECOVERED, 10, false);
    expect(&x, "SUBSCRIBED(1,recovered,e-5) 1:a/1=seven 1:a/1=nine ");
    client_end(&x);
}
END_TEST

START_TEST(test_kept_values_first)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "a/#", NULL);
    subscribed(1, 10, true);
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/#; RECOVER 1 mode 2 0-0 count 0 a/#; ");
    replay(1, 1, 4, "kept");
    replay(1, 1, 12, "new meanwhile");
    recovered(1, STATE_LIVE, 12, false);
    expect(&x, "SUBSCRIBED(1,live,e-10) 1:a/1=kept(kept) 1:a/1=new meanwhile ");
    sub(&y, "1", "b/#", NULL);
    subscribed(2, 12, false);
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_MESSAGE,
            .message = {.handle = 3, .seq = 13, .flags = MESSAGE_RETAIN, .body = slice_str("keep")}}),
        0);
    loop_settle(loop);
    expect(&y, "SUBSCRIBED(1,live,e-12) 1:b/1=keep ");
    frames();
    sub(&x, "2", "b/#", NULL); /* it was seen that a value is kept */
    ck_assert_str_eq(frames(), "RECOVER 1 mode 2 0-0 count 0 b/#; ");
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_many_kept_values_spill)
{
    struct client x;
    char body[10001] = {0};

    memset(body, 'z', sizeof body - 1);
    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/#", NULL);
    subscribed(1, 10, true);
    for (uint64_t i = 0; i < 3; i++)
        replay(1, 1 + i % 2, 1 + i, body);
    ck_assert_int_eq(memcmp(x.log.p, "SUBSCRIBED(1,live,e-10) 1:a/1=zz", 32), 0);
    recovered(1, STATE_LIVE, 11, false);
    ck_assert_uint_eq(x.n_deliveries, 2);
    buf_reset(&x.log);
    ck_assert_int_eq(message(1, 12, 0, "live"), 0);
    loop_settle(loop);
    expect(&x, "1:a/1=live ");
    client_end(&x);
}
END_TEST

START_TEST(test_leaving_on_the_answer)
{
    struct client x;

    client_begin(&x);
    x.leaves_on_answer = true;
    attach_topics();
    sub(&x, "1", "a/1", "e-5");
    subscribed(1, 10, false);
    replay(1, 1, 7, "seven");
    recovered(1, STATE_RECOVERED, 10, false);
    expect(&x, "SUBSCRIBED(1,recovered,e-5) ");
    ck_assert_uint_eq(hub_n_subs(fe.hub), 0);
    client_end(&x);
}
END_TEST

/* A client that was given too much goes on from where the hole is, and gets nothing twice. */
START_TEST(test_set_back)
{
    struct client x, y;
    struct hub_hole holes[] = {{.group = 2, .epoch = EPOCH, .seq = 12}};

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "a/1", NULL); /* joins under number 1, then gets the first group */
    subscribed(1, 10, false);
    sub(&y, "2", "a/1", NULL);
    frames();
    ck_assert_int_eq(message(1, 11, 0, "11"), 0);
    loop_settle(loop);
    buf_reset(&x.log);
    buf_reset(&y.log);
    ck_assert_int_eq(message(1, 12, 11, "12"), 0);
    x.queued = limits.queue_bytes;
    ck_assert_int_eq(hub_set_back(fe.hub, &x.session, holes, 1), 0);
    ck_assert_int_eq(hub_set_back(fe.hub, &y.session, holes, 1), 0); /* its group has no hole */
    ck_assert_int_eq(message(1, 13, 12, "13"), 0);
    loop_settle(loop);
    expect(&x, "");
    expect(&y, "2:a/1=12 2:a/1=13 ");
    ck_assert_str_eq(frames(), "");
    x.queued = 0;
    loop_defer(loop, &fe.turn_hook);
    loop_settle(loop);
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-11 count 256 a/1; ");
    ck_assert_int_eq(message(1, 14, 13, "14"), 0);
    replay(1, 1, 12, "12");
    recovered(1, STATE_RECOVERED, 13, false); /* 14 came meanwhile */
    loop_settle(loop);
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-13 count 512 a/1; ");
    gap(1, "a/1", 13);
    replay(1, 1, 14, "14");
    recovered(1, STATE_GAP, 14, false);
    ck_assert_int_eq(message(1, 15, 14, "15"), 0);
    loop_settle(loop);
    expect(&x, "1:a/1=12 STATE(1,gap,e-13,a/1) 1:a/1=14 1:a/1=15 ");
    client_end(&x);
    client_end(&y);
}
END_TEST

/* ---- When nothing can have come. ---- */

static void
sub_time(struct client *x, const char *id, const char *topic, uint64_t since_ms)
{
    struct slice filter = slice_str(topic);
    const struct request r = {.op = REQUEST_SUB,
        .id = slice_str(id),
        .filters = &filter,
        .n_filters = 1,
        .from = FROM_TIME,
        .since_ms = since_ms,
        .tells_live = true};

    ck_assert_int_eq(session_request(&x->session, &r), 0);
}

/* What was published since a time; nothing is asked when nothing can have come. */
START_TEST(test_since_a_time)
{
    uint64_t now = (uint64_t)loop_wall_ms(loop);
    char wanted[100];
    struct client x;

    client_begin(&x);
    attach_topics();
    sub_time(&x, "1", "a/1", 5000);
    subscribed(1, 10, false);
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/1; RECOVER 1 mode 3 0-5000 count 1000 a/1; ");
    replay(1, 1, 9, "9");
    recovered(1, STATE_LIVE, 10, false);
    expect(&x, "SUBSCRIBED(1,live,e-8) 1:a/1=9 LIVE(1) ");
    sub_time(&x, "2", "a/1", now + 60000);
    ck_assert_str_eq(frames(), "");
    expect(&x, "SUBSCRIBED(2,live,e-10) LIVE(2) ");
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_MESSAGE,
            .message = {.handle = 1, .seq = 11, .time_ms = now + 70000, .body = slice_str("x")}}),
        0);
    loop_settle(loop);
    expect(&x, "1:a/1=x 2:a/1=x ");
    sub_time(&x, "3", "a/1", now + 70000);
    (void)snprintf(wanted, sizeof wanted, "RECOVER 1 mode 3 0-%d count 1000 a/1; ", (int)(now + 70000));
    ck_assert_str_eq(frames(), wanted);
    client_end(&x);
}
END_TEST

/* Of a cursor that all is known since, the broker is not asked; of any other it is. */
START_TEST(test_since_nothing_came)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", NULL);
    subscribed(1, 12, false);
    expect(&x, "SUBSCRIBED(1,live,e-12) ");
    (void)frames();
    unsub(&x, "1");
    sub(&x, "1", "a/1", "e-12");
    expect(&x, "UNSUBSCRIBED(1) SUBSCRIBED(1,recovered,e-12) ");
    ck_assert_str_eq(frames(), "");
    ck_assert_int_eq(message(1, 13, 0, "x"), 0);
    sub(&x, "2", "a/1", "e-12"); /* it came, and this one has not got it */
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-12 count 256 a/1; ");
    sub(&x, "3", "a/1", "e-13");
    ck_assert_str_eq(frames(), "");
    ck_assert_int_eq(message(3, 15, 0, "not for them"), 0);
    sub(&x, "4", "a/1", "e-13");
    ck_assert_str_eq(frames(), "");
    loop_settle(loop);
    expect(&x, "1:a/1=x SUBSCRIBED(3,recovered,e-13) SUBSCRIBED(4,recovered,e-15) ");
    sub(&x, "5", "a/1", "e-16"); /* of another frontend, which is further */
    ck_assert_str_eq(frames(), "RECOVER 2 mode 0 e-16 count 256 a/1; ");
    client_end(&x);
}
END_TEST

/* What a publisher was told of is in the broker, and perhaps not here yet. */
START_TEST(test_since_and_the_latest)
{
    struct slice filter = slice_str("a/1");
    struct request latest = {
        .op = REQUEST_SUB,
        .id = slice_str("2"),
        .filters = &filter,
        .n_filters = 1,
        .from = FROM_SINCE,
        .since = slice_str("e-12"),
        .wants_latest = true,
    };
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", NULL);
    subscribed(1, 12, false);
    (void)frames();
    ck_assert_int_eq(session_request(&x.session, &latest), 0);
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-12 count 256 a/1; ");
    latest.wants_latest = false;
    latest.id = slice_str("3");
    ck_assert_int_eq(session_request(&x.session, &latest), 0);
    ck_assert_str_eq(frames(), "");
    client_end(&x);
}
END_TEST

/* Who was not told of a gap has to be. */
START_TEST(test_since_before_a_gap)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", NULL);
    subscribed(1, 12, false);
    (void)frames();
    gap(0, "a/1", 20);
    sub(&x, "2", "a/1", "e-12");
    ck_assert_str_eq(frames(), "RECOVER 1 mode 0 e-12 count 256 a/1; ");
    ck_assert_int_eq(message(1, 21, 20, "x"), 0);
    sub(&x, "3", "a/1", "e-19");
    ck_assert_str_eq(frames(), "RECOVER 2 mode 0 e-19 count 256 a/1; ");
    sub(&x, "4", "a/1", "e-21");
    ck_assert_str_eq(frames(), "");
    hub_on_down(fe.hub);
    hub_on_attached(fe.hub);
    resumed(STATE_RECOVERED, EPOCH, 30);
    (void)frames();
    unsub(&x, "4");
    sub(&x, "4", "a/1", "e-21");
    ck_assert_str_eq(frames(), "RECOVER 3 mode 0 e-21 count 256 a/1; ");
    sub(&x, "5", "a/1", "e-30");
    ck_assert_str_eq(frames(), "");
    client_end(&x);
}
END_TEST

SUITE_MAIN_WITH("hub recovery", setup, teardown_hub, test_since, test_since_states, test_since_and_live_meet,
    test_pages_wait_for_the_client, test_gaps_are_told_once, test_large_pages_are_cut,
    test_recovery_goes_on_on_another_link, test_kept_values_first, test_many_kept_values_spill,
    test_leaving_on_the_answer, test_set_back, test_since_a_time, test_since_nothing_came,
    test_since_and_the_latest, test_since_before_a_gap)
