/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message as the writer sees it, inside a transaction: whether it is a repeat, its number, its row, the
 * retained value. What the topic then has to evict is in sqtopic.c, what is not due yet goes to sqtimes.c.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define PASSED_OVER_MAX 256u /* publish numbers that were not appended, in one row */

/* ---- Rows. ---- */

/* What a message, one that is kept aside and a retained value have in common. */
void
append_bind(sqlite3_stmt *s, uint64_t topic, const struct record *record)
{
    (void)sqlite3_bind_int64(s, 1, (int64_t)record->seq);
    (void)sqlite3_bind_int64(s, 2, (int64_t)topic);
    (void)sqlite3_bind_int64(s, 3, (int64_t)record->prev);
    (void)sqlite3_bind_int64(s, 4, record->time_ms);
    (void)sqlite3_bind_int(s, 5, record->kind);
    (void)sqlite3_bind_int(s, 6, record->flags);
    sqdb_bind_blob(s, 7, record_type(record), true);
    sqdb_bind_blob(s, 8, record_key(record), true);
    sqdb_bind_blob(s, 9, record_headers(record), false);
    sqdb_bind_blob(s, 10, record_body(record), record->kind != RECORD_BINARY);
    (void)sqlite3_bind_int64(s, 11, record->expires_ms);
}

int
append_run(sqlite3_stmt *s)
{
    int r = sqdb_step(s);

    (void)sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s); /* they point into the record */
    return r < 0 ? r : 0;
}

static int
append_retain(struct writer *w, struct command *c)
{
    struct topic_writing *t = &c->topic->w;
    int r = 0;
    sqlite3_stmt *s;

    c->retains = RETAINS_NOT;
    if (t->limits.keeps_no_retained ||
        !(t->limits.keeps_last_retained || (c->record->flags & RECORD_RETAIN) != 0))
        return 0;
    c->retains = c->record->n_body > 0 ? RETAINS_SET : RETAINS_CLEAR;
    if (c->retains == RETAINS_CLEAR)
        return topic_clear_retained(w, c->topic);
    t->now.has_retained = true;
    if (t->x != NULL)
        t->x->retained_end_ms = c->record->expires_ms;
    if (c->record->expires_ms != 0)
        r = times_note_end(w, c->topic, c->record->expires_ms);
    if (r < 0 || t->now.id == 0)
        return r;
    s = sqdb_get(&w->d, SQDB_RETAINED_SET, &r);
    if (s == NULL)
        return r;
    append_bind(s, t->now.id, c->record);
    return append_run(s);
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
    o->is_written = false;
    return o;
}

/* Numbers that were passed over hold a 0. */
static int
origin_add(struct writer *w, uint64_t boot, uint64_t pub, uint64_t seq, bool is_stored)
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
    o->is_written |= is_stored;
    return 0;
}

/* What is not in the file is no repeat after a restart: its publisher may have meant to be forgotten. */
static int
note_origin(struct writer *w, const struct command *c, uint64_t seq)
{
    int r;

    if (c->origin.boot == 0)
        return 0;
    r = origin_add(w, c->origin.boot, c->origin.pub, seq, c->topic->w.now.id != 0);
    if (r == 0)
        dedupe_note_pub(&w->dedupe, c->origin.boot, c->origin.pub, seq);
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
note_key(struct writer *w, const struct command *c, uint64_t seq, bool is_old)
{
    int r = 0;
    sqlite3_stmt *s;

    if (!is_old && w->now.n_keys >= w->options.keys_max) {
        r = sqdb_run(&w->d, SQDB_KEYS_TRIM, 1, (int64_t)(w->now.n_keys - w->options.keys_max + 1));
        if (r < 0)
            return r;
        w->now.n_keys -= (uint64_t)sqlite3_changes(w->d.db);
    }
    s = sqdb_get(&w->d, SQDB_KEY_SET, &r);
    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)seq);
    (void)sqlite3_bind_int64(s, 2, (int64_t)c->topic->w.now.id);
    sqdb_bind_blob(s, 3, record_once(c->record), true);
    (void)sqlite3_bind_int64(s, 4, c->record->time_ms);
    w->now.n_keys += !is_old;
    return append_run(s);
}

static void
answer_repeat(struct command *c, enum append_outcome outcome, uint64_t seq)
{
    bool was_aside = outcome == APPEND_REPEATED && dedupe_is_aside(seq, &seq);

    c->outcome = was_aside ? APPEND_SCHEDULED : outcome;
    c->seq = seq;
}

/* 1: it is a repeat, and answered. */
static int
check_repeat(struct writer *w, struct command *c, bool *ret_is_old_key)
{
    struct timespec now;
    uint64_t seq = 0;
    int r;

    *ret_is_old_key = false;
    if (c->origin.boot != 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        r = dedupe_check_pub(&w->dedupe, c->origin.boot, c->origin.pub,
            (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, &seq);
        if (r < 0)
            return r;
        if (r != DEDUPE_NEW) {
            answer_repeat(c, r == DEDUPE_REPEATED ? APPEND_REPEATED : APPEND_FORGOTTEN, seq);
            return 1;
        }
    }
    if (!has_key(w, c))
        return 0;
    r = find_key(w, c, &seq, ret_is_old_key);
    if (r <= 0)
        return r;
    answer_repeat(c, APPEND_REPEATED, seq);
    r = note_origin(w, c, seq);
    return r < 0 ? r : 1;
}

/* ---- Appending. ---- */

static bool
is_kept(const struct topic_writing *t, uint64_t seq)
{
    if (t->now.id == 0)
        return false;
    return t->limits.messages > 0 || (t->limits.is_held && t->x != NULL && seq > t->x->hold_above);
}

/* Gives it its number. */
static int
append_number(struct writer *w, struct command *c)
{
    struct store_topic *topic = c->topic;
    struct record *record = c->record;
    int r = 0;

    record->seq = c->seq = ++w->now.last_seq;
    record->prev = topic->w.now.last_seq;
    record->due_ms = 0;
    topic->w.now.last_seq = record->seq;
    c->outcome = APPEND_OK;
    c->is_kept = is_kept(&topic->w, record->seq);
    if (c->is_kept) {
        r = topic_keep(w, topic, record);
    } else {
        topic->w.now.evicted_seq = record->seq;
        w->now.n_evicted++;
    }
    return r == 0 ? append_retain(w, c) : r;
}

static int
append_new(struct writer *w, struct command *c, bool has_old_key)
{
    bool is_aside = c->record->due_ms > c->record->time_ms && c->topic->w.now.id != 0;
    int r = is_aside ? times_put_aside(w, c) : append_number(w, c);
    uint64_t seq = is_aside ? dedupe_aside(c->record->due_ms) : c->seq;

    if (r == 0 && has_key(w, c))
        r = note_key(w, c, seq, has_old_key);
    return r == 0 ? note_origin(w, c, seq) : r;
}

int
append_do(struct writer *w, struct command *c)
{
    bool has_old_key;
    int r = topic_touch(w, c->topic);

    if (r == 0)
        r = topic_give_row(w, c->topic);
    if (r == 0)
        r = check_repeat(w, c, &has_old_key);
    if (r > 0)
        w->now.n_repeated++;
    return r == 0 ? append_new(w, c, has_old_key) : r < 0 ? r : 0;
}

int
append_due(struct writer *w, struct command *c)
{
    return append_number(w, c);
}

/* ---- The end of a transaction. ---- */

int
append_flush(struct writer *w)
{
    struct timespec now;
    int r = 0;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < w->n_origins && r == 0; i++) {
        const struct writer_origin *o = &w->origins[i];
        sqlite3_stmt *s;

        if (!o->is_written)
            continue;
        s = sqdb_get(&w->d, SQDB_PUBLISHES_NEW, &r);
        if (s == NULL)
            return r;
        (void)sqlite3_bind_int64(s, 1, (int64_t)o->boot);
        (void)sqlite3_bind_int64(s, 2, (int64_t)o->first);
        (void)sqlite3_bind_int64(s, 3, (int64_t)o->n);
        (void)sqlite3_bind_blob(s, 4, o->seqs, (int)(o->n * sizeof(o->seqs[0])), SQLITE_STATIC);
        (void)sqlite3_bind_int64(s, 5, (int64_t)now.tv_sec * 1000);
        r = append_run(s);
    }
    return r;
}

void
append_commit_all(struct writer *w)
{
    w->n_origins = 0;
}

void
append_roll_back_all(struct writer *w)
{
    for (size_t i = 0; i < w->n_origins; i++)
        for (uint64_t k = 0; k < w->origins[i].n; k++)
            if (w->origins[i].seqs[k] != 0)
                dedupe_undo_pub(&w->dedupe, w->origins[i].boot, w->origins[i].first + k);
    w->n_origins = 0;
}
