/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one group has done of its topic's messages, and what is to be done next: the state of a work queue,
 * without a store, a link or a clock of its own. Times are the caller's milliseconds.
 *
 *     floor            first item                            n_read
 *       |................|.......................................|...............
 *        done             items here; what is none is done        not looked at
 *
 * Messages come in the order of seq (queuecore_add()), from the store or as they are published. Each becomes
 * an item, until it is done; so what is kept here does not grow with what is done, and who adds decides how
 * far ahead of the work it reads.
 *
 *     add -> READY -> lease -> LEASED -> done
 *              ^                 |-> retry, or the end of the lease -> WAITING (a delay) or READY
 *              |                 '-> too often, or given up -> DYING -> done
 *            BLOCKED: with ordered keys, while an older message of its key is not done
 *
 * What has to be kept through a restart is collected for queuecore_save(). A lease is told to the store only
 * when it is older than QUEUECORE_LEASE_SAVE_MS: most are over by then. So after a restart a message of which
 * the store knows nothing may have been given out just before; whoever has it says so (queuecore_hold())
 * before anything is handed out.
 */
#ifndef BROKER_QUEUECORE_H
#define BROKER_QUEUECORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/backend.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "base/table.h"

#define QUEUECORE_LEASE_SAVE_MS 250u
/* Reasons of all items of one queue together; what is beyond is not kept. */
#define QUEUECORE_REASONS_MAX (1u << 20)
/* In store_item.n_deliveries: it is to go to the dead letters, however often it was given out. */
#define QUEUECORE_DEAD 0x80000000u
/* Likewise: its lease goes on though nobody says that he has it. */
#define QUEUECORE_OUTLIVES 0x40000000u
#define QUEUECORE_DELIVERIES 0x3fffffffu

enum queue_state { QUEUE_READY, QUEUE_BLOCKED, QUEUE_WAITING, QUEUE_LEASED, QUEUE_DYING };

/* Who has leases; embedded in the caller's own. */
struct queue_holder {
    struct list leases;
    uint64_t id;      /* not 0, never used again: a message that comes back goes to another one first */
    bool is_outlived; /* by its leases */
};

struct queue_key;

struct queue_item {
    uint64_t seq;
    uint64_t until_ms; /* LEASED, WAITING: the end of that. READY: until then not to `avoid`. 0: none */
    int64_t time_ms;   /* of the message; 0: not read yet */
    uint32_t n_deliveries;
    size_t heap_at; /* in the heap of deadlines, from 1; 0: not there */
    uint8_t state;  /* enum queue_state */
    bool is_read;   /* the reading has come to it; one that was restored or held is known before that */
    bool is_known;  /* the store has, or had, an item for it */
    bool is_purged; /* done, but its holder may settle it yet */
    bool is_dead;   /* given up, not given out too often */
    bool outlives;  /* LEASED: its holder, or the broker before us */
    bool is_busy;   /* the caller's: an append for it is under way */
    struct record *record; /* NULL: to be read again */
    struct queue_holder *holder;
    uint64_t avoid; /* the id of the holder that had it last; 0: anybody */
    struct queue_key *key;
    char *reason;         /* why it came back last, or NULL */
    struct list in_order; /* by seq; in queuecore.purged if it is purged */
    struct list in_state; /* READY: again or fresh; LEASED: the holder's, if there is one; DYING: dying */
    struct list in_save;  /* dirty or young */
    struct list in_key;
    uint64_t leased_ms; /* LEASED: since when */
};

struct queuecore_config {
    uint64_t retry_delay_ms; /* after the end of a lease */
    uint32_t max_deliveries; /* 0: no end */
    bool has_ordered_keys;
};

struct queuecore_deadline {
    uint64_t until_ms;
    struct queue_item *item;
};

struct queuecore {
    struct queuecore_config config;
    uint64_t floor;  /* as it was saved last */
    uint64_t n_read; /* everything up to this seq was added, or is done */
    struct list order, purged;
    struct list again, fresh; /* READY: given out before; never */
    struct list dying;
    struct list dirty;               /* to be saved */
    struct list young;               /* leases that the store does not know, oldest first */
    struct list *read_at;            /* in order: the last that is read, or the head */
    struct queue_item *finger;       /* the one that hold() put in last, or NULL */
    struct queue_item **slots;       /* by seq: open addressing; a power of two */
    size_t n_slots, n_items;         /* purged ones too */
    struct queuecore_deadline *heap; /* heap[1] is the next */
    size_t n_heap, heap_room;
    struct table keys;
    struct store_item *done; /* not saved yet */
    size_t n_done, done_room;
    uint64_t *done_before; /* restored: done above the floor, ascending, from done_before_at on */
    size_t n_done_before, done_before_at, done_before_room;
    size_t n_ready, n_blocked, n_waiting, n_leased, n_dying; /* by state, without purged ones */
    size_t n_purged;
    size_t n_givable; /* READY ones that are read */
    size_t n_early;   /* items that are not read */
    uint64_t n_vanished;
    size_t record_bytes; /* of records that items hold */
    size_t reason_bytes;
};

void queuecore_init(struct queuecore *q, const struct queuecore_config *config, uint64_t floor);
void queuecore_fini(struct queuecore *q);
/* A change of settings; of keys only while the queue is new. */
void queuecore_configure(struct queuecore *q, const struct queuecore_config *config);

/* Before the first add, by seq: what the store knows. until_ms is in the caller's time. 0 or -ENOMEM. */
int queuecore_restore(
    struct queuecore *q, uint64_t seq, enum store_item_state state, uint64_t until_ms, uint32_t n_deliveries);

struct queue_item *queuecore_find(const struct queuecore *q, uint64_t seq);
/* Done, as far as this queue knows. */
bool queuecore_is_done(const struct queuecore *q, uint64_t seq);

/* The next message, its seq above n_read. keeps_record: the item holds it. 1: it waits or is given out; 0: it
 * was known to be done; -ENOMEM: nothing happened. */
int queuecore_add(struct queuecore *q, struct record *record, bool keeps_record);
/* There are no other messages up to here. Items known from before that were not read by then are gone from
 * the store, so they are done: n_vanished counts them. */
void queuecore_read_upto(struct queuecore *q, uint64_t seq);
/* For an item without a record; with NULL it gives up its record. */
void queuecore_set_record(struct queuecore *q, struct queue_item *item, struct record *record);

/* Those that are READY, in the order in which they should be given out; NULL at the end. */
struct queue_item *queuecore_ready(const struct queuecore *q);
struct queue_item *queuecore_ready_after(const struct queuecore *q, const struct queue_item *item);

/* A READY one is given out. */
void queuecore_lease(struct queuecore *q, struct queue_item *item, struct queue_holder *holder,
    uint64_t until_ms, uint64_t now_ms);
/* A holder says that it has this lease from before. NULL: it is not its any more (or memory ran out). Else
 * the one that has lost it by this, or NULL, is in *ret_displaced. */
struct queue_item *queuecore_hold(struct queuecore *q, uint64_t seq, uint32_t n_deliveries,
    struct queue_holder *holder, uint64_t until_ms, uint64_t now_ms, struct queue_holder **ret_displaced);

/* What becomes of an item that is LEASED; done: of any. After done it is gone, and if it is_purged after any
 * of these but extend. avoid_ms: for so long another one has it first. reason may be empty. */
void queuecore_done(struct queuecore *q, struct queue_item *item);
void queuecore_retry(struct queuecore *q, struct queue_item *item, uint64_t delay_ms, uint64_t avoid_ms,
    struct slice reason, uint64_t now_ms);
void queuecore_extend(struct queuecore *q, struct queue_item *item, uint64_t until_ms);
void queuecore_kill(struct queuecore *q, struct queue_item *item, struct slice reason);
/* The holder left: its leases come back, or go on without it. */
void queuecore_return_all(
    struct queuecore *q, struct queue_holder *holder, uint64_t avoid_ms, uint64_t now_ms);
void queuecore_orphan_all(struct queue_holder *holder);

/* After a restart: leases that nobody holds end then at the latest, but for those that outlive their holder.
 */
void queuecore_cap_unheld(struct queuecore *q, uint64_t until_ms);

/* The next deadline, UINT64_MAX for none. */
uint64_t queuecore_due(const struct queuecore *q);
/* One deadline that has passed. False: there was none. *ret_holder: whose lease it was that ended, or NULL.
 */
bool queuecore_expire(
    struct queuecore *q, uint64_t now_ms, uint64_t avoid_ms, struct queue_holder **ret_holder);

/* Everything up to `upto` that is not leased is done, what is leased need not be done any more. Gives how
 * many items were done; messages that were not added are the caller's to count. */
size_t queuecore_purge(struct queuecore *q, uint64_t upto);

/* What a store has to be told: the items of it (until_ms in the caller's time), and the floor, 0 if it is as
 * before. Valid until the next call of anything. all: young leases too. 0, or -ENOMEM. Nothing to save: n and
 * floor are 0. */
int queuecore_save(struct queuecore *q, uint64_t now_ms, bool all, struct buf *items, uint64_t *ret_floor);
/* The store took that up. */
void queuecore_saved(struct queuecore *q);
bool queuecore_has_unsaved(const struct queuecore *q);
/* Of this one the store has not been told the latest. */
bool queuecore_is_unsaved(const struct queue_item *item);
/* When the oldest young lease has to be saved; UINT64_MAX for none. */
uint64_t queuecore_save_due(const struct queuecore *q);

#endif
