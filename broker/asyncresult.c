/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Those who come for the reply of an asynchronous request: RESULT answers at once, or when the outcome is
 * kept, however many wait for it; WITHDRAW decides that there will be none.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/asyncstate.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/publish.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define WAIT_MAX_MS (24u * 3600 * 1000)

/* Those who wait for one request. */
struct async_wait {
    char id[ASYNC_ID_TEXT]; /* first: it is the key */
    struct list askers;
};

/* One of them. */
struct asker {
    uint64_t req; /* first: the key in its peer's table */
    struct peer *peer;
    struct async_wait *wait;
    struct list in_wait;
    struct loop_timer timer;
};

static struct slice
wait_key_of(const void *value)
{
    return slice_of(value, ASYNC_ID_TEXT);
}

static struct slice
asker_key_of(const void *value)
{
    const struct asker *asker = value;

    return slice_of(&asker->req, sizeof(asker->req));
}

void
async_waits_init(struct asyncrequests *async)
{
    table_init(&async->waits, wait_key_of);
}

void
async_waits_fini(struct asyncrequests *async)
{
    table_fini(&async->waits); /* it is empty: no peer is left */
}

/* ---- Answers. ---- */

static void
put_error(struct peer *peer, uint64_t req, enum error_code code, struct slice message)
{
    frame_put_replied(
        outbox_begin(peer), &(struct frame_replied){
                                .req = req,
                                .code = slice_str(error_code_name(code)),
                                .message = message.n > 0 ? message : slice_str(error_code_sentence(code)),
                            });
    outbox_end(peer);
}

/* It is no pending one. */
static void
put_outcome(struct peer *peer, uint64_t req, const struct async_outcome *outcome)
{
    const struct record *record = outcome->record;

    if (outcome->state == ASYNC_ERROR) {
        put_error(peer, req, outcome->code, outcome->body);
        return;
    }
    if (outcome->state == ASYNC_UNKNOWN) {
        put_error(peer, req, ERROR_NOT_FOUND, slice_str("There is no such request, or no longer."));
        return;
    }
    if (link_backlog(peer->link) > 4 * peer_mark(peer)) { /* it asks and does not read */
        put_error(peer, req, ERROR_TOO_SLOW, slice_of(NULL, 0));
        return;
    }
    frame_put_replied(outbox_begin(peer), &(struct frame_replied){
                                              .req = req,
                                              .kind = record->kind,
                                              .type = record_type(record),
                                              .headers = record_headers(record),
                                              .body = outcome->body,
                                          });
    outbox_end(peer);
}

/* ---- Waiting. ---- */

static void
asker_free(struct asker *asker)
{
    struct peer *peer = asker->peer;
    struct asyncrequests *async = peer->broker->async;
    struct async_wait *wait = asker->wait;

    loop_timer_stop(peer->broker->loop, &asker->timer);
    (void)table_remove(&peer->results, asker_key_of(asker));
    list_remove(&asker->in_wait);
    async->figures.n_waiting--;
    free(asker);
    if (!list_empty(&wait->askers))
        return;
    (void)table_remove(&async->waits, wait_key_of(wait));
    free(wait);
}

/* As it is now: decided meanwhile, over, or still pending. */
static void
asker_on_timer(void *arg)
{
    struct asker *asker = arg;
    struct peer *peer = asker->peer;
    struct broker *broker = peer->broker;
    struct async_outcome outcome;

    async_look(broker, slice_of(asker->wait->id, ASYNC_ID_TEXT), &outcome);
    if (outcome.state != ASYNC_PENDING)
        put_outcome(peer, asker->req, &outcome);
    else
        put_error(peer, asker->req,
            outcome.expires_ms <= loop_wall_ms(broker->loop) ? ERROR_TIMEOUT : ERROR_PENDING,
            slice_of(NULL, 0));
    record_unref(outcome.record);
    asker_free(asker);
}

static struct async_wait *
wait_get(struct asyncrequests *async, struct slice id)
{
    struct async_wait *wait = table_find(&async->waits, id);

    if (wait != NULL)
        return wait;
    wait = calloc(1, sizeof(*wait));
    if (wait == NULL)
        return NULL;
    memcpy(wait->id, id.p, ASYNC_ID_TEXT);
    list_init(&wait->askers);
    if (table_insert(&async->waits, wait) < 0) {
        free(wait);
        return NULL;
    }
    return wait;
}

/* 0 or -ENOMEM. */
static int
asker_new(struct peer *peer, uint64_t req, struct slice id, uint64_t wait_ms)
{
    struct asyncrequests *async = peer->broker->async;
    struct asker *asker = calloc(1, sizeof(*asker));

    if (asker == NULL)
        return -ENOMEM;
    asker->req = req;
    asker->peer = peer;
    asker->timer = (struct loop_timer){.fn = asker_on_timer, .arg = asker};
    list_init(&asker->in_wait);
    asker->wait = wait_get(async, id);
    if (asker->wait == NULL) {
        free(asker);
        return -ENOMEM;
    }
    list_push_back(&asker->wait->askers, &asker->in_wait);
    async->figures.n_waiting++;
    if (table_insert(&peer->results, asker) < 0) {
        asker_free(asker); /* takes out of the table what is not in it */
        return -ENOMEM;
    }
    loop_timer_start(peer->broker->loop, &asker->timer, wait_ms);
    return 0;
}

static bool
is_reply_topic(const struct topic *topic)
{
    const size_t n = strlen(REPLIES_PREFIX);

    return topic->n_name == n + ASYNC_ID_TEXT && topic->name[0] == '$' &&
           memcmp(topic->name, REPLIES_PREFIX, n) == 0;
}

void
asyncrequest_on_record(struct broker *broker, const struct record *record)
{
    const struct topic *topic = record->topic;
    struct async_outcome outcome = {.record = (struct record *)record};
    struct async_wait *wait;

    if (broker->async->waits.n_used == 0 || !is_reply_topic(topic))
        return;
    wait = table_find(&broker->async->waits, slice_of(topic->name + strlen(REPLIES_PREFIX), ASYNC_ID_TEXT));
    async_read(record, &outcome);
    if (wait == NULL || outcome.state == ASYNC_PENDING)
        return;
    for (bool is_last = false; !is_last;) { /* the wait goes with its last */
        struct asker *asker = list_entry(wait->askers.next, struct asker, in_wait);

        is_last = asker->in_wait.next == &wait->askers;
        if (outcome.state == ASYNC_UNKNOWN) /* it was withdrawn after it was answered */
            put_error(asker->peer, asker->req, ERROR_CANCELED, slice_of(NULL, 0));
        else
            put_outcome(asker->peer, asker->req, &outcome);
        asker_free(asker);
    }
}

/* ---- RESULT. ---- */

int
asyncrequest_on_result(struct peer *peer, const struct frame *f)
{
    const struct frame_result *asked = &f->result;
    struct broker *broker = peer->broker;
    int64_t wall_ms = loop_wall_ms(broker->loop);
    uint64_t wait_ms = asked->wait_ms < WAIT_MAX_MS ? asked->wait_ms : WAIT_MAX_MS;
    struct async_outcome outcome;
    int r = 0;

    if (asked->req == 0)
        return peer_complain(peer, f, "request 0");
    if (table_find(&peer->results, slice_of(&asked->req, sizeof(asked->req))) != NULL)
        return peer_complain(peer, f, "request %llu is in use", (unsigned long long)asked->req);
    async_look(broker, asked->id, &outcome);
    if (outcome.state != ASYNC_PENDING) {
        put_outcome(peer, asked->req, &outcome);
    } else if (outcome.expires_ms <= wall_ms) {
        put_error(peer, asked->req, ERROR_TIMEOUT, slice_of(NULL, 0));
    } else if (wait_ms == 0) {
        put_error(peer, asked->req, ERROR_PENDING, slice_of(NULL, 0));
    } else if (peer->results.n_used >= broker->options.requests_max) {
        put_error(peer, asked->req, ERROR_LIMIT_REACHED,
            slice_str("Too many wait for replies (broker.requests_max)."));
    } else {
        if ((uint64_t)(outcome.expires_ms - wall_ms) < wait_ms)
            wait_ms = (uint64_t)(outcome.expires_ms - wall_ms);
        r = asker_new(peer, asked->req, asked->id, wait_ms);
    }
    record_unref(outcome.record);
    return r;
}

void
asyncrequest_abandon(struct peer *peer, uint64_t req)
{
    struct asker *asker = table_find(&peer->results, slice_of(&req, sizeof(req)));

    if (asker != NULL)
        asker_free(asker);
}

void
asyncrequest_init_peer(struct peer *peer)
{
    table_init(&peer->results, asker_key_of);
}

void
asyncrequest_drop_peer(struct peer *peer)
{
    struct table gone = peer->results;
    struct asker *asker;
    size_t at = 0;

    table_init(&peer->results, asker_key_of);
    while ((asker = table_next(&gone, &at)) != NULL)
        asker_free(asker); /* takes itself out of the new table, where it is not */
    table_fini(&gone);
}

void
asyncrequest_fini_peer(struct peer *peer)
{
    table_fini(&peer->results);
}

/* ---- WITHDRAW. ---- */

struct withdrawal {
    struct broker *broker;
    uint64_t session, req;
    unsigned slot;
};

static void
withdrawal_on_done(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    struct withdrawal *w = arg;

    (void)outcome;
    (void)seq;
    queue_answer(links_find(w->broker, w->slot, w->session), w->req,
        error == 0 ? ERROR_NONE : ERROR_STORE_FAILED, NULL, 1);
    free(w);
}

/* The reply is there: it is forgotten. */
static enum error_code
forget_reply(struct peer *peer, uint64_t req, struct topic *topic)
{
    struct withdrawal *w = malloc(sizeof(*w));
    struct record *record = record_new_once(
        slice_of(NULL, 0), slice_of(NULL, 0), slice_of(NULL, 0), slice_of(NULL, 0), slice_of(NULL, 0));

    if (w == NULL || record == NULL) {
        record_unref(record);
        free(w);
        return ERROR_INTERNAL;
    }
    *w =
        (struct withdrawal){.broker = peer->broker, .session = peer->session, .slot = peer->slot, .req = req};
    record->kind = MESSAGE_BINARY;
    record->flags = MESSAGE_RETAIN;
    if (publish_take(peer->broker, topic, record, withdrawal_on_done, w) == 0)
        return ERROR_NONE;
    free(w);
    return ERROR_STORE_FAILED;
}

int
asyncrequest_on_withdraw(struct peer *peer, const struct frame *f)
{
    const struct frame_withdraw *asked = &f->withdraw;
    struct broker *broker = peer->broker;
    struct async_outcome outcome;
    enum error_code code = ERROR_NOT_FOUND;

    async_look(broker, asked->id, &outcome);
    if (outcome.state != ASYNC_UNKNOWN && async_is_decided(broker, asked->id)) {
        code = ERROR_NONE; /* just now, by somebody else */
        queue_answer(peer, asked->req, ERROR_NONE, NULL, 1);
    } else if (outcome.state == ASYNC_PENDING) {
        code =
            async_decide(outcome.topic, broker, asked->id, async_error_new(ERROR_CANCELED, slice_of(NULL, 0)),
                settings_find(broker->settings, outcome.asked),
                &(struct decision_about){.session = peer->session, .slot = peer->slot, .req = asked->req});
        broker->async->figures.n_withdrawn += code == ERROR_NONE;
    } else if (outcome.state != ASYNC_UNKNOWN) {
        code = forget_reply(peer, asked->req, outcome.topic);
    }
    record_unref(outcome.record);
    if (code != ERROR_NONE)
        queue_answer(peer, asked->req, code,
            code == ERROR_NOT_FOUND ? "There is no such request, or no longer." : NULL, 0);
    return 0;
}
