/* SPDX-License-Identifier: Apache-2.0 */
/* What every backend has to do for work queues: groups and their items, messages that are held, the mark
 * below which they are done with. */
#include "config.h"

#include "tests/conformance/backend/storefixture.h"

static const struct store_limits queue = {.messages = 2, .is_held = true};

static void
append_n(struct fixture *f, unsigned topic, unsigned n)
{
    char body[16];

    for (unsigned i = 1; i <= n; i++) {
        snprintf(body, sizeof(body), "%u", i);
        append(f, topic, body);
    }
}

static const struct restored_group *
find_group(const struct fixture *f, unsigned topic, const char *name)
{
    const struct restored_group *found = NULL;

    for (size_t i = 0; i < f->n_groups; i++) {
        if (f->groups[i].topic != topic || strcmp(f->groups[i].name, name) != 0)
            continue;
        ck_assert_ptr_null(found);
        found = &f->groups[i];
    }
    return found;
}

/* "seq:state:deliveries:until" of each, in their order. */
static void
check_items(const struct fixture *f, unsigned topic, const char *name, uint64_t floor, const char *expected)
{
    const struct restored_group *group = find_group(f, topic, name);
    char got[1024] = "";
    size_t n = 0;

    ck_assert_msg(group != NULL, "there is no group %s", name);
    ck_assert_uint_eq(group->floor, floor);
    for (size_t i = 0; i < group->n_items; i++) {
        const struct store_item *item = &group->items[i];

        n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%" PRIu64 ":%u:%u:%" PRId64, i > 0 ? " " : "",
            item->seq, item->state, item->n_deliveries, item->until_ms);
    }
    ck_assert_str_eq(got, expected);
}

/* ---- Groups. ---- */

START_TEST(group_is_known_by_topic_and_name)
{
    struct fixture *f = fixture_usual();
    struct store_group *a, *b, *c;
    struct store_stats stats;

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    a = open_group(f, 0, "a", 0);
    b = open_group(f, 0, "b", 0);
    c = open_group(f, 1, "a", 0);
    ck_assert(a != b && b != c && a != c);
    ck_assert_ptr_eq(open_group(f, 0, "a", 7), a);
    ck_assert(!ops->topic_is_idle(f->b, f->topics[0].store));
    ops->stats(f->b, &stats);
    ck_assert_uint_eq(stats.n_groups, 3);
    ops->group_drop(f->b, a);
    ops->group_drop(f->b, b);
    ck_assert(ops->topic_is_idle(f->b, f->topics[0].store));
    ops->topic_drop(f->b, f->topics[0].store);
    open_topic(f, 0, &roomy);
    a = open_group(f, 0, "a", 0);
    ops->stats(f->b, &stats);
    ck_assert_uint_eq(stats.n_groups, 2);
    fixture_free(f);
}
END_TEST

START_TEST(answers_to_saves_and_appends_come_in_order)
{
    struct fixture *f = fixture_usual();
    struct store_group *group;
    struct appended a[3] = {{.f = f}, {.f = f}, {.f = f}};
    struct saved s[2] = {{.f = f}, {.f = f}};
    struct store_item item = {.seq = 1, .state = ITEM_LEASED, .n_deliveries = 1, .until_ms = 5};

    open_topic(f, 0, &roomy);
    group = open_group(f, 0, "g", 0);
    for (unsigned i = 0; i < 3; i++) {
        struct record *record = record_new(slice_str(""), slice_str(""), slice_str(""), slice_str("x"));

        ck_assert_int_eq(
            ops->append_take(f->b, f->topics[0].store, record, (struct store_origin){0}, &a[i]), 0);
        if (i < 2)
            ck_assert_int_eq(
                ops->group_save(f->b, group, &item, 1, &(struct store_group_state){0}, &s[i]), 0);
    }
    memset(&item, 0xff, sizeof(item)); /* it was copied */
    wait_for(f, &a[2].is_done);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(s[i].is_done);
        ck_assert_int_eq(s[i].error, 0);
        ck_assert_uint_eq(s[i].last_seq, i + 1);
    }
    fixture_free(f);
}
END_TEST

START_TEST(items_are_as_they_were_saved_after_a_restart)
{
    struct fixture *f = fixture_usual();
    struct store_group *g, *h;
    struct store_stats stats;

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append_n(f, 0, 10);
    append_n(f, 1, 5);
    g = open_group(f, 0, "g", 0);
    h = open_group(f, 0, "h", 4);
    (void)open_group(f, 1, "g", 12); /* nothing is ever saved */
    save(f, g,
        (struct store_item[]){{5, 500, 1, ITEM_LEASED}, {2, 200, 1, ITEM_LEASED}, {3, 300, 1, ITEM_LEASED},
            {9, 900, 1, ITEM_LEASED}},
        4, 0);
    save(f, g, (struct store_item[]){{2, 0, 1, ITEM_DONE}, {9, 950, 4000000000u, ITEM_READY}}, 2, 0);
    save(f, g, (struct store_item[]){{3, 0, 1, ITEM_DONE}, {5, 0, 0, ITEM_READY}}, 2, 0); /* 5: as if never */
    save(f, h, (struct store_item[]){{4, 1, 1, ITEM_LEASED}, {6, 2, 2, ITEM_DONE}}, 2, 0); /* 4: is below */
    if (!fixture_reopen(f)) {
        fixture_free(f);
        return;
    }
    ck_assert_uint_eq(f->n_groups, 3);
    check_items(f, 0, "g", 0, "2:2:1:0 3:2:1:0 9:0:4000000000:950");
    check_items(f, 0, "h", 4, "6:2:2:2");
    check_items(f, 1, "g", 12, "");
    ops->stats(f->b, &stats);
    ck_assert_uint_eq(stats.n_groups, 3);
    ck_assert_uint_eq(stats.n_items, 4);
    g = find_group(f, 0, "g")->store;
    ck_assert_ptr_eq(open_group(f, 0, "g", 99), g); /* it is there: the floor stays */
    save(f, g, NULL, 0, 3);
    save(f, g, (struct store_item[]){{7, 70, 1, ITEM_LEASED}}, 1, 2); /* never down */
    h = find_group(f, 0, "h")->store;
    ops->group_drop(f->b, h);
    h = open_group(f, 0, "h", 6); /* another one of that name */
    save(f, h, (struct store_item[]){{8, 80, 3, ITEM_LEASED}}, 1, 0);
    ops->group_drop(f->b, find_group(f, 1, "g")->store);
    ck_assert(fixture_reopen(f));
    ck_assert_uint_eq(f->n_groups, 2);
    check_items(f, 0, "g", 3, "7:1:1:70 9:0:4000000000:950");
    check_items(f, 0, "h", 6, "8:1:3:80");
    save(f, find_group(f, 0, "g")->store, (struct store_item[]){{9, 0, 1, ITEM_DONE}}, 1, 9);
    ops->stats(f->b, &stats);
    ck_assert_uint_eq(stats.n_items, 1);
    ck_assert(fixture_reopen(f));
    check_items(f, 0, "g", 9, "");
    fixture_free(f);
}
END_TEST

static void
check_state(const struct fixture *f, const char *name, uint64_t floor, uint64_t born, uint64_t n)
{
    const struct store_group_state *state = &find_group(f, 0, name)->state;

    ck_assert_uint_eq(state->floor, floor);
    ck_assert_uint_eq(state->born, born);
    ck_assert_uint_eq(state->n_done, n);
    ck_assert_uint_eq(state->n_dead, n * 2);
    ck_assert_uint_eq(state->n_lost, n * 3);
}

START_TEST(birth_and_figures_are_as_they_were_after_a_restart)
{
    const struct store_group_state birth = {.floor = 2, .born = UINT64_MAX};
    struct store_group_state state = {.floor = 4, .n_done = 7, .n_dead = 14, .n_lost = 21};
    struct fixture *f = fixture_usual();
    struct store_group *g, *h;
    struct saved saved = {.f = f};

    open_topic(f, 0, &roomy);
    append_n(f, 0, 10);
    ck_assert_int_eq(ops->group_open(f->b, f->topics[0].store, slice_str("g"), &birth, NULL, &g), 0);
    ck_assert_int_eq(ops->group_open(f->b, f->topics[0].store, slice_str("h"), &birth, NULL, &h), 0);
    ck_assert_int_eq(ops->group_save(f->b, g, NULL, 0, &state, &saved), 0);
    wait_for(f, &saved.is_done);
    if (!fixture_reopen(f)) {
        fixture_free(f);
        return;
    }
    check_state(f, "g", 4, UINT64_MAX, 7);
    check_state(f, "h", 2, UINT64_MAX, 0);
    g = find_group(f, 0, "g")->store;
    state = (struct store_group_state){.n_done = 8, .n_dead = 16, .n_lost = 24}; /* the floor stays */
    ck_assert_int_eq(ops->group_save(f->b, g, NULL, 0, &state, NULL), 0);
    h = find_group(f, 0, "h")->store;
    ops->group_drop(f->b, h);
    ck_assert_int_eq(ops->group_open(f->b, f->topics[0].store, slice_str("h"),
                         &(struct store_group_state){.floor = 1, .born = 5}, NULL, &h),
        0);
    ck_assert(fixture_reopen(f));
    check_state(f, "g", 4, UINT64_MAX, 8);
    check_state(f, "h", 1, 5, 0);
    fixture_free(f);
}
END_TEST

/* Nobody waits for it; but the next answer stands behind it. */
START_TEST(save_without_a_cookie_is_kept_with_the_next_commit)
{
    struct fixture *f = fixture_usual();
    struct store_group *g;
    struct store_item item = {.state = ITEM_LEASED, .n_deliveries = 1};

    open_topic(f, 0, &roomy);
    append_n(f, 0, 50);
    g = open_group(f, 0, "g", 0);
    for (item.seq = 1; item.seq <= 40; item.seq++)
        ck_assert_int_eq(ops->group_save(f->b, g, &item, 1,
                             &(struct store_group_state){.floor = item.seq > 38 ? item.seq - 2 : 0}, NULL),
            0);
    item = (struct store_item){.seq = 40, .state = ITEM_DONE};
    ck_assert_int_eq(ops->group_save(f->b, g, &item, 1, &(struct store_group_state){0}, NULL), 0);
    append(f, 0, "x");
    if (fixture_reopen(f))
        check_items(f, 0, "g", 38, "39:1:1:0 40:2:0:0");
    fixture_free(f);
}
END_TEST

START_TEST(save_without_a_cookie_is_kept_by_closing)
{
    struct fixture *f = fixture_usual();
    struct store_item item = {.seq = 1, .state = ITEM_LEASED, .n_deliveries = 3};

    open_topic(f, 0, &roomy);
    append_n(f, 0, 1);
    ck_assert_int_eq(
        ops->group_save(f->b, open_group(f, 0, "g", 0), &item, 1, &(struct store_group_state){0}, NULL), 0);
    if (fixture_reopen(f))
        check_items(f, 0, "g", 0, "1:1:3:0");
    fixture_free(f);
}
END_TEST

START_TEST(dropping_a_group_answers_its_saves)
{
    struct fixture *f = fixture_usual();
    struct saved s = {.f = f};
    struct store_item item = {.seq = 1, .state = ITEM_DONE};
    struct store_group *g;

    open_topic(f, 0, &roomy);
    append_n(f, 0, 1);
    g = open_group(f, 0, "g", 0);
    ck_assert_int_eq(ops->group_save(f->b, g, &item, 1, &(struct store_group_state){0}, NULL), 0);
    ck_assert_int_eq(ops->group_save(f->b, g, &item, 1, &(struct store_group_state){0}, &s), 0);
    ck_assert_int_eq(ops->group_save(f->b, g, &item, 1, &(struct store_group_state){0}, NULL), 0);
    ops->group_drop(f->b, g);
    ops->topic_drop(f->b, f->topics[0].store);
    wait_for(f, &s.is_done);
    ck_assert_int_eq(s.error, 0);
    if (fixture_reopen(f))
        ck_assert_uint_eq(f->n_groups, 0);
    fixture_free(f);
}
END_TEST

/* ---- Against a naive model, with restarts. ---- */

struct model_group {
    bool is_open;
    uint64_t floor;
    struct store_item items[MAX_ITEMS]; /* by seq */
    struct store_group *store;
};

static bool
is_nothing(const struct store_item *item)
{
    return item->state == ITEM_READY && item->until_ms == 0 && item->n_deliveries == 0;
}

static void
model_save(struct fixture *f, struct model_group *g, uint64_t *random)
{
    struct store_item items[8];
    size_t n = *random % 8;
    uint64_t floor = (*random >> 10) % 4 == 0 ? g->floor + (*random >> 12) % 5 : 0;

    if (floor > 400)
        floor = 0;
    for (size_t i = 0; i < n; i++) {
        *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
        items[i] = (struct store_item){.seq = g->floor + 1 + *random % 60,
            .until_ms = (int64_t)(*random >> 10) % 3,
            .n_deliveries = (*random >> 20) % 3,
            .state = (*random >> 30) % 3};
        g->items[items[i].seq] = items[i];
    }
    if (floor > g->floor)
        g->floor = floor;
    if ((*random >> 40) % 2 == 0)
        save(f, g->store, items, n, floor);
    else
        ck_assert_int_eq(
            ops->group_save(f->b, g->store, items, n, &(struct store_group_state){.floor = floor}, NULL), 0);
}

static void
model_check(struct fixture *f, struct model_group *groups)
{
    for (unsigned i = 0; i < 6; i++) {
        struct model_group *g = &groups[i];
        const struct restored_group *restored = find_group(f, i % 2, i < 2 ? "a" : i < 4 ? "b" : "c");
        size_t n = 0;

        ck_assert_int_eq(restored != NULL, g->is_open);
        if (!g->is_open)
            continue;
        ck_assert_uint_eq(restored->floor, g->floor);
        for (uint64_t seq = g->floor + 1; seq < MAX_ITEMS; seq++) {
            const struct store_item *item = &restored->items[n], *known = &g->items[seq];

            if (known->seq == 0 || is_nothing(known))
                continue;
            ck_assert_uint_lt(n++, restored->n_items);
            ck_assert_uint_eq(item->seq, seq);
            ck_assert_uint_eq(item->state, known->state);
            ck_assert_uint_eq(item->n_deliveries, known->n_deliveries);
            ck_assert_int_eq(item->until_ms, known->until_ms);
        }
        ck_assert_uint_eq(n, restored->n_items);
        g->store = restored->store;
    }
}

START_TEST(random_saves_agree_with_a_naive_model)
{
    struct fixture *f = fixture_usual();
    struct model_group *groups = calloc(6, sizeof(*groups));
    uint64_t random = 88172645463325252u + (uint64_t)_i;

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append_n(f, 0, MAX_ITEMS);
    for (unsigned step = 0; step < 2000; step++) {
        struct model_group *g;
        unsigned n;

        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        n = (unsigned)(random >> 8) % 6;
        g = &groups[n];
        if (!g->is_open) {
            memset(g, 0, sizeof(*g));
            g->is_open = true;
            g->floor = (random >> 20) % 10;
            g->store = open_group(f, n % 2, n < 2 ? "a" : n < 4 ? "b" : "c", g->floor);
        } else if ((random >> 20) % 100 < 2) {
            ops->group_drop(f->b, g->store);
            g->is_open = false;
        } else if ((random >> 20) % 100 < 4) {
            if (!fixture_reopen(f))
                break;
            model_check(f, groups);
        } else {
            random >>= 24;
            random |= 1;
            model_save(f, g, &random);
        }
    }
    if (fixture_reopen(f))
        model_check(f, groups);
    free(groups);
    fixture_free(f);
}
END_TEST

/* ---- Held, and done with. ---- */

START_TEST(what_is_held_is_kept_whatever_the_limits_say)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &queue);
    ops->topic_hold(f->b, f->topics[0].store, 0);
    append_n(f, 0, 6);
    read_since(f, &r, 1, 0);
    check_seen(&r, "1 2 3 4 5 6");
    ops->topic_hold(f->b, f->topics[0].store, 3); /* these may go: two of six are kept, if they may */
    append(f, 0, "7");
    read_since(f, &r, 1, 0);
    check_seen(&r, "4 5 6 7");
    ck_assert_uint_eq(r.gap[0], 3);
    ops->topic_hold(f->b, f->topics[0].store, UINT64_MAX);
    append(f, 0, "8");
    read_since(f, &r, 1, 3);
    check_seen(&r, "7 8");
    ck_assert_uint_eq(r.gap[0], 6);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(new_queue_holds_nothing_until_it_is_told)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &queue);
    append_n(f, 0, 4);
    read_since(f, &r, 1, 0);
    check_seen(&r, "3 4");
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(only_queues_hold)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &(struct store_limits){.messages = 2});
    ops->topic_hold(f->b, f->topics[0].store, 0);
    append_n(f, 0, 4);
    read_since(f, &r, 1, 0);
    check_seen(&r, "3 4");
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(queue_without_history_keeps_what_is_held)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &(struct store_limits){.is_held = true});
    ops->topic_hold(f->b, f->topics[0].store, 0);
    append_n(f, 0, 3);
    read_since(f, &r, 1, 0);
    check_seen(&r, "1 2 3");
    ops->topic_trim(f->b, f->topics[0].store, 2);
    read_since(f, &r, 1, 2);
    check_seen(&r, "3");
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(limit_of_the_whole_store_spares_what_is_held)
{
    struct record *one = record_new(slice_str("t"), slice_str("h"), slice_str(""), slice_str("1"));
    struct fixture *f = fixture_new(4 * record_size(one), 0, 0);
    struct reading r = {0};

    record_unref(one);
    open_topic(f, 0, &queue);
    open_topic(f, 1, &roomy);
    ops->topic_hold(f->b, f->topics[0].store, 0);
    append_n(f, 0, 6);
    read_since(f, &r, 3, 0);
    check_seen(&r, "1 2 3 4 5 6");
    append_n(f, 1, 2); /* there is no room for these */
    read_since(f, &r, 3, 0);
    check_seen(&r, "1 2 3 4 5 6");
    ops->topic_trim(f->b, f->topics[0].store, 4);
    append_n(f, 1, 3);
    read_since(f, &r, 3, 4);
    check_seen(&r, "5 6 2 3");
    ops->topic_hold(f->b, f->topics[0].store, 5);
    append_n(f, 1, 3); /* what may go of the queue is older */
    read_since(f, &r, 1, 4);
    check_seen(&r, "6");
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(what_is_done_with_goes_at_once)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};
    struct store_stats stats;
    uint64_t n;

    open_topic(f, 0, &(struct store_limits){.messages = 100, .is_held = true});
    open_topic(f, 1, &roomy);
    ops->topic_hold(f->b, f->topics[0].store, 0);
    append(f, 0, "1");
    append(f, 1, "2");
    append(f, 0, "3");
    append(f, 1, "4");
    append(f, 0, "5");
    ops->topic_trim(f->b, f->topics[0].store, 4);
    read_since(f, &r, 3, 0);
    check_seen(&r, "2 4 5");
    ck_assert_uint_eq(r.gap[0], 3); /* which is the highest that is gone */
    read_since(f, &r, 1, 3);
    check_seen(&r, "5");
    ck_assert_uint_eq(r.gap[0], 0);
    read_with(f, &r, 1, (struct store_read){.last = 10});
    check_seen(&r, "5");
    ops->topic_trim(f->b, f->topics[0].store, 2); /* nothing new */
    ops->topic_trim(f->b, f->topics[0].store, 5);
    read_since(f, &r, 3, 0);
    check_seen(&r, "2 4");
    ops->topic_stats(f->b, f->topics[0].store, NULL, &n, NULL);
    ck_assert_uint_eq(n, 0);
    ops->stats(f->b, &stats);
    ck_assert_uint_eq(stats.n_evicted, 3);
    append(f, 0, "6"); /* above the mark: nobody is done with it */
    read_since(f, &r, 1, 5);
    check_seen(&r, "6");
    ck_assert_uint_eq(f->delivered[f->n_delivered - 1]->prev, 5);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(all_is_held_after_a_restart_until_it_is_told)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &queue);
    ops->topic_hold(f->b, f->topics[0].store, 0);
    append_n(f, 0, 5);
    ops->topic_trim(f->b, f->topics[0].store, 1);
    if (fixture_reopen(f)) {
        append(f, 0, "6");
        read_since(f, &r, 1, 0);
        check_seen(&r, "2 3 4 5 6");
        ck_assert_uint_eq(r.gap[0], 1);
        ops->topic_hold(f->b, f->topics[0].store, 4);
        append(f, 0, "7");
        read_since(f, &r, 1, 4);
        check_seen(&r, "5 6 7");
        ops->topic_trim(f->b, f->topics[0].store, 7);
        ck_assert(fixture_reopen(f));
        read_since(f, &r, 1, 0);
        check_seen(&r, "");
        ck_assert_uint_eq(r.gap[0], 7);
    }
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(expired_goes_though_it_is_held)
{
    struct fixture *f = fixture_usual();
    struct record *record = record_new(slice_str(""), slice_str(""), slice_str(""), slice_str("x"));
    struct reading r = {0};

    open_topic(f, 0, &queue);
    ops->topic_hold(f->b, f->topics[0].store, 0);
    append(f, 0, "1");
    record->kind = 1;
    record->expires_ms = 1;
    append_record(f, 0, record, (struct store_origin){0});
    append(f, 0, "3");
    read_since(f, &r, 1, 0);
    check_seen(&r, "1 3");
    ck_assert_uint_eq(r.gap[0], 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

TCase *
case_groups(void)
{
    TCase *t = tcase_create("groups");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, group_is_known_by_topic_and_name);
    tcase_add_test(t, answers_to_saves_and_appends_come_in_order);
    tcase_add_test(t, items_are_as_they_were_saved_after_a_restart);
    tcase_add_test(t, birth_and_figures_are_as_they_were_after_a_restart);
    tcase_add_test(t, save_without_a_cookie_is_kept_with_the_next_commit);
    tcase_add_test(t, save_without_a_cookie_is_kept_by_closing);
    tcase_add_test(t, dropping_a_group_answers_its_saves);
    tcase_add_loop_test(t, random_saves_agree_with_a_naive_model, 0, 3);
    tcase_add_test(t, what_is_held_is_kept_whatever_the_limits_say);
    tcase_add_test(t, new_queue_holds_nothing_until_it_is_told);
    tcase_add_test(t, only_queues_hold);
    tcase_add_test(t, queue_without_history_keeps_what_is_held);
    tcase_add_test(t, limit_of_the_whole_store_spares_what_is_held);
    tcase_add_test(t, what_is_done_with_goes_at_once);
    tcase_add_test(t, all_is_held_after_a_restart_until_it_is_told);
    tcase_add_test(t, expired_goes_though_it_is_held);
    return t;
}
