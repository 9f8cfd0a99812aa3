/* SPDX-License-Identifier: Apache-2.0 */
/* A hub for tests: see hubfixture.h. */
#include "config.h"

#include "tests/unit/sdk/hubfixture.h"

#include <string.h>

#include "frontends/sdk/block.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/message.h"

struct loop *loop;
struct frontend fe;
struct limits_options limits;
struct buf sent;
uint64_t whos[WHOS_MAX];
bool is_full, tells_positions;

static struct buf told; /* sent, as text */
static struct encoder encoder;

/* ---- The clients' side. ---- */

static void
put_message(const struct encoder *e, struct buf *out, const struct message *m, struct slice sub_id)
{
    buf_printf(out, "%.*s:%.*s=%.*s%s ", SLICE_ARG(sub_id), SLICE_ARG(m->topic), SLICE_ARG(m->body),
        m->is_retained ? "(kept)" : "");
}

static void
on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct client *x = (struct client *)s;

    x->n_deliveries++;
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
        [ANSWER_LIVE] = "LIVE",
        [ANSWER_STATE] = "STATE",
        [ANSWER_TOPIC] = "TOPIC",
        [ANSWER_TOPICS_END] = "END",
        [ANSWER_DROPPED] = "DROPPED",
        [ANSWER_REPLY] = "REPLY",
        [ANSWER_ACCEPTED] = "ACCEPTED",
        [ANSWER_DONE] = "DONE",
        [ANSWER_QUEUE] = "QUEUE",
        [ANSWER_QUEUES_END] = "QUEUES_END",
        [ANSWER_PEEKED] = "PEEKED",
        [ANSWER_PEEK_END] = "PEEK_END",
        [ANSWER_PRESENT] = "PRESENT",
        [ANSWER_WHO_END] = "WHO_END",
        [ANSWER_WORK] = "WORK",
        [ANSWER_CALL] = "CALL"};
    static const char *const states[] = {"live", "recovered", "gap", "reset"};
    struct client *x = (struct client *)s;

    buf_printf(&x->log, "%s(%.*s", names[a->type], SLICE_ARG(a->id));
    if (tells_positions && (a->type == ANSWER_SUBSCRIBED || a->type == ANSWER_STATE))
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
    if (a->token.n > 0)
        buf_printf(&x->log, ",%.*s", SLICE_ARG(a->token));
    if (a->message != NULL)
        buf_printf(&x->log, ",%.*s=%.*s", SLICE_ARG(a->message->topic), SLICE_ARG(a->message->body));
    if (a->type == ANSWER_DONE)
        buf_printf(&x->log, ",%d,%d,%llu", (int)a->of, (int)a->outcome, (unsigned long long)a->count);
    if (a->type == ANSWER_QUEUE)
        buf_printf(&x->log, ",%.*s/%.*s,%llu", SLICE_ARG(a->queue->topic), SLICE_ARG(a->queue->group),
            (unsigned long long)a->queue->n_ready);
    if (a->type == ANSWER_WORK || a->type == ANSWER_CALL) /* in seconds: some of it has passed */
        buf_printf(&x->log, ",%llu,%llu", (unsigned long long)a->n_deliveries,
            (unsigned long long)(a->time_ms + 999) / 1000);
    if (a->type == ANSWER_WHO_END)
        buf_printf(&x->log, ",%llu,%d", (unsigned long long)a->n_kept, (int)a->presence);
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

void
client_begin(struct client *x)
{
    *x = (struct client){0};
    buf_init(&x->log, 0);
    session_init(&x->session, &fe, &encoder, &session_ops);
}

void
client_end(struct client *x)
{
    session_fini(&x->session);
    buf_fini(&x->log);
}

void
expect(struct client *x, const char *log)
{
    buf_put_byte(&x->log, '\0');
    ck_assert_str_eq((const char *)x->log.p, log);
    buf_reset(&x->log);
}

void
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

void
unsub(struct client *x, const char *id)
{
    struct request r = {.op = REQUEST_UNSUB, .id = slice_str(id)};

    ck_assert_int_eq(session_request(&x->session, &r), 0);
}

static void
on_wait(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

void
wait_ms(uint64_t ms)
{
    struct loop_timer timer = {.fn = on_wait};

    loop_timer_start(loop, &timer, ms);
    ck_assert_int_eq(loop_run(loop), 0);
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

static bool
sink_is_full(void *arg)
{
    return is_full;
}

#define N(x) ((unsigned long long)((x) << 2 >> 26)) /* the number without the place */

static void
tell_recover(const struct frame_recover *r)
{
    struct strs filters = r->filters;
    struct slice filter;

    buf_printf(&told, " %d mode %d %llx-%d count %d", (int)r->req, (int)r->mode, (unsigned long long)r->epoch,
        (int)r->seq, (int)r->count);
    while (strs_next(&filters, &filter))
        buf_printf(&told, " %.*s", SLICE_ARG(filter));
}

static void
tell_stream(const struct frame *f)
{
    if (f->type == FRAME_SUBSCRIBE)
        buf_printf(&told, " %d %.*s", (int)f->subscribe.filter, SLICE_ARG(f->subscribe.pattern));
    else if (f->type == FRAME_UNSUBSCRIBE)
        buf_printf(&told, " %d", (int)f->unsubscribe.filter);
    else if (f->type == FRAME_CANCEL)
        buf_printf(&told, " %d", (int)f->cancel.req);
    else if (f->type == FRAME_LIST)
        buf_printf(&told, " %d %.*s %d", (int)f->list.req, SLICE_ARG(f->list.filter), (int)f->list.limit);
    else if (f->type == FRAME_RECOVER)
        tell_recover(&f->recover);
}

static void
tell_members(const struct frame *f)
{
    if (f->type == FRAME_JOIN)
        buf_printf(&told, " %llu %.*s %.*s %.*s%s%s", N(f->join.member), SLICE_ARG(f->join.topic),
            SLICE_ARG(f->join.id), SLICE_ARG(f->join.info), f->join.flags != 0 ? " again" : "",
            f->join.req == 0 ? "" : "?");
    else if (f->type == FRAME_LEAVE)
        buf_printf(&told, " %llu%s", N(f->leave.member), f->leave.flags != 0 ? " for good" : "");
    else if (f->type == FRAME_WHO) {
        ck_assert_uint_lt(N(f->who.req), WHOS_MAX);
        whos[N(f->who.req)] = f->who.req;
        buf_printf(&told, " %llu %.*s %.*s", N(f->who.req), SLICE_ARG(f->who.topic), SLICE_ARG(f->who.after));
    }
}

static void
tell_asks(const struct frame *f)
{
    if (f->type == FRAME_REQUEST)
        buf_printf(&told, " %llu %.*s %.*s %llu%s", N(f->request.req), SLICE_ARG(f->request.topic),
            SLICE_ARG(f->request.body),
            (unsigned long long)(f->request.timeout_ms + 99) / 100 * 100, /* some of it has passed */
            f->request.flags != 0 ? " async" : "");
    else if (f->type == FRAME_ABANDON)
        buf_printf(&told, " %llu", N(f->abandon.req));
    else if (f->type == FRAME_RESULT)
        buf_printf(&told, " %llu %.*s %llu", N(f->result.req), SLICE_ARG(f->result.id),
            (unsigned long long)f->result.wait_ms);
    else if (f->type == FRAME_WITHDRAW)
        buf_printf(&told, " %llu %.*s", N(f->withdraw.req), SLICE_ARG(f->withdraw.id));
    else if (f->type == FRAME_CONSUME)
        buf_printf(&told, " %llu %.*s %.*s mode %d flags %d credit %d", N(f->consume.consumer),
            SLICE_ARG(f->consume.topic), SLICE_ARG(f->consume.group), (int)f->consume.mode,
            (int)f->consume.flags, (int)f->consume.credit);
    else if (f->type == FRAME_UNCONSUME)
        buf_printf(&told, " %llu", N(f->unconsume.consumer));
    else if (f->type == FRAME_HOLD)
        buf_printf(&told, " %llu %.*s", N(f->hold.consumer), SLICE_ARG(f->hold.lease));
    else if (f->type == FRAME_SETTLE)
        buf_printf(&told, " %llu of %llu %.*s %d %d %.*s", N(f->settle.req), N(f->settle.consumer),
            SLICE_ARG(f->settle.lease), (int)f->settle.outcome, (int)f->settle.delay_ms,
            SLICE_ARG(f->settle.reason));
    else if (f->type == FRAME_REPLY)
        buf_printf(&told, " %llu of %llu %.*s %.*s%.*s%.*s", N(f->reply.req), N(f->reply.consumer),
            SLICE_ARG(f->reply.call), SLICE_ARG(f->reply.code), SLICE_ARG(f->reply.message),
            SLICE_ARG(f->reply.body));
}

const char *
frames(void)
{
    struct mp cursor = mp_of(buf_slice(&sent));
    struct frame f;

    buf_reset(&told);
    while (frame_next(&cursor, &f, NULL) == FRAME_OK) {
        buf_put_str(&told, frame_name(f.type));
        tell_stream(&f);
        tell_members(&f);
        tell_asks(&f);
        buf_put_str(&told, "; ");
    }
    ck_assert_ptr_eq(cursor.p, cursor.end);
    buf_reset(&sent);
    buf_put_byte(&told, '\0');
    return (const char *)told.p;
}

int
give(struct frame f)
{
    return hub_on_frame(fe.hub, &f);
}

void
resumed(enum recover_state state, uint64_t epoch, uint64_t seq)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_RESUMED, .resumed = {.state = state, .epoch = epoch, .seq = seq}}),
        0);
}

void
topic(uint64_t handle, const char *name)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_TOPIC, .topic = {.handle = handle, .topic = slice_str(name)}}), 0);
}

void
subscribed(uint64_t filter, uint64_t seq, bool retained)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_SUBSCRIBED,
                         .subscribed = {.filter = filter, .seq = seq, .retained = retained}}),
        0);
}

int
message_with(struct slice headers, uint64_t handle, uint64_t seq, uint64_t prev, const char *body)
{
    return give((struct frame){.type = FRAME_MESSAGE,
        .message = {
            .handle = handle, .seq = seq, .prev = prev, .headers = headers, .body = slice_str(body)}});
}

int
message(uint64_t handle, uint64_t seq, uint64_t prev, const char *body)
{
    return message_with(slice_of(NULL, 0), handle, seq, prev, body);
}

void
replay(uint64_t req, uint64_t handle, uint64_t seq, const char *body)
{
    ck_assert_int_eq(give((struct frame){.type = FRAME_REPLAY,
                         .replay = {.req = req, .handle = handle, .seq = seq, .body = slice_str(body)}}),
        0);
}

void
recovered(uint64_t req, enum recover_state state, uint64_t seq, bool more)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_RECOVERED,
            .recovered = {.req = req, .state = state, .epoch = EPOCH, .seq = seq, .more = more}}),
        0);
}

void
gap(uint64_t req, const char *name, uint64_t seq)
{
    ck_assert_int_eq(
        give((struct frame){.type = FRAME_GAP, .gap = {.req = req, .topic = slice_str(name), .seq = seq}}),
        0);
}

void
attach(void)
{
    hub_on_attached(fe.hub);
    frame_put_resume(&sent, &(struct frame_resume){0});
    hub_pump(fe.hub);
}

void
attach_live(void)
{
    attach();
    resumed(STATE_LIVE, EPOCH, 10);
}

void
attach_topics(void)
{
    hub_on_attached(fe.hub);
    resumed(STATE_LIVE, EPOCH, 10);
    topic(1, "a/1");
    topic(2, "a/2");
    topic(3, "b/1");
}

/* ---- Around each test. ---- */

void
setup_hub(void)
{
    const struct hub_sink sink = {.begin = sink_begin, .commit = sink_commit, .is_full = sink_is_full};

    ck_assert_int_eq(loop_new(&loop), 0);
    limits = (struct limits_options){.queue_bytes = 64 * 1024,
        .message_bytes = 1 << 20,
        .json_depth = 8,
        .subscriptions_per_client = 5,
        .presences_per_client = 2,
        .requests_per_client = 3,
        .requests_held = 4,
        .work_bytes = 1 << 20,
        .request_hold_bytes = 1000};
    ck_assert_int_eq(frontend_init(&fe, loop, &limits), 0);
    ck_assert_int_eq(hub_new(&fe, &sink, &fe.hub), 0);
    buf_init(&sent, 0);
    buf_init(&told, 0);
    encoder = (struct encoder){.name = "test", .put_message = put_message};
    is_full = tells_positions = false;
}

void
teardown_hub(void)
{
    fe.hub = hub_free(fe.hub);
    frontend_fini(&fe);
    loop = loop_free(loop);
    buf_fini(&sent);
    buf_fini(&told);
}
