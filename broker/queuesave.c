/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SETTLE, and what the store is told. All that happened to a group in a turn is one save. While one that
 * somebody waits for is under way what happens meanwhile is collected for the next: so the store gets few
 * and large ones when it is slow, and never two of which it could keep the later and not the earlier.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/queuegroup.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"

#define RETRY_MS 1000u
#define BUSY_RETRY_MS 50u
#define REASON_MAX 1024u
#define DELAY_MAX_MS (UINT64_C(365) * 24 * 3600 * 1000)

/* ---- Answers. ---- */

void
queue_answer(struct peer *peer, uint64_t req, enum error_code code, const char *message, uint64_t count)
{
    if (req == 0 || peer == NULL || !peer_is_attached(peer))
        return;
    if (code == ERROR_NONE)
        message = "";
    else if (message == NULL)
        message = error_code_sentence(code);
    frame_put_settled(outbox_begin(peer),
        &(struct frame_settled){.req = req,
            .code = code == ERROR_NONE ? slice_of(NULL, 0) : slice_str(error_code_name(code)),
            .message = slice_str(message),
            .count = code == ERROR_NONE ? count : 0});
    outbox_end(peer);
}

static void
answer_all(struct broker *broker, const struct buf *answers, enum error_code code)
{
    const struct queue_answer *at = (const struct queue_answer *)(const void *)answers->p;

    for (size_t i = 0; i < answers->n / sizeof(*at); i++)
        queue_answer(links_find(broker, at[i].slot, at[i].session), at[i].req, code, NULL, at[i].count);
}

void
queue_answer_saved(struct queue_group *g, unsigned slot, uint64_t session, uint64_t req, uint64_t count)
{
    struct queue_answer answer = {.session = session, .slot = slot, .req = req, .count = count};

    if (req == 0)
        return;
    buf_put(&g->answers, &answer, sizeof(answer));
    if (buf_failed(&g->answers)) {
        buf_fini(&g->answers);
        buf_init(&g->answers, 0);
        queue_answer(links_find(g->broker, slot, session), req, ERROR_INTERNAL, NULL, 0);
    }
}

/* ---- Saves. ---- */

static void
save_free(struct queue_save *save)
{
    buf_fini(&save->items);
    buf_fini(&save->answers);
    free(save);
}

static void
group_saved_upto(struct queue_group *g, uint64_t floor)
{
    if (floor <= g->saved_floor)
        return;
    g->saved_floor = floor;
    queue_trim(g->qt);
}

void
queue_on_saved(void *cookie, int error, void *arg)
{
    struct queue_save *save = cookie;
    struct queue_group *g = save->group;
    struct broker *broker = arg;

    if (error < 0 && error != -ECANCELED && g != NULL) {
        log_warn("what became of messages of %.*s could not be kept: %s; it is tried again",
            SLICE_ARG(topic_name(g->qt->topic)), strerror(-error));
        save->is_failed = true;
        g->retry_at_ms = loop_now_ms(broker->loop) + RETRY_MS;
        queue_wake(g);
        return;
    }
    answer_all(broker, &save->answers, error == 0 ? ERROR_NONE : ERROR_STORE_FAILED);
    if (g != NULL) {
        g->saving = NULL;
        if (error == 0)
            group_saved_upto(g, save->floor);
        queue_wake(g);
    }
    save_free(save);
}

/* The core's clock is the loop's, the store's is the wall's. */
static void
use_wall_clock(const struct broker *broker, struct buf *items)
{
    struct store_item *at = (struct store_item *)(void *)items->p;
    int64_t ahead_ms = loop_wall_ms(broker->loop) - (int64_t)loop_now_ms(broker->loop);

    for (size_t i = 0; i < items->n / sizeof(*at); i++)
        if (at[i].until_ms != 0)
            at[i].until_ms += ahead_ms;
}

static int
group_save(struct queue_group *g, const struct buf *items, uint64_t floor, struct queue_save *save)
{
    const struct store_group_state state = {.floor = floor,
        .n_done = g->figures.n_done,
        .n_dead = g->figures.n_dead,
        .n_lost = g->figures.n_lost};

    return g->broker->store_ops->group_save(g->broker->store, g->store,
        (const struct store_item *)(const void *)items->p, items->n / sizeof(struct store_item), &state,
        save);
}

/* It did not take it up. */
static void
group_retry(struct queue_group *g, int error)
{
    uint64_t delay_ms = error == -EAGAIN ? BUSY_RETRY_MS : RETRY_MS;

    g->retry_at_ms = loop_now_ms(g->broker->loop) + delay_ms;
}

/* The one that failed, once more. */
static void
save_again(struct queue_group *g)
{
    struct queue_save *save = g->saving;
    int r;

    if (!save->is_failed || g->retry_at_ms != 0)
        return;
    save->is_failed = false;
    r = group_save(g, &save->items, save->floor, save);
    if (r < 0) {
        save->is_failed = true;
        group_retry(g, r);
    }
}

/* With those who wait for it. NULL if memory ran out. */
static struct queue_save *
save_new(struct queue_group *g, const struct buf *items, uint64_t floor)
{
    struct queue_save *save = calloc(1, sizeof(*save));

    if (save == NULL)
        return NULL;
    save->group = g;
    save->floor = floor;
    buf_init(&save->items, 0);
    buf_put(&save->items, items->p, items->n);
    if (buf_failed(&save->items)) {
        save_free(save);
        return NULL;
    }
    save->answers = g->answers;
    buf_init(&g->answers, 0);
    return save;
}

/* Somebody waits for it. */
static int
save_answered(struct queue_group *g, const struct buf *items, uint64_t floor)
{
    struct queue_save *save = save_new(g, items, floor);
    int r;

    if (save == NULL)
        return -ENOMEM;
    g->saving = save;
    r = group_save(g, items, floor, save); /* may have ended before it returns */
    if (r == 0)
        return 0;
    g->saving = NULL;
    g->answers = save->answers;
    buf_init(&save->answers, 0);
    save_free(save);
    return r;
}

void
queue_save(struct queue_group *g)
{
    struct queues *queues = g->broker->queues;
    bool is_stopping = queues->is_stopping;
    struct buf *items = &queues->items;
    uint64_t floor, now_ms = loop_now_ms(g->broker->loop);
    bool is_answered;
    int r;

    if (g->is_dropped)
        return;
    if (g->saving != NULL && !is_stopping) {
        save_again(g);
        return;
    }
    if ((g->retry_at_ms != 0 && !is_stopping) || (!queuecore_has_unsaved(&g->core) && g->answers.n == 0 &&
                                                     !is_stopping && queuecore_save_due(&g->core) > now_ms))
        return;
    buf_reset(items);
    r = queuecore_save(&g->core, now_ms, is_stopping, items, &floor);
    if (r == 0 && items->n == 0 && floor == 0) {
        answer_all(g->broker, &g->answers, ERROR_NONE);
        buf_reset(&g->answers);
        return;
    }
    use_wall_clock(g->broker, items);
    /* Dead letters wait for it too: see queue_bury(). */
    is_answered = (g->answers.n > 0 || g->core.n_dying > g->n_burying) && !is_stopping;
    if (r == 0)
        r = is_answered ? save_answered(g, items, floor) : group_save(g, items, floor, NULL);
    if (r < 0) {
        group_retry(g, r);
        return;
    }
    queuecore_saved(&g->core);
    if (!is_answered)
        group_saved_upto(g, floor);
}

void
queue_saves_fini(struct queue_group *g)
{
    /* Its answer still comes, unless it waits to be tried again. */
    if (g->saving != NULL && g->saving->is_failed)
        save_free(g->saving);
    else if (g->saving != NULL)
        g->saving->group = NULL;
    g->saving = NULL;
    answer_all(g->broker, &g->answers, ERROR_LEASE_LOST);
    buf_fini(&g->answers);
}

/* ---- SETTLE. ---- */

struct queue_item *
queue_claim(struct queue_group *g, const struct lease *lease)
{
    struct queue_item *item = queuecore_find(&g->core, lease->seq);
    uint64_t now_ms = loop_now_ms(g->broker->loop);
    struct queue_holder *displaced = NULL;

    if (item != NULL && item->state == QUEUE_LEASED && item->n_deliveries == lease->n_deliveries)
        return item;
    /* We gave it out and do not know that any more: the broker was killed before the store was told. */
    if (!g->is_restored || (item != NULL && item->n_deliveries >= lease->n_deliveries))
        return NULL;
    item = queuecore_hold(&g->core, lease->seq, lease->n_deliveries, &g->nobody,
        now_ms + queue_setting(g)->lease_ms, now_ms, &displaced);
    if (item != NULL)
        queue_note_back(g, displaced);
    return item;
}

static void
settle(struct queue_group *g, struct queue_item *item, const struct frame_settle *f)
{
    uint64_t now_ms = loop_now_ms(g->broker->loop), delay_ms = f->delay_ms;
    struct slice reason = slice_of(f->reason.p, f->reason.n < REASON_MAX ? f->reason.n : REASON_MAX);
    struct queue_holder *holder = item->holder;

    if (delay_ms == 0)
        delay_ms = queue_setting(g)->retry_delay_ms;
    switch (f->outcome) {
    case 0:
        g->figures.n_done++;
        g->broker->queues->totals.n_done++;
        queuecore_done(&g->core, item);
        break;
    case 1:
        queuecore_retry(&g->core, item, delay_ms < DELAY_MAX_MS ? delay_ms : DELAY_MAX_MS, QUEUE_AVOID_MS,
            reason, now_ms);
        break;
    case 2:
        queuecore_extend(&g->core, item, now_ms + queue_setting(g)->lease_ms);
        return;
    default:
        queuecore_kill(&g->core, item, reason);
        break;
    }
    queue_note_back(g, holder);
}

int
queue_on_settle(struct peer *peer, const struct frame *f)
{
    struct broker *broker = peer->broker;
    const struct frame_settle *asked = &f->settle;
    struct queue_item *item = NULL;
    struct queue_group *g;
    struct lease lease;

    if (asked->outcome > 3)
        return peer_complain(peer, f, "outcome %llu", (unsigned long long)asked->outcome);
    g = lease_get(broker->queues->key, asked->lease, &lease) ? queue_find_number(broker, lease.group) : NULL;
    if (g != NULL)
        item = queue_claim(g, &lease);
    if (item == NULL) {
        queue_answer(peer, asked->req, ERROR_LEASE_LOST, NULL, 0);
        return 0;
    }
    settle(g, item, asked);
    queue_answer_saved(g, peer->slot, peer->session, asked->req, 1);
    queue_wake(g);
    return 0;
}
