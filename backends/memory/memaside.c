/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that are kept aside until they are due. One timer for the next of them; it looks at the clock
 * again after a second at most, for somebody may have set it.
 */
#include "config.h"

#include "backends/memory/memstore.h"

#include <errno.h>
#include <stdlib.h>

#define LOOK_AGAIN_MS 1000
#define AT_ONCE_MAX 1000u /* in one turn of the loop */

struct memory_aside {
    struct heap_node in_aside; /* by due_ms */
    struct store_topic *topic;
    struct record *record;
};

static void
aside_arm(struct backend *b)
{
    const struct heap_node *next = heap_top(&b->aside);
    int64_t wait_ms;

    if (next == NULL) {
        loop_timer_stop(b->loop, &b->aside_timer);
        return;
    }
    wait_ms = next->key - loop_wall_ms(b->loop);
    if (wait_ms < 0)
        wait_ms = 0;
    loop_timer_start(b->loop, &b->aside_timer, (uint64_t)(wait_ms < LOOK_AGAIN_MS ? wait_ms : LOOK_AGAIN_MS));
}

static void
aside_free(struct backend *b, struct memory_aside *a)
{
    a->topic->extra->n_aside--;
    b->stats.n_scheduled--;
    b->stats.n_scheduled_bytes -= record_size(a->record);
    record_unref(a->record);
    free(a);
}

int
memory_aside_take(struct backend *b, struct store_topic *topic, struct record *record)
{
    struct memory_aside *a;

    if (heap_reserve(&b->aside, 1) < 0 || memory_topic_extra(topic) == NULL)
        return -ENOMEM;
    a = calloc(1, sizeof(*a));
    if (a == NULL)
        return -ENOMEM;
    a->topic = topic;
    a->record = record_ref(record);
    topic->extra->n_aside++;
    b->stats.n_scheduled++;
    b->stats.n_scheduled_bytes += record_size(record);
    heap_push(&b->aside, &a->in_aside, record->due_ms, b->next_aside++);
    aside_arm(b);
    return 0;
}

/* 0 or -ENOMEM: then it is still there. */
static int
aside_append(struct backend *b, struct memory_aside *a, int64_t wall_ms)
{
    struct record *record = record_ref(a->record);
    bool is_over = record->expires_ms != 0 && record->expires_ms <= wall_ms;
    int r = is_over ? 0 : memory_append(b, a->topic, record);

    if (r == 0) {
        b->stats.n_expired += is_over;
        heap_remove(&b->aside, &a->in_aside);
        aside_free(b, a);
        if (!is_over)
            b->host.on_record(record, b->host.arg);
    }
    record_unref(record);
    return r;
}

void
memory_aside_on_timer(void *arg)
{
    struct backend *b = arg;
    int64_t wall_ms = loop_wall_ms(b->loop);
    struct heap_node *next;

    for (unsigned n = 0; n < AT_ONCE_MAX && (next = heap_top(&b->aside)) != NULL; n++) {
        if (next->key > wall_ms)
            break;
        if (aside_append(b, heap_entry(next, struct memory_aside, in_aside), wall_ms) < 0) {
            loop_timer_start(b->loop, &b->aside_timer, LOOK_AGAIN_MS);
            return;
        }
    }
    aside_arm(b);
}

void
memory_aside_forget(struct backend *b, struct store_topic *topic)
{
    size_t n = b->aside.n;

    if (topic != NULL && (topic->extra == NULL || topic->extra->n_aside == 0))
        return;
    b->aside.n = 0;
    for (size_t i = 0; i < n; i++) {
        struct heap_node *node = b->aside.nodes[i];
        struct memory_aside *a = heap_entry(node, struct memory_aside, in_aside);

        node->place = 0;
        if (topic == NULL || a->topic == topic)
            aside_free(b, a);
        else
            heap_push(&b->aside, node, node->key, node->order); /* at or before i */
    }
    aside_arm(b);
}
