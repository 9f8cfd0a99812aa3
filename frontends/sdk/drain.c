/* SPDX-License-Identifier: Apache-2.0 */
/* Pacing: how many may have been told by now is a function of the time alone, so a slow turn is made up for.
 */
#include "config.h"

#include "frontends/sdk/drain.h"

#include "base/log.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/frontend.h"

/* Of a client that has asked nothing; half of drain_time if that is less. */
#define SILENT_MS 3000u
/* After the deadline, for the last answers and closing handshakes. */
#define LAST_MS 1000u

void
drain_begin(struct drain *drain, struct frontend *fe)
{
    uint64_t time_ms = fe->limits->drain_time_ms, needed;

    *drain = (struct drain){.fe = fe, .began_ms = loop_now_ms(fe->loop), .rate = fe->limits->drain_rate};
    drain->deadline_ms = drain->began_ms + time_ms;
    list_init(&drain->waiting);
    list_init(&drain->silent);
    list_take_all(&drain->waiting, &fe->conns);
    /* A little before the deadline, for what it takes to go. */
    needed = (uint64_t)fe->n_conns * 1000 / (time_ms * 3 / 4 + 1) + 1;
    if (needed > drain->rate) {
        log_warn("%u clients are told at %llu a second, more than limits.drain_rate, to be done in "
                 "limits.drain_time",
            (unsigned)fe->n_conns, (unsigned long long)needed);
        drain->rate = needed;
    }
}

/* False: it is to be asked again. */
static bool
drain_tell(struct drain *drain, struct conn *c)
{
    struct frontend *fe = drain->fe;

    list_remove(&c->in_fe);
    list_push_back(&fe->conns, &c->in_fe);
    if (fe->kind->leave(fe, c) || c->is_closed || c->is_closing)
        return true;
    list_remove(&c->in_fe);
    list_push_back(&drain->silent, &c->in_fe);
    return false;
}

static void
drain_ask_silent(struct drain *drain, bool is_late)
{
    struct list todo;

    list_init(&todo);
    list_take_all(&todo, &drain->silent);
    while (!list_empty(&todo)) {
        struct conn *c = list_entry(todo.next, struct conn, in_fe);

        if (!drain_tell(drain, c) && is_late)
            conn_close_soon(c, "the server stops");
    }
}

void
drain_step(struct drain *drain)
{
    uint64_t now = loop_now_ms(drain->fe->loop), passed = now - drain->began_ms;
    uint64_t half = (drain->deadline_ms - drain->began_ms) / 2;
    bool is_late = now >= drain->deadline_ms;

    drain_ask_silent(drain, passed >= (half < SILENT_MS ? half : SILENT_MS));
    while (!list_empty(&drain->waiting) &&
           (is_late || drain->n_told * 1000 < (passed + DRAIN_STEP_MS) * drain->rate)) {
        struct conn *c = list_entry(drain->waiting.next, struct conn, in_fe);

        drain->n_told++;
        (void)drain_tell(drain, c);
    }
}

bool
drain_is_over(const struct drain *drain)
{
    return loop_now_ms(drain->fe->loop) >= drain->deadline_ms + LAST_MS;
}

void
drain_end(struct drain *drain)
{
    if (drain->fe == NULL)
        return;
    list_take_all(&drain->fe->conns, &drain->waiting);
    list_take_all(&drain->fe->conns, &drain->silent);
    drain->fe = NULL;
}
