/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing: every publish is held until the broker has answered it, and is sent in the order of its number,
 * again on each new link. What cannot be held pushes back on the clients: session_request() says -EAGAIN and
 * on_unblocked() follows.
 */
#include "config.h"

#include "frontends/sdk/uplinkpriv.h"

#include "base/log.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/session.h"

#include <assert.h>
#include <errno.h>

/* What may stand beside a payload of LINK_MESSAGE_MAX: topic, content type, keys, headers. It leaves room for
 * the frame's own numbers in LINK_BATCH_MAX. */
#define WORDS_MAX (48u * 1024)

#define NAMES_MAX 4096u

/* ---- Sending. ---- */

/* The topic's number, and NAME if the link has not seen it. 0, or -ENOMEM: the link fails. */
static int
uplink_put_name(struct uplink *u, struct buf *out, struct slice topic, struct namecache_entry *known,
    uint64_t *ret_handle)
{
    bool is_new;

    if (known == NULL)
        known = namecache_add(&u->names, topic);
    if (known == NULL) {
        link_fail(u->link, "no memory for a topic's name");
        return -ENOMEM;
    }
    *ret_handle = namecache_use(&u->names, known, &is_new);
    if (is_new)
        frame_put_name(out, &(struct frame_name){.handle = *ret_handle, .topic = topic});
    return 0;
}

/* On a link that has another number for its topic than the frame says, perhaps. */
static void
uplink_put_held(struct uplink *u, const struct publish *p)
{
    struct buf *out = link_buf(u->link);
    struct mp cursor = mp_of(publish_frame(p));
    struct slice topic = publish_topic(p);
    struct frame f;
    int r = frame_next(&cursor, &f, NULL);

    assert(r == FRAME_OK && f.type == FRAME_PUBLISH); /* we made it, of words that were looked at */
    (void)r;
    if (uplink_put_name(u, out, topic, namecache_find(&u->names, topic), &f.publish.handle) < 0)
        return;
    frame_put_publish(out, &f.publish);
    uplink_commit(u);
}

/* Sends what has not been sent on this link, while it takes it. */
static void
uplink_pump(struct uplink *u)
{
    while (u->next_send < u->held.next && link_backlog(u->link) <= UPLINK_BACKLOG_MARK) {
        const struct publish *p = publishes_find(&u->held, u->next_send++);

        if (p != NULL)
            uplink_put_held(u, p);
    }
}

void
uplink_resend(struct uplink *u)
{
    namecache_renew(&u->names);
    u->next_send = u->held.first;
    if (u->held.n_held > 0)
        log_info("%zu publishes have no answer yet: sending them again", u->held.n_held);
    uplink_pump(u);
    loop_defer(u->fe->loop, &u->pump_hook);
}

/* ---- Pushing back. ---- */

static bool
uplink_has_ease(const struct uplink *u)
{
    const struct limits_options *limits = u->fe->limits;

    if (u->is_unavailable)
        return true; /* they are answered at once */
    if (!publishes_has_ease(&u->held, limits->publishes_held, limits->publish_hold_bytes))
        return false;
    return !uplink_is_up(u) || link_backlog(u->link) <= UPLINK_BACKLOG_MARK;
}

static void
uplink_wake_blocked(struct uplink *u)
{
    struct list woken;

    list_init(&woken);
    list_take_all(&woken, &u->blocked);
    while (!list_empty(&woken)) {
        struct session *s = list_entry(woken.next, struct session, in_blocked);

        list_remove(&s->in_blocked);
        s->is_blocked = false;
        if (s->ops->on_unblocked != NULL)
            s->ops->on_unblocked(s);
    }
}

static void
uplink_on_pump(void *arg)
{
    struct uplink *u = arg;

    if (uplink_is_up(u)) {
        hub_pump(u->hub);
        uplink_pump(u);
    }
    if (!list_empty(&u->blocked) && uplink_has_ease(u))
        uplink_wake_blocked(u);
}

static void
uplink_on_hold_timer(void *arg)
{
    struct uplink *u = arg;

    u->is_unavailable = true;
    if (!list_empty(&u->blocked))
        loop_defer(u->fe->loop, &u->pump_hook);
}

/* Something was answered: there may be room. */
static void
uplink_note_room(struct uplink *u)
{
    if (!list_empty(&u->blocked) && uplink_has_ease(u))
        loop_defer(u->fe->loop, &u->pump_hook);
}

static int
uplink_block(struct uplink *u, struct session *s)
{
    if (list_empty(&s->in_blocked))
        list_push_back(&u->blocked, &s->in_blocked);
    s->is_blocked = true;
    return -EAGAIN;
}

/* ---- For sessions. ---- */

static int
uplink_refuse(struct uplink *u, struct session *s, const struct request *r, enum error_code code)
{
    struct answer answer = {.type = ANSWER_ERROR, .id = r->id, .code = code, .topic = r->topic};

    u->fe->counters.request_errors++;
    u->fe->counters.publishes_refused++;
    s->ops->on_answer(s, &answer);
    return 0;
}

struct namecache_entry *
uplink_find_topic(struct uplink *u, struct slice topic)
{
    return namecache_find(&u->names, topic);
}

/* Sends it at once and holds what was sent. */
static int
uplink_send(struct uplink *u, struct session *s, const struct request *r, struct namecache_entry *known,
    struct frame_publish *f)
{
    struct buf *out = link_buf(u->link);
    size_t at;
    int e;

    if (uplink_put_name(u, out, r->topic, known, &f->handle) < 0)
        return -ENOMEM;
    at = out->n;
    frame_put_publish(out, f);
    e = buf_failed(out) ? -ENOMEM : publishes_add(&u->held, s, r, buf_since(out, at));
    if (e < 0)
        out->n = at;
    else
        u->next_send++;
    uplink_commit(u);
    return e;
}

/* Holds it until there is a link that takes it, and what is to be sent before it has gone. */
static int
uplink_hold(struct uplink *u, struct session *s, const struct request *r, const struct frame_publish *f)
{
    int e;

    buf_reset(&u->scratch);
    frame_put_publish(&u->scratch, f);
    e = buf_failed(&u->scratch) ? -ENOMEM : publishes_add(&u->held, s, r, buf_slice(&u->scratch));
    buf_reset(&u->scratch);
    buf_trim(&u->scratch);
    return e;
}

static int
uplink_take(struct uplink *u, struct session *s, const struct request *r, struct namecache_entry *known)
{
    struct frame_publish f = {.pub = u->held.next,
        .flags = r->is_retain ? MESSAGE_RETAIN : 0,
        .kind = r->kind,
        .ttl_ms = r->ttl_ms,
        .delay_ms = r->delay_ms,
        .type = r->type,
        .headers = r->headers,
        .key = r->key,
        .once = r->once,
        .body = r->body};

    if (uplink_is_up(u) && u->next_send == u->held.next)
        return uplink_send(u, s, r, known, &f);
    return uplink_hold(u, s, r, &f);
}

int
uplink_publish(struct uplink *u, struct session *s, const struct request *r, struct namecache_entry *known)
{
    const struct limits_options *limits = u->fe->limits;
    size_t n = r->id.n + r->topic.n + r->type.n + r->key.n + r->once.n + r->headers.n + r->body.n;
    int e;

    if (n > LINK_MESSAGE_MAX + WORDS_MAX || (u->max_message > 0 && r->body.n > u->max_message))
        return uplink_refuse(u, s, r, ERROR_MESSAGE_TOO_LARGE);
    if (!publishes_has_room(&u->held, limits->publishes_held, limits->publish_hold_bytes, n))
        return u->is_unavailable ? uplink_refuse(u, s, r, ERROR_UNAVAILABLE) : uplink_block(u, s);
    if (uplink_is_up(u) && link_backlog(u->link) > UPLINK_BACKLOG_MARK)
        return uplink_block(u, s);
    e = uplink_take(u, s, r, known);
    if (e < 0)
        return uplink_refuse(u, s, r, e == -EMSGSIZE ? ERROR_REQUEST_INVALID : ERROR_INTERNAL);
    u->fe->counters.publishes++;
    if (u->next_send < u->held.next && uplink_is_up(u))
        uplink_pump(u);
    return 0;
}

void
uplink_leave(struct uplink *u, struct session *s)
{
    list_for_each_safe(it, following, &s->publishes)
    {
        struct publish *publish = list_entry(it, struct publish, in_session);

        list_remove(it);
        publish->session = NULL;
    }
}

size_t
uplink_n_held(const struct uplink *u)
{
    return u->held.n_held;
}

/* ---- Answers. ---- */

static void
uplink_answer(struct uplink *u, struct publish *publish, const struct answer *answer)
{
    struct session *s = publish->session;

    if (s != NULL) {
        list_remove(&publish->in_session);
        s->ops->on_answer(s, answer);
    }
    publish_free(&u->held, publish);
}

int
uplink_on_published(struct uplink *u, const struct frame *f)
{
    uint64_t first = f->published.pub, end, seq = f->published.seq;
    struct answer answer = {.type = ANSWER_PUBLISHED, .position.epoch = u->epoch};

    if (first == 0 || f->published.count == 0 || __builtin_add_overflow(first, f->published.count, &end) ||
        end > u->held.next) {
        log_error("the broker says that publish %llu was appended, which was never sent",
            (unsigned long long)first);
        return -EPROTO;
    }
    for (uint64_t number = first < u->held.first ? u->held.first : first; number < end; number++) {
        struct publish *publish = publishes_take(&u->held, number);

        if (publish == NULL)
            continue; /* answered on an earlier link */
        answer.position.seq = seq + (number - first);
        answer.id = publish_id(publish);
        answer.topic = publish_topic(publish);
        uplink_answer(u, publish, &answer);
    }
    uplink_note_room(u);
    return 0;
}

int
uplink_on_scheduled(struct uplink *u, const struct frame *f)
{
    struct publish *publish = publishes_take(&u->held, f->scheduled.pub);
    struct answer answer = {.type = ANSWER_SCHEDULED, .time_ms = f->scheduled.due_ms};

    if (publish == NULL)
        return 0;
    answer.id = publish_id(publish);
    answer.topic = publish_topic(publish);
    uplink_answer(u, publish, &answer);
    uplink_note_room(u);
    return 0;
}

int
uplink_on_rejected(struct uplink *u, const struct frame *f)
{
    struct publish *publish = publishes_take(&u->held, f->rejected.pub);
    struct answer answer = {
        .type = ANSWER_ERROR, .code = error_code_find(f->rejected.code), .text = f->rejected.message};

    if (publish == NULL)
        return 0;
    u->fe->counters.publishes_refused++;
    answer.id = publish_id(publish);
    answer.topic = publish_topic(publish);
    uplink_answer(u, publish, &answer);
    uplink_note_room(u);
    return 0;
}

/* ---- Life. ---- */

void
uplink_publishing_init(struct uplink *u)
{
    publishes_init(&u->held);
    u->next_send = 1;
    namecache_init(&u->names, NAMES_MAX);
    buf_init(&u->scratch, 0);
    list_init(&u->blocked);
    u->pump_hook = (struct loop_hook){.fn = uplink_on_pump, .arg = u};
    u->hold_timer = (struct loop_timer){.fn = uplink_on_hold_timer, .arg = u};
}

void
uplink_publishing_fini(struct uplink *u)
{
    loop_cancel(u->fe->loop, &u->pump_hook);
    loop_timer_stop(u->fe->loop, &u->hold_timer);
    publishes_fini(&u->held);
    namecache_fini(&u->names);
    buf_fini(&u->scratch);
}
