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

static int
writer_tick(struct writer *w)
{
    uint64_t wall_ms = clock_ms(CLOCK_REALTIME);
    int r = 0;

    dedupe_expire(&w->dedupe, clock_ms(CLOCK_MONOTONIC), 1000);
    if (w->n_keys > 0 && w->options.key_window_ms < wall_ms) {
        r = sqdb_run(
            &w->d, SQDB_KEYS_EXPIRE, 2, (int64_t)(wall_ms - w->options.key_window_ms), (int64_t)EXPIRE_KEYS);
        if (r == 0)
            w->n_keys -= (uint64_t)sqlite3_changes(w->d.db);
    }
    if (r == 0 && wall_ms - w->expired_ms > 60000) {
        w->expired_ms = wall_ms;
        r = sqdb_run(&w->d, SQDB_PUBLISHES_EXPIRE, 1, (int64_t)(wall_ms - DEDUPE_BOOT_IDLE_MS));
    }
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
writer_do(struct writer *w, struct command *c)
{
    int64_t wall_ms = (int64_t)clock_ms(CLOCK_REALTIME);
    int r;

    switch (c->kind) {
    case COMMAND_APPEND:
        return topic_append(w, c);
    case COMMAND_LIMIT:
        return topic_limit(w, c->topic, &c->limits, wall_ms);
    case COMMAND_TRIM:
        r = topic_touch(w, c->topic);
        return r == 0 ? topic_trim(w, c->topic, wall_ms) : r;
    case COMMAND_DROP:
        return topic_drop(w, c->topic);
    case COMMAND_CONFIGURE:
        w->options.bytes_max = c->options.bytes_max;
        w->options.key_window_ms = c->options.key_window_ms;
        w->options.keys_max = c->options.keys_max;
        return topic_trim_all(w);
    case COMMAND_TICK:
    default:
        return writer_tick(w);
    }
}

static void
writer_note_before(struct writer *w)
{
    w->before_last_seq = w->last_seq;
    w->before_dropped_seq = w->dropped_seq;
    w->before_n_keys = w->n_keys;
    w->before_bytes = w->bytes;
    w->before_n_evicted = w->n_evicted;
}

static void
writer_roll_back(struct writer *w)
{
    w->last_seq = w->before_last_seq;
    w->dropped_seq = w->before_dropped_seq;
    w->n_keys = w->before_n_keys;
    w->bytes = w->before_bytes;
    w->n_evicted = w->before_n_evicted;
    topic_roll_back_all(w);
    if (w->d.db != NULL && sqlite3_get_autocommit(w->d.db) == 0)
        (void)sqdb_run(&w->d, SQDB_ROLLBACK, 0);
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
writer_write(struct writer *w, struct batch *batch)
{
    int r = sqdb_run(&w->d, SQDB_BEGIN, 0);

    for (struct command *c = w->drops; c != NULL && r == 0; c = c->next)
        r = topic_drop(w, c->topic);
    for (struct command *c = batch->first; c != NULL && r == 0; c = c->next)
        r = writer_do(w, c);
    if (r == 0)
        r = topic_flush(w);
    if (r == 0)
        r = writer_prune_origins(w);
    if (r == 0 && w->last_seq != w->before_last_seq)
        r = sqdb_state_set(&w->d, "last_seq", w->last_seq);
    if (r == 0 && w->dropped_seq != w->before_dropped_seq)
        r = sqdb_state_set(&w->d, "dropped_seq", w->dropped_seq);
    if (r == 0)
        r = batch_note_topics(batch, w);
    return r == 0 ? sqdb_run(&w->d, SQDB_COMMIT, 0) : r;
}

/* ---- Answers. ---- */

/* The commands to drop topics cannot be given up: the loop does not know these topics any more. */
static void
batch_keep_drops(struct batch *batch, struct writer *w)
{
    struct command **at = &batch->first;

    while (*at != NULL) {
        struct command *c = *at;

        if (c->kind == COMMAND_DROP) {
            *at = c->next;
            c->next = w->drops;
            w->drops = c;
        } else {
            c->error = batch->error;
            at = &c->next;
        }
    }
}

/* Those of before were done with this batch: the loop frees them. */
static void
batch_give_drops(struct batch *batch, struct writer *w)
{
    while (w->drops != NULL) {
        struct command *c = w->drops;

        w->drops = c->next;
        c->next = batch->first;
        batch->first = c;
    }
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

    writer_note_before(w);
    atomic_store(&b->committing, batch->number);
    r = writer_connect(w);
    atomic_store(&b->may_write, r == 0);
    if (r == 0)
        r = writer_write(w, batch);
    batch->error = r;
    if (r == 0) {
        topic_commit_all(w);
        batch_give_drops(batch, w);
        if (w->options.sync == SQLITE_SYNC_INTERVAL)
            w->is_unsynced = true;
    } else {
        writer_roll_back(w);
        batch->n_touched = 0;
        batch_keep_drops(batch, w);
        if (r == -EROFS) {
            sqdb_close(&w->d);
            atomic_store(&b->may_write, false);
            w->reopen_error = r;
        }
    }
    batch->n_evicted = w->n_evicted;
    batch->n_repeated = w->n_repeated;
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

/* Under the lock. False: it is time to end. */
static bool
writer_wait(struct backend *b)
{
    const struct writer *w = &b->w;

    while (b->commands == NULL && !b->is_stopping) {
        if (w->is_unsynced) {
            uint64_t due_ms = w->synced_ms + w->options.sync_interval_ms;
            struct timespec due = {
                .tv_sec = (time_t)(due_ms / 1000), .tv_nsec = (long)(due_ms % 1000) * 1000000};

            if (pthread_cond_timedwait(&b->writer_wake, &b->lock, &due) == ETIMEDOUT)
                return true;
        } else {
            (void)pthread_cond_wait(&b->writer_wake, &b->lock);
        }
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
    if (w->d.db == NULL)
        return;
    (void)sqdb_exec(&w->d, "PRAGMA synchronous = FULL"); /* whatever held until now */
    if (sqdb_state_set(&w->d, "is_closed", 1) == 0)
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
        if (first != NULL) {
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
    assert(w->last_seq == b->last_seq && w->epoch == b->epoch);
    w->dropped_seq = b->dropped_seq;
    atomic_store(&b->may_write, w->d.db != NULL);
    return w->d.db != NULL ? writer_set_up(w) : 0;
}
