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

static const put_answer_fn put_answers[] = {
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

    /* Who gave no id did not ask for an acknowledgement. */
    if (a->type == ANSWER_PUBLISHED && a->id.n == 0)
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
