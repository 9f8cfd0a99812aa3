/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time, as the writer sees it, inside a transaction: messages and retained values that end, and messages that
 * are kept aside until they are due.
 *
 * Topics with something that ends stand in a heap by the time of the next, or by a time before it: what went
 * for another reason is not looked for. The ends themselves are in an index of the file. What is kept aside
 * is in the file alone; of its topics the writer knows the rows, and of all of it the time of the next.
 */
#include "config.h"

#include "backends/sqlite/sqload.h"
#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>

#define EXPIRE_MAX 500u  /* messages of a topic at once */
#define EXPIRE_TICK 5000 /* in one tick, about */
#define DUE_MAX 500u     /* in one transaction */
#define DUE_BYTES (8u << 20)

static struct slice
known_id_of(const void *value)
{
    const struct topic_extra *x = value;

    return slice_of(&x->known_id, sizeof(x->known_id));
}

void
times_init(struct writer *w)
{
    table_init(&w->by_id, known_id_of);
}

void
times_fini(struct writer *w)
{
    heap_fini(&w->ends);
    table_fini(&w->by_id);
}

/* ---- What ends. ---- */

int
times_note_end(struct writer *w, struct store_topic *topic, int64_t end_ms)
{
    struct heap_node *node = &topic->w.x->in_ends;

    if (heap_has(node)) {
        if (end_ms < node->key)
            heap_move(&w->ends, node, end_ms, 0);
        return 0;
    }
    if (heap_reserve(&w->ends, 1) < 0)
        return -ENOMEM;
    heap_push(&w->ends, node, end_ms, 0);
    return 0;
}

bool
times_have_ended(const struct store_topic *topic, int64_t wall_ms)
{
    const struct topic_extra *x = topic->w.x;

    return x != NULL && heap_has(&x->in_ends) && x->in_ends.key <= wall_ms;
}

/* Negative errno, or how many there are. */
static int
find_ended(
    struct writer *w, const struct store_topic *topic, int64_t wall_ms, struct topic_oldest found[EXPIRE_MAX])
{
    int n = 0, r = 0;
    sqlite3_stmt *s = sqdb_get(&w->d, SQDB_ENDS_FIND, &r);

    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)topic->w.now.id);
    (void)sqlite3_bind_int64(s, 2, wall_ms);
    (void)sqlite3_bind_int64(s, 3, EXPIRE_MAX);
    while ((r = sqdb_step(s)) > 0)
        found[n++] = (struct topic_oldest){
            .seq = (uint64_t)sqlite3_column_int64(s, 0), .size = (uint64_t)sqlite3_column_int64(s, 1)};
    (void)sqlite3_reset(s);
    return r < 0 ? r : n;
}

/* Those that were evicted before are not counted any more. */
static int
delete_ended(struct writer *w, struct store_topic *topic, const struct topic_oldest *found, int n)
{
    struct topic_writing *t = &topic->w;
    int r = 0;

    for (int i = 0; i < n && r == 0; i++) {
        r = sqdb_run(&w->d, SQDB_MESSAGE_DELETE, 1, (int64_t)found[i].seq);
        if (r < 0 || found[i].seq <= t->now.evicted_seq)
            continue;
        t->now.n--;
        t->now.bytes -= found[i].size;
        w->now.bytes -= found[i].size;
        w->now.n_expired++;
    }
    topic_forget_window(topic);
    if (t->now.n == 0)
        list_remove(&t->in_kept);
    return r;
}

/* Of its messages; INT64_MAX: none has an end. */
static int
find_next_end(struct writer *w, const struct store_topic *topic, int64_t *ret)
{
    int r = 0;
    sqlite3_stmt *s;

    *ret = INT64_MAX;
    if (topic->w.now.id == 0)
        return 0;
    s = sqdb_get(&w->d, SQDB_ENDS_NEXT, &r);
    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)topic->w.now.id);
    r = sqdb_step(s);
    if (r > 0 && sqlite3_column_type(s, 0) == SQLITE_INTEGER)
        *ret = sqlite3_column_int64(s, 0);
    (void)sqlite3_reset(s);
    return r < 0 ? r : 0;
}

int
times_expire(struct writer *w, struct store_topic *topic, int64_t wall_ms)
{
    struct topic_oldest found[EXPIRE_MAX];
    struct topic_extra *x = topic->w.x;
    int64_t next_ms = wall_ms;
    int n = 0, r = topic_touch(w, topic);

    if (r == 0 && topic->w.now.id != 0)
        n = r = find_ended(w, topic, wall_ms, found);
    if (r > 0)
        r = delete_ended(w, topic, found, n);
    if (r == 0 && x->retained_end_ms != 0 && x->retained_end_ms <= wall_ms)
        r = topic_clear_retained(w, topic);
    if (r == 0 && n < (int)EXPIRE_MAX)
        r = find_next_end(w, topic, &next_ms);
    if (r < 0)
        return r;
    if (x->retained_end_ms != 0 && x->retained_end_ms < next_ms)
        next_ms = x->retained_end_ms;
    heap_move(&w->ends, &x->in_ends, next_ms, 0);
    return 0;
}

int
times_expire_all(struct writer *w, int64_t wall_ms)
{
    uint64_t until = w->now.n_expired + EXPIRE_TICK;
    struct heap_node *next;
    int r = 0;

    for (unsigned n = 0; r == 0 && n < EXPIRE_TICK && (next = heap_top(&w->ends)) != NULL; n++) {
        if (next->key > wall_ms || w->now.n_expired >= until)
            break;
        r = times_expire(w, heap_entry(next, struct topic_extra, in_ends)->topic, wall_ms);
    }
    next = heap_top(&w->ends);
    w->has_more_ends = next != NULL && next->key <= wall_ms;
    return r;
}

/* ---- What is due later. ---- */

int
times_know(struct writer *w, struct topic_extra *x, uint64_t id)
{
    int r;

    if (x->known_id != 0)
        return 0;
    x->known_id = id;
    r = table_insert(&w->by_id, x);
    if (r < 0)
        x->known_id = 0;
    return r;
}

static void
by_id_remove(struct writer *w, struct topic_extra *x)
{
    if (x->known_id == 0)
        return;
    (void)table_remove(&w->by_id, slice_of(&x->known_id, sizeof(x->known_id)));
    x->known_id = 0;
}

int
times_put_aside(struct writer *w, struct command *c)
{
    struct topic_writing *t = &c->topic->w;
    int r = times_know(w, t->x, t->now.id);
    sqlite3_stmt *s;

    if (r < 0)
        return r;
    s = sqdb_get(&w->d, SQDB_ASIDE_NEW, &r);
    if (s == NULL)
        return r;
    append_bind(s, t->now.id, c->record);
    (void)sqlite3_bind_null(s, 1); /* it has no number; its row gets the next */
    (void)sqlite3_bind_int64(s, 12, (int64_t)c->size);
    (void)sqlite3_bind_int64(s, 13, c->record->due_ms);
    r = append_run(s);
    if (r < 0)
        return r;
    t->now.n_aside++;
    w->now.n_aside++;
    w->now.aside_bytes += c->size;
    if (c->record->due_ms < w->now.next_due_ms)
        w->now.next_due_ms = c->record->due_ms;
    c->outcome = APPEND_SCHEDULED;
    c->seq = (uint64_t)c->record->due_ms;
    return 0;
}

bool
times_are_due(const struct writer *w, int64_t wall_ms)
{
    return w->now.next_due_ms <= wall_ms;
}

/* A row as a command; its topic is looked up. The row's number is in seq, for the time being. */
static int
load_due(struct writer *w, sqlite3_stmt *s, struct command **ret)
{
    uint64_t id = (uint64_t)sqlite3_column_int64(s, 1);
    const struct topic_extra *x = table_find(&w->by_id, slice_of(&id, sizeof(id)));
    struct command *c = command_new(COMMAND_APPEND, x != NULL ? x->topic : NULL);

    if (c == NULL)
        return -ENOMEM;
    c->is_due = true;
    c->size = (size_t)sqlite3_column_int64(s, 11);
    c->record = load_record(s);
    if (c->record == NULL) {
        free(c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

/* *ret in order, also on failure. Negative errno, or how many. */
static int
find_due(struct writer *w, int64_t wall_ms, struct command **ret)
{
    uint64_t bytes = 0;
    int n = 0, r = 0;
    sqlite3_stmt *s = sqdb_get(&w->d, SQDB_ASIDE_DUE, &r);

    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, wall_ms);
    (void)sqlite3_bind_int64(s, 2, DUE_MAX);
    while (bytes < DUE_BYTES && (r = sqdb_step(s)) > 0) {
        r = load_due(w, s, ret);
        if (r < 0)
            break;
        bytes += (*ret)->size;
        ret = &(*ret)->next;
        n++;
    }
    (void)sqlite3_reset(s);
    return r < 0 ? r : n;
}

static int
find_next_due(struct writer *w)
{
    int r = 0;
    sqlite3_stmt *s = sqdb_get(&w->d, SQDB_ASIDE_NEXT, &r);

    if (s == NULL)
        return r;
    r = sqdb_step(s);
    w->now.next_due_ms =
        r > 0 && sqlite3_column_type(s, 0) == SQLITE_INTEGER ? sqlite3_column_int64(s, 0) : INT64_MAX;
    (void)sqlite3_reset(s);
    return r < 0 ? r : 0;
}

/* 1: it is appended; 0: it is forgotten. */
static int
take_due(struct writer *w, struct command *c, int64_t wall_ms)
{
    bool has_ended = c->record->expires_ms != 0 && c->record->expires_ms <= wall_ms;
    int r = sqdb_run(&w->d, SQDB_ASIDE_DELETE, 1, (int64_t)c->record->seq);

    w->now.n_aside--;
    w->now.aside_bytes -= c->size;
    if (r < 0 || c->topic == NULL) /* its topic is being dropped */
        return r;
    r = topic_touch(w, c->topic);
    if (r < 0)
        return r;
    c->topic->w.now.n_aside--;
    if (has_ended) {
        w->now.n_expired++;
        return 0;
    }
    c->record->time_ms = wall_ms;
    r = append_due(w, c);
    return r < 0 ? r : 1;
}

int
times_append_due(struct writer *w, int64_t wall_ms, struct command **ret)
{
    int r = find_due(w, wall_ms, ret);

    while (r >= 0 && *ret != NULL) {
        struct command *c = *ret;

        r = take_due(w, c, wall_ms);
        if (r == 0) {
            *ret = c->next;
            record_unref(c->record);
            free(c);
        } else {
            ret = &c->next;
        }
    }
    return r < 0 ? r : find_next_due(w);
}

int
times_drop(struct writer *w, struct store_topic *topic)
{
    struct topic_writing *t = &topic->w;
    int r = 0;
    sqlite3_stmt *s;

    if (t->x != NULL)
        by_id_remove(w, t->x);
    if (t->now.n_aside == 0)
        return 0;
    s = sqdb_get(&w->d, SQDB_ASIDE_SIZE, &r);
    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)t->now.id);
    r = sqdb_step(s);
    if (r > 0)
        w->now.aside_bytes -= (uint64_t)sqlite3_column_int64(s, 0);
    (void)sqlite3_reset(s);
    if (r < 0)
        return r;
    w->now.n_aside -= t->now.n_aside;
    t->now.n_aside = 0;
    r = sqdb_run(&w->d, SQDB_ASIDE_DROP, 1, (int64_t)t->now.id);
    return r == 0 ? find_next_due(w) : r;
}

void
times_roll_back(struct writer *w, struct store_topic *topic)
{
    struct topic_extra *x = topic->w.x;

    if (x == NULL)
        return;
    x->retained_end_ms = x->before_retained_end_ms;
    if (heap_has(&x->in_ends)) /* the next tick finds out */
        heap_move(&w->ends, &x->in_ends, INT64_MIN, 0);
    if (topic->w.now.id != x->known_id)
        by_id_remove(w, x);
}
