/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers by number, their credit, their end: see consumers.h. */
#include "config.h"

#include "broker/consumers.h"

#include <errno.h>
#include <stdlib.h>

#include "base/memguard.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/request.h"
#include "broker/settings.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define FLAG_OUTLIVED 1u
/* A consumer with what its mode keeps of it, about. */
#define CONSUMER_BYTES 512u

static const struct consumer_ops *const modes[CONSUMER_MODES] = {
    [CONSUMER_QUEUE] = &queue_consumer_ops,
    [CONSUMER_RESPONDER] = &request_consumer_ops,
};

static struct slice
consumer_key_of(const void *value)
{
    const struct consumer *c = value;

    return slice_of(&c->number, sizeof(c->number));
}

struct consumer *
consumer_find(const struct peer *peer, uint64_t number)
{
    return table_find(&peer->consumers, slice_of(&number, sizeof(number)));
}

/* ---- Life. ---- */

/* 0 or -ENOMEM. */
static int
consumer_new(struct peer *peer, const struct frame_consume *f, struct consumer **ret)
{
    struct consumer *c = calloc(1, sizeof(*c) + f->topic.n + f->group.n);
    int r;

    if (c == NULL)
        return -ENOMEM;
    c->number = f->consumer;
    c->peer = peer;
    c->ops = modes[f->mode];
    c->credit = f->credit < CONSUMER_CREDIT_MAX ? (uint32_t)f->credit : CONSUMER_CREDIT_MAX;
    c->weight = filter_weight(f->topic);
    c->outlived = (f->flags & FLAG_OUTLIVED) != 0;
    c->n_topic = (uint16_t)f->topic.n;
    c->n_group = (uint16_t)f->group.n;
    memcpy(c->text, f->topic.p, f->topic.n);
    if (f->group.n > 0)
        memcpy(c->text + f->topic.n, f->group.p, f->group.n);
    list_init(&c->in_peer);
    list_init(&c->out);
    list_init(&c->kept);
    r = table_insert(&peer->consumers, c);
    if (r < 0) {
        free(c);
        return r;
    }
    list_push_back(&peer->consumers_list, &c->in_peer);
    peer->consumers_weight += c->weight;
    peer->broker->n_consumers++;
    *ret = c;
    return 0;
}

static void
consumer_free(struct consumer *c)
{
    struct peer *peer = c->peer;

    (void)table_remove(&peer->consumers, consumer_key_of(c));
    list_remove(&c->in_peer);
    peer->consumers_weight -= c->weight;
    peer->broker->n_consumers--;
    free(c);
}

static void
consumer_end(struct consumer *c, enum consumer_end why)
{
    c->is_confirmed = false; /* nothing more for it */
    c->ops->on_gone(c, why);
    consumer_free(c);
}

/* ---- Answers. ---- */

static void
put_unconsumable(struct peer *peer, uint64_t number, enum error_code code, const char *message)
{
    if (!peer_is_attached(peer))
        return;
    frame_put_unconsumable(
        outbox_begin(peer), &(struct frame_unconsumable){
                                .consumer = number,
                                .code = slice_str(error_code_name(code)),
                                .message = slice_str(message != NULL ? message : error_code_sentence(code)),
                            });
    outbox_end(peer);
}

void
consumer_confirm(struct consumer *c, uint64_t seq)
{
    frame_put_consuming(outbox_begin(c->peer), &(struct frame_consuming){.consumer = c->number, .seq = seq});
    outbox_end(c->peer);
    c->is_confirmed = true;
    if (consumer_has_room(c))
        c->ops->on_room(c);
}

void
consumer_refuse(struct consumer *c, enum error_code code, const char *message)
{
    put_unconsumable(c->peer, c->number, code, message);
    consumer_free(c);
}

/* ---- Room. ---- */

bool
consumer_has_room(const struct consumer *c)
{
    const struct peer *peer = c->peer;

    return c->is_confirmed && c->n_out < c->credit && peer->has_resumed && peer_is_attached(peer) &&
           link_backlog(peer->link) <= peer_mark(peer);
}

void
consumer_note_out(struct consumer *c)
{
    c->n_out++;
}

void
consumer_note_back(struct consumer *c)
{
    c->n_out--;
    if (consumer_has_room(c))
        c->ops->on_room(c);
}

void
consumers_go_on(struct peer *peer)
{
    /* What is given to one may fill the link, and end what is under way for another: but only a frame or the
     * end of the link takes a consumer away, and neither comes within this. */
    list_for_each_safe(it, following, &peer->consumers_list)
    {
        struct consumer *c = list_entry(it, struct consumer, in_peer);

        if (consumer_has_room(c))
            c->ops->on_room(c);
    }
}

void
consumers_on_resume(struct peer *peer)
{
    for (unsigned mode = 0; mode < CONSUMER_MODES; mode++)
        if (modes[mode] != NULL && modes[mode]->on_resumed != NULL)
            modes[mode]->on_resumed(peer);
    consumers_go_on(peer);
}

/* ---- CONSUME. ---- */

/* May it? What a client asked for is refused; what only a frontend can get wrong was complained of before. */
static enum error_code
check_consume(const struct peer *peer, const struct frame_consume *f, const char **ret_message)
{
    struct broker *broker = peer->broker;
    const bool is_responder = f->mode == CONSUMER_RESPONDER;

    *ret_message = NULL;
    if (is_responder && filter_error(f->topic) != NULL)
        return ERROR_FILTER_INVALID;
    if (!is_responder && topic_name_error(f->topic) != NULL)
        return ERROR_TOPIC_INVALID;
    if ((f->group.n > 0 || !is_responder) && group_name_error(f->group) != NULL)
        return ERROR_GROUP_INVALID;
    if (f->topic.p[0] == '$') {
        *ret_message = "Topics that begin with '$' are the bus's own.";
        return ERROR_NOT_ALLOWED;
    }
    if (!filter_has_wildcard(f->topic) && !settings_find(broker->settings, f->topic)->may_subscribe) {
        *ret_message = "The settings of this topic do not allow clients to subscribe.";
        return ERROR_NOT_ALLOWED;
    }
    if (peer->consumers_weight + filter_weight(f->topic) > broker->options.consumers_max) {
        *ret_message = "There are too many consumers (broker.consumers_max).";
        return ERROR_LIMIT_REACHED;
    }
    if (memguard_take(broker->memory, CONSUMER_BYTES + f->topic.n)) {
        broker->counters.refused_memory++;
        *ret_message = "The broker's memory is nearly used up: try again later.";
        return ERROR_LIMIT_REACHED;
    }
    if (modes[f->mode] == NULL) {
        *ret_message = "This broker has no queues.";
        return ERROR_UNAVAILABLE;
    }
    return ERROR_NONE;
}

int
consumers_on_consume(struct peer *peer, const struct frame *f)
{
    const struct frame_consume *asked = &f->consume;
    struct consumer *c;
    const char *message;
    enum error_code code;
    int r;

    if (asked->consumer == 0 || asked->mode >= CONSUMER_MODES || asked->flags > FLAG_OUTLIVED)
        return peer_complain(peer, f, "number, mode or flags that do not exist");
    if (consumer_find(peer, asked->consumer) != NULL)
        return peer_complain(peer, f, "consumer %llu is in use", (unsigned long long)asked->consumer);
    code = check_consume(peer, asked, &message);
    if (code != ERROR_NONE) {
        put_unconsumable(peer, asked->consumer, code, message);
        return 0;
    }
    r = consumer_new(peer, asked, &c);
    return r < 0 ? r : c->ops->start(c, asked->epoch, asked->seq);
}

/* ---- The other frames. One that was refused meanwhile is not there: no fault. ---- */

int
consumers_on_unconsume(struct peer *peer, const struct frame *f)
{
    struct consumer *c = consumer_find(peer, f->unconsume.consumer);

    if (c != NULL)
        consumer_end(c, CONSUMER_LEFT);
    return 0;
}

int
consumers_on_credit(struct peer *peer, const struct frame *f)
{
    struct consumer *c = consumer_find(peer, f->credit.consumer);

    if (c == NULL)
        return 0;
    if (f->credit.more < CONSUMER_CREDIT_MAX - c->credit)
        c->credit += (uint32_t)f->credit.more;
    else
        c->credit = CONSUMER_CREDIT_MAX;
    if (consumer_has_room(c))
        c->ops->on_room(c);
    return 0;
}

int
consumers_on_hold(struct peer *peer, const struct frame *f)
{
    struct consumer *c = consumer_find(peer, f->hold.consumer);

    if (peer->has_resumed)
        return peer_complain(peer, f, "after RESUME");
    if (f->hold.lease.n > LEASE_MAX_BYTES)
        return peer_complain(peer, f, "a lease of %zu bytes", f->hold.lease.n);
    return c != NULL ? c->ops->on_hold(c, f->hold.lease) : 0;
}

/* ---- The peer. ---- */

void
consumers_init_peer(struct peer *peer)
{
    table_init(&peer->consumers, consumer_key_of);
    list_init(&peer->consumers_list);
}

void
consumers_drop_peer(struct peer *peer)
{
    while (!list_empty(&peer->consumers_list))
        consumer_end(list_entry(peer->consumers_list.next, struct consumer, in_peer), CONSUMER_LOST);
}

void
consumers_fini_peer(struct peer *peer)
{
    table_fini(&peer->consumers);
}
