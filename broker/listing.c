/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIST. The topics stand in a hash table, so all of them are looked at; the first `limit` in the order of names are kept
 * in a heap whose top is the last of them. That is a few hundred milliseconds for a million topics, for a question that
 * a person asks now and then.
 */
#include "config.h"

#include "broker/listing.h"

#include <stdlib.h>

#include "broker/broker.h"
#include "broker/links.h"
#include "broker/linkset.h"
#include "broker/outbox.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/names.h"

#define LIMIT_MAX 1000u

struct listing {
    struct topic *topics[LIMIT_MAX + 1]; /* one more than asked, to know whether there is more */
    size_t n, room;
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
        l->topics[0] = topic;
        listing_sink(l);
        return;
    }
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
listing_collect(struct listing *l, struct broker *broker, struct slice filter, struct slice after)
{
    struct topic *topic;
    size_t at = 0;

    if (!filter_has_wildcard(filter)) {
        topic = topic_find(broker, filter);
        if (topic != NULL && compare_names(topic_name(topic), after) > 0)
            listing_add(l, topic);
        return;
    }
    while ((topic = table_next(&broker->topics.by_name, &at)) != NULL)
        if (compare_names(topic_name(topic), after) > 0 && filter_matches(filter, topic_name(topic)))
            listing_add(l, topic);
    if (l->n > 0)
        qsort(l->topics, l->n, sizeof(l->topics[0]), compare_topics);
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

int
listing_on_list(struct peer *peer, const struct frame *f)
{
    uint64_t limit = f->list.limit < LIMIT_MAX ? f->list.limit : LIMIT_MAX;
    struct listing l = {.room = (size_t)limit + 1};

    if (filter_error(f->list.filter) != NULL)
        return peer_complain(peer, f, "%s", filter_error(f->list.filter));
    listing_collect(&l, peer->broker, f->list.filter, f->list.after);
    for (size_t i = 0; i < l.n && i < limit; i++)
        put_listed(peer, f->list.req, l.topics[i]);
    frame_put_list_end(
        outbox_begin(peer), &(struct frame_list_end){.req = f->list.req, .more = l.n > limit});
    outbox_end(peer);
    peer_update_pause(peer);
    return 0;
}
