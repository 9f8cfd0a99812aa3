/* SPDX-License-Identifier: Apache-2.0 */
/* Presence between a broker that is this test and clients that write down what they get. */
#include "config.h"

#include "frontends/sdk/members.h"

#include "tests/unit/sdk/suite.h"

#include "frontends/sdk/block.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EPOCH 0xe
#define JOIN(n) (UINT64_C(1) << 63 | NTH(n))
#define WHO(n) (UINT64_C(1) << 62 | NTH(n))
/* The nth number that was given, in the place of the first. */
#define NTH(n) ((uint64_t)(n) << 24)

static struct loop *loop;
static struct frontend fe;
static struct limits_options limits;
static struct buf sent, told;
static struct encoder encoder;
#define WHOS_MAX 64
static uint64_t whos[WHOS_MAX]; /* what frames() has seen, by their numbers without the place */

struct client {
    struct session session; /* first */
    struct buf log;
    size_t queued;
    uint32_t group; /* of the last delivery */
    bool leaves_on_delivery;
};

/* ---- The clients' side. ---- */

static void
put_message(const struct encoder *e, struct buf *out, const struct message *m, struct slice sub_id)
{
    buf_printf(out, "%.*s:%.*s=%.*s ", SLICE_ARG(sub_id), SLICE_ARG(m->topic), SLICE_ARG(m->body));
}

static void
on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct client *x = (struct client *)s;

    buf_put(&x->log, block->buf.p + at, n);
    if (block->n_marks > 0)
        x->group = block->marks[block->n_marks - 1].group;
    if (x->leaves_on_delivery)
        session_fini(s);
}

static void
on_answer(struct session *s, const struct answer *a)
{
    static const char *const names[] = {[ANSWER_SUBSCRIBED] = "SUBSCRIBED",
        [ANSWER_UNSUBSCRIBED] = "UNSUBSCRIBED",
        [ANSWER_ERROR] = "ERROR",
        [ANSWER_STATE] = "STATE",
        [ANSWER_DONE] = "DONE",
        [ANSWER_PRESENT] = "PRESENT",
        [ANSWER_WHO_END] = "WHO_END"};
    struct client *x = (struct client *)s;

    buf_printf(&x->log, "%s(%.*s", names[a->type], SLICE_ARG(a->id));
    if (a->type == ANSWER_ERROR)
        buf_printf(&x->log, ",%s", error_code_name(a->code));
    buf_put_str(&x->log, ") ");
}

static size_t
queued(struct session *s)
{
    return ((struct client *)s)->queued;
}

static const struct session_ops session_ops = {
    .on_deliver = on_deliver, .on_answer = on_answer, .queued = queued};

static void
client_begin(struct client *x)
{
    *x = (struct client){0};
    buf_init(&x->log, 0);
    session_init(&x->session, &fe, &encoder, &session_ops);
}

static void
client_end(struct client *x)
{
    session_fini(&x->session);
    buf_fini(&x->log);
}

static void
expect(struct client *x, const char *log)
{
    loop_settle(loop);
    buf_put_byte(&x->log, '\0');
    ck_assert_str_eq((const char *)x->log.p, log);
    buf_reset(&x->log);
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

static struct buf *
sink_begin(void *arg)
{
    return &sent;
}

static void
sink_commit(void *arg)
{
}

#define N(x) ((unsigned long long)((x) << 2 >> 26))

static const char *
frames(void)
{
    struct mp cursor = mp_of(buf_slice(&sent));
    struct frame f;

    buf_reset(&told);
    while (frame_next(&cursor, &f, NULL) == FRAME_OK) {
        buf_put_str(&told, frame_name(f.type));
        if (f.type == FRAME_SUBSCRIBE)
            buf_printf(&told, " %d %.*s", (int)f.subscribe.filter, SLICE_ARG(f.subscribe.pattern));
        else if (f.type == FRAME_JOIN)
            buf_printf(&told, " %llu %.*s %.*s %.*s%s%s", N(f.join.member), SLICE_ARG(f.join.topic),
                SLICE_ARG(f.join.id), SLICE_ARG(f.join.info), f.join.flags != 0 ? " again" : "",
                f.join.req == 0 ? "" : "?");
        else if (f.type == FRAME_LEAVE)
            buf_printf(&told, " %llu%s", N(f.leave.member), f.leave.flags != 0 ? " for good" : "");
        else if (f.type == FRAME_WHO) {
            ck_assert_uint_lt(N(f.who.req), WHOS_MAX);
            whos[N(f.who.req)] = f.who.req;
            buf_printf(
                &told, " %llu %.*s %.*s", N(f.who.req), SLICE_ARG(f.who.topic), SLICE_ARG(f.who.after));
        }
        buf_put_str(&told, "; ");
    }
    ck_assert_ptr_eq(cursor.p, cursor.end);
    buf_reset(&sent);
    buf_put_byte(&told, '\0');
    return (const char *)told.p;
}

static int
give(struct frame f)
{
    return hub_on_frame(fe.hub, &f);
}

static void
subscribed(uint64_t filter, uint64_t seq)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_SUBSCRIBED, .subscribed = {.filter = filter, .seq = seq}}), 0);
}

static void
message(uint64_t handle, uint64_t seq, const char *body)
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

/* As the uplink does it. */
static void
attach(void)
{
    hub_on_attached(fe.hub);
    frame_put_resume(&sent, &(struct frame_resume){0});
    hub_pump(fe.hub);
}

static void
resumed(void)
{
    ck_assert_int_eq(give((struct frame){
                         .type = FRAME_RESUMED, .resumed = {.state = STATE_LIVE, .epoch = EPOCH, .seq = 10}}),
        0);
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_TOPIC, .topic = {.handle = 1, .topic = slice_str("chat")}}), 0);
    ck_assert_int_eq(give((struct frame){
                         .type = FRAME_TOPIC, .topic = {.handle = 2, .topic = slice_str("$presence/chat")}}),
        0);
}

static void
setup(void)
{
    const struct hub_sink sink = {.begin = sink_begin, .commit = sink_commit};

    ck_assert_int_eq(loop_new(&loop), 0);
    limits = (struct limits_options){.queue_bytes = 64 * 1024,
        .message_bytes = 1 << 20,
        .json_depth = 8,
        .subscriptions_per_client = 10,
        .presences_per_client = 2,
        .requests_per_client = 3};
    ck_assert_int_eq(frontend_init(&fe, loop, &limits), 0);
    ck_assert_int_eq(hub_new(&fe, &sink, &fe.hub), 0);
    buf_init(&sent, 0);
    buf_init(&told, 0);
    encoder = (struct encoder){.name = "test", .put_message = put_message};
}

static void
teardown(void)
{
    fe.hub = hub_free(fe.hub);
    frontend_fini(&fe);
    loop = loop_free(loop);
    buf_fini(&sent);
    buf_fini(&told);
}

/* A link that is live, and x there as u1, told that it is alone. */
static void
begin_watching(struct client *x)
{
    client_begin(x);
    attach();
    resumed();
    watch(x, "1", "chat", "u1", "{\"n\":1}");
    subscribed(1, 10);
    subscribed(2, 10);
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
    resumed();
    (void)frames();
    watch(&x, "1", "chat", "u1", "{\"n\":1}");
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 chat; ");
    subscribed(1, 10);
    ck_assert_str_eq(frames(), "JOIN 1 chat u1 {\"n\":1}?; SUBSCRIBE 2 $presence/chat; ");
    expect(&x, "SUBSCRIBED(1) ");
    subscribed(2, 10);
    ck_assert_str_eq(frames(), "WHO 1 chat ; ");
    settled(JOIN(1), "");
    message(1, 11, "\"hello\"");
    message(2, 12, "{\"event\":\"join\",\"id\":\"u1\"}"); /* the snapshot knows */
    present(WHO(1), "u1", "{\"n\":1}");
    present(WHO(1), "u\"2", "");
    who_end(WHO(1), 2, 12, false);
    expect(&x, "1:chat=\"hello\" "
               "1:$presence/"
               "chat={\"event\":\"snapshot\",\"members\":[{\"id\":\"u1\",\"info\":{\"n\":1}},{\"id\":"
               "\"u\\\"2\"}],\"count\":2} ");
    message(2, 13, "{\"event\":\"leave\",\"id\":\"u2\"}");
    message(1, 14, "\"bye\"");
    expect(&x, "1:$presence/chat={\"event\":\"leave\",\"id\":\"u2\"} 1:chat=\"bye\" ");
    ck_assert_uint_eq(hub_n_subs(fe.hub), 1);
    ck_assert_int_eq(
        session_request(&x.session, &(struct request){.op = REQUEST_UNSUB, .id = slice_str("1")}), 0);
    expect(&x, "UNSUBSCRIBED(1) ");
    ck_assert_str_eq(frames(), "LEAVE 1 for good; ");
    message(2, 15, "{}");
    message(1, 16, "{}");
    expect(&x, "");
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
    resumed();
    subscribed(1, 10);
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 chat; RESUME; RECOVER; ");
    ck_assert_int_eq(give((struct frame){.type = FRAME_REPLAY,
                         .replay = {.req = 1, .handle = 1, .seq = 7, .body = slice_str("old")}}),
        0);
    ck_assert_int_eq(give((struct frame){.type = FRAME_RECOVERED,
                         .recovered = {.req = 1, .state = STATE_RECOVERED, .epoch = EPOCH, .seq = 10}}),
        0);
    expect(&x, "SUBSCRIBED(1) 1:chat=old ");
    ck_assert_str_eq(frames(), "SUBSCRIBE 2 $presence/chat; "); /* it only looks: no JOIN */
    subscribed(2, 10);
    who_end(WHO(1), 0, 10, false);
    expect(&x, "1:$presence/chat={\"event\":\"snapshot\",\"members\":[],\"count\":0} ");
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
    resumed();
    ck_assert_str_eq(frames(), "WHO 2 chat ; ");
    settled(UINT64_C(1) << 63 | NTH(2) | 1, "");
    expect(&y, "DONE(5) ");
    message(2, 12, "{\"event\":\"join\",\"id\":\"u2\"}"); /* twice is no harm, missing would be */
    present(WHO(2), "u1", "");
    present(WHO(2), "u2", "");
    who_end(WHO(2), 2, 12, false);
    expect(&x, "1:$presence/chat={\"event\":\"join\",\"id\":\"u2\"} "
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
    resumed();
    watch(&x, "1", "chat", "", "");
    subscribed(1, 10);
    subscribed(2, 10);
    present(WHO(1), "u1", "");
    hub_on_down(fe.hub);
    (void)frames();
    attach();
    resumed();
    ck_assert_str_eq(frames(), "SUBSCRIBE 1 chat; SUBSCRIBE 2 $presence/chat; RESUME; WHO 2 chat ; ");
    present(WHO(1), "u1", ""); /* of the old one */
    present(WHO(2), "u3", "");
    who_end(WHO(2), 1, 12, false);
    expect(&x,
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
    resumed();
    watch(&x, "1", "chat", "", "");
    subscribed(1, 10);
    subscribed(2, 10);
    (void)frames();
    present(WHO(1), "u1", "");
    x.queued = 60000;
    who_end(WHO(1), 2, 12, true);
    message(2, 13, "{}");
    expect(&x,
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
    expect(&x,
        "1:$presence/chat={\"event\":\"snapshot\",\"part\":1,\"members\":[{\"id\":\"u2\"}],\"count\":2} ");
    client_end(&x);
}
END_TEST

/* What waited for a client that reads slowly was thrown away: it is told anew who is there. */
START_TEST(test_set_back)
{
    struct client x;

    begin_watching(&x);
    message(2, 12, "{}");
    expect(&x, "1:$presence/chat={} ");
    ck_assert_int_eq(
        hub_set_back(fe.hub, &x.session, &(struct hub_hole){.group = x.group, .epoch = EPOCH, .seq = 12}, 1),
        0);
    ck_assert_str_eq(frames(), "WHO 2 chat ; ");
    message(2, 13, "{}");
    message(1, 14, "\"hello\"");
    expect(&x, "1:chat=\"hello\" ");
    present(WHO(2), "u2", "");
    who_end(WHO(2), 1, 13, false);
    message(2, 15, "{}");
    expect(&x, "1:$presence/chat={\"event\":\"snapshot\",\"members\":[{\"id\":\"u2\"}],\"count\":1} "
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
    subscribed(1, 10);
    subscribed(2, 10);
    resumed();
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
    resumed();
    watch(&x, "1", "chat", "u1", "");
    subscribed(1, 10);
    subscribed(2, 10);
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
    resumed();
    watch(&x, "1", "chat", "u1", "");
    subscribed(1, 10);
    settled(JOIN(1), "not_allowed");
    expect(&x, "SUBSCRIBED(1) ERROR(1,not_allowed) ");
    (void)frames();
    watch(&x, "2", "chat", "u1", "");
    expect(&x, "SUBSCRIBED(2) ");
    ck_assert_int_eq(give((struct frame){.type = FRAME_UNSUBSCRIBABLE,
                         .unsubscribable = {.filter = 2, .code = slice_str("limit_reached")}}),
        0);
    expect(&x, "ERROR(2,limit_reached) ");
    ck_assert_str_eq(frames(), "JOIN 2 chat u1 ?; LEAVE 2 for good; ");
    watch(&x, "3", "chat/#", "u1", "");
    expect(&x, "ERROR(3,topic_invalid) ");
    watch(&x, "3", "chat", "u1", "{");
    expect(&x, "ERROR(3,request_invalid) ");
    watch(&x, "3", "chat", "\xff", "");
    expect(&x, "ERROR(3,request_invalid) ");
    watch(&x, "3", "$sys/x", "u1", "");
    expect(&x, "ERROR(3,not_allowed) ");
    watch(&x, "3", "a", "u1", "");
    watch(&x, "4", "b", "u1", "");
    watch(&x, "5", "c", "u1", "");
    expect(&x, "ERROR(5,limit_reached) ");
    client_end(&x);
}
END_TEST

/* ---- By themselves. ---- */

START_TEST(test_join_and_leave)
{
    struct client x;

    client_begin(&x);
    attach();
    resumed();
    (void)frames();
    request(&x, REQUEST_JOIN, "1", "chat", "u1");
    ck_assert_str_eq(frames(), "JOIN 1 chat u1 ?; ");
    settled(JOIN(1), "");
    expect(&x, "DONE(1) ");
    request(&x, REQUEST_JOIN, "2", "chat", "u2"); /* it is somebody else now */
    ck_assert_str_eq(frames(), "JOIN 2 chat u2 ?; LEAVE 1 for good; ");
    request(&x, REQUEST_LEAVE, "3", "chat", "");
    ck_assert_str_eq(frames(), "LEAVE 2 for good; ");
    request(&x, REQUEST_LEAVE, "4", "chat", ""); /* it had left */
    expect(&x, "DONE(3) DONE(4) ");
    ck_assert_str_eq(frames(), "");
    request(&x, REQUEST_JOIN, "5", "chat", "u1");
    settled(UINT64_C(1) << 63 | NTH(3) | 1, "not_allowed");
    expect(&x, "ERROR(5,not_allowed) ");
    request(&x, REQUEST_JOIN, "6", "chat", "");
    expect(&x, "ERROR(6,request_invalid) ");
    request(&x, REQUEST_JOIN, "7", "a", "u1");
    request(&x, REQUEST_JOIN, "8", "b", "u1");
    request(&x, REQUEST_JOIN, "9", "c", "u1");
    expect(&x, "ERROR(9,limit_reached) ");
    client_end(&x);
}
END_TEST

SUITE_MAIN_WITH("members", setup, teardown, test_watch, test_watch_with_recovery, test_lost, test_new_link,
    test_new_link_meanwhile, test_parts, test_set_back, test_paced, test_leaving_in_the_snapshot,
    test_refused, test_join_and_leave)
