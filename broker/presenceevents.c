/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling who watches $presence/TOPIC who came and went. What is not told yet stands in lists, as "look at
 * this member", and is told at the end of the turn as it is then: so a store that has no room for an event
 * delays it, and whoever came back meanwhile is no event at all. Where nobody watches nothing is published.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "broker/broker.h"
#include "broker/linkset.h"
#include "broker/presenceimpl.h"
#include "broker/publish.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/names.h"

#define TURN_EVENTS 1000u
#define RETRY_MS 50u    /* if the store does not say sooner that it has room */
#define FAILED_MS 1000u /* it could not keep an event: a full disk */
#define COUNT_EVERY_MS 1000u
#define LINKSET_WORDS_MAX 16u /* broker.links_max is 1024 at most */

static void
room_tell_soon(struct room *room)
{
    struct presence *p = room->presence;

    if (list_empty(&room->in_presence))
        list_push_back(&p->untold, &room->in_presence);
    if (p->retry_timer.pprev == NULL) /* else it is not the time for it */
        loop_defer(p->broker->loop, &p->tell_hook);
}

static bool
member_has_news(const struct member *m)
{
    return m->is_gone ? m->is_told : !m->is_told || m->has_new_info;
}

void
member_tell(struct member *m)
{
    if (!member_has_news(m))
        return;
    if (list_empty(&m->in_room_untold))
        list_push_back(&m->room->untold, &m->in_room_untold);
    room_tell_soon(m->room);
}

void
room_tell_count(struct room *room)
{
    room->has_new_count = true;
    room_tell_soon(room);
}

/* ---- One event. ---- */

static const char *
reason_of(const struct member *m)
{
    switch (m->reason) {
    case SEAT_LEFT:
        return "left";
    case SEAT_LOST:
        return "lost";
    default:
        return "frontend_lost";
    }
}

/* One that the store has not answered yet. */
struct event {
    struct presence *presence;
    struct topic *topic; /* $presence/TOPIC; stays as long as the store has not answered */
    struct record *record;
    uint8_t reason;
};

/* The store could not keep it: what it was about is news still, or again. */
static void
event_failed(const struct event *event)
{
    struct presence *p = event->presence;
    struct slice name = topic_name(event->topic), id = record_key(event->record);
    const size_t n = sizeof(PRESENCE_PREFIX) - 1;
    struct room *room;

    p->figures.n_events--;
    loop_timer_start(p->broker->loop, &p->retry_timer, FAILED_MS);
    name = slice_of(name.p + n, name.n - n);
    if (settings_find(p->broker->settings, name)->presence.mode == PRESENCE_OFF ||
        (room = room_get(p, name)) == NULL) {
        p->figures.n_events_lost++;
        return;
    }
    if (room->mode == PRESENCE_COUNT)
        room_tell_count(room);
    else if (id.n > 0)
        member_tell_again(room, id, event->reason);
    room_release(room);
}

static void
presence_on_event(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    struct event *event = arg;
    struct presence *p = event->presence;

    (void)outcome;
    (void)seq;
    if (error < 0) {
        event_failed(event);
    } else if (p->waits_for_room) {
        loop_timer_stop(p->broker->loop, &p->retry_timer);
        loop_defer(p->broker->loop, &p->tell_hook);
    }
    p->waits_for_room &= error < 0;
    record_unref(event->record);
    free(event);
}

/* 0, -EAGAIN: the store has no room now; or why it cannot be. */
static int
put_event(struct presence *p, struct slice key, uint8_t reason)
{
    const struct slice none = slice_of(NULL, 0);
    struct topic *topic;
    struct event *event;
    int r = buf_failed(&p->json) || buf_failed(&p->name) ? -ENOMEM : 0;

    if (r == 0)
        r = topic_get(p->broker, buf_slice(&p->name), &topic);
    if (r < 0)
        return r;
    event = malloc(sizeof(*event));
    if (event == NULL)
        return -ENOMEM;
    *event = (struct event){.presence = p, .topic = topic, .reason = reason};
    /* The key says which supersedes which. It makes none happen only once. */
    event->record = record_new_once(none, none, key, none, buf_slice(&p->json));
    if (event->record == NULL) {
        free(event);
        return -ENOMEM;
    }
    event->record->kind = MESSAGE_JSON;
    p->figures.n_events++;
    r = publish_take(p->broker, topic, record_ref(event->record), presence_on_event, event);
    if (r < 0) {
        p->figures.n_events--;
        record_unref(event->record);
        free(event);
    }
    return r;
}

/* p->name is the topic. 0, or -EAGAIN: later. What cannot be published at all is lost. */
static int
publish_event(struct presence *p, struct slice key, uint8_t reason)
{
    int r = put_event(p, key, reason);

    if (r == -EAGAIN)
        return r;
    if (r < 0 && !p->is_losing)
        log_warn("%.*s: who comes and goes cannot be told: %s", SLICE_ARG(buf_slice(&p->name)), strerror(-r));
    p->is_losing = r < 0;
    p->figures.n_events_lost += r < 0;
    return 0;
}

static int
publish_member(struct presence *p, const struct member *m)
{
    buf_reset(&p->json);
    buf_put_str(&p->json, m->is_gone ? "{\"event\":\"leave\",\"id\":" : "{\"event\":\"join\",\"id\":");
    json_put_string(&p->json, member_id(m));
    if (!m->is_gone && m->n_info > 0) {
        buf_put_str(&p->json, ",\"info\":");
        buf_put(&p->json, m->info, m->n_info);
    }
    buf_printf(&p->json, ",\"count\":%llu", (unsigned long long)m->room->n_members);
    if (m->is_gone)
        buf_printf(&p->json, ",\"reason\":\"%s\"", reason_of(m));
    buf_put_str(&p->json, "}");
    return publish_event(p, member_id(m), m->reason);
}

static int
publish_count(struct presence *p, const struct room *room)
{
    buf_reset(&p->json);
    buf_printf(&p->json, "{\"event\":\"count\",\"count\":%llu}", (unsigned long long)room->n_members);
    return publish_event(p, slice_of(NULL, 0), 0);
}

/* ---- Rooms. ---- */

/* Does a link want its events? Leaves the name of their topic in p->name. */
static bool
room_is_watched(struct presence *p, const struct room *room)
{
    uint64_t links[LINKSET_WORDS_MAX];
    struct topic *topic;

    buf_reset(&p->name);
    buf_put_str(&p->name, PRESENCE_PREFIX);
    buf_put_slice(&p->name, room_topic(room));
    if (topic_name_error(buf_slice(&p->name)) != NULL)
        return false; /* with the prefix it is too long */
    topic = topic_find(p->broker, buf_slice(&p->name));
    if (topic != NULL)
        return topic_links(p->broker, topic) != NULL;
    interest_collect(&p->broker->interest, buf_slice(&p->name), links);
    return !linkset_is_empty(links, p->broker->interest.n_words);
}

/* When the next count may be told; 0: now. */
static uint64_t
count_wait_ms(const struct presence *p, const struct room *room)
{
    const struct broker *broker = p->broker;
    uint64_t now_ms = loop_now_ms(broker->loop);

    if (p->is_rebuilding && presence_is_in_grace(p)) /* they are not all there yet */
        return broker_grace_left_ms(broker);
    if (room->counted_ms != 0 && now_ms - room->counted_ms < COUNT_EVERY_MS)
        return room->counted_ms + COUNT_EVERY_MS - now_ms;
    return 0;
}

/* 0 or -EAGAIN. */
static int
tell_count(struct presence *p, struct room *room, bool is_watched)
{
    uint64_t wait_ms = is_watched ? count_wait_ms(p, room) : 0;
    int r = 0;

    if (wait_ms > 0) {
        loop_timer_start(p->broker->loop, &room->count_timer, wait_ms);
        return 0;
    }
    if (is_watched)
        r = publish_count(p, room);
    if (r < 0)
        return r;
    room->has_new_count = false;
    room->counted_ms = loop_now_ms(p->broker->loop);
    return 0;
}

/* 0 or -EAGAIN. It may be freed. */
static int
tell_member(struct presence *p, struct member *m, bool is_watched)
{
    int r = is_watched && member_has_news(m) ? publish_member(p, m) : 0;

    if (r < 0)
        return r;
    list_remove(&m->in_room_untold);
    if (m->is_gone) {
        member_forget(m);
    } else {
        m->is_told = true;
        m->has_new_info = false;
    }
    return 0;
}

/* 0 or -EAGAIN; what is left when the budget is used up is in room->untold. */
static int
tell_room(struct presence *p, struct room *room, unsigned *budget)
{
    bool is_watched = room_is_watched(p, room);
    int r = 0;

    if (room->has_new_count && room->count_timer.pprev == NULL)
        r = tell_count(p, room, is_watched);
    while (r == 0 && *budget > 0 && !list_empty(&room->untold)) {
        r = tell_member(p, list_entry(room->untold.next, struct member, in_room_untold), is_watched);
        --*budget;
    }
    return r;
}

static void
presence_on_tell(void *arg)
{
    struct presence *p = arg;
    unsigned budget = TURN_EVENTS;

    while (!list_empty(&p->untold) && budget > 0) {
        struct room *room = list_entry(p->untold.next, struct room, in_presence);

        if (tell_room(p, room, &budget) < 0) {
            p->waits_for_room = true;
            loop_timer_start(p->broker->loop, &p->retry_timer, RETRY_MS);
            return;
        }
        if (!list_empty(&room->untold))
            break;
        list_remove(&room->in_presence);
        if (budget > 0)
            budget--;
        room_release(room);
    }
    if (!list_empty(&p->untold))
        loop_defer(p->broker->loop, &p->tell_hook);
}

static void
room_on_count_timer(void *arg)
{
    room_tell_soon(arg);
}

void
room_events_init(struct room *room)
{
    room->count_timer = (struct loop_timer){.fn = room_on_count_timer, .arg = room};
}

void
presence_events_init(struct presence *p)
{
    list_init(&p->untold);
    buf_init(&p->name, 0);
    buf_init(&p->json, 0);
    p->tell_hook = (struct loop_hook){.fn = presence_on_tell, .arg = p};
    p->retry_timer = (struct loop_timer){.fn = presence_on_tell, .arg = p};
}

void
presence_events_fini(struct presence *p)
{
    loop_cancel(p->broker->loop, &p->tell_hook);
    loop_timer_stop(p->broker->loop, &p->retry_timer);
    buf_fini(&p->name);
    buf_fini(&p->json);
}
