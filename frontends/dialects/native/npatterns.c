/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of the native protocol beside publishing and subscribing: requests, queues, presence. */
#include "config.h"

#include "frontends/dialects/native/native.h"

#include <errno.h>

/* ---- sub ---- */

static int
native_read_watching(struct native *n, struct request *ret)
{
    bool is_watching;
    int r;

    if (n->form->read_bool(n->raw[NATIVE_PRESENCE], &is_watching) == 0) {
        ret->wants_presence = is_watching;
        return 0;
    }
    r = n->form->read_member(n, n->raw[NATIVE_PRESENCE], &ret->member, &ret->info);
    if (r == 0 && ret->member.n == 0)
        r = -EINVAL;
    if (r < 0)
        return native_fail_type(
            n, NATIVE_PRESENCE, r, "true, or an object with an \"id\" and perhaps \"info\"");
    ret->wants_presence = true;
    return 0;
}

int
native_read_role(struct native *n, struct request *ret)
{
    uint64_t prefetch = 0;
    bool responds = false;

    if (native_bool(n, NATIVE_RESPOND, &responds) < 0 || native_string(n, NATIVE_GROUP, &ret->group) < 0 ||
        native_u64(n, NATIVE_PREFETCH, &prefetch) < 0)
        return -EINVAL;
    ret->prefetch = prefetch > UINT32_MAX ? UINT32_MAX : (uint32_t)prefetch;
    if (responds)
        ret->role = ROLE_RESPONDER;
    else if (native_has(n, NATIVE_GROUP))
        ret->role = ROLE_CONSUMER;
    if (!native_has(n, NATIVE_PRESENCE))
        return 0;
    if (ret->role != ROLE_SUBSCRIBER)
        return native_fail(
            n, ERROR_REQUEST_INVALID, "A sub that takes work has no \"presence\": use a second one.");
    return native_read_watching(n, ret);
}

/* ---- Requests and replies. ---- */

/* Nothing to say is an empty text. */
static int
native_read_any_content(struct native *n, struct request *ret)
{
    if (native_given(n, NATIVE_DATA))
        return native_read_content(n, ret);
    ret->kind = MESSAGE_TEXT;
    return 0;
}

int
native_read_request(struct native *n, struct request *ret)
{
    if (native_need(n, NATIVE_TOPIC, "a request") < 0 || native_string(n, NATIVE_TOPIC, &ret->topic) < 0 ||
        native_u64(n, NATIVE_TIMEOUT, &ret->timeout_ms) < 0 ||
        native_bool(n, NATIVE_ASYNC, &ret->is_async) < 0 || native_read_key(n, NATIVE_KEY, &ret->key) < 0 ||
        native_read_key(n, NATIVE_ONCE, &ret->once) < 0)
        return -EINVAL;
    return native_read_any_content(n, ret);
}

int
native_read_result(struct native *n, struct request *ret)
{
    if (native_need(n, NATIVE_REQUEST, "a result") < 0 || native_string(n, NATIVE_REQUEST, &ret->token) < 0)
        return -EINVAL;
    return native_u64(n, NATIVE_WAIT, &ret->timeout_ms);
}

int
native_read_cancel(struct native *n, struct request *ret)
{
    if (native_need(n, NATIVE_REQUEST, "a cancel") < 0)
        return -EINVAL;
    return native_string(n, NATIVE_REQUEST, &ret->token);
}

int
native_read_reply(struct native *n, struct request *ret)
{
    if (native_need(n, NATIVE_CALL, "a reply") < 0 || native_string(n, NATIVE_CALL, &ret->token) < 0 ||
        native_string(n, NATIVE_ERROR, &ret->failure) < 0)
        return -EINVAL;
    if (native_has(n, NATIVE_ERROR) && ret->failure.n == 0)
        return native_fail(n, ERROR_REQUEST_INVALID, "\"error\" says what went wrong: it is not empty.");
    return native_read_any_content(n, ret);
}

/* ---- Queues. ---- */

static int
native_read_lease(struct native *n, struct request *ret, const char *op)
{
    if (native_need(n, NATIVE_LEASE, op) < 0)
        return -EINVAL;
    return native_string(n, NATIVE_LEASE, &ret->token);
}

int
native_read_ack(struct native *n, struct request *ret)
{
    ret->outcome = SETTLE_DONE;
    return native_read_lease(n, ret, "an ack");
}

int
native_read_nack(struct native *n, struct request *ret)
{
    bool is_dead = false;

    if (native_read_lease(n, ret, "a nack") < 0 || native_bool(n, NATIVE_DEAD, &is_dead) < 0 ||
        native_string(n, NATIVE_REASON, &ret->failure) < 0 || native_u64(n, NATIVE_DELAY, &ret->delay_ms) < 0)
        return -EINVAL;
    ret->outcome = is_dead ? SETTLE_DEAD : SETTLE_RETRY;
    return 0;
}

int
native_read_extend(struct native *n, struct request *ret)
{
    ret->outcome = SETTLE_EXTEND;
    return native_read_lease(n, ret, "an extend");
}

int
native_read_queues(struct native *n, struct request *ret)
{
    n->scratch->filters[0] = slice_str("#");
    ret->filters = n->scratch->filters;
    ret->n_filters = 1;
    ret->limit = NATIVE_LIST_DEFAULT;
    if (native_string(n, NATIVE_FILTER, &n->scratch->filters[0]) < 0 ||
        native_string(n, NATIVE_AFTER, &ret->after) < 0 || native_string(n, NATIVE_GROUP, &ret->group) < 0)
        return -EINVAL;
    return native_u64(n, NATIVE_LIMIT, &ret->limit);
}

static int
native_read_queue(struct native *n, struct request *ret, const char *op)
{
    if (native_need(n, NATIVE_TOPIC, op) < 0 || native_string(n, NATIVE_TOPIC, &ret->topic) < 0 ||
        native_need(n, NATIVE_GROUP, op) < 0)
        return -EINVAL;
    return native_string(n, NATIVE_GROUP, &ret->group);
}

int
native_read_peek(struct native *n, struct request *ret)
{
    if (native_read_queue(n, ret, "a peek") < 0 || native_string(n, NATIVE_SINCE, &ret->since) < 0)
        return -EINVAL;
    return native_u64(n, NATIVE_LIMIT, &ret->limit);
}

int
native_read_purge(struct native *n, struct request *ret)
{
    if (native_read_queue(n, ret, "a purge") < 0)
        return -EINVAL;
    return native_bool(n, NATIVE_DROP, &ret->drops_group);
}

int
native_read_redrive(struct native *n, struct request *ret)
{
    if (native_read_queue(n, ret, "a redrive") < 0)
        return -EINVAL;
    return native_u64(n, NATIVE_LIMIT, &ret->limit);
}

/* ---- Presence. ---- */

int
native_read_presence(struct native *n, struct request *ret)
{
    ret->limit = NATIVE_LIST_DEFAULT;
    if (native_need(n, NATIVE_TOPIC, "a presence") < 0 || native_string(n, NATIVE_TOPIC, &ret->topic) < 0 ||
        native_string(n, NATIVE_AFTER, &ret->after) < 0)
        return -EINVAL;
    return native_u64(n, NATIVE_LIMIT, &ret->limit);
}
