/* SPDX-License-Identifier: Apache-2.0 */
/* The filters that a frontend holds. */
#include "config.h"

#include "broker/subscribe.h"

#include <errno.h>
#include <stdlib.h>

#include "base/memguard.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/settings.h"
#include "wire/errors.h"
#include "wire/frame.h"
#include "wire/names.h"

/* So many retained values are looked through to say exactly whether one matches; with more the answer is
 * "perhaps". */
#define RETAINED_EXACT_MAX 64u
/* A filter, about. */
#define FILTER_BYTES 512u

/* Is there a retained value that matches? For wildcards over many of them 1 means perhaps: the RECOVER that
 * follows may find nothing. */
static bool
has_retained(const struct broker *broker, const struct interest_filter *filter)
{
    const struct topics *t = &broker->topics;
    struct slice pattern = interest_filter_pattern(filter);

    if (!filter->has_wildcard) {
        const struct topic *topic = topic_find(broker, pattern);

        return topic != NULL && topic->retained_at != TOPIC_NO_RETAINED;
    }
    if (t->n_retained > RETAINED_EXACT_MAX && pattern.p[0] != '$' && t->n_retained == t->n_retained_sys)
        return false; /* a wildcard in the first level matches none of the bus's own */
    if (t->n_retained > RETAINED_EXACT_MAX)
        return true;
    for (uint32_t i = 0; i < t->n_retained; i++)
        if (filter_matches(pattern, topic_name(t->retained[i])))
            return true;
    return false;
}

/* Up to which seq it has what it wants: what follows on the link is above. */
static uint64_t
peer_position(const struct peer *peer)
{
    switch (peer->phase) {
    case PEER_BEHIND:
        return peer->catchup.since;
    case PEER_LIVE:
        return peer->broker->last_seq;
    default:
        return peer->attach_seq; /* before RESUME */
    }
}

static int
refuse(struct peer *peer, uint64_t number, enum error_code code, const char *message)
{
    frame_put_unsubscribable(
        outbox_begin(peer), &(struct frame_unsubscribable){
                                .filter = number,
                                .code = slice_str(error_code_name(code)),
                                .message = slice_str(message != NULL ? message : error_code_sentence(code)),
                            });
    outbox_end(peer);
    return 0;
}

/* May it? A topic that nobody may subscribe to is refused by its name; a wildcard is held, and never gets its
 * messages. */
static enum error_code
check_subscribe(const struct peer *peer, struct slice pattern, const char **ret_message)
{
    const struct broker *broker = peer->broker;

    *ret_message = NULL;
    if (filter_error(pattern) != NULL)
        return ERROR_FILTER_INVALID;
    if (peer->filters_weight + filter_weight(pattern) > broker->options.filters_max) {
        *ret_message = "There are too many subscriptions (broker.filters_max).";
        return ERROR_LIMIT_REACHED;
    }
    if (memguard_take(broker->memory, FILTER_BYTES)) {
        peer->broker->counters.refused_memory++;
        *ret_message = "The broker's memory is nearly used up: try again later.";
        return ERROR_LIMIT_REACHED;
    }
    if (!filter_has_wildcard(pattern) && !settings_find(broker->settings, pattern)->may_subscribe) {
        *ret_message = "The settings of this topic do not allow clients to subscribe.";
        return ERROR_NOT_ALLOWED;
    }
    return ERROR_NONE;
}

static void
note_change(struct broker *broker, const struct interest_filter *filter)
{
    if (!filter->has_wildcard)
        topic_forget_links(broker, interest_filter_pattern(filter));
}

/* 0, -EEXIST, -ENOMEM. */
static int
proceed_subscribe(struct peer *peer, uint64_t number, struct slice pattern, struct peer_filter **ret)
{
    struct broker *broker = peer->broker;
    struct peer_filter *held = malloc(sizeof(*held));
    int r;

    if (held == NULL)
        return -ENOMEM;
    held->number = number;
    r = interest_add(&broker->interest, peer->slot, pattern, &held->filter);
    if (r < 0) {
        free(held);
        return r;
    }
    note_change(broker, held->filter);
    r = table_insert(&peer->filters, held);
    if (r < 0) {
        interest_remove(&broker->interest, peer->slot, held->filter);
        free(held);
        return r;
    }
    peer->filters_weight += filter_weight(pattern);
    *ret = held;
    return 0;
}

int
subscribe_on_subscribe(struct peer *peer, const struct frame *f)
{
    uint64_t number = f->subscribe.filter;
    struct peer_filter *held;
    const char *message;
    enum error_code code;
    int r;

    if (table_find(&peer->filters, slice_of(&number, sizeof(number))) != NULL)
        return peer_complain(peer, f, "filter %llu is in use", (unsigned long long)number);
    code = check_subscribe(peer, f->subscribe.pattern, &message);
    if (code != ERROR_NONE)
        return refuse(peer, number, code, message);
    r = proceed_subscribe(peer, number, f->subscribe.pattern, &held);
    if (r == -EEXIST)
        return refuse(
            peer, number, ERROR_SUBSCRIPTION_EXISTS, "This link holds the filter under another number.");
    if (r < 0)
        return r;
    frame_put_subscribed(outbox_begin(peer), &(struct frame_subscribed){.filter = number,
                                                 .seq = peer_position(peer),
                                                 .retained = has_retained(peer->broker, held->filter)});
    outbox_end(peer);
    return 0;
}

static void
drop(struct peer *peer, struct peer_filter *held)
{
    peer->filters_weight -= filter_weight(interest_filter_pattern(held->filter));
    note_change(peer->broker, held->filter);
    interest_remove(&peer->broker->interest, peer->slot, held->filter);
    free(held);
}

int
subscribe_on_unsubscribe(struct peer *peer, const struct frame *f)
{
    struct peer_filter *held =
        table_remove(&peer->filters, slice_of(&f->unsubscribe.filter, sizeof(f->unsubscribe.filter)));

    /* One that was refused meanwhile is not held: no fault. */
    if (held != NULL)
        drop(peer, held);
    return 0;
}

void
subscribe_drop_peer(struct peer *peer)
{
    table_key_fn key_of = peer->filters.key_of;
    struct peer_filter *held;
    size_t at = 0;

    while ((held = table_next(&peer->filters, &at)) != NULL)
        drop(peer, held);
    table_fini(&peer->filters);
    table_init(&peer->filters, key_of);
}
