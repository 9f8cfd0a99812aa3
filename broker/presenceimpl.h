/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of presence share: presence.c (who is there), presenceevents.c (telling it), presencewho.c
 * (WHO). */
#ifndef BROKER_PRESENCEIMPL_H
#define BROKER_PRESENCEIMPL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/slice.h"
#include "base/table.h"
#include "base/tree.h"
#include "broker/presence.h"

struct presence {
    struct broker *broker;
    struct table rooms; /* by topic */

    struct list untold; /* rooms with something to tell */
    struct loop_hook tell_hook;
    struct loop_timer retry_timer; /* the store was full, or failed */
    bool waits_for_room;           /* it was full: sooner, if it says so */
    struct buf name, json;         /* of the event that is being told */
    bool is_losing;                /* events cannot be published: that was logged */

    struct list asked;    /* struct who, in the order in which they came */
    struct list deferred; /* until the grace time is over */
    size_t deferred_bytes;
    struct loop_hook who_hook;
    struct loop_timer grace_timer;
    struct list told; /* rooms of which somebody was told who is there while frontends might still be listing:
                         whoever is listed after that is news. Until the grace time is over */
    bool is_rebuilding; /* frontends that knew the bus before this broker have come */
    bool has_told_all;  /* it is not known any more to whom what was told during the grace time */

    struct presence_figures figures;
};

/* A topic on which somebody is there. */
struct room {
    struct presence *presence;
    struct tree members;
    uint64_t n_members; /* without those that are gone and whose leave is not told yet */
    uint64_t linger_ms, max_members;
    uint8_t mode;            /* enum presence_mode, not PRESENCE_OFF */
    struct list in_told;     /* presence->told */
    struct list untold;      /* members */
    struct list in_presence; /* presence->untold */
    /* Of a room that only counts. */
    bool has_new_count;
    uint64_t counted_ms; /* when a count was told last */
    struct loop_timer count_timer;
    uint16_t n_topic;
    char topic[];
};

struct member {
    struct tree_node in_room;
    struct room *room;
    struct list seats; /* the oldest first; none: it is gone, and stays only until that is told */
    struct list in_room_untold;
    int64_t since_ms; /* wall clock */
    uint32_t n_live;  /* seats that do not linger */
    uint8_t reason;   /* enum seat_state of the last seat, once it is gone */
    bool is_gone;
    bool is_told; /* who watches knows of it */
    bool has_new_info;
    uint16_t n_info;
    uint8_t n_id;
    uint8_t *info; /* JSON; NULL: none */
    char id[];
};

enum seat_state { SEAT_LIVE, SEAT_LEFT, SEAT_LOST, SEAT_FRONTEND_LOST };

/* One connection of a member. */
struct seat {
    uint64_t number;   /* first: the key in its peer's table, while it is live */
    struct peer *peer; /* NULL: its link is gone */
    struct member *member;
    struct list in_peer, in_member;
    struct loop_timer timer; /* while it lingers */
    uint32_t cost;           /* to its peer */
    uint8_t state;           /* enum seat_state */
};

static inline struct slice
room_topic(const struct room *room)
{
    return slice_of(room->topic, room->n_topic);
}

static inline struct slice
member_id(const struct member *m)
{
    return slice_of(m->id, m->n_id);
}

static inline struct member *
member_of(struct tree_node *node)
{
    return node != NULL ? tree_entry(node, struct member, in_room) : NULL;
}

/* presence.c: finds or makes it, not for mode off; NULL: memory ran out. Give it back by room_release(). */
struct room *room_find(const struct presence *p, struct slice topic);
struct room *room_get(struct presence *p, struct slice topic);
/* Frees it if nothing is in it any more. */
void room_release(struct room *room);
/* Out of the room, and freed: nobody need be told. */
void member_forget(struct member *m);
/* What was told of it did not reach anybody. `reason` is why it left, if it did. */
void member_tell_again(struct room *room, struct slice id, uint8_t reason);
/* The frontends that were there before this broker may still be listing. */
bool presence_is_in_grace(const struct presence *p);
/* There is something to do when that is over. */
void presence_await_grace(struct presence *p);
/* Somebody was told who is there. */
void room_set_told(struct room *room);

/* presenceevents.c */
void presence_events_init(struct presence *p);
void presence_events_fini(struct presence *p);
void room_events_init(struct room *room);
/* Something may be new about it: that is told, soon. */
void member_tell(struct member *m);
void room_tell_count(struct room *room);

/* presencewho.c */
void presence_who_init(struct presence *p);
/* The grace time is over. */
void presence_who_release(struct presence *p);
void presence_who_drop(struct peer *peer);

#endif
