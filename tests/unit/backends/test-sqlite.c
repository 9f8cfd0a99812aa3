/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store in a file has to stand: the end of its process at any moment, and reads from the file beside
 * appends. What is found at the start is in test-sqlite-start.c, what all backends have to do in
 * tests/conformance/backend.
 */
#include "config.h"

#include "tests/unit/backends/sqlitesupport.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- The end of the process at any moment. ---- */

struct ack {
    uint64_t pub, seq;
};

static int ack_fd; /* the child's */

static void
tell_ack(struct append *a)
{
    struct ack ack = {.pub = (uint64_t)(uintptr_t)0, .seq = a->seq};

    if (a->error != 0)
        _exit(3);
    ack.pub = *(uint64_t *)(a + 1);
    if (write(ack_fd, &ack, sizeof(ack)) != (ssize_t)sizeof(ack))
        _exit(0);
    free(a);
}

/* Publishes as fast as it goes, many under way, until it is killed. */
static void
child_main(enum sqlite_sync sync, uint64_t pub)
{
    struct store *s = store_new(sync, 1 << 20);

    s->on_answer = tell_ack;
    for (;;) {
        char body[64];
        struct append *a = calloc(1, sizeof(*a) + sizeof(uint64_t));

        *(uint64_t *)(a + 1) = pub;
        snprintf(body, sizeof(body), "%" PRIu64, pub);
        if (push(s, a, (unsigned)(pub % 3), slice_str(body), pub) == -EAGAIN) {
            free(a);
            run_ms(s, 1);
        } else {
            pub++;
        }
    }
}

struct life {
    uint64_t *seqs; /* of each publish that was acknowledged */
    uint64_t n;     /* publishes that are known to be in the store */
    uint64_t room;
    uint64_t next;     /* the next publish that the store must have */
    uint64_t last_seq; /* and above which seq */
    uint64_t lasts[3];
    uint64_t n_kills, n_acks;
};

static void
life_note(struct life *l, uint64_t pub, uint64_t seq)
{
    if (pub >= l->room) {
        l->room = l->room == 0 ? 65536 : l->room * 2;
        l->seqs = realloc(l->seqs, l->room * sizeof(l->seqs[0]));
        ck_assert_ptr_nonnull(l->seqs);
        memset(l->seqs + l->room / 2, 0, l->room / 2 * sizeof(l->seqs[0]));
        if (l->room == 65536)
            memset(l->seqs, 0, l->room * sizeof(l->seqs[0]));
    }
    ck_assert(l->seqs[pub] == 0 || l->seqs[pub] == seq);
    l->seqs[pub] = seq;
    if (pub > l->n)
        l->n = pub;
}

/* In the store publishes stand in their order, without a hole, each once, with the seq that was acknowledged.
 */
static void
life_check_record(struct record *record, void *arg)
{
    struct life *l = arg;
    char body[32];
    uint64_t pub;

    snprintf(body, sizeof(body), "%.*s", SLICE_ARG(record_body(record))); /* which has no NUL behind it */
    pub = strtoull(body, NULL, 10);
    ck_assert_uint_eq(pub, l->next);
    ck_assert_uint_gt(record->seq, l->last_seq);
    ck_assert_uint_eq(record->prev, l->lasts[pub % 3]);
    if (pub < l->room && l->seqs[pub] != 0)
        ck_assert_uint_eq(record->seq, l->seqs[pub]);
    life_note(l, pub, record->seq);
    l->lasts[pub % 3] = record->seq;
    l->last_seq = record->seq;
    l->next++;
}

static void
life_round(struct life *l, enum sqlite_sync sync, uint64_t wait_us)
{
    int fds[2], status;
    struct ack ack;
    uint64_t n_acked = l->n;
    pid_t pid;
    struct pollfd poll_fd;
    struct timespec wait = {.tv_nsec = (long)(wait_us * 1000)};

    ck_assert_int_eq(pipe(fds), 0);
    pid = fork_alone(fds[1]);
    if (pid == 0) {
        ack_fd = fds[1];
        child_main(sync, l->n + 1);
    }
    close(fds[1]);
    poll_fd = (struct pollfd){.fd = fds[0], .events = POLLIN};
    ck_assert_int_eq(poll(&poll_fd, 1, DEADLINE_MS), 1);
    nanosleep(&wait, NULL);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    while (read(fds[0], &ack, sizeof(ack)) == (ssize_t)sizeof(ack)) {
        life_note(l, ack.pub, ack.seq);
        n_acked = ack.pub;
        l->n_acks++;
    }
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_uint_ge(l->n, n_acked);
    l->n_kills++;
}

START_TEST(nothing_acknowledged_is_lost_when_the_process_is_killed)
{
    static const enum sqlite_sync syncs[] = {SQLITE_SYNC_NONE, SQLITE_SYNC_INTERVAL, SQLITE_SYNC_ALWAYS};
    uint64_t random = 0x9e3779b97f4a7c15u + (uint64_t)_i, epoch = 0;
    struct life l = {0};

    for (unsigned round = 0; round < 40; round++) {
        uint64_t acked, since = l.last_seq;
        struct reading r = {.on_record = life_check_record, .arg = &l};
        struct append again;
        struct store *s;

        life_round(&l, syncs[_i % 3], next_random(&random) % 8000);
        acked = l.n;
        s = store_new(syncs[_i % 3], 0);
        ck_assert(epoch == 0 || epoch == ops->epoch(s->b));
        epoch = ops->epoch(s->b);
        l.next = l.next == 0 ? 1 : l.next;
        ck_assert_int_eq(read_all(s, &r, since), 0);
        ck_assert_uint_eq(r.gap_unnamed + r.gap[0] + r.gap[1] + r.gap[2], 0);
        ck_assert_uint_ge(l.next, acked + 1);
        ck_assert_uint_ge(ops->last_seq(s->b), l.last_seq);
        /* What the frontend sends again is known, and has the number that it got. */
        for (unsigned k = 0; k < 5 && k < l.n; k++) {
            again = append(s, (unsigned)((l.n - k) % 3), "again", l.n - k);
            ck_assert_int_eq(again.outcome, APPEND_REPEATED);
            ck_assert_uint_eq(again.seq, l.seqs[l.n - k]);
        }
        store_free(s);
    }
    ck_assert_uint_gt(l.n_acks, 0);
    free(l.seqs);
}
END_TEST

START_TEST(figures_and_values_are_as_before_after_a_kill)
{
    struct store_limits limits = {.messages = 10};
    struct store *s;
    struct reading r = {0};
    struct record *retained;
    uint64_t n, last;
    int status;
    pid_t pid = fork_alone(-1);

    if (pid == 0) {
        struct append a = {0};
        struct record *record = record_new(slice_str("t"), slice_str("h"), slice_str(""), slice_str("kept"));

        ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, limits, &s), 0);
        record->flags = RECORD_RETAIN;
        a.s = s;
        s->n_under_way++;
        ops->append_take(s->b, topic_of(s, 0), record, (struct store_origin){0}, &a);
        wait_for(s, &a.is_done);
        for (unsigned i = 0; i < 100; i++)
            append(s, i % 2, "x", 0);
        append(s, 7, "dropped", 0);
        ops->topic_drop(s->b, s->topics[7].store);
        append(s, 1, "x", 0);
        raise(SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, limits, &s), 0);
    ck_assert_uint_eq(s->n_restored, 2);
    ck_assert_uint_eq(ops->last_seq(s->b), 103);
    retained = ops->retained(s->b, topic_of(s, 0));
    ck_assert_ptr_nonnull(retained);
    ck_assert(slice_is(record_body(retained), "kept"));
    ck_assert_ptr_eq(retained->topic, &s->topics[0]);
    record_unref(retained);
    ops->topic_stats(s->b, topic_of(s, 1), &last, &n, NULL);
    ck_assert_uint_eq(last, 103);
    ck_assert_uint_eq(n, 10);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.n, 20);
    ck_assert_uint_eq(r.gap[0], 80);
    ck_assert_uint_eq(r.gap_unnamed, 102);
    /* Other limits since: it keeps to them. */
    store_free(s);
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 3}, &s), 0);
    memset(&r, 0, sizeof(r));
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.n, 6);
    store_free(s);
}
END_TEST
/* ---- Reads from the file. ---- */

static bool
wants_odd(unsigned topic)
{
    return topic % 2 == 1;
}

static void
count_odd(struct record *record, void *arg)
{
    ck_assert_uint_eq(((struct topic *)record->topic)->number % 2, 1);
    ++*(uint64_t *)arg;
}

START_TEST(read_of_many_topics_is_merged_and_complete)
{
    struct store *s;
    uint64_t n = 0;
    struct reading r = {.wants = wants_odd, .on_record = count_odd, .arg = &n};

    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 5}, &s), 0);
    for (unsigned i = 0; i < TOPICS_MAX * 7; i++)
        append(s, i % TOPICS_MAX, "some text", 0);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(n, TOPICS_MAX / 2 * 5);
    for (unsigned i = 0; i < TOPICS_MAX; i++)
        ck_assert_uint_eq(r.gap[i], i % 2 == 1 ? TOPICS_MAX + i + 1 : 0);
    store_free(s);
}
END_TEST

struct seam {
    uint64_t lasts[TOPICS_MAX], since;
    struct reading *r;
    uint64_t n_missed, n_seen;
};

/* What comes before it on its topic was seen, or was told as a gap. */
static void
seam_on_record(struct record *record, void *arg)
{
    struct seam *seam = arg;
    unsigned n = ((struct topic *)record->topic)->number;

    ck_assert_uint_gt(record->seq, seam->since);
    if (record->prev != seam->lasts[n]) {
        ck_assert_uint_gt(record->prev, seam->lasts[n]);
        ck_assert_uint_ge(seam->r->gap[n], record->prev);
        seam->n_missed++;
    }
    ck_assert_uint_gt(record->seq, seam->r->gap[n]);
    seam->lasts[n] = record->seq;
    seam->since = record->seq;
    seam->n_seen++;
}

static void
free_append(struct append *a)
{
    ck_assert_int_eq(a->error, 0);
    free(a);
}

START_TEST(nothing_is_missing_where_reads_meet_appends)
{
    static const uint64_t caches[] = {0, 5000, 100000, 100000000};
    struct store *s;
    struct reading r = {0};
    struct seam seam = {.r = &r};
    uint64_t random = 88172645463325252u + (uint64_t)_i, n_pushed = 0;

    ck_assert_int_eq(
        store_try(SQLITE_SYNC_NONE, caches[_i % 4], (struct store_limits){.messages = 150}, &s), 0);
    s->on_answer = free_append;
    r.on_record = seam_on_record;
    r.arg = &seam;
    r.is_done = true;
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    while (n_pushed < 5000 || s->n_under_way > 0 || !r.is_done || seam.since < ops->last_seq(s->b)) {
        if (r.is_done) {
            ck_assert_int_eq(r.error, 0);
            if (r.upto > seam.since)
                seam.since = r.upto;
            memset(r.gap, 0, sizeof(r.gap));
            reading_start(s, &r, seam.since, 1 + next_random(&random) % 20000);
        }
        for (unsigned i = 0; i < next_random(&random) % 50 && n_pushed < 5000; i++) {
            struct append *a = calloc(1, sizeof(*a));

            if (push(s, a, (unsigned)(next_random(&random) % (_i % 2 ? 5 : 100)), slice_str("text"), 0) < 0) {
                free(a);
                break;
            }
            n_pushed++;
        }
        s->is_waiting = true; /* not before: an answer at once must not stop the loop later */
        if (s->n_under_way > 0 || !r.is_done)
            ck_assert_int_eq(loop_run(s->loop), 0);
        s->is_waiting = false;
    }
    ck_assert_uint_eq(s->n_records, n_pushed);
    ck_assert_uint_gt(seam.n_seen, 0);
    if (seam.n_missed == 0)
        ck_assert_uint_eq(seam.n_seen, n_pushed);
    store_free(s);
}
END_TEST

START_TEST(close_answers_everything)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0);
    struct append a[100] = {{0}};
    struct reading r = {0};

    append(s, 0, "x", 0);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_int_eq(push(s, &a[i], i % 3, slice_str("x"), i + 1), 0);
    reading_start(s, &r, 0, 0);
    ops->close(s->b);
    for (unsigned i = 0; i < 100; i++)
        ck_assert(a[i].is_done && a[i].error == 0);
    ck_assert(r.is_done);
    loop_free(s->loop);
    free(s);
}
END_TEST

START_TEST(full_queue_says_so_and_empties)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0);
    unsigned n = 0;
    int r = 0;

    s->on_answer = free_append;
    while (r == 0) {
        struct append *a = calloc(1, sizeof(*a));

        r = push(s, a, 0, slice_str("x"), 0);
        if (r < 0)
            free(a);
        n++;
    }
    ck_assert_int_eq(r, -EAGAIN);
    ck_assert_uint_eq(n, 1001);
    while (s->n_under_way > 0)
        run_ms(s, 1);
    store_free(s);
}
END_TEST
int
main(void)
{
    Suite *s = suite_create("sqlite");

    add(s, "nothing_acknowledged_is_lost_when_the_process_is_killed",
        nothing_acknowledged_is_lost_when_the_process_is_killed, 6);
    add(s, "figures_and_values_are_as_before_after_a_kill", figures_and_values_are_as_before_after_a_kill, 1);
    add(s, "read_of_many_topics_is_merged_and_complete", read_of_many_topics_is_merged_and_complete, 1);
    add(s, "nothing_is_missing_where_reads_meet_appends", nothing_is_missing_where_reads_meet_appends, 8);
    add(s, "close_answers_everything", close_answers_everything, 1);
    add(s, "full_queue_says_so_and_empties", full_queue_says_so_and_empties, 1);
    return run_suite(s);
}
