/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a group: rules one by one, then random operations beside a naive model, with a store that
 * keeps what it is told, and ends of the process in between.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "broker/queuecore.h"

#define LEASE_MS 1000u
#define AVOID_MS 100u

static struct record *
message(uint64_t seq, const char *key)
{
    struct record *record =
        record_new(slice_of(NULL, 0), slice_of(NULL, 0), slice_str(key), slice_str("body"));

    record->seq = seq;
    record->time_ms = (int64_t)seq * 10;
    return record;
}

static void
add(struct queuecore *q, uint64_t seq, const char *key)
{
    struct record *record = message(seq, key);

    ck_assert_int_eq(queuecore_add(q, record, true), 1);
    record_unref(record);
}

static void
holder_init(struct queue_holder *holder, uint64_t id)
{
    *holder = (struct queue_holder){.id = id};
    list_init(&holder->leases);
}

/* Gives out the next one. 0: there is none. */
static uint64_t
give(struct queuecore *q, struct queue_holder *holder, uint64_t now_ms)
{
    struct queue_item *item = queuecore_ready(q);

    if (item == NULL)
        return 0;
    queuecore_lease(q, item, holder, now_ms + LEASE_MS, now_ms);
    return item->seq;
}

static void
settle(struct queuecore *q, uint64_t seq)
{
    struct queue_item *item = queuecore_find(q, seq);

    ck_assert_ptr_nonnull(item);
    queuecore_done(q, item);
}

/* What a save would tell, as text: "floor=3 5:done:1 6:leased:2". */
static const char *
saving(struct queuecore *q, uint64_t now_ms, bool all)
{
    static const char *const names[] = {"ready", "leased", "done"};
    static char text[1024];
    struct buf items;
    uint64_t floor;
    size_t n = 0;

    buf_init(&items, 0);
    ck_assert_int_eq(queuecore_save(q, now_ms, all, &items, &floor), 0);
    text[0] = '\0';
    if (floor != 0)
        n += (size_t)snprintf(text, sizeof(text), " floor=%llu", (unsigned long long)floor);
    for (size_t i = 0; i < items.n / sizeof(struct store_item); i++) {
        const struct store_item *item = (const struct store_item *)(const void *)items.p + i;

        n += (size_t)snprintf(text + n, sizeof(text) - n, " %llu:%s:%u", (unsigned long long)item->seq,
            names[item->state], item->n_deliveries);
    }
    buf_fini(&items);
    queuecore_saved(q);
    return text;
}

static const struct queuecore_config usual = {.max_deliveries = 3};
static const struct queuecore_config ordered = {.has_ordered_keys = true};

START_TEST(messages_go_out_in_order_and_the_floor_follows)
{
    struct queue_holder a;
    struct queuecore q;

    holder_init(&a, 1);
    queuecore_init(&q, &usual, 10);
    for (uint64_t seq = 11; seq <= 14; seq++)
        add(&q, seq, "");
    for (uint64_t seq = 11; seq <= 14; seq++)
        ck_assert_uint_eq(give(&q, &a, 0), seq);
    ck_assert_uint_eq(give(&q, &a, 0), 0);
    settle(&q, 12);
    settle(&q, 14);
    ck_assert_str_eq(saving(&q, 0, false), " 12:done:1 14:done:1");
    settle(&q, 11);
    ck_assert_str_eq(saving(&q, 0, false), " floor=12");
    settle(&q, 13);
    ck_assert_str_eq(saving(&q, 0, false), " floor=14");
    ck_assert(!queuecore_has_unsaved(&q));
    queuecore_read_upto(&q, 20); /* nothing came on this topic */
    ck_assert_str_eq(saving(&q, 0, false), " floor=20");
    queuecore_fini(&q);
}
END_TEST

START_TEST(young_lease_is_not_told_to_the_store)
{
    struct queue_holder a;
    struct queuecore q;

    holder_init(&a, 1);
    queuecore_init(&q, &usual, 0);
    add(&q, 1, "");
    add(&q, 2, "");
    give(&q, &a, 0);
    give(&q, &a, 100);
    ck_assert_str_eq(saving(&q, 100, false), "");
    ck_assert_uint_eq(queuecore_save_due(&q), QUEUECORE_LEASE_SAVE_MS);
    ck_assert_str_eq(saving(&q, QUEUECORE_LEASE_SAVE_MS, false), " 1:leased:1");
    ck_assert_str_eq(saving(&q, QUEUECORE_LEASE_SAVE_MS, true), " 2:leased:1");
    ck_assert_uint_eq(queuecore_save_due(&q), UINT64_MAX);
    queuecore_fini(&q);
}
END_TEST

START_TEST(lease_that_ends_goes_to_another_then_to_the_dead)
{
    struct queue_holder a, *ended = NULL;
    struct queuecore q;
    struct queue_item *item;
    uint64_t now = 0;

    holder_init(&a, 7);
    queuecore_init(&q, &usual, 0);
    add(&q, 1, "");
    for (unsigned i = 1; i <= 3; i++) {
        ck_assert_uint_eq(give(&q, &a, now), 1);
        item = queuecore_find(&q, 1);
        ck_assert_uint_eq(item->n_deliveries, i);
        ck_assert_uint_eq(queuecore_due(&q), now + LEASE_MS);
        ck_assert(!queuecore_expire(&q, now + LEASE_MS - 1, AVOID_MS, &ended));
        now += LEASE_MS;
        ck_assert(queuecore_expire(&q, now, AVOID_MS, &ended));
        ck_assert_ptr_eq(ended, &a);
        if (i == 3)
            break;
        ck_assert_uint_eq(item->avoid, 7);
        ck_assert_uint_eq(queuecore_due(&q), now + AVOID_MS);
        now += AVOID_MS;
        ck_assert(queuecore_expire(&q, now, AVOID_MS, &ended));
        ck_assert_uint_eq(item->avoid, 0);
    }
    ck_assert_uint_eq(item->state, QUEUE_DYING);
    ck_assert_uint_eq(q.n_dying, 1);
    ck_assert_uint_eq(give(&q, &a, now), 0);
    ck_assert_str_eq(saving(&q, now, false), " 1:ready:3");
    settle(&q, 1);
    ck_assert_str_eq(saving(&q, now, false), " floor=1");
    queuecore_fini(&q);
}
END_TEST

START_TEST(delayed_message_waits_and_what_was_given_up_is_dead)
{
    struct queue_holder a, *ended;
    struct queuecore q;
    struct queue_item *item;

    holder_init(&a, 7);
    queuecore_init(&q, &usual, 0);
    add(&q, 1, "");
    add(&q, 2, "");
    give(&q, &a, 0);
    item = queuecore_find(&q, 1);
    queuecore_retry(&q, item, 500, 0, slice_str("busy"), 0);
    ck_assert_str_eq(item->reason, "busy");
    ck_assert_uint_eq(q.n_waiting, 1);
    ck_assert_uint_eq(give(&q, &a, 0), 2);
    ck_assert_uint_eq(give(&q, &a, 0), 0);
    ck_assert(queuecore_expire(&q, 500, 0, &ended));
    ck_assert_uint_eq(give(&q, &a, 500), 1);
    queuecore_kill(&q, item, slice_str("broken"));
    ck_assert_str_eq(item->reason, "broken");
    ck_assert_uint_eq(item->state, QUEUE_DYING);
    ck_assert_uint_eq(q.reason_bytes, 7);
    queuecore_fini(&q);
}
END_TEST

START_TEST(what_a_holder_had_returns_before_what_was_never_given)
{
    struct queue_holder a, b;
    struct queuecore q;

    holder_init(&a, 1);
    holder_init(&b, 2);
    queuecore_init(&q, &usual, 0);
    for (uint64_t seq = 1; seq <= 4; seq++)
        add(&q, seq, "");
    give(&q, &a, 0);
    give(&q, &a, 0);
    queuecore_return_all(&q, &a, 0, 0);
    ck_assert(list_empty(&a.leases));
    for (uint64_t seq = 1; seq <= 4; seq++)
        ck_assert_uint_eq(give(&q, &b, 0), seq);
    queuecore_orphan_all(&b);
    ck_assert_uint_eq(q.n_leased, 4);
    queuecore_fini(&q);
}
END_TEST

START_TEST(one_key_is_one_after_the_other)
{
    struct queue_holder a;
    struct queuecore q;

    holder_init(&a, 1);
    queuecore_init(&q, &ordered, 0);
    add(&q, 1, "x");
    add(&q, 2, "x");
    add(&q, 3, "y");
    add(&q, 4, "");
    add(&q, 5, "x");
    ck_assert_uint_eq(q.n_blocked, 2);
    ck_assert_uint_eq(give(&q, &a, 0), 1);
    ck_assert_uint_eq(give(&q, &a, 0), 3);
    ck_assert_uint_eq(give(&q, &a, 0), 4);
    ck_assert_uint_eq(give(&q, &a, 0), 0);
    queuecore_retry(&q, queuecore_find(&q, 1), 0, 0, slice_of(NULL, 0), 0);
    ck_assert_uint_eq(give(&q, &a, 0), 1); /* still before 2 */
    ck_assert_uint_eq(give(&q, &a, 0), 0);
    settle(&q, 1);
    ck_assert_uint_eq(give(&q, &a, 0), 2);
    ck_assert_uint_eq(give(&q, &a, 0), 0);
    settle(&q, 2);
    ck_assert_uint_eq(give(&q, &a, 0), 5);
    queuecore_fini(&q);
}
END_TEST

START_TEST(purge_leaves_only_leases_that_may_be_settled)
{
    struct queue_holder a, *ended;
    struct queuecore q;

    holder_init(&a, 1);
    queuecore_init(&q, &usual, 0);
    for (uint64_t seq = 1; seq <= 5; seq++)
        add(&q, seq, "");
    give(&q, &a, 0);
    give(&q, &a, 0);
    ck_assert_uint_eq(queuecore_purge(&q, 9), 3);
    ck_assert_uint_eq(q.n_ready + q.n_leased, 0);
    ck_assert_uint_eq(q.n_purged, 2);
    ck_assert_str_eq(saving(&q, 0, true), " floor=9");
    settle(&q, 1);
    ck_assert(queuecore_expire(&q, LEASE_MS, 0, &ended));
    ck_assert_ptr_eq(ended, &a);
    ck_assert_uint_eq(q.n_items, 0);
    ck_assert(!queuecore_has_unsaved(&q));
    queuecore_fini(&q);
}
END_TEST

/* That it was given out for the last time is known, and not whether it is in the dead letters by now. */
START_TEST(last_lease_that_is_over_is_not_held_again)
{
    struct queue_holder a, *ended;
    struct queuecore q;

    holder_init(&a, 1);
    queuecore_init(&q, &usual, 0);
    ck_assert_int_eq(queuecore_restore(&q, 1, ITEM_READY, 0, 3), 0);
    ck_assert_int_eq(queuecore_restore(&q, 2, ITEM_LEASED, 700, 3), 0);
    ck_assert_int_eq(queuecore_restore(&q, 3, ITEM_READY, 0, 2), 0);
    ck_assert_ptr_null(queuecore_hold(&q, 1, 3, &a, 2000, 0, &ended));
    ck_assert_ptr_nonnull(queuecore_hold(&q, 2, 3, &a, 2000, 0, &ended));
    ck_assert_ptr_nonnull(queuecore_hold(&q, 3, 2, &a, 2000, 0, &ended));
    queuecore_fini(&q);
}
END_TEST

START_TEST(restored_state_goes_on)
{
    struct queue_holder a, b, *ended;
    struct queuecore q;

    holder_init(&a, 1);
    holder_init(&b, 2);
    queuecore_init(&q, &usual, 10);
    ck_assert_int_eq(queuecore_restore(&q, 12, ITEM_DONE, 0, 1), 0);
    ck_assert_int_eq(queuecore_restore(&q, 13, ITEM_LEASED, 700, 2), 0);
    ck_assert_int_eq(queuecore_restore(&q, 14, ITEM_READY, 0, 1), 0);
    ck_assert_int_eq(queuecore_restore(&q, 15, ITEM_READY, 900, 1), 0);
    ck_assert_int_eq(queuecore_restore(&q, 16, ITEM_READY, 0, 1 | QUEUECORE_DEAD), 0);
    ck_assert_int_eq(queuecore_restore(&q, 30, ITEM_DONE, 0, 1), 0);
    ck_assert(queuecore_is_done(&q, 10) && queuecore_is_done(&q, 12) && queuecore_is_done(&q, 30));
    ck_assert(!queuecore_is_done(&q, 11) && !queuecore_is_done(&q, 13) && !queuecore_is_done(&q, 31));
    ck_assert_ptr_null(queuecore_hold(&q, 12, 1, &a, 2000, 0, &ended)); /* done */
    ck_assert_ptr_null(queuecore_hold(&q, 13, 1, &a, 2000, 0, &ended)); /* it is the second delivery by now */
    ck_assert_ptr_nonnull(queuecore_hold(&q, 13, 2, &a, 2000, 0, &ended));
    ck_assert_ptr_null(ended);
    ck_assert_ptr_null(queuecore_hold(&q, 13, 2, &b, 2000, 0, &ended));    /* held already */
    ck_assert_ptr_nonnull(queuecore_hold(&q, 13, 3, &b, 2000, 0, &ended)); /* it was given out again */
    ck_assert_ptr_eq(ended, &a);
    ck_assert_ptr_nonnull(queuecore_hold(&q, 20, 1, &a, 2000, 0, &ended)); /* the store was not told */
    ck_assert_ptr_nonnull(queuecore_hold(&q, 18, 1, &a, 2000, 0, &ended));
    ck_assert_uint_eq(give(&q, &a, 0), 0); /* nothing is read */
    for (uint64_t seq = 11; seq <= 30; seq++) {
        struct record *record = message(seq, "");

        ck_assert_int_eq(queuecore_add(&q, record, false), seq == 12 || seq == 30 ? 0 : 1);
        record_unref(record);
    }
    ck_assert_uint_eq(q.n_early, 0);
    ck_assert_uint_eq(q.n_leased, 3);
    ck_assert_uint_eq(q.n_dying, 1);
    ck_assert_uint_eq(q.n_waiting, 1);
    ck_assert_uint_eq(give(&q, &a, 0), 14);
    ck_assert_uint_eq(give(&q, &a, 0), 11);
    ck_assert_uint_eq(give(&q, &a, 0), 17);
    ck_assert_uint_eq(give(&q, &a, 0), 19);
    ck_assert(queuecore_expire(&q, 900, 0, &ended));
    ck_assert_uint_eq(give(&q, &a, 900), 15);
    queuecore_fini(&q);
}
END_TEST

START_TEST(restored_items_whose_messages_are_gone_are_done)
{
    struct queuecore q;

    queuecore_init(&q, &usual, 10);
    ck_assert_int_eq(queuecore_restore(&q, 13, ITEM_READY, 0, 1), 0);
    ck_assert_int_eq(queuecore_restore(&q, 14, ITEM_READY, 900, 1), 0);
    ck_assert_int_eq(queuecore_restore(&q, 25, ITEM_READY, 0, 1), 0);
    add(&q, 20, "");
    ck_assert_uint_eq(q.n_vanished, 2);
    queuecore_read_upto(&q, 24);
    ck_assert_uint_eq(q.n_vanished, 2);
    queuecore_read_upto(&q, 30);
    ck_assert_uint_eq(q.n_vanished, 3);
    ck_assert_uint_eq(q.n_items, 1);
    ck_assert_uint_eq(q.n_givable, 1);
    queuecore_fini(&q);
}
END_TEST

/* ---- The model. ---- */

#define MESSAGES 200u
#define HOLDERS 4u

enum fate { WAITS, OUT, ACKED, DEAD };

struct model {
    struct queuecore q;
    struct queue_holder holders[HOLDERS];
    uint64_t next_id;
    struct queuecore_config config;
    uint64_t now;
    /* by seq */
    enum fate fate[MESSAGES + 1];
    unsigned deliveries[MESSAGES + 1];
    unsigned holder_of[MESSAGES + 1];
    char keys[MESSAGES + 1][4];
    bool was_saved[MESSAGES + 1]; /* its fate */
    /* the store */
    struct store_item items[MESSAGES + 1];
    bool has_item[MESSAGES + 1];
    uint64_t floor;
    uint64_t n_published;
};

static void
model_save(struct model *m)
{
    struct buf items;
    uint64_t floor;

    buf_init(&items, 0);
    ck_assert_int_eq(queuecore_save(&m->q, m->now, rand() % 8 == 0, &items, &floor), 0);
    for (size_t i = 0; i < items.n / sizeof(struct store_item); i++) {
        const struct store_item *item = (const struct store_item *)(const void *)items.p + i;

        ck_assert_uint_gt(item->seq, floor != 0 ? floor : m->floor);
        m->items[item->seq] = *item;
        m->has_item[item->seq] = true;
    }
    if (floor != 0) {
        ck_assert_uint_gt(floor, m->floor);
        m->floor = floor;
    }
    buf_fini(&items);
    queuecore_saved(&m->q);
    ck_assert(!queuecore_has_unsaved(&m->q));
    for (uint64_t seq = 1; seq <= MESSAGES; seq++) {
        bool is_over = m->fate[seq] == ACKED || m->fate[seq] == DEAD;

        m->was_saved[seq] = is_over;
        ck_assert_msg(is_over == (seq <= m->floor || (m->has_item[seq] && m->items[seq].state == ITEM_DONE)),
            "the store's word about %u", (unsigned)seq);
    }
}

static void
model_read(struct model *m)
{
    for (unsigned n = (unsigned)rand() % 10; n > 0 && m->q.n_read < m->n_published; n--) {
        uint64_t seq = m->q.n_read + 1;
        struct record *record = message(seq, m->keys[seq]);

        ck_assert_int_eq(queuecore_add(&m->q, record, rand() % 2 == 0),
            m->fate[seq] == ACKED || m->fate[seq] == DEAD ? 0 : 1);
        record_unref(record);
    }
}

static void
model_give(struct model *m)
{
    struct queue_item *item = queuecore_ready(&m->q);
    unsigned holder = (unsigned)rand() % HOLDERS;

    if (item == NULL)
        return;
    ck_assert_uint_eq(m->fate[item->seq], WAITS);
    if (m->config.has_ordered_keys && m->keys[item->seq][0] != '\0')
        for (uint64_t seq = 1; seq < item->seq; seq++)
            ck_assert_msg(strcmp(m->keys[seq], m->keys[item->seq]) != 0 || m->fate[seq] == ACKED ||
                              m->fate[seq] == DEAD,
                "%u before %u", (unsigned)item->seq, (unsigned)seq);
    queuecore_lease(&m->q, item, &m->holders[holder], m->now + LEASE_MS, m->now);
    m->fate[item->seq] = OUT;
    m->deliveries[item->seq]++;
    m->holder_of[item->seq] = holder;
    ck_assert_uint_eq(item->n_deliveries, m->deliveries[item->seq]);
}

/* One of those that are out, at random; NULL if there are none. */
static struct queue_item *
model_any_out(struct model *m)
{
    uint64_t from = 1 + (uint64_t)rand() % MESSAGES;

    for (uint64_t i = 0; i < MESSAGES; i++) {
        uint64_t seq = 1 + (from + i) % MESSAGES;

        if (m->fate[seq] == OUT)
            return queuecore_find(&m->q, seq);
    }
    return NULL;
}

static void
model_settle(struct model *m)
{
    struct queue_item *item = model_any_out(m);
    uint64_t seq;

    if (item == NULL)
        return;
    seq = item->seq;
    ck_assert_uint_eq(item->state, QUEUE_LEASED);
    switch (rand() % 8) {
    case 0:
        queuecore_retry(&m->q, item, (uint64_t)(rand() % 3) * 100, AVOID_MS, slice_str("why"), m->now);
        m->fate[seq] = WAITS;
        break;
    case 1:
        queuecore_extend(&m->q, item, m->now + LEASE_MS);
        break;
    case 2:
        queuecore_kill(&m->q, item, slice_str("bad"));
        m->fate[seq] = WAITS;
        break;
    default:
        queuecore_done(&m->q, item);
        m->fate[seq] = ACKED;
        break;
    }
}

static void
model_bury(struct model *m)
{
    while (!list_empty(&m->q.dying)) {
        struct queue_item *item = list_entry(m->q.dying.next, struct queue_item, in_state);

        ck_assert_uint_eq(m->fate[item->seq], WAITS);
        ck_assert(item->is_dead || item->n_deliveries >= m->config.max_deliveries);
        m->fate[item->seq] = DEAD;
        queuecore_done(&m->q, item);
    }
}

static void
model_pass_time(struct model *m)
{
    struct queue_holder *ended;

    m->now += (uint64_t)rand() % 300;
    while (queuecore_expire(&m->q, m->now, AVOID_MS, &ended))
        ;
    for (uint64_t seq = 1; seq <= MESSAGES; seq++)
        if (m->fate[seq] == OUT && queuecore_find(&m->q, seq)->state != QUEUE_LEASED)
            m->fate[seq] = WAITS;
}

static void
model_leave(struct model *m)
{
    unsigned holder = (unsigned)rand() % HOLDERS;

    queuecore_return_all(&m->q, &m->holders[holder], AVOID_MS, m->now);
    m->holders[holder].id = ++m->next_id;
    for (uint64_t seq = 1; seq <= MESSAGES; seq++)
        if (m->fate[seq] == OUT && m->holder_of[seq] == holder)
            m->fate[seq] = WAITS;
}

/* The process ends; what it comes back with is what the store knows, and what the holders say. */
static void
model_crash(struct model *m)
{
    for (unsigned i = 0; i < HOLDERS; i++)
        list_init(&m->holders[i].leases); /* gone with it */
    for (uint64_t seq = 1; seq <= MESSAGES; seq++) {
        struct queue_item *item = queuecore_find(&m->q, seq);

        if (item != NULL && item->state == QUEUE_LEASED)
            list_init(&item->in_state);
    }
    queuecore_fini(&m->q);
    queuecore_init(&m->q, &m->config, m->floor);
    for (uint64_t seq = m->floor + 1; seq <= MESSAGES; seq++)
        if (m->has_item[seq])
            ck_assert_int_eq(queuecore_restore(&m->q, seq, (enum store_item_state)m->items[seq].state,
                                 (uint64_t)m->items[seq].until_ms, m->items[seq].n_deliveries),
                0);
    for (uint64_t i = 0, from = (uint64_t)rand() % MESSAGES; i < MESSAGES; i++) {
        uint64_t seq = 1 + (from + i) % MESSAGES;
        struct queue_holder *displaced;
        bool was_out = m->fate[seq] == OUT && m->holder_of[seq] < HOLDERS;

        if (m->fate[seq] == ACKED || m->fate[seq] == DEAD) {
            if (m->was_saved[seq])
                continue;
            m->fate[seq] = WAITS;
        }
        m->fate[seq] = WAITS;
        if (was_out && rand() % 2 == 0) {
            ck_assert_ptr_nonnull(queuecore_hold(&m->q, seq, m->deliveries[seq],
                &m->holders[m->holder_of[seq]], m->now + LEASE_MS, m->now, &displaced));
            m->fate[seq] = OUT;
        }
    }
    for (uint64_t seq = 1; seq <= MESSAGES; seq++) {
        struct queue_item *item = queuecore_find(&m->q, seq);

        if (item != NULL && item->state == QUEUE_LEASED) {
            m->fate[seq] = OUT;
            if (item->holder == NULL)
                m->holder_of[seq] = HOLDERS;
        }
        m->deliveries[seq] = item != NULL ? item->n_deliveries : 0;
    }
}

static void
model_check(struct model *m)
{
    size_t n_out = 0, n_early_ready = 0;
    uint64_t last = 0;

    for (const struct list *it = m->q.order.next; it != &m->q.order; it = it->next) {
        const struct queue_item *item = list_entry(it, struct queue_item, in_order);

        ck_assert_uint_gt(item->seq, last);
        last = item->seq;
        ck_assert_uint_eq(item->is_read, item->seq <= m->q.n_read);
        n_early_ready += item->state == QUEUE_READY && !item->is_read;
        ck_assert(!queuecore_is_done(&m->q, item->seq));
    }
    for (uint64_t seq = 1; seq <= MESSAGES; seq++) {
        n_out += m->fate[seq] == OUT;
        if (seq <= m->q.n_read)
            ck_assert_int_eq(queuecore_is_done(&m->q, seq), m->fate[seq] == ACKED || m->fate[seq] == DEAD);
    }
    ck_assert_uint_eq(m->q.n_leased, n_out);
    ck_assert_uint_eq(m->q.n_ready, m->q.n_givable + n_early_ready);
    ck_assert_uint_eq(
        m->q.n_ready + m->q.n_blocked + m->q.n_waiting + m->q.n_leased + m->q.n_dying, m->q.n_items);
}

static void
model_step(struct model *m)
{
    switch (rand() % 16) {
    case 0:
        m->n_published += m->n_published < MESSAGES ? (uint64_t)rand() % 20 : 0;
        if (m->n_published > MESSAGES)
            m->n_published = MESSAGES;
        break;
    case 1:
        model_pass_time(m);
        break;
    case 2:
        model_leave(m);
        break;
    case 3:
        if (rand() % 8 == 0)
            model_crash(m);
        break;
    case 4:
        model_save(m);
        break;
    case 5:
        model_bury(m);
        break;
    case 6:
    case 7:
        model_read(m);
        break;
    default:
        if (rand() % 2 == 0)
            model_give(m);
        else
            model_settle(m);
        break;
    }
}

static bool
model_is_over(const struct model *m)
{
    for (uint64_t seq = 1; seq <= MESSAGES; seq++)
        if (m->fate[seq] != ACKED && m->fate[seq] != DEAD)
            return false;
    return true;
}

/* Each message is acked or dead at the end, and the floor says so. */
START_TEST(random_operations_lose_nothing)
{
    static struct model m;

    srand((unsigned)_i + 1);
    m = (struct model){.config = {.max_deliveries = _i % 3 == 0 ? 0 : 5,
                           .has_ordered_keys = _i % 2 == 0,
                           .retry_delay_ms = _i % 4 == 0 ? 50 : 0}};
    for (unsigned i = 0; i < HOLDERS; i++)
        holder_init(&m.holders[i], ++m.next_id);
    for (unsigned seq = 1; seq <= MESSAGES; seq++)
        if (rand() % 3 > 0)
            snprintf(m.keys[seq], sizeof(m.keys[seq]), "k%d", rand() % 9);
    queuecore_init(&m.q, &m.config, 0);
    for (unsigned step = 0; !model_is_over(&m); step++) {
        ck_assert_msg(step < 200000, "it does not end");
        model_step(&m);
        if (step % 32 == 0)
            model_check(&m);
    }
    model_save(&m);
    queuecore_read_upto(&m.q, MESSAGES);
    model_save(&m);
    ck_assert_uint_eq(m.floor, MESSAGES);
    ck_assert_uint_eq(m.q.n_items, 0);
    ck_assert_uint_eq(m.q.record_bytes, 0);
    ck_assert_uint_eq(m.q.reason_bytes, 0);
    ck_assert_uint_eq(m.q.keys.n_used, 0);
    ck_assert_uint_eq(m.q.n_heap, 0);
    queuecore_fini(&m.q);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("queuecore");
    TCase *rules = tcase_create("rules"), *model = tcase_create("model");
    SRunner *runner;
    int n_failed;

    tcase_add_test(rules, messages_go_out_in_order_and_the_floor_follows);
    tcase_add_test(rules, young_lease_is_not_told_to_the_store);
    tcase_add_test(rules, lease_that_ends_goes_to_another_then_to_the_dead);
    tcase_add_test(rules, delayed_message_waits_and_what_was_given_up_is_dead);
    tcase_add_test(rules, what_a_holder_had_returns_before_what_was_never_given);
    tcase_add_test(rules, one_key_is_one_after_the_other);
    tcase_add_test(rules, purge_leaves_only_leases_that_may_be_settled);
    tcase_add_test(rules, last_lease_that_is_over_is_not_held_again);
    tcase_add_test(rules, restored_state_goes_on);
    tcase_add_test(rules, restored_items_whose_messages_are_gone_are_done);
    tcase_add_loop_test(model, random_operations_lose_nothing, 0, 40);
    tcase_set_timeout(model, 60);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, model);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
