/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making room in a queue. Nothing here is done for a client that reads fast enough; for one that does not it
 * is work in proportion to its queue, and each time at least an eighth of the queue becomes free, or the
 * client is let go.
 *
 *     answers         stay
 *     disconnect      stay; if they alone fill the queue, the client is too slow
 *     drop_oldest     go
 *     conflate        go but for the last of each topic, or of each key of it, to each subscription; if those
 *                     fill half of the queue, the oldest of them too
 *     catch_up        if there are any, all live deliveries go, and their subscriptions are set back to where
 *                     the first of them stood: a subscription has one position for all its topics
 */
#include "config.h"

#include "frontends/sdk/slow.h"

#include "base/json.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/session.h"

#include <errno.h>
#include <stdlib.h>

#define TOPICS_MAX 32u
/* The figures of a process have 16 KiB in all. */
#define STATS_MAX 12288u

/* ---- Figures by topic. ---- */

enum slow_figure { SLOW_DROPPED, SLOW_CONFLATED, SLOW_PUT_OFF, SLOW_DISCONNECTED, SLOW_N_FIGURES };

static const char *const slow_names[] = {"dropped", "conflated", "put_off", "disconnected"};

struct slow_topic {
    struct slice name; /* allocated */
    uint32_t tag;      /* of the last mark that was this topic's */
    uint64_t figures[SLOW_N_FIGURES];
};

struct slow_topics {
    unsigned n;
    struct slow_topic *last; /* found */
    struct slow_topic topics[TOPICS_MAX], others;
};

struct slow_topics *
slow_topics_free(struct slow_topics *topics)
{
    if (topics == NULL)
        return NULL;
    for (unsigned i = 0; i < topics->n; i++)
        free((void *)(uintptr_t)topics->topics[i].name.p);
    free(topics);
    return NULL;
}

/* By name: the topic was seen on another link, or never. */
static struct slow_topic *
slow_topic_named(struct slow_topics *all, struct slice name)
{
    uint8_t *copy;

    for (unsigned i = 0; i < all->n; i++)
        if (slice_equal(all->topics[i].name, name))
            return &all->topics[i];
    if (name.n == 0 || all->n == TOPICS_MAX || (copy = malloc(name.n)) == NULL)
        return &all->others;
    memcpy(copy, name.p, name.n);
    all->topics[all->n].name = slice_of(copy, name.n);
    return &all->topics[all->n++];
}

static void
slow_count(struct frontend *fe, const struct block_mark *mark, enum slow_figure figure)
{
    struct slow_topics *all = fe->slow_topics;

    if (all == NULL) {
        all = fe->slow_topics = calloc(1, sizeof *all);
        if (all == NULL)
            return;
    }
    for (unsigned i = 0; i < all->n && (all->last == NULL || all->last->tag != mark->tag); i++)
        if (all->topics[i].tag == mark->tag)
            all->last = &all->topics[i];
    if (all->last == NULL || all->last->tag != mark->tag) {
        all->last = slow_topic_named(all, hub_topic_name(fe->hub, mark->handle, mark->tag));
        all->last->tag = mark->tag;
    }
    all->last->figures[figure]++;
}

static void
slow_put_topic(struct buf *out, const struct slow_topic *topic, struct slice name)
{
    json_put_string(out, name);
    buf_put_byte(out, ':');
    for (unsigned i = 0; i < SLOW_N_FIGURES; i++) {
        buf_put_str(out, i == 0 ? "{\"" : ",\"");
        buf_put_str(out, slow_names[i]);
        buf_put_str(out, "\":");
        buf_put_u64(out, topic->figures[i]);
    }
    buf_put_byte(out, '}');
}

void
slow_put_stats(const struct frontend *fe, struct buf *out)
{
    const struct slow_topics *all = fe->slow_topics;
    struct slow_topic others;

    if (all == NULL)
        return;
    others = all->others;
    buf_put_str(out, ",\"slow\":{");
    for (unsigned i = 0; i < all->n; i++) {
        /* An escaped name may have six times its length. */
        if (out->n + all->topics[i].name.n * 6 < STATS_MAX) {
            slow_put_topic(out, &all->topics[i], all->topics[i].name);
            buf_put_byte(out, ',');
            continue;
        }
        for (unsigned k = 0; k < SLOW_N_FIGURES; k++)
            others.figures[k] += all->topics[i].figures[k];
    }
    /* No topic has an empty name. */
    slow_put_topic(out, &others, slice_of(NULL, 0));
    buf_put_byte(out, '}');
}

/* ---- Looking through the queue. ---- */

struct last { /* of a thing, in the order of the queue */
    uint64_t value;
    uint32_t at;
};

struct overflow {
    struct session *s;
    struct conn *c;
    struct frontend *fe;
    bool is_setting_back, is_failed;
    uint32_t n_conflate, n_seen; /* messages of conflate topics: of all, passed so far */
    struct last *lasts;          /* a table of n_lasts, a power of two; a free place has value 0 */
    uint32_t n_lasts;
    struct hub_hole *holes;
    size_t n_holes;
    size_t left, enough; /* bytes of the queue, and of how many it may have */
};

static bool
is_live(const struct block_mark *mark)
{
    return mark->policy != BLOCK_NOTICE && !mark->is_replay;
}

static void
overflow_look(const struct block *block, const struct block_mark *mark, void *arg)
{
    struct overflow *o = arg;

    (void)block;
    o->is_setting_back = o->is_setting_back || (mark->policy == SLOW_CATCH_UP && is_live(mark));
    o->n_conflate += mark->policy == SLOW_CONFLATE;
}

/* The queue, then what is to follow it. */
static void
overflow_each(struct overflow *o, conn_mark_fn fn)
{
    const struct out_piece *in = &o->fe->incoming;

    conn_each_mark(o->c, fn, o);
    for (uint32_t i = block_find_mark(in->block, in->at); i < in->block->n_marks; i++)
        if (in->block->marks[i].at >= in->at && in->block->marks[i].at < in->at + in->n)
            fn(in->block, &in->block->marks[i], o);
}

static const struct block_mark *
overflow_first_incoming(const struct overflow *o)
{
    const struct out_piece *in = &o->fe->incoming;
    uint32_t i = block_find_mark(in->block, in->at);

    return i < in->block->n_marks && in->block->marks[i].at < in->at + in->n ? &in->block->marks[i] : NULL;
}

/* ---- Setting back. ---- */

static void
overflow_note_hole(const struct block *block, const struct block_mark *mark, void *arg)
{
    struct overflow *o = arg;
    struct hub_hole *holes;

    if (!is_live(mark))
        return;
    for (size_t i = o->n_holes; i > 0; i--)
        if (o->holes[i - 1].group == mark->group)
            return;
    holes = realloc(o->holes, (o->n_holes + 1) * sizeof *holes);
    if (holes == NULL) {
        o->is_failed = true;
        return;
    }
    o->holes = holes;
    holes[o->n_holes++] = (struct hub_hole){.group = mark->group, .epoch = block->epoch, .seq = mark->seq};
}

static void
overflow_count_put_off(const struct block *block, const struct block_mark *mark, void *arg)
{
    struct overflow *o = arg;

    (void)block;
    if (!is_live(mark))
        return;
    o->fe->counters.put_off++;
    slow_count(o->fe, mark, SLOW_PUT_OFF);
}

static bool
overflow_keeps_replay(const struct block *block, const struct block_mark *mark, void *arg)
{
    struct overflow *o = arg;

    (void)block;
    if (mark->policy == BLOCK_NOTICE)
        session_note_dropped(o->s, mark->seq);
    return mark->is_replay;
}

static enum conn_room
overflow_set_back(struct overflow *o)
{
    const struct block_mark *first = overflow_first_incoming(o);
    int r;

    overflow_each(o, overflow_note_hole);
    if (o->is_failed)
        return CONN_ROOM_NONE;
    overflow_each(o, overflow_count_put_off);
    if (conn_filter_queue(o->c, overflow_keeps_replay, o) < 0)
        return CONN_ROOM_NONE;
    r = hub_set_back(o->fe->hub, o->s, o->holes, o->n_holes);
    if (r < 0)
        return CONN_ROOM_NONE;
    return first != NULL && is_live(first) ? CONN_ROOM_SKIP : CONN_ROOM_MADE;
}

/* ---- Leaving out. ---- */

static struct last *
overflow_last_of(struct overflow *o, uint64_t value)
{
    uint32_t i = (uint32_t)value & (o->n_lasts - 1);

    while (o->lasts[i].value != 0 && o->lasts[i].value != value)
        i = (i + 1) & (o->n_lasts - 1);
    o->lasts[i].value = value;
    return &o->lasts[i];
}

static void
overflow_note_last(const struct block *block, const struct block_mark *mark, void *arg)
{
    struct overflow *o = arg;

    (void)block;
    if (mark->policy == SLOW_CONFLATE)
        overflow_last_of(o, mark->value)->at = o->n_seen++;
}

static void
overflow_drop(struct overflow *o, const struct block_mark *mark, enum slow_figure figure)
{
    if (figure == SLOW_CONFLATED)
        o->fe->counters.conflated++;
    else
        o->fe->counters.dropped++;
    slow_count(o->fe, mark, figure);
    session_note_dropped(o->s, 1);
}

static bool
overflow_keeps(const struct block *block, const struct block_mark *mark, void *arg)
{
    struct overflow *o = arg;

    (void)block;
    switch (mark->policy) {
    case BLOCK_NOTICE:
        session_note_dropped(o->s, mark->seq);
        return false;
    case SLOW_DROP_OLDEST:
        overflow_drop(o, mark, SLOW_DROPPED);
        return false;
    case SLOW_CONFLATE:
        if (overflow_last_of(o, mark->value)->at == o->n_seen++)
            return true;
        overflow_drop(o, mark, SLOW_CONFLATED);
        return false;
    default:
        return true;
    }
}

/* The oldest of the last ones, until there is room. */
static bool
overflow_keeps_newest(const struct block *block, const struct block_mark *mark, void *arg)
{
    struct overflow *o = arg;

    (void)block;
    if (mark->policy != SLOW_CONFLATE || o->left <= o->enough)
        return true;
    o->left -= mark->n;
    overflow_drop(o, mark, SLOW_DROPPED);
    return false;
}

static int
overflow_leave_out(struct overflow *o)
{
    for (o->n_lasts = 16; o->n_lasts < o->n_conflate * 2; o->n_lasts *= 2)
        ;
    o->lasts = calloc(o->n_lasts, sizeof *o->lasts);
    if (o->lasts == NULL)
        return -ENOMEM;
    overflow_each(o, overflow_note_last);
    o->n_seen = 0;
    if (conn_filter_queue(o->c, overflow_keeps, o) < 0)
        return -ENOMEM;
    o->left = o->c->out_bytes;
    o->enough = o->fe->limits->queue_bytes / 2;
    if (o->n_conflate > 0 && o->left > o->enough)
        return conn_filter_queue(o->c, overflow_keeps_newest, o);
    return 0;
}

/* What is left may fill the queue to seven eighths. A replay comes only when there was room for it; and what
 * one turn brought together may be more than is left of the queue, but can be thrown away the next time. */
static bool
overflow_has_room(const struct overflow *o)
{
    const struct block_mark *first = overflow_first_incoming(o);
    size_t max = o->fe->limits->queue_bytes;

    if (first != NULL && first->is_replay)
        return true;
    if (o->c->out_bytes > max - max / 8)
        return false;
    if (first != NULL && (first->policy == SLOW_DROP_OLDEST || first->policy == SLOW_CONFLATE))
        return true;
    return o->c->out_bytes + o->fe->incoming.n <= max;
}

static enum conn_room
overflow_run(struct overflow *o)
{
    const struct block_mark *first;

    overflow_each(o, overflow_look);
    if (o->is_setting_back)
        return overflow_set_back(o);
    if (overflow_leave_out(o) == 0 && overflow_has_room(o))
        return CONN_ROOM_MADE;
    first = overflow_first_incoming(o);
    if (first != NULL)
        slow_count(o->fe, first, SLOW_DISCONNECTED);
    return CONN_ROOM_NONE;
}

enum conn_room
session_overflow(struct session *s, struct conn *c)
{
    struct overflow o = {.s = s, .c = c, .fe = s->fe};
    enum conn_room room = overflow_run(&o);

    free(o.lasts);
    free(o.holes);
    return room;
}
