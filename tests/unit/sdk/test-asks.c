/* SPDX-License-Identifier: Apache-2.0 */
/* Requests, replies and work between a broker that is this test and clients that write down what they get. */
#include "config.h"

#include "frontends/sdk/asks.h"

#include "tests/unit/sdk/hubfixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "frontends/sdk/hub.h"

/* Numbers are 1 << 24 and so on: the nth that was given, in the first place. */
#define NTH(n, place) ((uint64_t)(n) << 24 | (place))

/* ---- The clients' side. ---- */

static void
request(struct client *x, struct request r)
{
    ck_assert_int_eq(session_request(&x->session, &r), 0);
}

static void
ask(struct client *x, const char *id, const char *topic, const char *body, uint64_t timeout_ms)
{
    request(x, (struct request){.op = REQUEST_ASK,
                   .id = slice_str(id),
                   .topic = slice_str(topic),
                   .kind = MESSAGE_TEXT,
                   .body = slice_str(body),
                   .timeout_ms = timeout_ms});
}

static void
take(struct client *x, enum request_role role, const char *id, const char *topic, const char *group,
    uint32_t prefetch)
{
    const struct slice filter = slice_str(topic);

    request(x, (struct request){.op = REQUEST_SUB,
                   .id = slice_str(id),
                   .filters = &filter,
                   .n_filters = 1,
                   .role = role,
                   .group = slice_str(group),
                   .prefetch = prefetch});
}

static void
settle(struct client *x, const char *id, const char *lease, enum settle_outcome outcome)
{
    request(x, (struct request){.op = REQUEST_SETTLE,
                   .id = slice_str(id),
                   .token = slice_str(lease),
                   .outcome = outcome,
                   .delay_ms = outcome == SETTLE_RETRY ? 5000 : 0,
                   .failure = slice_str(outcome == SETTLE_RETRY ? "busy" : "")});
}

static void
reply(struct client *x, const char *id, const char *call, const char *body, const char *failure)
{
    request(x, (struct request){.op = REQUEST_REPLY,
                   .id = slice_str(id),
                   .token = slice_str(call),
                   .kind = MESSAGE_TEXT,
                   .body = slice_str(body),
                   .failure = slice_str(failure)});
}

/* ---- The broker's side. ---- */

static void
replied(uint64_t req, const char *code, const char *body)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_REPLIED,
                         .replied = {.req = req, .code = slice_str(code), .body = slice_str(body)}}),
        0);
}

static void
settled(uint64_t req, const char *code, uint64_t count)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_SETTLED,
                         .settled = {.req = req, .code = slice_str(code), .count = count}}),
        0);
}

static void
consuming(uint64_t consumer)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_CONSUMING, .consuming = {.consumer = consumer, .seq = 10}}), 0);
}

static void
dispatch(uint64_t consumer, const char *lease, const char *body)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_DISPATCH,
                         .dispatch = {.consumer = consumer,
                             .lease = slice_str(lease),
                             .n_deliveries = 1,
                             .lease_ms = 30000,
                             .topic = slice_str("jobs"),
                             .seq = 7,
                             .body = slice_str(body)}}),
        0);
}

static void
call(uint64_t consumer, const char *token, const char *body)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_CALL,
                         .call = {.consumer = consumer,
                             .call = slice_str(token),
                             .topic = slice_str("svc/add"),
                             .timeout_ms = 4990,
                             .n_deliveries = 1,
                             .body = slice_str(body)}}),
        0);
}

/* ---- Requests. ---- */

START_TEST(test_request)
{
    struct client x;

    client_begin(&x);
    attach_live();
    ck_assert_str_eq(frames(), "RESUME; ");
    ask(&x, "7", "svc/add", "1+1", 5000);
    ck_assert_str_eq(frames(), "REQUEST 1 svc/add 1+1 5000; ");
    expect(&x, "");
    replied(NTH(1, 0), "", "2");
    expect(&x, "REPLY(7,=2) ");
    replied(NTH(1, 0), "", "twice"); /* late, for nobody */
    expect(&x, "");
    ask(&x, "8", "svc/add", "x", 0);
    ck_assert_str_eq(frames(), "REQUEST 2 svc/add x 30000; ");
    replied(NTH(2, 0), "no_responder", "");
    expect(&x, "ERROR(8,no_responder) ");
    ck_assert_int_eq(give((struct frame){.type = FRAME_REPLIED, .replied = {.req = NTH(3, 0)}}),
        -EPROTO); /* never asked */
    ck_assert_uint_eq(fe.counters.asks, 2);
    client_end(&x);
    ck_assert_str_eq(frames(), "");
}
END_TEST

START_TEST(test_request_is_checked)
{
    struct client x;

    client_begin(&x);
    attach_live();
    (void)frames();
    ask(&x, "1", "svc/+", "", 0);
    expect(&x, "ERROR(1,topic_invalid) ");
    ask(&x, "2", "$replies/x", "", 0);
    expect(&x, "ERROR(2,not_allowed) ");
    ask(&x, "3", "svc", "", 3600001);
    expect(&x, "ERROR(3,request_invalid) ");
    limits.message_bytes = 3;
    ask(&x, "4", "svc", "long", 0);
    expect(&x, "ERROR(4,message_too_large) ");
    ck_assert_str_eq(frames(), "");
    for (int i = 0; i < 3; i++)
        ask(&x, "5", "svc", "", 0);
    expect(&x, "");
    ask(&x, "6", "svc", "", 0);
    expect(&x, "ERROR(6,limit_reached) ");
    replied(NTH(2, 1), "", "");
    expect(&x, "REPLY(5,=) ");
    ask(&x, "7", "svc", "", 0);
    expect(&x, "");
    client_end(&x);
}
END_TEST

/* The one who asked leaves: nobody need answer. */
START_TEST(test_asker_leaves)
{
    struct client x;

    client_begin(&x);
    attach_live();
    ask(&x, "1", "svc", "a", 5000);
    request(&x, (struct request){.op = REQUEST_RESULT, .id = slice_str("2"), .token = slice_str("ID")});
    (void)frames();
    client_end(&x);
    ck_assert_str_eq(frames(), "ABANDON 1; ABANDON 2; ");
    replied(NTH(1, 0), "", "late");
    replied(NTH(2, 1), "", "late");
}
END_TEST

START_TEST(test_leaving_in_the_answer)
{
    struct client x;

    client_begin(&x);
    attach_live();
    ask(&x, "1", "svc", "a", 5000);
    ask(&x, "2", "svc", "b", 5000);
    (void)frames();
    x.leaves_on_answer = true;
    replied(NTH(1, 0), "", "x");
    expect(&x, "REPLY(1,=x) ");
    ck_assert_str_eq(frames(), "ABANDON 2; ");
    client_end(&x);
}
END_TEST

/* Exactly one answer, though nobody knows what became of it; what had not been sent goes on the next link. */
START_TEST(test_link_lost)
{
    static const char held[] = "RESUME; REQUEST 2 svc b ";
    struct client x;
    const char *listed;
    unsigned long left_ms;

    client_begin(&x);
    attach_live();
    ask(&x, "1", "svc", "a", 5000);
    hub_on_down(fe.hub);
    expect(&x, "ERROR(1,unavailable) ");
    ask(&x, "2", "svc", "b", 5000);
    expect(&x, "");
    (void)frames();
    attach_live();
    /* What is left of its time: the clock goes on. */
    listed = frames();
    ck_assert_msg(strncmp(listed, held, strlen(held)) == 0, "%s", listed);
    left_ms = strtoul(listed + strlen(held), NULL, 10);
    ck_assert_msg(left_ms > 4000 && left_ms <= 5000, "%s", listed);
    replied(NTH(1, 0), "", "of the old link");
    expect(&x, "");
    replied(NTH(2, 0), "", "y");
    expect(&x, "REPLY(2,=y) ");
    client_end(&x);
}
END_TEST

START_TEST(test_all_leave_as_the_link_is_lost)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_live();
    ask(&x, "1", "svc", "a", 5000);
    ask(&x, "2", "svc", "a", 5000);
    ask(&y, "3", "svc", "a", 5000);
    x.leaves_on_answer = true;
    hub_on_down(fe.hub);
    expect(&x, "ERROR(1,unavailable) ");
    expect(&y, "ERROR(3,unavailable) ");
    client_end(&x);
    client_end(&y);
}
END_TEST

START_TEST(test_held_within_limits)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    limits.requests_per_client = 10;
    for (int i = 0; i < 4; i++)
        ask(&x, "1", "svc", "a", 5000);
    ask(&x, "2", "svc", "a", 5000);
    expect(&x, "ERROR(2,unavailable) ");
    client_end(&x);
    limits.request_hold_bytes = 10;
    ask(&y, "3", "svc", "longer than that", 5000);
    expect(&y, "ERROR(3,unavailable) ");
    client_end(&y);
    attach_live();
    ck_assert_str_eq(frames(), "RESUME; ");
}
END_TEST

/* The time that was spent waiting for a link is gone; and if none comes, it was not asked. */
START_TEST(test_held_too_long)
{
    struct client x;

    client_begin(&x);
    ask(&x, "1", "svc", "a", 50);
    ask(&x, "2", "svc", "a", 60000);
    wait_ms(500);
    expect(&x, "ERROR(1,unavailable) ");
    attach_live();
    ck_assert_ptr_null(strstr(frames(), " 60000;"));
    client_end(&x);
}
END_TEST

START_TEST(test_broker_never_answers)
{
    struct client x;

    client_begin(&x);
    attach_live();
    ask(&x, "1", "svc", "a", 50);
    (void)frames();
    wait_ms(500);
    expect(&x, "ERROR(1,timeout) ");
    ck_assert_str_eq(frames(), "ABANDON 1; ");
    client_end(&x);
}
END_TEST

/* The transport's queue is long: requests wait for it, one after the other. */
START_TEST(test_full)
{
    struct client x;

    client_begin(&x);
    attach_live();
    (void)frames();
    is_full = true;
    ask(&x, "1", "svc", "a", 5000);
    is_full = false;
    ask(&x, "2", "svc", "b", 5000);
    ck_assert_str_eq(frames(), "");
    hub_pump(fe.hub);
    ck_assert_str_eq(frames(), "REQUEST 1 svc a 5000; REQUEST 2 svc b 5000; ");
    client_end(&x);
}
END_TEST

START_TEST(test_async)
{
    struct client x;

    client_begin(&x);
    attach_live();
    (void)frames();
    request(&x, (struct request){
                    .op = REQUEST_ASK, .id = slice_str("1"), .topic = slice_str("svc"), .is_async = true});
    ck_assert_str_eq(frames(), "REQUEST 1 svc  0 async; ");
    ck_assert_int_eq(give((struct frame){.type = FRAME_ACCEPTED,
                         .accepted = {.req = NTH(1, 0), .id = slice_str("ID"), .expires_ms = 9}}),
        0);
    expect(&x, "ACCEPTED(1,ID) ");
    request(
        &x, (struct request){
                .op = REQUEST_RESULT, .id = slice_str("2"), .token = slice_str("ID"), .timeout_ms = 60000});
    request(&x, (struct request){.op = REQUEST_WITHDRAW, .id = slice_str("3"), .token = slice_str("ID")});
    ck_assert_str_eq(frames(), "RESULT 2 ID 60000; WITHDRAW 3 ID; ");
    hub_on_down(fe.hub); /* both may be done again */
    expect(&x, "");
    attach_live();
    ck_assert_ptr_nonnull(strstr(frames(), "WITHDRAW 3 ID; "));
    settled(NTH(3, 1), "", 1);
    expect(&x, "DONE(3,ID,8,0,1) ");
    replied(NTH(2, 0), "canceled", "");
    expect(&x, "ERROR(2,canceled,ID) ");
    client_end(&x);
}
END_TEST

/* ---- Responders. ---- */

START_TEST(test_responder)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    take(&x, ROLE_RESPONDER, "1", "svc/+", "", 0);
    expect(&x, ""); /* no link yet */
    attach_live();
    ck_assert_str_eq(frames(), "CONSUME 1 svc/+  mode 1 flags 0 credit 16; RESUME; ");
    consuming(NTH(1, 0));
    expect(&x, "SUBSCRIBED(1) ");
    call(NTH(1, 0), "c1", "1+1");
    expect(&x, "CALL(1,c1,svc/add=1+1,1,5) ");
    reply(&y, "9", "c1", "3", ""); /* it was not asked */
    expect(&y, "ERROR(9,call_unknown,c1) ");
    ck_assert_str_eq(frames(), "");
    reply(&x, "2", "c1", "2", "");
    ck_assert_str_eq(frames(), "REPLY 1 of 1 c1 2; ");
    settled(NTH(1, 0), "", 0);
    expect(&x, "DONE(2,c1,9,0,0) ");
    reply(&x, "3", "c1", "2", "");
    expect(&x, "ERROR(3,call_unknown,c1) ");
    call(NTH(1, 0), "c2", "x");
    expect(&x, "CALL(1,c2,svc/add=x,1,5) ");
    reply(&x, "", "c2", "", "no idea");
    ck_assert_str_eq(frames(), "REPLY 2 of 1 c2 responder_failedno idea; ");
    settled(NTH(2, 0), "call_unknown", 0);
    expect(&x, "ERROR(,call_unknown,c2) ");
    unsub(&x, "1");
    expect(&x, "UNSUBSCRIBED(1) ");
    ck_assert_str_eq(frames(), "UNCONSUME 1; ");
    call(NTH(1, 0), "c3", "crossed");
    expect(&x, "");
    client_end(&x);
    client_end(&y);
}
END_TEST

/* Whoever asked is told at once that there is no reply, and the responder why, when that is settled. */
START_TEST(test_reply_is_checked)
{
    struct client x;

    limits.message_bytes = 3;
    client_begin(&x);
    take(&x, ROLE_RESPONDER, "1", "svc/+", "", 0);
    attach_live();
    consuming(NTH(1, 0));
    call(NTH(1, 0), "c1", "?");
    call(NTH(1, 0), "c2", "?");
    call(NTH(1, 0), "c3", "?");
    (void)frames();
    buf_reset(&x.log);
    reply(&x, "2", "c1", "four", "");
    ck_assert_str_eq(frames(),
        "REPLY 1 of 1 c1 responder_failedThe responder's reply was larger than its server takes "
        "(limits.message_bytes).; ");
    expect(&x, "");
    settled(NTH(1, 0), "", 0);
    expect(&x, "ERROR(2,message_too_large,c1) ");
    reply(&x, "3", "c1", "2", ""); /* it is over */
    expect(&x, "ERROR(3,call_unknown,c1) ");
    reply(&x, "4", "c2", "", "\xff");
    ck_assert_str_eq(frames(), "REPLY 2 of 1 c2 responder_failedThe responder's reply was no valid one.; ");
    settled(NTH(2, 0), "call_unknown", 0);
    expect(&x, "ERROR(4,call_unknown,c2) ");
    reply(&x, "5", "c3", "four", "");
    (void)frames();
    x.leaves_on_answer = true;
    settled(NTH(3, 0), "", 0);
    expect(&x, "ERROR(5,message_too_large,c3) ");
    ck_assert_str_eq(frames(), "UNCONSUME 1; ");
    client_end(&x);
}
END_TEST

START_TEST(test_takers_are_checked)
{
    struct client x;

    client_begin(&x);
    attach_live();
    (void)frames();
    take(&x, ROLE_CONSUMER, "1", "jobs/#", "g", 0);
    expect(&x, "ERROR(1,topic_invalid) ");
    take(&x, ROLE_CONSUMER, "1", "jobs", "a b", 0);
    expect(&x, "ERROR(1,group_invalid) ");
    take(&x, ROLE_CONSUMER, "1", "jobs", "", 0);
    expect(&x, "ERROR(1,group_invalid) ");
    take(&x, ROLE_CONSUMER, "1", "$sys/x", "g", 0);
    expect(&x, "ERROR(1,not_allowed) ");
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 1001);
    expect(&x, "ERROR(1,limit_reached) ");
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 1000);
    take(&x, ROLE_RESPONDER, "1", "svc", "", 0);
    expect(&x, "ERROR(1,subscription_exists) ");
    take(&x, ROLE_SUBSCRIBER, "1", "svc", "", 0);
    expect(&x, "ERROR(1,subscription_exists) ");
    take(&x, ROLE_SUBSCRIBER, "2", "$requests/svc", "", 0);
    expect(&x, "ERROR(2,not_allowed) ");
    take(&x, ROLE_SUBSCRIBER, "2", "$replies/#", "", 0);
    expect(&x, "ERROR(2,not_allowed) ");
    take(&x, ROLE_CONSUMER, "2", "b", "g", 0);
    take(&x, ROLE_CONSUMER, "3", "b", "g", 0);
    take(&x, ROLE_CONSUMER, "4", "b", "g", 0);
    take(&x, ROLE_CONSUMER, "5", "b", "g", 0);
    expect(&x, "");
    take(&x, ROLE_CONSUMER, "6", "b", "g", 0);
    expect(&x, "ERROR(6,limit_reached) ");
    (void)frames();
    ck_assert_int_eq(give((struct frame){.type = FRAME_UNCONSUMABLE,
                         .unconsumable = {.consumer = NTH(2, 1), .code = slice_str("not_allowed")}}),
        0);
    expect(&x, "ERROR(2,not_allowed) ");
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_CONSUMING, .consuming = {.consumer = NTH(9, 1)}}), -EPROTO);
    unsub(&x, "2");
    expect(&x, "ERROR(2,subscription_unknown) ");
    ck_assert_str_eq(frames(), "");
    client_end(&x);
    ck_assert_str_eq(frames(), "UNCONSUME 1; UNCONSUME 3; UNCONSUME 4; UNCONSUME 5; ");
}
END_TEST

/* ---- Consumers. ---- */

START_TEST(test_consumer)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_live();
    (void)frames();
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 4);
    ck_assert_str_eq(frames(), "CONSUME 1 jobs g mode 0 flags 0 credit 4; ");
    consuming(NTH(1, 0));
    dispatch(NTH(1, 0), "l1", "a");
    dispatch(NTH(1, 0), "l2", "b");
    dispatch(NTH(1, 0), "l3", "c");
    expect(&x, "SUBSCRIBED(1) WORK(1,l1,jobs=a,1,30) WORK(1,l2,jobs=b,1,30) WORK(1,l3,jobs=c,1,30) ");
    settle(&x, "2", "l1", SETTLE_DONE);
    settle(&x, "", "l2", SETTLE_RETRY);
    settle(&x, "3", "l3", SETTLE_EXTEND);
    settle(&y, "4", "l3", SETTLE_DONE); /* who knows a lease may settle it */
    ck_assert_str_eq(frames(), "SETTLE 1 of 1 l1 0 0 ; SETTLE 2 of 1 l2 1 5000 busy; SETTLE 3 of 1 l3 2 0 ; "
                               "SETTLE 4 of 0 l3 0 0 ; ");
    settled(NTH(1, 0), "", 0);
    settled(NTH(2, 1), "", 0);
    settled(NTH(3, 2), "", 0);
    settled(NTH(4, 3), "lease_lost", 0);
    expect(&x, "DONE(2,l1,10,0,0) DONE(,l2,10,1,0) DONE(3,l3,10,2,0) ");
    expect(&y, "ERROR(4,lease_lost,l3) ");
    client_end(&x);
    client_end(&y);
}
END_TEST

/* A new link: consumers are listed again with what they hold, and what was settled is settled again. */
START_TEST(test_consumer_and_links)
{
    struct client x;

    client_begin(&x);
    attach_live();
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 4);
    consuming(NTH(1, 0));
    dispatch(NTH(1, 0), "l1", "a");
    dispatch(NTH(1, 0), "l2", "b");
    settle(&x, "2", "l1", SETTLE_DONE);
    hub_on_down(fe.hub);
    settle(&x, "3", "l2", SETTLE_RETRY);
    (void)frames();
    buf_reset(&x.log);
    attach_live();
    ck_assert_str_eq(frames(), "CONSUME 1 jobs g mode 0 flags 0 credit 4; HOLD 1 l1; HOLD 1 l2; RESUME; "
                               "SETTLE 1 of 1 l1 0 0 ; SETTLE 2 of 1 l2 1 5000 busy; ");
    consuming(NTH(1, 0)); /* the client knows */
    expect(&x, "");
    settled(NTH(1, 0), "", 0);
    settled(NTH(2, 1), "", 0);
    expect(&x, "DONE(2,l1,10,0,0) DONE(3,l2,10,1,0) ");
    hub_on_down(fe.hub);
    attach_live();
    ck_assert_str_eq(frames(), "CONSUME 1 jobs g mode 0 flags 0 credit 4; RESUME; ");
    client_end(&x);
}
END_TEST

/* It acked and left, and the link was lost with both: the ack is still known. */
START_TEST(test_ack_outlives_client)
{
    struct client x;

    client_begin(&x);
    attach_live();
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 4);
    dispatch(NTH(1, 0), "l1", "a");
    settle(&x, "", "l1", SETTLE_DONE);
    client_end(&x);
    hub_on_down(fe.hub);
    (void)frames();
    attach_live();
    ck_assert_str_eq(frames(), "RESUME; SETTLE 1 of 0 l1 0 0 ; ");
    settled(NTH(1, 0), "", 0);
    hub_on_down(fe.hub);
    attach_live();
    ck_assert_str_eq(frames(), "RESUME; ");
}
END_TEST

/* What crosses with the end of a consumer whose leases outlive it is given back. */
START_TEST(test_crossing)
{
    struct client x;

    client_begin(&x);
    attach_live();
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 4);
    client_end(&x);
    (void)frames();
    dispatch(NTH(1, 0), "l1", "a");
    ck_assert_str_eq(frames(), "SETTLE 0 of 0 l1 1 1 ; "); /* now, whatever queue.retry_delay */
}
END_TEST

/* Leases that ended by themselves are not remembered for ever. */
START_TEST(test_forgotten_leases)
{
    struct client x;
    char lease[16];

    client_begin(&x);
    attach_live();
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 1);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(lease, sizeof lease, "l%d", i);
        dispatch(NTH(1, 0), lease, "a");
    }
    hub_on_down(fe.hub);
    (void)frames();
    attach_live();
    ck_assert_ptr_nonnull(strstr(frames(), "CREDIT") == NULL ? "" : NULL);
    hub_on_down(fe.hub);
    (void)frames();
    attach_live();
    ck_assert_str_eq(strstr(frames(), "credit 1; ") + 10,
        "HOLD 1 l82; HOLD 1 l83; HOLD 1 l84; HOLD 1 l85; HOLD 1 l86; HOLD 1 l87; HOLD 1 l88; HOLD 1 l89; "
        "HOLD 1 l90; HOLD 1 l91; HOLD 1 l92; HOLD 1 l93; HOLD 1 l94; HOLD 1 l95; HOLD 1 l96; HOLD 1 l97; "
        "HOLD 1 l98; HOLD 1 l99; RESUME; ");
    client_end(&x);
}
END_TEST

/* Work waits for a client that does not read, in its order, and within a limit. */
START_TEST(test_parked)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    attach_live();
    take(&x, ROLE_CONSUMER, "1", "jobs", "g", 4);
    take(&y, ROLE_RESPONDER, "1", "svc/add", "", 4);
    consuming(NTH(1, 0));
    consuming(NTH(2, 1));
    expect(&x, "SUBSCRIBED(1) ");
    expect(&y, "SUBSCRIBED(1) ");
    x.queued = limits.queue_bytes;
    y.queued = limits.queue_bytes;
    dispatch(NTH(1, 0), "l1", "a");
    x.queued = 0;
    dispatch(NTH(1, 0), "l2", "b"); /* not before the first */
    call(NTH(2, 1), "c1", "1+1");
    expect(&x, "");
    hub_on_down(fe.hub);
    (void)frames();
    attach_live(); /* they are its own, though it was not told yet */
    ck_assert_ptr_nonnull(strstr(frames(), "HOLD 1 l1; HOLD 1 l2; "));
    hub_after_writes(fe.hub);
    expect(&x, "WORK(1,l1,jobs=a,1,30) WORK(1,l2,jobs=b,1,30) ");
    expect(&y, "");
    y.queued = 0;
    wait_ms(200); /* by itself */
    expect(&y, "CALL(1,c1,svc/add=1+1,1,5) ");
    y.queued = limits.queue_bytes;
    limits.work_bytes = 200;
    call(NTH(2, 1), "c2", "1+1");
    call(NTH(2, 1), "c3", "1+1");
    expect(&y, "");
    (void)frames();
    for (int i = 0; i < 5; i++)
        call(NTH(2, 1), "c4", "1+1");
    expect(&y, "ERROR(1,too_slow) ");
    ck_assert_str_eq(frames(), "UNCONSUME 2; ");
    x.queued = limits.queue_bytes;
    dispatch(NTH(1, 0), "l3", "c");
    client_end(&x);
    client_end(&y);
}
END_TEST

/* ---- Lists. ---- */

START_TEST(test_lists)
{
    struct client x;

    client_begin(&x);
    request(&x, (struct request){.op = REQUEST_QUEUES, .id = slice_str("1")});
    expect(&x, "ERROR(1,unavailable) ");
    attach_live();
    request(&x, (struct request){.op = REQUEST_QUEUES, .id = slice_str("2")});
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_QUEUE,
            .queue = {.req = NTH(2, 0), .topic = slice_str("jobs"), .group = slice_str("g"), .n_ready = 5}}),
        0);
    ck_assert_int_eq(give((struct frame){.type = FRAME_PEEK_END, .peek_end = {.req = NTH(2, 0)}}), -EPROTO);
    ck_assert_int_eq(give((struct frame){.type = FRAME_QUEUES_END, .queues_end = {.req = NTH(2, 0)}}), 0);
    expect(&x, "QUEUE(2,jobs/g,5) QUEUES_END(2) ");
    request(&x, (struct request){.op = REQUEST_WHO, .id = slice_str("3"), .topic = slice_str("chat")});
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_PRESENT, .present = {.req = NTH(3, 0), .id = slice_str("u1")}}), 0);
    hub_on_down(fe.hub);
    expect(&x, "PRESENT(3,u1) ERROR(3,unavailable) ");
    client_end(&x);
}
END_TEST

SUITE_MAIN_WITH("asks", setup_hub, teardown_hub, test_request, test_request_is_checked, test_asker_leaves,
    test_leaving_in_the_answer, test_link_lost, test_all_leave_as_the_link_is_lost, test_held_within_limits,
    test_held_too_long, test_broker_never_answers, test_full, test_async, test_responder,
    test_reply_is_checked, test_takers_are_checked, test_consumer, test_consumer_and_links,
    test_ack_outlives_client, test_crossing, test_forgotten_leases, test_parked, test_lists)
