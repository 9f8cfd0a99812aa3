/* SPDX-License-Identifier: Apache-2.0 */
/* Responders by filter, turns, and demands: see responders.h. */
#include "config.h"

#include "broker/responders.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/table.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "wire/filtertree.h"
#include "wire/names.h"

struct responders {
    struct filtertree *filters; /* struct responder_filter */
    struct table wanted;        /* by topic */
    uint64_t turn;              /* the last one that was given out */
};

/* One filter, held by at least one responder. */
struct responder_filter {
    struct list ready; /* struct responder: those that had room when they were looked at last, by turn */
    struct list busy;
    struct list wanted; /* struct want: of topics that match, in turns */
    uint16_t n;
    char pattern[];
};

/* The work of a consumer of mode 1. */
struct responder {
    struct consumer *consumer;
    struct responder_filter *filter;
    struct list in_filter; /* ready or busy */
    uint64_t turn;         /* the lowest is next */
    bool is_ready;
};

/* A topic with demands. */
struct wanted {
    struct list demands;
    struct list wants;
    unsigned n_pins; /* it is being walked over */
    uint16_t n;
    char topic[];
};

/* It is wanted of this filter. */
struct want {
    struct wanted *wanted;
    struct responder_filter *filter;
    struct list in_wanted, in_filter;
};

static struct slice
wanted_key_of(const void *value)
{
    const struct wanted *wanted = value;

    return slice_of(wanted->topic, wanted->n);
}

int
responders_new(struct responders **ret)
{
    struct responders *rs = calloc(1, sizeof(*rs));
    int r;

    if (rs == NULL)
        return -ENOMEM;
    r = filtertree_new(&rs->filters);
    if (r < 0) {
        free(rs);
        return r;
    }
    table_init(&rs->wanted, wanted_key_of);
    *ret = rs;
    return 0;
}

struct responders *
responders_free(struct responders *rs)
{
    if (rs == NULL)
        return NULL;
    assert(rs->wanted.n_used == 0);
    table_fini(&rs->wanted);
    filtertree_free(rs->filters);
    free(rs);
    return NULL;
}

/* ---- Turns. ---- */

static void
responder_set_ready(struct responders *rs, struct responder *r)
{
    list_remove(&r->in_filter);
    r->turn = ++rs->turn;
    r->is_ready = true;
    list_push_back(&r->filter->ready, &r->in_filter);
}

static void
responder_set_busy(struct responder *r)
{
    list_remove(&r->in_filter);
    r->is_ready = false;
    list_push_back(&r->filter->busy, &r->in_filter);
}

struct picking {
    struct responder *best;
    bool has_any;
};

static void
responders_on_match(void *value, void *arg)
{
    struct responder_filter *filter = value;
    struct picking *p = arg;

    p->has_any = true;
    while (!list_empty(&filter->ready)) {
        struct responder *r = list_entry(filter->ready.next, struct responder, in_filter);

        if (consumer_has_room(r->consumer)) {
            if (p->best == NULL || r->turn < p->best->turn)
                p->best = r;
            return;
        }
        responder_set_busy(r); /* on_room() tells when it has room again */
    }
}

struct consumer *
responders_pick(struct broker *broker, struct slice topic, bool *ret_has_any)
{
    struct responders *rs = broker->responders;
    struct picking p = {0};

    filtertree_match(rs->filters, topic, responders_on_match, &p);
    if (ret_has_any != NULL)
        *ret_has_any = p.has_any;
    if (p.best == NULL)
        return NULL;
    responder_set_ready(rs, p.best);
    return p.best->consumer;
}

static void
responders_on_any(void *value, void *arg)
{
    (void)value;
    *(bool *)arg = true;
}

bool
responders_has_any(struct broker *broker, struct slice topic)
{
    bool has_any = false;

    filtertree_match(broker->responders->filters, topic, responders_on_any, &has_any);
    return has_any;
}

/* ---- Demands. ---- */

/* 0 or -ENOMEM. */
static int
want_add(struct wanted *wanted, struct responder_filter *filter)
{
    struct want *want = malloc(sizeof(*want));

    if (want == NULL)
        return -ENOMEM;
    *want = (struct want){.wanted = wanted, .filter = filter};
    list_push_back(&wanted->wants, &want->in_wanted);
    list_push_back(&filter->wanted, &want->in_filter);
    return 0;
}

static void
want_free(struct want *want)
{
    list_remove(&want->in_wanted);
    list_remove(&want->in_filter);
    free(want);
}

static void
wanted_free(struct responders *rs, struct wanted *wanted)
{
    list_for_each_safe(it, following, &wanted->wants)
    {
        want_free(list_entry(it, struct want, in_wanted));
    }
    (void)table_remove(&rs->wanted, wanted_key_of(wanted));
    free(wanted);
}

static void
wanted_unpin(struct responders *rs, struct wanted *wanted)
{
    if (--wanted->n_pins == 0 && list_empty(&wanted->demands))
        wanted_free(rs, wanted);
}

struct wanting {
    struct wanted *wanted;
    int error;
};

static void
responders_on_wanted(void *value, void *arg)
{
    struct wanting *w = arg;

    if (w->error == 0)
        w->error = want_add(w->wanted, value);
}

static int
wanted_new(struct responders *rs, struct slice topic, struct wanted **ret)
{
    struct wanted *wanted = calloc(1, sizeof(*wanted) + topic.n);
    struct wanting w = {.wanted = wanted};

    if (wanted == NULL)
        return -ENOMEM;
    list_init(&wanted->demands);
    list_init(&wanted->wants);
    wanted->n = (uint16_t)topic.n;
    memcpy(wanted->topic, topic.p, topic.n);
    if (table_insert(&rs->wanted, wanted) < 0) {
        free(wanted);
        return -ENOMEM;
    }
    filtertree_match(rs->filters, topic, responders_on_wanted, &w);
    if (w.error < 0) {
        wanted_free(rs, wanted);
        return w.error;
    }
    *ret = wanted;
    return 0;
}

int
demand_start(struct broker *broker, struct demand *demand, struct slice topic)
{
    struct wanted *wanted;

    if (demand->wanted != NULL)
        return 0;
    wanted = table_find(&broker->responders->wanted, topic);
    if (wanted == NULL && wanted_new(broker->responders, topic, &wanted) < 0)
        return -ENOMEM;
    demand->wanted = wanted;
    list_init(&demand->in_wanted);
    list_push_back(&wanted->demands, &demand->in_wanted);
    return 0;
}

void
demand_stop(struct broker *broker, struct demand *demand)
{
    struct wanted *wanted = demand->wanted;

    if (wanted == NULL)
        return;
    list_remove(&demand->in_wanted);
    demand->wanted = NULL;
    if (wanted->n_pins == 0 && list_empty(&wanted->demands))
        wanted_free(broker->responders, wanted);
}

/* One piece of work of this topic for the responder; its demands take turns. False: there is none. */
static bool
wanted_give(struct wanted *wanted, struct consumer *c)
{
    while (!list_empty(&wanted->demands)) {
        struct demand *demand = list_entry(wanted->demands.next, struct demand, in_wanted);

        list_remove(&demand->in_wanted);
        list_push_back(&wanted->demands, &demand->in_wanted);
        if (demand->on_room(demand, c))
            return true;
    }
    return false;
}

void
responders_on_room(struct consumer *c)
{
    struct responder *r = c->work;
    struct broker *broker = c->peer->broker;

    if (!r->is_ready)
        responder_set_ready(broker->responders, r);
    while (consumer_has_room(c) && !list_empty(&r->filter->wanted)) {
        struct want *want = list_entry(r->filter->wanted.next, struct want, in_filter);
        struct wanted *wanted = want->wanted;

        list_remove(&want->in_filter);
        list_push_back(&r->filter->wanted, &want->in_filter);
        wanted->n_pins++;
        if (wanted_give(wanted, c))
            responder_set_ready(broker->responders, r);
        wanted_unpin(broker->responders, wanted);
    }
}

/* ---- Filters. ---- */

static void
wanted_on_alone(struct responders *rs, struct wanted *wanted)
{
    wanted->n_pins++;
    list_for_each_safe(it, following, &wanted->demands)
    {
        struct demand *demand = list_entry(it, struct demand, in_wanted);

        demand->on_alone(demand);
    }
    wanted_unpin(rs, wanted);
}

/* The last responder left it. */
static void
filter_free(struct responders *rs, struct responder_filter *filter)
{
    (void)filtertree_remove(rs->filters, slice_of(filter->pattern, filter->n));
    while (!list_empty(&filter->wanted)) {
        struct want *want = list_entry(filter->wanted.next, struct want, in_filter);
        struct wanted *wanted = want->wanted;

        want_free(want);
        if (list_empty(&wanted->wants))
            wanted_on_alone(rs, wanted);
    }
    free(filter);
}

/* Whoever waits already waits for this one too. An exact filter is found by its name; for a wildcard all
 * topics that somebody waits for are looked at, which are few unless responders are much too slow. */
static int
filter_find_wanted(struct responders *rs, struct responder_filter *filter)
{
    struct slice pattern = slice_of(filter->pattern, filter->n);
    struct wanted *wanted;
    size_t at = 0;
    int r = 0;

    if (!filter_has_wildcard(pattern)) {
        wanted = table_find(&rs->wanted, pattern);
        return wanted != NULL ? want_add(wanted, filter) : 0;
    }
    while (r == 0 && (wanted = table_next(&rs->wanted, &at)) != NULL)
        if (filter_matches(pattern, wanted_key_of(wanted)))
            r = want_add(wanted, filter);
    return r;
}

static int
filter_new(struct responders *rs, struct slice pattern, struct responder_filter **ret)
{
    struct responder_filter *filter = malloc(sizeof(*filter) + pattern.n);
    void **at;
    int r;

    if (filter == NULL)
        return -ENOMEM;
    list_init(&filter->ready);
    list_init(&filter->busy);
    list_init(&filter->wanted);
    filter->n = (uint16_t)pattern.n;
    memcpy(filter->pattern, pattern.p, pattern.n);
    at = filtertree_at(rs->filters, pattern);
    if (at == NULL) {
        free(filter);
        return -ENOMEM;
    }
    *at = filter;
    r = filter_find_wanted(rs, filter);
    if (r < 0) {
        filter_free(rs, filter);
        return r;
    }
    *ret = filter;
    return 0;
}

/* ---- Coming and going. ---- */

int
responders_add(struct consumer *c)
{
    struct responders *rs = c->peer->broker->responders;
    struct responder *r = calloc(1, sizeof(*r));
    int error;

    if (r == NULL)
        return -ENOMEM;
    r->filter = filtertree_find(rs->filters, consumer_topic(c));
    if (r->filter == NULL) {
        error = filter_new(rs, consumer_topic(c), &r->filter);
        if (error < 0) {
            free(r);
            return error;
        }
    }
    r->consumer = c;
    list_init(&r->in_filter);
    list_push_back(&r->filter->busy, &r->in_filter); /* until it is found to have room */
    c->work = r;
    return 0;
}

void
responders_remove(struct consumer *c)
{
    struct responders *rs = c->peer->broker->responders;
    struct responder *r = c->work;

    if (r == NULL)
        return;
    c->work = NULL;
    list_remove(&r->in_filter);
    if (list_empty(&r->filter->ready) && list_empty(&r->filter->busy))
        filter_free(rs, r->filter);
    free(r);
}
