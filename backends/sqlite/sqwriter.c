/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer thread: takes all commands that wait, does them in one transaction, gives them back. What it
 * does with a topic is in sqtopic.c. A transaction that fails (the disk is full, the file may not be written
 * to) is undone wholly and its appends are answered with the error; the next ones try anew.
 */
#include "config.h"

#include "backends/sqlite/sqload.h"
#include "backends/sqlite/sqstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define BATCH_MAX 8192u
#define BATCH_BYTES (16u * 1024 * 1024)
#define CHECKPOINT_PAGES 4096u /* of the log: at so many it is copied into the file */
#define REOPEN_MS 500u
#define ORIGIN_WINDOW (2u * DEDUPE_WINDOW)
#define EXPIRE_KEYS 10000
#define SEQS_RESERVED 4096u
#define LOOK_AGAIN_MS 1000

static uint64_t
clock_ms(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- The connection. ---- */

static int
writer_on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    ((struct writer *)arg)->wal_pages = (uint64_t)pages;
    return SQLITE_OK;
}

static int
writer_set_up(struct writer *w)
{
    static const char *const levels[] = {
        [SQLITE_SYNC_NONE] = "PRAGMA synchronous = OFF",
        [SQLITE_SYNC_INTERVAL] = "PRAGMA synchronous = NORMAL",
        [SQLITE_SYNC_ALWAYS] = "PRAGMA synchronous = FULL",
    };

    (void)sqlite3_wal_hook(w->d.db, writer_on_wal, w);
    return sqdb_exec(&w->d, levels[w->options.sync]);
}

/* What could not be written to is tried again now and then. */
static int
writer_connect(struct writer *w)
{
    uint64_t now_ms = clock_ms(CLOCK_MONOTONIC);
    int r;

    if (w->d.db != NULL)
        return 0;
    if (now_ms - w->reopened_ms < REOPEN_MS)
        return w->reopen_error;
    w->reopened_ms = now_ms;
    r = load_reopen(w);
    if (r == 0)
        r = writer_set_up(w);
    w->reopen_error = r;
    return r;
}

/* Makes sure that what was committed is on the disk: of the log, for nothing has been in the file alone. */
static void
writer_sync(struct writer *w)
{
    sqlite3_file *log = NULL;
    int result = sqlite3_file_control(w->d.db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);

    if (result == SQLITE_OK && log != NULL && log->pMethods != NULL)
        result = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    if (result != SQLITE_OK)
        log_error("%s: the disk did not take what was written: %s", w->path, sqlite3_errstr(result));
    w->is_unsynced = false;
}

static void
writer_checkpoint(struct backend *b)
{
    struct writer *w = &b->w;
    int copied = 0, all = 0;

    if (w->d.db == NULL || w->wal_pages < w->checkpoint_at || atomic_load(&b->is_unlocked))
        return;
    (void)sqlite3_wal_checkpoint_v2(w->d.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &all, &copied);
    /* A reader may hold it back: not tried again with each transaction. */
    w->checkpoint_at = copied >= all ? CHECKPOINT_PAGES : w->wal_pages + CHECKPOINT_PAGES;
}

/* ---- One transaction. ---- */

static bool
writer_has_due(const struct writer *w, int64_t wall_ms)
{
    return times_are_due(w, wall_ms) && clock_ms(CLOCK_MONOTONIC) >= w->retry_at_ms;
}

/* Without being told. */
static bool
writer_has_work(const struct writer *w, int64_t wall_ms)
{
    return writer_has_due(w, wall_ms) ||
           ((w->has_more_ends || !list_empty(&w->leftovers)) && clock_ms(CLOCK_MONOTONIC) >= w->retry_at_ms);
}

static int
writer_tick(struct writer *w, int64_t wall_ms)
{
    int64_t window_ms = (int64_t)w->options.key_window_ms;
    int r = 0;

    dedupe_expire(&w->dedupe, clock_ms(CLOCK_MONOTONIC), 1000);
    if (w->now.n_keys > 0 && window_ms < wall_ms) {
        r = sqdb_run(&w->d, SQDB_KEYS_EXPIRE, 2, wall_ms - window_ms, (int64_t)EXPIRE_KEYS);
        if (r == 0)
            w->now.n_keys -= (uint64_t)sqlite3_changes(w->d.db);
    }
    if (r == 0 && wall_ms - w->expired_ms > 60000) {
        w->expired_ms = wall_ms;
        r = sqdb_run(&w->d, SQDB_PUBLISHES_EXPIRE, 1, wall_ms - (int64_t)DEDUPE_BOOT_IDLE_MS);
    }
    w->has_more_ends = true; /* in so far as there are any: with the end of this transaction */
    return r;
}

/* Rows of numbers that are out of the window. Once in a while for each boot. */
static int
writer_prune_origins(struct writer *w)
{
    int r = 0;

    for (size_t i = 0; i < w->n_origins && r == 0; i++) {
        const struct writer_origin *o = &w->origins[i];

        if (o->first > ORIGIN_WINDOW && o->first / DEDUPE_WINDOW != (o->first + o->n) / DEDUPE_WINDOW)
            r = sqdb_run(
                &w->d, SQDB_PUBLISHES_PRUNE, 2, (int64_t)o->boot, (int64_t)(o->first - ORIGIN_WINDOW));
    }
    return r;
}

static int
writer_configure(struct writer *w, const struct sqlite_options *options)
{
    w->options.bytes_max = options->bytes_max;
    w->options.key_window_ms = options->key_window_ms;
    w->options.keys_max = options->keys_max;
    return topic_trim_all(w);
}

static int
writer_do(struct writer *w, struct command *c, int64_t wall_ms)
{
    int r;

    if (c->x != NULL)
        c->topic->w.x = c->x;
    switch (c->kind) {
    case COMMAND_APPEND:
        return append_do(w, c);
    case COMMAND_LIMIT:
        return topic_limit(w, c->topic, &c->limits, wall_ms);
    case COMMAND_TRIM:
        r = topic_touch(w, c->topic);
        return r == 0 ? topic_trim(w, c->topic, wall_ms) : r;
    case COMMAND_MARK:
        return topic_mark(w, c, wall_ms);
    case COMMAND_DROP:
        return topic_drop(w, c->topic);
    case COMMAND_GROUP_OPEN:
        return items_open(w, c);
    case COMMAND_GROUP_SAVE:
        return items_save(w, c);
    case COMMAND_GROUP_DROP:
        return items_drop(w, c);
    case COMMAND_CONFIGURE:
        return writer_configure(w, &c->options);
    case COMMAND_TICK:
    default:
        return writer_tick(w, wall_ms);
    }
}

static void
writer_roll_back(struct writer *w)
{
    append_roll_back_all(w);
    items_roll_back_all(w);
    topic_roll_back_all(w);
    w->now = w->before;
    if (w->d.db != NULL && sqlite3_get_autocommit(w->d.db) == 0)
        (void)sqdb_run(&w->d, SQDB_ROLLBACK, 0);
}

static void
writer_commit_all(struct writer *w)
{
    append_commit_all(w);
    items_commit_all(w);
    topic_commit_all(w);
}

static int
batch_note_topics(struct batch *batch, const struct writer *w)
{
    if (w->n_touched == 0)
        return 0;
    batch->touched = malloc(w->n_touched * sizeof(batch->touched[0]));
    if (batch->touched == NULL)
        return -ENOMEM;
    batch->n_touched = w->n_touched;
    for (size_t i = 0; i < batch->n_touched; i++)
        batch->touched[i] = (struct topic_touched){w->touched[i], w->touched[i]->w.now};
    return 0;
}

static int
writer_do_all(struct writer *w, struct batch *batch, int64_t wall_ms)
{
    int r = 0;

    for (struct command *c = w->musts; c != NULL && r == 0; c = c->next)
        r = writer_do(w, c, wall_ms);
    if (r == 0 && writer_has_due(w, wall_ms))
        r = times_append_due(w, wall_ms, &batch->due);
    for (struct command *c = batch->first; c != NULL && r == 0; c = c->next)
        r = writer_do(w, c, wall_ms);
    return r;
}

/* The numbers of the whole store. With is_reserving: that some will be given out without a word here. */
static int
writer_flush_state(struct writer *w, bool is_reserving)
{
    int r = 0;

    if (w->now.last_seq != w->file_seq)
        r = sqdb_state_set(&w->d, "last_seq", w->now.last_seq);
    if (r == 0 && is_reserving)
        r = sqdb_state_set(&w->d, "reserved_seq", w->now.last_seq + SEQS_RESERVED);
    if (r == 0 && w->now.dropped_seq != w->before.dropped_seq)
        r = sqdb_state_set(&w->d, "dropped_seq", w->now.dropped_seq);
    return r;
}

static int
writer_write(struct writer *w, struct batch *batch, int64_t wall_ms, bool is_reserving)
{
    int r = sqdb_run(&w->d, SQDB_BEGIN, 0);

    if (r == 0)
        r = writer_do_all(w, batch, wall_ms);
    if (r == 0 && w->has_more_ends)
        r = times_expire_all(w, wall_ms);
    if (r == 0)
        r = topic_delete_leftovers(w);
    if (r == 0)
        r = items_flush(w);
    if (r == 0)
        r = topic_flush(w);
    if (r == 0)
        r = append_flush(w);
    if (r == 0)
        r = writer_prune_origins(w);
    if (r == 0)
        r = writer_flush_state(w, is_reserving);
    if (r == 0)
        r = batch_note_topics(batch, w);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_COMMIT, 0);
    if (r < 0)
        return r;
    w->file_seq = w->now.last_seq;
    if (is_reserving)
        w->reserved_seq = w->file_seq + SEQS_RESERVED;
    if (w->options.sync == SQLITE_SYNC_INTERVAL)
        w->is_unsynced = true;
    return 0;
}

/* ---- Without the file. ---- */

/* Whether all that it does is to number what is not kept anywhere. */
static bool
batch_leaves_nothing(const struct writer *w, const struct batch *batch, int64_t wall_ms, uint64_t *ret_n)
{
    *ret_n = 0;
    if (w->musts != NULL || writer_has_work(w, wall_ms))
        return false;
    for (const struct command *c = batch->first; c != NULL; c = c->next, ++*ret_n)
        if (c->kind != COMMAND_APPEND || topic_is_stored(c->topic) || c->topic->w.now.id != 0)
            return false;
    return true;
}

/* 0, or negative errno; then nothing was done. */
static int
writer_do_batch(struct backend *b, struct batch *batch)
{
    struct writer *w = &b->w;
    int64_t wall_ms = (int64_t)clock_ms(CLOCK_REALTIME);
    uint64_t n = 0;
    bool leaves_nothing = batch_leaves_nothing(w, batch, wall_ms, &n);
    int r;

    if (leaves_nothing && w->now.last_seq + n <= w->reserved_seq) {
        r = writer_do_all(w, batch, wall_ms);
        return r == 0 ? batch_note_topics(batch, w) : r;
    }
    r = writer_connect(w);
    atomic_store(&b->may_write, r == 0);
    return r == 0 ? writer_write(w, batch, wall_ms, leaves_nothing) : r;
}

/* ---- Answers. ---- */

/* The loop does not know any more what these are about, or relies on them. */
static bool
command_is_must(const struct command *c)
{
    return c->kind == COMMAND_DROP || c->kind == COMMAND_GROUP_OPEN || c->kind == COMMAND_GROUP_DROP;
}

static void
batch_fail(struct batch *batch, struct writer *w)
{
    struct command **at = &batch->first;

    while (*at != NULL) {
        struct command *c = *at;

        if (command_is_must(c)) {
            *at = c->next;
            c->next = NULL;
            *w->musts_end = c;
            w->musts_end = &c->next;
        } else {
            c->error = batch->error;
            at = &c->next;
        }
    }
    while (batch->due != NULL) { /* these are still in the file */
        struct command *c = batch->due;

        batch->due = c->next;
        record_unref(c->record);
        free(c);
    }
}

/* What was due comes first, for so it was numbered; and what had to be done is the loop's to free. */
static void
batch_succeed(struct batch *batch, struct writer *w)
{
    struct command **end = &batch->due;

    while (*end != NULL)
        end = &(*end)->next;
    *end = batch->first;
    *w->musts_end = batch->due;
    batch->first = w->musts;
    batch->due = w->musts = NULL;
    w->musts_end = &w->musts;
}

static void
writer_say(struct writer *w, int error)
{
    if (error < 0 && !w->is_failing)
        log_error(
            "%s: nothing can be kept: %s; publishes are refused until it can", w->path, strerror(-error));
    else if (error == 0 && w->is_failing)
        log_notice("%s: messages are kept again", w->path);
    w->is_failing = error < 0;
}

static void
writer_run(struct backend *b, struct batch *batch)
{
    struct writer *w = &b->w;
    int r;

    w->before = w->now;
    atomic_store(&b->committing, batch->number);
    r = writer_do_batch(b, batch);
    batch->error = r;
    if (r == 0) {
        writer_commit_all(w);
        batch_succeed(batch, w);
    } else {
        writer_roll_back(w);
        batch->n_touched = 0;
        batch_fail(batch, w);
        w->retry_at_ms = clock_ms(CLOCK_MONOTONIC) + REOPEN_MS;
        if (r == -EROFS) {
            sqdb_close(&w->d);
            atomic_store(&b->may_write, false);
            w->reopen_error = r;
        }
    }
    batch->now = w->now;
    writer_say(w, r);
}

/* ---- The thread. ---- */

/* Under the lock. */
static struct command *
take_commands(struct backend *b)
{
    struct command *first = b->commands, **end = &b->commands;
    size_t bytes = 0;

    for (unsigned n = 0; *end != NULL && n < BATCH_MAX && bytes < BATCH_BYTES; n++) {
        bytes += (*end)->size;
        end = &(*end)->next;
    }
    b->commands = *end;
    *end = NULL;
    if (b->commands == NULL)
        b->commands_end = &b->commands;
    return first;
}

/* When there is something to do without a command, by the monotonic clock. Somebody may set the other one:
 * what is due by that is looked at again after a second. */
static uint64_t
writer_wakes_ms(const struct writer *w)
{
    uint64_t now_ms = clock_ms(CLOCK_MONOTONIC), at_ms = UINT64_MAX;
    int64_t wait_ms = w->now.next_due_ms - (int64_t)clock_ms(CLOCK_REALTIME);

    if (w->now.next_due_ms != INT64_MAX)
        at_ms = now_ms + (uint64_t)(wait_ms < 0 ? 0 : wait_ms < LOOK_AGAIN_MS ? wait_ms : LOOK_AGAIN_MS);
    if (w->has_more_ends || !list_empty(&w->leftovers))
        at_ms = now_ms;
    if (at_ms < w->retry_at_ms)
        at_ms = w->retry_at_ms;
    if (w->is_unsynced && w->synced_ms + w->options.sync_interval_ms < at_ms)
        at_ms = w->synced_ms + w->options.sync_interval_ms;
    return at_ms;
}

/* Under the lock. False: it is time to end. */
static bool
writer_wait(struct backend *b)
{
    while (b->commands == NULL && !b->is_stopping) {
        uint64_t at_ms = writer_wakes_ms(&b->w);
        struct timespec at = {.tv_sec = (time_t)(at_ms / 1000), .tv_nsec = (long)(at_ms % 1000) * 1000000};

        if (at_ms == UINT64_MAX)
            (void)pthread_cond_wait(&b->writer_wake, &b->lock);
        else if (pthread_cond_timedwait(&b->writer_wake, &b->lock, &at) == ETIMEDOUT)
            return true;
    }
    return b->commands != NULL;
}

static void
writer_sync_if_due(struct writer *w)
{
    uint64_t now_ms = clock_ms(CLOCK_MONOTONIC);

    if (!w->is_unsynced)
        w->synced_ms = now_ms;
    else if (now_ms - w->synced_ms >= w->options.sync_interval_ms) {
        if (w->d.db != NULL)
            writer_sync(w);
        w->synced_ms = now_ms;
    }
}

/* What was acknowledged is in the file, and said to be whole. */
static void
writer_end(struct writer *w)
{
    int r;

    if (w->d.db == NULL)
        return;
    (void)sqdb_exec(&w->d, "PRAGMA synchronous = FULL"); /* whatever held until now */
    r = sqdb_run(&w->d, SQDB_BEGIN, 0);
    if (r == 0)
        r = sqdb_state_set(&w->d, "last_seq", w->now.last_seq);
    if (r == 0)
        r = sqdb_state_set(&w->d, "is_closed", 1);
    if (r == 0)
        r = sqdb_run(&w->d, SQDB_COMMIT, 0);
    if (r == 0)
        (void)sqlite3_wal_checkpoint_v2(w->d.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

void *
writer_main(void *arg)
{
    struct backend *b = arg;
    uint64_t number = 0;
    struct command *first;
    struct batch *batch;

    b->w.synced_ms = clock_ms(CLOCK_MONOTONIC);
    (void)pthread_mutex_lock(&b->lock);
    while (writer_wait(b) || !b->is_stopping) {
        first = take_commands(b);
        (void)pthread_mutex_unlock(&b->lock);
        if (first != NULL || writer_has_work(&b->w, (int64_t)clock_ms(CLOCK_REALTIME))) {
            while ((batch = calloc(1, sizeof(*batch))) == NULL)
                (void)nanosleep(
                    &(struct timespec){.tv_nsec = 10000000}, NULL); /* what was taken must be answered */
            batch->first = first;
            batch->number = ++number;
            writer_run(b, batch);
            (void)pthread_mutex_lock(&b->lock);
            *b->batches_end = batch;
            b->batches_end = &batch->next;
            (void)pthread_mutex_unlock(&b->lock);
            store_wake(b);
            writer_checkpoint(b);
        }
        writer_sync_if_due(&b->w);
        (void)pthread_mutex_lock(&b->lock);
    }
    (void)pthread_mutex_unlock(&b->lock);
    writer_end(&b->w);
    return NULL;
}

void
writer_fini(struct writer *w)
{
    sqdb_close(&w->d);
    dedupe_fini(&w->dedupe);
    for (size_t i = 0; i < w->origins_room; i++)
        free(w->origins[i].seqs);
    free(w->origins);
    free(w->touched);
    free(w->groups);
    times_fini(w);
    free(w->path);
    if (w->lock_fd >= 0)
        (void)close(w->lock_fd);
}

/* ---- Before the thread. ---- */

int
writer_load(struct backend *b)
{
    struct writer *w = &b->w;

    w->checkpoint_at = CHECKPOINT_PAGES;
    assert(w->now.last_seq == b->last_seq && w->epoch == b->epoch);
    w->now.dropped_seq = b->dropped_seq;
    b->stats.n_scheduled = w->now.n_aside;
    b->stats.n_scheduled_bytes = w->now.aside_bytes;
    b->stats.n_items = w->now.n_items;
    atomic_store(&b->may_write, w->d.db != NULL);
    return w->d.db != NULL ? writer_set_up(w) : 0;
}
