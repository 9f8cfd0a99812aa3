/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one client may do, and doing it: checks that are the same for every protocol, then the hub or the
 * uplink. One function for each operation.
 */
#include "config.h"

#include "frontends/sdk/session.h"

#include "base/json.h"
#include "base/memguard.h"
#include "base/utf8.h"
#include "frontends/sdk/asks.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/frontendpriv.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/members.h"
#include "frontends/sdk/takers.h"
#include "frontends/sdk/uplink.h"
#include "wire/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* How soon a client that did not read is looked at again. */
#define SLOW_POLL_MS 50u
#define NO_MEMORY "The server's memory is nearly used up: try again later."
/* A subscription with its filter, about. */
#define SUB_BYTES 1024u
#define LIST_USUAL 100u
#define LIST_MAX 1000u
#define LISTS_AT_ONCE 4u /* of one client: each may make the broker look at a million topics */
/* What may stand beside a payload: what is larger does not fit into a batch of the link. */
#define WORDS_MAX (48u * 1024)
/* As in the frames. */
#define TOKEN_MAX 64u
#define REASON_MAX 1024u
/* Of a request that somebody waits for. */
#define TIMEOUT_MAX_MS 3600000u

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
    free(s->party);
    s->party = NULL;
    if (s->fe->uplink != NULL)
        uplink_leave(s->fe->uplink, s);
    list_remove(&s->in_blocked);
    list_remove(&s->in_slow);
    s->fe = NULL;
}

struct party *
session_party(struct session *s)
{
    if (s->party != NULL)
        return s->party;
    s->party = calloc(1, sizeof *s->party);
    if (s->party != NULL) {
        list_init(&s->party->asks);
        list_init(&s->party->takers);
        list_init(&s->party->attendances);
        list_init(&s->party->watches);
    }
    return s->party;
}

bool
session_is_listening(const struct session *s)
{
    return s->n_subs > 0 || (s->party != NULL && s->party->n_takers > 0);
}

void
session_end_input(struct session *s)
{
    if (s->party == NULL)
        return;
    if (s->party->n_takers > 0)
        takers_leave(s->fe->hub, s);
    members_end_input(s);
}

bool
session_is_asking(const struct session *s)
{
    return s->n_lists > 0 || (s->party != NULL && !list_empty(&s->party->asks));
}

/* ---- Answers. ---- */

static int
session_answer_error(struct session *s, const struct request *r, enum error_code code, const char *text)
{
    struct answer answer = {.type = ANSWER_ERROR,
        .id = r->id,
        .code = code,
        .text = slice_str(text),
        .topic = r->topic,
        .of = r->op,
        .token = r->token};

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

/* What asynchronous requests and their replies are kept in: nobody's but the bus's. */
static bool
session_is_private(struct slice filter)
{
    static const char *const prefixes[] = {REQUESTS_PREFIX, REPLIES_PREFIX};

    for (unsigned i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t n = strlen(prefixes[i]) - 1; /* "$requests/#" matches "$requests" as well */

        if (filter.n >= n && memcmp(filter.p, prefixes[i], n) == 0 && (filter.n == n || filter.p[n] == '/'))
            return true;
    }
    return false;
}

/* Of a SUB. True: it was answered. */
static bool
session_check_filters(struct session *s, const struct request *r)
{
    for (size_t i = 0; i < r->n_filters; i++) {
        const char *wrong = filter_error(r->filters[i]);

        if (wrong != NULL)
            return session_refuse_name(s, r, ERROR_FILTER_INVALID, wrong) == 0;
        if (r->filters[i].p[0] == '$' && session_is_private(r->filters[i]))
            return session_answer_error(
                       s, r, ERROR_NOT_ALLOWED, "Requests and replies that are kept are the bus's own.") == 0;
    }
    return false;
}

static bool
session_check_group(struct session *s, const struct request *r)
{
    const char *wrong = group_name_error(r->group);

    return wrong != NULL && session_answer_error(s, r, ERROR_GROUP_INVALID, "") == 0;
}

/* Likewise, of one that takes work. */
static bool
session_check_taker(struct session *s, const struct request *r)
{
    bool is_consumer = r->role == ROLE_CONSUMER;
    const char *wrong = is_consumer ? topic_name_error(r->filters[0]) : filter_error(r->filters[0]);

    if (r->n_filters != 1)
        return session_answer_error(
                   s, r, ERROR_REQUEST_INVALID, "One who takes work names one topic; use several.") == 0;
    if (wrong != NULL)
        return session_refuse_name(s, r, is_consumer ? ERROR_TOPIC_INVALID : ERROR_FILTER_INVALID, wrong) ==
               0;
    if (r->filters[0].p[0] == '$')
        return session_answer_error(s, r, ERROR_NOT_ALLOWED, "Topics that begin with $ belong to the bus.") ==
               0;
    if ((is_consumer || r->group.n > 0) && session_check_group(s, r))
        return true;
    if (r->prefetch > TAKERS_PREFETCH_MAX)
        return session_answer_error(s, r, ERROR_LIMIT_REACHED, "prefetch is at most 1000") == 0;
    if (r->from == FROM_LAST || (r->from == FROM_SINCE && !is_consumer))
        return session_answer_error(s, r, ERROR_REQUEST_INVALID,
                   "The work of a group begins at \"since\" or now; requests are never from before.") == 0;
    return false;
}

/* Who one is, if one is somebody. */
static bool
session_check_member(struct session *s, const struct request *r)
{
    if (r->op == REQUEST_SUB && r->member.n == 0)
        return false;
    if (r->member.n == 0 || r->member.n > MEMBER_ID_MAX || !utf8_is_valid(r->member.p, r->member.n))
        return session_answer_error(
                   s, r, ERROR_REQUEST_INVALID, "The id of a member is 1 to 255 bytes of UTF-8.") == 0;
    if (r->info.n > 0 && (r->info.n > MEMBER_INFO_MAX ||
                             json_check(r->info.p, r->info.n, (unsigned)s->fe->limits->json_depth, NULL) < 0))
        return session_answer_error(
                   s, r, ERROR_REQUEST_INVALID, "The info of a member is JSON of at most 4096 bytes.") == 0;
    return false;
}

/* Where somebody may be. */
static bool
session_check_place(struct session *s, const struct request *r, struct slice topic)
{
    const char *wrong = topic_name_error(topic);

    if (wrong == NULL && topic.n > TOPIC_MAX_BYTES - (sizeof PRESENCE_PREFIX - 1))
        wrong = "for presence it has at most 1014 bytes";
    if (wrong != NULL)
        return session_refuse_name(s, r, ERROR_TOPIC_INVALID, wrong) == 0;
    return topic.p[0] == '$' &&
           session_answer_error(s, r, ERROR_NOT_ALLOWED, "Nobody is there on the bus's own topics.") == 0;
}

/* Of one that wants presence. */
static bool
session_check_watch(struct session *s, const struct request *r)
{
    for (size_t i = 0; i < r->n_filters; i++) {
        if (session_check_place(s, r, r->filters[i]))
            return true;
    }
    if (session_check_member(s, r))
        return true;
    if (members_has_room(s, r))
        return false;
    return session_answer_error(s, r, ERROR_LIMIT_REACHED,
               "limits.presences_per_client: this client is there on too many topics") == 0;
}

static int
session_do_sub(struct session *s, const struct request *r)
{
    struct position since = {0};
    bool refused;

    if (r->n_filters == 0 || r->n_filters > REQUEST_FILTERS_MAX || r->id.n > s->id_max)
        return session_answer_error(s, r, ERROR_REQUEST_INVALID, "");
    if (r->role != ROLE_SUBSCRIBER)
        refused = session_check_taker(s, r);
    else
        refused = session_check_filters(s, r);
    if (refused || (r->wants_presence && session_check_watch(s, r)))
        return 0;
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

/* Of what is sent to a topic. True: it was answered. */
static bool
session_is_whisper(const struct request *r)
{
    const size_t n = sizeof WHISPER_PREFIX - 1;

    return r->is_whisper && r->topic.n > n && memcmp(r->topic.p, WHISPER_PREFIX, n) == 0;
}

static bool
session_check_send(struct session *s, const struct request *r, bool is_known)
{
    const char *wrong = is_known ? NULL : topic_name_error(r->topic);

    if (wrong != NULL)
        return session_refuse_name(s, r, ERROR_TOPIC_INVALID, wrong) == 0;
    if (r->topic.p[0] == '$' && !session_is_whisper(r))
        return session_answer_error(s, r, ERROR_NOT_ALLOWED,
                   "Topics that begin with $ belong to the bus: clients may not publish to them.") == 0;
    return false;
}

static bool
session_check_id(struct session *s, const struct request *r)
{
    return r->id.n > REQUEST_ID_MAX &&
           session_answer_error(s, r, ERROR_REQUEST_INVALID, "the id is too long") == 0;
}

static bool
session_takes_body(const struct session *s, const struct request *r)
{
    uint64_t max = s->fe->limits->message_bytes;

    return r->body.n <= max && r->headers.n <= max &&
           r->topic.n + r->type.n + r->key.n + r->headers.n + r->body.n <= LINK_MESSAGE_MAX + WORDS_MAX;
}

static bool
session_check_body(struct session *s, const struct request *r)
{
    return !session_takes_body(s, r) && session_answer_error(s, r, ERROR_MESSAGE_TOO_LARGE, "") == 0;
}

/* None of ours has other characters; and one that is not UTF-8 would be no frame. */
static bool
session_is_token(struct slice token)
{
    for (size_t i = 0; i < token.n; i++) {
        if (token.p[i] <= ' ' || token.p[i] >= 0x7f)
            return false;
    }
    return token.n > 0 && token.n <= TOKEN_MAX;
}

static bool
session_check_token(struct session *s, const struct request *r, enum error_code code)
{
    return !session_is_token(r->token) &&
           session_answer_error(
               s, &(struct request){.op = r->op, .id = r->id, .topic = r->topic}, code, "") == 0;
}

/* Of what is sent. What is not UTF-8 would be no frame, and the broker would end the link. */
#define WORDS_TEXT "Type and keys are UTF-8, and so is what went wrong of a reply, in at most 1024 bytes."

static bool
session_is_utf8(struct slice s)
{
    return s.n == 0 || utf8_is_valid(s.p, s.n);
}

static bool
session_takes_words(const struct request *r)
{
    if ((r->type.n | r->key.n | r->once.n | r->failure.n) == 0)
        return true;
    return session_is_utf8(r->type) && session_is_utf8(r->key) && session_is_utf8(r->once) &&
           session_is_utf8(r->failure) && r->failure.n <= REASON_MAX;
}

static bool
session_check_words(struct session *s, const struct request *r)
{
    return !session_takes_words(r) && session_answer_error(s, r, ERROR_REQUEST_INVALID, WORDS_TEXT) == 0;
}

/* Where a list goes on; likewise. */
static bool
session_check_after(struct session *s, const struct request *r)
{
    return !session_is_utf8(r->after) &&
           session_answer_error(s, r, ERROR_REQUEST_INVALID, "\"after\" is not UTF-8.") == 0;
}

static int
session_do_pub(struct session *s, const struct request *r)
{
    /* What was published on before was looked at then. */
    struct namecache_entry *known = uplink_find_topic(s->fe->uplink, r->topic);

    if (session_check_send(s, r, known != NULL) || session_check_id(s, r) || session_check_body(s, r) ||
        session_check_words(s, r))
        return 0;
    /* What clears a retained value is welcome. */
    if (memguard_take(s->fe->memory, r->body.n + r->headers.n) && (r->body.n > 0 || !r->is_retain))
        return session_answer_error(s, r, ERROR_LIMIT_REACHED, NO_MEMORY);
    return uplink_publish(s->fe->uplink, s, r, known);
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
    if (session_check_id(s, r) || session_check_after(s, r))
        return 0;
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

/* ---- Requests. ---- */

static int
session_do_ask(struct session *s, const struct request *r)
{
    if (session_check_send(s, r, false) || session_check_id(s, r) || session_check_body(s, r) ||
        session_check_words(s, r))
        return 0;
    if (!r->is_async && r->timeout_ms > TIMEOUT_MAX_MS)
        return session_answer_error(
            s, r, ERROR_REQUEST_INVALID, "Nobody waits longer than an hour: make the request asynchronous.");
    if (memguard_take(s->fe->memory, r->body.n + r->headers.n))
        return session_answer_error(s, r, ERROR_LIMIT_REACHED, NO_MEMORY);
    asks_request(s->fe->hub, s, r);
    return 0;
}

static int
session_do_result(struct session *s, const struct request *r)
{
    if (session_check_id(s, r) || session_check_token(s, r, ERROR_NOT_FOUND))
        return 0;
    if (r->timeout_ms > TIMEOUT_MAX_MS)
        return session_answer_error(s, r, ERROR_REQUEST_INVALID, "Wait for an hour at most, then ask again.");
    asks_result(s->fe->hub, s, r);
    return 0;
}

static int
session_do_withdraw(struct session *s, const struct request *r)
{
    if (!session_check_id(s, r) && !session_check_token(s, r, ERROR_NOT_FOUND))
        asks_withdraw(s->fe->hub, s, r);
    return 0;
}

/* Somebody waits for it: what is not passed on ends the call, as with what only the broker finds wrong. */
static int
session_do_reply(struct session *s, const struct request *r)
{
    static const struct reply_fault too_large = {ERROR_MESSAGE_TOO_LARGE, "",
        "The responder's reply was larger than its server takes (limits.message_bytes)."};
    static const struct reply_fault invalid = {
        ERROR_REQUEST_INVALID, WORDS_TEXT, "The responder's reply was no valid one."};
    const struct reply_fault *fault = NULL;

    if (session_check_id(s, r) || session_check_token(s, r, ERROR_CALL_UNKNOWN))
        return 0;
    if (!session_takes_body(s, r))
        fault = &too_large;
    else if (!session_takes_words(r))
        fault = &invalid;
    hub_reply(s->fe->hub, s, r, fault);
    return 0;
}

/* ---- Queues, presence. ---- */

static int
session_do_settle(struct session *s, const struct request *r)
{
    if (!session_check_id(s, r) && !session_check_token(s, r, ERROR_LEASE_LOST) && !session_check_words(s, r))
        hub_settle(s->fe->hub, s, r);
    return 0;
}

static bool
session_check_topic(struct session *s, const struct request *r)
{
    const char *wrong = topic_name_error(r->topic);

    return wrong != NULL && session_refuse_name(s, r, ERROR_TOPIC_INVALID, wrong) == 0;
}

static int
session_do_queues(struct session *s, const struct request *r)
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
    if (session_check_id(s, r) || session_check_after(s, r) || (r->group.n > 0 && session_check_group(s, r)))
        return 0;
    if (list.limit == 0 || list.limit > LIST_MAX)
        list.limit = list.limit == 0 ? LIST_USUAL : LIST_MAX;
    asks_queues(s->fe->hub, s, &list);
    return 0;
}

static int
session_do_peek(struct session *s, const struct request *r)
{
    struct position after = {0};
    struct request peek = *r;

    if (session_check_id(s, r) || session_check_topic(s, r) || session_check_group(s, r))
        return 0;
    if (r->since.n > 0 && cursor_parse(r->since, &after) < 0)
        return session_answer_error(s, r, ERROR_CURSOR_INVALID, "");
    if (peek.limit == 0 || peek.limit > LIST_MAX)
        peek.limit = peek.limit == 0 ? LIST_USUAL : LIST_MAX;
    asks_peek(s->fe->hub, s, &peek, after.seq);
    return 0;
}

/* PURGE and REDRIVE. */
static int
session_do_purge(struct session *s, const struct request *r)
{
    if (!session_check_id(s, r) && !session_check_topic(s, r) && !session_check_group(s, r))
        asks_purge(s->fe->hub, s, r);
    return 0;
}

static int
session_do_who(struct session *s, const struct request *r)
{
    struct request who = *r;

    if (session_check_id(s, r) || session_check_place(s, r, r->topic) || session_check_after(s, r))
        return 0;
    if (who.limit > LIST_MAX)
        who.limit = LIST_MAX;
    asks_who(s->fe->hub, s, &who);
    return 0;
}

static int
session_do_join(struct session *s, const struct request *r)
{
    if (!session_check_id(s, r) && !session_check_place(s, r, r->topic) && !session_check_member(s, r))
        members_join(s->fe->hub, s, r);
    return 0;
}

static int
session_do_leave(struct session *s, const struct request *r)
{
    if (!session_check_id(s, r) && !session_check_place(s, r, r->topic))
        members_depart(s->fe->hub, s, r);
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
        [REQUEST_ASK] = session_do_ask,
        [REQUEST_RESULT] = session_do_result,
        [REQUEST_WITHDRAW] = session_do_withdraw,
        [REQUEST_REPLY] = session_do_reply,
        [REQUEST_SETTLE] = session_do_settle,
        [REQUEST_QUEUES] = session_do_queues,
        [REQUEST_PEEK] = session_do_peek,
        [REQUEST_PURGE] = session_do_purge,
        [REQUEST_REDRIVE] = session_do_purge,
        [REQUEST_WHO] = session_do_who,
        [REQUEST_JOIN] = session_do_join,
        [REQUEST_LEAVE] = session_do_leave,
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
