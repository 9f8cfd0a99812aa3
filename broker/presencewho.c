/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WHO. Answered in the order of asking, some in each turn, while the asker's link takes them. Right after a
 * restart of the broker a link that knew the bus before is answered when the grace time is over: until then
 * the frontends are still listing whom they have.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/presenceimpl.h"
#include "broker/settings.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define LIMIT_MAX 1000u
/* In one turn: members, and questions. */
#define TURN_MEMBERS 2000u
#define TURN_WHOS 256u
/* Past that those who would have to wait are answered with what is known. */
#define DEFERRED_BYTES_MAX (64u * 1024 * 1024)

struct who {
    struct list in_presence; /* asked or deferred */
    struct peer *peer;
    uint64_t req, limit;
    bool is_deferred;
    uint16_t n_topic, n_after;
    uint8_t text[];
};

static size_t
who_size(const struct who *who)
{
    return sizeof(*who) + who->n_topic + who->n_after;
}

static struct slice
who_topic(const struct who *who)
{
    return slice_of(who->text, who->n_topic);
}

static void
who_free(struct presence *p, struct who *who)
{
    list_remove(&who->in_presence);
    if (who->is_deferred)
        p->deferred_bytes -= who_size(who);
    else
        who->peer->n_whos--;
    free(who);
}

/* ---- Answers. ---- */

/* The first that is there after this id. */
static struct member *
next_present(const struct room *room, struct slice after)
{
    struct member *m = member_of(tree_after(&room->members, after));

    while (m != NULL && m->is_gone)
        m = member_of(tree_after(&room->members, member_id(m)));
    return m;
}

static void
put_present(const struct who *who, const struct member *m)
{
    frame_put_present(outbox_begin(who->peer), &(struct frame_present){
                                                   .req = who->req,
                                                   .id = member_id(m),
                                                   .n_connections = m->n_live,
                                                   .since_ms = (uint64_t)m->since_ms,
                                                   .info = slice_of(m->info, m->n_info),
                                               });
    outbox_end(who->peer);
}

/* The members; true if there are more of them. */
static bool
put_members(const struct who *who, const struct room *room, unsigned *n)
{
    struct member *m = next_present(room, slice_of(who->text + who->n_topic, who->n_after));

    for (uint64_t i = 0; i < who->limit && m != NULL; i++, ++*n) {
        put_present(who, m);
        m = next_present(room, member_id(m));
    }
    return m != NULL;
}

/* How many members were put. */
static unsigned
who_answer(struct presence *p, const struct who *who)
{
    const struct setting *setting = settings_find(p->broker->settings, who_topic(who));
    struct room *room = setting->may_subscribe ? room_find(p, who_topic(who)) : NULL;
    struct frame_who_end end = {.req = who->req, .seq = p->broker->last_seq};
    unsigned n = 0;

    if (room != NULL) {
        end.mode = room->mode;
        end.count = room->n_members;
        if (who->limit > 0 && room->mode == PRESENCE_MEMBERS)
            end.more = put_members(who, room, &n);
    } else if (setting->may_subscribe) {
        end.mode = setting->presence.mode;
    }
    frame_put_who_end(outbox_begin(who->peer), &end);
    outbox_end(who->peer);
    return n;
}

/* The next whose peer reads its answers; NULL: none. */
static struct who *
who_next(const struct presence *p)
{
    for (struct list *it = p->asked.next; it != &p->asked; it = it->next) {
        struct who *who = list_entry(it, struct who, in_presence);

        if (link_backlog(who->peer->link) <= peer_mark(who->peer))
            return who;
    }
    return NULL;
}

static void
presence_on_whos(void *arg)
{
    struct presence *p = arg;
    unsigned n_members = 0, n_whos = 0;
    struct who *who = NULL;

    while (n_members < TURN_MEMBERS && n_whos++ < TURN_WHOS && (who = who_next(p)) != NULL) {
        struct peer *peer = who->peer;

        n_members += who_answer(p, who);
        who_free(p, who);
        peer_update_pause(peer);
    }
    if (who != NULL)
        loop_defer(p->broker->loop, &p->who_hook);
}

void
presence_go_on(struct broker *broker)
{
    if (!list_empty(&broker->presence->asked))
        loop_defer(broker->loop, &broker->presence->who_hook);
}

/* ---- Asking. ---- */

/* While frontends are still listing, whom somebody was told is noted, so that who comes after that is told,
 * too. */
static void
note_told(struct presence *p, struct slice topic)
{
    struct room *room;

    if (p->has_told_all || settings_find(p->broker->settings, topic)->presence.mode == PRESENCE_OFF)
        return;
    room = room_get(p, topic);
    if (room != NULL)
        room_set_told(room);
    else
        p->has_told_all = true;
}

static void
who_ask(struct presence *p, struct who *who)
{
    who->peer->n_whos++;
    list_push_back(&p->asked, &who->in_presence);
    loop_defer(p->broker->loop, &p->who_hook);
}

int
presence_on_who(struct peer *peer, const struct frame *f)
{
    const struct frame_who *asked = &f->who;
    /* No id is longer, so what is cut off decides nothing. */
    const size_t n_after = asked->after.n < MEMBER_ID_MAX ? asked->after.n : MEMBER_ID_MAX;
    struct presence *p = peer->broker->presence;
    struct who *who;

    if (topic_name_error(asked->topic) != NULL)
        return peer_complain(peer, f, "%s", topic_name_error(asked->topic));
    who = calloc(1, sizeof(*who) + asked->topic.n + n_after);
    if (who == NULL)
        return -ENOMEM;
    who->peer = peer;
    who->req = asked->req;
    who->limit = asked->limit < LIMIT_MAX ? asked->limit : LIMIT_MAX;
    who->n_topic = (uint16_t)asked->topic.n;
    who->n_after = (uint16_t)n_after;
    memcpy(who->text, asked->topic.p, asked->topic.n);
    if (n_after > 0)
        memcpy(who->text + asked->topic.n, asked->after.p, n_after);
    list_init(&who->in_presence);
    if (presence_is_in_grace(p) && peer->is_older && p->deferred_bytes < DEFERRED_BYTES_MAX) {
        who->is_deferred = true;
        p->deferred_bytes += who_size(who);
        list_push_back(&p->deferred, &who->in_presence);
        presence_await_grace(p);
        return 0;
    }
    if (presence_is_in_grace(p))
        note_told(p, asked->topic);
    who_ask(p, who);
    peer_update_pause(peer);
    return 0;
}

void
presence_who_release(struct presence *p)
{
    while (!list_empty(&p->deferred)) {
        struct who *who = list_entry(p->deferred.next, struct who, in_presence);

        list_remove(&who->in_presence);
        p->deferred_bytes -= who_size(who);
        who->is_deferred = false;
        who_ask(p, who);
    }
}

static void
drop_from(struct presence *p, struct list *whos, const struct peer *peer)
{
    list_for_each_safe(it, following, whos)
    {
        struct who *who = list_entry(it, struct who, in_presence);

        if (who->peer == peer)
            who_free(p, who);
    }
}

void
presence_who_drop(struct peer *peer)
{
    drop_from(peer->broker->presence, &peer->broker->presence->asked, peer);
    drop_from(peer->broker->presence, &peer->broker->presence->deferred, peer);
}

void
presence_who_init(struct presence *p)
{
    list_init(&p->asked);
    list_init(&p->deferred);
    p->who_hook = (struct loop_hook){.fn = presence_on_whos, .arg = p};
}
