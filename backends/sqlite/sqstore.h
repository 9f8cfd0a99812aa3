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
#include "backends/seqlist.h"
#include "backends/sqlite/sqdb.h"
#include "backends/sqlite/sqlite.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/table.h"

struct event;

#define OLDEST_UNKNOWN INT64_MIN
#define OLDEST_HELD INT64_MAX /* it may not go */

/* ---- Topics. ---- */

/* What a topic looks like after a commit. */
struct topic_figures {
    uint64_t id; /* its row; 0: it has none yet */
    uint64_t last_seq, evicted_seq;
    uint64_t n, bytes; /* kept */
    int64_t oldest_ms; /* time of the oldest that is kept, or OLDEST_UNKNOWN, or OLDEST_HELD; kept up only if
                          there is a limit by age */
    uint32_t n_aside;  /* messages that are not due yet */
    bool has_retained;
};

/* One of the oldest messages of a topic: what trimming has to know. */
struct topic_oldest {
    uint64_t seq, size;
    int64_t time_ms;
};

/* What few topics have: queues, and those with messages that expire or are due later. Made by the loop when a
 * topic first needs it, and handed to the writer with a command; goes with the topic. */
struct topic_extra {
    struct store_topic *topic;
    /* the loop's */
    struct command *mark; /* that rides; NULL: none does */
    uint64_t hold_asked, trim_asked;
    uint32_t mark_sent, mark_done; /* the newest mark that was made, and that came back */
    bool has_mark_failed;
    uint32_t n_groups;
    uint32_t n_cached_ends; /* records in the cache that expire */
    /* the writer's */
    uint64_t hold_above, trim_upto; /* they hold even if the transaction fails */
    struct heap_node in_ends;       /* by the next end, or something before it; once in it stays */
    int64_t retained_end_ms, before_retained_end_ms; /* 0: it has none, or there is none */
    uint64_t known_id;                               /* in by_id: the topic's; 0: it is not there */
    struct list in_leftovers;
};

struct topic_writing {
    struct topic_extra *x;            /* NULL: the topic has none, or the writer needed none yet */
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
    struct topic_extra *x; /* NULL: it needed none yet */
    struct record *retained;
    struct list in_recent;
    struct cached_place *cached; /* a ring, oldest first, so that a reader finds its place by halving */
    uint32_t cached_at, n_cached, cached_room; /* room: 0 or a power of two */
    uint32_t n_trims;                          /* commands on the way that may evict */
    bool is_restored;                          /* then all of a queue is held until the host says otherwise */
    bool is_dropped;                           /* the host's cookie is gone */
    struct list in_evicted;
    uint64_t evicted_at; /* the store's last seq when evicted_seq changed the last time, or the seq of that
                            batch */
    uint64_t asked;      /* by the read of that number (sqwide.c), and what came of it */

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

/* ---- Groups. ---- */

/* Saved and not written yet; of two of one message the later holds. */
struct saved_item {
    struct store_item item;
    uint32_t order;
};

struct group_figures {
    uint64_t id; /* its row; 0: it has none */
    struct store_group_state state;
    uint64_t n_items; /* rows */
};

struct group_writing {
    struct group_figures now, before;
    struct saved_item *items; /* of this transaction */
    uint32_t n_items, items_room;
    bool is_touched, is_dropped;
};

struct store_group {
    /* the loop's */
    void *cookie;
    struct store_topic *topic; /* not looked at after the group was dropped */
    struct command *riding;    /* a save that more can be put into; NULL: there is none */
    struct list in_loaded;     /* until restore() has told of it */

    struct group_writing w; /* the writer's */

    size_t n_key;
    uint8_t key[]; /* the address of the topic, then the name */
};

/* ---- Commands. ---- */

enum command_kind {
    COMMAND_APPEND,
    COMMAND_LIMIT,      /* new limits of a topic */
    COMMAND_TRIM,       /* a topic by age */
    COMMAND_MARK,       /* what of a queue is held, and what is done with */
    COMMAND_DROP,       /* a topic: the loop forgot it, the command owns it */
    COMMAND_GROUP_OPEN, /* a new group */
    COMMAND_GROUP_SAVE,
    COMMAND_GROUP_DROP, /* the loop forgot it, the command owns it */
    COMMAND_TICK,       /* what is done now and then */
    COMMAND_CONFIGURE,  /* new options */
};

enum command_retains { RETAINS_NOT, RETAINS_SET, RETAINS_CLEAR };

struct command {
    struct command *next;
    enum command_kind kind;
    struct store_topic *topic;
    struct topic_extra *x; /* the topic's */
    struct store_group *group;
    void *cookie;
    size_t size;
    union {
        struct store_limits limits;    /* LIMIT */
        struct sqlite_options options; /* CONFIGURE */
        struct {                       /* APPEND */
            struct record *record;
            struct store_origin origin;
        };
        struct { /* MARK */
            uint64_t hold_above, trim_upto;
            uint32_t mark;
        };
        struct { /* GROUP_OPEN, GROUP_SAVE */
            struct store_group_state state;
            struct store_item *items;
            uint32_t n_items, items_room;
        };
    };
    /* the writer's answer */
    uint64_t seq;
    int error;
    enum append_outcome outcome;
    enum command_retains retains;
    bool is_kept;
    bool is_due; /* an append of what was kept aside: nobody waits for its answer */
};

/* What a transaction that fails takes back. */
struct writer_figures {
    uint64_t last_seq, dropped_seq, n_keys, bytes, n_evicted, n_repeated, n_expired;
    uint64_t n_aside, aside_bytes, n_items;
    int64_t next_due_ms; /* of what is kept aside; INT64_MAX: nothing is */
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
    struct command *due; /* appends of what was kept aside; when it is given back they are the first */
    struct writer_figures now;
    int error; /* of the transaction */
};

/* ---- The writer. ---- */

struct writer_origin { /* publishes of one boot in this transaction, for the table `publishes` */
    uint64_t boot, first, n;
    uint64_t *seqs;
    size_t room;
    bool is_written; /* one of them is of a topic that is in the file */
};

struct writer {
    struct sqdb d; /* not connected while it cannot be written to */
    char *path;
    int lock_fd;                /* -1: it could not be had yet; needed to write */
    uint64_t epoch, file_epoch; /* file: as it stands in the file that was loaded; 0: there was none */
    int reopen_error;           /* of the last try */
    struct sqlite_options options;
    struct writer_figures now, before; /* before: as they were at the last commit */
    uint64_t file_seq;                 /* the last number, as the file has it */
    uint64_t reserved_seq;             /* up to it numbers may be given out that the file does not know of */
    struct dedupe dedupe;              /* of publish numbers; keys are looked up in the file */
    struct list kept;      /* topics that keep something that may go, in the order of their last append */
    struct heap ends;      /* topics with something that expires */
    struct table by_id;    /* struct topic_extra of topics with messages that are kept aside */
    struct list leftovers; /* topics with rows that are still to be deleted */
    struct store_topic **touched;
    size_t n_touched, touched_room;
    struct store_group **groups; /* touched */
    size_t n_groups, groups_room;
    struct writer_origin *origins; /* n_origins of them are of this transaction */
    size_t n_origins, origins_room;
    struct command *musts, **musts_end; /* that a failed transaction left undone, and have to be done */
    uint64_t wal_pages, checkpoint_at;
    uint64_t retry_at_ms; /* monotonic: what nobody waits for is not tried before, for the last try failed */
    bool has_more_ends;
    uint64_t synced_ms, reopened_ms;
    int64_t expired_ms;
    bool is_unsynced;
    bool is_failing; /* said once, until it is good again */
};

/* ---- Reads. ---- */

struct read_source {
    struct store_topic *topic;
    uint64_t id, from; /* for the reader: what is wanted of the topic `id` has seq > from */
    struct cached *at; /* for the cache: the next one */
    uint32_t n_at;     /* and which of its topic's that is */
    uint32_t mark;     /* of its topic, that the read waits for */
};

struct found {
    uint64_t seq, size;
    uint64_t id; /* of the topic, if the reader does not know which one that is */
    struct store_topic *topic;
    struct record *record;
};

enum reading_state {
    READING_NEW,   /* what it is about is not collected yet */
    READING_TRIMS, /* waits until what is too old, or done with, is trimmed */
    READING_ASKED, /* with the reader */
    READING_FOUND, /* read; waits until the loop knows as much as the reader did */
    READING_PAGE,  /* a wide one has all that it gives; waits as with TRIMS */
};

struct reading {
    struct list in_queue;
    enum reading_state state;
    struct store_read read;
    struct read_source *sources;
    size_t n_sources, sources_room;
    bool tells_unnamed;
    bool is_wide; /* along all messages: sqwide.c */
    uint64_t number;
    uint64_t upto;   /* nothing above it is given */
    int64_t wall_ms; /* nothing that has expired by then */
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
    uint64_t n_queued, bytes_queued; /* appends and saves under way */
    struct store_stats stats;
    struct table groups;
    struct list loaded_groups;
    /* Commands that nobody waits for: they go along with the next one, or when the timer says so. */
    struct command *riding, **riding_end;
    struct loop_timer riding_timer;

    struct list evicted; /* topics that lost something, in the order in which they did */
    struct table by_id;  /* topics that have a row */
    bool is_id_lost;     /* one of them could not be put there */
    uint64_t n_reads;

    struct seqlist cache;
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
bool topic_is_stored(const struct store_topic *topic); /* it leaves something in the file */
int topic_touch(struct writer *w, struct store_topic *topic);
int topic_give_row(struct writer *w, struct store_topic *topic);
int topic_keep(struct writer *w, struct store_topic *topic, const struct record *record);
int topic_clear_retained(struct writer *w, struct store_topic *topic);
void topic_forget_window(struct store_topic *topic);
int topic_mark(struct writer *w, struct command *c, int64_t wall_ms);
int topic_delete_leftovers(struct writer *w);
int topic_trim(struct writer *w, struct store_topic *topic, int64_t wall_ms);
int topic_trim_all(struct writer *w);
int topic_limit(
    struct writer *w, struct store_topic *topic, const struct store_limits *limits, int64_t wall_ms);
int topic_drop(struct writer *w, struct store_topic *topic);
int topic_flush(struct writer *w); /* figures of the touched into the file */
void topic_commit_all(struct writer *w);
void topic_roll_back_all(struct writer *w);

/* sqappend.c: one message, likewise. */
int append_do(struct writer *w, struct command *c);
int append_due(struct writer *w, struct command *c);
void append_bind(sqlite3_stmt *s, uint64_t topic, const struct record *record);
int append_run(sqlite3_stmt *s); /* a statement whose values point into a record */
int append_flush(struct writer *w);
void append_commit_all(struct writer *w);
void append_roll_back_all(struct writer *w);

/* sqtimes.c: what ends, and what is due later, likewise. */
void times_init(struct writer *w);
void times_fini(struct writer *w);
int times_note_end(struct writer *w, struct store_topic *topic, int64_t end_ms);
bool times_have_ended(const struct store_topic *topic, int64_t wall_ms);
/* Of what has expired on the topic, so much as one transaction takes. */
int times_expire(struct writer *w, struct store_topic *topic, int64_t wall_ms);
int times_expire_all(struct writer *w, int64_t wall_ms);
int times_put_aside(struct writer *w, struct command *c);
bool times_are_due(const struct writer *w, int64_t wall_ms);
/* Appends what is due; *ret: the commands, in order, also on failure. */
int times_append_due(struct writer *w, int64_t wall_ms, struct command **ret);
int times_drop(struct writer *w, struct store_topic *topic);
void times_roll_back(struct writer *w, struct store_topic *topic);
int times_know(struct writer *w, struct topic_extra *x, uint64_t id); /* its topic has something aside */

/* sqitems.c: groups as the writer sees them, likewise. */
int items_open(struct writer *w, struct command *c);
int items_save(struct writer *w, struct command *c);
int items_drop(struct writer *w, struct command *c);
int items_flush(struct writer *w);
void items_commit_all(struct writer *w);
void items_roll_back_all(struct writer *w);

/* sqgroup.c: groups as the loop sees them. */
void groups_init(struct backend *b);
void groups_fini(struct backend *b);
int groups_add(struct backend *b, struct store_topic *topic, struct slice name, struct store_group **ret);
int groups_restore(struct backend *b); /* tells the host */
void group_free(struct store_group *group);
struct slice group_name(const struct store_group *group);
int sqlite_group_open(struct backend *b, struct store_topic *topic, struct slice name,
    const struct store_group_state *state, void *cookie, struct store_group **ret);
void sqlite_group_drop(struct backend *b, struct store_group *group);
int sqlite_group_save(struct backend *b, struct store_group *group, const struct store_item *items, size_t n,
    const struct store_group_state *state, void *cookie);

/* sqmark.c: what of a queue is held, and done with. */
void sqlite_topic_hold(struct backend *b, struct store_topic *topic, uint64_t above);
void sqlite_topic_trim(struct backend *b, struct store_topic *topic, uint64_t upto);
void mark_again(struct backend *b, struct store_topic *topic); /* if the last one failed */

/* sqcache.c */
void cache_init(struct backend *b);
void cache_add(struct backend *b, struct store_topic *topic, struct record *record);
void cache_trim(struct backend *b, struct store_topic *topic); /* what the topic evicted */
void cache_forget(struct backend *b, struct store_topic *topic);
void cache_shrink(struct backend *b); /* to cache_bytes */

/* sqwide.c */
/* How it goes on; or negative errno. */
enum wide_outcome {
    WIDE_NOT,   /* topic by topic */
    WIDE_PAGE,  /* it has all that it gives */
    WIDE_ASKED, /* the reader has it */
};
int wide_begin(struct backend *b, struct reading *r);
int wide_on_found(struct backend *b, struct reading *r);
bool wide_wants(struct reading *r, struct store_topic *topic);
void wide_tell_gaps(struct backend *b, struct reading *r);
struct slice wide_key_of(const void *value); /* of by_id */
void wide_know(struct backend *b, struct store_topic *topic);
void wide_forget(struct backend *b, struct store_topic *topic);
void wide_note_evicted(struct backend *b, struct store_topic *topic, uint64_t at);

/* sqread.c */
int reading_add_source(struct reading *r, struct store_topic *topic);
void reading_start_trims(struct backend *b, struct reading *r); /* of the sources */
void reading_hand_over(struct backend *b, struct reading *r);   /* to the reader */
int read_start(struct backend *b, const struct store_read *read);
void read_go_on(struct backend *b); /* those that may have waited long enough */
void read_cancel_all(struct backend *b);

/* sqreader.c */
void *reader_main(void *arg);
int reading_add_found(struct reading *r, struct found found); /* takes the record */
void reading_free(struct reading *r);

/* sqlite.c */
void store_wake(struct backend *b); /* from any thread: the loop has something to take */
void store_command(struct backend *b, struct command *c);
/* Nobody waits for it: it goes along with the next one, or soon. */
void store_ride(struct backend *b, struct command *c);
void store_end_ride(struct backend *b);
struct command *command_new(enum command_kind kind, struct store_topic *topic);
/* Of the topic, made if it has none. NULL: no memory. */
struct topic_extra *store_topic_extra(struct store_topic *topic);
void sqlite_limit(struct backend *b, struct store_topic *topic, const struct store_limits *limits);
/* If its oldest may be too old: has it trimmed. True: wait for that (n_trims). */
bool store_trim_by_age(struct backend *b, struct store_topic *topic);
/* An error that means that the file is damaged is told to the host, once. */
void store_check_broken(struct backend *b, int error);

#endif
