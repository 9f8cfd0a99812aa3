/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend that keeps messages in an SQLite file, the loop's side of it: hands commands to the writer,
 * takes its batches, knows the figures of each topic. The model is in sqstore.h; what survives what, in
 * docs/durability.md.
 */
#include "config.h"

#include "backends/sqlite/sqlite.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "backends/sqlite/sqload.h"
#include "backends/sqlite/sqstore.h"
#include "base/log.h"

#define TICK_MS 1000u
#define RIDE_MS 50u

/* ---- Topics. ---- */

struct store_topic *
store_topic_new(struct backend *b, struct slice name)
{
    struct store_topic *topic = calloc(1, sizeof(*topic) + name.n);

    if (topic == NULL)
        return NULL;
    topic->n_name = (uint16_t)name.n;
    memcpy(topic->name, name.p, name.n);
    list_init(&topic->in_recent);
    list_init(&topic->in_evicted);
    list_init(&topic->w.in_kept);
    b->stats.n_topics++;
    return topic;
}

void
store_topic_free(struct backend *b, struct store_topic *topic)
{
    cache_forget(b, topic);
    wide_forget(b, topic);
    record_unref(topic->retained);
    list_remove(&topic->in_recent);
    list_remove(&topic->w.in_kept);
    free(topic->w.window);
    free(topic->x);
    free(topic);
    b->stats.n_topics--;
}

struct topic_extra *
store_topic_extra(struct store_topic *topic)
{
    struct topic_extra *x = topic->x;

    if (x != NULL)
        return x;
    x = calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    x->topic = topic;
    x->hold_asked = x->hold_above = topic->is_restored ? 0 : UINT64_MAX;
    list_init(&x->in_leftovers);
    topic->x = x;
    return x;
}

static bool
record_has_ended(const struct backend *b, const struct record *record)
{
    return record->expires_ms != 0 && record->expires_ms <= loop_wall_ms(b->loop);
}

static void
topic_set_retained(struct store_topic *topic, struct record *record)
{
    record_unref(topic->retained);
    topic->retained = record;
}

/* What the writer says of it; the sums over all topics follow. */
static void
topic_take_figures(
    struct backend *b, struct store_topic *topic, const struct topic_figures *now, uint64_t last_seq)
{
    struct topic_figures before = topic->now;

    b->stats.n_records += now->n - before.n;
    b->stats.n_bytes += now->bytes - before.bytes;
    topic->now = *now;
    if (now->id != before.id && !topic->is_dropped)
        wide_know(b, topic);
    /* Of a new one: what was dropped may have been its own. */
    if ((now->evicted_seq != before.evicted_seq || (before.last_seq == 0 && now->evicted_seq > 0)) &&
        !topic->is_dropped)
        wide_note_evicted(b, topic, last_seq);
    if (!now->has_retained && topic->retained != NULL)
        topic_set_retained(topic, NULL); /* it has expired, or was cleared */
    cache_trim(b, topic);
}

static void
topic_move_to_end(struct backend *b, struct store_topic *topic)
{
    if (b->tick_at == &topic->in_recent)
        b->tick_at = topic->in_recent.next;
    list_remove(&topic->in_recent);
    list_push_back(&b->recent, &topic->in_recent);
}

/* ---- Commands. ---- */

struct command *
command_new(enum command_kind kind, struct store_topic *topic)
{
    struct command *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->kind = kind;
    c->topic = topic;
    return c;
}

/* From here on they are the writer's. */
static void
command_give(struct command *c)
{
    if (c->topic != NULL)
        c->x = c->topic->x;
    if (c->kind == COMMAND_MARK)
        c->x->mark = NULL;
    if (c->kind == COMMAND_GROUP_SAVE && c->group->riding == c)
        c->group->riding = NULL;
}

/* What rides comes before it. c: NULL, nothing but that. */
static void
commands_hand_over(struct backend *b, struct command *c)
{
    bool was_empty;

    *b->riding_end = c;
    if (c != NULL)
        b->riding_end = &c->next;
    if (b->riding == NULL)
        return;
    for (struct command *it = b->riding; it != NULL; it = it->next)
        command_give(it);
    (void)pthread_mutex_lock(&b->lock);
    was_empty = b->commands == NULL;
    *b->commands_end = b->riding;
    b->commands_end = b->riding_end;
    if (was_empty)
        (void)pthread_cond_signal(&b->writer_wake);
    (void)pthread_mutex_unlock(&b->lock);
    b->riding = NULL;
    b->riding_end = &b->riding;
    loop_timer_stop(b->loop, &b->riding_timer);
}

void
store_command(struct backend *b, struct command *c)
{
    commands_hand_over(b, c);
}

void
store_ride(struct backend *b, struct command *c)
{
    if (b->riding == NULL)
        loop_timer_start(b->loop, &b->riding_timer, RIDE_MS);
    *b->riding_end = c;
    b->riding_end = &c->next;
}

void
store_end_ride(struct backend *b)
{
    commands_hand_over(b, NULL);
}

static void
store_on_riding_timer(void *arg)
{
    store_end_ride(arg);
}

void
store_wake(struct backend *b)
{
    uint64_t one = 1;

    while (write(b->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* ---- What the writer gives back. ---- */

void
store_check_broken(struct backend *b, int error)
{
    if (b->is_broken || (error != -EUCLEAN && error != -ESTALE))
        return;
    b->is_broken = true;
    if (error == -ESTALE) {
        log_error(
            "%s: another file stands there now than when the bus started: it has to start again", b->w.path);
    } else {
        log_error("%s: the file is damaged; it will be set aside at the next start", b->w.path);
        load_note_suspect(b->w.path);
    }
    if (b->host.on_broken != NULL)
        b->host.on_broken(b->host.arg);
}

static void
take_append(struct backend *b, struct command *c)
{
    if (!c->is_due) {
        b->n_queued--;
        b->bytes_queued -= c->size;
    }
    if (c->error == 0 && c->outcome == APPEND_OK) {
        if (c->retains != RETAINS_NOT)
            topic_set_retained(c->topic, c->retains == RETAINS_SET ? record_ref(c->record) : NULL);
        b->last_seq = c->seq;
        b->host.on_record(c->record, b->host.arg);
    }
    if (!c->is_due)
        b->host.on_appended(c->cookie, c->error, c->outcome, c->error == 0 ? c->seq : 0, b->host.arg);
    record_unref(c->record);
}

static void
take_mark(struct command *c)
{
    struct topic_extra *x = c->topic->x;

    x->mark_done = c->mark;
    if (c->error < 0)
        x->has_mark_failed = true;
}

static void
take_save(struct backend *b, struct command *c)
{
    b->n_queued--;
    b->bytes_queued -= c->size;
    free(c->items);
    if (c->cookie != NULL)
        b->host.on_saved(c->cookie, c->error, b->host.arg);
}

static void
take_command(struct backend *b, struct command *c)
{
    switch (c->kind) {
    case COMMAND_APPEND:
        take_append(b, c);
        break;
    case COMMAND_LIMIT:
    case COMMAND_TRIM:
        c->topic->n_trims--;
        break;
    case COMMAND_MARK:
        take_mark(c);
        break;
    case COMMAND_DROP:
        store_topic_free(b, c->topic);
        break;
    case COMMAND_GROUP_SAVE:
        take_save(b, c);
        break;
    case COMMAND_GROUP_DROP:
        group_free(c->group);
        break;
    case COMMAND_TICK:
        b->is_ticking = false;
        break;
    case COMMAND_GROUP_OPEN:
    case COMMAND_CONFIGURE:
    default:
        break;
    }
    free(c);
}

/* First what the topics look like, and the cache; then the records one by one. */
static void
take_batch(struct backend *b, struct batch *batch)
{
    struct command *c, *next;

    b->batch = batch->number;
    b->stats.n_evicted = batch->now.n_evicted;
    b->stats.n_repeated = batch->now.n_repeated;
    b->stats.n_expired = batch->now.n_expired;
    b->stats.n_scheduled = batch->now.n_aside;
    b->stats.n_scheduled_bytes = batch->now.aside_bytes;
    b->stats.n_items = batch->now.n_items;
    for (size_t i = 0; i < batch->n_touched; i++)
        topic_take_figures(b, batch->touched[i].topic, &batch->touched[i].now, batch->now.last_seq);
    for (c = batch->first; c != NULL; c = c->next) {
        if (c->kind != COMMAND_APPEND || c->error != 0 || c->outcome != APPEND_OK)
            continue;
        c->record->topic = c->topic->cookie;
        topic_move_to_end(b, c->topic);
        if (c->is_kept)
            cache_add(b, c->topic, c->record);
    }
    cache_shrink(b);
    if (batch->error < 0)
        b->stats.n_failed++;
    for (c = batch->first; c != NULL; c = next) {
        next = c->next;
        take_command(b, c);
    }
    store_check_broken(b, batch->error);
    free(batch->touched);
    free(batch);
}

static void
store_take_all(struct backend *b)
{
    struct batch *batches, *next;

    (void)pthread_mutex_lock(&b->lock);
    batches = b->batches;
    b->batches = NULL;
    b->batches_end = &b->batches;
    list_take_all(&b->reads, &b->read_done);
    (void)pthread_mutex_unlock(&b->lock);
    b->is_delivering = true;
    for (; batches != NULL; batches = next) {
        next = batches->next;
        take_batch(b, batches);
    }
    b->is_delivering = false;
}

static void
store_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct backend *b = arg;
    uint64_t count;

    (void)read(fd, &count, sizeof(count)); /* how often does not matter, and nothing to read neither */
    store_take_all(b);
    read_go_on(b);
}

static void
store_on_reads_hook(void *arg)
{
    read_go_on(arg);
}

/* ---- The life of the store. ---- */

static int
store_init_threads(struct backend *b)
{
    pthread_condattr_t attr;
    int r = pthread_mutex_init(&b->lock, NULL);

    if (r != 0)
        return -r;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&b->writer_wake, &attr); /* these cannot fail with glibc */
    (void)pthread_cond_init(&b->reader_wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    b->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (b->event_fd < 0)
        return -errno;
    b->event = event_new(loop_base(b->loop), b->event_fd, EV_READ | EV_PERSIST, store_on_event, b);
    return b->event == NULL || event_add(b->event, NULL) < 0 ? -ENOMEM : 0;
}

static void
store_free(struct backend *b)
{
    groups_fini(b);
    list_for_each_safe(it, following, &b->recent)
        store_topic_free(b, list_entry(it, struct store_topic, in_recent));
    table_fini(&b->by_id);
    seqlist_fini(&b->cache);
    writer_fini(&b->w);
    sqdb_close(&b->reader_db);
    if (b->event != NULL)
        event_free(b->event);
    if (b->event_fd >= 0)
        (void)close(b->event_fd);
    loop_cancel(b->loop, &b->reads_hook);
    loop_timer_stop(b->loop, &b->riding_timer);
    (void)pthread_cond_destroy(&b->writer_wake);
    (void)pthread_cond_destroy(&b->reader_wake);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

static int
sqlite_open(const void *conf, struct loop *loop, const struct store_host *host, struct backend **ret)
{
    struct backend *b = calloc(1, sizeof(*b));
    int r;

    if (b == NULL)
        return -ENOMEM;
    b->host = *host;
    b->loop = loop;
    b->options = *(const struct sqlite_options *)conf;
    b->w.lock_fd = b->event_fd = -1;
    b->reads_hook = (struct loop_hook){.fn = store_on_reads_hook, .arg = b};
    list_init(&b->recent);
    list_init(&b->evicted);
    table_init(&b->by_id, wide_key_of);
    list_init(&b->reads);
    list_init(&b->asked);
    list_init(&b->read_done);
    list_init(&b->w.kept);
    list_init(&b->w.leftovers);
    times_init(&b->w);
    b->w.musts_end = &b->w.musts;
    b->w.now.next_due_ms = INT64_MAX;
    groups_init(b);
    b->riding_end = &b->riding;
    b->riding_timer = (struct loop_timer){.fn = store_on_riding_timer, .arg = b};
    b->tick_at = &b->recent;
    b->commands_end = &b->commands;
    b->batches_end = &b->batches;
    b->w.options = b->options;
    dedupe_init(&b->w.dedupe);
    cache_init(b);
    b->w.path = strdup(b->options.path);
    b->options.path = b->w.options.path = NULL;
    r = b->w.path == NULL ? -ENOMEM : store_init_threads(b);
    if (r == 0)
        r = load_open(b);
    if (r == 0)
        r = writer_load(b);
    if (r < 0) {
        store_free(b);
        return r;
    }
    b->cache_floor = b->last_seq;
    *ret = b;
    return 0;
}

/* Limits that a restored topic does not keep to, because the settings changed while nobody ran. */
static int
restore_topic(struct backend *b, struct store_topic *topic)
{
    struct store_limits limits = {0};
    int r = 0;

    if (b->host.on_topic != NULL)
        r = b->host.on_topic(
            slice_of(topic->name, topic->n_name), topic, &topic->cookie, &limits, b->host.arg);
    if (r < 0)
        return r;
    if (topic->retained != NULL)
        topic->retained->topic = topic->cookie;
    if (limits.is_held && store_topic_extra(topic) == NULL)
        return -ENOMEM;
    topic->w.x = topic->x;
    topic->limits = topic->w.limits = limits;
    if (topic->now.n > limits.messages || (limits.bytes > 0 && topic->now.bytes > limits.bytes) ||
        (limits.keeps_no_retained && topic->retained != NULL))
        sqlite_limit(b, topic, &limits);
    return 0;
}

static int
store_start(struct backend *b)
{
    sigset_t all, old;
    int r;

    /* Signals are the loop's. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&b->writer_thread, NULL, writer_main, b);
    if (r == 0) {
        r = pthread_create(&b->reader_thread, NULL, reader_main, b);
        if (r != 0) {
            (void)pthread_mutex_lock(&b->lock);
            b->is_stopping = true;
            (void)pthread_cond_signal(&b->writer_wake);
            (void)pthread_mutex_unlock(&b->lock);
            (void)pthread_join(b->writer_thread, NULL);
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    b->is_started = r == 0;
    return -r;
}

static int
sqlite_restore(struct backend *b)
{
    int r;

    assert(!b->is_started);
    list_for_each_safe(it, following, &b->recent)
    {
        r = restore_topic(b, list_entry(it, struct store_topic, in_recent));
        if (r < 0) {
            store_check_broken(b, r);
            return r;
        }
    }
    r = groups_restore(b);
    if (r < 0) {
        store_check_broken(b, r);
        return r;
    }
    return store_start(b);
}

static void
store_stop(struct backend *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->is_stopping = true;
    (void)pthread_cond_signal(&b->writer_wake);
    (void)pthread_cond_signal(&b->reader_wake);
    (void)pthread_mutex_unlock(&b->lock);
    (void)pthread_join(b->writer_thread, NULL);
    (void)pthread_join(b->reader_thread, NULL);
    b->is_started = false;
}

static void
sqlite_close(struct backend *b)
{
    store_end_ride(b);
    if (b->is_started)
        store_stop(b);
    store_take_all(b);
    read_cancel_all(b);
    while (b->w.musts != NULL) {
        struct command *c = b->w.musts;

        b->w.musts = c->next;
        take_command(b, c);
    }
    while (b->commands != NULL) { /* it was never started */
        struct command *c = b->commands;

        b->commands = c->next;
        take_command(b, c);
    }
    store_free(b);
}

static uint64_t
sqlite_epoch(const struct backend *b)
{
    return b->epoch;
}

static uint64_t
sqlite_last_seq(const struct backend *b)
{
    return b->last_seq;
}

/* ---- Topics, as the broker asks. ---- */

static int
sqlite_topic_open(struct backend *b, struct slice name, void *cookie, const struct store_limits *limits,
    struct store_topic **ret)
{
    struct store_topic *topic = store_topic_new(b, name);

    assert(b->is_started && !b->is_calling);
    if (topic == NULL)
        return -ENOMEM;
    if (limits->is_held && store_topic_extra(topic) == NULL) {
        store_topic_free(b, topic);
        return -ENOMEM;
    }
    topic->w.x = topic->x;
    topic->cookie = cookie;
    topic->limits = topic->w.limits = *limits;
    topic->now.evicted_seq = topic->w.now.evicted_seq = b->dropped_seq;
    topic->now.oldest_ms = topic->w.now.oldest_ms = OLDEST_UNKNOWN;
    list_push_front(&b->recent, &topic->in_recent);
    *ret = topic;
    return 0;
}

void
sqlite_limit(struct backend *b, struct store_topic *topic, const struct store_limits *limits)
{
    struct command *c = command_new(COMMAND_LIMIT, topic);

    if (c == NULL || (limits->is_held && store_topic_extra(topic) == NULL)) {
        free(c);
        return; /* no memory: the old limits stay */
    }
    topic->limits = *limits;
    if (limits->keeps_no_retained)
        topic_set_retained(topic, NULL);
    c->limits = *limits;
    topic->n_trims++;
    store_command(b, c);
}

static bool
is_same_limits(const struct store_limits *a, const struct store_limits *b)
{
    return a->messages == b->messages && a->age_ms == b->age_ms && a->bytes == b->bytes &&
           a->keeps_last_retained == b->keeps_last_retained && a->keeps_no_retained == b->keeps_no_retained &&
           a->is_held == b->is_held && a->is_unrecoverable == b->is_unrecoverable &&
           a->is_volatile == b->is_volatile;
}

static void
sqlite_topic_limit(struct backend *b, struct store_topic *topic, const struct store_limits *limits)
{
    assert(!b->is_calling);
    if (!is_same_limits(&topic->limits, limits))
        sqlite_limit(b, topic, limits);
}

/* The memory goes when the writer has dropped it too. */
static void
sqlite_topic_drop(struct backend *b, struct store_topic *topic)
{
    struct command *c = command_new(COMMAND_DROP, topic);

    assert(!b->is_calling && (topic->x == NULL || topic->x->n_groups == 0));
    if (topic->now.last_seq > b->dropped_seq && !topic->limits.is_unrecoverable)
        b->dropped_seq = topic->now.last_seq;
    cache_forget(b, topic);
    wide_forget(b, topic);
    topic->is_dropped = true;
    topic_set_retained(topic, NULL);
    b->stats.n_records -= topic->now.n;
    b->stats.n_bytes -= topic->now.bytes;
    topic->now.n = topic->now.bytes = 0;
    if (b->tick_at == &topic->in_recent)
        b->tick_at = topic->in_recent.next;
    list_remove(&topic->in_recent);
    if (c == NULL)
        return; /* it stays in the file, and in memory, until the next start */
    store_command(b, c);
}

static struct record *
sqlite_retained(struct backend *b, struct store_topic *topic)
{
    struct record *retained = topic->retained;

    return retained != NULL && !record_has_ended(b, retained) ? record_ref(retained) : NULL;
}

static bool
sqlite_topic_is_idle(struct backend *b, struct store_topic *topic)
{
    return topic->now.n == 0 && topic->now.n_aside == 0 && (topic->x == NULL || topic->x->n_groups == 0) &&
           (topic->retained == NULL || record_has_ended(b, topic->retained));
}

static void
sqlite_topic_stats(struct backend *b, const struct store_topic *topic, uint64_t *ret_last, uint64_t *ret_n,
    uint64_t *ret_bytes)
{
    if (ret_last != NULL)
        *ret_last = topic->now.last_seq;
    if (ret_n != NULL)
        *ret_n = topic->now.n;
    if (ret_bytes != NULL)
        *ret_bytes = topic->now.bytes;
}

/* ---- Appending. ---- */

static int
sqlite_append_take(struct backend *b, struct store_topic *topic, struct record *record,
    struct store_origin origin, void *cookie)
{
    size_t size = record_size(record);
    bool is_later = record->due_ms > loop_wall_ms(b->loop);
    struct command *c;

    assert(b->is_started && !b->is_calling);
    if (is_later && topic->limits.is_volatile) {
        record_unref(record);
        return -EINVAL;
    }
    if (b->n_queued >= b->options.queue_max ||
        (b->n_queued > 0 && b->bytes_queued + size > b->options.queue_bytes)) {
        record_unref(record);
        return -EAGAIN;
    }
    c = command_new(COMMAND_APPEND, topic);
    if (c == NULL || ((is_later || record->expires_ms != 0) && store_topic_extra(topic) == NULL)) {
        free(c);
        record_unref(record);
        return -ENOMEM;
    }
    record->time_ms = loop_wall_ms(b->loop);
    c->record = record;
    c->origin = origin;
    c->cookie = cookie;
    c->size = size;
    b->n_queued++;
    b->bytes_queued += size;
    store_command(b, c);
    return 0;
}

/* ---- Now and then. ---- */

static void
topic_trim_soon(struct backend *b, struct store_topic *topic)
{
    struct command *c = command_new(COMMAND_TRIM, topic);

    if (c == NULL)
        return;
    topic->n_trims++;
    store_command(b, c);
}

bool
store_trim_by_age(struct backend *b, struct store_topic *topic)
{
    if (topic->limits.age_ms == 0 || topic->now.n == 0 ||
        (topic->now.oldest_ms != OLDEST_UNKNOWN &&
            loop_wall_ms(b->loop) - topic->now.oldest_ms < (int64_t)topic->limits.age_ms))
        return false;
    if (topic->n_trims == 0)
        topic_trim_soon(b, topic);
    return topic->n_trims > 0;
}

static void
sqlite_tick(struct backend *b, unsigned budget)
{
    struct command *c;

    for (uint64_t n = b->stats.n_topics; n > 0 && budget > 0 && !list_empty(&b->recent); n--, budget--) {
        struct list *at = b->tick_at == &b->recent ? b->recent.next : b->tick_at;

        b->tick_at = at->next;
        (void)store_trim_by_age(b, list_entry(at, struct store_topic, in_recent));
        mark_again(b, list_entry(at, struct store_topic, in_recent));
    }
    if (b->is_ticking || loop_now_ms(b->loop) - b->ticked_ms < TICK_MS ||
        (c = command_new(COMMAND_TICK, NULL)) == NULL)
        return;
    b->is_ticking = true;
    b->ticked_ms = loop_now_ms(b->loop);
    store_command(b, c);
}

static void
sqlite_stats(const struct backend *b, struct store_stats *ret)
{
    *ret = b->stats;
}

static void
sqlite_configure(struct backend *b, const void *conf)
{
    struct command *c = command_new(COMMAND_CONFIGURE, NULL);
    const struct sqlite_options *options = conf;

    if (c == NULL)
        return; /* no memory: the old options stay */
    b->options.cache_bytes = options->cache_bytes;
    b->options.queue_max = options->queue_max;
    b->options.queue_bytes = options->queue_bytes;
    cache_shrink(b);
    c->options = *options;
    c->options.path = NULL;
    store_command(b, c);
}

const struct backend_ops backend_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .restore = sqlite_restore,
    .close = sqlite_close,
    .epoch = sqlite_epoch,
    .last_seq = sqlite_last_seq,
    .topic_open = sqlite_topic_open,
    .topic_limit = sqlite_topic_limit,
    .topic_drop = sqlite_topic_drop,
    .topic_is_idle = sqlite_topic_is_idle,
    .topic_hold = sqlite_topic_hold,
    .topic_trim = sqlite_topic_trim,
    .group_open = sqlite_group_open,
    .group_drop = sqlite_group_drop,
    .group_save = sqlite_group_save,
    .append_take = sqlite_append_take,
    .read = read_start,
    .retained = sqlite_retained,
    .topic_stats = sqlite_topic_stats,
    .tick = sqlite_tick,
    .stats = sqlite_stats,
    .configure = sqlite_configure,
};
