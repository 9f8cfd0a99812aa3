/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker with a store that answers later: the memory backend behind a queue that is served some turns of
 * the loop after it was filled, and that is full at times. What a store with a thread or a server behind it
 * does to the broker can so be tested without one. It takes the arguments of busbar-broker. SIGUSR1: from now
 * on it can keep nothing, and again: it can.
 *
 * It ends at once if it is told of a dead letter before it has kept that the item is over.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/proc.h"
#include "broker/broker.h"
#include "broker/headers.h"
#include "broker/queuecore.h"

#define LATE_TURNS 3u /* from the first that is queued */
#define LATE_MAX 30u  /* appends: more are turned away */

/* What a read found, told some turns later, when more may have been appended. */
struct late_event {
    struct record *record; /* NULL: a gap */
    void *topic;
    uint64_t seq;
};

struct late_task {
    struct late_task *next;
    struct store_topic *topic; /* NULL: it is a save or a read */
    bool is_save;
    struct store_item *items; /* of a save */
    size_t n_items;
    bool is_read; /* and its results are in events */
    struct late_event *events;
    size_t n_events, events_room;
    int error;
    uint64_t upto;
    bool is_cut_short;
    struct record *record;
    struct store_origin origin;
    void *cookie;
    struct store_read read;
};

/* struct backend is memory's: this stands beside it, one for the process. */
struct late {
    struct loop *loop;
    struct backend *memory;
    struct store_host host;
    struct late_task *first, **last;
    unsigned n_appends, n_turns;
    struct loop_hook hook;
    struct store_item items[64]; /* by seq, as they were kept last */
};

static volatile sig_atomic_t is_failing;

static struct late late; /* a program for tests: there is one broker in it */

static void late_queue(const struct late_task *task);

static void
late_add_event(struct late_task *task, struct late_event event)
{
    if (task->n_events == task->events_room) {
        task->events_room = task->events_room * 2 + 16;
        task->events = realloc(task->events, task->events_room * sizeof(task->events[0]));
        assert(task->events != NULL);
    }
    task->events[task->n_events++] = event;
}

static bool
late_wants(void *topic, void *arg)
{
    struct late_task *task = arg;

    return task->read.wants(topic, task->read.arg);
}

static void
late_on_record(struct record *record, void *arg)
{
    late_add_event(arg, (struct late_event){.record = record_ref(record)});
}

static void
late_on_gap(void *topic, uint64_t seq, void *arg)
{
    late_add_event(arg, (struct late_event){.topic = topic, .seq = seq});
}

static void
late_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct late_task *task = arg;

    task->is_read = true;
    task->error = error;
    task->upto = upto;
    task->is_cut_short = is_cut_short;
    late_queue(task);
}

static void
late_read_now(struct late_task *task)
{
    struct store_read read = task->read;
    int r;

    read.wants = late_wants;
    read.on_record = late_on_record;
    read.on_gap = late_on_gap;
    read.on_done = late_on_done;
    read.arg = task;
    r = backend_memory.read(late.memory, &read);
    assert(r == 0);
}

static void
late_tell(struct late_task *task)
{
    const struct store_read *read = &task->read;

    for (size_t i = 0; i < task->n_events; i++) {
        struct late_event *event = &task->events[i];

        if (event->record == NULL) {
            read->on_gap(event->topic, event->seq, read->arg);
            continue;
        }
        read->on_record(event->record, read->arg);
        record_unref(event->record);
    }
    free(task->events);
    read->on_done(task->error, task->upto, task->is_cut_short, read->arg);
}

/* ---- Saves. ---- */

static struct store_item *
late_item(uint64_t seq)
{
    return seq < sizeof(late.items) / sizeof(late.items[0]) ? &late.items[seq] : NULL;
}

static void
late_save_now(struct late_task *task)
{
    for (size_t i = 0; i < task->n_items && !is_failing; i++)
        if (late_item(task->items[i].seq) != NULL)
            *late_item(task->items[i].seq) = task->items[i];
    free(task->items);
    if (task->cookie != NULL)
        late.host.on_saved(task->cookie, is_failing ? -ENOSPC : 0, late.host.arg);
}

static int
late_group_save(struct backend *b, struct store_group *group, const struct store_item *items, size_t n,
    const struct store_group_state *state, void *cookie)
{
    struct store_item *copy = malloc((n + 1) * sizeof(*copy));

    assert(copy != NULL);
    if (n > 0)
        memcpy(copy, items, n * sizeof(*copy));
    late_queue(&(struct late_task){.is_save = true, .items = copy, .n_items = n, .cookie = cookie});
    return backend_memory.group_save(b, group, NULL, 0, state, NULL);
}

static void
check_letter(const struct record *record)
{
    struct slice once = record_once(record);
    struct slice deliveries = headers_find(record_headers(record), "busbar-deliveries");
    const struct store_item *item;
    char text[RECORD_ONCE_MAX + 1], known[16];
    uint64_t seq;

    (void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(once));
    if (sscanf(text, "dead-%*x-%*x-%" SCNx64, &seq) != 1 || (item = late_item(seq)) == NULL)
        return;
    (void)snprintf(known, sizeof(known), "%u", item->n_deliveries & QUEUECORE_DELIVERIES);
    if (item->state == ITEM_READY && slice_equal(deliveries, slice_str(known)))
        return;
    log_error("a dead letter comes before what it is about, %" PRIu64 ", is known to be over", seq);
    abort();
}

/* ---- Turns. ---- */

static void
late_serve(void)
{
    struct late_task *task = late.first;

    late.first = NULL;
    late.last = &late.first;
    late.n_appends = 0;
    while (task != NULL) {
        struct late_task *next = task->next;

        if (task->topic != NULL && is_failing) {
            late.host.on_appended(task->cookie, -ENOSPC, APPEND_OK, 0, late.host.arg);
            record_unref(task->record);
        } else if (task->topic != NULL) {
            int r = backend_memory.append_take(
                late.memory, task->topic, task->record, task->origin, task->cookie);

            assert(r == 0);
        } else if (task->is_save) {
            late_save_now(task);
        } else if (task->is_read) {
            late_tell(task);
        } else {
            late_read_now(task);
        }
        free(task);
        task = next;
    }
}

static void
late_on_turn(void *arg)
{
    if (++late.n_turns >= LATE_TURNS)
        late_serve();
    if (late.first != NULL)
        loop_defer(late.loop, &late.hook);
}

static void
late_queue(const struct late_task *task)
{
    struct late_task *copy = malloc(sizeof(*copy));

    assert(copy != NULL);
    *copy = *task;
    copy->next = NULL;
    if (late.first == NULL)
        late.n_turns = 0;
    *late.last = copy;
    late.last = &copy->next;
    loop_defer(late.loop, &late.hook);
}

static int
late_open(const void *conf, struct loop *loop, const struct store_host *host, struct backend **ret)
{
    int r = backend_memory.open(conf, loop, host, &late.memory);

    late.loop = loop;
    late.host = *host;
    late.last = &late.first;
    late.hook = (struct loop_hook){.fn = late_on_turn};
    *ret = late.memory;
    return r;
}

static void
late_close(struct backend *b)
{
    while (late.first != NULL)
        late_serve();
    loop_cancel(late.loop, &late.hook);
    backend_memory.close(b);
}

static int
late_append_take(struct backend *b, struct store_topic *topic, struct record *record,
    struct store_origin origin, void *cookie)
{
    check_letter(record);
    if (late.n_appends >= LATE_MAX) {
        record_unref(record);
        return -EAGAIN;
    }
    late.n_appends++;
    late_queue(&(struct late_task){.topic = topic, .record = record, .origin = origin, .cookie = cookie});
    return 0;
}

static int
late_read(struct backend *b, const struct store_read *read)
{
    late_queue(&(struct late_task){.read = *read});
    return 0;
}

static void
late_on_signal(int number)
{
    (void)number;
    is_failing = !is_failing;
}

int
main(int argc, char **argv)
{
    struct broker_config config = {0};
    struct backend_ops ops = backend_memory;
    struct broker *broker;
    struct proc_args args;
    int code;

    ops.name = "late";
    ops.open = late_open;
    ops.close = late_close;
    ops.append_take = late_append_take;
    ops.group_save = late_group_save;
    ops.read = late_read;
    if (proc_args_parse(&args, argc, argv, "broker", "A broker for tests.", &code) != 0)
        return code;
    if (broker_config_load(&config, args.config, args.set, args.n_set) < 0)
        return PROC_EXIT_CONFIG;
    log_open(args.instance);
    log_options_apply(&config.log);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGUSR1, late_on_signal);
    config.store_ops = &ops;
    code = broker_new(&config, args.config, args.set, args.n_set, &broker);
    if (code != 0)
        return code;
    code = broker_run(broker);
    broker_free(broker);
    return code;
}
