/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the SQLite backend, shared by its files. Three threads:
 *
 *     loop     the broker's. Hands commands over and gets them back answered; keeps what lists and short
 * reads need: the figures of each topic, the retained values, and the most recent records (the cache). Never
 * waits. writer   takes all commands that wait, does them in one transaction, commits, gives them back. It
 * alone numbers, trims and knows repeats, so that a transaction that fails leaves nothing behind. reader
 * reads older messages from the file, one read after another.
 *
 * The loop learns by an eventfd. What a topic looks like after a commit comes with the batch, before its
 * records are delivered. A read of the file may see a later commit than the loop knows; its result waits
 * until the loop knows that too.
 *
 * Each field of these structs is used by one thread alone, or says what guards it.
 */
#ifndef BACKENDS_SQLITE_SQSTORE_H
#define BACKENDS_SQLITE_SQSTORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "backends/backend.h"
#include "backends/dedupe.h"
#include "backends/sqlite/sqdb.h"
#include "backends/sqlite/sqlite.h"
#include "base/list.h"
#include "base/loop.h"

struct event;

#define OLDEST_UNKNOWN INT64_MIN

/* ---- Topics. ---- */

/* What a topic looks like after a commit. */
struct topic_figures {
    uint64_t id; /* its row; 0: it has none yet */
    uint64_t last_seq, evicted_seq;
    uint64_t n, bytes; /* kept */
    int64_t oldest_ms; /* time of the oldest that is kept, or OLDEST_UNKNOWN; kept up only if there is a limit
                          by age */
};

/* One of the oldest messages of a topic: what trimming has to know. */
struct topic_oldest {
    uint64_t seq, size;
    int64_t time_ms;
};

struct topic_writing {
    struct topic_figures now, before; /* before: as it was at the last commit */
    struct store_limits limits;
    struct topic_oldest *window; /* the oldest messages, without holes; refilled from the file */
    uint32_t window_at, window_n, window_room;
    uint32_t n_deletable; /* rows that are evicted and still there */
    bool is_touched;      /* in this transaction */
    struct list in_kept;
};

/* The seq beside it: the search touches no records. */
struct cached_place {
    uint64_t seq;
    struct cached *at;
};

struct store_topic {
    /* the loop's */
    void *cookie;
    struct topic_figures now;
    struct store_limits limits;
    struct record *retained;
    struct list in_recent;
    struct cached_place *cached; /* a ring, oldest first, so that a reader finds its place by halving */
    uint32_t cached_at, n_cached, cached_room; /* room: 0 or a power of two */
    uint32_t n_trims;                          /* commands on the way that may evict */

    struct topic_writing w; /* the writer's */

    uint16_t n_name;
    char name[];
};

/* A recent record. */
struct cached {
    struct record *record;
    struct store_topic *topic;
    struct list in_all;
};

static inline struct cached_place *
topic_cached(const struct store_topic *topic, uint32_t i)
{
    return &topic->cached[(topic->cached_at + i) & (topic->cached_room - 1)];
}

/* ---- Commands. ---- */

enum command_kind {
    COMMAND_APPEND,
    COMMAND_LIMIT,     /* new limits of a topic */
    COMMAND_TRIM,      /* a topic by age */
    COMMAND_DROP,      /* a topic: the loop forgot it, the command owns it */
    COMMAND_TICK,      /* what is done now and then */
    COMMAND_CONFIGURE, /* new options */
};

enum command_retains { RETAINS_NOT, RETAINS_SET, RETAINS_CLEAR };

struct command {
    struct command *next;
    enum command_kind kind;
    struct store_topic *topic;
    struct store_limits limits;    /* LIMIT */
    struct sqlite_options options; /* CONFIGURE */
    /* APPEND */
    struct record *record;
    struct store_origin origin;
    void *cookie;
    size_t size;
    /* the writer's answer */
    uint64_t seq;
    int error;
    enum append_outcome outcome;
    enum command_retains retains;
    bool is_kept;
};

/* What the writer gives back. */
struct batch {
    struct batch *next;
    uint64_t number;
    struct command *first;
    struct topic_touched {
        struct store_topic *topic;
        struct topic_figures now;
    } * touched;
    size_t n_touched;
    uint64_t dropped_seq, n_evicted, n_repeated;
    int error; /* of the transaction */
};

/* ---- The writer. ---- */

struct writer_origin { /* publishes of one boot in this transaction, for the table `publishes` */
    uint64_t boot, first, n;
    uint64_t *seqs;
    size_t room;
};

struct writer {
    struct sqdb d; /* not connected while it cannot be written to */
    char *path;
    int lock_fd;                /* -1: it could not be had yet; needed to write */
    uint64_t epoch, file_epoch; /* file: as it stands in the file that was loaded; 0: there was none */
    int reopen_error;           /* of the last try */
    struct sqlite_options options;
    uint64_t last_seq, dropped_seq, n_keys, bytes, n_evicted, n_repeated;
    uint64_t before_last_seq, before_dropped_seq, before_n_keys, before_bytes,
        before_n_evicted; /* at the last commit */
    struct dedupe dedupe; /* of publish numbers; keys are looked up in the file */
    struct list kept;     /* topics that keep something, in the order of their last append */
    struct store_topic **touched;
    size_t n_touched, touched_room;
    struct writer_origin *origins; /* n_origins of them are of this transaction */
    size_t n_origins, origins_room;
    struct command *drops; /* that a failed transaction left undone */
    uint64_t wal_pages, checkpoint_at;
    uint64_t synced_ms, expired_ms, reopened_ms;
    bool is_unsynced;
    bool is_failing; /* said once, until it is good again */
};

/* ---- Reads. ---- */

struct read_source {
    struct store_topic *topic;
    uint64_t id, from; /* for the reader: what is wanted of the topic `id` has seq > from */
    struct cached *at; /* for the cache: the next one */
    uint32_t n_at;     /* and which of its topic's that is */
};

struct found {
    uint64_t seq, size;
    struct store_topic *topic;
    struct record *record;
};

enum reading_state {
    READING_NEW,   /* what it is about is not collected yet */
    READING_TRIMS, /* waits until what is too old is trimmed */
    READING_ASKED, /* with the reader */
    READING_FOUND, /* read; waits until the loop knows as much as the reader did */
};

struct reading {
    struct list in_queue;
    enum reading_state state;
    struct store_read read;
    struct read_source *sources;
    size_t n_sources, sources_room;
    bool tells_unnamed;
    uint64_t upto; /* nothing above it is given */
    /* the reader's answer */
    struct found *found;
    size_t n_found, found_room;
    uint64_t found_upto;
    uint64_t needs_batch;
    bool is_cut_short;
    int error;
};

/* ---- The whole. ---- */

struct backend {
    struct store_host host;
    struct loop *loop;
    struct sqlite_options options;
    int event_fd;
    struct event *event;
    bool is_started, is_broken;

    uint64_t epoch, last_seq, dropped_seq;
    struct list recent;   /* topics in the order of their last append, those without any first */
    struct list *tick_at; /* in recent: where the walk by age goes on */
    uint64_t ticked_ms;
    bool is_ticking;                 /* a COMMAND_TICK is on the way */
    uint64_t n_queued, bytes_queued; /* appends under way */
    struct store_stats stats;

    struct list cache;
    uint64_t cache_bytes, cache_floor; /* floor: what is not in the cache is not above it, or not kept */

    struct list reads; /* that wait for a command or for a batch */
    struct loop_hook reads_hook;
    uint64_t batch;     /* the last that was taken */
    bool is_delivering; /* records of a batch: no read may look at half of it */
    bool is_calling;    /* a callback of a read that may not change anything */
    bool is_going_on;   /* in read_go_on() */

    pthread_t writer_thread, reader_thread;
    struct writer w;
    struct sqdb reader_db;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t writer_wake, reader_wake;
    struct command *commands, **commands_end;
    struct list asked; /* struct reading, for the reader */
    struct batch *batches, **batches_end;
    struct list read_done; /* struct reading, for the loop */
    bool is_stopping;
    atomic_bool may_write;    /* the writer has its connection */
    atomic_bool is_unlocked;  /* the reader reads and relies on nobody changing the file itself */
    atomic_ullong committing; /* the number of the batch that is being committed, or was last */
};

/* sqwriter.c */
int writer_load(struct backend *b); /* before the thread: the state of the file */
void *writer_main(void *arg);
void writer_fini(struct writer *w);

/* sqtopic.c: topics as the writer sees them, inside a transaction. 0 or negative errno. */
int topic_touch(struct writer *w, struct store_topic *topic);
int topic_append(struct writer *w, struct command *c);
int topic_trim(struct writer *w, struct store_topic *topic, int64_t wall_ms);
int topic_trim_all(struct writer *w);
int topic_limit(
    struct writer *w, struct store_topic *topic, const struct store_limits *limits, int64_t wall_ms);
int topic_drop(struct writer *w, struct store_topic *topic);
int topic_flush(struct writer *w); /* figures of the touched into the file */
void topic_commit_all(struct writer *w);
void topic_roll_back_all(struct writer *w);

/* sqcache.c */
void cache_init(struct backend *b);
void cache_add(struct backend *b, struct store_topic *topic, struct record *record);
void cache_trim(struct backend *b, struct store_topic *topic); /* what the topic evicted */
void cache_forget(struct backend *b, struct store_topic *topic);
void cache_shrink(struct backend *b); /* to cache_bytes */

/* sqread.c */
int read_start(struct backend *b, const struct store_read *read);
void read_go_on(struct backend *b); /* those that may have waited long enough */
void read_cancel_all(struct backend *b);

/* sqreader.c */
void *reader_main(void *arg);
void reading_free(struct reading *r);

/* sqlite.c */
void store_wake(struct backend *b); /* from any thread: the loop has something to take */
void store_command(struct backend *b, struct command *c);
struct command *command_new(enum command_kind kind, struct store_topic *topic);
void sqlite_limit(struct backend *b, struct store_topic *topic, const struct store_limits *limits);
/* If its oldest may be too old: has it trimmed. True: wait for that (n_trims). */
bool store_trim_by_age(struct backend *b, struct store_topic *topic);
/* An error that means that the file is damaged is told to the host, once. */
void store_check_broken(struct backend *b, int error);

#endif
