/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the broker needs of a store. A backend numbers, keeps, trims and replays messages; it knows topics
 * only by name and limits, nothing of filters, links or clients.
 *
 * The model: append() hands a message over; at some later time, perhaps before append() returns (memory),
 * perhaps after a commit (sqlite) or a round trip (redis), the backend calls host->on_record() for it, in the
 * order of seq over all topics. Delivery to subscribers starts there and nowhere else. After on_record() of a
 * message comes its host->on_appended(). Everything happens in the loop's thread; a backend that uses threads
 * comes back through the loop.
 *
 * To add a backend: a folder with its ops, a row in backends/registry.c, its options table, and it must pass
 * tests/conformance/backend.
 */
#ifndef BACKENDS_BACKEND_H
#define BACKENDS_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"

struct loop;

/* The backend's own state of one topic. The broker keeps a pointer to it in its topic and gives it back. */
struct store_topic;

/* The one flag that a backend acts on; the same number as MESSAGE_RETAIN of the link. */
#define RECORD_RETAIN 1u
/* The kind whose body is no text; the same number as MESSAGE_BINARY. */
#define RECORD_BINARY 0u
#define RECORD_ONCE_MAX 255u

/* One accepted message: never changed after it was made, shared by reference. */
struct record {
    atomic_uint n_refs;
    uint8_t kind;   /* enum message_kind, opaque here */
    uint8_t flags;  /* enum message_flag; a backend knows RECORD_RETAIN */
    uint8_t n_once; /* of what stands behind the body, and is not kept: record_once() */
    bool is_key_once;
    uint64_t seq;    /* set by the backend before on_record() */
    uint64_t prev;   /* the seq that was before it on its topic when it was appended, 0 if none. In a read the
                        one before it may be missing without a gap: it has expired since */
    int64_t time_ms; /* wall clock of the append */
    int64_t expires_ms; /* wall clock from which on it is not handed out any more; 0: never */
    int64_t due_ms; /* wall clock before which it is kept aside and has no seq; 0: append it now, and so it
                       is in on_record() */
    void *topic;    /* the broker's cookie of the topic, from topic_open() */
    struct list
        in_all; /* these two are the backend's: a list of all that it keeps in memory, in the order of seq, */
    struct store_topic *store;                 /* and its topic there */
    uint32_t n_type, n_headers, n_key, n_body; /* of the parts, which stand in data[] one after the other */
    uint8_t data[];
};
/* Each message that is kept pays for it. */
_Static_assert(sizeof(struct record) <= 96, "a record's head");

static inline struct slice
record_type(const struct record *record)
{
    return slice_of(record->data, record->n_type);
}

static inline struct slice
record_headers(const struct record *record)
{
    return slice_of(record->data + record->n_type, record->n_headers);
}

static inline struct slice
record_key(const struct record *record)
{
    return slice_of(record->data + record->n_type + record->n_headers, record->n_key);
}

static inline struct slice
record_body(const struct record *record)
{
    return slice_of(record->data + record->n_type + record->n_headers + record->n_key, record->n_body);
}

/* Copies the parts into one allocation; one reference, the caller's. NULL if memory ran out. A repeat is seen
 * by the key. */
struct record *record_new(struct slice type, struct slice headers, struct slice key, struct slice body);
/* The same, but a repeat is seen by `once`, at most RECORD_ONCE_MAX bytes, and if that is empty by nothing.
 */
struct record *record_new_once(
    struct slice type, struct slice headers, struct slice key, struct slice once, struct slice body);
/* By what an append sees that it is the repeat of another; a record that was read has no such thing. Empty:
 * none. */
struct slice record_once(const struct record *record);
void record_unref(struct record *record); /* NULL is fine */

static inline struct record *
record_ref(struct record *record)
{
    atomic_fetch_add_explicit(&record->n_refs, 1, memory_order_relaxed);
    return record;
}

/* Bytes that it counts for in limits. */
static inline size_t
record_size(const struct record *record)
{
    return sizeof(*record) + (size_t)record->n_type + record->n_headers + record->n_key + record->n_body +
           record->n_once;
}

/* What a topic keeps. 0 means none of it: messages 0 keeps no history. */
struct store_limits {
    uint64_t messages;
    uint64_t age_ms;          /* 0: no limit by age */
    uint64_t bytes;           /* 0: no limit by bytes */
    bool keeps_last_retained; /* every message becomes the retained value, not only flagged ones */
    bool keeps_no_retained;   /* the flag is ignored */
    bool is_held;             /* a queue: nothing above the mark of topic_hold() is trimmed by these limits */
    bool is_unrecoverable;    /* nobody recovers it: what it does not keep, or kept when it was dropped, is no
                                 gap to anybody */
    bool is_volatile; /* nothing of it is written to a disk, the retained value neither ($sys): when the
                         store is closed it is as if it had never been. Takes nothing with a due_ms */
};

/* Who sent a publish, so that a repeat is seen: a frontend's boot and its publish number (from 1, without
 * gaps). boot 0: the broker itself, no check. */
struct store_origin {
    uint64_t boot;
    uint64_t pub;
};

enum append_outcome {
    APPEND_OK,        /* seq is the message's */
    APPEND_REPEATED,  /* it was appended before; seq is the one it got then; no on_record() */
    APPEND_FORGOTTEN, /* a repeat of something so old that its seq is no longer known; seq is 0 */
    APPEND_SCHEDULED, /* kept until its due_ms, which stands for the seq; no on_record() before that */
};

/* ---- Groups: what the members of a work queue have done of a topic's messages. The store keeps what it is
 * told, and knows nothing of members, leases or turns. ---- */

struct store_group;
#define STORE_GROUP_NAME_MAX 64

enum store_item_state {
    ITEM_READY,  /* to be given out, not before until_ms */
    ITEM_LEASED, /* given out until until_ms */
    ITEM_DONE,
};

/* What is known of one message for one group. Of messages above the group's floor for which there is none:
 * ready, never given out. */
struct store_item {
    uint64_t seq;
    int64_t until_ms; /* wall clock; 0: at once */
    uint32_t n_deliveries;
    uint8_t state; /* enum store_item_state */
};

/* A group beside its items. */
struct store_group_state {
    uint64_t floor; /* everything at or below it is done */
    uint64_t born;  /* the host's, of its birth: it tells a group from an earlier one of the same name */
    uint64_t n_done, n_dead, n_lost; /* the host's figures since then */
};

struct store_stats {
    uint64_t n_topics, n_records, n_bytes, n_evicted, n_repeated;
    uint64_t n_expired;                      /* that went because their time was over */
    uint64_t n_scheduled, n_scheduled_bytes; /* messages that are kept aside until they are due */
    uint64_t n_groups;
    uint64_t n_items;  /* that are kept for restore(): none if nothing outlives the store */
    uint64_t n_failed; /* times that the store could not keep what it was given: a full disk */
};

/* What the backend calls back; all in the loop's thread. */
struct store_host {
    /* record is borrowed: take a reference to keep it. */
    void (*on_record)(struct record *record, void *arg);
    /* Of each append, in order for one origin. error 0, or a negative errno: not appended (outcome void). */
    void (*on_appended)(void *cookie, int error, enum append_outcome outcome, uint64_t seq, void *arg);
    /* From restore(), for each topic that the store has from before: the host's cookie for it and its limits.
     * 0 or negative errno, which ends restore(). It may ask for the
     * retained value, and says -EUCLEAN to what is no topic: the store is damaged then. A host that uses no
     * store that outlives it may leave it NULL. */
    int (*on_topic)(struct slice name, struct store_topic *topic, void **ret_cookie,
        struct store_limits *ret_limits, void *arg);
    /* From restore(), after on_topic() of its topic, for each group that the store has from before, and then
     * for each item above its floor, by seq. 0 or negative errno, which ends restore(). May be NULL: then
     * groups are forgotten. */
    int (*on_group)(void *topic, struct slice name, struct store_group *group,
        const struct store_group_state *state, void **ret_cookie, void *arg);
    int (*on_group_item)(void *group, const struct store_item *item, void *arg);
    /* The answer to a group_save() with a cookie: 0, or a negative errno (then it is not kept). In the order
     * of saves and appends. */
    void (*on_saved)(void *cookie, int error, void *arg);
    /* The store found that it is damaged and cannot go on: the host has to end. At the next start the store
     * sets aside what is damaged, and begins a new epoch. May be NULL. */
    void (*on_broken)(void *arg);
    void *arg;
};

/* A read in order of seq over many topics. */
struct store_read {
    /* Which topics: called once, if at all, for each topic that has (or had, and evicted) anything above
     * `since`. */
    bool (*wants)(void *topic, void *arg);
    /* If not NULL: these topics and no others, without asking wants(); so that the reader of one topic does
     * not pay for a million others. A NULL among them is a name that the broker does not know: only what was
     * dropped concerns it. */
    struct store_topic *const *topics;
    size_t n_topics;
    uint64_t since; /* only seq > since */
    /* What last_seq() was when the read before this one began, of the same reader and of the same topics,
     * with `since` no higher; 0: there was none. What was evicted before that need not be told again. */
    uint64_t told_at;
    uint64_t last;        /* if not 0: of each topic at most its last so many; since is then ignored */
    int64_t since_ms;     /* with last: records that were appended before this are not wanted; they may come,
                           * where     leaving them out would be more work */
    uint64_t max_records; /* 0: no limit */
    size_t max_bytes;     /* stop after about so many bytes (at least one record) */
    /* Results, in order of seq; record is borrowed. Nor wants(), on_record() nor on_gap() may append, open,
     * limit, drop or read; on_done() may do anything. */
    void (*on_record)(struct record *record, void *arg);
    /* Before the records: a wanted topic evicted messages above `since`, the highest being `seq`. topic NULL:
     * topics that are forgotten by name; it may or may not concern the reader. Never called for reads with
     * `last`. */
    void (*on_gap)(void *topic, uint64_t seq, void *arg);
    /* The end of this read, once: upto is the seq up to which everything wanted has been given: the store's
     * last seq when the read began if nothing was cut short; else, as a rule, that of the last record given.
     * If more was appended meanwhile, it is above upto: who wants to go on live reads again until upto is the
     * last seq that was handed out. error: 0 or negative errno. */
    void (*on_done)(int error, uint64_t upto, bool is_cut_short, void *arg);
    void *arg;
};

struct backend;

struct backend_ops {
    const char *name;

    /* conf is the backend's options struct. host is copied. Calls nothing of the host before open() returned.
     */
    int (*open)(const void *conf, struct loop *loop, const struct store_host *host, struct backend **ret);
    /* Once, right after open(), before anything else: tells host->on_topic() what there is. NULL: nothing
     * outlives the store. 0 or negative errno; then only close() may follow. */
    int (*restore)(struct backend *b);
    /* Stops; what was appended and not yet answered is finished first as far as the store can, and reads
     * under way end with -ECANCELED: the host is called for these. Records given out stay; the states of
     * topics go with the backend. */
    void (*close)(struct backend *b);

    /* The life of the store's numbers, never 0, and the last seq that was given out (and handed to
     * on_record). */
    uint64_t (*epoch)(const struct backend *b);
    uint64_t (*last_seq)(const struct backend *b);

    /* Gives the state of a topic, made if it is new. cookie comes back in records and reads. */
    int (*topic_open)(struct backend *b, struct slice name, void *cookie, const struct store_limits *limits,
        struct store_topic **ret);
    /* New limits after a reload; trims at once. */
    void (*topic_limit)(struct backend *b, struct store_topic *topic, const struct store_limits *limits);
    /* The broker drops its topic, with all that it keeps; no read is under way. The backend remembers the
     * highest seq of dropped topics, so that a cursor below it is answered with a gap; a topic that is opened
     * later begins with it as its highest evicted seq, for it may be one of those. */
    void (*topic_drop)(struct backend *b, struct store_topic *topic);

    /* Nothing is kept of it, aside neither, and it has no retained value and no group: dropping it loses
     * nothing. Appends under way are not looked at. */
    bool (*topic_is_idle)(struct backend *b, struct store_topic *topic);

    /* Of a topic whose limits say is_held: messages with a seq above `above` are kept whatever the limits of
     * the topic and of the store say (but not longer than they live, expires_ms); those up to it follow the
     * limits. UINT64_MAX, as it is for a topic that was just opened: nothing is held. 0, as it is for one
     * that on_topic() told of: everything is. */
    void (*topic_hold)(struct backend *b, struct store_topic *topic, uint64_t above);
    /* Messages up to `upto` are done with: they go now, and count as evicted. */
    void (*topic_trim)(struct backend *b, struct store_topic *topic, uint64_t upto);

    /* Gives a group of this topic. A new one is made, and kept with the next commit, in this state. One that
     * there is keeps its own, and gets this cookie. A topic with groups may not be dropped. The name has at
     * most STORE_GROUP_NAME_MAX bytes. */
    int (*group_open)(struct backend *b, struct store_topic *topic, struct slice name,
        const struct store_group_state *state, void *cookie, struct store_group **ret);
    /* Forgets it, with its items. The answers to its saves still come. */
    void (*group_drop)(struct backend *b, struct store_group *group);
    /* Replaces what is known of these messages, in any order, and the figures, and moves the floor up (0: it
     * stays), which forgets the items at or below it; `born` is not looked at. All of it is kept, or nothing,
     * in the order of appends and saves. With a cookie under the sync policy: then host->on_saved() is
     * called, perhaps before this returns. Without one it is kept with the next commit that something else
     * needs, or soon. items is copied. 0, or negative errno: not taken up (-EAGAIN: too much is under way).
     */
    int (*group_save)(struct backend *b, struct store_group *group, const struct store_item *items, size_t n,
        const struct store_group_state *state, void *cookie);

    /* Takes one reference of record, also on failure. One with a due_ms that is still to come is kept aside,
     * through restarts, answered by APPEND_SCHEDULED, and appended by the store itself when it is due,
     * in the order of due_ms: host->on_record() as for any other, and no on_appended(). One that has expired
     * by then is forgotten instead. What has expired is not handed out by read() or retained(), and trimmed;
     * its absence is no gap, for its publisher wanted it so. The answer comes by host->on_appended(cookie).
     * 0, or negative errno: not taken up, no answer will come (-EAGAIN: too much is under way; pause the
     * publisher's link; -EINVAL: a due_ms on a topic that is volatile). A repeat of a publish that was kept
     * aside is answered as that one was, with the same due_ms, also when it was appended since. */
    int (*append_take)(struct backend *b, struct store_topic *topic, struct record *record,
        struct store_origin origin, void *cookie);

    /* read is copied, what it points to only has to live until on_done(). Memory calls back before it
     * returns. 0 or negative errno (then nothing is called). */
    int (*read)(struct backend *b, const struct store_read *read);

    /* The retained value of a topic, a reference for the caller, or NULL. */
    struct record *(*retained)(struct backend *b, struct store_topic *topic);

    /* For lists: how much the topic keeps now, its last seq. Any ret may be NULL. */
    void (*topic_stats)(struct backend *b, const struct store_topic *topic, uint64_t *ret_last,
        uint64_t *ret_n, uint64_t *ret_bytes);

    /* Trims by age, and what has expired; called by the broker now and then, does at most `budget` topics and
     * returns. */
    void (*tick)(struct backend *b, unsigned budget);

    void (*stats)(const struct backend *b, struct store_stats *ret);

    /* New options after a reload; NULL if the backend takes none while it runs. */
    void (*configure)(struct backend *b, const void *conf);
};

extern const struct backend_ops backend_memory;
extern const struct backend_ops backend_sqlite;

/* By name; NULL if unknown. backend_names() is for messages: "memory, sqlite". */
const struct backend_ops *backend_find(struct slice name);
const char *backend_names(void);

#endif
