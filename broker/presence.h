/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is there: members of topics by their ids, whatever connections of whatever frontends they come by.
 *
 *     JOIN -> a seat (one connection) -> its member -> "join" to who watches $presence/TOPIC
 *     LEAVE -> the seat goes at once, or lingers -> without any seat the member goes -> "leave"
 *     the link is lost -> its seats linger, all for the same time
 *
 * Nothing of it is stored. After a restart of the broker the frontends list their members again (JOIN with
 * flag 1), and that is no news to anybody: whoever asks (WHO) by a link that knew the bus before is answered
 * when the grace time is over and all that could come have come. So watchers get one new snapshot, which
 * agrees with the truth, and no storm of joins. Events are told of how things are now, not one by one of what
 * happened: who came and went before it could be told was never there.
 */
#ifndef BROKER_PRESENCE_H
#define BROKER_PRESENCE_H

#include <stdint.h>

struct broker;
struct frame;
struct peer;
struct presence;

#define MEMBER_ID_MAX 255u
#define MEMBER_INFO_MAX 4096u
/* WHOs of one link that wait for their answer: past that the link is paused. */
#define PEER_WHOS_MAX 16384u

/* Figures for $sys. */
struct presence_figures {
    uint64_t n_members, n_connections, n_lingering; /* now; lingering: connections */
    uint64_t n_joins, n_leaves;                     /* of members */
    uint64_t n_events, n_events_lost;               /* told; could not be published */
    uint64_t n_refused;                             /* JOINs */
};

int presence_new(struct broker *broker, struct presence **ret);
struct presence *presence_free(struct presence *presence); /* no peer is left */
const struct presence_figures *presence_figures(const struct presence *presence);
uint64_t presence_topics(const struct presence *presence);

int presence_on_join(struct peer *peer, const struct frame *f);
int presence_on_leave(struct peer *peer, const struct frame *f);
int presence_on_who(struct peer *peer, const struct frame *f);

/* Settings were loaded anew. */
void presence_apply_settings(struct broker *broker);

/* A peer's beginning; its link takes frames again; its end, and that of its memory. */
void presence_init_peer(struct peer *peer);
void presence_go_on(struct broker *broker);
void presence_drop_peer(struct peer *peer);
void presence_fini_peer(struct peer *peer);

#endif
