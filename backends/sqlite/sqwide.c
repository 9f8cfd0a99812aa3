/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads of very many topics, piece by piece: along all messages in the order of seq, in the cache or in the
 * file, leaving out what is not wanted, without looking at each topic for each piece. Who meets too little
 * that is wanted goes the other way, topic by topic (sqread.c).
 *
 *     wide_begin()         fills the page from the cache, or asks the reader for what comes next in the file
 *     wide_on_found()      what the reader found: whose it is, and whether that is wanted
 *     wide_is_ready()      nothing of the page has to be trimmed any more
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>

/* Did no more topics change, each of them is asked. */
#define FEW_TOPICS 4u
/* To look at a record that is not wanted costs a fraction of what it costs to look at a topic. */
#define SKIPPED_FOR_TOPIC 4u
#define SKIPPED_MIN 256u
#define SKIPPED_MAX 65536u

/* ---- Topics. ---- */

#define ASKED_WANTED 1u
#define ASKED_LISTED 2u
#define ASKED_BITS 2u

/* Asked once for each topic of a read, whichever way it is met. */
bool
wide_wants(struct reading *r, struct store_topic *topic)
{
    if (topic->asked >> ASKED_BITS != r->number)
        topic->asked =
            r->number << ASKED_BITS | (r->read.wants(topic->cookie, r->read.arg) ? ASKED_WANTED : 0);
    return (topic->asked & ASKED_WANTED) != 0;
}

/* Once, so that the read waits for what has to be trimmed of it. */
static int
topic_list(struct reading *r, struct store_topic *topic)
{
    if ((topic->asked & ASKED_LISTED) != 0)
        return 0;
    topic->asked |= ASKED_LISTED;
    return reading_add_source(r, topic);
}

static uint64_t
id_of(const struct store_topic *topic)
{
    return topic->now.id;
}

struct slice
wide_key_of(const void *value)
{
    const struct store_topic *topic = value;

    return slice_of(&topic->now.id, sizeof(topic->now.id));
}

void
wide_know(struct backend *b, struct store_topic *topic)
{
    if (id_of(topic) != 0 && table_insert(&b->by_id, topic) < 0)
        b->is_id_lost = true;
}

void
wide_forget(struct backend *b, struct store_topic *topic)
{
    if (id_of(topic) != 0 && table_find(&b->by_id, wide_key_of(topic)) == topic)
        (void)table_remove(&b->by_id, wide_key_of(topic));
    list_remove(&topic->in_evicted);
}

void
wide_note_evicted(struct backend *b, struct store_topic *topic, uint64_t at)
{
    topic->evicted_at = at;
    list_remove(&topic->in_evicted);
    list_push_back(&b->evicted, &topic->in_evicted);
}

/* ---- The page. ---- */

static bool
has_few_topics(const struct backend *b, uint64_t since)
{
    const struct list *it = b->recent.prev;

    for (unsigned n = 0; n <= FEW_TOPICS; n++, it = it->prev)
        if (it == &b->recent || list_entry(it, struct store_topic, in_recent)->now.last_seq <= since)
            return true;
    return false;
}

static void
page_forget(struct reading *r)
{
    for (size_t i = 0; i < r->n_found; i++)
        record_unref(r->found[i].record);
    r->n_found = 0;
    r->n_sources = 0;
    r->is_wide = r->is_cut_short = false;
}

static bool
is_full(const struct reading *r, uint64_t bytes)
{
    const struct store_read *read = &r->read;

    return r->n_found > 0 && ((read->max_records > 0 && r->n_found >= read->max_records) ||
                                 (read->max_bytes > 0 && bytes >= read->max_bytes));
}

/* 1: the page is filled; 0: too much was not wanted; negative errno. */
static int
page_from_cache(struct backend *b, struct reading *r)
{
    uint64_t skipped_max = SKIPPED_FOR_TOPIC * b->stats.n_topics + SKIPPED_MIN, n_skipped = 0, bytes = 0;
    int64_t wall_ms = loop_wall_ms(b->loop);

    if (skipped_max > SKIPPED_MAX)
        skipped_max = SKIPPED_MAX;
    r->found_upto = r->read.since;
    for (struct list *at = seqlist_above(&b->cache, r->read.since); at != &b->cache.all; at = at->next) {
        const struct cached *c = list_entry(at, struct cached, in_all);
        struct record *record = c->record;
        int error;

        if (!wide_wants(r, c->topic)) {
            if (++n_skipped > skipped_max)
                return 0;
        } else if (record->expires_ms == 0 || record->expires_ms > wall_ms) {
            r->is_cut_short = is_full(r, bytes);
            if (r->is_cut_short)
                return 1;
            error = topic_list(r, c->topic);
            if (error == 0)
                error = reading_add_found(
                    r, (struct found){.seq = record->seq, .topic = c->topic, .record = record_ref(record)});
            if (error < 0)
                return error;
            bytes += record_size(record);
        }
        r->found_upto = record->seq;
    }
    r->found_upto = r->upto;
    return 1;
}

int
wide_begin(struct backend *b, struct reading *r)
{
    const struct store_read *read = &r->read;
    int error;

    if (read->topics != NULL || read->last > 0 || has_few_topics(b, read->since))
        return WIDE_NOT;
    r->upto = b->last_seq;
    r->wall_ms = loop_wall_ms(b->loop);
    if (read->since < b->cache_floor) {
        if (b->stats.n_records == 0 || b->is_id_lost)
            return WIDE_NOT;
        r->is_wide = true;
        reading_hand_over(b, r);
        return WIDE_ASKED;
    }
    error = page_from_cache(b, r);
    if (error <= 0) {
        page_forget(r);
        return error < 0 ? error : WIDE_NOT;
    }
    r->state = READING_PAGE;
    reading_start_trims(b, r);
    return WIDE_PAGE;
}

/* Those that are not wanted go. */
int
wide_on_found(struct backend *b, struct reading *r)
{
    size_t n = 0;
    int error = 0;

    for (size_t i = 0; i < r->n_found; i++) {
        struct found *found = &r->found[i];

        found->topic = table_find(&b->by_id, slice_of(&found->id, sizeof(found->id)));
        if (error == 0 && found->topic != NULL && wide_wants(r, found->topic)) {
            error = topic_list(r, found->topic);
            r->found[n++] = *found;
        } else {
            record_unref(found->record);
        }
    }
    r->n_found = n;
    if (error < 0)
        return error;
    if (n == 0 && r->is_cut_short) { /* there may be very much of that kind */
        page_forget(r);
        return WIDE_NOT;
    }
    r->state = READING_PAGE;
    reading_start_trims(b, r);
    return WIDE_PAGE;
}

void
wide_tell_gaps(struct backend *b, struct reading *r)
{
    const struct store_read *read = &r->read;

    if (b->dropped_seq > read->since)
        read->on_gap(NULL, b->dropped_seq, read->arg);
    for (struct list *it = b->evicted.prev; it != &b->evicted; it = it->prev) {
        struct store_topic *topic = list_entry(it, struct store_topic, in_evicted);

        if (topic->evicted_at <= read->since || topic->evicted_at < read->told_at)
            return; /* so have all before it */
        if (topic->now.evicted_seq > read->since && !topic->limits.is_unrecoverable && wide_wants(r, topic))
            read->on_gap(topic->cookie, topic->now.evicted_seq, read->arg);
    }
}
