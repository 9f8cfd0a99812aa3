/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a topic and a filter cost the broker, and how long it takes to find who wants a message: a real broker
 * in this process, without links, filled with as many as are asked for. Clients do not occur: the broker
 * knows none. And how evenly it takes them: the longest that a few of them in a row took, which is what a
 * table that grows costs who comes just then.
 *
 *     busbar-scale [TOPICS [FILTERS]]        1000000 and 100000
 */
#include "config.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "broker/broker.h"
#include "broker/publish.h"

#define LOOKUPS 1000000u
#define FEW 64u /* so that asking the clock does not show */

static uint64_t
now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double
heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return (double)m.uordblks + (double)m.hblkhd;
}

static void
report(const char *what, double bytes, uint64_t ns, unsigned n)
{
    (void)printf("| %s | ", what);
    if (bytes >= 0)
        (void)printf("%.0f", bytes / n);
    (void)printf(" | %.0f |\n", (double)ns / n);
}

static struct slice
name_of(char name[64], unsigned i)
{
    return slice_of(name, (size_t)snprintf(name, 64, "site/%u/room/%u/temperature", i / 100, i));
}

static unsigned
shuffled(unsigned i, unsigned n)
{
    return (unsigned)((i * 2654435761ull) % n);
}

/* Of stretches of FEW. */
struct stretch {
    uint64_t began, longest;
};

static void
stretch_pass(struct stretch *s, unsigned i)
{
    uint64_t now;

    if (i % FEW != 0)
        return;
    now = now_ns();
    if (i > 0 && now - s->began > s->longest)
        s->longest = now - s->began;
    s->began = now;
}

static void
stretch_report(const struct stretch *s)
{
    (void)printf("| the longest that %u in a row took: %.2f ms | | |\n", FEW, (double)s->longest / 1e6);
}

static void
add_topics(struct broker *broker, unsigned n)
{
    double before = heap_bytes();
    uint64_t began = now_ns();
    struct stretch stretch = {0};
    char name[64];

    for (unsigned i = 0; i < n; i++) {
        struct topic *topic;

        stretch_pass(&stretch, i);
        if (topic_get(broker, name_of(name, i), &topic) < 0)
            abort();
    }
    report("a topic that keeps nothing", heap_bytes() - before, now_ns() - began, n);
    stretch_report(&stretch);
}

static void
find_topics(struct broker *broker, unsigned n)
{
    uint64_t began = now_ns();
    char name[64];

    for (unsigned i = 0; i < LOOKUPS; i++) {
        if (topic_find(broker, name_of(name, shuffled(i, n))) == NULL)
            abort();
    }
    report("finding a topic by name", -1, now_ns() - began, LOOKUPS);
}

static void
add_messages(struct broker *broker, unsigned n)
{
    static const uint8_t body[100] = {'"'};
    double before = heap_bytes();
    uint64_t began = now_ns();
    struct stretch stretch = {0};
    char name[64];

    for (unsigned i = 0; i < n; i++) {
        stretch_pass(&stretch, i);
        publish_own(broker, name_of(name, i), slice_of(body, sizeof body));
    }
    report("a message of 100 bytes, kept and retained", heap_bytes() - before, now_ns() - began, n);
    stretch_report(&stretch);
}

/* Of ten filters eight name a topic, one has a wildcard for its last level, one in the middle. */
static void
add_filters(struct broker *broker, unsigned n)
{
    double before = heap_bytes();
    uint64_t began = now_ns();
    struct stretch stretch = {0};
    char name[64];

    for (unsigned i = 0; i < n; i++) {
        struct interest_filter *filter;
        struct slice text = name_of(name, i);
        int r;

        stretch_pass(&stretch, i);
        if (i % 10 == 8)
            text = slice_of(name, (size_t)snprintf(name, sizeof name, "site/%u/room/%u/#", i / 100, i));
        else if (i % 10 == 9)
            text = slice_of(name, (size_t)snprintf(name, sizeof name, "site/+/room/%u/temperature", i));
        r = interest_add(&broker->interest, i % 8, text, &filter);
        if (r < 0)
            abort();
    }
    report("a filter", heap_bytes() - before, now_ns() - began, n);
    stretch_report(&stretch);
}

static void
ask_links(struct broker *broker, unsigned n, const char *what)
{
    uint64_t began = now_ns();
    struct topics *t = &broker->topics;

    for (unsigned i = 0; i < n; i++)
        (void)topic_links(broker, t->by_handle[shuffled(i, n)]);
    report(what, -1, now_ns() - began, n);
}

int
main(int argc, char **argv)
{
    unsigned n_topics = argc > 1 ? (unsigned)atoi(argv[1]) : 1000000;
    unsigned n_filters = argc > 2 ? (unsigned)atoi(argv[2]) : 100000;
    char dir[] = "/tmp/busbar-scale.XXXXXX", runtime_dir[64], command[64];
    const char *set[] = {
        runtime_dir, "broker.backend=memory", "broker.topics_max=100000000", "log.level=error"};
    struct broker_config config = {0};
    struct broker *broker;

    if (n_topics == 0 || n_filters == 0 || mkdtemp(dir) == NULL)
        return 1;
    (void)snprintf(runtime_dir, sizeof runtime_dir, "runtime_dir=%s", dir);
    if (broker_config_load(&config, NULL, set, 4) < 0)
        return 1;
    log_options_apply(&config.log);
    if (broker_new(&config, NULL, set, 4, &broker) != 0)
        return 1;
    (void)printf(
        "%u topics, %u filters\n\n| | bytes of the heap | ns |\n|---|---|---|\n", n_topics, n_filters);
    add_topics(broker, n_topics);
    find_topics(broker, n_topics);
    add_messages(broker, n_topics); /* before there are filters: the links that hold them are not there */
    ask_links(broker, n_topics, "who wants it: nobody wants anything");
    add_filters(broker, n_filters);
    ask_links(broker, n_topics, "who wants it: found among the filters");
    ask_links(broker, n_topics, "who wants it: known");
    broker_free(broker);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : 1;
}
