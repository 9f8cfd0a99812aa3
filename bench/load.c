/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator: one process, one epoll loop, any number of publishers and subscribers, for Busbar and
 * for the peers that it is measured beside. A publisher has at most --window messages in flight, a message
 * being done when every subscriber of its topic has it; with --rate it publishes so many a second, and times
 * count from when a message was due. Each subscriber's streams are checked for loss, repetition and order; a
 * run in which one is wrong ends with exit code 1. The result is one line of JSON.
 *
 *     busbar-load fanout   --proto busbar-ws --port 8081 --subs 1000 --window 32 --pid 123 --pid 124
 *     busbar-load pairs    --proto nats --port 4222 --topics 1000       a publisher and a subscriber for each
 * topic busbar-load filters  --proto mqtt --port 1883 --subs 1000 --per-client 100 --topics 10000 busbar-load
 * topics   --proto redis --port 6379 --topics 1000000   one publisher, one wildcard subscriber busbar-load
 * acks     --proto jetstream --port 4222 --topics 100   publishers only; times are the answers' busbar-load
 * requests --proto nats --port 4222 --topics 10 --subs 1    requesters and responders busbar-load queue
 * --proto amqp --port 5672 --publishers 2 --subs 10    consumers share what comes busbar-load idle --proto
 * nchan --port 8000 --subs 10000       prints "ready", waits for a line, ends
 *
 * loadnet.c has the sockets, loadcount.c the books; what is particular to a protocol is in loadbusbar.c,
 * loadpeers.c, loadnats.c and loadamqp.c.
 */
#include "config.h"

#include "bench/load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_PIDS 32
#define SETTLE_S 0.3 /* nchan answers the upgrade before it has subscribed */
#define ROUNDS_NS 120000000000ull
#define DRAIN_NS 20000000000ull

struct load_option option = {.host = "127.0.0.1",
    .n_subs = 1000,
    .n_topics = 1,
    .n_publishers = 1,
    .per_client = 1,
    .window = 1,
    .n_opening = 200, /* some peers have a short listen queue */
    .size = 100,
    .seconds = 5,
    .warm_up = 1,
    .slow_bytes = 10000};
struct load_run run;

static const struct protocol *const tables[] = {
    busbar_protocols, cable_protocols, peer_protocols, nats_protocols, amqp_protocols};
static int pids[MAX_PIDS];
static int n_pids;

/* ---- CPU time ---- */

/* User and system time of a process measured, in seconds. */
static double
cpu_seconds_of(int pid)
{
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(text, sizeof text, f) == NULL)
        load_die("process %d is gone", pid);
    (void)fclose(f);
    unsigned long user, system;
    const char *after = strrchr(text, ')');
    if (after == NULL ||
        sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        load_die("/proc/%d/stat is strange", pid);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double
cpu_seconds(double each[MAX_PIDS])
{
    double sum = 0;
    for (int i = 0; i < n_pids; i++)
        sum += each[i] = cpu_seconds_of(pids[i]);
    return sum;
}

static double
own_cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- The scenarios: who subscribes to what ---- */

struct layout {
    const char *name;
    uint32_t n_streams, n_topics; /* 0: --topics */
    uint32_t n_subs, n_publishers;
    uint32_t streams_per_sub; /* sub i has those from i * streams_per_sub on */
    bool is_acks, is_wild, has_one_topic, is_group;
};

static struct layout
layout_of(const char *scenario)
{
    uint32_t subs = option.n_subs, topics = option.n_topics, publishers = option.n_publishers;
    const struct layout all[] = {
        {"fanout", 1, 1, subs, 1, 1, .is_acks = false},
        {"pairs", topics, 1, topics, topics, 1, .is_acks = false},
        {"filters", topics, 1, subs, publishers, option.per_client, .is_acks = false},
        {"topics", 1, topics, subs, 1, 1, .is_wild = true},
        {"acks", topics, 1, 0, topics, 1, .is_acks = true},
        {"requests", topics, 1, subs, topics, 1, .is_acks = true, .has_one_topic = true},
        {"queue", publishers, 1, subs, publishers, 1, .has_one_topic = true, .is_group = true},
        {"idle", topics, 1, subs, 0, option.per_client, .is_acks = false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, scenario) == 0)
            return all[i];
    return (struct layout){.name = NULL};
}

static void
lay_out_streams(const struct layout *l)
{
    run.n_streams = l->n_streams;
    run.n_topics = l->n_topics;
    run.streams = net_alloc(NULL, run.n_streams * sizeof *run.streams);
    for (uint32_t i = 0; i < run.n_streams && l->n_publishers > 0; i++) {
        run.streams[i].missing = net_alloc(NULL, option.window * sizeof *run.streams[i].missing);
        run.streams[i].sent_ns = net_alloc(NULL, option.window * sizeof *run.streams[i].sent_ns);
        run.streams[i].n_subs = l->is_group ? 1 : 0;
    }
}

/* Subscribers first, the slow ones at the front; then publishers. */
static void
lay_out_clients(const struct layout *l)
{
    uint32_t share = l->n_publishers > 0 ? l->n_streams / l->n_publishers : 0;

    run.n_clients = l->n_subs + l->n_publishers;
    run.clients = net_alloc(NULL, run.n_clients * sizeof *run.clients);
    for (uint32_t i = 0; i < run.n_clients; i++) {
        struct client *c = &run.clients[i];
        c->number = i;
        if (i < l->n_subs) {
            c->is_slow = i < option.n_slow;
            c->stream = l->has_one_topic ? 0 : i * l->streams_per_sub % l->n_streams;
            c->n_streams = l->streams_per_sub;
            c->next = net_alloc(NULL, c->n_streams * sizeof *c->next);
            for (uint32_t k = 0; k < c->n_streams && !c->is_slow && !l->has_one_topic; k++)
                run.streams[load_topic(c, k)].n_subs++;
        } else {
            c->is_publisher = true;
            c->stream = (i - l->n_subs) * share;
            c->n_streams = share;
            for (uint32_t k = 0; k < share; k++)
                run.streams[c->stream + k].publisher = c;
        }
    }
}

static void
lay_out(const struct layout *l)
{
    const struct protocol *p = option.protocol;

    if (l->is_acks ? p->publish_asking == NULL : l->n_publishers > 0 && p->publish == NULL)
        load_die("%s cannot do %s", p->name, l->name);
    if (l->is_wild && p->wild == NULL)
        load_die("%s has no wildcards", p->name);
    if (l->n_publishers > l->n_streams || (l->n_publishers > 0 && l->n_streams % l->n_publishers != 0) ||
        l->streams_per_sub > l->n_streams || option.n_slow >= (l->n_subs > 0 ? l->n_subs : 1))
        load_die("these numbers do not fit each other");
    run.is_acks = l->is_acks;
    run.is_wild = l->is_wild;
    run.is_group = l->is_group;
    run.has_one_topic = l->has_one_topic;
    option.n_subs = l->n_subs;
    option.n_publishers = l->n_publishers;
    lay_out_streams(l);
    lay_out_clients(l);
}

/* ---- Measuring ---- */

/* Everything sent must arrive: waits for the rest. */
static void
drain(void)
{
    uint64_t end = net_now_ns() + DRAIN_NS;
    run.is_over = true;
    for (uint32_t i = 0; i < run.n_streams; i++) {
        while (run.streams[i].done < run.streams[i].sent) {
            if (net_now_ns() > end)
                load_die("%llu messages of stream %u were not delivered to everybody",
                    (unsigned long long)(run.streams[i].sent - run.streams[i].done), i);
            net_turn(net_now_ns() + 50000000u);
        }
    }
}

/* What the slow ones got while they were slow, and what they never got. */
static void
report_slow(void)
{
    uint64_t taken = run.n_slow_taken;

    net_speed_up();
    for (uint32_t i = 0; i < option.n_slow; i++) {
        if (!run.clients[i].is_gone)
            run.n_slow_dropped += run.streams[0].sent - run.clients[i].next[0];
    }
    (void)printf("\"slow_taken\":%llu,\"slow_lost\":%llu,\"slow_gone\":%llu,", (unsigned long long)taken,
        (unsigned long long)run.n_slow_dropped, (unsigned long long)run.n_slow_gone);
}

/* Until each topic has had a message, too. */
static void
warm_up(void)
{
    run.is_started = true;
    for (uint32_t i = run.n_clients - option.n_publishers; i < run.n_clients; i++)
        net_pump_later(&run.clients[i]);
    net_turn(net_now_ns());
    net_run(option.warm_up);
    while (run.streams[0].done < run.n_topics)
        net_run(0.05);
}

static void
report_pids(const double before[], const double after[])
{
    (void)printf("\"cpu_s_by_pid\":[");
    for (int i = 0; i < n_pids; i++)
        (void)printf("%s%.2f", i > 0 ? "," : "", after[i] - before[i]);
    (void)printf("],");
}

static void
report_times(void)
{
    samples_sort(&latencies);
    samples_sort(&completions);
    (void)printf("\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"last_p50_us\":%.1f,"
                 "\"last_p99_us\":%.1f",
        samples_percentile_us(&latencies, 0.5), samples_percentile_us(&latencies, 0.95),
        samples_percentile_us(&latencies, 0.99), samples_percentile_us(&latencies, 1),
        samples_percentile_us(&completions, 0.5), samples_percentile_us(&completions, 0.99));
}

static void
measure(double connect_s, double connect_cpu_s)
{
    double before[MAX_PIDS], after[MAX_PIDS];

    warm_up();
    if (option.n_slow > 0)
        net_slow_down();
    double cpu = cpu_seconds(before), own = own_cpu_seconds();
    uint64_t began = net_now_ns();
    run.is_measuring = true;
    net_run(option.seconds);
    double seconds = (double)(net_now_ns() - began) / 1e9;
    run.is_measuring = false;
    cpu = cpu_seconds(after) - cpu;
    own = own_cpu_seconds() - own;
    drain();

    double millions = (double)run.n_deliveries / 1e6;
    (void)printf(
        "{\"scenario\":\"%s\",\"proto\":\"%s\",\"subs\":%u,\"topics\":%u,\"window\":%u,\"size\":%zu,"
        "\"seconds\":%.3f,\"deliveries\":%llu,\"deliveries_per_s\":%.0f,\"published_per_s\":%.0f,"
        "\"cpu_s_per_million\":%.3f,\"generator_cpu_s\":%.2f,\"connect_s\":%.3f,\"connect_cpu_s\":%.2f,",
        option.scenario, option.protocol->name, option.n_subs, option.n_topics, option.window, option.size,
        seconds, (unsigned long long)run.n_deliveries, (double)run.n_deliveries / seconds,
        (double)run.n_published / seconds, millions > 0 ? cpu / millions : 0.0, own, connect_s,
        connect_cpu_s);
    report_pids(before, after);
    if (option.n_slow > 0)
        report_slow();
    report_times();
    (void)printf("}\n");
}

/* Publishes --window messages, waits until all were delivered, and so on: each run does exactly the same
 * work. */
static void
run_rounds(void)
{
    uint64_t n = (uint64_t)option.n_rounds * option.window, end = net_now_ns() + ROUNDS_NS;

    run.is_started = run.is_measuring = true;
    for (uint32_t i = run.n_clients - option.n_publishers; i < run.n_clients; i++)
        net_pump_later(&run.clients[i]);
    for (uint32_t i = 0; i < run.n_streams; i++) {
        while (run.streams[i].done < n) {
            if (net_now_ns() > end)
                load_die("the rounds took too long: a message was lost");
            net_turn(net_now_ns() + 50000000u);
        }
    }
    (void)printf("{\"scenario\":\"%s\",\"proto\":\"%s\",\"messages\":%llu,\"deliveries\":%llu}\n",
        option.scenario, option.protocol->name, (unsigned long long)(n * run.n_streams),
        (unsigned long long)run.n_deliveries);
}

/* ---- Options ---- */

static void
usage(FILE *to)
{
    (void)fprintf(to,
        "usage: busbar-load fanout|pairs|filters|topics|acks|requests|queue|idle --proto NAME --port N "
        "[option]...\n"
        "  --host ADDRESS   IPv4, %s\n"
        "  --publish-port N publishers connect there\n"
        "  --subs N         subscribers, %u; pairs: one for each topic\n"
        "  --topics N       topics, %u; pairs, acks, requests: with a publisher each\n"
        "  --publishers N   of filters and queue, %u\n"
        "  --per-client N   topics that each subscriber has (filters, idle), %u\n"
        "  --window N       messages in flight for each publisher, %u\n"
        "  --rate N         publish so many messages a second, all publishers together, rather than all that "
        "--window lets\n"
        "  --rounds N       publish --window messages, wait until all are delivered, N times, and end; no "
        "times\n"
        "  --slow N         so many of the subscribers read --slow-bytes a second each, %.0f, and may lose "
        "messages\n"
        "  --opening N      connections that are being opened at once, %u\n"
        "  --size N         payload bytes, %zu (%d at least)\n"
        "  --seconds S      how long to measure, %g;  --warm-up S  before that, %g\n"
        "  --tls            over TLS 1.3, whatever the server's certificate says\n"
        "  --pid N          a server process whose CPU time counts (repeat)\n"
        "protocols:",
        option.host, option.n_subs, option.n_topics, option.n_publishers, option.per_client, option.window,
        option.slow_bytes, option.n_opening, option.size, MARK_BYTES, option.seconds, option.warm_up);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct protocol *p = tables[i]; p->name != NULL; p++)
            (void)fprintf(to, " %s", p->name);
    (void)fputc('\n', to);
}

static const struct protocol *
find_protocol(const char *name)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct protocol *p = tables[i]; p->name != NULL; p++)
            if (strcmp(p->name, name) == 0)
                return p;
    return NULL;
}

static void
take_option(int o)
{
    const struct {
        int letter;
        uint32_t *number;
    } numbers[] = {{'s', &option.n_subs}, {'t', &option.n_topics}, {'w', &option.window},
        {'b', &option.n_publishers}, {'c', &option.per_client}, {'n', &option.n_slow},
        {'R', &option.n_rounds}, {'o', &option.n_opening}};
    const struct {
        int letter;
        double *number;
    } doubles[] = {
        {'S', &option.seconds}, {'W', &option.warm_up}, {'r', &option.rate}, {'y', &option.slow_bytes}};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].letter == o)
            *numbers[i].number = (uint32_t)atoi(optarg);
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        if (doubles[i].letter == o)
            *doubles[i].number = atof(optarg);
    if (o == 'p')
        option.protocol = find_protocol(optarg);
    else if (o == 'h')
        option.host = optarg;
    else if (o == 'P')
        option.port = atoi(optarg);
    else if (o == 'Q')
        option.publish_port = atoi(optarg);
    else if (o == 'T')
        option.is_tls = true;
    else if (o == 'z')
        option.size = (size_t)atoi(optarg);
    else if (o == 'i' && n_pids < MAX_PIDS)
        pids[n_pids++] = atoi(optarg);
}

static struct layout
parse(int argc, char **argv)
{
    static const struct option longs[] = {{"proto", 1, NULL, 'p'}, {"host", 1, NULL, 'h'},
        {"port", 1, NULL, 'P'}, {"publish-port", 1, NULL, 'Q'}, {"subs", 1, NULL, 's'},
        {"topics", 1, NULL, 't'}, {"publishers", 1, NULL, 'b'}, {"per-client", 1, NULL, 'c'},
        {"window", 1, NULL, 'w'}, {"rate", 1, NULL, 'r'}, {"slow", 1, NULL, 'n'},
        {"slow-bytes", 1, NULL, 'y'}, {"size", 1, NULL, 'z'}, {"seconds", 1, NULL, 'S'},
        {"warm-up", 1, NULL, 'W'}, {"rounds", 1, NULL, 'R'}, {"opening", 1, NULL, 'o'}, {"pid", 1, NULL, 'i'},
        {"tls", 0, NULL, 'T'}, {"help", 0, NULL, 'H'}, {NULL, 0, NULL, 0}};
    struct layout layout = {.name = NULL};

    for (int o; (o = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (o == 'H' || o == '?') {
            usage(o == 'H' ? stdout : stderr);
            exit(o == 'H' ? 0 : 2);
        }
        take_option(o);
    }
    if (optind + 1 == argc)
        layout = layout_of(option.scenario = argv[optind]);
    if (layout.name == NULL || option.protocol == NULL || option.port == 0 || option.n_topics == 0 ||
        option.window == 0 || option.size < MARK_BYTES || option.size > MAX_PAYLOAD) {
        usage(stderr);
        exit(2);
    }
    return layout;
}

int
main(int argc, char **argv)
{
    struct layout layout = parse(argc, argv);
    struct rlimit files;
    double each[MAX_PIDS];

    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    lay_out(&layout);
    net_start();
    count_start();
    uint64_t began = net_now_ns();
    double cpu = cpu_seconds(each);
    net_connect_all();
    double connect_s = (double)(net_now_ns() - began) / 1e9, connect_cpu_s = cpu_seconds(each) - cpu;
    net_run(SETTLE_S);
    if (option.n_rounds > 0) {
        run_rounds();
        return 0;
    }
    if (strcmp(layout.name, "idle") != 0) {
        measure(connect_s, connect_cpu_s);
        return 0;
    }
    (void)printf(
        "ready {\"clients\":%u,\"seconds\":%.3f,\"cpu_s\":%.2f}\n", run.n_clients, connect_s, connect_cpu_s);
    (void)fflush(stdout);
    (void)getchar();
    return 0;
}
