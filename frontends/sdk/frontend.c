/* SPDX-License-Identifier: Apache-2.0 */
/* What hangs from struct frontend, and the end of a turn: fan-out, then writes, then those that were closed.
 */
#include "config.h"

#include "frontends/sdk/frontend.h"

#include "frontends/sdk/badge.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/connpriv.h"
#include "frontends/sdk/frontendpriv.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/multisend.h"
#include "frontends/sdk/peers.h"
#include "frontends/sdk/slow.h"
#include "frontends/sdk/tls.h"
#include "frontends/sdk/uplink.h"

#include <errno.h>
#include <stdlib.h>

static void
frontend_on_turn_end(void *arg)
{
    struct frontend *fe = arg;

    fe->is_turn_ending = true;
    if (fe->hub != NULL)
        hub_flush(fe->hub);
    conn_write_dirty(fe);
    if (fe->hub != NULL)
        hub_after_writes(fe->hub);
    conn_free_closed(fe);
    fe->is_turn_ending = false;
    if (!list_empty(&fe->dirty_conns) || !list_empty(&fe->closed_conns))
        frontend_defer_turn(fe);
}

void
frontend_defer_turn(struct frontend *fe)
{
    if (!fe->is_turn_ending)
        loop_defer(fe->loop, &fe->turn_hook);
}

static void
frontend_on_sweep(void *arg)
{
    conn_sweep_closing(arg);
}

int
frontend_init(struct frontend *fe, struct loop *loop, const struct limits_options *limits)
{
    *fe = (struct frontend){.loop = loop, .limits = limits, .instance = ""};
    list_init(&fe->conns);
    list_init(&fe->dirty_conns);
    list_init(&fe->closed_conns);
    list_init(&fe->closing_conns);
    list_init(&fe->slow_sessions);
    fe->turn_hook = (struct loop_hook){.fn = frontend_on_turn_end, .arg = fe};
    fe->closing_sweep = (struct loop_timer){.fn = frontend_on_sweep, .arg = fe};
    fe->slow_poll = (struct loop_timer){.fn = frontend_poll_slow, .arg = fe};
    buf_init(&fe->scratch.text, 0);
    buf_init(&fe->scratch.headers, 0);
    buf_init(&fe->encode_scratch, 0);
    badges_init(&fe->badges);
    fe->read_buffer = conn_read_buffer_new();
    if (fe->read_buffer == NULL || peers_new(&fe->peers) < 0) {
        frontend_fini(fe);
        return -ENOMEM;
    }
    return 0;
}

void
frontend_fini(struct frontend *fe)
{
    loop_cancel(fe->loop, &fe->turn_hook);
    loop_timer_stop(fe->loop, &fe->closing_sweep);
    loop_timer_stop(fe->loop, &fe->slow_poll);
    block_unref(fe->answers);
    fe->answers = NULL;
    fe->peers = peers_free(fe->peers);
    fe->tls = tls_free(fe->tls);
    fe->multisend = multisend_free(fe->multisend);
    fe->slow_topics = slow_topics_free(fe->slow_topics);
    free(fe->read_buffer);
    fe->read_buffer = NULL;
    buf_fini(&fe->scratch.text);
    buf_fini(&fe->scratch.headers);
    buf_fini(&fe->encode_scratch);
    table_fini(&fe->badges);
}

void
frontend_close_all(struct frontend *fe)
{
    while (!list_empty(&fe->conns))
        conn_close(list_entry(fe->conns.next, struct conn, in_fe), "the server stops");
    while (!list_empty(&fe->closing_conns))
        conn_close(list_entry(fe->closing_conns.next, struct conn, in_fe), "the server stops");
}

bool
frontend_is_ready(const struct frontend *fe)
{
    return fe->uplink != NULL && uplink_is_live(fe->uplink);
}

struct position
frontend_position(const struct frontend *fe)
{
    if (fe->hub == NULL)
        return (struct position){0};
    return hub_position(fe->hub);
}
