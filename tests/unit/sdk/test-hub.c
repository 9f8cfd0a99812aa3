/* SPDX-License-Identifier: Apache-2.0 */
/* The hub between a broker that is this test and clients that write down what they get. */
#include "config.h"

#include "frontends/sdk/hub.h"

#include "tests/unit/sdk/suite.h"

#include "frontends/sdk/badge.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/session.h"

#include <errno.h>
#include <stdio.h>

#define EPOCH 0xe

static struct loop *loop;
static struct frontend fe;
static struct limits_options limits;
static struct buf sent; /* frames for the broker */
static struct buf told; /* sent, as text */
static struct encoder encoder;

struct client {
    struct session session; /* first */
    struct buf log;         /* everything it was given, in order */
    unsigned n_deliveries;
    size_t queued;
    bool leaves_on_delivery, leaves_on_answer;
};

/* ---- The clients' side. ---- */

static void
put_message(const struct encoder *e, struct buf *out, const struct message *m, struct slice sub_id)
{
    buf_printf(out, "%.*s:%.*s=%.*s%s ", SLICE_ARG(sub_id), SLICE_ARG(m->topic), SLICE_ARG(m->body),
        m->is_retained ? "(kept)" : "");
}

static void
client_end(struct client *x)
{
    session_fini(&x->session);
    buf_fini(&x->log);
}

static void
on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct client *x = (struct client *)s;

    x->n_deliveries++;
    buf_put(&x->log, block->buf.p + at, n);
    if (x->leaves_on_delivery)
        session_fini(s);
}

static void
on_answer(struct session *s, const struct answer *a)
{
    static const char *const names[] = {[ANSWER_SUBSCRIBED] = "SUBSCRIBED",
        [ANSWER_UNSUBSCRIBED] = "UNSUBSCRIBED",
        [ANSWER_ERROR] = "ERROR",
        [ANSWER_LIVE] = "LIVE",
        [ANSWER_STATE] = "STATE",
        [ANSWER_TOPIC] = "TOPIC",
        [ANSWER_TOPICS_END] = "END",
        [ANSWER_DROPPED] = "DROPPED"};
    static const char *const states[] = {"live", "recovered", "gap", "reset"};
    struct client *x = (struct client *)s;

    buf_printf(&x->log, "%s(%.*s", names[a->type], SLICE_ARG(a->id));
    if (a->type == ANSWER_SUBSCRIBED || a->type == ANSWER_STATE)
        buf_printf(&x->log, ",%s,%llx-%llu", states[a->state], (unsigned long long)a->position.epoch,
            (unsigned long long)a->position.seq);
    for (size_t i = 0; i < a->n_gaps; i++)
        buf_printf(&x->log, ",%.*s", SLICE_ARG(a->gaps[i]));
    if (a->type == ANSWER_ERROR)
        buf_printf(&x->log, ",%s", error_code_name(a->code));
    if (a->type == ANSWER_TOPIC)
        buf_printf(&x->log, ",%.*s", SLICE_ARG(a->topic));
    if (a->type == ANSWER_DROPPED)
        buf_printf(&x->log, ",%llu", (unsigned long long)a->count);
    buf_put_str(&x->log, ") ");
    if (x->leaves_on_answer)
        session_fini(s);
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
expect(struct client *x, const char *log)
{
    buf_put_byte(&x->log, '\0');
    ck_assert_str_eq((const char *)x->log.p, log);
    buf_reset(&x->log);
}

/* filters: separated by spaces; since: a cursor, or NULL for live. */
static void
sub(struct client *x, const char *id, const char *filters, const char *since)
{
    struct slice list[8];
    struct request r = {.op = REQUEST_SUB, .id = slice_str(id), .filters = list};

    for (const char *p = filters; *p != '\0'; p += list[r.n_filters - 1].n) {
        while (*p == ' ')
            p++;
        list[r.n_filters++] = slice_of(p, strcspn(p, " "));
    }
    if (since != NULL) {
        r.from = FROM_SINCE;
        r.since = slice_str(since);
    }
    ck_assert_int_eq(session_request(&x->session, &r), 0);
}

static void
unsub(struct client *x, const char *id)
{
    struct request r = {.op = REQUEST_UNSUB, .id = slice_str(id)};

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

/* What the hub has sent since the last time. */
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
        else if (f.type == FRAME_UNSUBSCRIBE)
            buf_printf(&told, " %d", (int)f.unsubscribe.filter);
        else if (f.type == FRAME_CANCEL)
            buf_printf(&told, " %d", (int)f.cancel.req);
        else if (f.type == FRAME_LIST)
            buf_printf(&told, " %d %.*s %d", (int)f.list.req, SLICE_ARG(f.list.filter), (int)f.list.limit);
        else if (f.type == FRAME_RECOVER) {
            struct slice filter;

            buf_printf(&told, " %d mode %d %llx-%d count %d", (int)f.recover.req, (int)f.recover.mode,
                (unsigned long long)f.recover.epoch, (int)f.recover.seq, (int)f.recover.count);
            while (strs_next(&f.recover.filters, &filter))
                buf_printf(&told, " %.*s", SLICE_ARG(filter));
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
resumed(enum recover_state state, uint64_t epoch, uint64_t seq)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_RESUMED, .resumed = {.state = state, .epoch = epoch, .seq = seq}}),
        0);
}

static void
topic(uint64_t handle, const char *name)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_TOPIC, .topic = {.handle = handle, .topic = slice_str(name)}}), 0);
}

static void
subscribed(uint64_t filter, uint64_t seq, bool retained)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_SUBSCRIBED,
                         .subscribed = {.filter = filter, .seq = seq, .retained = retained}}),
        0);
}

static int
message_with(struct slice headers, uint64_t handle, uint64_t seq, uint64_t prev, const char *body)
{
    return give((struct frame){.type = FRAME_MESSAGE,
        .message = {
            .handle = handle, .seq = seq, .prev = prev, .headers = headers, .body = slice_str(body)}});
}

static int
message(uint64_t handle, uint64_t seq, uint64_t prev, const char *body)
{
    return message_with(slice_of(NULL, 0), handle, seq, prev, body);
}

static void
replay(uint64_t req, uint64_t handle, uint64_t seq, const char *body)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_REPLAY,
                         .replay = {.req = req, .handle = handle, .seq = seq, .body = slice_str(body)}}),
        0);
}

static void
recovered(uint64_t req, enum recover_state state, uint64_t seq, bool more)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_RECOVERED,
            .recovered = {.req = req, .state = state, .epoch = EPOCH, .seq = seq, .more = more}}),
        0);
}

static void
gap(uint64_t req, const char *name, uint64_t seq)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_GAP, .gap = {.req = req, .topic = slice_str(name), .seq = seq}}),
        0);
}

/* A link that is live at seq 10, with a/1 and a/2 and b/1 as topics 1, 2, 3. */
static void
attach(void)
{
    hub_on_attached(fe.hub);
    resumed(STATE_LIVE, EPOCH, 10);
    topic(1, "a/1");
    topic(2, "a/2");
    topic(3, "b/1");
}

static void
setup(void)
{
    const struct hub_sink sink = {.begin = sink_begin, .commit = sink_commit};

    ck_assert_int_eq(loop_new(&loop), 0);
    limits = (struct limits_options){
        .queue_bytes = 64 * 1024, .message_bytes = 1 << 20, .subscriptions_per_client = 5};
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

/* ---- Live. ---- */

START_TEST(test_live)
{
    struct client x, y;

    client_begin(&x);
    client_begin(&y);
    sub(&x, "1", "a/+", NULL); /* no link yet */
    expect(&x, "");
    attach();
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
    attach();
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
    attach();
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
    attach();
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

    attach();
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
    attach();
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
    attach();
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

    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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

/* ---- Recovery. ---- */

START_TEST(test_since)
{
    struct client x;

    client_begin(&x);
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
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
    attach();
    sub(&x, "1", "a/1", "e-5");
    subscribed(1, 10, false);
    replay(1, 1, 7, "seven");
    recovered(1, STATE_RECOVERED, 10, false);
    expect(&x, "SUBSCRIBED(1,recovered,e-5) ");
    ck_assert_uint_eq(hub_n_subs(fe.hub), 0);
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
    attach();
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
    attach();
    session_note_dropped(&x.session, 3);
    session_note_dropped(&x.session, 4);
    expect(&x, "");
    fe.slow_poll.fn(&fe);
    expect(&x, "DROPPED(,7) ");
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
    attach();
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
    struct session_ops ops = {.on_deliver = on_deliver_values, .on_answer = on_answer, .queued = queued};
    struct client x;
    uint64_t a, b;

    client_begin(&x);
    x.session.ops = &ops;
    attach();
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
    attach();
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
    attach();
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
    attach();
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

/* Who was not told of a gap has to be. */
START_TEST(test_since_before_a_gap)
{
    struct client x;

    client_begin(&x);
    attach();
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

/* What a session is not to get is delivered to the others, in its place. */
START_TEST(test_exclude)
{
    struct badge badge, other;
    struct client x, y;
    struct buf headers;

    client_begin(&x);
    client_begin(&y);
    attach();
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
    attach();
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

SUITE_MAIN_WITH("hub", setup, teardown, test_live, test_joining_within_a_turn, test_several_subs_are_in_order,
    test_several_filters_once, test_more_and_fewer_filters_match, test_unsubscribing_gives_what_waits,
    test_refusals, test_leaving_in_a_callback, test_link_comes_back, test_gap_is_told_to_whom_it_concerns,
    test_link_breaks_while_it_resumes, test_reset, test_holes_are_noticed, test_since, test_since_states,
    test_since_and_live_meet, test_pages_wait_for_the_client, test_gaps_are_told_once,
    test_large_pages_are_cut, test_recovery_goes_on_on_another_link, test_kept_values_first,
    test_many_kept_values_spill, test_leaving_on_the_answer, test_lists, test_dropped_is_told_later,
    test_set_back, test_values, test_filters_linger, test_long_ids, test_exclude, test_since_a_time,
    test_since_nothing_came, test_since_before_a_gap)
