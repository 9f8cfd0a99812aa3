/* SPDX-License-Identifier: Apache-2.0 */
/* What this process wants of the broker: each filter once, however many clients share it, and for a while
 * after the last left. */
#include "config.h"

#include "frontends/sdk/hubpriv.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Life. ---- */

static void
filter_on_linger(void *arg)
{
    struct filter *f = arg;
    struct hub *hub = f->hub;

    /* Its number is given again only when no SUBSCRIBED for it can be on its way. */
    if (hub->phase == HUB_RESUMING || f->state == FILTER_ASKED) {
        loop_timer_start(hub->fe->loop, &f->linger, FILTER_LINGER_MS);
        return;
    }
    if (hub->phase == HUB_LIVE && f->state == FILTER_LIVE) {
        frame_put_unsubscribe(
            hub->sink.begin(hub->sink.arg), &(struct frame_unsubscribe){.filter = f->number});
        hub->sink.commit(hub->sink.arg);
    }
    filter_free(f);
}

/* A free number, from 1; looked for where the last was found, so that a number rests before it is given
 * again. 0 if memory ran out. */
static uint64_t
filter_number(struct hub *hub)
{
    size_t n = hub->n_filter_slots;
    struct filter **filters;

    for (size_t i = 0; hub->n_filters < n && i < n; i++) {
        size_t slot = (hub->filter_hint + i) % n;

        if (hub->filters[slot] == NULL) {
            hub->filter_hint = slot + 1;
            return slot + 1;
        }
    }
    hub->filter_hint = n + 1;
    n = n == 0 ? 16 : n * 2;
    filters = realloc(hub->filters, n * sizeof(struct filter *));
    if (filters == NULL)
        return 0;
    for (size_t i = hub->n_filter_slots; i < n; i++)
        filters[i] = NULL;
    hub->filters = filters;
    hub->n_filter_slots = n;
    return hub->filter_hint;
}

static struct filter *
filter_new(struct hub *hub, struct slice text)
{
    uint64_t number = filter_number(hub);
    struct filter *f;
    void **place;

    if (number == 0)
        return NULL;
    f = malloc(sizeof *f + text.n);
    if (f == NULL)
        return NULL;
    *f = (struct filter){.hub = hub, .number = number, .n_text = text.n};
    f->linger = (struct loop_timer){.fn = filter_on_linger, .arg = f};
    memcpy(f->text, text.p, text.n);
    list_init(&f->groups);
    list_init(&f->joining);
    place = filtertree_at(hub->tree, text);
    if (place == NULL) {
        free(f);
        return NULL;
    }
    *place = f;
    hub->filters[number - 1] = f;
    hub->n_filters++;
    bus_topic_forget_matches(hub);
    return f;
}

void
filter_free(struct filter *f)
{
    struct hub *hub = f->hub;

    loop_timer_stop(hub->fe->loop, &f->linger);
    (void)filtertree_remove(hub->tree, filter_text(f));
    hub->filters[f->number - 1] = NULL;
    hub->n_filters--;
    bus_topic_forget_matches(hub);
    free(f);
}

struct filter *
filter_get(struct hub *hub, struct slice text)
{
    struct filter *f = filtertree_find(hub->tree, text);

    if (f != NULL)
        return f;
    f = filter_new(hub, text);
    if (f == NULL)
        return NULL;
    if (hub->phase == HUB_LIVE)
        filter_ask(f);
    /* Until somebody is noted it lingers: a caller that fails leaves nothing behind. */
    loop_timer_start(hub->fe->loop, &f->linger, FILTER_LINGER_MS);
    return f;
}

void
filter_note_member(struct filter *f)
{
    if (f->n_members++ == 0)
        loop_timer_stop(f->hub->fe->loop, &f->linger);
}

void
filter_note_left(struct filter *f)
{
    if (--f->n_members == 0)
        loop_timer_start(f->hub->fe->loop, &f->linger, FILTER_LINGER_MS);
}

/* ---- Frames. ---- */

void
filter_ask(struct filter *f)
{
    struct hub *hub = f->hub;

    frame_put_subscribe(hub->sink.begin(hub->sink.arg),
        &(struct frame_subscribe){.filter = f->number, .pattern = filter_text(f)});
    hub->sink.commit(hub->sink.arg);
    if (f->state == FILTER_NEW)
        f->state = FILTER_ASKED;
}

static struct filter *
filter_find(struct hub *hub, uint64_t number, const char *frame_name)
{
    if (number >= 1 && number <= hub->n_filter_slots && hub->filters[number - 1] != NULL)
        return hub->filters[number - 1];
    log_error("the broker sent %s for filter %llu, which was not asked for", frame_name,
        (unsigned long long)number);
    return NULL;
}

/* The subs that wait for this filter go on, if it was the last that they waited for. */
static void
filter_proceed_joining(struct filter *f)
{
    struct list todo;

    list_init(&todo);
    list_take_all(&todo, &f->joining);
    while (!list_empty(&todo)) {
        struct member *m = list_entry(todo.next, struct member, in_owner);

        list_remove(&m->in_owner);
        list_push_back(&f->joining, &m->in_owner);
        if (member_sub(m)->state == SUB_WAITING)
            sub_proceed(member_sub(m));
    }
}

int
filter_on_subscribed(struct hub *hub, const struct frame *frame)
{
    struct filter *f = filter_find(hub, frame->subscribed.filter, "SUBSCRIBED");

    if (f == NULL)
        return -EPROTO;
    if (frame->subscribed.retained != 0)
        f->may_retain = true;
    if (f->state == FILTER_LIVE)
        return 0; /* listed again on a new link: RESUME says where it goes on */
    f->state = FILTER_LIVE;
    f->since = frame->subscribed.seq;
    f->quiet_ms = (uint64_t)loop_wall_ms(hub->fe->loop);
    filter_proceed_joining(f);
    return 0;
}

static struct member *
filter_any_member(const struct filter *f)
{
    if (!list_empty(&f->joining))
        return list_entry(f->joining.next, struct member, in_owner);
    for (const struct list *it = f->groups.next; it != &f->groups; it = it->next) {
        const struct group *g = list_entry(it, struct group, in_filter);

        if (!list_empty(&g->singles))
            return list_entry(g->singles.next, struct member, in_owner);
        if (!list_empty(&g->multis))
            return list_entry(g->multis.next, struct member, in_owner);
    }
    return NULL;
}

int
filter_on_unsubscribable(struct hub *hub, const struct frame *frame)
{
    const struct frame_unsubscribable *u = &frame->unsubscribable;
    struct filter *f = filter_find(hub, u->filter, "UNSUBSCRIBABLE");
    struct member *m;

    if (f == NULL)
        return -EPROTO;
    log_info(
        "the broker does not take the filter %.*s: %.*s", SLICE_ARG(filter_text(f)), SLICE_ARG(u->message));
    f->state = FILTER_NEW; /* not held: nothing to be unsubscribed */
    while ((m = filter_any_member(f)) != NULL)
        sub_fail(member_sub(m), error_code_find(u->code), u->message);
    filter_free(f);
    return 0;
}
