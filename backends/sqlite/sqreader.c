/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader thread: reads messages from the file for one read after another, each in one transaction of its
 * own.
 *
 * A read of a few topics asks the index of each for its next numbers, merges these, and fetches the messages
 * that fit. A read of many topics goes through all messages in their order and leaves out what is not wanted:
 * that costs nothing for each topic, and the index would cost a search in each. A wide read (sqwide.c) takes
 * all that comes, and the loop finds out what is wanted.
 */
#include "config.h"

#include "backends/sqlite/sqload.h"
#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>

#define SCAN_SOURCES 64u       /* from so many topics on all messages are gone through */
#define SCAN_ROWS 50000u       /* looked at in one read */
#define LAST_BYTES (64u << 20) /* of one read of the last messages */
#define RECORD_LEAST 64u       /* bytes that each record counts for, at least */

int
reading_add_found(struct reading *r, struct found found)
{
    if (r->n_found == r->found_room) {
        size_t room = r->found_room == 0 ? 64 : r->found_room * 2;
        struct found *grown = realloc(r->found, room * sizeof(grown[0]));

        if (grown == NULL) {
            record_unref(found.record);
            return -ENOMEM;
        }
        r->found = grown;
        r->found_room = room;
    }
    r->found[r->n_found++] = found;
    return 0;
}

/* ---- Few topics. ---- */

static int
find_numbers(struct sqdb *d, struct reading *r, const struct read_source *source)
{
    const struct store_read *read = &r->read;
    int64_t limit = -1;
    int error = 0;
    sqlite3_stmt *s = sqdb_get(d, read->last > 0 ? SQDB_SEQS_LAST : SQDB_SEQS_SINCE, &error);

    if (s == NULL)
        return error;
    /* One more than fit: whether there are more has to be known. */
    if (read->last > 0)
        limit = read->last < INT64_MAX ? (int64_t)read->last : INT64_MAX;
    else if (read->max_bytes > 0)
        limit = (int64_t)(read->max_bytes / RECORD_LEAST + 2);
    if (read->last == 0 && read->max_records > 0 && (limit < 0 || read->max_records < (uint64_t)limit))
        limit = (int64_t)read->max_records + 1;
    (void)sqlite3_bind_int64(s, 1, (int64_t)source->id);
    (void)sqlite3_bind_int64(s, 2, (int64_t)source->from);
    (void)sqlite3_bind_int64(s, 3, (int64_t)r->upto);
    (void)sqlite3_bind_int64(s, 4, limit);
    (void)sqlite3_bind_int64(s, 5, r->wall_ms);
    while ((error = sqdb_step(s)) > 0) {
        error = reading_add_found(r, (struct found){
                                         .seq = (uint64_t)sqlite3_column_int64(s, 0),
                                         .size = (uint64_t)sqlite3_column_int64(s, 1),
                                         .topic = source->topic,
                                     });
        if (error < 0)
            break;
    }
    (void)sqlite3_reset(s);
    return error;
}

static int
compare_found(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int
fetch(struct sqdb *d, struct found *found)
{
    int r = 0;
    sqlite3_stmt *s = sqdb_get(d, SQDB_MESSAGE_GET, &r);

    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)found->seq);
    r = sqdb_step(s);
    if (r > 0) {
        found->record = load_record(s);
        r = found->record == NULL ? -ENOMEM : 0;
    } else if (r == 0) {
        r = -EUCLEAN; /* the index has what the table has not */
    }
    (void)sqlite3_reset(s);
    return r;
}

static int
read_few(struct sqdb *d, struct reading *r)
{
    const struct store_read *read = &r->read;
    uint64_t bytes = 0, max_bytes = read->last > 0 && read->max_bytes == 0 ? LAST_BYTES : read->max_bytes;
    size_t n_all, n = 0;
    int error = 0;

    for (size_t i = 0; i < r->n_sources && error == 0; i++)
        if (r->sources[i].id != 0)
            error = find_numbers(d, r, &r->sources[i]);
    if (r->n_found > 0)
        qsort(r->found, r->n_found, sizeof(r->found[0]), compare_found);
    n_all = r->n_found;
    while (error == 0 && n < n_all &&
           (n == 0 || ((max_bytes == 0 || bytes < max_bytes) &&
                          (read->max_records == 0 || n < read->max_records)))) {
        error = fetch(d, &r->found[n]);
        bytes += r->found[n++].size;
    }
    r->n_found = n;
    if (error < 0)
        return error;
    r->is_cut_short = n < n_all;
    r->found_upto = r->is_cut_short ? r->found[n - 1].seq : r->upto;
    return error;
}

/* ---- Many topics. ---- */

static const struct read_source *
find_source(const struct reading *r, uint64_t id)
{
    size_t low = 0, high = r->n_sources;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (r->sources[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->n_sources && r->sources[low].id == id ? &r->sources[low] : NULL;
}

/* 1: it is full; 0; negative errno. */
static int
scan_row(struct reading *r, sqlite3_stmt *s, uint64_t *bytes, unsigned n_rows)
{
    const struct store_read *read = &r->read;
    const struct read_source *source = find_source(r, (uint64_t)sqlite3_column_int64(s, 1));
    uint64_t seq = (uint64_t)sqlite3_column_int64(s, 0);
    int64_t expires_ms = sqlite3_column_int64(s, 10);
    struct found found = {.seq = seq};
    int error;

    if (source == NULL || seq <= source->from || (expires_ms != 0 && expires_ms <= r->wall_ms)) {
        if (n_rows < SCAN_ROWS)
            return 0;
        r->found_upto = seq;
        return 1;
    }
    if (r->n_found > 0 && ((read->max_bytes > 0 && *bytes >= read->max_bytes) ||
                              (read->max_records > 0 && r->n_found >= read->max_records))) {
        r->found_upto = seq - 1; /* nothing that is wanted lies between the last one and this */
        return 1;
    }
    found.topic = source->topic;
    found.record = load_record(s);
    if (found.record == NULL)
        return -ENOMEM;
    found.size = record_size(found.record);
    *bytes += found.size;
    error = reading_add_found(r, found);
    return error;
}

static int
read_many(struct sqdb *d, struct reading *r)
{
    uint64_t bytes = 0;
    int error = 0;
    sqlite3_stmt *s = sqdb_get(d, SQDB_MESSAGES_SCAN, &error);

    if (s == NULL)
        return error;
    (void)sqlite3_bind_int64(s, 1, (int64_t)r->read.since);
    (void)sqlite3_bind_int64(s, 2, (int64_t)r->upto);
    r->found_upto = r->upto;
    for (unsigned n_rows = 0; (error = sqdb_step(s)) > 0; n_rows++) {
        error = scan_row(r, s, &bytes, n_rows);
        if (error != 0)
            break;
    }
    (void)sqlite3_reset(s);
    r->is_cut_short = error > 0;
    return error < 0 ? error : 0;
}

/* ---- Of whatever topic. ---- */

static int
read_wide(struct sqdb *d, struct reading *r)
{
    const struct store_read *read = &r->read;
    uint64_t bytes = 0;
    int error = 0;
    sqlite3_stmt *s = sqdb_get(d, SQDB_MESSAGES_SCAN, &error);

    if (s == NULL)
        return error;
    (void)sqlite3_bind_int64(s, 1, (int64_t)read->since);
    (void)sqlite3_bind_int64(s, 2, (int64_t)r->upto);
    while ((error = sqdb_step(s)) > 0) {
        struct found found = {
            .seq = (uint64_t)sqlite3_column_int64(s, 0), .id = (uint64_t)sqlite3_column_int64(s, 1)};

        r->is_cut_short = r->n_found > 0 && ((read->max_bytes > 0 && bytes >= read->max_bytes) ||
                                                (read->max_records > 0 && r->n_found >= read->max_records));
        if (r->is_cut_short) {
            r->found_upto = found.seq - 1;
            error = 0;
            break;
        }
        found.record = load_record(s);
        if (found.record == NULL)
            error = -ENOMEM;
        else
            bytes += record_size(found.record);
        if (error > 0)
            error = reading_add_found(r, found);
        if (error < 0)
            break;
    }
    (void)sqlite3_reset(s);
    return error;
}

/* ---- The thread. ---- */

static bool
has_something(const struct reading *r)
{
    for (size_t i = 0; i < r->n_sources && !r->is_wide; i++)
        if (r->sources[i].id != 0)
            return true;
    return r->is_wide;
}

static void
reader_read(struct backend *b, struct reading *r)
{
    struct sqdb *d = &b->reader_db;
    bool is_unlocked = false;
    int error = 0;

    r->found_upto = r->upto;
    if (!has_something(r))
        return; /* perhaps there is no file either */
    if (d->db == NULL) {
        atomic_store(&b->is_unlocked, true); /* before it looks at the file */
        error = sqdb_open_reader(d, b->w.path, atomic_load(&b->may_write), &is_unlocked);
        atomic_store(&b->is_unlocked, is_unlocked);
    }
    if (error == 0)
        error = sqdb_exec(d, "BEGIN");
    if (error == 0) {
        if (r->is_wide)
            error = read_wide(d, r);
        else if (r->read.last == 0 && r->n_sources > SCAN_SOURCES)
            error = read_many(d, r);
        else
            error = read_few(d, r);
        (void)sqlite3_exec(d->db, "COMMIT", NULL, NULL, NULL);
    }
    r->error = is_unlocked && error == -EUCLEAN ? -EIO : error;
    r->needs_batch = atomic_load(&b->committing);
    /* What SQLite shares between the connections of a process would stay as it is: for reading only. */
    if (d->db != NULL && (is_unlocked || !atomic_load(&b->may_write)))
        sqdb_close(d);
    atomic_store(&b->is_unlocked, false);
}

void *
reader_main(void *arg)
{
    struct backend *b = arg;

    (void)pthread_mutex_lock(&b->lock);
    for (;;) {
        struct reading *r;

        while (list_empty(&b->asked) && !b->is_stopping)
            (void)pthread_cond_wait(&b->reader_wake, &b->lock);
        if (b->is_stopping)
            break;
        r = list_entry(b->asked.next, struct reading, in_queue);
        list_remove(&r->in_queue);
        (void)pthread_mutex_unlock(&b->lock);
        reader_read(b, r);
        (void)pthread_mutex_lock(&b->lock);
        r->state = READING_FOUND;
        list_push_back(&b->read_done, &r->in_queue);
        store_wake(b);
    }
    (void)pthread_mutex_unlock(&b->lock);
    return NULL;
}
