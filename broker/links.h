/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frontends: each is a peer at the other end of one link, from the HELLO that was answered to the end of
 * the link.
 *
 *     OFFERED --ATTACH--> LISTING --RESUME--> BEHIND --caught up--> LIVE --too slow--> BEHIND ...
 *
 * LISTING: it tells what it holds; nothing is delivered. BEHIND: it is sent what it wants from the store,
 * from a position on, as fast as it takes it (broker/catchup.h). LIVE: everything up to broker->last_seq was
 * put on its link. PARTING: nothing more for it.
 */
#ifndef BROKER_LINKS_H
#define BROKER_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/table.h"
#include "broker/catchup.h"
#include "wire/frame.h"

struct broker;
struct interest_filter;
struct link;
struct publish_held;
struct topic;

#define PEER_NAME_MAX 64
#define PEER_HANDLES 65536u /* of NAME: the numbers that a frontend may give */
/* Recoveries that wait, and the bytes of their filters: past one of these the link is paused, for a storm of
 * clients that come back is no fault of the frontend. */
#define PEER_RECOVERIES_MAX 16384u
#define PEER_RECOVERY_BYTES_MAX (16u * 1024 * 1024)
#define PEER_PEEKS_MAX 64u /* likewise */
#define PEER_STATS_MAX (16u * 1024)

enum peer_phase { PEER_OFFERED, PEER_LISTING, PEER_BEHIND, PEER_LIVE, PEER_PARTING };

/* A filter that the frontend holds, under its own number. */
struct peer_filter {
    uint64_t number;
    struct interest_filter *filter;
};

/* What a NAME stands for: the name, and the topic as it was found the last time. */
struct peer_handle {
    uint64_t hash;   /* of the name, for the table of topics */
    uint64_t serial; /* of the topic; 0: not found yet. If another one has its handle by now, it is looked up
                        again */
    uint32_t topic_handle;
    uint16_t error; /* enum error_code: why a client may not publish to this name */
    uint16_t n_name, n_room;
    char name[];
};

/* Consecutive publishes that were appended as consecutive seqs: one PUBLISHED. */
struct peer_run {
    uint64_t pub, seq, n;
};

struct peer_counters {
    uint64_t published, rejected, delivered, replayed, fell_behind;
};

struct peer {
    struct broker *broker;
    struct link *link;
    enum peer_phase phase;
    unsigned slot;
    uint64_t session, boot, pid;
    char name[PEER_NAME_MAX + 1], kind[PEER_NAME_MAX + 1], version[PEER_NAME_MAX + 1];
    char *path; /* of the link's socket */
    int64_t since_wall_ms;

    uint64_t attach_seq; /* the position told in ATTACHED */
    struct table filters;
    uint64_t filters_weight;      /* of all of them (filter_weight()); broker.filters_max is its limit */
    struct peer_handle **handles; /* NULL, or n_handles of them, entries may be NULL */
    uint32_t n_handles;

    struct peer_run run;
    struct publish_held *held; /* a publish that the store could not take yet; the link is paused */
    struct loop_timer held_timer;

    struct table results; /* RESULTs that wait, by their number */
    struct table consumers;
    struct list consumers_list;
    struct table asks;         /* struct ask: requests of its clients, by number */
    size_t asks_bytes;         /* of those that wait for a responder; broker.requests_bytes is the limit */
    uint64_t consumers_weight; /* of all of them (filter_weight()); broker.consumers_max is its limit */

    struct table seats;            /* of presence: the live ones, by number */
    struct list seats_list;        /* and those that linger */
    uint64_t n_seats, seats_bytes; /* of all of them; broker.members_max and members_bytes are the limits */
    unsigned n_whos;               /* WHOs that wait for their answer */

    uint64_t *known; /* a bit for each topic handle that this link was told */
    size_t n_known;  /* words */

    bool is_older; /* its frontend knew the bus before this link */
    bool has_resumed;
    struct catchup catchup;
    struct list waiting, running; /* struct recovery */
    struct table recoveries_by_req;
    uint32_t n_running;
    size_t recovery_bytes; /* of their filters */
    size_t step_bytes;     /* put by the recovery that is at work */
    size_t looked_bytes;   /* what its looking at topics costs, as if it were bytes */
    size_t spent_bytes; /* by recoveries since `work` ran last: a batch full of RECOVERs has one share, too */
    unsigned n_listings;   /* in broker->listings */
    unsigned n_peeks;      /* PEEKs that are not answered */
    unsigned n_reads;      /* of the store, under way: the peer is not freed before they end */
    struct loop_hook work; /* at the end of the turn: answers, catching up, recoveries */

    bool has_stats; /* $sys/frontends/NAME was published */
    struct peer_counters counters;
};

/* A peer in a free slot, its link waiting for ATTACH. -ENOSPC: all slots are taken. */
int links_add(
    struct broker *broker, const struct frame_hello *hello, const uint8_t token[16], struct peer **ret);

/* Drops the link: a malformed or nonsensical frame, said once with the peer's name. Always -EPROTO, so that a
 * handler can `return peer_complain(...)`. */
int peer_complain(struct peer *peer, const struct frame *f, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Holds frames back while the store is behind or the frontend does not take our answers. */
void peer_update_pause(struct peer *peer);

/* Past this much backlog catching up and recoveries pause; at twice as much a live link falls behind. It is
 * the same for all. */
size_t links_mark(const struct broker *broker);
size_t peer_mark(const struct peer *peer);

/* Frames may be put for it. */
static inline bool
peer_is_attached(const struct peer *peer)
{
    return peer->phase == PEER_LISTING || peer->phase == PEER_BEHIND || peer->phase == PEER_LIVE;
}

/* After a read of the store for a peer that went away meanwhile: frees it if that was the last. */
void peer_free_late(struct peer *peer);

/* By slot and session: NULL if that one is gone. */
struct peer *links_find(const struct broker *broker, unsigned slot, uint64_t session);

/* Says goodbye to everyone; at once and without a word. */
void links_part(struct broker *broker, const char *reason);

/* After a reload: broker.outbox_max holds for the links that are there, too. */
void links_apply_options(struct broker *broker);
void links_close(struct broker *broker);

#endif
