/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics as the writer sees them, inside a transaction: appending, trimming, dropping. A topic that is
 * changed is touched first, which keeps its figures of before for the case that the transaction fails.
 *
 * What is evicted is given up at once (evicted_seq), its rows are deleted many at a time. To know what goes
 * next, the oldest messages of a topic that is full are held in a window, read from the file so many at a
 * time.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"

#define WINDOW_MAX 64u
#define DELETE_AT 64u
#define PASSED_OVER_MAX 256u /* publish numbers that were not appended, in one row */

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
    topic->w.is_touched = true;
    w->touched[w->n_touched++] = topic;
    return 0;
}

/* Whether it leaves anything in the file. */
static bool
topic_is_stored(const struct store_topic *topic)
{
    return !topic->w.limits.is_volatile;
}

static int
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

static void
window_empty(struct topic_writing *t)
{
    t->window_at = t->window_n = 0;
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
    window_empty(t);
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
        window_empty(t);
        return r;
    }
    if (t->window_n == 0) {
        log_error("the store counts %llu messages of %.*s that it does not have",
            (unsigned long long)t->now.n, (int)topic->n_name, topic->name);
        w->bytes -= t->now.bytes;
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
    topic->w.n_deletable = 0;
    return sqdb_run(
        &w->d, SQDB_MESSAGES_DELETE, 2, (int64_t)topic->w.now.id, (int64_t)topic->w.now.evicted_seq);
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
    w->bytes -= oldest->size;
    w->n_evicted++;
    if (t->now.n == 0)
        list_remove(&t->in_kept);
    return ++t->n_deletable >= DELETE_AT ? topic_delete_rows(w, topic) : 0;
}

static bool
topic_is_over(const struct topic_writing *t)
{
    return t->now.n > t->limits.messages || (t->limits.bytes > 0 && t->now.bytes > t->limits.bytes);
}

int
topic_trim(struct writer *w, struct store_topic *topic, int64_t wall_ms)
{
    struct topic_writing *t = &topic->w;

    while (t->now.n > 0 && (topic_is_over(t) || t->limits.age_ms > 0)) {
        int r = t->window_n == 0 ? window_fill(w, topic) : 0;

        if (r == 0 && t->now.n > 0) {
            if (!topic_is_over(t) && wall_ms - t->window[t->window_at].time_ms < (int64_t)t->limits.age_ms)
                break;
            r = topic_evict_oldest(w, topic);
        }
        if (r < 0)
            return r;
    }
    t->now.oldest_ms = t->window_n > 0 ? t->window[t->window_at].time_ms : OLDEST_UNKNOWN;
    return 0;
}

/* All topics together: what was appended to the longest ago goes first. */
int
topic_trim_all(struct writer *w)
{
    while (w->options.bytes_max > 0 && w->bytes > w->options.bytes_max && !list_empty(&w->kept)) {
        struct store_topic *topic = list_entry(w->kept.next, struct store_topic, w.in_kept);
        int r = topic_touch(w, topic);

        while (r == 0 && topic->w.now.n > 0 && w->bytes > w->options.bytes_max) {
            r = topic->w.window_n == 0 ? window_fill(w, topic) : 0;
            if (r == 0 && topic->w.now.n > 0)
                r = topic_evict_oldest(w, topic);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int
topic_limit(struct writer *w, struct store_topic *topic, const struct store_limits *limits, int64_t wall_ms)
{
    int r = topic_touch(w, topic);

    topic->w.limits = *limits; /* they hold even if the transaction fails */
    if (r == 0 && topic->w.now.id != 0) {
        if (limits->keeps_no_retained)
            r = sqdb_run(&w->d, SQDB_RETAINED_CLEAR, 1, (int64_t)topic->w.now.id);
        if (r == 0)
            r = topic_trim(w, topic, wall_ms);
    }
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
    w->bytes -= topic->w.now.bytes;
    topic->w.now.n = topic->w.now.bytes = 0;
    list_remove(&topic->w.in_kept);
    if (last > w->dropped_seq && !topic->w.limits.is_unrecoverable)
        w->dropped_seq = last;
    if (id == 0)
        return 0;
    r = sqdb_run(&w->d, SQDB_MESSAGES_DROP, 1, id);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_RETAINED_CLEAR, 1, id);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_KEYS_DROP, 1, id);
    if (r == 0)
        w->n_keys -= (uint64_t)sqlite3_changes(w->d.db);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_TOPIC_DROP, 1, id);
    return r;
}

/* ---- Appending. ---- */

/* Binds what a message and a retained value have in common. */
static void
bind_record(sqlite3_stmt *s, uint64_t id, const struct record *record)
{
    (void)sqlite3_bind_int64(s, 1, (int64_t)record->seq);
    (void)sqlite3_bind_int64(s, 2, (int64_t)id);
    (void)sqlite3_bind_int64(s, 3, (int64_t)record->prev);
    (void)sqlite3_bind_int64(s, 4, record->time_ms);
    (void)sqlite3_bind_int(s, 5, record->kind);
    (void)sqlite3_bind_int(s, 6, record->flags);
    sqdb_bind_blob(s, 7, record->type, true);
    sqdb_bind_blob(s, 8, record->key, true);
    sqdb_bind_blob(s, 9, record->headers, false);
    sqdb_bind_blob(s, 10, record->body, record->kind != RECORD_BINARY);
}

static int
run_and_let_go(sqlite3_stmt *s)
{
    int r = sqdb_step(s);

    (void)sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s); /* they point into the record */
    return r < 0 ? r : 0;
}

static int
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
    bind_record(s, t->now.id, record);
    (void)sqlite3_bind_int64(s, 11, (int64_t)size);
    r = run_and_let_go(s);
    if (r < 0)
        return r;
    t->now.n++;
    t->now.bytes += size;
    w->bytes += size;
    list_remove(&t->in_kept);
    list_push_back(&w->kept, &t->in_kept);
    if (is_whole && t->window_n < WINDOW_MAX && (t->window_n > 0 || is_small))
        r = window_push(t, record->seq, size, record->time_ms);
    if (r == 0)
        r = topic_trim(w, topic, record->time_ms);
    return r == 0 ? topic_trim_all(w) : r;
}

static int
topic_retain(struct writer *w, struct command *c)
{
    const struct store_limits *limits = &c->topic->w.limits;
    uint64_t id = c->topic->w.now.id;
    int r = 0;
    sqlite3_stmt *s;

    c->retains = RETAINS_NOT;
    if (limits->keeps_no_retained ||
        !(limits->keeps_last_retained || (c->record->flags & RECORD_RETAIN) != 0))
        return 0;
    c->retains = c->record->body.n > 0 ? RETAINS_SET : RETAINS_CLEAR;
    if (id == 0)
        return 0;
    if (c->retains == RETAINS_CLEAR)
        return sqdb_run(&w->d, SQDB_RETAINED_CLEAR, 1, (int64_t)id);
    s = sqdb_get(&w->d, SQDB_RETAINED_SET, &r);
    if (s == NULL)
        return r;
    bind_record(s, id, c->record);
    return run_and_let_go(s);
}

/* ---- Repeats. ---- */

static struct writer_origin *
origin_begin(struct writer *w, uint64_t boot, uint64_t pub)
{
    struct writer_origin *o;

    if (w->n_origins == w->origins_room) {
        size_t room = w->origins_room == 0 ? 8 : w->origins_room * 2;
        struct writer_origin *origins = realloc(w->origins, room * sizeof(origins[0]));

        if (origins == NULL)
            return NULL;
        memset(origins + w->origins_room, 0, (room - w->origins_room) * sizeof(origins[0]));
        w->origins = origins;
        w->origins_room = room;
    }
    o = &w->origins[w->n_origins++];
    o->boot = boot;
    o->first = pub;
    o->n = 0;
    return o;
}

/* Numbers that were passed over hold a 0. */
static int
origin_add(struct writer *w, uint64_t boot, uint64_t pub, uint64_t seq)
{
    struct writer_origin *o = NULL;

    for (size_t i = w->n_origins; i-- > 0 && o == NULL;)
        if (w->origins[i].boot == boot)
            o = &w->origins[i];
    if (o == NULL || pub < o->first + o->n || pub - (o->first + o->n) > PASSED_OVER_MAX)
        o = origin_begin(w, boot, pub);
    if (o == NULL)
        return -ENOMEM;
    if (pub - o->first >= o->room) {
        size_t room = o->room == 0 ? 64 : o->room * 2;
        uint64_t *seqs;

        while (room <= pub - o->first)
            room *= 2;
        seqs = realloc(o->seqs, room * sizeof(seqs[0]));
        if (seqs == NULL)
            return -ENOMEM;
        o->seqs = seqs;
        o->room = room;
    }
    while (o->n < pub - o->first)
        o->seqs[o->n++] = 0;
    o->seqs[o->n++] = seq;
    return 0;
}

static int
note_origin(struct writer *w, struct store_origin origin, uint64_t seq)
{
    int r;

    if (origin.boot == 0)
        return 0;
    r = origin_add(w, origin.boot, origin.pub, seq);
    if (r == 0)
        dedupe_note_pub(&w->dedupe, origin.boot, origin.pub, seq);
    return r;
}

static bool
has_key(const struct writer *w, const struct command *c)
{
    return record_once(c->record).n > 0 && c->topic->w.now.id != 0 && w->options.key_window_ms > 0 &&
           w->options.keys_max > 0;
}

/* 1: *ret_seq is the one it was published as within the window; 0: it is new; *ret_is_old: though there is an
 * old row. */
static int
find_key(struct writer *w, const struct command *c, uint64_t *ret_seq, bool *ret_is_old)
{
    int r = 0;
    sqlite3_stmt *s = sqdb_get(&w->d, SQDB_KEY_FIND, &r);

    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)c->topic->w.now.id);
    sqdb_bind_blob(s, 2, record_once(c->record), true);
    r = sqdb_step(s);
    if (r > 0) {
        *ret_is_old = c->record->time_ms - sqlite3_column_int64(s, 1) >= (int64_t)w->options.key_window_ms;
        *ret_seq = (uint64_t)sqlite3_column_int64(s, 0);
        r = !*ret_is_old;
    }
    (void)sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return r;
}

static int
note_key(struct writer *w, const struct command *c, bool is_old)
{
    int r = 0;
    sqlite3_stmt *s;

    if (!is_old && w->n_keys >= w->options.keys_max) {
        r = sqdb_run(&w->d, SQDB_KEYS_TRIM, 1, (int64_t)(w->n_keys - w->options.keys_max + 1));
        if (r < 0)
            return r;
        w->n_keys -= (uint64_t)sqlite3_changes(w->d.db);
    }
    s = sqdb_get(&w->d, SQDB_KEY_SET, &r);
    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)c->record->seq);
    (void)sqlite3_bind_int64(s, 2, (int64_t)c->topic->w.now.id);
    sqdb_bind_blob(s, 3, record_once(c->record), true);
    (void)sqlite3_bind_int64(s, 4, c->record->time_ms);
    w->n_keys += !is_old;
    return run_and_let_go(s);
}

/* 1: it is a repeat, and answered. */
static int
check_repeat(struct writer *w, struct command *c, uint64_t now_ms, bool *ret_is_old_key)
{
    uint64_t seq = 0;
    int r;

    c->outcome = APPEND_OK;
    *ret_is_old_key = false;
    if (c->origin.boot != 0) {
        r = dedupe_check_pub(&w->dedupe, c->origin.boot, c->origin.pub, now_ms, &seq);
        if (r < 0)
            return r;
        if (r != DEDUPE_NEW) {
            c->outcome = r == DEDUPE_REPEATED ? APPEND_REPEATED : APPEND_FORGOTTEN;
            c->seq = seq;
            return 1;
        }
    }
    if (!has_key(w, c))
        return 0;
    r = find_key(w, c, &seq, ret_is_old_key);
    if (r <= 0)
        return r;
    c->outcome = APPEND_REPEATED;
    c->seq = seq;
    r = note_origin(w, c->origin, seq);
    return r < 0 ? r : 1;
}

static int
append_new(struct writer *w, struct command *c, bool has_old_key)
{
    struct store_topic *topic = c->topic;
    struct record *record = c->record;
    int r;

    record->seq = c->seq = ++w->last_seq;
    record->prev = topic->w.now.last_seq;
    topic->w.now.last_seq = record->seq;
    c->is_kept = topic->w.limits.messages > 0;
    if (c->is_kept) {
        r = topic_keep(w, topic, record);
    } else {
        topic->w.now.evicted_seq = record->seq;
        w->n_evicted++;
        r = 0;
    }
    if (r == 0)
        r = topic_retain(w, c);
    if (r == 0 && has_key(w, c))
        r = note_key(w, c, has_old_key);
    if (r == 0)
        r = note_origin(w, c->origin, record->seq);
    return r;
}

int
topic_append(struct writer *w, struct command *c)
{
    struct timespec now;
    bool has_old_key;
    int r = topic_touch(w, c->topic);

    if (r == 0)
        r = topic_give_row(w, c->topic);
    if (r < 0)
        return r;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    r = check_repeat(w, c, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, &has_old_key);
    if (r > 0)
        w->n_repeated++;
    return r == 0 ? append_new(w, c, has_old_key) : r < 0 ? r : 0;
}

/* ---- The end of a transaction. ---- */

static int
flush_origins(struct writer *w)
{
    struct timespec now;
    int r = 0;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < w->n_origins && r == 0; i++) {
        const struct writer_origin *o = &w->origins[i];
        sqlite3_stmt *s = sqdb_get(&w->d, SQDB_PUBLISHES_NEW, &r);

        if (s == NULL)
            return r;
        (void)sqlite3_bind_int64(s, 1, (int64_t)o->boot);
        (void)sqlite3_bind_int64(s, 2, (int64_t)o->first);
        (void)sqlite3_bind_int64(s, 3, (int64_t)o->n);
        (void)sqlite3_bind_blob(s, 4, o->seqs, (int)(o->n * sizeof(o->seqs[0])), SQLITE_STATIC);
        (void)sqlite3_bind_int64(s, 5, (int64_t)now.tv_sec * 1000);
        r = run_and_let_go(s);
    }
    return r;
}

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
    return r == 0 ? flush_origins(w) : r;
}

void
topic_commit_all(struct writer *w)
{
    for (size_t i = 0; i < w->n_touched; i++)
        w->touched[i]->w.is_touched = false;
    w->n_touched = w->n_origins = 0;
}

void
topic_roll_back_all(struct writer *w)
{
    for (size_t i = 0; i < w->n_touched; i++) {
        struct topic_writing *t = &w->touched[i]->w;

        t->now = t->before;
        t->is_touched = false;
        t->n_deletable = DELETE_AT; /* not known any more: the next eviction deletes what there is */
        window_empty(t);
        list_remove(&t->in_kept);
        if (t->now.n > 0)
            list_push_back(&w->kept, &t->in_kept);
    }
    for (size_t i = 0; i < w->n_origins; i++)
        for (uint64_t k = 0; k < w->origins[i].n; k++)
            if (w->origins[i].seqs[k] != 0)
                dedupe_undo_pub(&w->dedupe, w->origins[i].boot, w->origins[i].first + k);
    w->n_touched = w->n_origins = 0;
}
