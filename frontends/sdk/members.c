/* SPDX-License-Identifier: Apache-2.0 */
/* Who is there: the sessions of this process that are, and those that want to know. */
#include "config.h"

#include "frontends/sdk/members.h"

#include "base/json.h"
#include "base/log.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/hubpriv.h"
#include "frontends/sdk/message.h"
#include "wire/names.h"

#include <errno.h>
#include <stdlib.h>

/* In the `req` of JOIN and WHO: above all numbers of asks.c. */
#define REQ_JOIN (UINT64_C(1) << 63)
#define REQ_WHO (UINT64_C(1) << 62)
#define FLAG_WAS_THERE 1u
#define FLAG_SAID_SO 1u
/* A part of a snapshot. */
#define PAGE_MEMBERS 200u
/* Parts under way, of all clients: what they bring together is the work of one turn. Thousands that ask at
 * once, as after a restart of the broker, take turns, and nobody else waits for them. */
#define PARTS_AT_ONCE 8u
#define PAUSED_POLL_MS 50u

struct attendance {
    struct hub *hub;
    struct session *session;
    const struct sub *sub; /* whose watch it belongs to; NULL: it was joined by itself */
    uint64_t number;
    struct list in_session, in_all;
    bool is_settled;
    uint8_t n_id, n_member;
    uint16_t n_topic, n_info;
    uint8_t bytes[]; /* id of the request, topic, member, info */
};

/* One topic of a watch. */
struct watched {
    struct watch *watch;
    struct sub *events;   /* NULL before the watch is live */
    uint64_t req;         /* of the WHO under way; 0: none */
    uint64_t n_parts;     /* given of this snapshot */
    struct list in_queue; /* members' waiting or paused */
    struct buf members;   /* of the part being collected: JSON objects, separated by commas */
    struct buf after;     /* the last member that was given */
    uint16_t n_name;
    uint8_t *name; /* $presence/TOPIC */
};

struct watch {
    struct hub *hub;
    struct sub *sub;
    struct list in_session, in_all;
    bool is_live;
    uint8_t n_member;
    uint16_t n_info;
    uint8_t *member_and_info; /* n_member 0: only looks on */
    unsigned n_topics;
    struct watched topics[];
};

static inline struct slice
attendance_id(const struct attendance *a)
{
    return slice_of(a->bytes, a->n_id);
}

static inline struct slice
attendance_topic(const struct attendance *a)
{
    return slice_of(a->bytes + a->n_id, a->n_topic);
}

static inline struct slice
attendance_member(const struct attendance *a)
{
    return slice_of(a->bytes + a->n_id + a->n_topic, a->n_member);
}

static inline struct slice
attendance_info(const struct attendance *a)
{
    return slice_of(a->bytes + a->n_id + a->n_topic + a->n_member, a->n_info);
}

static inline struct slice
watched_topic(const struct watched *w)
{
    const size_t n = sizeof PRESENCE_PREFIX - 1;

    return slice_of(w->name + n, w->n_name - n);
}

static uint8_t *
put(uint8_t *to, struct slice s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

bool
members_asked(uint64_t req)
{
    return req >= REQ_WHO;
}

/* ---- Being there. ---- */

static void
attendance_put_join(const struct attendance *a)
{
    struct hub *hub = a->hub;

    frame_put_join(
        hub->sink.begin(hub->sink.arg), &(struct frame_join){.req = a->is_settled ? 0 : REQ_JOIN | a->number,
                                            .member = a->number,
                                            .topic = attendance_topic(a),
                                            .id = attendance_member(a),
                                            .flags = a->is_settled ? FLAG_WAS_THERE : 0,
                                            .info = attendance_info(a)});
    hub->sink.commit(hub->sink.arg);
}

static void
attendance_free(struct attendance *a)
{
    struct hub *hub = a->hub;

    numbers_remove(&hub->members.attending, a->number);
    list_remove(&a->in_session);
    list_remove(&a->in_all);
    hub->members.n_attendances--;
    a->session->party->n_presences -= a->sub == NULL;
    free(a);
}

static void
attendance_end(struct attendance *a, bool has_left)
{
    struct hub *hub = a->hub;

    if (hub->phase != HUB_AWAY) {
        frame_put_leave(hub->sink.begin(hub->sink.arg),
            &(struct frame_leave){.member = a->number, .flags = has_left ? FLAG_SAID_SO : 0});
        hub->sink.commit(hub->sink.arg);
    }
    attendance_free(a);
}

/* NULL if memory ran out. */
static struct attendance *
attendance_new(struct hub *hub, struct session *s, const struct sub *sub, struct slice id, struct slice topic,
    struct slice member, struct slice info)
{
    struct party *party = session_party(s);
    struct attendance *a = party == NULL ? NULL : malloc(sizeof *a + id.n + topic.n + member.n + info.n);

    if (a == NULL)
        return NULL;
    *a = (struct attendance){.hub = hub,
        .session = s,
        .sub = sub,
        .n_id = (uint8_t)id.n,
        .n_topic = (uint16_t)topic.n,
        .n_member = (uint8_t)member.n,
        .n_info = (uint16_t)info.n};
    put(put(put(put(a->bytes, id), topic), member), info);
    a->number = numbers_add(&hub->members.attending, a);
    if (a->number == 0) {
        free(a);
        return NULL;
    }
    list_push_back(&party->attendances, &a->in_session);
    list_push_back(&hub->members.attendances, &a->in_all);
    hub->members.n_attendances++;
    party->n_presences += sub == NULL; /* else its watch counts */
    if (hub->phase != HUB_AWAY)
        attendance_put_join(a);
    return a;
}

static struct attendance *
attendance_find(const struct session *s, const struct sub *sub, struct slice topic)
{
    if (s->party == NULL)
        return NULL;
    for (const struct list *it = s->party->attendances.next; it != &s->party->attendances; it = it->next) {
        struct attendance *a = list_entry(it, struct attendance, in_session);

        if (a->sub == sub && slice_equal(attendance_topic(a), topic))
            return a;
    }
    return NULL;
}

static void
members_answer(struct session *s, const struct request *r, struct answer answer)
{
    answer.id = r->id;
    answer.of = r->op;
    answer.topic = r->topic;
    s->fe->counters.request_errors += answer.type == ANSWER_ERROR;
    s->ops->on_answer(s, &answer);
}

static struct answer
members_no_room(void)
{
    return (struct answer){.type = ANSWER_ERROR,
        .code = ERROR_LIMIT_REACHED,
        .text = slice_str("limits.presences_per_client: this client is there on too many topics")};
}

void
members_join(struct hub *hub, struct session *s, const struct request *r)
{
    struct attendance *old = attendance_find(s, NULL, r->topic);

    if (old == NULL && s->party != NULL && s->party->n_presences >= s->fe->limits->presences_per_client) {
        members_answer(s, r, members_no_room());
        return;
    }
    if (attendance_new(hub, s, NULL, r->id, r->topic, r->member, r->info) == NULL) {
        members_answer(s, r, (struct answer){.type = ANSWER_ERROR, .code = ERROR_INTERNAL});
        return;
    }
    if (old != NULL)
        attendance_end(old, true); /* after: a member with other info has not left meanwhile */
}

void
members_depart(struct hub *hub, struct session *s, const struct request *r)
{
    struct attendance *a = attendance_find(s, NULL, r->topic);

    (void)hub;
    if (a != NULL)
        attendance_end(a, true);
    members_answer(s, r, (struct answer){.type = ANSWER_DONE});
}

int
members_on_settled(struct hub *hub, const struct frame *frame)
{
    const struct frame_settled *f = &frame->settled;
    struct attendance *a = numbers_find(&hub->members.attending, f->req & ~REQ_JOIN);
    struct answer answer = {.type = f->code.n > 0 ? ANSWER_ERROR : ANSWER_DONE, .text = f->message};
    struct request r = {.op = REQUEST_JOIN};
    uint8_t id[REQUEST_ID_MAX];
    struct session *s;

    if (a == NULL)
        return 0; /* it left, or this is of another link */
    s = a->session;
    answer.code = f->code.n > 0 ? error_code_find(f->code) : ERROR_NONE;
    a->is_settled = true;
    if (a->sub != NULL) {
        /* Who may not be there does not get the subscription that says so. */
        if (f->code.n > 0)
            sub_fail((struct sub *)(uintptr_t)a->sub, answer.code, f->message);
        return 0;
    }
    put(id, attendance_id(a));
    r.id = slice_of(id, a->n_id);
    if (f->code.n > 0)
        attendance_free(a);
    members_answer(s, &r, answer);
    return 0;
}

/* ---- Watching. ---- */

static struct watch *
watch_find(const struct sub *sub)
{
    const struct party *party = sub->session->party;

    if (party == NULL)
        return NULL;
    for (const struct list *it = party->watches.next; it != &party->watches; it = it->next) {
        struct watch *w = list_entry(it, struct watch, in_session);

        if (w->sub == sub)
            return w;
    }
    return NULL;
}

static struct watched *
watched_find(const struct sub *events)
{
    const struct party *party = events->session->party;

    for (const struct list *it = party->watches.next; it != &party->watches; it = it->next) {
        struct watch *w = list_entry(it, struct watch, in_session);

        for (unsigned i = 0; i < w->n_topics; i++)
            if (w->topics[i].events == events)
                return &w->topics[i];
    }
    return NULL;
}

bool
members_has_room(const struct session *s, const struct request *r)
{
    return (s->party == NULL ? 0 : s->party->n_presences) + r->n_filters <=
           s->fe->limits->presences_per_client;
}

/* The WHO under way is answered, or nobody wants it any more. */
static void
watched_end_who(struct watched *w)
{
    struct members *members = &w->watch->hub->members;

    members->n_asking -= w->req != 0;
    numbers_remove(&members->asking, w->req & ~REQ_WHO);
    w->req = 0;
}

static void
watched_forget_who(struct watched *w)
{
    watched_end_who(w);
    list_remove(&w->in_queue);
    buf_reset(&w->members);
}

static void members_pump(struct hub *hub);

static void
watch_free(struct watch *w)
{
    struct party *party = w->sub->session->party;
    struct hub *hub = w->hub;

    list_remove(&w->in_session);
    list_remove(&w->in_all);
    for (unsigned i = 0; i < w->n_topics; i++) {
        struct watched *t = &w->topics[i];

        watched_forget_who(t);
        if (t->events != NULL)
            sub_free(t->events);
        buf_fini(&t->members);
        buf_fini(&t->after);
        free(t->name);
    }
    party->n_presences -= w->n_topics;
    free(w->member_and_info);
    free(w);
    members_pump(hub);
}

static int
watched_init(struct watched *t, struct watch *w, struct slice topic)
{
    const struct slice prefix = slice_str(PRESENCE_PREFIX);

    *t = (struct watched){.watch = w, .n_name = (uint16_t)(prefix.n + topic.n)};
    list_init(&t->in_queue);
    buf_init(&t->members, 0);
    buf_init(&t->after, 0);
    t->name = malloc(t->n_name);
    if (t->name == NULL)
        return -ENOMEM;
    put(put(t->name, prefix), topic);
    return 0;
}

int
members_watch(struct sub *sub, const struct request *r)
{
    struct party *party = session_party(sub->session);
    struct watch *w;

    if (party == NULL || (w = calloc(1, sizeof *w + r->n_filters * sizeof w->topics[0])) == NULL)
        return -ENOMEM;
    w->hub = sub_hub(sub);
    w->sub = sub;
    list_push_back(&party->watches, &w->in_session);
    list_push_back(&w->hub->members.watches, &w->in_all);
    w->n_member = (uint8_t)r->member.n;
    w->n_info = (uint16_t)r->info.n;
    w->member_and_info = malloc(r->member.n + r->info.n + 1);
    if (w->member_and_info == NULL)
        goto failed;
    put(put(w->member_and_info, r->member), r->info);
    for (size_t i = 0; i < r->n_filters; i++) {
        party->n_presences++;
        if (watched_init(&w->topics[w->n_topics++], w, r->filters[i]) < 0)
            goto failed;
    }
    return 0;

failed:
    watch_free(w);
    return -ENOMEM;
}

void
members_on_live(struct sub *sub)
{
    struct watch *w = watch_find(sub);
    struct slice member, info;

    if (w == NULL || w->is_live)
        return;
    w->is_live = true;
    member = slice_of(w->member_and_info, w->n_member);
    info = slice_of(w->member_and_info + w->n_member, w->n_info);
    for (unsigned i = 0; i < w->n_topics; i++) {
        struct watched *t = &w->topics[i];

        if (member.n > 0 && attendance_new(w->hub, sub->session, sub, slice_of(NULL, 0), watched_topic(t),
                                member, info) == NULL)
            goto failed;
        t->events = sub_new_events(sub, slice_of(t->name, t->n_name));
        if (t->events == NULL)
            goto failed;
        sub_proceed(t->events);
    }
    return;

failed:
    sub_fail(sub, ERROR_INTERNAL, slice_str("no memory"));
}

static void
members_end_attendances(const struct sub *sub, bool has_left)
{
    list_for_each_safe(it, following, &sub->session->party->attendances)
    {
        struct attendance *a = list_entry(it, struct attendance, in_session);

        if (a->sub == sub)
            attendance_end(a, has_left);
    }
}

void
members_unwatch(struct sub *sub, bool has_left)
{
    struct watch *w = watch_find(sub);

    if (w == NULL)
        return;
    members_end_attendances(sub, has_left);
    watch_free(w);
}

struct sub *
members_main(const struct sub *events)
{
    return watched_find(events)->watch->sub;
}

void
members_end_input(struct session *s)
{
    for (struct list *it = s->party->watches.next; it != &s->party->watches; it = it->next)
        list_entry(it, struct watch, in_session)->n_member = 0; /* of what is not live yet */
    while (!list_empty(&s->party->attendances))
        attendance_end(list_entry(s->party->attendances.next, struct attendance, in_session), false);
}

void
members_leave(struct hub *hub, struct session *s)
{
    (void)hub;
    while (!list_empty(&s->party->watches)) {
        struct watch *w = list_entry(s->party->watches.next, struct watch, in_session);

        members_unwatch(w->sub, false);
    }
    while (!list_empty(&s->party->attendances))
        attendance_end(list_entry(s->party->attendances.next, struct attendance, in_session), false);
}

/* ---- Snapshots. ---- */

static void
watched_send_who(struct watched *w)
{
    struct hub *hub = w->watch->hub;
    uint64_t number = numbers_add(&hub->members.asking, w);

    if (number == 0) {
        log_error("no memory to ask who is there: a client is not told");
        return;
    }
    w->req = REQ_WHO | number;
    hub->members.n_asking++;
    frame_put_who(hub->sink.begin(hub->sink.arg),
        &(struct frame_who){
            .req = w->req, .topic = watched_topic(w), .after = buf_slice(&w->after), .limit = PAGE_MEMBERS});
    hub->sink.commit(hub->sink.arg);
}

/* Those whose turn it is. */
static void
members_pump(struct hub *hub)
{
    struct members *members = &hub->members;

    while (hub->phase != HUB_AWAY && members->n_asking < PARTS_AT_ONCE && !list_empty(&members->waiting)) {
        struct watched *w = list_entry(members->waiting.next, struct watched, in_queue);

        list_remove(&w->in_queue);
        watched_send_who(w);
    }
}

/* The next part, or the first. */
static void
watched_ask(struct watched *w)
{
    struct hub *hub = w->watch->hub;

    watched_forget_who(w);
    list_push_back(&hub->members.waiting, &w->in_queue);
    members_pump(hub);
}

static void
watched_ask_anew(struct watched *w)
{
    buf_reset(&w->after);
    w->n_parts = 0;
    if (w->watch->hub->phase != HUB_AWAY)
        watched_ask(w);
}

void
members_on_ready(struct sub *events)
{
    struct watched *w = watched_find(events);

    if (w->req == 0)
        watched_ask_anew(w);
}

/* Gives what was collected. False if the watch is gone after. */
static bool
watched_give_part(struct watched *w, uint64_t count, unsigned mode, bool has_more, uint64_t seq)
{
    static const char *const modes[] = {"off", "members", "count"};
    struct hub *hub = w->watch->hub;
    struct session *s = w->watch->sub->session;
    struct block *block = block_new();
    char cursor[CURSOR_MAX];
    struct sub_watch watch;
    struct buf body;

    buf_init(&body, 0);
    buf_put_str(&body, "{\"event\":\"snapshot\"");
    if (w->n_parts > 0)
        buf_printf(&body, ",\"part\":%llu", (unsigned long long)w->n_parts);
    if (mode != PRESENCE_MEMBERS)
        buf_printf(&body, ",\"presence\":\"%s\"", modes[mode]);
    buf_put_str(&body, ",\"members\":[");
    buf_put_slice(&body, buf_slice(&w->members));
    buf_printf(&body, "],\"count\":%llu%s}", (unsigned long long)count, has_more ? ",\"more\":true" : "");
    buf_reset(&w->members);
    buf_trim(&w->members);
    w->n_parts++;
    if (block == NULL || buf_failed(&body)) {
        log_error("no memory for who is there: a client is not told");
        block_unref(block);
        buf_fini(&body);
        return true;
    }
    struct message m = {
        .topic = slice_of(w->name, w->n_name),
        .cursor = slice_of(cursor, cursor_format(cursor, (struct position){hub->position.epoch, seq})),
        .seq = seq,
        .time_ms = (uint64_t)loop_wall_ms(hub->fe->loop),
        .kind = MESSAGE_JSON,
        .body = buf_slice(&body),
    };
    s->encoder->put_message(s->encoder, &block->buf, &m, sub_id(w->watch->sub));
    buf_fini(&body);
    sub_watch_begin(&watch, w->events);
    if (!buf_failed(&block->buf) && block->buf.n > 0)
        s->ops->on_deliver(s, block, 0, (uint32_t)block->buf.n);
    block_unref(block);
    return sub_watch_end(hub, &watch);
}

/* 0 and the watched, NULL if nobody wants it any more. */
static int
watched_of_req(struct hub *hub, uint64_t req, const char *frame_name, struct watched **ret)
{
    uint64_t number = req & ~REQ_WHO;

    *ret = numbers_find(&hub->members.asking, number);
    if (*ret != NULL || numbers_was_given(&hub->members.asking, number))
        return 0;
    log_error(
        "the broker sent %s for request %llu, which was not asked", frame_name, (unsigned long long)req);
    return -EPROTO;
}

int
members_on_present(struct hub *hub, const struct frame *frame)
{
    const struct frame_present *f = &frame->present;
    struct watched *w;
    int r = watched_of_req(hub, f->req, "PRESENT", &w);

    if (r < 0 || w == NULL)
        return r;
    if (w->members.n > 0)
        buf_put_byte(&w->members, ',');
    buf_put_str(&w->members, "{\"id\":");
    json_put_string(&w->members, f->id);
    if (f->info.n > 0) {
        buf_put_str(&w->members, ",\"info\":");
        buf_put_slice(&w->members, f->info);
    }
    buf_put_byte(&w->members, '}');
    buf_reset(&w->after);
    buf_put_slice(&w->after, f->id);
    return 0;
}

/* From now on events are given: those above `seq`, up to which the snapshot tells all. False if the watch is
 * gone after. */
static bool
watched_go_live(struct watched *w, uint64_t seq)
{
    struct sub *events = w->events;
    struct hub *hub = w->watch->hub;
    struct sub_watch watch;

    if (events->state == SUB_LIVE)
        return true;
    sub_watch_begin(&watch, events);
    sub_go_live(events);
    if (!sub_watch_end(hub, &watch))
        return false;
    if (events->last_seq < seq)
        events->last_seq = seq;
    return true;
}

static bool
watched_is_behind(const struct watched *w)
{
    const struct session *s = w->watch->sub->session;

    return s->ops->queued != NULL && s->ops->queued(w->watch->sub->session) > s->fe->limits->queue_bytes / 4;
}

static void
watched_go_on(struct watched *w)
{
    struct hub *hub = w->watch->hub;

    if (!watched_is_behind(w)) {
        watched_ask(w);
        return;
    }
    watched_forget_who(w);
    list_push_back(&hub->members.paused, &w->in_queue);
    if (hub->members.paused_timer.pprev == NULL)
        loop_timer_start(hub->fe->loop, &hub->members.paused_timer, PAUSED_POLL_MS);
}

static void
members_on_paused_timer(void *arg)
{
    struct hub *hub = arg;
    struct list todo;

    list_init(&todo);
    list_take_all(&todo, &hub->members.paused);
    while (!list_empty(&todo)) {
        struct watched *w = list_entry(todo.next, struct watched, in_queue);

        list_remove(&w->in_queue);
        if (hub->phase != HUB_AWAY)
            watched_go_on(w);
    }
}

int
members_on_who_end(struct hub *hub, const struct frame *frame)
{
    const struct frame_who_end *f = &frame->who_end;
    unsigned mode = f->mode <= PRESENCE_COUNT ? (unsigned)f->mode : PRESENCE_OFF;
    bool has_more = f->more != 0;
    struct watched *w;
    int r = watched_of_req(hub, f->req, "WHO_END", &w);

    if (r < 0 || w == NULL)
        return r;
    watched_end_who(w);
    if (watched_give_part(w, f->count, mode, has_more, f->seq) && watched_go_live(w, f->seq) && has_more)
        watched_go_on(w);
    members_pump(hub);
    return 0;
}

/* ---- The link. ---- */

void
members_list(struct hub *hub)
{
    for (const struct list *it = hub->members.attendances.next; it != &hub->members.attendances;
         it = it->next)
        attendance_put_join(list_entry(it, struct attendance, in_all));
}

/* Events of others may have been missed: those who watch are told anew who is there. Those who were not told
 * yet ask by themselves. */
void
members_on_resumed(struct hub *hub)
{
    for (const struct list *it = hub->members.watches.next; it != &hub->members.watches; it = it->next) {
        struct watch *w = list_entry(it, struct watch, in_all);

        for (unsigned i = 0; i < w->n_topics; i++)
            if (w->topics[i].events != NULL && w->topics[i].events->state == SUB_LIVE)
                watched_ask_anew(&w->topics[i]);
    }
}

void
members_on_down(struct hub *hub)
{
    for (const struct list *it = hub->members.watches.next; it != &hub->members.watches; it = it->next) {
        struct watch *w = list_entry(it, struct watch, in_all);

        for (unsigned i = 0; i < w->n_topics; i++)
            watched_forget_who(&w->topics[i]);
    }
}

/* ---- Life. ---- */

void
members_init(struct hub *hub)
{
    hub->members = (struct members){.paused_timer = {.fn = members_on_paused_timer, .arg = hub}};
    numbers_init(&hub->members.attending);
    numbers_init(&hub->members.asking);
    list_init(&hub->members.attendances);
    list_init(&hub->members.watches);
    list_init(&hub->members.waiting);
    list_init(&hub->members.paused);
}

void
members_fini(struct hub *hub)
{
    loop_timer_stop(hub->fe->loop, &hub->members.paused_timer);
    numbers_fini(&hub->members.attending);
    numbers_fini(&hub->members.asking);
}
