/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIST. The topics have no order, so all of them are looked at; the first `limit` in the order of names are
 * kept in a heap whose top is the last of them. With a million topics that takes a few hundred milliseconds,
 * and strangers may ask: so the questions are answered one after the other, a share of the topics in each
 * turn, and messages go on in between. A topic that comes or goes meanwhile may be listed or not.
 */
#include "config.h"

#include "broker/listing.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/broker.h"
#include "broker/links.h"
#include "broker/linkset.h"
#include "broker/outbox.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define LIMIT_MAX 1000u
/* Topics looked at in one turn: a millisecond or less. */
#define TURN_TOPICS 4096u

struct listing {
    struct list in_broker; /* broker->listings: the first that can go on is worked at */
    struct peer *peer;
    uint64_t req, limit;
    uint32_t at;                /* the handle to go on with */
    struct topic **topics;      /* pinned; NULL until its turn came first */
    size_t n, room;             /* one more than asked, to know whether there is more */
    struct slice filter, after; /* into text[] */
    uint8_t text[];
};

static int
compare_names(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return order != 0 ? order : a.n < b.n ? -1 : a.n > b.n;
}

static bool
is_after(const struct topic *a, const struct topic *b)
{
    return compare_names(topic_name(a), topic_name(b)) > 0;
}

static void
listing_sink(struct listing *l)
{
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < l->n; i = child) {
        struct topic *moved = l->topics[i];

        if (child + 1 < l->n && is_after(l->topics[child + 1], l->topics[child]))
            child++;
        if (!is_after(l->topics[child], moved))
            break;
        l->topics[i] = l->topics[child];
        l->topics[child] = moved;
    }
}

static void
listing_add(struct listing *l, struct topic *topic)
{
    size_t i;

    if (l->n == l->room) {
        if (!is_after(l->topics[0], topic))
            return;
        l->topics[0]->n_pins--;
        topic->n_pins++;
        l->topics[0] = topic;
        listing_sink(l);
        return;
    }
    topic->n_pins++;
    l->topics[l->n] = topic;
    for (i = l->n++; i > 0 && is_after(l->topics[i], l->topics[(i - 1) / 2]); i = (i - 1) / 2) {
        struct topic *parent = l->topics[(i - 1) / 2];

        l->topics[(i - 1) / 2] = l->topics[i];
        l->topics[i] = parent;
    }
}

static int
compare_topics(const void *a, const void *b)
{
    return compare_names(topic_name(*(struct topic *const *)a), topic_name(*(struct topic *const *)b));
}

static void
listing_consider(struct listing *l, struct topic *topic)
{
    struct slice name = topic_name(topic);

    if (!topic->setting->is_hidden && compare_names(name, l->after) > 0 && filter_matches(l->filter, name))
        listing_add(l, topic);
}

/* Looks at some of the topics. True if that was all. */
static bool
listing_look(struct listing *l)
{
    struct broker *broker = l->peer->broker;
    const struct topics *t = &broker->topics;
    struct topic *topic;

    if (!filter_has_wildcard(l->filter)) {
        topic = topic_find(broker, l->filter);
        if (topic != NULL)
            listing_consider(l, topic);
        return true;
    }
    for (uint32_t n = TURN_TOPICS; n > 0 && l->at < t->n_handles; n--)
        if ((topic = t->by_handle[l->at++]) != NULL)
            listing_consider(l, topic);
    return l->at >= t->n_handles;
}

static void
put_listed(struct peer *peer, uint64_t req, struct topic *topic)
{
    struct broker *broker = peer->broker;
    struct frame_listed listed = {.req = req, .topic = topic_name(topic)};
    const uint64_t *links = topic_links(broker, topic);

    broker->store_ops->topic_stats(broker->store, topic->store, &listed.seq, &listed.n_kept, &listed.n_bytes);
    if (links != NULL)
        listed.n_links = linkset_count(links, broker->interest.n_words);
    frame_put_listed(outbox_begin(peer), &listed);
    outbox_end(peer);
}

static void
listing_free(struct listing *l)
{
    list_remove(&l->in_broker);
    for (size_t i = 0; i < l->n; i++)
        l->topics[i]->n_pins--;
    l->peer->n_listings--;
    free(l->topics);
    free(l);
}

static void
listing_answer(struct listing *l)
{
    struct peer *peer = l->peer;

    if (l->n > 0)
        qsort(l->topics, l->n, sizeof(l->topics[0]), compare_topics);
    for (size_t i = 0; i < l->n && i < l->limit; i++)
        put_listed(peer, l->req, l->topics[i]);
    frame_put_list_end(outbox_begin(peer), &(struct frame_list_end){.req = l->req, .more = l->n > l->limit});
    outbox_end(peer);
    listing_free(l);
    peer_update_pause(peer);
}

/* The next whose peer reads its answers; NULL if there is none. */
static struct listing *
listing_next(struct broker *broker)
{
    for (struct list *it = broker->listings.next; it != &broker->listings; it = it->next) {
        struct listing *l = list_entry(it, struct listing, in_broker);

        if (link_backlog(l->peer->link) <= peer_mark(l->peer))
            return l;
    }
    return NULL;
}

void
listing_on_turn(void *arg)
{
    struct broker *broker = arg;
    struct listing *l = listing_next(broker);

    if (l == NULL)
        return; /* listing_go_on() when somebody has read */
    if (l->topics == NULL)
        l->topics = malloc(l->room * sizeof(l->topics[0]));
    if (l->topics == NULL)
        link_fail(l->peer->link, "memory ran out for a list of topics");
    else if (listing_look(l))
        listing_answer(l);
    listing_go_on(broker);
}

void
listing_go_on(struct broker *broker)
{
    if (!list_empty(&broker->listings))
        loop_defer(broker->loop, &broker->listing_hook);
}

void
listing_drop_all(struct peer *peer)
{
    list_for_each_safe(it, following, &peer->broker->listings)
    {
        struct listing *l = list_entry(it, struct listing, in_broker);

        if (l->peer == peer)
            listing_free(l);
    }
}

int
listing_on_list(struct peer *peer, const struct frame *f)
{
    const struct frame_list *asked = &f->list;
    /* No name is longer, so what is cut off decides nothing. */
    const size_t n_after = asked->after.n < TOPIC_MAX_BYTES ? asked->after.n : TOPIC_MAX_BYTES;
    struct listing *l;

    if (filter_error(asked->filter) != NULL)
        return peer_complain(peer, f, "%s", filter_error(asked->filter));
    if (peer->n_listings >= PEER_LISTINGS_MAX)
        return peer_complain(peer, f, "%u lists are not answered yet", PEER_LISTINGS_MAX);
    l = calloc(1, sizeof(*l) + asked->filter.n + n_after);
    if (l == NULL)
        return -ENOMEM;
    l->peer = peer;
    l->req = asked->req;
    l->limit = asked->limit < LIMIT_MAX ? asked->limit : LIMIT_MAX;
    l->room = (size_t)l->limit + 1;
    memcpy(l->text, asked->filter.p, asked->filter.n);
    if (n_after > 0)
        memcpy(l->text + asked->filter.n, asked->after.p, n_after);
    l->filter = slice_of(l->text, asked->filter.n);
    l->after = slice_of(l->text + asked->filter.n, n_after);
    list_init(&l->in_broker);
    list_push_back(&peer->broker->listings, &l->in_broker);
    peer->n_listings++;
    listing_go_on(peer->broker);
    return 0;
}
