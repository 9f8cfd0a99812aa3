/* SPDX-License-Identifier: Apache-2.0 */
/* Presence between a broker that is this test and clients that write down what they get. */
#include "config.h"

#include "frontends/sdk/members.h"

#include "tests/unit/sdk/hubfixture.h"

#include <errno.h>
#include <stdio.h>

#include "frontends/sdk/hub.h"

#define JOIN(n) (UINT64_C(1) << 63 | NTH(n))
#define WHO(n) (UINT64_C(1) << 62 | NTH(n))
/* The nth number that was given, in the place of the first. */
#define NTH(n) ((uint64_t)(n) << 24)

/* ---- The clients' side. ---- */

static void
expect_settled(struct client *x, const char *log)
{
    loop_settle(loop);
    expect(x, log);
}

/* member NULL: only looks. */
static void
watch(struct client *x, const char *id, const char *topic, const char *member, const char *info)
{
    const struct slice filter = slice_str(topic);
    struct request r = {.op = REQUEST_SUB,
        .id = slice_str(id),
        .filters = &filter,
        .n_filters = 1,
        .wants_presence = true,
        .member = slice_str(member),
        .info = slice_str(info)};

    ck_assert_int_eq(session_request(&x->session, &r), 0);
}

static void
request(struct client *x, enum request_op op, const char *id, const char *topic, const char *member)
{
    struct request r = {
        .op = op, .id = slice_str(id), .topic = slice_str(topic), .member = slice_str(member)};

    ck_assert_int_eq(session_request(&x->session, &r), 0);
}

/* ---- The broker's side. ---- */

static void
message_json(uint64_t handle, uint64_t seq, const char *body)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_MESSAGE,
            .message = {.handle = handle, .seq = seq, .kind = MESSAGE_JSON, .body = slice_str(body)}}),
        0);
}

static void
settled(uint64_t req, const char *code)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_SETTLED, .settled = {.req = req, .code = slice_str(code)}}), 0);
}

static void
present(uint64_t req, const char *id, const char *info)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_PRESENT,
                         .present = {.req = req, .id = slice_str(id), .info = slice_str(info)}}),
        0);
}

static void
who_end(uint64_t req, uint64_t count, uint64_t seq, bool has_more)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_WHO_END,
            .who_end = {.req = req, .mode = PRESENCE_MEMBERS, .count = count, .seq = seq, .more = has_more}}),
        0);
}

static void
resume_chat(void)
{
    resumed(STATE_LIVE, EPOCH, 10);
    topic(1, "chat");
    topic(2, "$presence/chat");
}

static void
setup(void)
{
    setup_hub();
    limits.subscriptions_per_client = 10;
}

/* A link that is live, and x there as u1, told that it is alone. */
static void
begin_watching(struct client *x)
{
    client_begin(x);
    attach();
    resume_chat();
    watch(x, "1", "chat", "u1", "{\"n\":1}");
    subscribed(1, 10, false);
    subscribed(2, 10, false);
    settled(JOIN(1), "");
    present(WHO(1), "u1", "{\"n\":1}");
    who_end(WHO(1), 1, 11, false);
    loop_settle(loop);
    buf_reset(&x->log);
    (void)frames();
}

/* ---- Watching. ---- */

START_TEST(test_watch)
{
    struct client x;

    client_begin(&x);
    attach();
    resume_chat();
    (void)frames();
    watch(&x, "1", "chat", "u1", "{\"n\":1}");
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 chat; ");
    subscribed(1, 10, false);
    ck_assert_str_eq(frames(), "JOIN 1 chat u1 {\"n\":1}?; SUBSCRIBE 2 $presence/chat; ");
    expect_settled(&x, "SUBSCRIBED(1) ");
    subscribed(2, 10, false);
    ck_assert_str_eq(frames(), "WHO 1 chat ; ");
    settled(JOIN(1), "");
    message_json(1, 11, "\"hello\"");
    message_json(2, 12, "{\"event\":\"join\",\"id\":\"u1\"}"); /* the snapshot knows */
    present(WHO(1), "u1", "{\"n\":1}");
    present(WHO(1), "u\"2", "");
    who_end(WHO(1), 2, 12, false);
    expect_settled(&x, "1:chat=\"hello\" "
                       "1:$presence/"
                       "chat={\"event\":\"snapshot\",\"members\":[{\"id\":\"u1\",\"info\":{\"n\":1}},{\"id\":"
                       "\"u\\\"2\"}],\"count\":2} ");
    message_json(2, 13, "{\"event\":\"leave\",\"id\":\"u2\"}");
    message_json(1, 14, "\"bye\"");
    expect_settled(&x, "1:$presence/chat={\"event\":\"leave\",\"id\":\"u2\"} 1:chat=\"bye\" ");
    ck_assert_uint_eq(hub_n_subs(fe.hub), 1);
    ck_assert_int_eq(
        session_request(&x.session, &(struct request){.op = REQUEST_UNSUB, .id = slice_str("1")}), 0);
    expect_settled(&x, "UNSUBSCRIBED(1) ");
    ck_assert_str_eq(frames(), "LEAVE 1 for good; ");
    message_json(2, 15, "{}");
    message_json(1, 16, "{}");
    expect_settled(&x, "");
    ck_assert_uint_eq(hub_n_subs(fe.hub), 0);
    client_end(&x);
}
END_TEST

/* Before the link, with a cursor: presence begins when the subscription is live. */
START_TEST(test_watch_with_recovery)
{
    const struct slice filter = slice_str("chat");
    struct client x;

    client_begin(&x);
    ck_assert_int_eq(session_request(&x.session, &(struct request){.op = REQUEST_SUB,
                                                     .id = slice_str("1"),
                                                     .filters = &filter,
                                                     .n_filters = 1,
                                                     .from = FROM_SINCE,
                                                     .since = slice_str("e-5"),
                                                     .wants_presence = true}),
        0);
    attach();
    resume_chat();
    subscribed(1, 10, false);
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 chat; RESUME; RECOVER 1 mode 0 e-5 count 256 chat; ");
    ck_assert_int_eq(give((struct frame){.type = FRAME_REPLAY,
                         .replay = {.req = 1, .handle = 1, .seq = 7, .body = slice_str("old")}}),
        0);
    ck_assert_int_eq(give((struct frame){.type = FRAME_RECOVERED,
                         .recovered = {.req = 1, .state = STATE_RECOVERED, .epoch = EPOCH, .seq = 10}}),
        0);
    expect_settled(&x, "SUBSCRIBED(1) 1:chat=old ");
    ck_assert_str_eq(frames(), "SUBSCRIBE 2 $presence/chat; "); /* it only looks: no JOIN */
    subscribed(2, 10, false);
    who_end(WHO(1), 0, 10, false);
    expect_settled(&x, "1:$presence/chat={\"event\":\"snapshot\",\"members\":[],\"count\":0} ");
    client_end(&x);
    ck_assert_str_eq(frames(), "WHO 1 chat ; ");
}
END_TEST

/* A connection that is lost, or closed: it may come back. */
START_TEST(test_lost)
{
    struct client x;

    begin_watching(&x);
    client_end(&x);
    ck_assert_str_eq(frames(), "LEAVE 1; ");
    ck_assert_uint_eq(hub_n_subs(fe.hub), 0);
}
END_TEST

START_TEST(test_new_link)
{
    struct client x, y;

    begin_watching(&x);
    client_begin(&y);
    hub_on_down(fe.hub);
    request(&y, REQUEST_JOIN, "5", "chat", "u2");
    attach();
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 chat; SUBSCRIBE 2 $presence/chat; JOIN 1 chat u1 {\"n\":1} "
                               "again; JOIN 2 chat u2 ?; RESUME; ");
    resume_chat();
    ck_assert_str_eq(frames(), "WHO 2 chat ; ");
    settled(UINT64_C(1) << 63 | NTH(2) | 1, "");
    expect_settled(&y, "DONE(5,16,0,0) ");
    message_json(2, 12, "{\"event\":\"join\",\"id\":\"u2\"}"); /* twice is no harm, missing would be */
    present(WHO(2), "u1", "");
    present(WHO(2), "u2", "");
    who_end(WHO(2), 2, 12, false);
    expect_settled(&x,
        "1:$presence/chat={\"event\":\"join\",\"id\":\"u2\"} "
        "1:$presence/"
        "chat={\"event\":\"snapshot\",\"members\":[{\"id\":\"u1\"},{\"id\":\"u2\"}],\"count\":2} ");
    client_end(&x);
    client_end(&y);
    ck_assert_str_eq(frames(), "LEAVE 1; LEAVE 2; ");
}
END_TEST

/* The link is lost while somebody is told who is there. */
START_TEST(test_new_link_meanwhile)
{
    struct client x;

    client_begin(&x);
    attach();
    resume_chat();
    watch(&x, "1", "chat", "", "");
    subscribed(1, 10, false);
    subscribed(2, 10, false);
    present(WHO(1), "u1", "");
    hub_on_down(fe.hub);
    (void)frames();
    attach();
    resume_chat();
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 chat; SUBSCRIBE 2 $presence/chat; RESUME; WHO 2 chat ; ");
    present(WHO(1), "u1", ""); /* of the old one */
    present(WHO(2), "u3", "");
    who_end(WHO(2), 1, 12, false);
    expect_settled(&x,
        "SUBSCRIBED(1) 1:$presence/chat={\"event\":\"snapshot\",\"members\":[{\"id\":\"u3\"}],\"count\":1} ");
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_WHO_END, .who_end = {.req = WHO(3)}}), -EPROTO); /* never asked */
    client_end(&x);
}
END_TEST

/* Parts follow as the client reads them, and events are given from the first on. */
START_TEST(test_parts)
{
    struct client x;

    client_begin(&x);
    attach();
    resume_chat();
    watch(&x, "1", "chat", "", "");
    subscribed(1, 10, false);
    subscribed(2, 10, false);
    (void)frames();
    present(WHO(1), "u1", "");
    x.queued = 60000;
    who_end(WHO(1), 2, 12, true);
    message_json(2, 13, "{}");
    expect_settled(&x,
        "SUBSCRIBED(1) "
        "1:$presence/chat={\"event\":\"snapshot\",\"members\":[{\"id\":\"u1\"}],\"count\":2,\"more\":true} "
        "1:$presence/chat={} ");
    ck_assert_str_eq(frames(), "");
    x.queued = 0;
    while (sent.n == 0)
        loop_settle(loop);
    ck_assert_str_eq(frames(), "WHO 2 chat u1; ");
    present(WHO(2), "u2", "");
    who_end(WHO(2), 2, 14, false);
    expect_settled(&x,
        "1:$presence/chat={\"event\":\"snapshot\",\"part\":1,\"members\":[{\"id\":\"u2\"}],\"count\":2} ");
    client_end(&x);
}
END_TEST

/* What waited for a client that reads slowly was thrown away: it is told anew who is there. */
START_TEST(test_set_back)
{
    struct client x;

    begin_watching(&x);
    message_json(2, 12, "{}");
    expect_settled(&x, "1:$presence/chat={} ");
    ck_assert_int_eq(
        hub_set_back(fe.hub, &x.session, &(struct hub_hole){.group = x.group, .epoch = EPOCH, .seq = 12}, 1),
        0);
    ck_assert_str_eq(frames(), "WHO 2 chat ; ");
    message_json(2, 13, "{}");
    message_json(1, 14, "\"hello\"");
    expect_settled(&x, "1:chat=\"hello\" ");
    present(WHO(2), "u2", "");
    who_end(WHO(2), 1, 13, false);
    message_json(2, 15, "{}");
    expect_settled(&x, "1:$presence/chat={\"event\":\"snapshot\",\"members\":[{\"id\":\"u2\"}],\"count\":1} "
                       "1:$presence/chat={} ");
    client_end(&x);
}
END_TEST

/* However many ask at once, eight are answered at a time, in turn; those who leave give their place up. */
START_TEST(test_paced)
{
    struct client x, y;
    struct buf all;
    char id[8];

    limits.subscriptions_per_client = limits.presences_per_client = 100;
    begin_watching(&x);
    client_begin(&y);
    buf_init(&all, 0);
    for (unsigned i = 2; i <= 20; i++) {
        (void)snprintf(id, sizeof id, "%u", i);
        watch(i <= 4 ? &y : &x, id, "chat", "", "");
    }
    hub_on_down(fe.hub);
    (void)frames();
    attach();
    subscribed(1, 10, false);
    subscribed(2, 10, false);
    resume_chat();
    ck_assert_str_eq(frames(),
        "SUBSCRIBE 1 chat; SUBSCRIBE 2 $presence/chat; JOIN 1 chat u1 {\"n\":1} again; RESUME; "
        "WHO 10 chat ; WHO 11 chat ; WHO 12 chat ; WHO 13 chat ; WHO 14 chat ; WHO 15 chat ; WHO 16 chat ; "
        "WHO 17 chat ; ");
    who_end(whos[10], 0, 11, false);
    ck_assert_str_eq(frames(), "WHO 18 chat ; ");
    present(whos[14], "u1", "");
    who_end(whos[14], 2, 11, true); /* the others come first */
    ck_assert_str_eq(frames(), "WHO 19 chat ; ");
    client_end(&y); /* two of those that are under way */
    ck_assert_str_eq(frames(), "WHO 20 chat ; WHO 21 chat ; ");
    for (unsigned i = 15; i <= 29; i++) {
        who_end(whos[i], 2, 11, false);
        buf_put_str(&all, frames());
    }
    buf_put_byte(&all, 0);
    ck_assert_str_eq((const char *)all.p,
        "WHO 22 chat ; WHO 23 chat ; WHO 24 chat ; WHO 25 chat ; WHO 26 chat ; WHO 27 chat ; WHO 28 chat ; "
        "WHO 29 chat ; WHO 30 chat u1; ");
    client_end(&x);
    buf_fini(&all);
}
END_TEST

START_TEST(test_leaving_in_the_snapshot)
{
    struct client x;

    client_begin(&x);
    attach();
    resume_chat();
    watch(&x, "1", "chat", "u1", "");
    subscribed(1, 10, false);
    subscribed(2, 10, false);
    x.leaves_on_delivery = true;
    who_end(WHO(1), 0, 12, true);
    (void)frames();
    settled(JOIN(1), ""); /* for nobody */
    client_end(&x);
    ck_assert_str_eq(frames(), "");
}
END_TEST

START_TEST(test_refused)
{
    struct client x;

    client_begin(&x);
    attach();
    resume_chat();
    watch(&x, "1", "chat", "u1", "");
    subscribed(1, 10, false);
    settled(JOIN(1), "not_allowed");
    expect_settled(&x, "SUBSCRIBED(1) ERROR(1,not_allowed) ");
    (void)frames();
    watch(&x, "2", "chat", "u1", "");
    expect_settled(&x, "SUBSCRIBED(2) ");
    ck_assert_int_eq(give((struct frame){.type = FRAME_UNSUBSCRIBABLE,
                         .unsubscribable = {.filter = 2, .code = slice_str("limit_reached")}}),
        0);
    expect_settled(&x, "ERROR(2,limit_reached) ");
    ck_assert_str_eq(frames(), "JOIN 2 chat u1 ?; LEAVE 2 for good; ");
    watch(&x, "3", "chat/#", "u1", "");
    expect_settled(&x, "ERROR(3,topic_invalid) ");
    watch(&x, "3", "chat", "u1", "{");
    expect_settled(&x, "ERROR(3,request_invalid) ");
    watch(&x, "3", "chat", "\xff", "");
    expect_settled(&x, "ERROR(3,request_invalid) ");
    watch(&x, "3", "$sys/x", "u1", "");
    expect_settled(&x, "ERROR(3,not_allowed) ");
    watch(&x, "3", "a", "u1", "");
    watch(&x, "4", "b", "u1", "");
    watch(&x, "5", "c", "u1", "");
    expect_settled(&x, "ERROR(5,limit_reached) ");
    client_end(&x);
}
END_TEST

/* ---- By themselves. ---- */

START_TEST(test_join_and_leave)
{
    struct client x;

    client_begin(&x);
    attach();
    resume_chat();
    (void)frames();
    request(&x, REQUEST_JOIN, "1", "chat", "u1");
    ck_assert_str_eq(frames(), "JOIN 1 chat u1 ?; ");
    settled(JOIN(1), "");
    expect_settled(&x, "DONE(1,16,0,0) ");
    request(&x, REQUEST_JOIN, "2", "chat", "u2"); /* it is somebody else now */
    ck_assert_str_eq(frames(), "JOIN 2 chat u2 ?; LEAVE 1 for good; ");
    request(&x, REQUEST_LEAVE, "3", "chat", "");
    ck_assert_str_eq(frames(), "LEAVE 2 for good; ");
    request(&x, REQUEST_LEAVE, "4", "chat", ""); /* it had left */
    expect_settled(&x, "DONE(3,17,0,0) DONE(4,17,0,0) ");
    ck_assert_str_eq(frames(), "");
    request(&x, REQUEST_JOIN, "5", "chat", "u1");
    settled(UINT64_C(1) << 63 | NTH(3) | 1, "not_allowed");
    expect_settled(&x, "ERROR(5,not_allowed) ");
    request(&x, REQUEST_JOIN, "6", "chat", "");
    expect_settled(&x, "ERROR(6,request_invalid) ");
    request(&x, REQUEST_JOIN, "7", "a", "u1");
    request(&x, REQUEST_JOIN, "8", "b", "u1");
    request(&x, REQUEST_JOIN, "9", "c", "u1");
    expect_settled(&x, "ERROR(9,limit_reached) ");
    client_end(&x);
}
END_TEST

SUITE_MAIN_WITH("members", setup, teardown_hub, test_watch, test_watch_with_recovery, test_lost,
    test_new_link, test_new_link_meanwhile, test_parts, test_set_back, test_paced,
    test_leaving_in_the_snapshot, test_refused, test_join_and_leave)
