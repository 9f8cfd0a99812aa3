/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/ws/wscableping.h"

#include "frontends/dialects/actioncable/acframe.h"
#include "frontends/sdk/block.h"
#include "frontends/ws/wsframe.h"

static uint64_t
pings_tick(const struct wscable_pings *p)
{
    return p->interval_ms / WSCABLE_PING_SLOTS;
}

static void
pings_arm(struct wscable_pings *p)
{
    uint64_t now = loop_now_ms(p->loop);

    loop_timer_start(p->loop, &p->timer, p->due_ms > now ? p->due_ms - now : 0);
}

/* Slots whose time has come; each at most once, however long the process stood still: a client wants one
 * ping. */
static void
pings_on_timer(void *arg)
{
    struct wscable_pings *p = arg;
    uint64_t now = loop_now_ms(p->loop);

    for (unsigned i = 0; i < WSCABLE_PING_SLOTS && p->due_ms <= now; i++) {
        struct list *slot = &p->slots[p->at];

        p->at = (p->at + 1) % WSCABLE_PING_SLOTS;
        p->due_ms += pings_tick(p);
        list_for_each_safe(it, following, slot)
        {
            p->fn(it);
        }
    }
    if (p->due_ms <= now)
        p->due_ms = now + pings_tick(p);
    if (p->n > 0)
        pings_arm(p);
}

void
wscable_pings_init(
    struct wscable_pings *p, struct loop *loop, uint64_t interval_ms, void (*fn)(struct list *member))
{
    *p = (struct wscable_pings){.loop = loop, .fn = fn, .interval_ms = interval_ms};
    p->timer = (struct loop_timer){.fn = pings_on_timer, .arg = p};
    for (unsigned i = 0; i < WSCABLE_PING_SLOTS; i++)
        list_init(&p->slots[i]);
}

void
wscable_pings_fini(struct wscable_pings *p)
{
    if (p->loop == NULL)
        return;
    loop_timer_stop(p->loop, &p->timer);
    block_unref(p->block);
    p->block = NULL;
    p->loop = NULL;
}

void
wscable_pings_set_interval(struct wscable_pings *p, uint64_t interval_ms)
{
    p->interval_ms = interval_ms;
}

void
wscable_pings_join(struct wscable_pings *p, struct list *member)
{
    list_push_back(&p->slots[p->next], member);
    p->next = (p->next + 1) % WSCABLE_PING_SLOTS;
    if (p->n++ > 0)
        return;
    p->due_ms = loop_now_ms(p->loop) + pings_tick(p);
    pings_arm(p);
}

void
wscable_pings_leave(struct wscable_pings *p, struct list *member)
{
    if (list_empty(member))
        return;
    list_remove(member);
    if (--p->n == 0)
        loop_timer_stop(p->loop, &p->timer);
}

struct block *
wscable_pings_block(struct wscable_pings *p)
{
    uint64_t second = (uint64_t)loop_wall_ms(p->loop) / 1000;
    struct block *block;
    struct buf text;

    if (p->block != NULL && p->second == second)
        return p->block;
    block = block_new();
    if (block == NULL)
        return NULL;
    buf_init(&text, 0);
    acframe_put_ping(&text, second);
    wsframe_put(&block->buf, WSFRAME_OP_TEXT, false, buf_slice(&text));
    if (buf_failed(&text) || buf_failed(&block->buf)) {
        block_unref(block);
        block = NULL;
    }
    buf_fini(&text);
    if (block == NULL)
        return NULL;
    block_unref(p->block);
    p->block = block;
    p->second = second;
    return block;
}
