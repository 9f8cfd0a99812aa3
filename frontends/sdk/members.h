/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Presence as clients take part in it. Of the hub.
 *
 *     attendance   this session is there, on one topic, as a member: JOIN, LEAVE; listed again on each new
 * link watch        a subscription wants to know who is there on its topics: for each of them a snapshot by
 * WHO, then events, from a subscription of its own with the same id, to $presence/TOPIC
 *
 * A snapshot is given as a message on $presence/TOPIC too, in parts, each a JSON object
 * {"event":"snapshot","part":0,"members":[{"id":"u1","info":...}],"count":1,"more":false}; what is 0 or false
 * is left out. Events that come after the first part are given; who is told of somebody twice has lost
 * nothing. After the link was lost there is another one.
 */
#ifndef SDK_MEMBERS_H
#define SDK_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "frontends/sdk/numbers.h"
#include "frontends/sdk/request.h"

#define MEMBER_ID_MAX 255u
#define MEMBER_INFO_MAX 4096u

struct frame;
struct hub;
struct session;
struct sub;

struct members {
    struct numbers attending; /* of struct attendance */
    struct numbers asking;    /* of struct watched: WHO */
    struct list attendances, watches;
    struct list waiting; /* of struct watched: it asks when it is its turn */
    struct list paused;  /* likewise: the client has not read its last part */
    size_t n_asking;
    struct loop_timer paused_timer;
    size_t n_attendances;
};

void members_init(struct hub *hub);
void members_fini(struct hub *hub);

/* Answered by the session's on_answer(). The names, the info and the id were checked. */
void members_join(struct hub *hub, struct session *s, const struct request *r);
void members_depart(struct hub *hub, struct session *s, const struct request *r); /* LEAVE */

/* ---- For sub.c. ---- */

/* There is room for those that the SUB would make. */
bool members_has_room(const struct session *s, const struct request *r);
/* The subscription wants presence: all its filters are topics. 0 or -ENOMEM. */
int members_watch(struct sub *sub, const struct request *r);
/* It is live: so is its presence from now on. */
void members_on_live(struct sub *sub);
/* It ends. has_left: the client said so; else it may come back. */
void members_unwatch(struct sub *sub, bool has_left);
/* A subscription to events: everything above what its filter says comes. */
void members_on_ready(struct sub *events);
/* The subscription whose events they are. */
struct sub *members_main(const struct sub *events);
void members_leave(struct hub *hub, struct session *s);
/* The client says nothing more, though it may listen yet: as if it had lost its connection. */
void members_end_input(struct session *s);

/* ---- The link. ---- */

/* Before RESUME; after RESUMED; its end. */
void members_list(struct hub *hub);
void members_on_resumed(struct hub *hub);
void members_on_down(struct hub *hub);

/* The answer is to something that was asked here and not in asks.c. */
bool members_asked(uint64_t req);
int members_on_settled(struct hub *hub, const struct frame *frame);
int members_on_present(struct hub *hub, const struct frame *frame);
int members_on_who_end(struct hub *hub, const struct frame *frame);

#endif
