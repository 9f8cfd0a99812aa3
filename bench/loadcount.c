/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator's books: what was published, to whom it has yet to come, how long it took, and that each
 * subscriber's streams are whole and in order. */
#include "config.h"

#include "bench/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SAMPLES (1u << 20)

struct samples latencies, completions;
static uint64_t random_state = 88172645463325252ull;
static uint64_t began_ns, n_due; /* with --rate: since when, and how many were published since */
static uint32_t due_publisher;

void
count_start(void)
{
    latencies.of_100ns = net_alloc(NULL, MAX_SAMPLES * sizeof *latencies.of_100ns);
    completions.of_100ns = net_alloc(NULL, MAX_SAMPLES * sizeof *completions.of_100ns);
}

static void
sample(struct samples *s, uint64_t ns)
{
    uint32_t value = ns / 100 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 100);

    s->n_seen++;
    if (s->n < MAX_SAMPLES) {
        s->of_100ns[s->n++] = value;
        return;
    }
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    uint64_t at = random_state % s->n_seen;
    if (at < MAX_SAMPLES)
        s->of_100ns[at] = value;
}

static int
compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

void
samples_sort(struct samples *s)
{
    qsort(s->of_100ns, s->n, sizeof *s->of_100ns, compare_u32);
}

double
samples_percentile_us(struct samples *s, double part)
{
    return s->n == 0 ? 0 : s->of_100ns[(uint64_t)((double)(s->n - 1) * part)] / 10.0;
}

uint32_t
load_topic(const struct client *c, uint32_t i)
{
    return (c->stream + i) % run.n_streams;
}

static void
put_digits(char *p, int n, uint64_t v)
{
    while (n-- > 0) {
        p[n] = (char)('0' + v % 10);
        v /= 10;
    }
}

static const char *
make_payload(const struct stream *s, uint64_t stamp_ns)
{
    static char payload[MAX_PAYLOAD];

    if (payload[0] == '\0') {
        memset(payload, 'x', sizeof payload);
        memcpy(payload, MARK, 2);
        payload[MARK_AT_NS - 1] = payload[MARK_AT_STREAM - 1] = payload[MARK_BYTES - 1] = ':';
    }
    put_digits(payload + 2, 16, s->sent);
    put_digits(payload + MARK_AT_NS, 16, stamp_ns);
    put_digits(payload + MARK_AT_STREAM, 8, (uint64_t)(s - run.streams));
    return payload;
}

static void
publish(struct client *c, uint32_t number, uint64_t stamp_ns)
{
    struct stream *s = &run.streams[number];
    uint32_t topic = run.n_topics > 1 ? (uint32_t)(s->sent % run.n_topics) : run.has_one_topic ? 0 : number;
    const char *payload = make_payload(s, stamp_ns);

    s->missing[s->sent % option.window] = run.is_acks ? 1 : s->n_subs;
    s->sent_ns[s->sent % option.window] = stamp_ns;
    s->sent++;
    c->in_flight++;
    if (run.is_measuring)
        run.n_published++;
    if (run.is_acks)
        option.protocol->publish_asking(c, topic, s->sent - 1, payload, option.size);
    else
        option.protocol->publish(c, topic, payload, option.size);
}

/* The next of its streams that has room, or false. */
static bool
publish_next(struct client *c, uint64_t stamp_ns)
{
    for (uint32_t i = 0; i < c->n_streams; i++) {
        uint32_t number = c->stream + c->cursor;
        struct stream *s = &run.streams[number];

        c->cursor = c->cursor + 1 < c->n_streams ? c->cursor + 1 : 0;
        if (s->sent - s->done < option.window) {
            publish(c, number, stamp_ns);
            return true;
        }
    }
    return false;
}

void
count_pump(struct client *c)
{
    uint64_t now = net_now_ns();

    if (option.n_rounds > 0) { /* in step: as much again when all of it was delivered */
        if (c->in_flight == 0 && run.streams[c->stream].sent < (uint64_t)option.n_rounds * option.window)
            while (publish_next(c, now))
                ;
        return;
    }
    while (!run.is_over && option.rate == 0 && c->in_flight < option.window && publish_next(c, now))
        ;
}

uint64_t
count_pump_due(uint64_t now)
{
    if (began_ns == 0)
        began_ns = now;
    uint32_t first = run.n_clients - option.n_publishers;
    for (;;) {
        uint64_t due = began_ns + (uint64_t)((double)n_due * 1e9 / option.rate);
        struct client *c = &run.clients[first + due_publisher];

        if (due > now || run.is_over)
            return due;
        if (c->in_flight >= option.window || !publish_next(c, due))
            return now + 1000000; /* the server is behind; what is late counts as late */
        due_publisher = (due_publisher + 1) % option.n_publishers;
        n_due++;
    }
}

static uint64_t
digits(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v = v * 10 + (uint64_t)(p[i] - '0');
    return v;
}

/* One more that message `number` waited for. */
static void
take(struct stream *s, uint64_t number, uint64_t latency_ns)
{
    if (run.is_measuring) {
        run.n_deliveries++;
        sample(&latencies, latency_ns);
    }
    if (--s->missing[number % option.window] > 0)
        return;
    if (run.is_measuring) {
        run.n_done++;
        sample(&completions, latency_ns);
    }
    /* A later message may be complete before an earlier one: done counts in order. */
    while (s->done < s->sent && s->missing[s->done % option.window] == 0) {
        s->done++;
        s->publisher->in_flight--;
        net_pump_later(s->publisher);
    }
}

static uint64_t
age_ns(uint64_t stamp_ns)
{
    return run.now_ns > stamp_ns ? run.now_ns - stamp_ns : 0;
}

/* Of a slow one: messages may be missing, but none comes twice or too early. */
static void
take_slow(struct client *c, uint64_t *next, uint64_t number)
{
    if (number < *next)
        load_die("slow subscriber %u got message %llu after %llu: repeated or out of order", c->number,
            (unsigned long long)number, (unsigned long long)*next - 1);
    run.n_slow_dropped += number - *next;
    run.n_slow_taken++;
    *next = number + 1;
}

/* A delivery was found; p is the payload from its mark on. */
void
load_delivered(struct client *c, const uint8_t *p, size_t n)
{
    if (n < MARK_BYTES)
        load_die("a payload came back shorter than it was sent");
    uint64_t number = digits(p + 2, 16);
    uint32_t stream = (uint32_t)digits(p + MARK_AT_STREAM, 8);
    uint32_t at = stream >= c->stream ? stream - c->stream : stream + run.n_streams - c->stream;
    if (stream >= run.n_streams || at >= c->n_streams || c->is_publisher)
        load_die("client %u got a message of stream %u, for which it did not ask", c->number, stream);
    if (c->is_slow) {
        take_slow(c, &c->next[at], number);
        return;
    }
    if (number != c->next[at])
        load_die(
            "subscriber %u got message %llu of stream %u where %llu was next: lost, repeated or out of order",
            c->number, (unsigned long long)number, stream, (unsigned long long)c->next[at]);
    c->next[at]++;
    take(&run.streams[stream], number, age_ns(digits(p + MARK_AT_NS, 16)));
}

unsigned
load_delivered_all(struct client *c, const uint8_t *p, size_t n)
{
    unsigned count = 0;

    for (const uint8_t *at, *end = p + n; (at = memmem(p, (size_t)(end - p), MARK, 2)) != NULL; count++) {
        load_delivered(c, at, (size_t)(end - at));
        p = at + MARK_BYTES;
    }
    return count;
}

static void
check_waits(const struct stream *s, uint64_t number, const char *what)
{
    if (number < s->done || number >= s->sent || s->missing[number % option.window] == 0)
        load_die("message %llu of stream %u was %s, but it was so before or never sent",
            (unsigned long long)number, (unsigned)(s - run.streams), what);
}

/* An answer was found: what publisher c published under this number is kept, or answered. */
void
load_acked(struct client *c, uint64_t number)
{
    struct stream *s = &run.streams[c->stream];

    check_waits(s, number, "acknowledged");
    take(s, number, age_ns(s->sent_ns[number % option.window]));
}

void
load_taken(const uint8_t *p, size_t n)
{
    if (n < MARK_BYTES || digits(p + MARK_AT_STREAM, 8) >= run.n_streams)
        load_die("a payload came back other than it was sent");
    struct stream *s = &run.streams[digits(p + MARK_AT_STREAM, 8)];
    uint64_t number = digits(p + 2, 16);
    check_waits(s, number, "given to one of the group");
    take(s, number, age_ns(digits(p + MARK_AT_NS, 16)));
}
