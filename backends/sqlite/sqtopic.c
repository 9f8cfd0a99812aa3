/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics as the writer sees them, inside a transaction: keeping, trimming, dropping. A topic that is changed
 * is touched first, which keeps its figures of before for the case that the transaction fails.
 *
 * What is evicted is given up at once (evicted_seq), its rows are deleted many at a time; where very many may
 * go at once, some in each transaction. To know what goes next, the oldest messages of a topic that is full
 * are held in a window, read from the file so many at a time.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

#define WINDOW_MAX 64u
#define DELETE_AT 64u
#define LEFTOVERS_MAX 2000u /* rows deleted in one transaction of what went at once */

int
topic_touch(struct writer *w, struct store_topic *topic)
{
    if (topic->w.is_touched)
        return 0;
    if (w->n_touched == w->touched_room) {
        size_t room = w->touched_room == 0 ? 64 : w->touched_room * 2;
        struct store_topic **touched = realloc(w->touched, room * sizeof(touched[0]));

        if (touched == NULL)
            return -ENOMEM;
        w->touched = touched;
        w->touched_room = room;
    }
    topic->w.before = topic->w.now;
    if (topic->w.x != NULL)
        topic->w.x->before_retained_end_ms = topic->w.x->retained_end_ms;
    topic->w.is_touched = true;
    w->touched[w->n_touched++] = topic;
    return 0;
}

bool
topic_is_stored(const struct store_topic *topic)
{
    return !topic->w.limits.is_volatile;
}

int
topic_give_row(struct writer *w, struct store_topic *topic)
{
    int r = 0;
    sqlite3_stmt *s;

    if (topic->w.now.id != 0 || !topic_is_stored(topic))
        return 0;
    s = sqdb_get(&w->d, SQDB_TOPIC_NEW, &r);
    if (s == NULL)
        return r;
    (void)sqlite3_bind_text(s, 1, topic->name, topic->n_name, SQLITE_STATIC);
    r = sqdb_step(s);
    (void)sqlite3_reset(s);
    if (r < 0)
        return r;
    topic->w.now.id = (uint64_t)sqlite3_last_insert_rowid(w->d.db);
    return 0;
}

/* ---- The window. ---- */

void
topic_forget_window(struct store_topic *topic)
{
    topic->w.window_at = topic->w.window_n = 0;
}

static int
window_push(struct topic_writing *t, uint64_t seq, uint64_t size, int64_t time_ms)
{
    if (t->window_at + t->window_n == t->window_room && t->window_at > 0) {
        memmove(t->window, t->window + t->window_at, t->window_n * sizeof(t->window[0]));
        t->window_at = 0;
    }
    if (t->window_n == t->window_room) {
        uint32_t room = t->window_room == 0 ? 4 : t->window_room * 2;
        struct topic_oldest *window = realloc(t->window, room * sizeof(window[0]));

        if (window == NULL)
            return -ENOMEM;
        t->window = window;
        t->window_room = room;
    }
    t->window[t->window_at + t->window_n++] = (struct topic_oldest){seq, size, time_ms};
    return 0;
}

/* Reads the oldest again. Nothing although there should be something: the figures were wrong, and are put
 * right. */
static int
window_fill(struct writer *w, struct store_topic *topic)
{
    struct topic_writing *t = &topic->w;
    int r = 0;
    sqlite3_stmt *s = sqdb_get(&w->d, SQDB_MESSAGES_OLDEST, &r);

    if (s == NULL)
        return r;
    topic_forget_window(topic);
    (void)sqlite3_bind_int64(s, 1, (int64_t)t->now.id);
    (void)sqlite3_bind_int64(s, 2, (int64_t)t->now.evicted_seq);
    (void)sqlite3_bind_int64(s, 3, WINDOW_MAX);
    while ((r = sqdb_step(s)) > 0) {
        r = window_push(t, (uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1),
            sqlite3_column_int64(s, 2));
        if (r < 0)
            break;
    }
    (void)sqlite3_reset(s);
    if (r < 0) {
        topic_forget_window(topic);
        return r;
    }
    if (t->window_n == 0) {
        log_error("the store counts %llu messages of %.*s that it does not have",
            (unsigned long long)t->now.n, (int)topic->n_name, topic->name);
        w->now.bytes -= t->now.bytes;
        t->now.n = t->now.bytes = 0;
        t->now.evicted_seq = t->now.last_seq;
        list_remove(&t->in_kept);
    }
    return 0;
}

/* ---- Trimming. ---- */

static int
topic_delete_rows(struct writer *w, struct store_topic *topic)
{
    struct topic_writing *t = &topic->w;
    int r;

    t->n_deletable = 0;
    if (t->x == NULL)
        return sqdb_run(&w->d, SQDB_MESSAGES_DELETE, 2, (int64_t)t->now.id, (int64_t)t->now.evicted_seq);
    r = sqdb_run(&w->d, SQDB_MESSAGES_DELETE_SOME, 3, (int64_t)t->now.id, (int64_t)t->now.evicted_seq,
        (int64_t)LEFTOVERS_MAX);
    list_remove(&t->x->in_leftovers);
    if (r < 0 || sqlite3_changes(w->d.db) == (int)LEFTOVERS_MAX)
        list_push_back(&w->leftovers, &t->x->in_leftovers);
    return r;
}

int
topic_delete_leftovers(struct writer *w)
{
    struct store_topic *topic;

    if (list_empty(&w->leftovers))
        return 0;
    topic = list_entry(w->leftovers.next, struct topic_extra, in_leftovers)->topic;
    return topic_delete_rows(w, topic);
}

/* The window has something. */
static int
topic_evict_oldest(struct writer *w, struct store_topic *topic)
{
    struct topic_writing *t = &topic->w;
    const struct topic_oldest *oldest = &t->window[t->window_at++];

    t->window_n--;
    t->now.evicted_seq = oldest->seq;
    t->now.n--;
    t->now.bytes -= oldest->size;
    w->now.bytes -= oldest->size;
    w->now.n_evicted++;
    if (t->now.n == 0)
        list_remove(&t->in_kept);
    return ++t->n_deletable >= DELETE_AT ? topic_delete_rows(w, topic) : 0;
}

static bool
topic_is_over(const struct topic_writing *t)
{
    return t->now.n > t->limits.messages || (t->limits.bytes > 0 && t->now.bytes > t->limits.bytes);
}

/* The window has something. */
static bool
oldest_is_held(const struct topic_writing *t)
{
    return t->limits.is_held && t->x != NULL && t->window[t->window_at].seq > t->x->hold_above;
}

static bool
oldest_is_done(const struct topic_writing *t)
{
    return t->x != NULL && t->window[t->window_at].seq <= t->x->trim_upto;
}

/* The window has something: may it go, and has it to? */
static bool
oldest_must_go(const struct topic_writing *t, int64_t wall_ms)
{
    if (oldest_is_done(t))
        return true;
    if (oldest_is_held(t))
        return false;
    return topic_is_over(t) ||
           (t->limits.age_ms > 0 && wall_ms - t->window[t->window_at].time_ms >= (int64_t)t->limits.age_ms);
}

static bool
topic_may_have_to_trim(const struct topic_writing *t)
{
    return t->now.n > 0 && (topic_is_over(t) || t->limits.age_ms > 0 ||
                               (t->x != NULL && t->x->trim_upto > t->now.evicted_seq));
}

/* All of it is done with: that takes no look at each. */
static void
topic_evict_all(struct writer *w, struct store_topic *topic)
{
    struct topic_writing *t = &topic->w;

    w->now.n_evicted += t->now.n;
    w->now.bytes -= t->now.bytes;
    t->now.n = t->now.bytes = 0;
    t->now.evicted_seq = t->now.last_seq;
    t->n_deletable = 0;
    topic_forget_window(topic);
    list_remove(&t->in_kept);
    list_remove(&t->x->in_leftovers);
    list_push_back(&w->leftovers, &t->x->in_leftovers);
}

int
topic_trim(struct writer *w, struct store_topic *topic, int64_t wall_ms)
{
    struct topic_writing *t = &topic->w;
    bool is_held = false;
    int r = 0;

    if (t->now.n > 0 && t->x != NULL && t->x->trim_upto >= t->now.last_seq)
        topic_evict_all(w, topic);
    while (r == 0 && topic_may_have_to_trim(t)) {
        if (times_have_ended(topic, wall_ms)) { /* these go first, for they leave no gap */
            r = times_expire(w, topic, wall_ms);
            continue;
        }
        r = t->window_n == 0 ? window_fill(w, topic) : 0;
        if (r < 0 || t->now.n == 0)
            break;
        is_held = oldest_is_held(t);
        if (!oldest_must_go(t, wall_ms))
            break;
        r = topic_evict_oldest(w, topic);
    }
    if (t->window_n == 0)
        t->now.oldest_ms = OLDEST_UNKNOWN;
    else
        t->now.oldest_ms = is_held ? OLDEST_HELD : t->window[t->window_at].time_ms;
    return r;
}

/* One topic, as far as it has to and may. What is held is not looked at again until that changes. */
static int
topic_trim_for_all(struct writer *w, struct store_topic *topic)
{
    struct topic_writing *t = &topic->w;
    int r = topic_touch(w, topic);

    while (r == 0 && t->now.n > 0 && w->now.bytes > w->options.bytes_max) {
        r = t->window_n == 0 ? window_fill(w, topic) : 0;
        if (r < 0 || t->now.n == 0)
            break;
        if (oldest_is_held(t)) {
            list_remove(&t->in_kept);
            break;
        }
        r = topic_evict_oldest(w, topic);
    }
    return r;
}

/* All topics together: what was appended to the longest ago goes first. */
int
topic_trim_all(struct writer *w)
{
    int r = 0;

    while (r == 0 && w->options.bytes_max > 0 && w->now.bytes > w->options.bytes_max && !list_empty(&w->kept))
        r = topic_trim_for_all(w, list_entry(w->kept.next, struct store_topic, w.in_kept));
    return r;
}

/* To the end of the list, if it has anything that may go; whether it does is found out when it is needed. */
static void
topic_list_last(struct writer *w, struct store_topic *topic)
{
    list_remove(&topic->w.in_kept);
    if (topic->w.now.n > 0)
        list_push_back(&w->kept, &topic->w.in_kept);
}

/* ---- Keeping. ---- */

int
topic_keep(struct writer *w, struct store_topic *topic, const struct record *record)
{
    struct topic_writing *t = &topic->w;
    size_t size = record_size(record);
    bool is_whole = t->window_n == t->now.n,
         is_small = t->limits.age_ms > 0 || t->limits.messages <= WINDOW_MAX;
    int r = 0;
    sqlite3_stmt *s = sqdb_get(&w->d, SQDB_MESSAGE_NEW, &r);

    if (s == NULL)
        return r;
    append_bind(s, t->now.id, record);
    (void)sqlite3_bind_int64(s, 12, (int64_t)size);
    r = append_run(s);
    if (r == 0 && record->expires_ms != 0)
        r = times_note_end(w, topic, record->expires_ms);
    if (r < 0)
        return r;
    t->now.n++;
    t->now.bytes += size;
    w->now.bytes += size;
    topic_list_last(w, topic);
    if (is_whole && t->window_n < WINDOW_MAX && (t->window_n > 0 || is_small))
        r = window_push(t, record->seq, size, record->time_ms);
    if (r == 0)
        r = topic_trim(w, topic, record->time_ms);
    return r == 0 ? topic_trim_all(w) : r;
}

int
topic_mark(struct writer *w, struct command *c, int64_t wall_ms)
{
    struct topic_extra *x = c->x;
    int r = topic_touch(w, c->topic);

    x->hold_above = c->hold_above;
    if (c->trim_upto > x->trim_upto)
        x->trim_upto = c->trim_upto;
    topic_list_last(w, c->topic);
    return r == 0 ? topic_trim(w, c->topic, wall_ms) : r;
}

int
topic_clear_retained(struct writer *w, struct store_topic *topic)
{
    struct topic_writing *t = &topic->w;

    if (!t->now.has_retained)
        return 0;
    t->now.has_retained = false;
    if (t->x != NULL)
        t->x->retained_end_ms = 0;
    return t->now.id != 0 ? sqdb_run(&w->d, SQDB_RETAINED_CLEAR, 1, (int64_t)t->now.id) : 0;
}

int
topic_limit(struct writer *w, struct store_topic *topic, const struct store_limits *limits, int64_t wall_ms)
{
    int r = topic_touch(w, topic);

    topic->w.limits = *limits; /* they hold even if the transaction fails */
    if (r == 0)
        topic_list_last(w, topic);
    if (r == 0 && limits->keeps_no_retained)
        r = topic_clear_retained(w, topic);
    if (r == 0 && topic->w.now.id != 0)
        r = topic_trim(w, topic, wall_ms);
    return r;
}

int
topic_drop(struct writer *w, struct store_topic *topic)
{
    int64_t id = (int64_t)topic->w.now.id;
    uint64_t last = topic->w.now.last_seq;
    int r = topic_touch(w, topic);

    if (r < 0)
        return r;
    w->now.bytes -= topic->w.now.bytes;
    topic->w.now.n = topic->w.now.bytes = 0;
    list_remove(&topic->w.in_kept);
    if (topic->w.x != NULL) {
        list_remove(&topic->w.x->in_leftovers);
        heap_remove(&w->ends, &topic->w.x->in_ends);
    }
    if (last > w->now.dropped_seq && !topic->w.limits.is_unrecoverable)
        w->now.dropped_seq = last;
    if (id == 0)
        return 0;
    r = sqdb_run(&w->d, SQDB_MESSAGES_DROP, 1, id);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_RETAINED_CLEAR, 1, id);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_KEYS_DROP, 1, id);
    if (r == 0)
        w->now.n_keys -= (uint64_t)sqlite3_changes(w->d.db);
    if (r == 0)
        r = times_drop(w, topic);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_TOPIC_DROP, 1, id);
    return r;
}

/* ---- The end of a transaction. ---- */

int
topic_flush(struct writer *w)
{
    int r = 0;

    for (size_t i = 0; i < w->n_touched && r == 0; i++) {
        const struct topic_figures *t = &w->touched[i]->w.now;

        if (t->id != 0)
            r = sqdb_run(&w->d, SQDB_TOPIC_UPDATE, 5, (int64_t)t->id, (int64_t)t->last_seq,
                (int64_t)t->evicted_seq, (int64_t)t->n, (int64_t)t->bytes);
    }
    return r;
}

void
topic_commit_all(struct writer *w)
{
    for (size_t i = 0; i < w->n_touched; i++)
        w->touched[i]->w.is_touched = false;
    w->n_touched = 0;
}

void
topic_roll_back_all(struct writer *w)
{
    for (size_t i = 0; i < w->n_touched; i++) {
        struct topic_writing *t = &w->touched[i]->w;

        t->now = t->before;
        t->is_touched = false;
        t->n_deletable = DELETE_AT; /* not known any more: the next eviction deletes what there is */
        topic_forget_window(w->touched[i]);
        topic_list_last(w, w->touched[i]);
        times_roll_back(w, w->touched[i]);
    }
    w->n_touched = 0;
}
