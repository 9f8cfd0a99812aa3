/* SPDX-License-Identifier: Apache-2.0 */
/* Groups: which there are, their birth and end, what happens to them in a turn. See queue.h. */
#include "config.h"

#include "broker/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "broker/asyncrequest.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/publish.h"
#include "broker/queuegroup.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/names.h"

/* Frontends are back, and have told what they hold, within this after the broker's start. */
#define HOLD_MS 1000u
#define LOST_LOG_MS 60000u
/* The key of leases, kept so that they outlive the broker. */
#define KEY_TOPIC "$queues/key"

/* ---- Names and numbers. ---- */

static struct slice
group_key_of(const void *value)
{
    const struct queue_group *g = value;

    return slice_of(&g->number, sizeof(g->number));
}

/* The same for the same group in one epoch. */
static uint64_t
number_of(const struct broker *broker, struct slice topic, struct slice name, uint64_t born)
{
    const uint64_t key[2] = {broker->store_ops->epoch(broker->store), 1 + born};
    uint8_t text[TOPIC_MAX_BYTES + 1 + GROUP_MAX_BYTES];

    memcpy(text, topic.p, topic.n);
    text[topic.n] = '\0';
    memcpy(text + topic.n + 1, name.p, name.n);
    return siphash13((const uint8_t *)key, text, topic.n + 1 + name.n);
}

static int
compare_slices(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return order != 0 ? order : a.n < b.n ? -1 : a.n > b.n;
}

size_t
queue_sorted_at(const struct queues *queues, struct slice topic, struct slice name)
{
    size_t low = 0, high = queues->n_sorted;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct queue_group *g = queues->sorted[middle];
        int order = compare_slices(topic_name(g->qt->topic), topic);

        if (order == 0)
            order = compare_slices(queue_name(g), name);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct queue_group *
queue_find(const struct topic *topic, struct slice name)
{
    const struct queue_topic *qt = topic->queue;

    if (qt == NULL)
        return NULL;
    for (const struct list *it = qt->groups.next; it != &qt->groups; it = it->next) {
        struct queue_group *g = list_entry(it, struct queue_group, in_topic);

        if (slice_equal(queue_name(g), name))
            return g;
    }
    return NULL;
}

struct queue_group *
queue_find_named(struct broker *broker, struct slice topic_name, struct slice name)
{
    struct topic *topic = topic_find(broker, topic_name);

    return topic != NULL && !topic->setting->is_hidden ? queue_find(topic, name) : NULL;
}

struct queue_group *
queue_find_number(struct broker *broker, uint64_t number)
{
    return table_find(&broker->queues->by_number, slice_of(&number, sizeof(number)));
}

struct slice
queue_lease_text(const struct queue_group *g, const struct queue_item *item, char *text)
{
    return lease_put(g->broker->queues->key,
        &(struct lease){.group = g->number, .seq = item->seq, .n_deliveries = item->n_deliveries}, text);
}

const struct queue_setting *
queue_setting(const struct queue_group *g)
{
    return &g->qt->topic->setting->queue;
}

/* ---- Holders. ---- */

void
queue_holder_init(struct queues *queues, struct queue_holder *holder)
{
    *holder = (struct queue_holder){.id = ++queues->next_holder};
    list_init(&holder->leases);
}

void
queue_note_back(struct queue_group *g, struct queue_holder *holder)
{
    if (holder == NULL || holder == &g->nobody)
        return;
    if (g->kind->on_ended != NULL)
        g->kind->on_ended(g, holder);
    else
        consumer_note_back(list_entry(holder, struct queue_member, holder)->consumer);
}

void
queue_lost(struct queue_group *g, uint64_t n)
{
    uint64_t now_ms = loop_now_ms(g->broker->loop);

    if (n == 0)
        return;
    g->figures.n_lost += n;
    g->broker->queues->totals.n_lost += n;
    if (g->lost_logged_ms != 0 && now_ms - g->lost_logged_ms < LOST_LOG_MS)
        return;
    g->lost_logged_ms = now_ms;
    log_warn("the group %.*s has lost messages of %.*s, %llu by now: they were evicted before they were done",
        SLICE_ARG(queue_name(g)), SLICE_ARG(topic_name(g->qt->topic)), (unsigned long long)g->figures.n_lost);
}

/* ---- A turn. ---- */

void
queue_wake(struct queue_group *g)
{
    struct queues *queues = g->broker->queues;

    if (!list_empty(&g->in_awake) || g->is_dropped)
        return;
    list_push_back(&queues->awake, &g->in_awake);
    loop_defer(g->broker->loop, &queues->hook);
}

static void
group_on_timer(void *arg)
{
    queue_wake(arg);
}

static void
group_expire(struct queue_group *g)
{
    uint64_t now_ms = loop_now_ms(g->broker->loop);
    struct queue_holder *holder;
    size_t n_leased = g->core.n_leased + g->core.n_purged;

    while (queuecore_expire(&g->core, now_ms, QUEUE_AVOID_MS, &holder)) {
        size_t n_now = g->core.n_leased + g->core.n_purged;

        if (n_now < n_leased)
            g->broker->queues->totals.n_ended++;
        n_leased = n_now;
        queue_note_back(g, holder);
    }
}

bool
queue_is_held_back(const struct queue_group *g)
{
    uint64_t until_ms = g->broker->queues->hold_until_ms;

    return g->is_restored && (until_ms == 0 || loop_now_ms(g->broker->loop) < until_ms);
}

static void
group_arm(struct queue_group *g)
{
    const struct queues *queues = g->broker->queues;
    uint64_t now_ms = loop_now_ms(g->broker->loop), due_ms = queuecore_due(&g->core);

    if (queue_is_held_back(g))
        due_ms = queues->hold_until_ms > 0 ? queues->hold_until_ms : UINT64_MAX;
    if (g->saving == NULL && queuecore_save_due(&g->core) < due_ms)
        due_ms = queuecore_save_due(&g->core);
    if (g->retry_at_ms != 0 && g->retry_at_ms < due_ms)
        due_ms = g->retry_at_ms;
    if (due_ms == UINT64_MAX)
        loop_timer_stop(g->broker->loop, &g->timer);
    else
        loop_timer_start(g->broker->loop, &g->timer, due_ms > now_ms ? due_ms - now_ms : 1);
}

static void
group_count(struct queue_group *g)
{
    struct queue_totals *totals = &g->broker->queues->totals;

    totals->cache_bytes += g->core.record_bytes - g->counted_bytes;
    g->counted_bytes = g->core.record_bytes;
    totals->n_leased += g->core.n_leased - g->counted_leased;
    g->counted_leased = g->core.n_leased;
}

static void
group_work(struct queue_group *g)
{
    const struct queues *queues = g->broker->queues;
    uint64_t now_ms = loop_now_ms(g->broker->loop);

    if (g->retry_at_ms != 0 && g->retry_at_ms <= now_ms)
        g->retry_at_ms = 0;
    if (!queue_is_held_back(g))
        group_expire(g);
    if (!queue_is_held_back(g))
        queue_bury(g); /* before the next save: it buries while none is under way */
    queue_save(g);     /* before more is given out: somebody waits for it */
    if (!queue_is_held_back(g)) {
        /* What a store that fails is not told piles up. */
        if (!queues->is_stopping && !(g->saving != NULL && g->saving->is_failed))
            g->kind->give(g);
        queue_redrive_go_on(g);
        queue_read_ahead(g);
        queue_let_go(g);
    }
    group_count(g);
    group_arm(g);
}

static void
queues_on_turn(void *arg)
{
    struct queues *queues = arg;
    struct list awake;

    list_init(&awake);
    list_take_all(&awake, &queues->awake);
    while (!list_empty(&awake)) {
        struct queue_group *g = list_entry(awake.next, struct queue_group, in_awake);

        list_remove(&g->in_awake);
        queue_user_add(g); /* what happens within may be its end */
        group_work(g);
        queue_user_drop(g);
    }
}

/* ---- Topics. ---- */

/* 0 or -ENOMEM. */
static int
queue_topic_get(struct broker *broker, struct topic *topic)
{
    struct queue_topic *qt;

    if (topic->queue != NULL)
        return 0;
    qt = calloc(1, sizeof(*qt));
    if (qt == NULL)
        return -ENOMEM;
    qt->topic = topic;
    list_init(&qt->groups);
    broker->store_ops->topic_stats(broker->store, topic->store, &qt->last_seq, NULL, NULL);
    topic->queue = qt;
    return 0;
}

static void
core_config(const struct queue_setting *setting, struct queuecore_config *ret)
{
    *ret = (struct queuecore_config){
        .retry_delay_ms = setting->retry_delay_ms,
        .max_deliveries = setting->max_deliveries,
        .has_ordered_keys = setting->has_ordered_keys,
    };
}

int
queue_on_setting(struct broker *broker, struct topic *topic, bool tells_store)
{
    const struct queue_setting *setting = &topic->setting->queue;
    struct queuecore_config config;
    int r = 0;

    if (setting->is_queue)
        r = queue_topic_get(broker, topic);
    if (r < 0)
        return r;
    if (setting->is_queue && tells_store && broker->store_ops->topic_hold != NULL)
        broker->store_ops->topic_hold(broker->store, topic->store, 0);
    if (topic->queue == NULL)
        return 0;
    core_config(setting, &config);
    for (struct list *it = topic->queue->groups.next; it != &topic->queue->groups; it = it->next) {
        struct queue_group *g = list_entry(it, struct queue_group, in_topic);

        queuecore_configure(&g->core, &config);
        if (!topic->setting->may_subscribe)
            queue_leave_all(
                g, ERROR_NOT_ALLOWED, "The settings of this topic do not allow clients to subscribe.");
        queue_wake(g);
    }
    return 0;
}

void
queue_on_topic_gone(struct topic *topic)
{
    struct queue_topic *qt = topic->queue;

    if (qt == NULL)
        return;
    assert(list_empty(&qt->groups));
    topic->queue = NULL;
    free(qt);
}

bool
queue_is_full(struct broker *broker, const struct topic *topic)
{
    const struct queue_setting *setting = &topic->setting->queue;
    uint64_t n_kept;

    if (!setting->is_queue || topic->queue == NULL)
        return false;
    broker->store_ops->topic_stats(broker->store, topic->store, NULL, &n_kept, NULL);
    if (n_kept + topic->queue->n_appending < setting->max_messages)
        return false;
    broker->queues->totals.n_refused++;
    return true;
}

void
queue_trim(struct queue_topic *qt)
{
    uint64_t least = UINT64_MAX;
    struct broker *broker;

    if (list_empty(&qt->groups) || !qt->topic->setting->queue.trims_done)
        return;
    broker = list_entry(qt->groups.next, struct queue_group, in_topic)->broker;
    for (const struct list *it = qt->groups.next; it != &qt->groups; it = it->next) {
        const struct queue_group *g = list_entry(it, struct queue_group, in_topic);

        if (g->saved_floor < least)
            least = g->saved_floor;
    }
    if (least <= qt->trimmed)
        return;
    qt->trimmed = least;
    broker->store_ops->topic_trim(broker->store, qt->topic->store, least);
}

/* ---- Birth. ---- */

static int
sorted_insert(struct queues *queues, struct queue_group *g)
{
    size_t at = queue_sorted_at(queues, topic_name(g->qt->topic), queue_name(g));

    if (queues->n_sorted == queues->sorted_room) {
        size_t room = queues->sorted_room == 0 ? 64 : queues->sorted_room * 2;
        struct queue_group **sorted = realloc(queues->sorted, room * sizeof(sorted[0]));

        if (sorted == NULL)
            return -ENOMEM;
        queues->sorted = sorted;
        queues->sorted_room = room;
    }
    memmove(
        &queues->sorted[at + 1], &queues->sorted[at], (queues->n_sorted - at) * sizeof(queues->sorted[0]));
    queues->sorted[at] = g;
    queues->n_sorted++;
    return 0;
}

static void
sorted_remove(struct queues *queues, const struct queue_group *g)
{
    size_t at = queue_sorted_at(queues, topic_name(g->qt->topic), queue_name(g));

    assert(queues->sorted[at] == g);
    queues->n_sorted--;
    memmove(
        &queues->sorted[at], &queues->sorted[at + 1], (queues->n_sorted - at) * sizeof(queues->sorted[0]));
}

static bool
work_has_takers(const struct queue_group *g)
{
    return g->n_members > 0 || g->redrive != NULL;
}

static const struct queue_kind work_kind = {.has_takers = work_has_takers, .give = queue_give};

static const struct queue_kind *
kind_of(struct slice topic)
{
    const size_t n = strlen(REQUESTS_PREFIX);

    return topic.n > n && memcmp(topic.p, REQUESTS_PREFIX, n) == 0 ? &asyncrequest_queue_kind : &work_kind;
}

/* In no table yet. */
static struct queue_group *
group_new(
    struct broker *broker, struct topic *topic, struct slice name, const struct store_group_state *state)
{
    struct queue_group *g = calloc(1, sizeof(*g) + name.n);
    struct queuecore_config config;

    if (g == NULL)
        return NULL;
    g->number = number_of(broker, topic_name(topic), name, state->born);
    g->born = state->born;
    g->figures = (struct queue_figures_since){state->n_done, state->n_dead, state->n_lost};
    g->broker = broker;
    g->qt = topic->queue;
    g->kind = kind_of(topic_name(topic));
    g->saved_floor = state->floor;
    g->timer = (struct loop_timer){.fn = group_on_timer, .arg = g};
    g->n_name = (uint16_t)name.n;
    memcpy(g->name, name.p, name.n);
    list_init(&g->in_topic);
    list_init(&g->in_awake);
    list_init(&g->members);
    list_init(&g->roomy);
    buf_init(&g->answers, 0);
    queue_holder_init(broker->queues, &g->nobody);
    core_config(&topic->setting->queue, &config);
    queuecore_init(&g->core, &config, state->floor);
    return g;
}

/* Into all tables. 0, -EEXIST, -ENOMEM. */
static int
group_enlist(struct queue_group *g)
{
    struct queues *queues = g->broker->queues;
    int r = table_insert(&queues->by_number, g);

    if (r < 0)
        return r;
    r = sorted_insert(queues, g);
    if (r == 0 && g->kind->on_open != NULL) {
        r = g->kind->on_open(g);
        if (r < 0)
            sorted_remove(queues, g);
    }
    if (r < 0) {
        (void)table_remove(&queues->by_number, group_key_of(g));
        return r;
    }
    list_push_back(&g->qt->groups, &g->in_topic);
    g->qt->topic->n_pins++;
    queues->totals.n_groups++;
    return 0;
}

static void
group_unlist(struct queue_group *g)
{
    struct queues *queues = g->broker->queues;

    if (g->kind->on_close != NULL)
        g->kind->on_close(g);
    sorted_remove(queues, g);
    (void)table_remove(&queues->by_number, group_key_of(g));
    list_remove(&g->in_topic);
    list_remove(&g->in_awake);
    loop_timer_stop(g->broker->loop, &g->timer);
    queues->totals.n_groups--;
}

static void
group_free(struct queue_group *g)
{
    queue_redrive_fini(g);
    queue_saves_fini(g);
    queuecore_fini(&g->core);
    group_count(g);
    g->qt->topic->n_pins--;
    free(g);
}

void
queue_user_add(struct queue_group *g)
{
    g->n_users++;
}

void
queue_user_drop(struct queue_group *g)
{
    if (--g->n_users == 0 && g->is_dropped)
        group_free(g);
}

/* Leases that were given out before are ours only if we have the key from before. */
void
queues_load_key(struct broker *broker)
{
    struct topic *topic = topic_find(broker, slice_str(KEY_TOPIC));
    struct record *record = NULL;
    uint8_t *key = broker->queues->key;

    if (broker->queues->has_key)
        return;
    broker->queues->has_key = true;
    if (topic != NULL)
        record = broker->store_ops->retained(broker->store, topic->store);
    if (record != NULL && record->n_body == LEASE_KEY_BYTES) {
        memcpy(key, record_body(record).p, LEASE_KEY_BYTES);
    } else {
        rand_bytes(key, LEASE_KEY_BYTES);
        publish_own_bytes(broker, slice_str(KEY_TOPIC), slice_of(key, LEASE_KEY_BYTES));
    }
    record_unref(record);
}

int
queue_open(
    struct broker *broker, struct topic *topic, struct slice name, uint64_t floor, struct queue_group **ret)
{
    struct queue_group *g = queue_find(topic, name);
    struct store_group_state state = {.floor = floor};
    uint64_t n_kept;
    int r;

    if (g != NULL) {
        *ret = g;
        return 0;
    }
    if (broker->queues->totals.n_groups >= broker->options.queues_max)
        return -ENOSPC;
    if (broker->store_ops->group_open == NULL)
        return -ENOTSUP;
    queues_load_key(broker);
    rand_bytes(&state.born, sizeof(state.born)); /* leases of an earlier one are none of this one's */
    if (queue_topic_get(broker, topic) < 0 || (g = group_new(broker, topic, name, &state)) == NULL)
        return -ENOMEM;
    r = group_enlist(g);
    if (r == 0) {
        r = broker->store_ops->group_open(broker->store, topic->store, name, &state, g, &g->store);
        if (r < 0) {
            group_unlist(g);
            topic->n_pins--;
        }
    }
    if (r < 0) {
        queuecore_fini(&g->core);
        free(g);
        return r;
    }
    broker->store_ops->topic_stats(broker->store, topic->store, NULL, &n_kept, NULL);
    g->is_exact = floor >= g->qt->last_seq;
    g->n_unread = g->is_exact ? 0 : n_kept;
    log_info("%.*s has a new group of consumers: %.*s", SLICE_ARG(topic_name(topic)), SLICE_ARG(name));
    *ret = g;
    return 0;
}

void
queue_drop(struct queue_group *g)
{
    struct queue_topic *qt = g->qt;

    assert(!g->is_dropped && list_empty(&g->members));
    g->is_dropped = true;
    group_unlist(g);
    g->broker->store_ops->group_drop(g->broker->store, g->store);
    g->store = NULL;
    queue_trim(qt);
    if (g->n_users == 0)
        group_free(g);
}

/* ---- What the store has from before. ---- */

int
queue_on_group(void *cookie, struct slice name, struct store_group *store,
    const struct store_group_state *state, void **ret_cookie, void *arg)
{
    struct broker *broker = arg;
    struct topic *topic = cookie;
    struct queue_group *g;
    int r;

    if (group_name_error(name) != NULL)
        return -EUCLEAN;
    if (queue_topic_get(broker, topic) < 0 || (g = group_new(broker, topic, name, state)) == NULL)
        return -ENOMEM;
    g->store = store;
    g->is_restored = true;
    r = group_enlist(g);
    if (r < 0) {
        queuecore_fini(&g->core);
        free(g);
        return r;
    }
    /* With several groups, or after a kill, the store may keep some that this one has done: a little too
     * many, until the reading has been at the end. */
    broker->store_ops->topic_stats(broker->store, topic->store, NULL, &g->n_unread, NULL);
    *ret_cookie = g;
    return 0;
}

int
queue_on_group_item(void *cookie, const struct store_item *item, void *arg)
{
    struct broker *broker = arg;
    struct queue_group *g = cookie;
    uint64_t now_ms = loop_now_ms(broker->loop), until_ms = 0;
    int64_t left_ms = item->until_ms - loop_wall_ms(broker->loop);

    if (item->until_ms != 0 && left_ms > 0)
        until_ms = now_ms + (uint64_t)left_ms;
    if (item->state == ITEM_LEASED && until_ms == 0)
        until_ms = now_ms + 1;
    if (item->state == ITEM_DONE && g->n_unread > 0)
        g->n_unread--;
    return queuecore_restore(
        &g->core, item->seq, (enum store_item_state)item->state, until_ms, item->n_deliveries);
}

/* ---- Records. ---- */

void
queue_on_record(struct record *record)
{
    struct queue_topic *qt = ((struct topic *)record->topic)->queue;

    if (qt == NULL)
        return;
    qt->last_seq = record->seq;
    for (struct list *it = qt->groups.next; it != &qt->groups; it = it->next)
        queue_note_record(list_entry(it, struct queue_group, in_topic), record);
}

/* ---- The whole. ---- */

int
queues_new(struct broker *broker, struct queues **ret)
{
    struct queues *queues = calloc(1, sizeof(*queues));

    if (queues == NULL)
        return -ENOMEM;
    queues->broker = broker;
    table_init(&queues->by_number, group_key_of);
    list_init(&queues->awake);
    list_init(&queues->peeks);
    buf_init(&queues->items, 0);
    queues->hook = (struct loop_hook){.fn = queues_on_turn, .arg = queues};
    *ret = queues;
    return 0;
}

struct queues *
queues_free(struct queues *queues)
{
    if (queues == NULL)
        return NULL;
    queue_peeks_fini(queues);
    for (size_t i = 0; i < queues->n_sorted; i++) {
        queues->sorted[i]->is_dropped = true; /* none wakes any more */
        queue_redrive_fini(queues->sorted[i]);
    }
    while (queues->n_sorted > 0) {
        struct queue_group *g = queues->sorted[queues->n_sorted - 1];

        group_unlist(g);
        group_free(g);
    }
    loop_cancel(queues->broker->loop, &queues->hook);
    table_fini(&queues->by_number);
    buf_fini(&queues->items);
    free(queues->sorted);
    free(queues);
    return NULL;
}

void
queues_start(struct broker *broker)
{
    if (broker->queues->n_sorted > 0)
        queues_load_key(broker);
}

/* From now on frontends come back: what they had goes on if they say so in time. */
void
queues_on_served(struct broker *broker)
{
    struct queues *queues = broker->queues;
    uint64_t now_ms = loop_now_ms(broker->loop), grace_ms = broker->options.grace_ms;

    queues->hold_until_ms = now_ms + (grace_ms < HOLD_MS ? grace_ms : HOLD_MS) + 1;
    for (size_t i = 0; i < queues->n_sorted; i++)
        queuecore_cap_unheld(&queues->sorted[i]->core, now_ms + grace_ms + 1);
    for (size_t i = 0; i < queues->n_sorted; i++)
        queue_wake(queues->sorted[i]);
}

void
queues_stop(struct broker *broker)
{
    struct queues *queues = broker->queues;

    queues->is_stopping = true;
    for (size_t i = 0; i < queues->n_sorted; i++)
        queue_save(queues->sorted[i]);
}

const struct queue_totals *
queues_totals(struct queues *queues)
{
    return &queues->totals;
}
