/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a group: see queuecore.h. Memory is reserved when an item comes (its place in the heap, in
 * what is to be saved): nothing that happens to it later can fail.
 *
 * One file although it is long: its parts are the lists, the heap and the table that every item is in, and
 * they are right only together.
 */
#include "config.h"

#include "broker/queuecore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct queue_key {
    struct list items; /* by seq; the first may be given out */
    uint16_t n;
    uint8_t p[];
};

static struct slice
key_of(const void *value)
{
    const struct queue_key *key = value;

    return slice_of(key->p, key->n);
}

void
queuecore_init(struct queuecore *q, const struct queuecore_config *config, uint64_t floor)
{
    *q = (struct queuecore){.config = *config, .floor = floor, .n_read = floor};
    list_init(&q->order);
    q->read_at = &q->order;
    list_init(&q->purged);
    list_init(&q->again);
    list_init(&q->fresh);
    list_init(&q->dying);
    list_init(&q->dirty);
    list_init(&q->young);
    table_init(&q->keys, key_of);
}

void
queuecore_configure(struct queuecore *q, const struct queuecore_config *config)
{
    bool has_ordered_keys = q->config.has_ordered_keys;

    q->config = *config;
    if (q->n_items > 0)
        q->config.has_ordered_keys = has_ordered_keys;
}

/* ---- Items by seq. ---- */

static size_t
slot_of(const struct queuecore *q, uint64_t seq)
{
    /* Seqs are ours and ascend: nobody can choose them so that they collide. */
    return (size_t)((seq * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (q->n_slots - 1);
}

struct queue_item *
queuecore_find(const struct queuecore *q, uint64_t seq)
{
    if (q->n_slots == 0)
        return NULL;
    for (size_t i = slot_of(q, seq); q->slots[i] != NULL; i = (i + 1) & (q->n_slots - 1))
        if (q->slots[i]->seq == seq)
            return q->slots[i];
    return NULL;
}

static void
slot_put(struct queuecore *q, struct queue_item *item)
{
    size_t i = slot_of(q, item->seq);

    while (q->slots[i] != NULL)
        i = (i + 1) & (q->n_slots - 1);
    q->slots[i] = item;
}

static void
slot_remove(struct queuecore *q, const struct queue_item *item)
{
    size_t mask = q->n_slots - 1, hole = slot_of(q, item->seq);

    while (q->slots[hole] != item)
        hole = (hole + 1) & mask;
    for (size_t i = (hole + 1) & mask; q->slots[i] != NULL; i = (i + 1) & mask) {
        size_t home = slot_of(q, q->slots[i]->seq);

        if (((i - home) & mask) < ((i - hole) & mask))
            continue; /* it would come before its home */
        q->slots[hole] = q->slots[i];
        hole = i;
    }
    q->slots[hole] = NULL;
}

static int
slots_resize(struct queuecore *q, size_t n)
{
    struct queue_item **old = q->slots, **slots = calloc(n, sizeof(slots[0]));
    size_t n_old = q->n_slots;

    if (slots == NULL)
        return -ENOMEM;
    q->slots = slots;
    q->n_slots = n;
    for (size_t i = 0; i < n_old; i++)
        if (old[i] != NULL)
            slot_put(q, old[i]);
    free(old);
    return 0;
}

static int
vector_reserve(void **p, size_t *room, size_t n, size_t size)
{
    size_t wanted = *room == 0 ? 16 : *room;
    void *grown;

    if (n <= *room)
        return 0;
    while (wanted < n)
        wanted *= 2;
    grown = realloc(*p, wanted * size);
    if (grown == NULL)
        return -ENOMEM;
    *p = grown;
    *room = wanted;
    return 0;
}

/* Room for one item more, wherever it may come to stand. */
static int
reserve(struct queuecore *q)
{
    size_t n = q->n_items + 1;
    int r = 0;

    if (n * 4 > q->n_slots * 3)
        r = slots_resize(q, q->n_slots == 0 ? 16 : q->n_slots * 2);
    if (r == 0)
        r = vector_reserve((void **)&q->heap, &q->heap_room, n + 1, sizeof(q->heap[0]));
    if (r == 0)
        r = vector_reserve((void **)&q->done, &q->done_room, q->n_done + n, sizeof(q->done[0]));
    return r;
}

/* And for one that may be done before the reading has come to it. */
static int
reserve_early(struct queuecore *q)
{
    return vector_reserve((void **)&q->done_before, &q->done_before_room, q->n_done_before + q->n_early + 1,
        sizeof(q->done_before[0]));
}

/* ---- Deadlines: a heap. ---- */

static void
heap_put(struct queuecore *q, size_t at, struct queuecore_deadline deadline)
{
    q->heap[at] = deadline;
    deadline.item->heap_at = at;
}

static void
heap_settle(struct queuecore *q, size_t at, struct queuecore_deadline moved)
{
    for (; at > 1 && q->heap[at / 2].until_ms > moved.until_ms; at /= 2)
        heap_put(q, at, q->heap[at / 2]);
    for (size_t child; (child = 2 * at) <= q->n_heap; at = child) {
        if (child + 1 <= q->n_heap && q->heap[child + 1].until_ms < q->heap[child].until_ms)
            child++;
        if (q->heap[child].until_ms >= moved.until_ms)
            break;
        heap_put(q, at, q->heap[child]);
    }
    heap_put(q, at, moved);
}

static void
heap_remove(struct queuecore *q, struct queue_item *item)
{
    size_t at = item->heap_at;
    struct queuecore_deadline last;

    if (at == 0)
        return;
    item->heap_at = 0;
    last = q->heap[q->n_heap--];
    if (last.item != item)
        heap_settle(q, at, last);
}

static void
set_deadline(struct queuecore *q, struct queue_item *item, uint64_t until_ms)
{
    item->until_ms = until_ms;
    if (until_ms == 0) {
        heap_remove(q, item);
        return;
    }
    if (item->heap_at == 0)
        item->heap_at = ++q->n_heap;
    heap_settle(q, item->heap_at, (struct queuecore_deadline){.until_ms = until_ms, .item = item});
}

/* ---- States. ---- */

static size_t *
count_of(struct queuecore *q, const struct queue_item *item)
{
    if (item->is_purged)
        return &q->n_purged;
    switch ((enum queue_state)item->state) {
    case QUEUE_READY:
        return &q->n_ready;
    case QUEUE_BLOCKED:
        return &q->n_blocked;
    case QUEUE_WAITING:
        return &q->n_waiting;
    case QUEUE_LEASED:
        return &q->n_leased;
    case QUEUE_DYING:
    default:
        return &q->n_dying;
    }
}

/* It leaves its state; what follows puts it in another one, or frees it. */
static void
state_leave(struct queuecore *q, struct queue_item *item)
{
    --*count_of(q, item);
    if (item->state == QUEUE_READY && item->is_read)
        q->n_givable--;
    list_remove(&item->in_state);
    set_deadline(q, item, 0);
    item->holder = NULL;
}

static void
state_enter(struct queuecore *q, struct queue_item *item, enum queue_state state)
{
    item->state = (uint8_t)state;
    ++*count_of(q, item);
    if (state == QUEUE_READY && item->is_read) {
        q->n_givable++;
        list_push_back(item->n_deliveries > 0 ? &q->again : &q->fresh, &item->in_state);
    } else if (state == QUEUE_DYING) {
        list_push_back(&q->dying, &item->in_state);
    }
}

static bool
is_first_of_key(const struct queue_item *item)
{
    return item->key == NULL || item->key->items.next == &item->in_key;
}

static bool
is_to_die(const struct queuecore *q, const struct queue_item *item)
{
    return item->is_dead || (q->config.max_deliveries > 0 && item->n_deliveries >= q->config.max_deliveries);
}

/* Nobody has it and nothing keeps it back but its key. */
static void
state_enter_free(struct queuecore *q, struct queue_item *item)
{
    if (item->is_read && is_to_die(q, item))
        state_enter(q, item, QUEUE_DYING);
    else if (item->is_read && !is_first_of_key(item))
        state_enter(q, item, QUEUE_BLOCKED);
    else
        state_enter(q, item, QUEUE_READY);
}

static void
make_dirty(struct queuecore *q, struct queue_item *item)
{
    list_remove(&item->in_save);
    if (!item->is_purged)
        list_push_back(&q->dirty, &item->in_save);
}

/* ---- Keys. ---- */

static int
key_join(struct queuecore *q, struct queue_item *item, struct slice text)
{
    struct queue_key *key = table_find(&q->keys, text);

    if (key == NULL) {
        key = malloc(sizeof(*key) + text.n);
        if (key == NULL)
            return -ENOMEM;
        key->n = (uint16_t)text.n;
        memcpy(key->p, text.p, text.n);
        list_init(&key->items);
        if (table_insert(&q->keys, key) < 0) {
            free(key);
            return -ENOMEM;
        }
    }
    item->key = key;
    list_push_back(&key->items, &item->in_key);
    return 0;
}

static void
key_leave(struct queuecore *q, struct queue_item *item)
{
    struct queue_key *key = item->key;
    struct queue_item *first;

    if (key == NULL)
        return;
    item->key = NULL;
    list_remove(&item->in_key);
    if (list_empty(&key->items)) {
        (void)table_remove(&q->keys, key_of(key));
        free(key);
        return;
    }
    first = list_entry(key->items.next, struct queue_item, in_key);
    if (first->state == QUEUE_BLOCKED) {
        state_leave(q, first);
        state_enter_free(q, first);
    }
}

/* ---- Birth and end of items. ---- */

/* One that is in no state yet, after `before` in the order. */
static struct queue_item *
item_new(struct queuecore *q, uint64_t seq, struct list *before)
{
    struct queue_item *item;

    if (reserve(q) < 0)
        return NULL;
    item = calloc(1, sizeof(*item));
    if (item == NULL)
        return NULL;
    item->seq = seq;
    list_init(&item->in_order);
    list_init(&item->in_state);
    list_init(&item->in_save);
    list_init(&item->in_key);
    list_push_front(before, &item->in_order);
    slot_put(q, item);
    q->n_items++;
    q->n_early++;
    return item;
}

static void
reason_forget(struct queuecore *q, struct queue_item *item)
{
    if (item->reason == NULL)
        return;
    q->reason_bytes -= strlen(item->reason) + 1;
    free(item->reason);
    item->reason = NULL;
}

static void
reason_note(struct queuecore *q, struct queue_item *item, struct slice reason)
{
    reason_forget(q, item);
    if (reason.n == 0 || q->reason_bytes + reason.n + 1 > QUEUECORE_REASONS_MAX)
        return;
    item->reason = malloc(reason.n + 1);
    if (item->reason == NULL)
        return;
    for (size_t i = 0; i < reason.n; i++) /* it becomes the value of a header, which is one line */
        item->reason[i] = reason.p[i] < ' ' || reason.p[i] == 0x7f ? ' ' : (char)reason.p[i];
    item->reason[reason.n] = '\0';
    q->reason_bytes += reason.n + 1;
}

static void
order_leave(struct queuecore *q, struct queue_item *item)
{
    if (q->finger == item)
        q->finger = NULL;
    if (q->read_at == &item->in_order)
        q->read_at = item->in_order.prev;
    list_remove(&item->in_order);
}

/* It has left its state. */
static void
item_free(struct queuecore *q, struct queue_item *item)
{
    key_leave(q, item);
    queuecore_set_record(q, item, NULL);
    reason_forget(q, item);
    order_leave(q, item);
    list_remove(&item->in_save);
    slot_remove(q, item);
    q->n_items--;
    if (!item->is_read)
        q->n_early--;
    free(item);
}

void
queuecore_fini(struct queuecore *q)
{
    struct list *const both[] = {&q->order, &q->purged};

    for (size_t i = 0; i < 2; i++) {
        list_for_each_safe(it, following, both[i])
        {
            struct queue_item *item = list_entry(it, struct queue_item, in_order);

            state_leave(q, item);
            item_free(q, item);
        }
    }
    table_fini(&q->keys);
    free(q->slots);
    free(q->heap);
    free(q->done);
    free(q->done_before);
    *q = (struct queuecore){0};
}

void
queuecore_set_record(struct queuecore *q, struct queue_item *item, struct record *record)
{
    if (item->record != NULL)
        q->record_bytes -= record_size(item->record);
    record_unref(item->record);
    item->record = record != NULL ? record_ref(record) : NULL;
    if (record != NULL)
        q->record_bytes += record_size(record);
}

/* ---- What was known before. ---- */

int
queuecore_restore(
    struct queuecore *q, uint64_t seq, enum store_item_state state, uint64_t until_ms, uint32_t n_deliveries)
{
    struct queue_item *item;

    if (state == ITEM_DONE) {
        if (reserve_early(q) < 0)
            return -ENOMEM;
        q->done_before[q->n_done_before++] = seq;
        return 0;
    }
    item = reserve_early(q) < 0 ? NULL : item_new(q, seq, q->order.prev);
    if (item == NULL)
        return -ENOMEM;
    item->is_known = true;
    item->is_dead = (n_deliveries & QUEUECORE_DEAD) != 0;
    item->outlives = (n_deliveries & QUEUECORE_OUTLIVES) != 0;
    item->n_deliveries = n_deliveries & QUEUECORE_DELIVERIES;
    if (state == ITEM_LEASED)
        state_enter(q, item, QUEUE_LEASED);
    else if (until_ms != 0)
        state_enter(q, item, QUEUE_WAITING);
    else
        state_enter(q, item, QUEUE_READY);
    if (until_ms != 0)
        set_deadline(q, item, until_ms);
    return 0;
}

/* Is it done, as was known before? Those below are not asked for again. */
static bool
was_done_before(struct queuecore *q, uint64_t seq)
{
    while (q->done_before_at < q->n_done_before && q->done_before[q->done_before_at] < seq)
        q->done_before_at++;
    if (q->done_before_at < q->n_done_before)
        return q->done_before[q->done_before_at] == seq;
    q->n_done_before = q->done_before_at = 0;
    if (q->n_early == 0) {
        free(q->done_before);
        q->done_before = NULL;
        q->done_before_room = 0;
    }
    return false;
}

/* The first of them that is not below seq. */
static size_t
find_done_before(const struct queuecore *q, uint64_t seq)
{
    size_t low = q->done_before_at, high = q->n_done_before;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (q->done_before[middle] < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
is_done_above(const struct queuecore *q, uint64_t seq)
{
    size_t at = find_done_before(q, seq);

    return at < q->n_done_before && q->done_before[at] == seq;
}

/* Done, and the reading is yet to come to it. There is room: reserve_early(). */
static void
note_done_before(struct queuecore *q, uint64_t seq)
{
    size_t at = find_done_before(q, seq);

    assert(q->n_done_before < q->done_before_room);
    memmove(
        q->done_before + at + 1, q->done_before + at, (q->n_done_before - at) * sizeof(q->done_before[0]));
    q->done_before[at] = seq;
    q->n_done_before++;
}

bool
queuecore_is_done(const struct queuecore *q, uint64_t seq)
{
    const struct queue_item *item;

    if (seq <= q->floor)
        return true;
    item = queuecore_find(q, seq);
    if (item != NULL)
        return item->is_purged;
    return seq <= q->n_read || is_done_above(q, seq);
}

/* ---- Messages come. ---- */

/* The reading has come to an item that was known. */
static int
item_read(struct queuecore *q, struct queue_item *item, struct record *record)
{
    enum queue_state state = (enum queue_state)item->state;

    if (q->config.has_ordered_keys && record->n_key > 0 && key_join(q, item, record_key(record)) < 0)
        return -ENOMEM;
    if (state == QUEUE_READY)
        state_leave(q, item);
    item->is_read = true;
    item->time_ms = record->time_ms;
    q->n_early--;
    if (state == QUEUE_READY)
        state_enter_free(q, item);
    return 0;
}

int
queuecore_add(struct queuecore *q, struct record *record, bool keeps_record)
{
    struct queue_item *item;

    assert(record->seq > q->n_read);
    queuecore_read_upto(q, record->seq - 1);
    item = queuecore_find(q, record->seq);
    if (item == NULL && q->n_done_before > 0 && was_done_before(q, record->seq)) {
        q->done_before_at++;
        q->n_read = record->seq;
        return 0;
    }
    if (item == NULL) {
        item = item_new(q, record->seq, q->read_at);
        if (item == NULL)
            return -ENOMEM;
        state_enter(q, item, QUEUE_READY);
        if (item_read(q, item, record) < 0) {
            state_leave(q, item);
            item_free(q, item);
            return -ENOMEM;
        }
    } else if (item_read(q, item, record) < 0) {
        return -ENOMEM;
    }
    if (keeps_record)
        queuecore_set_record(q, item, record);
    q->n_read = record->seq;
    q->read_at = &item->in_order;
    return 1;
}

void
queuecore_read_upto(struct queuecore *q, uint64_t seq)
{
    if (seq <= q->n_read)
        return;
    while (q->read_at->next != &q->order) {
        struct queue_item *item = list_entry(q->read_at->next, struct queue_item, in_order);

        if (item->seq > seq)
            break;
        if (item->state == QUEUE_LEASED) { /* its holder may have it still, and settle it */
            item->is_read = true;
            q->n_early--;
            q->read_at = &item->in_order;
            continue;
        }
        item->is_read = true; /* or it would be remembered for when the reading comes to it */
        q->n_early--;
        if (item->state == QUEUE_READY)
            q->n_givable++; /* as a READY one that is read leaves its state */
        queuecore_done(q, item);
        q->n_vanished++;
    }
    (void)was_done_before(q, seq + 1);
    q->n_read = seq;
}

/* ---- Out and back. ---- */

struct queue_item *
queuecore_ready(const struct queuecore *q)
{
    if (!list_empty(&q->again))
        return list_entry(q->again.next, struct queue_item, in_state);
    return list_empty(&q->fresh) ? NULL : list_entry(q->fresh.next, struct queue_item, in_state);
}

struct queue_item *
queuecore_ready_after(const struct queuecore *q, const struct queue_item *item)
{
    const struct list *next = item->in_state.next;

    if (next == &q->again)
        next = q->fresh.next;
    return next == &q->fresh ? NULL : list_entry(next, struct queue_item, in_state);
}

static void
lease_begin(struct queuecore *q, struct queue_item *item, struct queue_holder *holder, uint64_t until_ms)
{
    state_leave(q, item);
    state_enter(q, item, QUEUE_LEASED);
    item->holder = holder;
    item->outlives = holder->is_outlived;
    list_push_back(&holder->leases, &item->in_state);
    item->avoid = 0;
    set_deadline(q, item, until_ms);
}

void
queuecore_lease(struct queuecore *q, struct queue_item *item, struct queue_holder *holder, uint64_t until_ms,
    uint64_t now_ms)
{
    assert(item->state == QUEUE_READY && item->is_read && !item->is_purged);
    item->n_deliveries++;
    item->leased_ms = now_ms;
    lease_begin(q, item, holder, until_ms);
    if (holder->is_outlived) { /* nobody will say that he holds it */
        make_dirty(q, item);
        return;
    }
    list_remove(&item->in_save);
    list_push_back(&q->young, &item->in_save);
}

/* Where an item with this seq, which is not read, belongs. */
static struct list *
find_place(const struct queuecore *q, uint64_t seq)
{
    const struct list *at = q->finger != NULL ? &q->finger->in_order : q->order.prev;

    while (at != &q->order && list_entry(at, struct queue_item, in_order)->seq > seq)
        at = at->prev;
    while (at->next != &q->order && list_entry(at->next, struct queue_item, in_order)->seq < seq)
        at = at->next;
    return (struct list *)at;
}

/* Has it a better claim than what is known? A later delivery always; the same one if nobody has it now, but
 * not the last one that it was to have: that is over, and it may be in the dead letters. */
static bool
may_hold(const struct queuecore *q, const struct queue_item *item, uint32_t n_deliveries)
{
    if (item->is_purged || item->is_dead || item->state == QUEUE_DYING)
        return false;
    if (n_deliveries == item->n_deliveries)
        return item->state == QUEUE_LEASED ? item->holder == NULL : !is_to_die(q, item);
    return n_deliveries > item->n_deliveries;
}

struct queue_item *
queuecore_hold(struct queuecore *q, uint64_t seq, uint32_t n_deliveries, struct queue_holder *holder,
    uint64_t until_ms, uint64_t now_ms, struct queue_holder **ret_displaced)
{
    struct queue_item *item = queuecore_find(q, seq);

    if (n_deliveries == 0 || (item != NULL ? !may_hold(q, item, n_deliveries) : queuecore_is_done(q, seq)))
        return NULL;
    if (item == NULL) {
        item = reserve_early(q) < 0 ? NULL : item_new(q, seq, find_place(q, seq));
        if (item == NULL)
            return NULL;
        state_enter(q, item, QUEUE_READY);
        q->finger = item;
    }
    *ret_displaced = item->holder;
    item->n_deliveries = n_deliveries;
    item->leased_ms = now_ms;
    lease_begin(q, item, holder, until_ms);
    make_dirty(q, item);
    return item;
}

void
queuecore_done(struct queuecore *q, struct queue_item *item)
{
    if (!item->is_purged) {
        assert(q->n_done < q->done_room);
        q->done[q->n_done++] =
            (struct store_item){.seq = item->seq, .state = ITEM_DONE, .n_deliveries = item->n_deliveries};
        if (!item->is_read)
            note_done_before(q, item->seq);
    }
    state_leave(q, item);
    item_free(q, item);
}

void
queuecore_retry(struct queuecore *q, struct queue_item *item, uint64_t delay_ms, uint64_t avoid_ms,
    struct slice reason, uint64_t now_ms)
{
    uint64_t avoid = item->holder != NULL ? item->holder->id : 0;

    assert(item->state == QUEUE_LEASED);
    state_leave(q, item);
    if (item->is_purged) {
        item_free(q, item);
        return;
    }
    item->avoid = avoid;
    reason_note(q, item, reason);
    if (delay_ms > 0 && !is_to_die(q, item)) {
        state_enter(q, item, QUEUE_WAITING);
        set_deadline(q, item, now_ms + delay_ms);
    } else {
        state_enter_free(q, item);
        if (item->state == QUEUE_READY && avoid != 0 && avoid_ms > 0)
            set_deadline(q, item, now_ms + avoid_ms);
    }
    make_dirty(q, item);
}

void
queuecore_extend(struct queuecore *q, struct queue_item *item, uint64_t until_ms)
{
    assert(item->state == QUEUE_LEASED);
    set_deadline(q, item, until_ms);
    make_dirty(q, item);
}

void
queuecore_kill(struct queuecore *q, struct queue_item *item, struct slice reason)
{
    assert(item->state == QUEUE_LEASED);
    state_leave(q, item);
    if (item->is_purged) {
        item_free(q, item);
        return;
    }
    reason_note(q, item, reason);
    item->is_dead = true;
    state_enter_free(q, item);
    make_dirty(q, item);
}

void
queuecore_return_all(struct queuecore *q, struct queue_holder *holder, uint64_t avoid_ms, uint64_t now_ms)
{
    while (!list_empty(&holder->leases))
        queuecore_retry(q, list_entry(holder->leases.next, struct queue_item, in_state), 0, avoid_ms,
            slice_of(NULL, 0), now_ms);
}

void
queuecore_orphan_all(struct queue_holder *holder)
{
    while (!list_empty(&holder->leases)) {
        struct queue_item *item = list_entry(holder->leases.next, struct queue_item, in_state);

        item->holder = NULL;
        list_remove(&item->in_state);
    }
}

void
queuecore_cap_unheld(struct queuecore *q, uint64_t until_ms)
{
    for (struct list *it = q->order.next; it != &q->order; it = it->next) {
        struct queue_item *item = list_entry(it, struct queue_item, in_order);

        if (item->state == QUEUE_LEASED && item->holder == NULL && !item->outlives &&
            item->until_ms > until_ms)
            set_deadline(q, item, until_ms);
    }
}

/* ---- Time. ---- */

uint64_t
queuecore_due(const struct queuecore *q)
{
    return q->n_heap > 0 ? q->heap[1].until_ms : UINT64_MAX;
}

bool
queuecore_expire(struct queuecore *q, uint64_t now_ms, uint64_t avoid_ms, struct queue_holder **ret_holder)
{
    struct queue_item *item;

    if (queuecore_due(q) > now_ms)
        return false;
    item = q->heap[1].item;
    *ret_holder = item->holder;
    if (item->state == QUEUE_LEASED) {
        queuecore_retry(q, item, q->config.retry_delay_ms, avoid_ms, slice_str("the lease ended"), now_ms);
    } else if (item->state == QUEUE_WAITING) {
        state_leave(q, item);
        state_enter_free(q, item);
        if (item->state == QUEUE_READY && item->avoid != 0 && avoid_ms > 0)
            set_deadline(q, item, now_ms + avoid_ms);
    } else {
        item->avoid = 0;
        set_deadline(q, item, 0);
    }
    return true;
}

/* ---- Purging. ---- */

/* Its holder may settle it yet, or its way to the dead letters is not done: it does not count any more. */
static void
item_purge(struct queuecore *q, struct queue_item *item)
{
    --*count_of(q, item);
    item->is_purged = true;
    ++*count_of(q, item);
    if (!item->is_read) {
        item->is_read = true;
        q->n_early--;
    }
    key_leave(q, item);
    order_leave(q, item);
    list_push_back(&q->purged, &item->in_order);
    list_remove(&item->in_save);
}

size_t
queuecore_purge(struct queuecore *q, uint64_t upto)
{
    size_t n = 0;

    list_for_each_safe(it, following, &q->order)
    {
        struct queue_item *item = list_entry(it, struct queue_item, in_order);

        if (item->seq > upto)
            break;
        if (item->state == QUEUE_LEASED || item->state == QUEUE_DYING) {
            item_purge(q, item);
        } else {
            state_leave(q, item);
            item_free(q, item);
            n++;
        }
    }
    if (upto > q->n_read) {
        (void)was_done_before(q, upto + 1);
        q->n_read = upto;
    }
    return n;
}

/* ---- What the store is told. ---- */

static uint64_t
floor_now(const struct queuecore *q)
{
    uint64_t first;

    if (list_empty(&q->order))
        return q->n_read;
    first = list_entry(q->order.next, struct queue_item, in_order)->seq - 1;
    return first < q->n_read ? first : q->n_read;
}

static void
put_item(struct buf *out, const struct queue_item *item)
{
    struct store_item saved = {
        .seq = item->seq,
        .until_ms = item->state == QUEUE_LEASED || item->state == QUEUE_WAITING ? (int64_t)item->until_ms : 0,
        .n_deliveries = item->n_deliveries | (item->is_dead ? QUEUECORE_DEAD : 0) |
                        (item->state == QUEUE_LEASED && item->outlives ? QUEUECORE_OUTLIVES : 0),
        .state = item->state == QUEUE_LEASED ? ITEM_LEASED : ITEM_READY,
    };

    buf_put(out, &saved, sizeof(saved));
}

int
queuecore_save(struct queuecore *q, uint64_t now_ms, bool all, struct buf *items, uint64_t *ret_floor)
{
    uint64_t floor = floor_now(q);

    while (!list_empty(&q->young)) {
        struct queue_item *item = list_entry(q->young.next, struct queue_item, in_save);

        if (!all && now_ms - item->leased_ms < QUEUECORE_LEASE_SAVE_MS)
            break;
        make_dirty(q, item);
    }
    for (size_t i = 0; i < q->n_done; i++)
        if (q->done[i].seq > floor)
            buf_put(items, &q->done[i], sizeof(q->done[i]));
    for (const struct list *it = q->dirty.next; it != &q->dirty; it = it->next)
        put_item(items, list_entry(it, struct queue_item, in_save));
    if (buf_failed(items))
        return -ENOMEM;
    *ret_floor = floor > q->floor ? floor : 0;
    return 0;
}

void
queuecore_saved(struct queuecore *q)
{
    q->floor = floor_now(q);
    q->n_done = 0;
    while (!list_empty(&q->dirty)) {
        struct queue_item *item = list_entry(q->dirty.next, struct queue_item, in_save);

        list_remove(&item->in_save);
        item->is_known = true;
    }
}

bool
queuecore_has_unsaved(const struct queuecore *q)
{
    return q->n_done > 0 || !list_empty(&q->dirty) || floor_now(q) > q->floor;
}

bool
queuecore_is_unsaved(const struct queue_item *item)
{
    return !list_empty(&item->in_save);
}

uint64_t
queuecore_save_due(const struct queuecore *q)
{
    if (list_empty(&q->young))
        return UINT64_MAX;
    return list_entry(q->young.next, struct queue_item, in_save)->leased_ms + QUEUECORE_LEASE_SAVE_MS;
}
