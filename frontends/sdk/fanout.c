/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message, many clients. For each filter that matches and each group of it the message is encoded once,
 * behind what the turn brought before. Singles get the group's block when the turn ends: for them nothing is
 * done per message. Multis get their piece at once, so that what comes from several groups stays in order;
 * pieces that follow one another are merged by the connection.
 */
#include "config.h"

#include "frontends/sdk/hubpriv.h"

#include "base/log.h"
#include "frontends/sdk/badge.h"
#include "frontends/sdk/block.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Walks. ---- */

/* A member that leaves while somebody walks is stepped over. */
static void
member_unlink(struct member *m)
{
    struct hub *hub = m->filter->hub;

    if (hub->next_member == &m->in_owner)
        hub->next_member = m->in_owner.next;
    list_remove(&m->in_owner);
}

static void
group_free(struct group *g)
{
    struct hub *hub = g->filter->hub;

    (void)table_remove(&hub->groups, slice_of(g->key, g->n_key));
    list_remove(&g->in_filter);
    list_remove(&g->in_active);
    list_remove(&g->in_dead);
    block_unref(g->block);
    free(g);
}

static void
group_note_left(struct group *g)
{
    struct hub *hub = g->filter->hub;

    if (!list_empty(&g->singles) || !list_empty(&g->multis))
        return;
    if (hub->n_walking == 0)
        group_free(g);
    else if (list_empty(&g->in_dead))
        list_push_back(&hub->dead, &g->in_dead);
}

static void
fanout_free_dead(struct hub *hub)
{
    while (!list_empty(&hub->dead)) {
        struct group *g = list_entry(hub->dead.next, struct group, in_dead);

        list_remove(&g->in_dead);
        if (list_empty(&g->singles) && list_empty(&g->multis))
            group_free(g);
    }
}

static void
fanout_walk_end(struct hub *hub)
{
    if (--hub->n_walking == 0 && !list_empty(&hub->dead))
        fanout_free_dead(hub);
}

/* ---- Members. ---- */

static struct group *
group_new(struct hub *hub, struct filter *f, const struct encoder *encoder, struct slice key)
{
    struct group *g = malloc(sizeof *g + key.n);

    if (g == NULL)
        return NULL;
    *g = (struct group){.filter = f, .encoder = encoder, .number = ++hub->last_group, .n_key = key.n};
    memcpy(g->key, key.p, key.n);
    list_init(&g->singles);
    list_init(&g->multis);
    list_init(&g->in_active);
    list_init(&g->in_dead);
    if (table_insert(&hub->groups, g) < 0) {
        free(g);
        return NULL;
    }
    list_push_back(&f->groups, &g->in_filter);
    return g;
}

static struct group *
group_get(struct hub *hub, struct filter *f, const struct encoder *encoder, struct slice id)
{
    uint8_t key[GROUP_KEY_HEAD + REQUEST_SUB_ID_MAX];

    memcpy(key, &f, sizeof f);
    memcpy(key + sizeof f, &encoder, sizeof encoder);
    memcpy(key + GROUP_KEY_HEAD, id.p, id.n);

    struct slice whole = slice_of(key, GROUP_KEY_HEAD + id.n);
    struct group *g = table_find(&hub->groups, whole);
    return g != NULL ? g : group_new(hub, f, encoder, whole);
}

static uint32_t
group_at(const struct group *g)
{
    return g->block == NULL ? 0 : (uint32_t)g->block->buf.n;
}

int
fanout_join(struct member *m, bool is_single)
{
    struct sub *sub = member_sub(m);
    struct group *g = group_get(sub_hub(sub), m->filter, sub->session->encoder, sub_id(sub));

    if (g == NULL)
        return -ENOMEM;
    m->group = g;
    m->from = group_at(g);
    list_push_back(is_single ? &g->singles : &g->multis, &m->in_owner);
    g->n_singles += is_single;
    return 0;
}

void
fanout_leave(struct member *m)
{
    struct group *g = m->group;

    g->n_singles -= member_sub(m)->session->is_single;
    member_unlink(m);
    m->group = NULL;
    group_note_left(g);
}

void
fanout_deliver_pending(struct member *m)
{
    struct group *g = m->group;
    struct session *s = member_sub(m)->session;
    uint32_t from = m->from, n = group_at(g);

    if (n <= from)
        return;
    m->from = n;
    s->ops->on_deliver(s, g->block, from, n - from);
}

void
fanout_set_single(struct member *m, bool is_single)
{
    struct group *g = m->group;

    member_unlink(m);
    m->from = group_at(g);
    list_push_back(is_single ? &g->singles : &g->multis, &m->in_owner);
    if (is_single)
        g->n_singles++;
    else
        g->n_singles--;
}

/* ---- Handing out. ---- */

/* Gives the block to the singles and starts a new one. */
static void
group_flush(struct hub *hub, struct group *g)
{
    struct block *block = g->block;
    uint32_t n = group_at(g);

    list_remove(&g->in_active);
    g->block = NULL; /* here now, until the end of this function */
    if (block == NULL)
        return;
    hub->fe->counters.delivered += (uint64_t)g->n_frames * g->n_singles;
    g->n_frames = 0;
    g->n_last_block = n;
    buf_trim(&block->buf); /* it may wait for long in somebody's queue */
    hub->n_walking++;
    for (struct list *it = g->singles.next; it != &g->singles; it = hub->next_member) {
        struct member *m = list_entry(it, struct member, in_owner);
        struct session *s = member_sub(m)->session;
        uint32_t from = m->from;

        hub->next_member = it->next;
        m->from = 0;
        if (n > from)
            s->ops->on_deliver(s, block, from, n - from);
    }
    hub->next_member = NULL;
    block_unref(block);
    fanout_walk_end(hub);
}

void
hub_flush(struct hub *hub)
{
    while (!list_empty(&hub->active))
        group_flush(hub, list_entry(hub->active.next, struct group, in_active));
}

/* Memory ran out: the members are told that this message is missing. */
static void
group_tell_lost(struct hub *hub, struct group *g, const struct message *m)
{
    struct answer answer = {.type = ANSWER_STATE,
        .state = STATE_GAP,
        .gaps = &m->topic,
        .n_gaps = 1,
        .position = {.epoch = hub->position.epoch, .seq = m->seq}};
    struct list *const lists[] = {&g->singles, &g->multis};

    log_error("no memory to encode a message: the clients are told of a gap");
    for (unsigned i = 0; i < 2; i++) {
        for (struct list *it = lists[i]->next; it != lists[i]; it = hub->next_member) {
            struct member *member = list_entry(it, struct member, in_owner);

            hub->next_member = it->next;
            (void)sub_answer(member_sub(member), &answer);
        }
    }
    hub->next_member = NULL;
}

/* Appends the message to the group's block: where it is. False if memory ran out. */
static bool
group_encode(struct hub *hub, struct group *g, const struct message *m, uint32_t *ret_at)
{
    struct block_mark *mark;
    size_t at, n_room;

    if (g->block == NULL) {
        g->block = block_new();
        if (g->block == NULL)
            return false;
        g->block->epoch = hub->position.epoch;
        /* Room for what comes at once, not by doubling. If there is none, the encoder finds out. */
        n_room = m->body.n + m->topic.n + g->n_key + FRAME_WORDS;
        (void)buf_reserve(&g->block->buf, n_room > g->n_last_block ? n_room : g->n_last_block);
        list_push_back(&hub->active, &g->in_active);
        loop_defer(hub->fe->loop, &hub->fe->turn_hook);
    }
    at = g->block->buf.n;
    g->encoder->put_message(
        g->encoder, &g->block->buf, m, slice_of(g->key + GROUP_KEY_HEAD, g->n_key - GROUP_KEY_HEAD));
    if (buf_failed(&g->block->buf)) {
        g->block->buf.n = at;
        g->block->buf.is_failed = false;
        return false;
    }
    /* One for each encoded message, however many clients get it. Without memory it cannot be left out. */
    mark = block_new_mark(g->block);
    if (mark != NULL)
        *mark = (struct block_mark){.at = (uint32_t)at,
            .n = (uint32_t)(g->block->buf.n - at),
            .handle = m->handle & (HANDLES_MAX - 1),
            .policy = m->policy,
            .tag = m->tag,
            .group = g->number,
            .seq = m->seq,
            .value = hub_value_of(hub, m->policy, g->number, m->tag, m->key)};
    g->n_frames++;
    *ret_at = (uint32_t)at;
    return true;
}

/* One of several subs of a session, or one with several filters: piece by piece, and each message once. */
static void
group_give_multis(struct hub *hub, struct group *g, uint64_t seq, uint32_t at)
{
    struct block *block = block_ref(g->block);
    uint32_t n = (uint32_t)block->buf.n - at;

    for (struct list *it = g->multis.next; it != &g->multis; it = hub->next_member) {
        struct member *member = list_entry(it, struct member, in_owner);
        struct session *s = member_sub(member)->session;

        hub->next_member = it->next;
        if (member_sub(member)->last_seq >= seq)
            continue;
        member_sub(member)->last_seq = seq;
        hub->fe->counters.delivered++;
        s->ops->on_deliver(s, block, at, n);
    }
    hub->next_member = NULL;
    block_unref(block);
}

static bool
group_wants(const struct group *g, uint64_t seq)
{
    if (!list_empty(&g->singles))
        return true;
    for (const struct list *it = g->multis.next; it != &g->multis; it = it->next) {
        if (member_sub(list_entry(it, struct member, in_owner))->last_seq < seq)
            return true;
    }
    return false;
}

static void
group_give(struct hub *hub, struct group *g, const struct message *m)
{
    uint32_t at;

    if (!group_wants(g, m->seq))
        return;
    if (!group_encode(hub, g, m, &at)) {
        group_tell_lost(hub, g, m);
        return;
    }
    if (!list_empty(&g->multis))
        group_give_multis(hub, g, m->seq, at);
    if (g->block != NULL && g->block->buf.n >= GROUP_BLOCK_BYTES)
        group_flush(hub, g);
}

static void
filter_give(struct hub *hub, struct filter *f, const struct message *m, bool is_retain)
{
    f->last_seq = m->seq;
    if (is_retain)
        f->may_retain = true;
    if (f->quiet_ms < m->time_ms)
        f->quiet_ms = m->time_ms;
    for (const struct list *it = f->joining.next; it != &f->joining; it = it->next)
        member_sub(list_entry(it, struct member, in_owner))->join->ignored = m->seq;
    for (struct list *it = f->groups.next, *next; it != &f->groups; it = next) {
        next = it->next; /* groups are not freed while walking */
        group_give(hub, list_entry(it, struct group, in_filter), m);
    }
}

/* ---- The frame. ---- */

/* A message before this one should have come and did not. */
static bool
fanout_has_hole(const struct hub *hub, const struct bus_topic *t, uint64_t prev)
{
    struct filter *const *matches = bus_topic_matches(t);

    if (hub->phase != HUB_LIVE || prev <= t->last_seq || prev <= hub->base)
        return false;
    for (size_t i = 0; i < t->n_matches; i++) {
        if (matches[i]->state == FILTER_LIVE && matches[i]->since < prev)
            return true;
    }
    return false;
}

/* The message is not for this session: its subscriptions count it as delivered. One that gets its group's
 * whole block has to get what stands before it now, and everything piece by piece from here on. */
static void
fanout_exclude(struct hub *hub, struct session *s, uint64_t seq)
{
    if (s->is_single) {
        struct sub *sub = list_entry(s->subs.next, struct sub, in_session);
        struct sub_watch watch;

        sub_watch_begin(&watch, sub);
        fanout_deliver_pending(&sub->members[0]);
        if (!sub_watch_end(hub, &watch) || !s->is_single)
            return;
        fanout_set_single(&sub->members[0], false);
        s->is_single = false;
    }
    for (const struct list *it = s->subs.next; it != &s->subs; it = it->next) {
        struct sub *sub = list_entry(it, struct sub, in_session);

        if (sub->state == SUB_LIVE && sub->last_seq < seq)
            sub->last_seq = seq;
    }
}

int
fanout_on_message(struct hub *hub, const struct frame *frame)
{
    const struct frame_message *f = &frame->message;
    struct bus_topic *t = bus_topic_find(hub, f->handle);

    if (t == NULL) {
        log_error(
            "the broker sent a message of topic %llu, which it never named", (unsigned long long)f->handle);
        return -EPROTO;
    }
    if (f->seq <= hub->seq)
        return 0; /* delivered on the link before this one */
    if (hub->gaps.n > 0)
        hub_tell_gaps(hub);
    if (bus_topic_match(hub, t) < 0)
        return -ENOMEM;
    if (fanout_has_hole(hub, t, f->prev)) {
        log_error("messages of %.*s are missing between %llu and %llu: resuming from %llu",
            SLICE_ARG(bus_topic_name(t)), (unsigned long long)t->last_seq, (unsigned long long)f->seq,
            (unsigned long long)hub->position.seq);
        return -EPROTO;
    }
    t->last_seq = f->seq;
    hub->seq = f->seq;
    if (hub->phase == HUB_LIVE && f->seq > hub->position.seq)
        hub->position.seq = f->seq;
    hub->fe->counters.received++;
    struct message m = {
        .topic = bus_topic_name(t),
        .cursor = cursor_text_of(&hub->cursor, (struct position){hub->position.epoch, f->seq}),
        .seq = f->seq,
        .handle = (uint32_t)f->handle,
        .tag = t->tag,
        .policy = t->policy,
        .time_ms = f->time_ms,
        .kind = (enum message_kind)f->kind,
        .type = f->type,
        .headers = f->headers,
        .key = f->key,
        .body = f->body,
    };
    if (f->headers.n > 0) {
        struct session *excluded = badges_excluded(&hub->fe->badges, f->headers);

        if (excluded != NULL)
            fanout_exclude(hub, excluded, f->seq);
    }
    hub->n_walking++;
    for (size_t i = 0; i < t->n_matches; i++)
        filter_give(hub, bus_topic_matches(t)[i], &m, (f->flags & MESSAGE_RETAIN) != 0);
    fanout_walk_end(hub);
    return 0;
}
