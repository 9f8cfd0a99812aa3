/* SPDX-License-Identifier: Apache-2.0 */
/* The outcome of asynchronous requests: see asyncstate.h. */
#include "config.h"

#include "broker/asyncstate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/broker.h"
#include "broker/links.h"
#include "broker/publish.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/names.h"

struct decision {
    char id[ASYNC_ID_TEXT]; /* first: it is the key */
    struct broker *broker;
    struct decision_about about;
};

static struct slice
decision_key_of(const void *value)
{
    return slice_of(value, ASYNC_ID_TEXT);
}

struct slice
async_reply_topic(struct slice id, char text[ASYNC_REPLY_TOPIC_MAX])
{
    const size_t n = strlen(REPLIES_PREFIX);

    memcpy(text, REPLIES_PREFIX, n);
    memcpy(text + n, id.p, id.n);
    return slice_of(text, n + id.n);
}

/* ---- Reading. ---- */

void
async_read(const struct record *record, struct async_outcome *ret)
{
    struct slice body = record_body(record);
    char number[24];

    if (body.n == 0)
        return;
    ret->body = slice_of(body.p + 1, body.n - 1);
    switch (body.p[0]) {
    case 'p':
        ret->state = ASYNC_PENDING;
        ret->asked = ret->body;
        (void)snprintf(number, sizeof(number), "%.*s", SLICE_ARG(record_key(record)));
        ret->expires_ms = strtoll(number, NULL, 10);
        break;
    case 'r':
        ret->state = ASYNC_REPLY;
        break;
    case 'e':
        ret->state = ASYNC_ERROR;
        ret->code = error_code_find(record_key(record));
        break;
    default:
        break;
    }
}

void
async_look(struct broker *broker, struct slice id, struct async_outcome *ret)
{
    char text[ASYNC_REPLY_TOPIC_MAX];

    *ret = (struct async_outcome){.state = ASYNC_UNKNOWN};
    if (!async_id_is_one(id))
        return;
    ret->topic = topic_find(broker, async_reply_topic(id, text));
    if (ret->topic == NULL)
        return;
    ret->record = broker->store_ops->retained(broker->store, ret->topic->store);
    if (ret->record != NULL)
        async_read(ret->record, ret);
}

bool
async_is_decided(const struct broker *broker, struct slice id)
{
    return table_find(&broker->async->decisions, id) != NULL;
}

/* ---- Writing. ---- */

static struct record *
outcome_new(char first, struct slice type, struct slice headers, struct slice key, struct slice rest)
{
    uint8_t *body = malloc(rest.n + 1);
    struct record *record;

    if (body == NULL)
        return NULL;
    body[0] = (uint8_t)first;
    if (rest.n > 0)
        memcpy(body + 1, rest.p, rest.n);
    record = record_new_once(type, headers, key, slice_of(NULL, 0), slice_of(body, rest.n + 1));
    free(body);
    if (record != NULL) {
        record->kind = MESSAGE_BINARY;
        record->flags = MESSAGE_RETAIN;
    }
    return record;
}

struct record *
async_pending_new(struct slice asked, int64_t expires_ms)
{
    char number[24];

    (void)snprintf(number, sizeof(number), "%" PRId64, expires_ms);
    return outcome_new('p', slice_of(NULL, 0), slice_of(NULL, 0), slice_str(number), asked);
}

struct record *
async_reply_new(const struct frame_reply *f)
{
    struct record *record = outcome_new('r', f->type, f->headers, slice_of(NULL, 0), f->body);

    if (record != NULL)
        record->kind = (uint8_t)f->kind;
    return record;
}

struct record *
async_error_new(enum error_code code, struct slice message)
{
    if (message.n == 0)
        message = slice_str(error_code_sentence(code));
    return outcome_new('e', slice_of(NULL, 0), slice_of(NULL, 0), slice_str(error_code_name(code)), message);
}

/* ---- Deciding. ---- */

static void
decision_on_done(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    struct decision *d = arg;

    (void)outcome;
    (void)seq;
    (void)table_remove(&d->broker->async->decisions, slice_of(d->id, ASYNC_ID_TEXT));
    async_on_decided(d->broker, &d->about, error);
    free(d);
}

enum error_code
async_decide(struct topic *topic, struct broker *broker, struct slice id, struct record *record,
    const struct setting *setting, const struct decision_about *about)
{
    struct decision *d = record != NULL ? malloc(sizeof(*d)) : NULL;

    if (d != NULL) {
        *d = (struct decision){.broker = broker, .about = *about};
        memcpy(d->id, id.p, ASYNC_ID_TEXT);
        if (table_insert(&broker->async->decisions, d) < 0) {
            free(d);
            d = NULL;
        }
    }
    if (d == NULL) {
        record_unref(record);
        return ERROR_INTERNAL;
    }
    record->expires_ms = loop_wall_ms(broker->loop) + (int64_t)setting->reply_ttl_ms;
    if (publish_take(broker, topic, record, decision_on_done, d) == 0)
        return ERROR_NONE;
    (void)table_remove(&broker->async->decisions, slice_of(d->id, ASYNC_ID_TEXT));
    free(d);
    return ERROR_STORE_FAILED;
}

/* ---- The whole. ---- */

int
asyncrequests_new(struct broker *broker, struct asyncrequests **ret)
{
    struct asyncrequests *async = calloc(1, sizeof(*async));

    if (async == NULL)
        return -ENOMEM;
    async->broker = broker;
    table_init(&async->decisions, decision_key_of);
    table_init(&async->accepting, decision_key_of); /* their id is first, too */
    async_waits_init(async);
    *ret = async;
    return 0;
}

struct asyncrequests *
asyncrequests_free(struct asyncrequests *async)
{
    struct decision *d;
    size_t at = 0;

    if (async == NULL)
        return NULL;
    while ((d = table_next(&async->decisions, &at)) != NULL)
        free(d);
    table_fini(&async->decisions);
    table_fini(&async->accepting);
    async_waits_fini(async);
    free(async);
    return NULL;
}

const struct asyncrequest_figures *
asyncrequests_figures(const struct asyncrequests *async)
{
    return &async->figures;
}
