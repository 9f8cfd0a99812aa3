/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator: one process, one epoll loop, any number of publishers and subscribers, for Busbar and
 * for the peers that it is measured beside. Closed loop: a publisher has at most --window messages in flight,
 * a message being done when every subscriber of its topic has it. Each subscriber's stream is checked for
 * loss, repetition and order; a run in which one is wrong ends with exit code 1. The result is one line of
 * JSON.
 *
 *     busbar-load fanout --proto busbar-ws --port 8081 --subs 1000 --window 32 --pid 123 --pid 124
 *     busbar-load pairs  --proto nats --port 4222 --topics 1000
 *     busbar-load acks   --proto redis --port 6379 --topics 100      (100 publishers, no subscribers; latency
 * is the answer's) busbar-load idle   --proto nchan --port 8000 --subs 10000      (prints "ready", waits for
 * a line, ends)
 *
 * What is particular to a protocol is in loadproto.c.
 */
#include "config.h"

#include "bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)
#define MAX_PIDS 32
#define MAX_SAMPLES (1u << 20)
#define MAX_PAYLOAD 65536
/* Connections that are being opened at once: some peers have a short listen queue. */
#define MAX_OPENING 200

struct topic {
    struct client *publisher;
    uint32_t n_subs;
    uint64_t sent, done; /* messages published; delivered to every subscriber */
    uint32_t *missing;   /* ring of --window: how many subscribers have yet to get a message; acks: 1 or 0 */
    uint64_t *sent_ns;   /* ring of --window */
};

static struct {
    const struct protocol *protocol;
    const char *host;
    int port, publish_port; /* the second: 0 for the same */
    uint32_t n_subs, n_topics, window;
    size_t size;
    double seconds, warm_up;
    int pids[MAX_PIDS];
    int n_pids;
} option = {
    .host = "127.0.0.1", .n_subs = 1000, .n_topics = 1, .window = 1, .size = 100, .seconds = 5, .warm_up = 1};

static struct {
    int epoll_fd;
    struct client *clients;
    struct topic *topics;
    uint32_t n_clients, n_ready;
    bool is_measuring, is_over;
    bool is_acks; /* a message is done when it was acknowledged; deliveries are acknowledgements */
    uint64_t n_deliveries, n_published, latency_sum_ns;
    uint64_t n_samples, n_seen;
    uint32_t *samples_ns;
    uint64_t random;
} run = {.random = 88172645463325252ull};

void
load_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("busbar-load: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static uint64_t
now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *
grow(void *p, size_t n)
{
    p = realloc(p, n);
    if (p == NULL)
        load_die("out of memory");
    return p;
}

static void
watch(struct client *c, bool for_write)
{
    struct epoll_event e = {.events = EPOLLIN | (for_write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(run.epoll_fd, EPOLL_CTL_MOD, c->fd, &e) != 0)
        load_die("epoll_ctl: %s", strerror(errno));
}

/* Writes what it can and keeps the rest. */
void
load_write(struct client *c, const void *data, size_t n)
{
    const uint8_t *p = data;
    if (c->out_n == 0) {
        ssize_t done = send(c->fd, p, n, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN && errno != ENOTCONN)
            load_die("the server closed a connection while it was written to: %s", strerror(errno));
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
        if (n > 0)
            watch(c, true);
    }
    if (n > 0) {
        if (c->out_n + n > c->out_cap)
            c->out = grow(c->out, c->out_cap = (c->out_n + n) * 2);
        memcpy(c->out + c->out_n, p, n);
        c->out_n += n;
    }
}

static void
flush_out(struct client *c)
{
    if (c->out_n > 0) {
        ssize_t done = send(c->fd, c->out, c->out_n, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN)
            load_die("the server closed a connection while it was written to: %s", strerror(errno));
        if (done > 0) {
            memmove(c->out, c->out + done, c->out_n - (size_t)done);
            c->out_n -= (size_t)done;
        }
    }
    if (c->out_n == 0)
        watch(c, false);
}

static void
open_client(struct client *c)
{
    int port = c->is_publisher && option.publish_port != 0 ? option.publish_port : option.port;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;

    (void)inet_pton(AF_INET, option.host, &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        load_die("socket: %s (raise `ulimit -n`?)", strerror(errno));
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* One loopback address has 28,000 ports; spread the clients over more of them. */
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000001u + (uint32_t)((c - run.clients) / 20000));
    (void)bind(c->fd, (struct sockaddr *)&from, sizeof from);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        load_die("connect to %s:%d: %s", option.host, port, strerror(errno));
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(run.epoll_fd, EPOLL_CTL_ADD, c->fd, &e) != 0)
        load_die("epoll_ctl: %s", strerror(errno));
}

static void
publish(struct topic *t)
{
    static char payload[MAX_PAYLOAD + 1];
    uint64_t now = now_ns();
    int n = snprintf(payload, sizeof payload, MARK "%016llu:%016llu:", (unsigned long long)t->sent,
        (unsigned long long)now);
    if ((size_t)n < option.size) {
        memset(payload + n, 'x', option.size - (size_t)n);
        n = (int)option.size;
    }
    t->missing[t->sent % option.window] = run.is_acks ? 1 : t->n_subs;
    t->sent_ns[t->sent % option.window] = now;
    t->sent++;
    if (run.is_acks)
        option.protocol->publish_asking(t->publisher, t->sent - 1, payload, (size_t)n);
    else
        option.protocol->publish(t->publisher, payload, (size_t)n);
    if (run.is_measuring)
        run.n_published++;
}

static void
sample(uint64_t latency_ns)
{
    uint32_t value = latency_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)latency_ns;

    run.n_seen++;
    if (run.n_samples < MAX_SAMPLES) {
        run.samples_ns[run.n_samples++] = value;
        return;
    }
    /* A reservoir: each delivery has the same chance to be in the sample. */
    run.random ^= run.random << 13;
    run.random ^= run.random >> 7;
    run.random ^= run.random << 17;
    uint64_t at = run.random % run.n_seen;
    if (at < MAX_SAMPLES)
        run.samples_ns[at] = value;
}

static uint64_t
digits(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++)
        v = v * 10 + (uint64_t)(p[i] - '0');
    return v;
}

/* One more that message `number` waited for. */
static void
take(struct topic *t, uint64_t number, uint64_t latency_ns)
{
    if (run.is_measuring) {
        run.n_deliveries++;
        run.latency_sum_ns += latency_ns;
        sample(latency_ns);
    }
    if (--t->missing[number % option.window] == 0) {
        /* With a window above one, a later message may be complete before an earlier one: done counts in
         * order. */
        while (t->done < t->sent && t->missing[t->done % option.window] == 0)
            t->done++;
    }
}

/* A delivery was found; p is the payload from its mark on. */
void
load_delivered(struct client *c, const uint8_t *p, size_t n)
{
    struct topic *t = &run.topics[c->topic];

    if (n < 2 + 16 + 1 + 16)
        load_die("a payload came back shorter than it was sent");
    uint64_t number = digits(p + 2);
    if (number != c->next)
        load_die(
            "a subscriber of topic %u got message %llu where %llu was next: lost, repeated or out of order",
            c->topic, (unsigned long long)number, (unsigned long long)c->next);
    c->next++;
    take(t, number, now_ns() - digits(p + 2 + 17));
}

/* An answer was found: what publisher c published under this number is kept. */
void
load_acked(struct client *c, uint64_t number)
{
    struct topic *t = &run.topics[c->topic];

    if (number < t->done || number >= t->sent || t->missing[number % option.window] == 0)
        load_die("publisher %u was told of message %llu, for which it does not wait", c->topic,
            (unsigned long long)number);
    take(t, number, now_ns() - t->sent_ns[number % option.window]);
}

static void
refill(struct topic *t)
{
    while (!run.is_over && t->sent - t->done < option.window)
        publish(t);
}

void
load_ready(struct client *c)
{
    if (c->phase != PHASE_READY) {
        c->phase = PHASE_READY;
        run.n_ready++;
    }
}

/* Greeted: a subscriber joins, a publisher is ready. */
void
load_greeted(struct client *c)
{
    if (c->is_publisher || option.protocol->join == NULL) {
        load_ready(c);
    } else {
        c->phase = PHASE_JOIN;
        option.protocol->join(c);
    }
}

static void
consume(struct client *c, const uint8_t *p, size_t n)
{
    size_t used = 0;
    while (used < n) {
        ssize_t k = option.protocol->read(c, p + used, n - used);
        if (k < 0)
            load_die("the server said what %s does not allow: %.*s", option.protocol->name,
                (int)(n - used > 200 ? 200 : n - used), (const char *)p + used);
        if (k == 0)
            break;
        used += (size_t)k;
    }
    size_t rest = n - used;
    if (rest > c->in_cap)
        c->in = grow(c->in, c->in_cap = rest * 2);
    if (rest > 0)
        memmove(c->in, p + used, rest);
    c->in_n = rest;
}

static void
on_readable(struct client *c, uint8_t *buffer)
{
    memcpy(buffer, c->in, c->in_n);
    ssize_t n = recv(c->fd, buffer + c->in_n, READ_BYTES - c->in_n, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        load_die("the server closed a connection: %s", n == 0 ? "end of stream" : strerror(errno));
    consume(c, buffer, c->in_n + (size_t)n);
    if (c->phase == PHASE_READY && run.topics[c->topic].publisher->phase == PHASE_READY &&
        (run.is_measuring || run.topics[c->topic].sent > 0))
        refill(&run.topics[c->topic]);
}

static void
turn(int timeout_ms)
{
    static uint8_t buffer[READ_BYTES];
    struct epoll_event events[512];
    int n = epoll_wait(run.epoll_fd, events, 512, timeout_ms);

    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (events[i].events & (EPOLLERR | EPOLLHUP) && !(events[i].events & EPOLLIN))
            load_die("the server closed or refused a connection");
        if (events[i].events & EPOLLOUT) {
            if (!c->is_connected) {
                c->is_connected = true;
                option.protocol->greet(c);
            }
            flush_out(c);
        }
        if (events[i].events & EPOLLIN)
            on_readable(c, buffer);
    }
}

/* User and system time of the processes measured, in seconds. */
static double
cpu_seconds(void)
{
    double sum = 0;
    for (int i = 0; i < option.n_pids; i++) {
        char path[64], text[1024];
        (void)snprintf(path, sizeof path, "/proc/%d/stat", option.pids[i]);
        FILE *f = fopen(path, "r");
        if (f == NULL || fgets(text, sizeof text, f) == NULL)
            load_die("process %d is gone", option.pids[i]);
        (void)fclose(f);
        unsigned long user, system;
        const char *after = strrchr(text, ')');
        if (after == NULL ||
            sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
            load_die("/proc/%d/stat is strange", option.pids[i]);
        sum += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    }
    return sum;
}

static int
compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double
percentile_us(double part)
{
    return run.n_samples == 0 ? 0 : run.samples_ns[(uint64_t)((double)(run.n_samples - 1) * part)] / 1000.0;
}

static void
connect_all(void)
{
    uint32_t opened = 0;
    uint64_t last_ns = now_ns();
    uint32_t last_ready = 0;

    while (run.n_ready < run.n_clients) {
        while (opened < run.n_clients && opened - run.n_ready < MAX_OPENING)
            open_client(&run.clients[opened++]);
        turn(100);
        if (run.n_ready != last_ready) {
            last_ready = run.n_ready;
            last_ns = now_ns();
        } else if (now_ns() - last_ns > 20000000000ull) {
            load_die("only %u of %u clients were ready after 20 silent seconds", run.n_ready, run.n_clients);
        }
    }
    /* nchan answers the upgrade before it has subscribed. */
    for (uint64_t end = now_ns() + 300000000u; now_ns() < end;)
        turn(50);
}

static void
run_for(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    uint64_t last = run.n_deliveries, quiet_since = now_ns();

    for (uint64_t now; (now = now_ns()) < end;) {
        turn(50);
        if (run.n_deliveries != last) {
            last = run.n_deliveries;
            quiet_since = now;
        } else if (run.is_measuring && now - quiet_since > 10000000000ull) {
            load_die("nothing was delivered for 10 seconds: a message was lost");
        }
    }
}

/* Everything sent must arrive: waits for the rest. */
static void
drain(void)
{
    uint64_t end = now_ns() + 10000000000ull;
    run.is_over = true;
    for (uint32_t i = 0; i < option.n_topics; i++) {
        while (run.topics[i].done < run.topics[i].sent) {
            if (now_ns() > end)
                load_die("%llu messages of topic %u were not delivered to everybody",
                    (unsigned long long)(run.topics[i].sent - run.topics[i].done), i);
            turn(50);
        }
    }
}

static void
measure(const char *scenario)
{
    for (uint32_t i = 0; i < option.n_topics; i++)
        refill(&run.topics[i]);
    run_for(option.warm_up);
    double cpu = cpu_seconds();
    struct rusage own_before, own_after;
    (void)getrusage(RUSAGE_SELF, &own_before);
    uint64_t began = now_ns();
    run.is_measuring = true;
    run_for(option.seconds);
    double seconds = (double)(now_ns() - began) / 1e9;
    run.is_measuring = false;
    cpu = cpu_seconds() - cpu;
    (void)getrusage(RUSAGE_SELF, &own_after);
    drain();

    qsort(run.samples_ns, run.n_samples, sizeof *run.samples_ns, compare_u32);
    double millions = (double)run.n_deliveries / 1e6;
    double own = (double)(own_after.ru_utime.tv_sec - own_before.ru_utime.tv_sec + own_after.ru_stime.tv_sec -
                          own_before.ru_stime.tv_sec) +
                 (double)(own_after.ru_utime.tv_usec - own_before.ru_utime.tv_usec +
                          own_after.ru_stime.tv_usec - own_before.ru_stime.tv_usec) /
                     1e6;
    (void)printf("{\"scenario\":\"%s\",\"proto\":\"%s\",\"subs\":%u,\"topics\":%u,\"window\":%u,\"size\":%zu,"
                 "\"seconds\":%.3f,"
                 "\"deliveries\":%llu,\"deliveries_per_s\":%.0f,\"published_per_s\":%.0f,\"cpu_s_per_"
                 "million\":%.3f,\"generator_cpu_s\":%.2f,"
                 "\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
        scenario, option.protocol->name, option.n_subs, option.n_topics, option.window, option.size, seconds,
        (unsigned long long)run.n_deliveries, (double)run.n_deliveries / seconds,
        (double)run.n_published / seconds, millions > 0 ? cpu / millions : 0.0, own, percentile_us(0.5),
        percentile_us(0.95), percentile_us(0.99), percentile_us(1));
}

static void
usage(FILE *to)
{
    (void)fprintf(to,
        "usage: busbar-load fanout|pairs|acks|idle --proto NAME --port N [option]...\n"
        "  --host ADDRESS   IPv4, %s\n"
        "  --publish-port N publishers connect there\n"
        "  --subs N         subscribers of the one topic (fanout, idle)\n"
        "  --topics N       topics with a publisher and a subscriber each (pairs), with a publisher each "
        "(acks)\n"
        "  --window N       messages in flight for each publisher, 1\n"
        "  --size N         payload bytes, 100 (36 at least)\n"
        "  --seconds S      how long to measure, 5;  --warm-up S  before that, 1\n"
        "  --pid N          a server process whose CPU time counts (repeat)\n"
        "protocols:",
        option.host);
    for (const struct protocol *p = protocols; p->name != NULL; p++)
        (void)fprintf(to, " %s", p->name);
    (void)fputc('\n', to);
}

static void
parse(int argc, char **argv)
{
    static const struct option longs[] = {{"proto", 1, NULL, 'p'}, {"host", 1, NULL, 'h'},
        {"port", 1, NULL, 'P'}, {"publish-port", 1, NULL, 'Q'}, {"subs", 1, NULL, 's'},
        {"topics", 1, NULL, 't'}, {"window", 1, NULL, 'w'}, {"size", 1, NULL, 'z'}, {"seconds", 1, NULL, 'S'},
        {"warm-up", 1, NULL, 'W'}, {"pid", 1, NULL, 'i'}, {"help", 0, NULL, 'H'}, {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (o) {
        case 'p':
            for (option.protocol = protocols; option.protocol->name != NULL; option.protocol++)
                if (strcmp(option.protocol->name, optarg) == 0)
                    break;
            break;
        case 'h':
            option.host = optarg;
            break;
        case 'P':
            option.port = atoi(optarg);
            break;
        case 'Q':
            option.publish_port = atoi(optarg);
            break;
        case 's':
            option.n_subs = (uint32_t)atoi(optarg);
            break;
        case 't':
            option.n_topics = (uint32_t)atoi(optarg);
            break;
        case 'w':
            option.window = (uint32_t)atoi(optarg);
            break;
        case 'z':
            option.size = (size_t)atoi(optarg);
            break;
        case 'S':
            option.seconds = atof(optarg);
            break;
        case 'W':
            option.warm_up = atof(optarg);
            break;
        case 'i':
            if (option.n_pids < MAX_PIDS)
                option.pids[option.n_pids++] = atoi(optarg);
            break;
        case 'H':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (optind + 1 != argc || option.protocol == NULL || option.protocol->name == NULL || option.port == 0 ||
        option.n_subs == 0 || option.n_topics == 0 || option.window == 0 || option.size < 36 ||
        option.size > MAX_PAYLOAD) {
        usage(stderr);
        exit(2);
    }
}

/* Lays out the clients: for each topic a publisher and its subscribers. */
static void
lay_out(bool has_publishers)
{
    uint32_t per_topic = option.n_subs;
    run.n_clients = option.n_topics * (per_topic + (has_publishers ? 1 : 0));
    run.clients = calloc(run.n_clients, sizeof *run.clients);
    run.topics = calloc(option.n_topics, sizeof *run.topics);
    run.samples_ns = calloc(MAX_SAMPLES, sizeof *run.samples_ns);
    if (run.clients == NULL || run.topics == NULL || run.samples_ns == NULL)
        load_die("out of memory");
    struct client *c = run.clients;
    for (uint32_t t = 0; t < option.n_topics; t++) {
        run.topics[t].n_subs = per_topic;
        run.topics[t].missing = calloc(option.window, sizeof *run.topics[t].missing);
        run.topics[t].sent_ns = calloc(option.window, sizeof *run.topics[t].sent_ns);
        if (run.topics[t].missing == NULL || run.topics[t].sent_ns == NULL)
            load_die("out of memory");
        for (uint32_t i = 0; i < per_topic; i++, c++)
            c->topic = t;
        if (has_publishers) {
            c->topic = t;
            c->is_publisher = true;
            run.topics[t].publisher = c++;
        } else {
            run.topics[t].publisher = run.clients;
        }
    }
}

int
main(int argc, char **argv)
{
    parse(argc, argv);
    const char *scenario = argv[optind];
    struct rlimit files;
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    bool is_idle = strcmp(scenario, "idle") == 0;
    if (option.protocol->publish == NULL && strcmp(scenario, "acks") != 0)
        load_die("%s can only do acks", option.protocol->name);
    if (strcmp(scenario, "pairs") == 0)
        option.n_subs = 1;
    else if (strcmp(scenario, "fanout") == 0 || is_idle)
        option.n_topics = 1;
    else if (strcmp(scenario, "acks") == 0 && option.protocol->publish_asking != NULL) {
        option.n_subs = 0;
        run.is_acks = true;
    } else {
        usage(stderr);
        return 2;
    }
    lay_out(!is_idle);
    uint64_t began = now_ns();
    double cpu = cpu_seconds();
    connect_all();
    if (is_idle) {
        (void)printf("ready {\"clients\":%u,\"seconds\":%.3f,\"cpu_s\":%.2f}\n", run.n_clients,
            (double)(now_ns() - began) / 1e9, cpu_seconds() - cpu);
        (void)fflush(stdout);
        (void)getchar();
        return 0;
    }
    measure(scenario);
    return 0;
}
