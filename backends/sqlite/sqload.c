/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads what the loop and the writer have to know of a file. Messages stay where they are.
 *
 * The epoch is the file's. It is a new one if the file is new, and if numbers that were given out may be
 * lost: the machine went down (not just the process) while not every message was written to the disk at once.
 */
#include "config.h"

#include "backends/sqlite/sqload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rand.h"

#define CHECK_BYTES                                                                                          \
    (16u * 1024 * 1024) /* a file that was not closed is read through at the start if it is no larger */
#define EPOCH_MAX ((UINT64_C(1) << 53) - 1) /* so that a client's JSON number can hold it */
#define HASH_SEED UINT64_C(14695981039346656037)

/* ---- What is in the file. ---- */

static int
load_topic(struct backend *b, sqlite3_stmt *s)
{
    struct slice name = sqdb_blob(s, 1);
    struct store_topic *topic;

    if (name.n == 0 || name.n > 4096)
        return -EUCLEAN;
    topic = store_topic_new(b, name);
    if (topic == NULL)
        return -ENOMEM;
    topic->now = (struct topic_figures){
        .id = (uint64_t)sqlite3_column_int64(s, 0),
        .last_seq = (uint64_t)sqlite3_column_int64(s, 2),
        .evicted_seq = (uint64_t)sqlite3_column_int64(s, 3),
        .n = (uint64_t)sqlite3_column_int64(s, 4),
        .bytes = (uint64_t)sqlite3_column_int64(s, 5),
        .oldest_ms = OLDEST_UNKNOWN,
    };
    if (topic->now.last_seq > b->last_seq || topic->now.evicted_seq > b->last_seq)
        return -EUCLEAN;
    topic->is_restored = true;
    topic->w.now = topic->now;
    topic->w.n_deletable = UINT32_MAX / 2;
    list_push_back(&b->recent, &topic->in_recent);
    wide_know(b, topic);
    if (topic->now.evicted_seq > 0)
        wide_note_evicted(b, topic, b->last_seq);
    if (topic->now.n > 0)
        list_push_back(&b->w.kept, &topic->w.in_kept);
    b->w.now.bytes += topic->now.bytes;
    b->stats.n_bytes += topic->now.bytes;
    b->stats.n_records += topic->now.n;
    return 0;
}

/* Runs sql and calls fn for each row. */
static int
each_row(struct backend *b, const char *sql, int (*fn)(struct backend *b, sqlite3_stmt *s))
{
    sqlite3_stmt *s;
    int r = sqdb_prepare(&b->w.d, sql, &s);

    if (r < 0)
        return r;
    while ((r = sqdb_step(s)) > 0) {
        r = fn(b, s);
        if (r < 0)
            break;
    }
    (void)sqlite3_finalize(s);
    return r;
}

struct record *
load_record(sqlite3_stmt *s)
{
    struct record *record = record_new(sqdb_blob(s, 6), sqdb_blob(s, 8), sqdb_blob(s, 7), sqdb_blob(s, 9));

    if (record == NULL)
        return NULL;
    record->seq = (uint64_t)sqlite3_column_int64(s, 0);
    record->prev = (uint64_t)sqlite3_column_int64(s, 2);
    record->time_ms = sqlite3_column_int64(s, 3);
    record->kind = (uint8_t)sqlite3_column_int(s, 4);
    record->flags = (uint8_t)sqlite3_column_int(s, 5);
    record->expires_ms = sqlite3_column_int64(s, 10);
    return record;
}

/* ---- What belongs to topics. ---- */

static uint64_t
id_of(const struct store_topic *topic)
{
    return topic->now.id;
}

static int
compare_ids(const void *a, const void *b)
{
    uint64_t x = id_of(*(struct store_topic *const *)a), y = id_of(*(struct store_topic *const *)b);

    return x < y ? -1 : x > y;
}

static int
load_retained(struct backend *b, struct store_topic *topic, sqlite3_stmt *s)
{
    int64_t end_ms = sqlite3_column_int64(s, 10);

    topic->retained = load_record(s);
    if (topic->retained == NULL)
        return -ENOMEM;
    topic->now.has_retained = topic->w.now.has_retained = true;
    if (end_ms == 0)
        return 0;
    topic->w.x = store_topic_extra(topic);
    if (topic->w.x == NULL)
        return -ENOMEM;
    topic->w.x->retained_end_ms = end_ms;
    return times_note_end(&b->w, topic, end_ms);
}

/* The first end among its messages. */
static int
load_end(struct backend *b, struct store_topic *topic, sqlite3_stmt *s)
{
    topic->w.x = store_topic_extra(topic);
    return topic->w.x == NULL ? -ENOMEM : times_note_end(&b->w, topic, sqlite3_column_int64(s, 0));
}

/* How many are kept aside, their bytes, when the first is due. */
static int
load_aside(struct backend *b, struct store_topic *topic, sqlite3_stmt *s)
{
    int64_t due_ms = sqlite3_column_int64(s, 3);

    topic->w.x = store_topic_extra(topic);
    if (topic->w.x == NULL)
        return -ENOMEM;
    topic->now.n_aside = topic->w.now.n_aside = (uint32_t)sqlite3_column_int64(s, 0);
    b->w.now.n_aside += topic->now.n_aside;
    b->w.now.aside_bytes += (uint64_t)sqlite3_column_int64(s, 2);
    if (due_ms < b->w.now.next_due_ms)
        b->w.now.next_due_ms = due_ms;
    return times_know(&b->w, topic->w.x, topic->now.id);
}

static int
load_group(struct backend *b, struct store_topic *topic, sqlite3_stmt *s)
{
    struct slice name = sqdb_blob(s, 2);
    struct store_group *group;
    int r;

    if (name.n == 0 || name.n > STORE_GROUP_NAME_MAX)
        return -EUCLEAN;
    r = groups_add(b, topic, name, &group);
    if (r < 0)
        return r;
    topic->w.x = topic->x;
    group->w.now = (struct group_figures){
        .id = (uint64_t)sqlite3_column_int64(s, 0),
        .n_items = (uint64_t)sqlite3_column_int64(s, 3),
        .state = {.floor = (uint64_t)sqlite3_column_int64(s, 4),
            .born = (uint64_t)sqlite3_column_int64(s, 5),
            .n_done = (uint64_t)sqlite3_column_int64(s, 6),
            .n_dead = (uint64_t)sqlite3_column_int64(s, 7),
            .n_lost = (uint64_t)sqlite3_column_int64(s, 8)},
    };
    b->w.now.n_items += group->w.now.n_items;
    return 0;
}

/* Runs sql, whose rows come in the order of their topics, in the second column, and calls fn for each:
 * topics, in that order too, are walked along. A row of no topic is passed over. */
static int
each_row_of_topics(struct backend *b, struct store_topic *const *topics, size_t n, const char *sql,
    int (*fn)(struct backend *b, struct store_topic *topic, sqlite3_stmt *s))
{
    size_t at = 0;
    sqlite3_stmt *s;
    int r = sqdb_prepare(&b->w.d, sql, &s);

    if (r < 0)
        return r;
    while ((r = sqdb_step(s)) > 0) {
        uint64_t id = (uint64_t)sqlite3_column_int64(s, 1);

        while (at < n && topics[at]->now.id < id)
            at++;
        if (at < n && topics[at]->now.id == id)
            r = fn(b, topics[at], s);
        if (r < 0)
            break;
    }
    (void)sqlite3_finalize(s);
    return r;
}

static int
load_of_topics(struct backend *b)
{
    static const struct {
        const char *sql;
        int (*fn)(struct backend *b, struct store_topic *topic, sqlite3_stmt *s);
    } what[] = {
        {"SELECT seq, topic, prev, time_ms, kind, flags, type, key, headers, body, expires_ms FROM retained "
         "ORDER BY topic",
            load_retained},
        /* Of an older version's file this is a view: the index, which has all of it, cannot be named. */
        {"SELECT min(expires_ms), topic FROM messages WHERE expires_ms > 0 GROUP BY topic ORDER BY topic",
            load_end},
        {"SELECT count(*), topic, sum(size), min(due_ms) FROM scheduled GROUP BY topic ORDER BY topic",
            load_aside},
        {"SELECT id, topic, name, (SELECT count(*) FROM queue_items i WHERE i.queue_group = g.id),"
         " floor, born, done, dead, lost"
         " FROM queue_groups g ORDER BY topic, id",
            load_group},
    };
    struct store_topic **topics = malloc((b->stats.n_topics > 0 ? b->stats.n_topics : 1) * sizeof(topics[0]));
    size_t n = 0;
    int r = 0;

    if (topics == NULL)
        return -ENOMEM;
    list_for_each_safe(it, following, &b->recent)
    {
        topics[n++] = list_entry(it, struct store_topic, in_recent);
    }
    qsort(topics, n, sizeof(topics[0]), compare_ids);
    for (size_t i = 0; i < sizeof(what) / sizeof(what[0]) && r >= 0; i++)
        r = each_row_of_topics(b, topics, n, what[i].sql, what[i].fn);
    free(topics);
    return r;
}

/* ---- What belongs to none. ---- */

static int
load_publishes(struct backend *b, sqlite3_stmt *s)
{
    uint64_t boot = (uint64_t)sqlite3_column_int64(s, 0), first = (uint64_t)sqlite3_column_int64(s, 1), seq,
             old;
    struct slice seqs = sqdb_blob(s, 2);

    for (size_t i = 0; i + sizeof(seq) <= seqs.n; i += sizeof(seq)) {
        uint64_t pub = first + i / sizeof(seq);
        int r;

        memcpy(&seq, seqs.p + i, sizeof(seq));
        if (seq == 0)
            continue;
        r = dedupe_check_pub(&b->w.dedupe, boot, pub, loop_now_ms(b->loop), &old);
        if (r < 0)
            return r;
        if (r == DEDUPE_NEW)
            dedupe_note_pub(&b->w.dedupe, boot, pub, seq);
    }
    return 0;
}

static int
load_n_keys(struct backend *b, sqlite3_stmt *s)
{
    b->w.now.n_keys = (uint64_t)sqlite3_column_int64(s, 0);
    return 0;
}

/* The last number that was given out is in `state`; a message above it would mean that the file is not to be
 * trusted. */
static int
load_highest(struct backend *b, sqlite3_stmt *s)
{
    return (uint64_t)sqlite3_column_int64(s, 0) > b->last_seq ? -EUCLEAN : 0;
}

static int
load_rows(struct backend *b)
{
    int r = each_row(b, "SELECT max(seq) FROM messages", load_highest);

    if (r >= 0)
        r = each_row(b,
            "SELECT id, name, last_seq, evicted_seq, messages, bytes FROM topics ORDER BY last_seq",
            load_topic);
    if (r >= 0)
        r = load_of_topics(b);
    if (r >= 0)
        r = each_row(b, "SELECT boot, first, seqs FROM publishes ORDER BY boot, first", load_publishes);
    if (r >= 0)
        r = each_row(b, "SELECT count(*) FROM keys", load_n_keys);
    return r;
}

static void
unload_rows(struct backend *b)
{
    groups_fini(b);
    times_fini(&b->w);
    times_init(&b->w);
    list_for_each_safe(it, following, &b->recent)
    {
        store_topic_free(b, list_entry(it, struct store_topic, in_recent));
    }
    dedupe_fini(&b->w.dedupe);
    dedupe_init(&b->w.dedupe);
    b->w.now = (struct writer_figures){.next_due_ms = INT64_MAX};
    b->stats = (struct store_stats){0};
    b->last_seq = b->dropped_seq = b->epoch = 0;
    b->w.epoch = b->w.file_epoch = b->w.file_seq = b->w.reserved_seq = 0;
}

/* ---- The epoch. ---- */

/* Of a store of which nobody knows. */
uint64_t
load_new_epoch(void)
{
    uint64_t epoch;

    do {
        rand_bytes(&epoch, sizeof(epoch));
        epoch &= EPOCH_MAX;
    } while (epoch == 0);
    return epoch;
}

static uint64_t
mix(uint64_t hash, const void *p, size_t n)
{
    const uint8_t *bytes = p;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

/* Which run of the machine this is; 0 if it does not say. */
static uint64_t
machine_run(void)
{
    char text[64] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

    if (fd >= 0)
        (void)close(fd);
    return n > 0 ? mix(HASH_SEED, text, (size_t)n) >> 1 : 0;
}

/* What follows an epoch after the machine went down. While it cannot be written down each start must come to
 * the same one, or clients would be told of a reset each time. */
static uint64_t
next_epoch(uint64_t epoch, uint64_t run)
{
    uint64_t next = mix(mix(HASH_SEED, &epoch, sizeof(epoch)), &run, sizeof(run)) & EPOCH_MAX;

    return next != 0 ? next : 1;
}

int
load_write_state(struct writer *w)
{
    struct sqdb *d = &w->d;
    int r = sqdb_exec(d, "BEGIN IMMEDIATE");

    if (r == 0)
        r = sqdb_state_set(d, "epoch", w->epoch);
    if (r == 0)
        r = sqdb_state_set(d, "last_seq", w->now.last_seq);
    if (r == 0)
        r = sqdb_state_set(d, "reserved_seq", w->now.last_seq);
    if (r == 0)
        r = sqdb_state_set(d, "machine_run", machine_run());
    if (r == 0)
        r = sqdb_state_set(d, "sync", w->options.sync);
    if (r == 0)
        r = sqdb_state_set(d, "is_closed", 0);
    if (r == 0)
        r = sqdb_exec(d, "COMMIT");
    if (r < 0) {
        (void)sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
        return r;
    }
    w->file_epoch = w->epoch;
    w->file_seq = w->reserved_seq = w->now.last_seq;
    return 0;
}

/* The numbers of the file that hold for its whole life. */
static int
load_state(struct backend *b, bool *ret_was_closed)
{
    uint64_t run = machine_run(), run_before = 0, is_closed = 0, sync_before = SQLITE_SYNC_NONE, reserved = 0;
    struct sqdb *d = &b->w.d;
    int r = sqdb_state_get(d, "epoch", &b->epoch);

    if (r > 0)
        r = sqdb_state_get(d, "last_seq", &b->last_seq);
    if (r >= 0)
        r = sqdb_state_get(d, "dropped_seq", &b->dropped_seq);
    if (r >= 0)
        r = sqdb_state_get(d, "machine_run", &run_before);
    if (r >= 0)
        r = sqdb_state_get(d, "is_closed", &is_closed);
    if (r >= 0)
        r = sqdb_state_get(d, "sync", &sync_before);
    if (r >= 0)
        r = sqdb_state_get(d, "reserved_seq", &reserved);
    if (r < 0)
        return r;
    b->w.file_epoch = b->epoch;
    b->w.file_seq = b->w.reserved_seq = b->last_seq;
    if (is_closed == 0 && reserved > b->last_seq) /* who knows how many of them were given out */
        b->last_seq = b->w.reserved_seq = reserved;
    *ret_was_closed = is_closed != 0 || b->epoch == 0;
    if (b->epoch != 0 && is_closed == 0 && run != run_before && sync_before != SQLITE_SYNC_ALWAYS) {
        log_warn("%s: the machine went down while messages were still on their way to the disk (store.sync): "
                 "the last ones may be lost, so the epoch is a new one",
            b->w.path);
        b->epoch = next_epoch(b->epoch, run);
    }
    if (b->epoch == 0)
        b->epoch = load_new_epoch();
    b->w.epoch = b->epoch;
    b->w.now.last_seq = b->last_seq;
    return 0;
}

/* ---- All of it. ---- */

static bool
is_small(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_size <= CHECK_BYTES;
}

int
load_file(struct backend *b, int cannot, int *ret_why)
{
    bool was_closed = true;
    int r = sqdb_open(&b->w.d, b->w.path, true, cannot, ret_why);

    if (r != SQDB_FOUND_GOOD)
        return r;
    r = load_state(b, &was_closed);
    if (r == 0 && *ret_why == 0) {
        *ret_why = load_write_state(&b->w);
        if (*ret_why == -EUCLEAN || *ret_why == -ENOMEM)
            r = *ret_why;
    }
    if (r == 0 && !was_closed && is_small(b->w.path))
        r = sqdb_check(&b->w.d);
    if (r > 0)
        r = -EUCLEAN;
    if (r == 0)
        r = load_rows(b);
    if (r < 0) {
        sqdb_close(&b->w.d);
        unload_rows(b);
    }
    return r == -EUCLEAN ? SQDB_FOUND_DAMAGED : r;
}
