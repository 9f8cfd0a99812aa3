/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of work queues, shared by queue*.c: see queue.h. */
#ifndef BROKER_QUEUEGROUP_H
#define BROKER_QUEUEGROUP_H

#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/table.h"
#include "broker/consumers.h"
#include "broker/lease.h"
#include "broker/queue.h"
#include "broker/queuecore.h"
#include "wire/errors.h"

struct broker;
struct peer;
struct queue_group;
struct redrive;
struct topic;

/* A message that came back goes to another member first, for so long. */
#define QUEUE_AVOID_MS 1000u
/* The group in which dead letters wait on their topic. */
#define QUEUE_REDRIVE_GROUP "redrive"

/* What a topic has to do with queues; topic->queue. */
struct queue_topic {
    struct topic *topic;
    struct list groups;
    uint64_t last_seq;    /* of the last record that was seen, or that the store had at the start */
    uint64_t trimmed;     /* the store was told that all up to here is done with */
    uint64_t n_appending; /* publishes that the store has not answered */
};

/* A member, as a consumer's `work`. */
struct queue_member {
    struct queue_holder holder;
    struct queue_group *group;
    struct consumer *consumer;
    struct list in_group;
    struct list in_roomy; /* of those that may have room */
};

/* Who waits for a save. */
struct queue_answer {
    uint64_t session, req, count;
    unsigned slot;
};

/* A save under way that is answered. */
struct queue_save {
    struct queue_group *group; /* NULL: it is gone */
    struct buf items, answers;
    uint64_t floor;
    bool is_failed; /* to be tried again */
};

/* What is different in the queues of the bus itself. All may be NULL. */
struct queue_kind {
    /* Somebody would take work, now or soon: messages are read. */
    bool (*has_takers)(const struct queue_group *g);
    bool waits_for_takers; /* give() is called for what came without any, too */
    /* Gives out what can be given. */
    void (*give)(struct queue_group *g);
    /* The end of an item that was given out too often, or given up. It has its record. Ends in
     * queue_buried(), or is done. 0, or negative errno: to be tried again. */
    int (*bury)(struct queue_group *g, struct queue_item *item);
    /* A lease ended; the holder is its that had it. */
    void (*on_ended)(struct queue_group *g, struct queue_holder *holder);
    /* Its beginning, 0 or -ENOMEM; and its end, when nothing more is given out. */
    int (*on_open)(struct queue_group *g);
    void (*on_close)(struct queue_group *g);
};

struct queue_figures_since {
    uint64_t n_done, n_dead, n_lost;
};

struct queue_group {
    uint64_t number; /* first: it is the key. Made from the names and `born`, so it is the same after a
                      * restart, and another one if a group of these names is made anew */
    uint64_t born;
    struct broker *broker;
    struct queue_topic *qt;
    struct store_group *store;
    const struct queue_kind *kind;
    void *work; /* the kind's */
    struct queuecore core;
    struct queue_holder nobody; /* of leases that a broker before us gave out */
    struct list in_topic, in_awake;
    struct loop_timer timer;
    struct list members, roomy;
    uint32_t n_members;
    bool is_restored;
    bool is_dropped;  /* freed when n_users is 0 */
    unsigned n_users; /* reads of the store, and who else holds a pointer */

    bool is_reading, is_fetching;
    bool has_failed;   /* the reading: memory ran out in it */
    bool has_gap;      /* the reading met one since it was last at the end */
    bool is_exact;     /* n_unread is, for the reading was at the end once */
    uint64_t n_unread; /* messages that the reading has not come to, about */
    int64_t unread_ms; /* the oldest of them is not older; 0: not known */
    bool is_looking;   /* the reading is only to know that */
    uint64_t fetched;  /* the seq that the fetching is for */
    uint64_t retry_at_ms;
    uint32_t n_burying;

    struct queue_save *saving;
    struct buf answers; /* struct queue_answer, for the next save */
    uint64_t saved_floor;

    struct redrive *redrive; /* under way */
    struct queue_figures_since figures;
    size_t counted_bytes; /* of core.record_bytes, in queues.totals */
    size_t counted_leased;
    uint64_t lost_logged_ms;
    uint16_t n_name;
    char name[];
};

struct queues {
    struct broker *broker;
    struct table by_number;
    struct queue_group **sorted; /* by topic and group */
    size_t n_sorted, sorted_room;
    struct list awake;
    struct loop_hook hook;
    struct list peeks; /* under way */
    struct buf items;  /* while a save is put together */
    uint64_t next_holder;
    uint8_t key[LEASE_KEY_BYTES];
    bool has_key;
    uint64_t hold_until_ms; /* restored groups give nothing out before: frontends tell what they hold. 0: no
                               frontend has come */
    bool is_stopping;
    struct queue_totals totals;
};

static inline struct slice
queue_name(const struct queue_group *g)
{
    return slice_of(g->name, g->n_name);
}

/* ---- queue.c ---- */

const struct queue_setting *queue_setting(const struct queue_group *g);
/* Restored, and frontends may still be on their way that have what it gave out. */
bool queue_is_held_back(const struct queue_group *g);
/* queues->key is there after. */
void queues_load_key(struct broker *broker);
/* Something happened to it: it is looked at before the turn ends. */
void queue_wake(struct queue_group *g);
struct queue_group *queue_find(const struct topic *topic, struct slice name);
/* One that clients may know of. */
struct queue_group *queue_find_named(struct broker *broker, struct slice topic, struct slice name);
struct queue_group *queue_find_number(struct broker *broker, uint64_t number);
/* Finds or makes it; a new one begins above floor. 0, -ENOSPC (broker.queues_max), -EEXIST (its number is
 * taken), -ENOMEM or what the store says. */
int queue_open(
    struct broker *broker, struct topic *topic, struct slice name, uint64_t floor, struct queue_group **ret);
/* For good. Its members must be gone. */
void queue_drop(struct queue_group *g);
void queue_user_add(struct queue_group *g);
void queue_user_drop(struct queue_group *g); /* may free it */
/* What all groups have done is removed from the store, where the settings say so. */
void queue_trim(struct queue_topic *qt);
/* Where a group and its name stands among the sorted, or would stand. */
size_t queue_sorted_at(const struct queues *queues, struct slice topic, struct slice name);
struct slice queue_lease_text(const struct queue_group *g, const struct queue_item *item, char *text);
void queue_holder_init(struct queues *queues, struct queue_holder *holder);
/* Its lease is over, one way or another: there is room for another one. */
void queue_note_back(struct queue_group *g, struct queue_holder *holder);
void queue_lost(struct queue_group *g, uint64_t n);

/* ---- queueread.c ---- */

/* A record that was just accepted: at once into the queue if that is read to its end, else it is read later.
 */
void queue_note_record(struct queue_group *g, struct record *record);
void queue_read_ahead(struct queue_group *g);
/* With nobody there, the records that were read are not kept. */
void queue_let_go(struct queue_group *g);
/* Of items that were given out, or wait for something, there are so many that no new ones are taken up. */
bool queue_is_crowded(const struct queue_group *g);
/* Reads the records of items that have none, from this one on. */
void queue_fetch(struct queue_group *g, struct queue_item *item);

/* ---- queuegive.c ---- */

void queue_give(struct queue_group *g);
/* The record of an item that is to be given out: true. False: it is being read, or the item is gone. */
bool queue_has_record(struct queue_group *g, struct queue_item *item);
void queue_leave_all(struct queue_group *g, enum error_code code, const char *message);

/* ---- queuesave.c ---- */

void queue_save(struct queue_group *g);
/* Answers with SETTLED when what happened so far is kept. req 0: no answer. */
void queue_answer_saved(struct queue_group *g, unsigned slot, uint64_t session, uint64_t req, uint64_t count);
void queue_answer(struct peer *peer, uint64_t req, enum error_code code, const char *message, uint64_t count);
/* The item that an authentic lease stands for, or NULL. */
struct queue_item *queue_claim(struct queue_group *g, const struct lease *lease);
void queue_saves_fini(struct queue_group *g);

/* ---- queuelist.c ---- */

/* Messages that wait: not leased, not delayed. */
uint64_t queue_count_ready(const struct queue_group *g);
/* At the end, after the store was closed. */
void queue_peeks_fini(struct queues *queues);

/* ---- queuedead.c ---- */

void queue_bury(struct queue_group *g);
/* The dead letter of an item is kept (error 0), or could not be. */
void queue_buried(struct queue_group *g, uint64_t seq, int error);
void queue_redrive_go_on(struct queue_group *g);
void queue_redrive_fini(struct queue_group *g);

#endif
