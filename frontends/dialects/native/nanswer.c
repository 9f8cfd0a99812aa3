/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the native protocol: which pairs each consists of, for both forms. */
#include "config.h"

#include "frontends/dialects/native/native.h"

#include "base/mp.h"

struct put {
    const struct native_writer_ops *ops;
    struct native_writer w;
};

typedef void (*put_answer_fn)(struct put *p, const struct answer *a);

static void
put_string(struct put *p, const char *key, struct slice value)
{
    p->ops->put_string(&p->w, key, value);
}

static void
put_op(struct put *p, const char *op)
{
    put_string(p, "op", slice_str(op));
}

/* The id, under the name that it has in this answer; nothing if the request had none. */
static void
put_id(struct put *p, const char *key, struct slice id)
{
    if (id.n > 0)
        p->ops->put_raw(&p->w, key, id);
}

/* Nothing while the bus's position is not known. */
static void
put_cursor(struct put *p, struct position position)
{
    char cursor[CURSOR_MAX];
    size_t n;

    if (position.epoch == 0)
        return;
    n = cursor_format(cursor, position);
    put_string(p, "cursor", slice_of(cursor, n));
}

static void
put_state(struct put *p, const struct answer *a)
{
    static const char *const names[] = {
        [STATE_LIVE] = "live",
        [STATE_RECOVERED] = "recovered",
        [STATE_GAP] = "gap",
        [STATE_RESET] = "reset",
    };

    put_string(p, "state", slice_str(names[a->state]));
    put_cursor(p, a->position);
    if (a->n_gaps > 0)
        p->ops->put_strings(&p->w, "topics", a->gaps, a->n_gaps);
}

static void
put_code(struct put *p, const struct answer *a)
{
    put_string(p, "code", slice_str(error_code_name(a->code)));
    put_string(p, "message", a->text.n > 0 ? a->text : slice_str(error_code_sentence(a->code)));
}

static void
put_welcome(struct put *p, const struct answer *a)
{
    put_op(p, "welcome");
    put_id(p, "id", a->id);
    put_string(p, "version", slice_str(PACKAGE_VERSION));
    p->ops->put_u64(&p->w, "protocol", NATIVE_PROTOCOL);
    put_cursor(p, a->position);
    if (a->text.n > 0)
        put_string(p, "server", a->text);
    if (a->count > 0)
        p->ops->put_u64(&p->w, "message_bytes", a->count);
}

static void
put_subscribed(struct put *p, const struct answer *a)
{
    put_op(p, "subscribed");
    put_id(p, "id", a->id);
    put_state(p, a);
}

static void
put_unsubscribed(struct put *p, const struct answer *a)
{
    put_op(p, "unsubscribed");
    put_id(p, "id", a->id);
}

static void
put_published(struct put *p, const struct answer *a)
{
    put_op(p, "published");
    put_id(p, "id", a->id);
    put_cursor(p, a->position);
}

static void
put_pong(struct put *p, const struct answer *a)
{
    put_op(p, "pong");
    put_id(p, "id", a->id);
}

static void
put_topic(struct put *p, const struct answer *a)
{
    put_op(p, "topic");
    put_id(p, "id", a->id);
    put_string(p, "topic", a->topic);
    put_cursor(p, a->position);
    p->ops->put_u64(&p->w, "messages", a->n_kept);
    p->ops->put_u64(&p->w, "bytes", a->n_bytes);
    p->ops->put_u64(&p->w, "links", a->n_links);
}

static void
put_topics_end(struct put *p, const struct answer *a)
{
    put_op(p, "topics_end");
    put_id(p, "id", a->id);
    p->ops->put_bool(&p->w, "more", a->count > 0);
}

static void
put_error(struct put *p, const struct answer *a)
{
    put_op(p, "error");
    put_id(p, "id", a->id);
    if (a->token.n > 0 && a->id.n == 0) /* else nobody would know what it is about */
        put_string(p, a->of == REQUEST_REPLY ? "call" : "lease", a->token);
    put_code(p, a);
}

static void
put_changed(struct put *p, const struct answer *a)
{
    put_op(p, "state");
    put_id(p, "sub", a->id);
    put_state(p, a);
}

static void
put_dropped(struct put *p, const struct answer *a)
{
    put_op(p, "dropped");
    put_id(p, "sub", a->id);
    p->ops->put_u64(&p->w, "count", a->count);
    if (a->topic.n > 0)
        put_string(p, "topic", a->topic);
}

static void
put_closing(struct put *p, const struct answer *a)
{
    put_op(p, "closing");
    put_code(p, a);
}

/* ---- Requests, queues, presence. ---- */

static void
put_u64(struct put *p, const char *key, uint64_t value)
{
    p->ops->put_u64(&p->w, key, value);
}

static void
put_scheduled(struct put *p, const struct answer *a)
{
    put_op(p, "published");
    put_id(p, "id", a->id);
    put_u64(p, "due", a->time_ms);
}

static void
put_reply(struct put *p, const struct answer *a)
{
    put_op(p, "reply");
    put_id(p, "id", a->id);
    p->ops->put_content(&p->w, a->message);
}

static void
put_accepted(struct put *p, const struct answer *a)
{
    put_op(p, "accepted");
    put_id(p, "id", a->id);
    put_string(p, "request", a->token);
    put_u64(p, "expires", a->time_ms);
}

static const char *
done_name(const struct answer *a)
{
    switch (a->of) {
    case REQUEST_WITHDRAW:
        return "canceled";
    case REQUEST_REPLY:
        return "replied";
    case REQUEST_PURGE:
        return "purged";
    case REQUEST_REDRIVE:
        return "redriven";
    case REQUEST_JOIN:
        return "joined";
    case REQUEST_LEAVE:
        return "left";
    default:
        return a->outcome == SETTLE_DONE ? "acked" : a->outcome == SETTLE_EXTEND ? "extended" : "nacked";
    }
}

static void
put_done(struct put *p, const struct answer *a)
{
    put_op(p, done_name(a));
    put_id(p, "id", a->id);
    if (a->of == REQUEST_PURGE || a->of == REQUEST_REDRIVE)
        put_u64(p, "count", a->count);
}

static void
put_queue(struct put *p, const struct answer *a)
{
    const struct queue_figures *q = a->queue;

    put_op(p, "queue");
    put_id(p, "id", a->id);
    put_string(p, "topic", q->topic);
    put_string(p, "group", q->group);
    put_u64(p, "ready", q->n_ready);
    put_u64(p, "leased", q->n_leased);
    put_u64(p, "delayed", q->n_delayed);
    put_u64(p, "done", q->n_done);
    put_u64(p, "dead", q->n_dead);
    put_u64(p, "lost", q->n_lost);
    put_u64(p, "consumers", q->n_consumers);
    put_u64(p, "oldest", q->oldest_ms);
}

/* The last line of a list. */
static void
put_list_end(struct put *p, const struct answer *a)
{
    put_op(p, a->type == ANSWER_QUEUES_END ? "queues_end" : "peek_end");
    put_id(p, "id", a->id);
    p->ops->put_bool(&p->w, "more", a->count > 0);
}

static void
put_peeked(struct put *p, const struct answer *a)
{
    static const char *const states[] = {"ready", "leased", "delayed"};

    put_op(p, "peeked");
    put_id(p, "id", a->id);
    put_string(p, "state", slice_str(states[a->queue_state]));
    if (a->time_ms > 0)
        put_u64(p, "until", a->time_ms);
    put_u64(p, "deliveries", a->n_deliveries);
    put_string(p, "cursor", a->message->cursor);
    put_u64(p, "time", a->message->time_ms);
    if (a->message->key.n > 0)
        put_string(p, "key", a->message->key);
    p->ops->put_content(&p->w, a->message);
}

static void
put_present(struct put *p, const struct answer *a)
{
    put_op(p, "member");
    put_id(p, "id", a->id);
    put_string(p, "member", a->token);
    if (a->body.n > 0)
        p->ops->put_json(&p->w, "info", a->body);
    put_u64(p, "connections", a->n_links);
    put_u64(p, "since", a->time_ms);
}

static void
put_who_end(struct put *p, const struct answer *a)
{
    static const char *const modes[] = {"off", "members", "count"};

    put_op(p, "members_end");
    put_id(p, "id", a->id);
    put_string(p, "presence", slice_str(modes[a->presence]));
    put_u64(p, "count", a->n_kept);
    p->ops->put_bool(&p->w, "more", a->count > 0);
}

static void
put_work(struct put *p, const struct answer *a)
{
    put_op(p, "msg");
    put_id(p, "sub", a->id);
    put_string(p, "lease", a->token);
    put_u64(p, "deliveries", a->n_deliveries);
    put_u64(p, "expires", a->time_ms);
    put_string(p, "topic", a->message->topic);
    put_string(p, "cursor", a->message->cursor);
    put_u64(p, "time", a->message->time_ms);
    if (a->message->key.n > 0)
        put_string(p, "key", a->message->key);
    p->ops->put_content(&p->w, a->message);
}

static void
put_call(struct put *p, const struct answer *a)
{
    put_op(p, "request");
    put_id(p, "sub", a->id);
    put_string(p, "call", a->token);
    put_string(p, "topic", a->message->topic);
    put_u64(p, "timeout", a->time_ms);
    if (a->n_deliveries > 1)
        put_u64(p, "deliveries", a->n_deliveries);
    if (a->message->key.n > 0)
        put_string(p, "key", a->message->key);
    p->ops->put_content(&p->w, a->message);
}

static const put_answer_fn put_answers[] = {
    [ANSWER_SCHEDULED] = put_scheduled,
    [ANSWER_REPLY] = put_reply,
    [ANSWER_ACCEPTED] = put_accepted,
    [ANSWER_DONE] = put_done,
    [ANSWER_QUEUE] = put_queue,
    [ANSWER_QUEUES_END] = put_list_end,
    [ANSWER_PEEKED] = put_peeked,
    [ANSWER_PEEK_END] = put_list_end,
    [ANSWER_PRESENT] = put_present,
    [ANSWER_WHO_END] = put_who_end,
    [ANSWER_WORK] = put_work,
    [ANSWER_CALL] = put_call,
    [ANSWER_WELCOME] = put_welcome,
    [ANSWER_SUBSCRIBED] = put_subscribed,
    [ANSWER_UNSUBSCRIBED] = put_unsubscribed,
    [ANSWER_PUBLISHED] = put_published,
    [ANSWER_PONG] = put_pong,
    [ANSWER_TOPIC] = put_topic,
    [ANSWER_TOPICS_END] = put_topics_end,
    [ANSWER_ERROR] = put_error,
    [ANSWER_STATE] = put_changed,
    [ANSWER_DROPPED] = put_dropped,
    [ANSWER_CLOSING] = put_closing,
};

void
native_put_answer(const struct native_writer_ops *ops, struct buf *out, const struct answer *a)
{
    struct put p = {.ops = ops, .w = {.out = out, .at = out->n}};

    if (put_answers[a->type] == NULL)
        return; /* for other dialects alone */
    /* Who gave no id did not ask for an acknowledgement. */
    if (a->id.n == 0 &&
        (a->type == ANSWER_PUBLISHED || a->type == ANSWER_SCHEDULED || a->type == ANSWER_DONE))
        return;
    ops->begin(&p.w);
    put_answers[a->type](&p, a);
    ops->end(&p.w);
}

bool
native_headers_begin(struct slice headers, struct mp *ret, uint32_t *ret_n)
{
    *ret = mp_of(headers);
    return headers.n > 0 && mp_map(ret, ret_n) == 0 && *ret_n > 0;
}

bool
native_headers_next(struct mp *c, uint32_t *n, struct native_pair *ret)
{
    if (*n == 0 || mp_str(c, &ret->name) < 0 || mp_str(c, &ret->value) < 0)
        return false;
    (*n)--;
    return true;
}
