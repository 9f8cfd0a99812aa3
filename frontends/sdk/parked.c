/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work for clients that do not read. It is never thrown away, and it is not put into a queue that is long
 * already, for then a client with large messages would count as too slow though it only does one after the
 * other: it waits here until the client has read most of what it had. That it was given this, the client's
 * leases count; its bytes are counted here.
 */
#include "config.h"

#include "frontends/sdk/takerspriv.h"

#include <errno.h>
#include <stdlib.h>

#define PARKED_POLL_MS 50u

static bool
session_is_full(struct session *s)
{
    return s->ops->queued != NULL && s->ops->queued(s) > s->fe->limits->queue_bytes / 4;
}

bool
taker_is_behind(const struct taker *t)
{
    return !list_empty(&t->parked) || session_is_full(t->session);
}

static void
parked_free(struct taker *t, struct parked *p)
{
    t->session->party->n_parked_bytes -= p->n;
    list_remove(&p->in_taker);
    free(p);
}

void
taker_drop_parked(struct taker *t)
{
    while (!list_empty(&t->parked))
        parked_free(t, list_entry(t->parked.next, struct parked, in_taker));
    list_remove(&t->in_parked);
}

int
taker_park(struct taker *t, const struct frame *frame)
{
    struct hub *hub = t->hub;
    struct party *party = t->session->party;
    struct parked *p;
    struct buf packed;

    buf_init(&packed, 0);
    if (frame->type == FRAME_CALL)
        frame_put_call(&packed, &frame->call);
    else
        frame_put_dispatch(&packed, &frame->dispatch);
    p = buf_failed(&packed) ? NULL : malloc(sizeof *p + packed.n);
    if (p == NULL) {
        buf_fini(&packed);
        return -ENOMEM;
    }
    *p = (struct parked){.at_ms = loop_now_ms(hub->fe->loop), .n = (uint32_t)packed.n};
    memcpy(p->frame, packed.p, packed.n);
    buf_fini(&packed);
    list_push_back(&t->parked, &p->in_taker);
    party->n_parked_bytes += p->n;
    if (party->n_parked_bytes > hub->fe->limits->work_bytes) {
        taker_fail(t, ERROR_TOO_SLOW,
            slice_str("limits.work_bytes: this client does not read the work that it asked for"));
        return 0;
    }
    if (list_empty(&t->in_parked))
        list_push_back(&hub->takers.parked, &t->in_parked);
    if (hub->takers.parked_timer.pprev == NULL)
        loop_timer_start(hub->fe->loop, &hub->takers.parked_timer, PARKED_POLL_MS);
    return 0;
}

/* As much as the client's queue takes. */
static void
taker_unpark(struct taker *t)
{
    struct hub *hub = t->hub;
    uint64_t number = t->number, now_ms = loop_now_ms(hub->fe->loop);

    while (!list_empty(&t->parked) && !session_is_full(t->session)) {
        struct parked *p = list_entry(t->parked.next, struct parked, in_taker);
        struct mp cursor = mp_of(slice_of(p->frame, p->n));
        struct frame f;

        t->session->party->n_parked_bytes -= p->n;
        list_remove(&p->in_taker);
        if (frame_next(&cursor, &f, NULL) == FRAME_OK)
            taker_tell(t, &f, now_ms - p->at_ms);
        free(p);
        if (takers_find(hub, number) == NULL)
            return;
    }
}

void
takers_poll_parked(struct hub *hub)
{
    struct takers *takers = &hub->takers;
    struct list todo;

    list_init(&todo);
    list_take_all(&todo, &takers->parked);
    while (!list_empty(&todo)) {
        struct taker *t = list_entry(todo.next, struct taker, in_parked);
        uint64_t number = t->number;

        list_remove(&t->in_parked);
        taker_unpark(t);
        if (takers_find(hub, number) != NULL && !list_empty(&t->parked))
            list_push_back(&takers->parked, &t->in_parked);
    }
    if (!list_empty(&takers->parked) && takers->parked_timer.pprev == NULL)
        loop_timer_start(hub->fe->loop, &takers->parked_timer, PARKED_POLL_MS);
}
