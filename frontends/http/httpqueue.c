/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work queues for clients that speak HTTP:
 *
 *     GET    /queues/{topic}/{group}?wait=30[&max=10]      take: a message and its lease, 204 if none came
 *     DELETE /queues/{topic}/{group}/leases/{lease}        it is done
 *     POST   /queues/{topic}/{group}/leases/{lease}
 * {"action":"retry"|"extend"|"dead","delay":5000,"reason":"…"} GET    /queues?filter=… which there are GET
 * /queues/{topic}/{group}/messages              what is in it; nothing is taken DELETE
 * /queues/{topic}/{group}/messages              purge DELETE /queues/{topic}/{group} purge, and forget the
 * group POST   /queues/{topic}/{group}/redrive               its dead letters go back into it
 *
 * An address is read from its end, so that a topic may have any levels. A taker is a consumer for as long as
 * its request; what it took stays leased to nobody in particular until it is settled by its lease.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "frontends/http/httpencode.h"
#include "frontends/http/httpmessage.h"
#include "frontends/http/httpserver.h"
#include "wire/names.h"

#define TAKE_MAX 100u
#define LIST_USUAL 100u
#define LIST_MAX 1000u
/* Even a taker that does not wait gives the broker this long to answer. */
#define MIN_ANSWER_MS 5000u
/* A taker that does not wait is content after this, once it is a consumer. */
#define EMPTY_AFTER_MS 50u
#define ANSWER_MS 30000u

/* One of the exchanges of this file: a taker, or a question that is answered by some lines and an end. */
struct work {
    struct exchange x;
    enum request_op op;
    struct buf lines;         /* JSON objects with commas between */
    struct http_stored first; /* of a taker of one */
    struct buf heads;         /* its header lines */
    struct buf topic;         /* of a peek */
    uint64_t n, max, wait_ms;
    bool has_more, is_done, is_consumer, is_subscribed;
    uint64_t count;
    enum error_code code;
    struct buf text;
};

static struct work *
work_of(struct exchange *x)
{
    return (struct work *)x;
}

static void
work_fail(struct work *w, enum error_code code, struct slice text)
{
    w->code = code;
    buf_reset(&w->text);
    buf_put_slice(&w->text, text);
    exchange_done(&w->x, 0);
}

/* --- addresses -------------------------------------------------------------------------------------- */

/* Cuts the last segment off; false if there is no slash. */
static bool
cut_last(struct slice *path, struct slice *ret_last)
{
    for (size_t i = path->n; i > 0; i--) {
        if (path->p[i - 1] != '/')
            continue;
        *ret_last = slice_of(path->p + i, path->n - i);
        path->n = i - 1;
        return true;
    }
    return false;
}

/* topic/group, decoded into the scratch. */
static int
read_queue(struct http_conn *hc, const struct http_reply *reply, struct slice path, struct request *ret)
{
    struct buf *text = &hc->server->fe->scratch.text;
    struct slice group, *filters = hc->server->fe->scratch.filters;
    char error[SESSION_NAME_ERROR_MAX];
    size_t at = text->n;
    const char *wrong;

    if (!cut_last(&path, &group)) {
        http_respond_code(hc, reply, ERROR_NOT_FOUND,
            slice_str("A queue's address is /queues/{topic}/{group}: the group is missing."));
        return -EINVAL;
    }
    if (httpreq_decode(text, path, false) < 0) {
        http_respond_code(hc, reply, ERROR_TOPIC_INVALID, slice_str("The topic has a %00 in it."));
        return -EINVAL;
    }
    ret->topic = slice_of(text->p + at, text->n - at);
    wrong = topic_name_error(ret->topic);
    if (wrong != NULL) {
        session_name_error(error, ERROR_TOPIC_INVALID, wrong);
        http_respond_code(hc, reply, ERROR_TOPIC_INVALID, slice_str(error));
        return -EINVAL;
    }
    at = text->n;
    if (httpreq_decode(text, group, false) < 0 ||
        group_name_error(slice_of(text->p + at, text->n - at)) != NULL) {
        http_respond_code(hc, reply, ERROR_GROUP_INVALID, slice_str(""));
        return -EINVAL;
    }
    ret->group = slice_of(text->p + at, text->n - at);
    filters[0] = ret->topic;
    ret->filters = filters;
    ret->n_filters = 1;
    return 0;
}

/* A number of the query; *ret stays as it is if it is not given. */
static int
read_number(
    struct http_conn *hc, const struct http_reply *reply, const char *parameter, uint64_t max, uint64_t *ret)
{
    struct slice rest = hc->server->req.query, name, value;
    uint64_t n;

    while (httpreq_query_next(&rest, &name, &value) == 1) {
        if (!slice_is(name, parameter))
            continue;
        if (json_u64(value, &n) < 0 || n == 0) {
            http_respond_code(
                hc, reply, ERROR_REQUEST_INVALID, slice_str("max and limit are numbers, 1 or more."));
            return -EINVAL;
        }
        *ret = n < max ? n : max;
        return 0;
    }
    return 0;
}

/* A text of the query, decoded into the scratch. */
static int
read_text(struct http_conn *hc, const struct http_reply *reply, const char *parameter, struct slice *ret)
{
    struct buf *text = &hc->server->fe->scratch.text;
    size_t at = text->n;
    int r = httpreq_query_get(hc->server->req.query, parameter, text);

    if (r < 0) {
        http_respond_code(hc, reply, ERROR_REQUEST_INVALID, slice_str("A parameter has a bad escape in it."));
        return -EINVAL;
    }
    if (r > 0)
        *ret = slice_of(text->p + at, text->n - at);
    return 0;
}

static int
read_filter(struct http_conn *hc, const struct http_reply *reply, struct slice *ret)
{
    struct buf *text = &hc->server->fe->scratch.text;
    struct slice rest = hc->server->req.query, name, value;
    size_t at = text->n;

    while (httpreq_query_next(&rest, &name, &value) == 1) {
        if (!slice_is(name, "filter"))
            continue;
        if (http_decode_filter(text, value) < 0) {
            http_respond_code(
                hc, reply, ERROR_FILTER_INVALID, slice_str("The filter has a bad escape in it."));
            return -EINVAL;
        }
        *ret = slice_of(text->p + at, text->n - at);
        return 0;
    }
    return 0;
}

/* --- lines of answers ------------------------------------------------------------------------------- */

static void
put_comma(struct work *w)
{
    if (w->n++ > 0)
        buf_put_byte(&w->lines, ',');
}

static void
put_work(struct work *w, const struct answer *a)
{
    put_comma(w);
    buf_put_str(&w->lines, "{\"lease\":");
    json_put_string(&w->lines, a->token);
    buf_printf(&w->lines,
        ",\"deliveries\":%llu,\"expires\":%llu,\"message\":", (unsigned long long)a->n_deliveries,
        (unsigned long long)a->time_ms);
    http_put_envelope(&w->lines, a->message);
    buf_put_byte(&w->lines, '}');
}

static void
keep_first(struct work *w, const struct answer *a)
{
    w->n++;
    http_stored_set(&w->first, a->message);
    buf_printf(&w->heads, "Busbar-Lease: %.*s\r\nBusbar-Lease-Time: %llu\r\nBusbar-Deliveries: %llu\r\n",
        SLICE_ARG(a->token), (unsigned long long)a->time_ms, (unsigned long long)a->n_deliveries);
    buf_printf(&w->heads, "Busbar-Cursor: %.*s\r\n", SLICE_ARG(a->message->cursor));
    if (a->message->key.n > 0 && memchr(a->message->key.p, '\n', a->message->key.n) == NULL &&
        memchr(a->message->key.p, '\r', a->message->key.n) == NULL)
        buf_printf(&w->heads, "Busbar-Key: %.*s\r\n", SLICE_ARG(a->message->key));
}

static void
put_queue(struct work *w, const struct queue_figures *q)
{
    struct buf *out = &w->lines;

    put_comma(w);
    buf_put_str(out, "{\"topic\":");
    json_put_string(out, q->topic);
    buf_put_str(out, ",\"group\":");
    json_put_string(out, q->group);
    buf_printf(out,
        ",\"ready\":%llu,\"leased\":%llu,\"delayed\":%llu,\"done\":%llu,\"dead\":%llu,\"lost\":%llu",
        (unsigned long long)q->n_ready, (unsigned long long)q->n_leased, (unsigned long long)q->n_delayed,
        (unsigned long long)q->n_done, (unsigned long long)q->n_dead, (unsigned long long)q->n_lost);
    buf_printf(out, ",\"consumers\":%llu,\"oldest\":%llu}", (unsigned long long)q->n_consumers,
        (unsigned long long)q->oldest_ms);
}

static void
put_peeked(struct work *w, const struct answer *a)
{
    static const char *const states[] = {"ready", "leased", "delayed"};
    struct message m = *a->message;

    m.topic = buf_slice(&w->topic);
    put_comma(w);
    buf_printf(&w->lines, "{\"state\":\"%s\",\"deliveries\":%llu,",
        a->queue_state < 3 ? states[a->queue_state] : "?", (unsigned long long)a->n_deliveries);
    if (a->time_ms > 0)
        buf_printf(&w->lines, "\"until\":%llu,", (unsigned long long)a->time_ms);
    buf_put_str(&w->lines, "\"message\":");
    http_put_envelope(&w->lines, &m);
    buf_put_byte(&w->lines, '}');
}

static void
put_present(struct work *w, const struct answer *a)
{
    put_comma(w);
    buf_put_str(&w->lines, "{\"id\":");
    json_put_string(&w->lines, a->token);
    buf_put_str(&w->lines, ",\"info\":");
    buf_put_slice(&w->lines, a->body.n > 0 ? a->body : slice_str("null"));
    buf_printf(&w->lines, ",\"connections\":%llu,\"since\":%llu}", (unsigned long long)a->n_links,
        (unsigned long long)a->time_ms);
}

/* --- answers ---------------------------------------------------------------------------------------- */

/* A turn later, so that what came together is told together. */
static void
work_on_work(struct work *w, const struct answer *a)
{
    if (w->max == 1 && w->n == 0)
        keep_first(w, a);
    else
        put_work(w, a);
    exchange_done(&w->x, w->n < w->max ? 1 : 0);
}

static void
work_on_subscribed(struct work *w)
{
    w->is_subscribed = true;
    if (w->n == 0)
        exchange_timer(&w->x, w->wait_ms > EMPTY_AFTER_MS ? w->wait_ms : EMPTY_AFTER_MS);
}

static void
work_on_end(struct work *w, uint64_t count, bool has_more)
{
    w->count = count;
    w->has_more = has_more;
    w->is_done = true;
    exchange_done(&w->x, 0);
}

static void
work_on_answer(struct session *s, const struct answer *a)
{
    struct work *w = work_of(exchange_of(s));

    switch (a->type) {
    case ANSWER_WORK:
        work_on_work(w, a);
        return;
    case ANSWER_SUBSCRIBED:
        work_on_subscribed(w);
        return;
    case ANSWER_QUEUE:
        put_queue(w, a->queue);
        return;
    case ANSWER_PEEKED:
        put_peeked(w, a);
        return;
    case ANSWER_PRESENT:
        put_present(w, a);
        return;
    case ANSWER_WHO_END:
        work_on_end(w, a->n_kept, a->count > 0);
        return;
    case ANSWER_QUEUES_END:
    case ANSWER_PEEK_END:
        work_on_end(w, 0, a->count > 0);
        return;
    case ANSWER_DONE:
        work_on_end(w, a->count, false);
        return;
    case ANSWER_ERROR:
    case ANSWER_CLOSING:
        if (w->n == 0 || !w->is_consumer) /* what was taken is handed out all the same */
            work_fail(w, a->code, a->text);
        return;
    default:
        return;
    }
}

static void
work_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    (void)s; /* a consumer's work comes as answers */
    (void)block;
    (void)at;
    (void)n;
}

static void
work_on_unblocked(struct session *s)
{
    (void)s; /* it never publishes */
}

/* --- responses -------------------------------------------------------------------------------------- */

static void
respond_lines(struct work *w, const char *name)
{
    struct httpresp r = {.status = 200,
        .content_type = "application/json",
        .headers = slice_str("Cache-Control: no-store\r\n")};
    struct buf json;

    buf_init(&json, 0);
    buf_printf(&json, "{\"%s\":[", name);
    buf_put_slice(&json, buf_slice(&w->lines));
    buf_put_str(&json, "]");
    if (w->op == REQUEST_WHO)
        buf_printf(&json, ",\"count\":%llu", (unsigned long long)w->count);
    if (!w->is_consumer)
        buf_printf(&json, ",\"more\":%s", w->has_more ? "true" : "false");
    buf_put_str(&json, "}\n");
    if (buf_failed(&json) || buf_failed(&w->lines))
        http_respond_code(w->x.hc, &w->x.reply, ERROR_INTERNAL, slice_str("out of memory"));
    else
        http_respond(w->x.hc, &w->x.reply, &r, buf_slice(&json));
    buf_fini(&json);
}

static void
respond_count(struct work *w, const char *name)
{
    struct httpresp r = {.status = 200, .content_type = "application/json"};
    struct buf json;

    buf_init(&json, 0);
    buf_printf(&json, "{\"%s\":%llu}\n", name, (unsigned long long)w->count);
    http_respond(w->x.hc, &w->x.reply, &r, buf_slice(&json));
    buf_fini(&json);
}

static void
work_finish(struct exchange *x)
{
    struct httpresp none = {
        .status = 204, .ending = HTTPRESP_NONE, .headers = slice_str("Cache-Control: no-store\r\n")};
    struct work *w = work_of(x);

    if (w->code != ERROR_NONE)
        http_respond_code(x->hc, &x->reply, w->code, buf_slice(&w->text));
    else if (w->is_consumer && w->n == 0 && !w->is_subscribed)
        http_respond_code(x->hc, &x->reply, ERROR_UNAVAILABLE, slice_str(""));
    else if ((w->is_consumer && w->n == 0) || w->op == REQUEST_SETTLE)
        http_respond(x->hc, &x->reply, &none, slice_str(""));
    else if (w->is_consumer && w->max == 1)
        http_stored_respond(x->hc, &x->reply, &w->first, buf_slice(&w->heads));
    else if (w->op == REQUEST_PURGE)
        respond_count(w, "purged");
    else if (w->op == REQUEST_REDRIVE)
        respond_count(w, "redriven");
    else
        respond_lines(w, w->op == REQUEST_QUEUES ? "queues" : w->op == REQUEST_WHO ? "members" : "messages");
}

static void
work_on_timer(struct exchange *x)
{
    struct work *w = work_of(x);

    if (w->is_consumer)
        exchange_done(x, 0);
    else
        work_fail(w, ERROR_TIMEOUT, slice_str(""));
}

/* A taker that is gone must not take what it cannot be given. */
static void
work_on_eof(struct exchange *x)
{
    struct work *w = work_of(x);

    if (w->is_consumer && w->n == 0 && w->wait_ms > 0)
        conn_close(&x->hc->c, NULL);
}

static void
work_on_stop(struct exchange *x)
{
    struct work *w = work_of(x);

    if (w->is_consumer && w->is_subscribed)
        exchange_done(x, 0);
}

static void
work_fini(struct exchange *x)
{
    struct work *w = work_of(x);

    buf_fini(&w->lines);
    buf_fini(&w->heads);
    buf_fini(&w->topic);
    buf_fini(&w->text);
    http_stored_fini(&w->first);
}

static const struct exchange_ops work_ops = {
    .finish = work_finish,
    .on_timer = work_on_timer,
    .on_eof = work_on_eof,
    .on_stop = work_on_stop,
    .fini = work_fini,
};

static const struct session_ops work_session_ops = {
    .on_deliver = work_on_deliver,
    .on_answer = work_on_answer,
    .on_unblocked = work_on_unblocked,
};

static struct work *
work_start(struct http_conn *hc, const struct http_reply *reply, const struct request *request, uint64_t max,
    uint64_t wait_ms)
{
    struct work *w = exchange_new(hc, reply, sizeof *w, &work_ops, &http_poll_encoder, &work_session_ops);

    if (w == NULL)
        return NULL;
    buf_init(&w->lines, 0);
    buf_init(&w->heads, 0);
    buf_init(&w->topic, 0);
    buf_init(&w->text, 0);
    http_stored_init(&w->first);
    w->op = request->op;
    w->is_consumer = request->op == REQUEST_SUB;
    w->max = max;
    w->wait_ms = wait_ms;
    if (w->is_consumer)
        exchange_timer(&w->x, wait_ms > MIN_ANSWER_MS ? wait_ms : MIN_ANSWER_MS);
    else
        exchange_timer(&w->x, ANSWER_MS);
    if (session_request(&w->x.session, request) < 0)
        work_fail(w, ERROR_UNAVAILABLE, slice_str(""));
    return w;
}

/* --- operations ------------------------------------------------------------------------------------- */

static void
take_start(struct http_conn *hc, const struct http_reply *reply, struct request *request)
{
    uint64_t wait_ms = 0, max = 1, most = hc->server->options->poll_wait_max_ms;
    struct http_problem problem = {0};

    if (read_number(hc, reply, "max", TAKE_MAX, &max) < 0)
        return;
    if (http_time_read(hc, NULL, "wait", &wait_ms, &problem) < 0) {
        http_respond_code(hc, reply, problem.code, slice_str(problem.text));
        return;
    }
    request->op = REQUEST_SUB;
    request->role = ROLE_CONSUMER;
    request->prefetch = (uint32_t)max;
    request->outlives_session = true;
    (void)work_start(hc, reply, request, max, wait_ms < most ? wait_ms : most);
}

static void
peek_start(struct http_conn *hc, const struct http_reply *reply, struct request *request)
{
    struct work *w = NULL;

    request->op = REQUEST_PEEK;
    request->limit = LIST_USUAL;
    if (read_number(hc, reply, "limit", LIST_MAX, &request->limit) == 0 &&
        read_text(hc, reply, "after", &request->since) == 0)
        w = work_start(hc, reply, request, 0, 0);
    if (w != NULL)
        buf_put_slice(&w->topic, request->topic);
}

static void
redrive_start(struct http_conn *hc, const struct http_reply *reply, struct request *request)
{
    request->op = REQUEST_REDRIVE;
    if (read_number(hc, reply, "limit", UINT32_MAX, &request->limit) == 0)
        (void)work_start(hc, reply, request, 0, 0);
}

static int
bad_action(struct http_conn *hc, const struct http_reply *reply)
{
    http_respond_code(hc, reply, ERROR_BODY_INVALID,
        slice_str("The body is a JSON object like {\"action\":\"retry\",\"delay\":5000,\"reason\":\"...\"}; "
                  "action is "
                  "retry, extend or dead, delay in milliseconds."));
    return -EINVAL;
}

/* {"action":…}: what else to do with a lease than to be done with it. */
static int
read_action(struct http_conn *hc, const struct http_reply *reply, struct request *ret)
{
    static const char *const actions[] = {
        [SETTLE_RETRY] = "retry", [SETTLE_EXTEND] = "extend", [SETTLE_DEAD] = "dead"};
    struct buf *text = &hc->server->fe->scratch.text;
    struct slice body = hc->server->req.body;
    struct json_token key, value;
    bool has_action = false;
    struct json r;

    if (buf_reserve(text, body.n + 1) == NULL)
        return bad_action(hc, reply);
    json_init(&r, body.p, body.n, 4);
    if (json_next(&r, &key) < 0 || key.type != JSON_OBJECT)
        return bad_action(hc, reply);
    while (json_next(&r, &key) == 0 && key.type == JSON_KEY) {
        size_t at = text->n;

        if (json_next(&r, &value) < 0)
            return bad_action(hc, reply);
        if (slice_is(key.raw, "delay") && value.type == JSON_NUMBER &&
            json_u64(value.raw, &ret->delay_ms) == 0)
            continue;
        if (value.type != JSON_STRING)
            return bad_action(hc, reply);
        json_unescape(text, value.raw);
        struct slice s = slice_of(text->p + at, text->n - at);
        if (slice_is(key.raw, "reason"))
            ret->failure = s;
        else if (!slice_is(key.raw, "action"))
            return bad_action(hc, reply);
        for (size_t i = SETTLE_RETRY; slice_is(key.raw, "action") && i <= SETTLE_DEAD; i++) {
            if (!slice_is(s, actions[i]))
                continue;
            ret->outcome = (enum settle_outcome)i;
            has_action = true;
        }
    }
    if (key.type != JSON_OBJECT_END || json_next(&r, &key) < 0 || key.type != JSON_END || !has_action)
        return bad_action(hc, reply);
    return 0;
}

static void
lease_start(struct http_conn *hc, const struct http_reply *reply, struct request *request, struct slice lease)
{
    *request = (struct request){.op = REQUEST_SETTLE, .id = request->id, .token = lease};
    if (hc->server->req.method == HTTPREQ_POST && read_action(hc, reply, request) < 0)
        return;
    (void)work_start(hc, reply, request, 0, 0);
}

/* --- dispatch --------------------------------------------------------------------------------------- */

void
http_queue_start(struct http_conn *hc, const struct http_reply *reply, struct slice path)
{
    enum httpreq_method method = hc->server->req.method;
    struct request request = {.id = slice_str("1")};
    struct slice whole = path, last, before;
    bool reads = method == HTTPREQ_GET || method == HTTPREQ_HEAD;

    if (!cut_last(&path, &last))
        last = slice_of(NULL, 0);
    before = path;
    if (cut_last(&before, &request.after) && slice_is(request.after, "leases") &&
        memchr(before.p, '/', before.n) != NULL) {
        if (method != HTTPREQ_DELETE && method != HTTPREQ_POST)
            http_respond_method(hc, reply, "DELETE, POST, OPTIONS");
        else if (read_queue(hc, reply, before, &request) == 0)
            lease_start(hc, reply, &request, last);
        return;
    }
    request.after = slice_of(NULL, 0);
    if (slice_is(last, "messages") && memchr(path.p, '/', path.n) != NULL) {
        request.op = REQUEST_PURGE;
        if (!reads && method != HTTPREQ_DELETE)
            http_respond_method(hc, reply, "GET, HEAD, DELETE, OPTIONS");
        else if (read_queue(hc, reply, path, &request) == 0)
            reads ? peek_start(hc, reply, &request) : (void)work_start(hc, reply, &request, 0, 0);
        return;
    }
    if (slice_is(last, "redrive") && method == HTTPREQ_POST) {
        if (read_queue(hc, reply, path, &request) == 0)
            redrive_start(hc, reply, &request);
        return;
    }
    request.op = REQUEST_PURGE;
    request.drops_group = true;
    if (method != HTTPREQ_GET && method != HTTPREQ_DELETE)
        http_respond_method(
            hc, reply, "GET, DELETE, OPTIONS"); /* not HEAD: it would take a message and throw it away */
    else if (read_queue(hc, reply, whole, &request) == 0)
        method == HTTPREQ_GET ? take_start(hc, reply, &request) : (void)work_start(hc, reply, &request, 0, 0);
}

void
http_queues_list(struct http_conn *hc, const struct http_reply *reply)
{
    struct slice *filters = hc->server->fe->scratch.filters;
    struct request request = {
        .op = REQUEST_QUEUES, .id = slice_str("1"), .filters = filters, .n_filters = 1, .limit = LIST_USUAL};
    const char *wrong;
    char error[SESSION_NAME_ERROR_MAX];

    filters[0] = slice_str("#");
    if (read_filter(hc, reply, &filters[0]) < 0 || read_text(hc, reply, "after", &request.after) < 0 ||
        read_text(hc, reply, "after_group", &request.group) < 0 ||
        read_number(hc, reply, "limit", LIST_MAX, &request.limit) < 0)
        return;
    wrong = filter_error(filters[0]);
    if (wrong != NULL) {
        session_name_error(error, ERROR_FILTER_INVALID, wrong);
        http_respond_code(hc, reply, ERROR_FILTER_INVALID, slice_str(error));
        return;
    }
    (void)work_start(hc, reply, &request, 0, 0);
}

void
http_presence_start(struct http_conn *hc, const struct http_reply *reply, struct slice topic)
{
    struct request request = {.op = REQUEST_WHO, .id = slice_str("1"), .topic = topic, .limit = LIST_USUAL};

    if (read_text(hc, reply, "after", &request.after) == 0 &&
        read_number(hc, reply, "limit", LIST_MAX, &request.limit) == 0)
        (void)work_start(hc, reply, &request, 0, 0);
}
