/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: who gets what of a live stream, and what becomes of it as links come and go. */
#include "config.h"

#include "frontends/sdk/hub.h"

#include "tests/unit/sdk/hubfixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "frontends/sdk/badge.h"
#include "frontends/sdk/block.h"

static void
setup(void)
{
    setup_hub();
    tells_positions = true;
}

/* ---- Live. ---- */

START_TEST(test_live)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    sub(&x, "1", "a/+", NULL); /* no link yet */
    expect(&x, "");
    attach_topics();
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/+; ");
    expect(&x, "");
    subscribed(1, 12, false);
    expect(&x, "SUBSCRIBED(1,live,e-12) ");
    sub(&y, "1", "a/+", NULL); /* the filter is held already */
    expect(&y, "SUBSCRIBED(1,live,e-12) ");
    ck_assert_str_eq(frames(), "");
    ck_assert_int_eq(message(1, 13, 0, "x"), 0);
    ck_assert_int_eq(message(3, 14, 0, "not for them"), 0);
    ck_assert_int_eq(message(2, 15, 0, "y"), 0);
    expect(&x, ""); /* at the end of the turn, in one piece */
    loop_settle(loop);
    expect(&x, "1:a/1=x 1:a/2=y ");
    expect(&y, "1:a/1=x 1:a/2=y ");
    ck_assert_uint_eq(x.n_deliveries, 1);
    ck_assert_uint_eq(fe.counters.delivered, 4);
    ck_assert_uint_eq(hub_position(fe.hub).seq, 15);
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_joining_within_a_turn)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "a/+", NULL);
    subscribed(1, 10, false);
    ck_assert_int_eq(message(1, 11, 0, "before"), 0);
    sub(&y, "1", "a/+", NULL); /* shares the group's block from its middle on */
    ck_assert_int_eq(message(1, 12, 11, "after"), 0);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,live,e-10) 1:a/1=before 1:a/1=after ");
    expect(&y, "SUBSCRIBED(1,live,e-11) 1:a/1=after ");
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_several_subs_are_in_order)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", NULL);
    subscribed(1, 10, false);
    ck_assert_int_eq(message(1, 11, 0, "one"), 0);
    sub(&x, "2", "a/2", NULL); /* what came for 1 in this turn comes before the answer */
    subscribed(2, 11, false);
    expect(&x, "SUBSCRIBED(1,live,e-10) 1:a/1=one SUBSCRIBED(2,live,e-11) ");
    ck_assert_int_eq(message(2, 12, 0, "two"), 0);
    ck_assert_int_eq(message(1, 13, 11, "three"), 0);
    ck_assert_int_eq(message(2, 14, 12, "four"), 0);
    expect(&x, "2:a/2=two 1:a/1=three 2:a/2=four ");
    unsub(&x, "1"); /* back to one */
    ck_assert_int_eq(message(2, 15, 14, "five"), 0);
    expect(&x, "UNSUBSCRIBED(1) ");
    loop_settle(loop);
    expect(&x, "2:a/2=five ");
    client_end(&x);
}
END_TEST

START_TEST(test_several_filters_once)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "s", "a/1 a/+ a/1", NULL); /* one is named twice */
    ck_assert_uint_eq(x.session.n_filters, 2);
    subscribed(1, 10, false);
    expect(&x, "");
    subscribed(2, 11, false);
    ck_assert_int_eq(message(1, 12, 0, "x"), 0);
    ck_assert_int_eq(message(2, 13, 0, "y"), 0);
    expect(&x, "SUBSCRIBED(s,live,e-11) s:a/1=x s:a/2=y ");
    loop_settle(loop);
    expect(&x, "");
    client_end(&x);
}
END_TEST

/* A topic knows the filters that match it, from none on, whichever way their number goes. */
START_TEST(test_more_and_fewer_filters_match)
{
    static const char *const filters[] = {
        "a/b/c", "#", "a/#", "+/b/c", "a/+/c", "a/b/+", "+/+/c", "a/+/+", "+/+/+"};
    enum { N = sizeof filters / sizeof filters[0] };
    struct client x[N];
    uint64_t seq = 10;

    attach_topics();
    topic(5, "a/b/c");
    for (unsigned i = 0; i < N; i++) {
        client_begin(&x[i]);
        sub(&x[i], "s", filters[i], NULL);
        subscribed(i + 1, seq, false);
        buf_reset(&x[i].log);
        ck_assert_int_eq(message(5, ++seq, 0, "x"), 0);
        loop_settle(loop);
        for (unsigned k = 0; k <= i; k++)
            expect(&x[k], "s:a/b/c=x ");
    }
    for (unsigned i = 0; i < N; i++) {
        unsub(&x[i], "s");
        expect(&x[i], "UNSUBSCRIBED(s) ");
        ck_assert_int_eq(message(5, ++seq, 0, "y"), 0);
        loop_settle(loop);
        for (unsigned k = i + 1; k < N; k++)
            expect(&x[k], "s:a/b/c=y ");
    }
    for (unsigned i = 0; i < N; i++)
        client_end(&x[i]);
}
END_TEST

START_TEST(test_unsubscribing_gives_what_waits)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "#", NULL);
    subscribed(1, 10, false);
    sub(&y, "1", "#", NULL);
    ck_assert_int_eq(message(1, 11, 0, "x"), 0);
    unsub(&x, "1");
    ck_assert_int_eq(message(1, 12, 11, "y"), 0);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,live,e-10) 1:a/1=x UNSUBSCRIBED(1) ");
    expect(&y, "SUBSCRIBED(1,live,e-10) 1:a/1=x 1:a/1=y ");
    unsub(&x, "1");
    expect(&x, "ERROR(1,subscription_unknown) ");
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_refusals)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", NULL);
    sub(&x, "1", "a/2", NULL);
    expect(&x, "ERROR(1,subscription_exists) ");
    sub(&x, "2", "a b c d e", NULL); /* 6 with the first */
    expect(&x, "ERROR(2,limit_reached) ");
    sub(&x, "3", "a/#/b", NULL);
    expect(&x, "ERROR(3,filter_invalid) ");
    sub(&x, "4", "a", "nonsense");
    expect(&x, "ERROR(4,cursor_invalid) ");
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_UNSUBSCRIBABLE,
            .unsubscribable = {.filter = 1, .code = slice_str("not_allowed"), .message = slice_str("no")}}),
        0);
    expect(&x, "ERROR(1,not_allowed) ");
    ck_assert_uint_eq(hub_n_subs(fe.hub), 0);
    ck_assert_uint_eq(x.session.n_filters, 0);
    client_end(&x);
}
END_TEST

START_TEST(test_leaving_in_a_callback)
{
    struct client x[6];

    attach_topics();
    for (unsigned i = 0; i < 6; i++) {
        client_begin(&x[i]);
        sub(&x[i], "1", i < 3 ? "a/1" : "a/1 a/2", NULL);
        if (i == 0)
            subscribed(1, 10, false);
        if (i == 3)
            subscribed(2, 10, false);
        buf_reset(&x[i].log);
        x[i].leaves_on_delivery = i != 2 && i != 4;
    }
    ck_assert_int_eq(message(1, 11, 0, "x"), 0);
    loop_settle(loop);
    ck_assert_int_eq(message(1, 12, 11, "y"), 0);
    loop_settle(loop);
    for (unsigned i = 0; i < 6; i++) {
        expect(&x[i], i == 2 || i == 4 ? "1:a/1=x 1:a/1=y " : "1:a/1=x ");
        client_end(&x[i]);
    }
    ck_assert_uint_eq(hub_n_subs(fe.hub), 0);
}
END_TEST

/* ---- The link. ---- */

START_TEST(test_link_comes_back)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "a/#", NULL);
    subscribed(1, 10, false);
    ck_assert_int_eq(message(1, 11, 0, "x"), 0);
    loop_settle(loop);
    frames();
    hub_on_down(fe.hub);
    sub(&y, "1", "a/#", NULL); /* live, where the stream stands */
    hub_on_attached(fe.hub);
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/#; ");
    topic(7, "a/1");
    ck_assert_int_eq(message(7, 11, 0, "seen"), 0); /* not twice */
    ck_assert_int_eq(message(7, 14, 11, "missed"), 0);
    ck_assert_uint_eq(hub_position(fe.hub).seq, 11); /* until it is whole */
    subscribed(1, 14, false);
    resumed(STATE_RECOVERED, EPOCH, 20);
    ck_assert_uint_eq(hub_position(fe.hub).seq, 20);
    ck_assert_int_eq(message(7, 21, 14, "new"), 0);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,live,e-10) 1:a/1=x 1:a/1=missed 1:a/1=new ");
    expect(&y, "SUBSCRIBED(1,live,e-11) 1:a/1=missed 1:a/1=new ");
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_gap_is_told_to_whom_it_concerns)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "a/#", NULL);
    sub(&y, "1", "b/#", NULL);
    subscribed(1, 10, false);
    subscribed(2, 10, false);
    hub_on_down(fe.hub);
    hub_on_attached(fe.hub);
    gap(0, "a/1", 15);
    hub_on_down(fe.hub); /* again, before it was told */
    hub_on_attached(fe.hub);
    topic(1, "a/1");
    gap(0, "a/2", 12);
    gap(0, "a/1", 15);
    ck_assert_int_eq(message(1, 16, 15, "kept"), 0);
    resumed(STATE_GAP, EPOCH, 20);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,live,e-10) STATE(1,gap,e-10,a/1,a/2) 1:a/1=kept ");
    expect(&y, "SUBSCRIBED(1,live,e-10) ");
    client_end(&x);
    client_end(&y);
}
END_TEST

/* The link breaks while it resumes: what it brought was delivered, so nobody is told to stand before it. */
START_TEST(test_link_breaks_while_it_resumes)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "a/#", NULL);
    subscribed(1, 10, false);
    hub_on_down(fe.hub);
    hub_on_attached(fe.hub);
    topic(1, "a/1");
    ck_assert_int_eq(message(1, 14, 10, "brought"), 0);
    loop_settle(loop);
    hub_on_down(fe.hub);
    ck_assert_uint_eq(hub_position(fe.hub).seq, 10); /* where it resumes */
    sub(&y, "1", "a/#", NULL);                       /* 14 is not for y any more */
    hub_on_attached(fe.hub);
    topic(1, "a/1");
    gap(0, "a/2", 13);
    ck_assert_int_eq(message(1, 14, 10, "brought"), 0);
    ck_assert_int_eq(message(1, 16, 14, "more"), 0);
    resumed(STATE_GAP, EPOCH, 20);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,live,e-10) 1:a/1=brought STATE(1,gap,e-14,a/2) 1:a/1=more ");
    expect(&y, "SUBSCRIBED(1,live,e-14) STATE(1,gap,e-14,a/2) 1:a/1=more ");
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_reset)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/#", NULL);
    subscribed(1, 10, false);
    hub_on_down(fe.hub);
    hub_on_attached(fe.hub);
    subscribed(1, 2, false);
    resumed(STATE_RESET, 0xf, 2);
    topic(1, "a/1");
    ck_assert_int_eq(message(1, 3, 0, "of another life"), 0);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(1,live,e-10) STATE(1,reset,f-2) 1:a/1=of another life ");
    client_end(&x);
}
END_TEST

START_TEST(test_holes_are_noticed)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/#", NULL);
    subscribed(1, 10, false);
    ck_assert_int_eq(message(1, 12, 9, "before it was subscribed"), 0);
    ck_assert_int_eq(message(1, 14, 12, "follows"), 0);
    ck_assert_int_eq(message(1, 16, 15, "15 is missing"), -EPROTO);
    ck_assert_uint_eq(hub_position(fe.hub).seq, 14);
    ck_assert_int_eq(message(3, 18, 17, "nobody wants b/1"), 0);
    ck_assert_int_eq(message(9, 19, 0, "what topic?"), -EPROTO);
    client_end(&x);
}
END_TEST

/* ---- The rest. ---- */

START_TEST(test_lists)
{
    struct client x, y;
    struct request r = {.op = REQUEST_TOPICS, .id = slice_str("9")};

    client_begin(&x);
    client_begin(&y);
    ck_assert_int_eq(session_request(&x.session, &r), 0);
    expect(&x, "ERROR(9,unavailable) ");
    attach_topics();
    ck_assert_int_eq(session_request(&x.session, &r), 0);
    ck_assert_int_eq(session_request(&y.session, &r), 0);
    ck_assert_str_eq(frames(), "LIST 1 # 100; LIST 2 # 100; ");
    client_end(&y);
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_LISTED, .listed = {.req = 1, .topic = slice_str("a/1")}}), 0);
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_LISTED, .listed = {.req = 2, .topic = slice_str("a/1")}}), 0);
    ck_assert_int_eq(give((struct frame){.type = FRAME_LIST_END, .list_end = {.req = 1}}), 0);
    expect(&x, "TOPIC(9,a/1) END(9) ");
    ck_assert_int_eq(give((struct frame){.type = FRAME_LIST_END, .list_end = {.req = 1}}), -EPROTO);
    ck_assert_int_eq(session_request(&x.session, &r), 0);
    hub_on_down(fe.hub);
    expect(&x, "ERROR(9,unavailable) ");
    client_end(&x);
}
END_TEST

START_TEST(test_dropped_is_told_later)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    session_note_dropped(&x.session, 3);
    session_note_dropped(&x.session, 4);
    expect(&x, "");
    fe.slow_poll.fn(&fe);
    expect(&x, "DROPPED(,7) ");
    client_end(&x);
}
END_TEST

static uint64_t values[2];

static void
on_deliver_values(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    values[0] = values[1];
    values[1] = block->marks[block_find_mark(block, at)].value;
}

static uint64_t
value_of(uint64_t handle, uint64_t seq, const char *key)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_MESSAGE,
            .message = {.handle = handle, .seq = seq, .key = slice_str(key), .body = slice_str("x")}}),
        0);
    loop_settle(loop);
    return values[1];
}

/* What conflate goes by: the key, or else the topic, for each subscription. */
START_TEST(test_values)
{
    struct session_ops ops;
    struct client x;
    uint64_t a, b;

    client_begin(&x);
    ops = *x.session.ops;
    ops.on_deliver = on_deliver_values;
    x.session.ops = &ops;
    attach_topics();
    ck_assert_int_eq(give((struct frame){.type = FRAME_TOPIC,
                         .topic = {.handle = 2, .topic = slice_str("a/2"), .policy = SLOW_CONFLATE}}),
        0);
    ck_assert_int_eq(give((struct frame){.type = FRAME_TOPIC,
                         .topic = {.handle = 4, .topic = slice_str("a/4"), .policy = SLOW_CONFLATE}}),
        0);
    sub(&x, "1", "a/+", NULL);
    subscribed(1, 10, false);
    ck_assert_uint_eq(value_of(1, 11, "k"), 0); /* another policy */
    a = value_of(2, 12, "k");
    b = value_of(2, 13, "");
    ck_assert_uint_ne(a, 0);
    ck_assert_uint_ne(b, 0);
    ck_assert_uint_ne(a, b);
    ck_assert_uint_eq(value_of(2, 14, "k"), a);
    ck_assert_uint_eq(value_of(2, 15, ""), b);
    ck_assert_uint_ne(value_of(2, 16, "l"), a);
    ck_assert_uint_ne(value_of(4, 17, "k"), a);
    ck_assert_uint_ne(value_of(4, 18, ""), b);
    sub(&x, "2", "a/2", NULL);
    subscribed(2, 18, false);
    a = value_of(2, 19, "k"); /* comes twice, one of each */
    ck_assert_uint_ne(values[0], a);
    ck_assert_uint_eq(value_of(2, 20, "k"), a);
    client_end(&x);
}
END_TEST

START_TEST(test_filters_linger)
{
    struct client x;

    client_begin(&x);
    attach_topics();
    sub(&x, "1", "a/1", NULL);
    subscribed(1, 10, false);
    unsub(&x, "1");
    sub(&x, "1", "a/1", NULL); /* a long-poll that comes again */
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 a/1; ");
    expect(&x, "SUBSCRIBED(1,live,e-10) UNSUBSCRIBED(1) SUBSCRIBED(1,live,e-10) ");
    unsub(&x, "1");
    hub_on_down(fe.hub);
    hub_on_attached(fe.hub); /* nobody wants it */
    ck_assert_str_eq(frames(), "");
    ck_assert_uint_eq(hub_n_filters(fe.hub), 0);
    client_end(&x);
}
END_TEST

/* What a session is not to get is delivered to the others, in its place. */
START_TEST(test_exclude)
{
    struct badge badge, other;
    struct client x, y;
    struct buf headers;

    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, "1", "a/1", NULL);
    subscribed(1, 10, false);
    sub(&y, "1", "a/1", NULL);
    expect(&x, "SUBSCRIBED(1,live,e-10) ");
    expect(&y, "SUBSCRIBED(1,live,e-10) ");
    badge_init(&badge, &x.session);
    badge_init(&other, &y.session);
    ck_assert_int_eq(badges_add(&fe.badges, &badge), 0);
    buf_init(&headers, 0);
    badge_put_exclude(&headers, badge_session_id(&badge));
    ck_assert_int_eq(message(1, 11, 0, "a"), 0);
    ck_assert_int_eq(message_with(buf_slice(&headers), 1, 12, 11, "not for x"), 0);
    ck_assert_int_eq(message(1, 13, 12, "b"), 0);
    loop_settle(loop);
    expect(&x, "1:a/1=a 1:a/1=b ");
    expect(&y, "1:a/1=a 1:a/1=not for x 1:a/1=b ");
    sub(&x, "2", "a/+", NULL); /* by any of its subscriptions */
    subscribed(2, 13, false);
    ck_assert_int_eq(message_with(buf_slice(&headers), 1, 14, 13, "nor this"), 0);
    ck_assert_int_eq(message_with(buf_slice(&headers), 2, 15, 0, "nor that"), 0);
    ck_assert_int_eq(message(1, 16, 14, "c"), 0);
    loop_settle(loop);
    expect(&x, "SUBSCRIBED(2,live,e-13) 1:a/1=c 2:a/1=c ");
    expect(&y, "1:a/1=nor this 1:a/1=c ");
    /* Somebody who is not here, and headers that say something else. */
    buf_reset(&headers);
    badge_put_exclude(&headers, badge_session_id(&other));
    ck_assert_int_eq(message_with(buf_slice(&headers), 1, 17, 16, "d"), 0);
    ck_assert_int_eq(message_with(slice_of("\x82\xa1x\xa1y\xa1z\xa0", 8), 1, 18, 17, "e"), 0);
    loop_settle(loop);
    expect(&x, "1:a/1=d 2:a/1=d 1:a/1=e 2:a/1=e ");
    expect(&y, "1:a/1=d 1:a/1=e ");
    badges_remove(&fe.badges, &badge);
    badges_remove(&fe.badges, &other);
    buf_fini(&headers);
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_long_ids)
{
    char long_id[REQUEST_SUB_ID_MAX + 2] = {0}, wanted[3 * REQUEST_SUB_ID_MAX];
    struct client x, y;

    memset(long_id, 'i', 1500);
    client_begin(&x);
    client_begin(&y);
    attach_topics();
    sub(&x, long_id, "a/1", NULL); /* this client's kind has short ids */
    (void)snprintf(wanted, sizeof wanted, "ERROR(%s,request_invalid) ", long_id);
    expect(&x, wanted);
    x.session.id_max = y.session.id_max = 1500;
    sub(&x, long_id, "a/1", NULL);
    subscribed(1, 10, false);
    sub(&y, long_id, "a/1", NULL);
    ck_assert_uint_eq(x.session.n_filters, 1 + 2);
    sub(&x, "b", "b/1", NULL);
    ck_assert_int_eq(message(1, 11, 0, "x"), 0);
    loop_settle(loop);
    (void)snprintf(wanted, sizeof wanted, "SUBSCRIBED(%s,live,e-10) %s:a/1=x ", long_id, long_id);
    expect(&x, wanted);
    expect(&y, wanted);
    unsub(&x, "b");
    long_id[0] = 'j';
    sub(&x, long_id, "a/1", NULL); /* 3, and 3 more: too many */
    (void)snprintf(wanted, sizeof wanted, "UNSUBSCRIBED(b) ERROR(%s,limit_reached) ", long_id);
    expect(&x, wanted);
    client_end(&x);
    client_end(&y);
    ck_assert_uint_eq(hub_n_subs(fe.hub), 0);
}
END_TEST

SUITE_MAIN_WITH("hub", setup, teardown_hub, test_live, test_joining_within_a_turn,
    test_several_subs_are_in_order, test_several_filters_once, test_more_and_fewer_filters_match,
    test_unsubscribing_gives_what_waits, test_refusals, test_leaving_in_a_callback, test_link_comes_back,
    test_gap_is_told_to_whom_it_concerns, test_link_breaks_while_it_resumes, test_reset,
    test_holes_are_noticed, test_lists, test_dropped_is_told_later, test_values, test_filters_linger,
    test_exclude, test_long_ids)
