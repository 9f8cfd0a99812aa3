/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one client may do, and doing it: checks that are the same for every protocol, then the hub or the
 * uplink. One function for each operation.
 */
#include "config.h"

#include "frontends/sdk/session.h"

#include "base/memguard.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/frontendpriv.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/uplink.h"
#include "wire/names.h"

#include <errno.h>
#include <stdio.h>

/* How soon a client that did not read is looked at again. */
#define SLOW_POLL_MS 50u
#define NO_MEMORY "The server's memory is nearly used up: try again later."
/* A subscription with its filter, about. */
#define SUB_BYTES 1024u
#define LIST_USUAL 100u
#define LIST_MAX 1000u
#define LISTS_AT_ONCE 4u /* of one client: each may make the broker look at a million topics */

void
session_init(
    struct session *s, struct frontend *fe, const struct encoder *encoder, const struct session_ops *ops)
{
    *s = (struct session){.ops = ops, .encoder = encoder, .fe = fe, .id_max = REQUEST_ID_MAX};
    list_init(&s->subs);
    list_init(&s->publishes);
    list_init(&s->in_blocked);
    list_init(&s->in_slow);
}

void
session_fini(struct session *s)
{
    if (s->fe == NULL)
        return;
    hub_leave(s->fe->hub, s);
    if (s->fe->uplink != NULL)
        uplink_leave(s->fe->uplink, s);
    list_remove(&s->in_blocked);
    list_remove(&s->in_slow);
    s->fe = NULL;
}

/* ---- Answers. ---- */

static int
session_answer_error(struct session *s, const struct request *r, enum error_code code, const char *text)
{
    struct answer answer = {
        .type = ANSWER_ERROR, .id = r->id, .code = code, .text = slice_str(text), .topic = r->topic};

    s->fe->counters.request_errors++;
    if (r->op == REQUEST_PUB)
        s->fe->counters.publishes_refused++;
    s->ops->on_answer(s, &answer);
    return 0;
}

/* ERROR_TOPIC_INVALID or ERROR_FILTER_INVALID: what was wrong, then what one is. */
static int
session_refuse_name(struct session *s, const struct request *r, enum error_code code, const char *wrong)
{
    char text[SESSION_NAME_ERROR_MAX];

    session_name_error(text, code, wrong);
    return session_answer_error(s, r, code, text);
}

void
session_name_error(char ret[SESSION_NAME_ERROR_MAX], enum error_code code, const char *wrong)
{
    (void)snprintf(ret, SESSION_NAME_ERROR_MAX, "This is no %s: %s. %s",
        code == ERROR_TOPIC_INVALID ? "topic" : "filter", wrong, error_code_sentence(code));
}

/* ---- Operations. ---- */

static int
session_do_hello(struct session *s, const struct request *r)
{
    struct answer answer = {.type = ANSWER_WELCOME,
        .id = r->id,
        .position = frontend_position(s->fe),
        .text = slice_str(s->fe->instance),
        .count = s->fe->limits->message_bytes};

    s->ops->on_answer(s, &answer);
    return 0;
}

static int
session_do_ping(struct session *s, const struct request *r)
{
    struct answer answer = {.type = ANSWER_PONG, .id = r->id, .position = frontend_position(s->fe)};

    s->ops->on_answer(s, &answer);
    return 0;
}

static int
session_do_sub(struct session *s, const struct request *r)
{
    struct position since = {0};

    if (r->n_filters == 0 || r->n_filters > REQUEST_FILTERS_MAX || r->id.n > s->id_max)
        return session_answer_error(s, r, ERROR_REQUEST_INVALID, "");
    for (size_t i = 0; i < r->n_filters; i++) {
        const char *wrong = filter_error(r->filters[i]);

        if (wrong != NULL)
            return session_refuse_name(s, r, ERROR_FILTER_INVALID, wrong);
    }
    if (r->from == FROM_SINCE && cursor_parse(r->since, &since) < 0)
        return session_answer_error(s, r, ERROR_CURSOR_INVALID, "");
    if (memguard_take(s->fe->memory, SUB_BYTES * r->n_filters))
        return session_answer_error(s, r, ERROR_LIMIT_REACHED, NO_MEMORY);
    hub_subscribe(s->fe->hub, s, r, since);
    return 0;
}

static int
session_do_unsub(struct session *s, const struct request *r)
{
    hub_unsubscribe(s->fe->hub, s, r->id);
    return 0;
}

static int
session_do_pub(struct session *s, const struct request *r)
{
    const char *wrong = topic_name_error(r->topic);

    if (wrong != NULL)
        return session_refuse_name(s, r, ERROR_TOPIC_INVALID, wrong);
    if (topic_is_reserved(r->topic))
        return session_answer_error(s, r, ERROR_NOT_ALLOWED,
            "Topics that begin with $ belong to the bus: clients may not publish to them.");
    if (r->id.n > REQUEST_ID_MAX)
        return session_answer_error(s, r, ERROR_REQUEST_INVALID, "the id is too long");
    if (r->body.n > s->fe->limits->message_bytes || r->headers.n > s->fe->limits->message_bytes)
        return session_answer_error(s, r, ERROR_MESSAGE_TOO_LARGE, "");
    /* What clears a retained value is welcome. */
    if (memguard_take(s->fe->memory, r->body.n + r->headers.n) && (r->body.n > 0 || !r->is_retain))
        return session_answer_error(s, r, ERROR_LIMIT_REACHED, NO_MEMORY);
    return uplink_publish(s->fe->uplink, s, r);
}

static int
session_do_topics(struct session *s, const struct request *r)
{
    static const uint8_t everything = '#';
    const struct slice all = slice_of(&everything, 1);
    struct request list = *r;
    const char *wrong;

    if (list.n_filters == 0) {
        list.filters = &all;
        list.n_filters = 1;
    }
    wrong = filter_error(list.filters[0]);
    if (wrong != NULL)
        return session_refuse_name(s, r, ERROR_FILTER_INVALID, wrong);
    if (r->id.n > REQUEST_ID_MAX)
        return session_answer_error(s, r, ERROR_REQUEST_INVALID, "the id is too long");
    if (s->n_lists >= LISTS_AT_ONCE)
        return session_answer_error(
            s, r, ERROR_LIMIT_REACHED, "wait for the answers to your earlier topics requests");
    if (list.limit == 0)
        list.limit = LIST_USUAL;
    if (list.limit > LIST_MAX)
        list.limit = LIST_MAX;
    hub_list(s->fe->hub, s, &list);
    return 0;
}

int
session_request(struct session *s, const struct request *request)
{
    static int (*const operations[])(struct session * s, const struct request *r) = {
        [REQUEST_HELLO] = session_do_hello,
        [REQUEST_SUB] = session_do_sub,
        [REQUEST_UNSUB] = session_do_unsub,
        [REQUEST_PUB] = session_do_pub,
        [REQUEST_PING] = session_do_ping,
        [REQUEST_TOPICS] = session_do_topics,
    };
    struct frontend_counters *counters = &s->fe->counters;
    int r;

    /* The answer may be the end of the session: it is not looked at after. */
    r = operations[request->op](s, request);
    if (r == 0)
        counters->requests++;
    return r;
}

/* ---- Clients that do not read. ---- */

void
session_note_dropped(struct session *s, uint64_t n)
{
    struct frontend *fe = s->fe;

    s->n_dropped += n;
    s->is_slow = true;
    if (list_empty(&s->in_slow))
        list_push_back(&fe->slow_sessions, &s->in_slow);
    if (fe->slow_poll.pprev == NULL)
        loop_timer_start(fe->loop, &fe->slow_poll, SLOW_POLL_MS);
}

void
session_tell_dropped(struct session *s)
{
    struct answer answer = {.type = ANSWER_DROPPED, .count = s->n_dropped, .code = ERROR_TOO_SLOW};

    list_remove(&s->in_slow);
    if (s->n_dropped == 0)
        return;
    s->n_dropped = 0;
    s->is_slow = false;
    s->ops->on_answer(s, &answer);
}

/* Tells those that have read what was queued. An answer that stood in a full queue would only be thrown away
 * in its turn. */
void
frontend_poll_slow(void *arg)
{
    struct frontend *fe = arg;
    struct list waiting;

    list_init(&waiting);
    while (!list_empty(&fe->slow_sessions)) {
        struct session *s = list_entry(fe->slow_sessions.next, struct session, in_slow);

        list_remove(&s->in_slow);
        if (s->ops->queued != NULL && s->ops->queued(s) > fe->limits->queue_bytes / 2)
            list_push_back(&waiting, &s->in_slow);
        else
            session_tell_dropped(s);
    }
    if (list_empty(&waiting))
        return;
    list_take_all(&fe->slow_sessions, &waiting);
    loop_timer_start(fe->loop, &fe->slow_poll, SLOW_POLL_MS);
}
