/* SPDX-License-Identifier: Apache-2.0 */
/* Rooms, members, seats, and how they come and go: see presence.h. */
#include "config.h"

#include "broker/presence.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/memguard.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/presenceimpl.h"
#include "broker/settings.h"
#include "wire/errors.h"
#include "wire/frame.h"
#include "wire/names.h"

#define FLAG_LISTED 1u  /* JOIN: it was there before */
#define FLAG_SAID_SO 1u /* LEAVE */
#define INFO_DEPTH 16u

static struct slice
room_key_of(const void *value)
{
    return room_topic(value);
}

static struct slice
member_key_of(const struct tree_node *node)
{
    return member_id(tree_entry(node, const struct member, in_room));
}

static struct slice
seat_key_of(const void *value)
{
    const struct seat *seat = value;

    return slice_of(&seat->number, sizeof(seat->number));
}

/* ---- The time after a start. ---- */

bool
presence_is_in_grace(const struct presence *p)
{
    return broker_grace_left_ms(p->broker) > 0;
}

void
presence_await_grace(struct presence *p)
{
    if (p->grace_timer.pprev == NULL)
        loop_timer_start(p->broker->loop, &p->grace_timer, broker_grace_left_ms(p->broker));
}

static void
presence_note_peer(struct presence *p, const struct peer *peer)
{
    if (!peer->is_older || p->is_rebuilding || !presence_is_in_grace(p))
        return;
    p->is_rebuilding = true;
    presence_await_grace(p);
}

static void
presence_on_grace(void *arg)
{
    struct presence *p = arg;

    if (presence_is_in_grace(p)) { /* it was made longer meanwhile */
        presence_await_grace(p);
        return;
    }
    p->is_rebuilding = false;
    while (!list_empty(&p->told)) {
        struct room *room = list_entry(p->told.next, struct room, in_told);

        list_remove(&room->in_told);
        room_release(room);
    }
    presence_who_release(p);
}

void
room_set_told(struct room *room)
{
    struct presence *p = room->presence;

    if (list_empty(&room->in_told))
        list_push_back(&p->told, &room->in_told);
    presence_await_grace(p);
}

static bool
room_is_told(const struct room *room)
{
    return !list_empty(&room->in_told);
}

/* ---- Rooms. ---- */

struct room *
room_find(const struct presence *p, struct slice topic)
{
    return table_find(&p->rooms, topic);
}

static void
room_apply_setting(struct room *room, const struct presence_setting *setting)
{
    room->linger_ms = setting->linger_ms;
    room->max_members = setting->max_members;
}

struct room *
room_get(struct presence *p, struct slice topic)
{
    const struct presence_setting *setting = &settings_find(p->broker->settings, topic)->presence;
    struct room *room = room_find(p, topic);

    if (room != NULL)
        return room;
    room = calloc(1, sizeof(*room) + topic.n);
    if (room == NULL)
        return NULL;
    room->presence = p;
    room->mode = setting->mode;
    room_apply_setting(room, setting);
    tree_init(&room->members, member_key_of);
    list_init(&room->untold);
    list_init(&room->in_presence);
    list_init(&room->in_told);
    room_events_init(room);
    room->n_topic = (uint16_t)topic.n;
    memcpy(room->topic, topic.p, topic.n);
    if (table_insert(&p->rooms, room) < 0) {
        free(room);
        return NULL;
    }
    return room;
}

static void
room_free(struct room *room)
{
    struct presence *p = room->presence;

    loop_timer_stop(p->broker->loop, &room->count_timer);
    list_remove(&room->in_presence);
    list_remove(&room->in_told);
    (void)table_remove(&p->rooms, room_key_of(room));
    free(room);
}

void
room_release(struct room *room)
{
    if (room->members.n == 0 && !room->has_new_count && !room_is_told(room))
        room_free(room);
}

void
presence_apply_settings(struct broker *broker)
{
    const struct presence *p = broker->presence;
    struct room *room;
    size_t at = 0;

    while ((room = table_next(&p->rooms, &at)) != NULL)
        room_apply_setting(room, &settings_find(broker->settings, room_topic(room))->presence);
}

/* ---- Members. ---- */

static struct member *
member_new(struct room *room, struct slice id)
{
    struct member *m = calloc(1, sizeof(*m) + id.n);

    if (m == NULL)
        return NULL;
    m->room = room;
    m->is_gone = true; /* until it has a seat */
    list_init(&m->seats);
    list_init(&m->in_room_untold);
    m->n_id = (uint8_t)id.n;
    memcpy(m->id, id.p, id.n);
    (void)tree_insert(&room->members, &m->in_room);
    return m;
}

void
member_forget(struct member *m)
{
    list_remove(&m->in_room_untold);
    (void)tree_remove(&m->room->members, member_id(m));
    free(m->info);
    free(m);
}

void
member_tell_again(struct room *room, struct slice id, uint8_t reason)
{
    struct member *m = member_of(tree_find(&room->members, id));

    if (m == NULL) {
        m = member_new(room, id);
        if (m == NULL)
            return;
        m->reason = reason;
    }
    m->is_told = m->is_gone; /* who watches has it wrong */
    member_tell(m);
}

/* Its first seat. `is_news`: to those who watch. */
static void
member_arrive(struct member *m, bool is_news)
{
    struct room *room = m->room;

    m->is_gone = false;
    m->since_ms = loop_wall_ms(room->presence->broker->loop);
    room->n_members++;
    room->presence->figures.n_members++;
    room->presence->figures.n_joins += is_news;
}

/* Its last seat is gone. It may be freed, and the room too. */
static void
member_depart(struct member *m, enum seat_state reason)
{
    struct room *room = m->room;

    m->is_gone = true;
    m->reason = (uint8_t)reason;
    room->n_members--;
    room->presence->figures.n_members--;
    room->presence->figures.n_leaves++;
    if (room->mode == PRESENCE_COUNT) {
        member_forget(m);
        room_tell_count(room);
    } else if (m->is_told) {
        member_tell(m);
    } else {
        member_forget(m);
    }
    room_release(room);
}

/* 0 or -ENOMEM. */
static int
member_set_info(struct member *m, struct slice info)
{
    uint8_t *copy = NULL;

    if (m->room->mode == PRESENCE_COUNT || slice_equal(info, slice_of(m->info, m->n_info)))
        return 0;
    if (info.n > 0) {
        copy = malloc(info.n);
        if (copy == NULL)
            return -ENOMEM;
        memcpy(copy, info.p, info.n);
    }
    free(m->info);
    m->info = copy;
    m->n_info = (uint16_t)info.n;
    m->has_new_info = true;
    return 0;
}

/* ---- Seats. ---- */

static uint32_t
seat_cost(struct slice topic, struct slice id, struct slice info)
{
    return (uint32_t)(sizeof(struct seat) + sizeof(struct member) + topic.n + id.n + info.n);
}

static int
seat_new(struct peer *peer, struct member *m, uint64_t number, uint32_t cost)
{
    struct seat *seat = calloc(1, sizeof(*seat));
    int r;

    if (seat == NULL)
        return -ENOMEM;
    *seat = (struct seat){.number = number, .peer = peer, .member = m, .cost = cost, .state = SEAT_LIVE};
    r = table_insert(&peer->seats, seat);
    if (r < 0) {
        free(seat);
        return r;
    }
    list_init(&seat->in_peer);
    list_init(&seat->in_member);
    list_push_back(&peer->seats_list, &seat->in_peer);
    list_push_back(&m->seats, &seat->in_member);
    peer->n_seats++;
    peer->seats_bytes += cost;
    m->n_live++;
    m->room->presence->figures.n_connections++;
    return 0;
}

/* It does not linger any more, or never did: the member may go with it. */
static void
seat_free(struct seat *seat, enum seat_state reason)
{
    struct member *m = seat->member;
    struct presence *p = m->room->presence;

    assert(seat->state != SEAT_LIVE);
    loop_timer_stop(p->broker->loop, &seat->timer);
    list_remove(&seat->in_peer);
    list_remove(&seat->in_member);
    p->figures.n_lingering--;
    if (seat->peer != NULL) {
        seat->peer->n_seats--;
        seat->peer->seats_bytes -= seat->cost;
    }
    free(seat);
    if (list_empty(&m->seats))
        member_depart(m, reason);
}

static void
seat_on_timer(void *arg)
{
    struct seat *seat = arg;

    seat_free(seat, (enum seat_state)seat->state);
}

/* Its connection is not there any more; it lingers. */
static void
seat_lose(struct seat *seat, enum seat_state state, uint64_t linger_ms)
{
    struct presence *p = seat->member->room->presence;

    if (seat->peer != NULL)
        (void)table_remove(&seat->peer->seats, seat_key_of(seat));
    seat->state = (uint8_t)state;
    seat->member->n_live--;
    p->figures.n_connections--;
    p->figures.n_lingering++;
    if (linger_ms == 0) {
        seat_free(seat, state);
        return;
    }
    seat->timer = (struct loop_timer){.fn = seat_on_timer, .arg = seat};
    loop_timer_start(p->broker->loop, &seat->timer, linger_ms);
}

/* Somebody is back: what lingers of the member is not waited for any more. One seat is live. */
static void
member_drop_lingering(struct member *m)
{
    list_for_each_safe(it, following, &m->seats)
    {
        struct seat *seat = list_entry(it, struct seat, in_member);

        if (seat->state != SEAT_LIVE)
            seat_free(seat, (enum seat_state)seat->state);
    }
}

/* ---- JOIN. ---- */

static void
put_settled(struct peer *peer, uint64_t req, enum error_code code, const char *message, uint64_t count)
{
    struct frame_settled settled = {.req = req, .count = count};

    if (req == 0)
        return;
    if (code != ERROR_NONE) {
        settled.code = slice_str(error_code_name(code));
        settled.message = slice_str(message != NULL ? message : error_code_sentence(code));
    }
    frame_put_settled(outbox_begin(peer), &settled);
    outbox_end(peer);
}

static enum error_code
check_member(const struct frame_join *f, const char **ret_message)
{
    const char *what;

    *ret_message = NULL;
    if (f->id.n == 0 || f->id.n > MEMBER_ID_MAX) {
        *ret_message = "The id of a member is 1 to 255 bytes.";
        return ERROR_REQUEST_INVALID;
    }
    if (f->info.n > MEMBER_INFO_MAX) {
        *ret_message = "The info of a member is at most 4096 bytes.";
        return ERROR_MESSAGE_TOO_LARGE;
    }
    if (f->info.n > 0 && json_check(f->info.p, f->info.n, INFO_DEPTH, &what) < 0) {
        *ret_message = "The info of a member is a JSON value.";
        return ERROR_BODY_INVALID;
    }
    return ERROR_NONE;
}

static enum error_code
check_topic(const struct broker *broker, struct slice topic, const char **ret_message)
{
    const struct setting *setting;

    *ret_message = NULL;
    if (topic_name_error(topic) != NULL)
        return ERROR_TOPIC_INVALID;
    if (topic.p[0] == '$') {
        *ret_message = "Topics that begin with '$' are the bus's own.";
        return ERROR_NOT_ALLOWED;
    }
    setting = settings_find(broker->settings, topic);
    if (!setting->may_subscribe) {
        *ret_message = "The settings of this topic do not allow clients to subscribe.";
        return ERROR_NOT_ALLOWED;
    }
    if (setting->presence.mode == PRESENCE_OFF) {
        *ret_message = "The settings of this topic record nobody (presence.mode).";
        return ERROR_NOT_ALLOWED;
    }
    return ERROR_NONE;
}

static enum error_code
check_limits(const struct peer *peer, const struct frame_join *f, const char **ret_message)
{
    struct broker *broker = peer->broker;
    uint32_t cost = seat_cost(f->topic, f->id, f->info);

    *ret_message = NULL;
    if (peer->n_seats >= broker->options.members_max) {
        *ret_message = "There are too many members (broker.members_max).";
        return ERROR_LIMIT_REACHED;
    }
    if (peer->seats_bytes + cost > broker->options.members_bytes) {
        *ret_message = "The members take too much memory (broker.members_bytes).";
        return ERROR_LIMIT_REACHED;
    }
    if (memguard_take(broker->memory, cost)) {
        broker->counters.refused_memory++;
        *ret_message = "The broker's memory is nearly used up: try again later.";
        return ERROR_LIMIT_REACHED;
    }
    return ERROR_NONE;
}

static enum error_code
check_join(const struct peer *peer, const struct frame_join *f, const char **ret_message)
{
    enum error_code code = check_topic(peer->broker, f->topic, ret_message);

    if (code == ERROR_NONE)
        code = check_member(f, ret_message);
    if (code == ERROR_NONE)
        code = check_limits(peer, f, ret_message);
    return code;
}

/* The member of that id, with a new seat. */
static int
sit_down(struct peer *peer, struct room *room, const struct frame_join *f, struct member **ret)
{
    struct member *m = member_of(tree_find(&room->members, f->id));
    int r;

    if (m == NULL)
        m = member_new(room, f->id);
    if (m == NULL)
        return -ENOMEM;
    r = member_set_info(m, f->info);
    if (r == 0)
        r = seat_new(peer, m, f->member, seat_cost(f->topic, f->id, f->info));
    if (r < 0) {
        if (m->is_gone && !m->is_told)
            member_forget(m);
        return r;
    }
    *ret = m;
    return 0;
}

/* Frontends list again whom they had when this broker began: nobody is told who was told nothing else. */
static bool
is_news(const struct room *room, uint64_t flags)
{
    const struct presence *p = room->presence;

    return (flags & FLAG_LISTED) == 0 || !presence_is_in_grace(p) || room_is_told(room) || p->has_told_all;
}

static enum error_code
proceed_join(struct peer *peer, const struct frame_join *f, const char **ret_message, uint64_t *ret_count)
{
    struct room *room = room_get(peer->broker->presence, f->topic);
    struct member *m = room != NULL ? member_of(tree_find(&room->members, f->id)) : NULL;
    bool is_new = m == NULL || m->is_gone, news;

    if (room == NULL)
        return ERROR_INTERNAL;
    if (is_new && room->n_members >= room->max_members) {
        room_release(room);
        *ret_message = "So many are there that no other may be (presence.max_members).";
        return ERROR_LIMIT_REACHED;
    }
    if (sit_down(peer, room, f, &m) < 0) {
        room_release(room);
        return ERROR_INTERNAL;
    }
    news = is_news(room, f->flags);
    if (is_new)
        member_arrive(m, news);
    else
        member_drop_lingering(m);
    if (room->mode == PRESENCE_COUNT) {
        if (is_new)
            room_tell_count(room);
    } else if (news) {
        member_tell(m);
    } else {
        m->is_told = true;
        m->has_new_info = false;
    }
    *ret_count = room->n_members;
    return ERROR_NONE;
}

int
presence_on_join(struct peer *peer, const struct frame *f)
{
    const struct frame_join *asked = &f->join;
    const char *message;
    enum error_code code;
    uint64_t count = 0;

    if (asked->member == 0 || asked->flags > FLAG_LISTED)
        return peer_complain(peer, f, "number or flags that do not exist");
    if (table_find(&peer->seats, slice_of(&asked->member, sizeof(asked->member))) != NULL)
        return peer_complain(peer, f, "member %llu is in use", (unsigned long long)asked->member);
    presence_note_peer(peer->broker->presence, peer);
    code = check_join(peer, asked, &message);
    if (code == ERROR_NONE)
        code = proceed_join(peer, asked, &message, &count);
    if (code != ERROR_NONE)
        peer->broker->presence->figures.n_refused++;
    put_settled(peer, asked->req, code, message, count);
    return 0;
}

/* ---- LEAVE. ---- */

int
presence_on_leave(struct peer *peer, const struct frame *f)
{
    uint64_t number = f->leave.member;
    struct seat *seat = table_find(&peer->seats, slice_of(&number, sizeof(number)));

    if (f->leave.flags > FLAG_SAID_SO)
        return peer_complain(peer, f, "flags that do not exist");
    if (seat == NULL)
        return 0; /* it was refused */
    if ((f->leave.flags & FLAG_SAID_SO) != 0)
        seat_lose(seat, SEAT_LEFT, 0);
    else
        seat_lose(seat, SEAT_LOST, seat->member->room->linger_ms);
    return 0;
}

/* ---- The peer. ---- */

void
presence_init_peer(struct peer *peer)
{
    table_init(&peer->seats, seat_key_of);
    list_init(&peer->seats_list);
}

void
presence_drop_peer(struct peer *peer)
{
    const uint64_t grace_ms = peer->broker->options.grace_ms;

    presence_who_drop(peer);
    list_for_each_safe(it, following, &peer->seats_list)
    {
        struct seat *seat = list_entry(it, struct seat, in_peer);
        uint64_t linger_ms = seat->member->room->linger_ms;

        list_remove(&seat->in_peer);
        (void)table_remove(&peer->seats, seat_key_of(seat));
        seat->peer = NULL;
        if (seat->state == SEAT_LIVE)
            seat_lose(seat, SEAT_FRONTEND_LOST, linger_ms > grace_ms ? linger_ms : grace_ms);
    }
    peer->n_seats = 0;
    peer->seats_bytes = 0;
}

void
presence_fini_peer(struct peer *peer)
{
    table_fini(&peer->seats);
}

/* ---- Life. ---- */

int
presence_new(struct broker *broker, struct presence **ret)
{
    struct presence *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return -ENOMEM;
    p->broker = broker;
    table_init(&p->rooms, room_key_of);
    list_init(&p->told);
    p->grace_timer = (struct loop_timer){.fn = presence_on_grace, .arg = p};
    presence_events_init(p);
    presence_who_init(p);
    *ret = p;
    return 0;
}

static void
room_empty(struct room *room)
{
    struct loop *loop = room->presence->broker->loop;
    struct tree_node *node;

    while ((node = room->members.root) != NULL) {
        struct member *m = member_of(node);

        list_for_each_safe(it, following, &m->seats)
        {
            struct seat *seat = list_entry(it, struct seat, in_member);

            loop_timer_stop(loop, &seat->timer);
            free(seat);
        }
        member_forget(m);
    }
    loop_timer_stop(loop, &room->count_timer);
    free(room);
}

struct presence *
presence_free(struct presence *p)
{
    struct room *room;
    size_t at = 0;

    if (p == NULL)
        return NULL;
    loop_timer_stop(p->broker->loop, &p->grace_timer);
    while ((room = table_next(&p->rooms, &at)) != NULL)
        room_empty(room);
    table_fini(&p->rooms);
    presence_events_fini(p);
    free(p);
    return NULL;
}

const struct presence_figures *
presence_figures(const struct presence *p)
{
    return &p->figures;
}

uint64_t
presence_topics(const struct presence *p)
{
    return p->rooms.n_used;
}
