/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a queue is held, and what is done with: marks that the writer is told of along with what it does
 * next. Only a read that such a mark concerns waits for that.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <assert.h>

/* One that nobody took yet says it all. */
static void
mark_send(struct backend *b, struct store_topic *topic)
{
    struct topic_extra *x = topic->x;
    struct command *c = x->mark;

    if (c == NULL) {
        c = command_new(COMMAND_MARK, topic);
        if (c == NULL) {
            x->has_mark_failed = true; /* memory ran out: the next tick tries again */
            return;
        }
        c->mark = ++x->mark_sent;
        x->mark = c;
        store_ride(b, c);
    }
    x->has_mark_failed = false;
    c->hold_above = x->hold_asked;
    c->trim_upto = x->trim_asked;
}

void
sqlite_topic_hold(struct backend *b, struct store_topic *topic, uint64_t above)
{
    struct topic_extra *x = store_topic_extra(topic);

    assert(b->is_started && !b->is_calling);
    if (x == NULL || x->hold_asked == above)
        return; /* without memory a topic is no queue yet */
    x->hold_asked = above;
    mark_send(b, topic);
}

void
sqlite_topic_trim(struct backend *b, struct store_topic *topic, uint64_t upto)
{
    struct topic_extra *x = store_topic_extra(topic);

    assert(b->is_started && !b->is_calling);
    if (x == NULL || upto <= x->trim_asked)
        return;
    x->trim_asked = upto;
    mark_send(b, topic);
}

void
mark_again(struct backend *b, struct store_topic *topic)
{
    if (topic->x != NULL && topic->x->has_mark_failed && topic->x->mark == NULL)
        mark_send(b, topic);
}
