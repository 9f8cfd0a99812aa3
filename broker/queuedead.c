/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dead letters: a message that was given out too often, or was given up, is published on another topic, with
 * its history in its headers, and only then done. On that topic a group of its own, `redrive`, knows which of
 * them were put back.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/broker.h"
#include "broker/headers.h"
#include "broker/links.h"
#include "broker/publish.h"
#include "broker/queuegroup.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/names.h"

#define RETRY_MS 1000u
#define BUSY_MAX 64u
#define HEADER_PREFIX "busbar-"
#define PLACEHOLDER "{topic}"

struct redrive {
    uint64_t session, req;
    unsigned slot;
    uint64_t left, n_done;
    uint64_t passed; /* everything on the topic of the dead up to this seq was looked at */
    uint32_t n_busy;
    struct queue_group *to; /* has a user by this */
};

/* An append under way, by names that outlive groups and items. */
struct burial {
    struct broker *broker;
    uint64_t group, seq;
};

/* ---- The topic of the dead. ---- */

/* Empty: there is none. */
static struct slice
dead_topic_name(const struct topic *topic, char text[TOPIC_MAX_BYTES])
{
    const char *pattern = topic->setting->queue.dead_letter, *at = strstr(pattern, PLACEHOLDER);
    struct slice name = topic_name(topic);
    size_t n_before = at != NULL ? (size_t)(at - pattern) : strlen(pattern), n = n_before;
    const char *after = at != NULL ? at + strlen(PLACEHOLDER) : "";

    if (n_before + (at != NULL ? name.n : 0) + strlen(after) > TOPIC_MAX_BYTES)
        return slice_of(NULL, 0);
    memcpy(text, pattern, n_before);
    if (at != NULL) {
        memcpy(text + n, name.p, name.n);
        n += name.n;
        memcpy(text + n, after, strlen(after));
        n += strlen(after);
    }
    if (n == 0 || topic_name_error(slice_of(text, n)) != NULL || text[0] == '$' ||
        slice_equal(slice_of(text, n), name))
        return slice_of(NULL, 0);
    return slice_of(text, n);
}

/* The topic, with the group that knows what was put back. 0 or negative errno. */
static int
dead_topic_open(struct broker *broker, struct slice name, struct topic **ret)
{
    struct queue_group *g;
    uint64_t last_seq;
    int r = topic_get(broker, name, ret);

    if (r < 0 || queue_find(*ret, slice_str(QUEUE_REDRIVE_GROUP)) != NULL)
        return r;
    broker->store_ops->topic_stats(broker->store, (*ret)->store, &last_seq, NULL, NULL);
    r = queue_open(broker, *ret, slice_str(QUEUE_REDRIVE_GROUP), last_seq, &g);
    if (r < 0) /* kept all the same; putting back needs the group */
        log_warn("dead letters on %.*s cannot be put back: %s", SLICE_ARG(name), strerror(-r));
    return 0;
}

/* ---- Burying. ---- */

void
queue_buried(struct queue_group *g, uint64_t seq, int error)
{
    struct queue_item *item = queuecore_find(&g->core, seq);

    if (item == NULL || !item->is_busy)
        return;
    item->is_busy = false;
    g->n_burying--;
    if (error == 0) {
        g->figures.n_dead++;
        g->broker->queues->totals.n_dead++;
        queuecore_done(&g->core, item);
    } else {
        g->retry_at_ms = loop_now_ms(g->broker->loop) + RETRY_MS;
    }
    queue_wake(g);
}

static void
burial_on_done(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    struct burial *burial = arg;
    struct queue_group *g = queue_find_number(burial->broker, burial->group);

    (void)outcome;
    (void)seq;
    if (g != NULL)
        queue_buried(g, burial->seq, error);
    free(burial);
}

/* What is published in its place. NULL if memory ran out. */
static struct record *
dead_letter_new(const struct queue_group *g, const struct queue_item *item)
{
    struct broker *broker = g->broker;
    const struct record *record = item->record;
    char seq[24], deliveries[16], time[24], once[RECORD_ONCE_MAX + 1];
    const char *why = item->reason != NULL ? item->reason
                      : item->is_dead      ? "given up"
                                           : "given out too often";
    const struct header headers[] = {
        {"busbar-topic", topic_name(g->qt->topic)},
        {"busbar-group", queue_name(g)},
        {"busbar-seq", slice_of(seq, (size_t)snprintf(seq, sizeof(seq), "%" PRIu64, item->seq))},
        {"busbar-deliveries",
            slice_of(deliveries, (size_t)snprintf(deliveries, sizeof(deliveries), "%u", item->n_deliveries))},
        {"busbar-reason", slice_str(why)},
        {"busbar-time", slice_of(time, (size_t)snprintf(time, sizeof(time), "%" PRId64, record->time_ms))},
    };
    struct record *letter = NULL;
    struct buf packed;

    (void)snprintf(once, sizeof(once), "dead-%" PRIx64 "-%" PRIx64 "-%" PRIx64,
        broker->store_ops->epoch(broker->store), g->number, item->seq);
    buf_init(&packed, 0);
    if (headers_put(
            &packed, record_headers(record), HEADER_PREFIX, headers, sizeof(headers) / sizeof(headers[0])))
        letter = record_new_once(record_type(record), buf_slice(&packed), record_key(record), slice_str(once),
            record_body(record));
    buf_fini(&packed);
    if (letter != NULL)
        letter->kind = record->kind;
    return letter;
}

/* The item may be gone after. 0 or negative errno: it stays as it is. */
static int
bury(struct queue_group *g, struct queue_item *item)
{
    struct broker *broker = g->broker;
    struct burial *burial;
    struct record *letter;
    char text[TOPIC_MAX_BYTES];
    struct slice name = dead_topic_name(g->qt->topic, text);
    struct topic *topic;
    int r;

    if (name.n == 0 || item->is_purged) {
        item->is_busy = true;
        g->n_burying++;
        queue_buried(g, item->seq, 0);
        return 0;
    }
    r = dead_topic_open(broker, name, &topic);
    if (r < 0)
        return r;
    letter = dead_letter_new(g, item);
    burial = letter != NULL ? malloc(sizeof(*burial)) : NULL;
    if (burial == NULL) {
        record_unref(letter);
        return -ENOMEM;
    }
    *burial = (struct burial){.broker = broker, .group = g->number, .seq = item->seq};
    item->is_busy = true;
    g->n_burying++;
    r = publish_take(broker, topic, letter, burial_on_done, burial);
    if (r < 0) {
        item->is_busy = false;
        g->n_burying--;
        free(burial);
    }
    return r;
}

/*
 * A dead letter is for ever: an item whose letter may be in the store is never given out again. So the store
 * has that the item is dying before it is told of the letter; were the broker killed between the two the
 * other way round, the next one would give the item out, and hear that it is done.
 */
void
queue_bury(struct queue_group *g)
{
    int r = 0;

    if (g->saving != NULL)
        return; /* it may say that of some of them; its end is a turn */
    list_for_each_safe(it, following, &g->core.dying)
    {
        struct queue_item *item = list_entry(it, struct queue_item, in_state);

        if (g->retry_at_ms != 0 || g->n_burying >= BUSY_MAX)
            return;
        if (item->is_busy || queuecore_is_unsaved(item))
            continue;
        if (item->record == NULL) {
            queue_fetch(g, item);
            return;
        }
        if (!queue_has_record(g, item))
            continue;
        if (g->kind->bury != NULL)
            r = g->kind->bury(g, item);
        else
            r = bury(g, item);
        if (r < 0) {
            log_warn("a message of %.*s cannot go to the dead letters yet: %s",
                SLICE_ARG(topic_name(g->qt->topic)), strerror(-r));
            g->retry_at_ms = loop_now_ms(g->broker->loop) + RETRY_MS;
            return;
        }
    }
}

/* ---- Putting back. ---- */

static void
redrive_end(struct queue_group *g)
{
    struct redrive *redrive = g->redrive;

    g->redrive = NULL;
    queue_answer_saved(g, redrive->slot, redrive->session, redrive->req, redrive->n_done);
    queue_user_drop(redrive->to);
    free(redrive);
    queue_wake(g);
}

void
queue_redrive_fini(struct queue_group *g)
{
    if (g->redrive != NULL)
        redrive_end(g);
}

static void
redrive_on_done(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    struct burial *burial = arg;
    struct queue_group *g = queue_find_number(burial->broker, burial->group);
    struct queue_item *item = g != NULL ? queuecore_find(&g->core, burial->seq) : NULL;

    (void)outcome;
    (void)seq;
    free(burial);
    if (g == NULL)
        return;
    if (g->redrive != NULL) {
        g->redrive->n_busy--;
        g->redrive->n_done += error == 0;
    }
    if (item != NULL && item->is_busy) {
        item->is_busy = false;
        if (error == 0)
            queuecore_done(&g->core, item);
    }
    queue_wake(g);
}

/* 0 or negative errno. */
static int
put_back(struct queue_group *g, struct queue_item *item)
{
    struct broker *broker = g->broker;
    const struct record *dead = item->record;
    struct burial *burial = malloc(sizeof(*burial));
    struct record *record;
    char once[RECORD_ONCE_MAX + 1];
    int r;

    if (burial == NULL)
        return -ENOMEM;
    *burial = (struct burial){.broker = broker, .group = g->number, .seq = item->seq};
    (void)snprintf(once, sizeof(once), "redrive-%" PRIx64 "-%" PRIx64,
        broker->store_ops->epoch(broker->store), item->seq);
    record = record_new_once(
        record_type(dead), record_headers(dead), record_key(dead), slice_str(once), record_body(dead));
    if (record == NULL) {
        free(burial);
        return -ENOMEM;
    }
    record->kind = dead->kind;
    record->flags = RECORD_FOR_GROUP;
    item->is_busy = true;
    g->redrive->n_busy++;
    g->redrive->left--;
    r = publish_take(broker, g->redrive->to->qt->topic, record, redrive_on_done, burial);
    if (r < 0) {
        item->is_busy = false;
        g->redrive->n_busy--;
        g->redrive->left++;
        free(burial);
    }
    return r;
}

static bool
is_of(const struct record *dead, const struct queue_group *to)
{
    return slice_equal(headers_find(record_headers(dead), "busbar-group"), queue_name(to)) &&
           slice_equal(headers_find(record_headers(dead), "busbar-topic"), topic_name(to->qt->topic));
}

void
queue_redrive_go_on(struct queue_group *g)
{
    struct redrive *redrive = g->redrive;
    struct queue_item *item, *next;

    if (redrive == NULL)
        return;
    for (item = queuecore_ready(&g->core); item != NULL && redrive->left > 0 && !redrive->to->is_dropped;
         item = next) {
        next = queuecore_ready_after(&g->core, item);
        if (item->is_busy || item->seq <= redrive->passed)
            continue;
        if (redrive->n_busy >= BUSY_MAX || g->retry_at_ms != 0)
            return;
        if (item->record == NULL) {
            queue_fetch(g, item);
            return;
        }
        redrive->passed = item->seq;
        if (!queue_has_record(g, item) || !is_of(item->record, redrive->to))
            continue;
        if (put_back(g, item) < 0) {
            g->retry_at_ms = loop_now_ms(g->broker->loop) + RETRY_MS;
            redrive->passed--;
            return;
        }
    }
    if (redrive->n_busy == 0 && (redrive->left == 0 || redrive->to->is_dropped ||
                                    (g->is_exact && g->n_unread == 0 && !g->is_reading)))
        redrive_end(g);
}

int
queue_on_redrive(struct peer *peer, const struct frame *f)
{
    struct broker *broker = peer->broker;
    const struct frame_redrive *asked = &f->redrive;
    struct queue_group *to = queue_find_named(broker, asked->topic, asked->group), *from;
    struct topic *dead;
    char text[TOPIC_MAX_BYTES];
    struct slice name;

    if (to == NULL) {
        queue_answer(peer, asked->req, ERROR_NOT_FOUND, "There is no such queue.", 0);
        return 0;
    }
    name = dead_topic_name(to->qt->topic, text);
    dead = name.n > 0 ? topic_find(broker, name) : NULL;
    from = dead != NULL ? queue_find(dead, slice_str(QUEUE_REDRIVE_GROUP)) : NULL;
    if (from == NULL) {
        queue_answer(peer, asked->req, ERROR_NONE, NULL, 0);
        return 0;
    }
    if (from->redrive != NULL) {
        queue_answer(peer, asked->req, ERROR_LIMIT_REACHED,
            "Dead letters of this topic are being put back already.", 0);
        return 0;
    }
    from->redrive = calloc(1, sizeof(*from->redrive));
    if (from->redrive == NULL)
        return -ENOMEM;
    *from->redrive = (struct redrive){.session = peer->session,
        .slot = peer->slot,
        .req = asked->req,
        .left = asked->count == 0 ? UINT64_MAX : asked->count,
        .to = to};
    queue_user_add(to);
    queue_wake(from);
    return 0;
}
