/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store in a file has to stand with work queues, messages that expire and messages that are due
 * later: the end of its process at any moment, a full disk, very many of them. And that what nobody keeps
 * costs no disk.
 */
#include "config.h"

#include "tests/unit/backends/sqlitesupport.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct store_limits roomy = {.messages = 10000000};

static struct record *
record_of(const char *body, int64_t expires_ms, int64_t due_ms)
{
    struct record *record = record_new(slice_str(""), slice_str(""), slice_str(""), slice_str(body));

    ck_assert_ptr_nonnull(record);
    record->expires_ms = expires_ms;
    record->due_ms = due_ms;
    return record;
}

static int64_t
in_ms(const struct store *s, int64_t ms)
{
    return loop_wall_ms(s->loop) + ms;
}

/* Without a tick: what is due comes by itself. */
static void
wait_for_all_due(struct store *s)
{
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    while (stats_of(s).n_scheduled > 0)
        run_ms(s, 1);
    loop_timer_stop(s->loop, &s->deadline);
}

/* ---- The end of the process at any moment. ---- */

/*
 * A child does, for n = 1, 2, 3, ... as fast as it goes: publishes n to topic 0, saves n of the group g,
 * every fifth time publishes n to topic 1 for a little later, every fourth time publishes n to topic 2, half
 * of these to expire soon. It tells what was acknowledged until it is killed. Then the parent looks.
 */
enum { PUBLISHED = 'p', SAVED = 's', SCHEDULED = 'd', KEPT = 'k', EXPIRES = 'e' };

struct ack {
    uint64_t n;
    char what;
};

struct job {
    struct append append; /* first */
    struct ack ack;
};

#define MARKER (UINT64_C(1) << 40) /* the seq of an item that says how many saves there were */
#define STARTED 100u

static int ack_fd; /* the child's */

static void
tell(struct ack ack)
{
    if (write(ack_fd, &ack, sizeof(ack)) != (ssize_t)sizeof(ack))
        _exit(0);
}

static void
tell_append(struct append *a)
{
    struct job *job = (struct job *)a;

    if (a->error != 0)
        _exit(3);
    if (a->outcome != APPEND_OK && (a->outcome != APPEND_SCHEDULED || job->ack.what != SCHEDULED))
        _exit(4);
    tell(job->ack);
    free(job);
}

static void
tell_saved(void *cookie, int error, struct store *s)
{
    if (error != 0)
        _exit(5);
    tell((struct ack){(uint64_t)(uintptr_t)cookie, SAVED});
}

/* The items of save n. */
static unsigned
items_of(uint64_t n, struct store_item items[3])
{
    items[0] = (struct store_item){
        .seq = n + 1 + n % 7, .until_ms = (int64_t)n, .n_deliveries = (uint32_t)n, .state = ITEM_LEASED};
    items[1] = (struct store_item){.seq = n + 2, .n_deliveries = (uint32_t)n, .state = ITEM_DONE};
    items[2] = (struct store_item){.seq = MARKER, .n_deliveries = (uint32_t)n, .state = ITEM_LEASED};
    return 3;
}

static uint64_t
floor_of(uint64_t n)
{
    return n % 10 == 0 ? n : 0;
}

static void
must_push(struct store *s, unsigned topic, uint64_t pub, struct record *record, struct ack ack)
{
    struct job *job = calloc(1, sizeof(*job));
    int r;

    job->ack = ack;
    while ((r = push_record(s, &job->append, topic, record_ref(record), pub)) == -EAGAIN)
        run_ms(s, 1);
    if (r < 0)
        _exit(6);
    record_unref(record);
}

static void
child_main(enum sqlite_sync sync, uint64_t n)
{
    struct store *s;
    struct store_group *group;

    if (store_try(sync, 1 << 20, roomy, &s) < 0)
        _exit(7);
    s->on_answer = tell_append;
    s->on_saved = tell_saved;
    group = group_of(s, 0, "g");
    for (;; n++) {
        struct store_item items[3];
        char body[32];
        int r;

        snprintf(body, sizeof(body), "%" PRIu64, n);
        must_push(s, 0, n, record_of(body, 0, 0), (struct ack){n, PUBLISHED});
        while ((r = ops->group_save(s->b, group, items, items_of(n, items), floor_of(n),
                    n % 3 == 0 ? (void *)(uintptr_t)n : NULL)) == -EAGAIN)
            run_ms(s, 1);
        if (r < 0)
            _exit(8);
        if (n % 5 == 0)
            must_push(s, 1, 0, record_of(body, 0, in_ms(s, 1 + (int64_t)n % 60)), (struct ack){n, SCHEDULED});
        if (n % 8 == 0)
            must_push(s, 2, 0, record_of(body, in_ms(s, 20), 0), (struct ack){n, EXPIRES});
        else if (n % 4 == 0)
            must_push(s, 2, 0, record_of(body, 0, 0), (struct ack){n, KEPT});
        if (n % 50 == 0)
            run_ms(s, 1);
    }
}

#define N_MAX (1u << 20)

struct life {
    uint64_t n_published, n_saved;          /* that the store has: of these all but the lost */
    uint8_t lost_save[N_MAX], acked[N_MAX]; /* acked: bits */
    uint8_t came[N_MAX];
    struct store_item items[N_MAX];
    uint64_t n_acks, n_expired_seen;
    int64_t read_ms;
};

enum { ACKED_DUE = 1, ACKED_KEPT = 2 };

static void
life_run_child(struct life *l, enum sqlite_sync sync, uint64_t first, uint64_t wait_us,
    uint64_t *ret_published, uint64_t *ret_saved)
{
    struct timespec wait = {.tv_nsec = (long)(wait_us * 1000)};
    struct pollfd poll_fd;
    int fds[2], status;
    struct ack ack;
    pid_t pid;

    ck_assert_int_eq(pipe(fds), 0);
    pid = fork_alone(fds[1]);
    if (pid == 0) {
        ack_fd = fds[1];
        child_main(sync, first);
    }
    close(fds[1]);
    poll_fd = (struct pollfd){.fd = fds[0], .events = POLLIN};
    ck_assert_int_eq(poll(&poll_fd, 1, DEADLINE_MS), 1);
    nanosleep(&wait, NULL);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    while (read(fds[0], &ack, sizeof(ack)) == (ssize_t)sizeof(ack)) {
        ck_assert_uint_lt(ack.n, N_MAX - 10);
        l->n_acks++;
        if (ack.what == PUBLISHED)
            *ret_published = ack.n;
        else if (ack.what == SAVED)
            *ret_saved = ack.n;
        else if (ack.what == SCHEDULED)
            l->acked[ack.n] |= ACKED_DUE;
        else if (ack.what == KEPT)
            l->acked[ack.n] |= ACKED_KEPT;
    }
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status), "the child ended with %d", WEXITSTATUS(status));
}

/* The group is as it was after the first n saves. */
static void
life_check_group(struct life *l, struct store *s, uint64_t first)
{
    const struct group *g = &s->groups[0];
    uint64_t n, floor = 0;
    unsigned at = 0;

    ck_assert_uint_eq(s->n_groups, 1);
    if (g->n_items == 0) { /* killed before the first save was committed */
        ck_assert_uint_eq(l->n_saved, 0);
        return;
    }
    ck_assert_uint_eq(g->items[g->n_items - 1].seq, MARKER);
    n = g->items[g->n_items - 1].n_deliveries;
    ck_assert_uint_ge(n, l->n_saved);
    ck_assert_uint_lt(n, N_MAX - 10);
    for (uint64_t i = first; i <= n; i++) {
        struct store_item items[3];

        (void)items_of(i, items);
        l->items[items[0].seq] = items[0];
        l->items[items[1].seq] = items[1];
    }
    l->n_saved = n;
    for (uint64_t i = 1; i <= n; i++)
        if (!l->lost_save[i] && floor_of(i) > floor)
            floor = floor_of(i);
    ck_assert_uint_eq(g->floor, floor);
    for (uint64_t seq = floor + 1; seq < n + 10; seq++) {
        if (l->items[seq].seq == 0)
            continue;
        ck_assert_uint_lt(at, g->n_items);
        ck_assert_uint_eq(g->items[at].seq, seq);
        ck_assert_uint_eq(g->items[at].n_deliveries, l->items[seq].n_deliveries);
        ck_assert_uint_eq(g->items[at].state, l->items[seq].state);
        ck_assert_int_eq(g->items[at].until_ms, l->items[seq].until_ms);
        at++;
    }
    ck_assert_uint_eq(at, g->n_items - 1);
    ck_assert_uint_eq(stats_of(s).n_items, g->n_items);
}

static void
life_on_record(struct record *record, void *arg)
{
    struct life *l = arg;
    unsigned topic = ((struct topic *)record->topic)->number;
    char body[32];
    uint64_t n;

    snprintf(body, sizeof(body), "%.*s", SLICE_ARG(record->body));
    n = strtoull(body, NULL, 10);
    ck_assert_uint_lt(n, N_MAX);
    ck_assert_msg((l->came[n] & 1u << topic) == 0, "%" PRIu64 " came twice on topic %u", n, topic);
    l->came[n] |= (uint8_t)(1u << topic);
    if (topic == 0 && n > l->n_published)
        l->n_published = n;
    if (record->expires_ms != 0) {
        ck_assert_int_gt(record->expires_ms, l->read_ms);
        l->n_expired_seen++;
    }
}

/* All that the store has. */
static void
life_read(struct life *l, struct store *s)
{
    struct reading r = {.on_record = life_on_record, .arg = l};

    memset(l->came, 0, sizeof(l->came));
    l->read_ms = in_ms(s, 0);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.gap[0] + r.gap[1] + r.gap[2] + r.gap_unnamed, 0);
}

static bool
ends_are_over(struct store *s, void *arg)
{
    struct life *l = arg;
    uint64_t n, n_kept = 0;

    for (uint64_t i = 0; i <= l->n_published; i++)
        n_kept += (l->came[i] & 1 << 2) != 0 && i % 8 != 0;
    ops->topic_stats(s->b, topic_of(s, 2), NULL, &n, NULL);
    return n == n_kept;
}

static void
life_look(struct life *l, enum sqlite_sync sync, uint64_t first, uint64_t published, uint64_t saved)
{
    struct store *s;

    ck_assert_int_eq(store_try(sync, 0, roomy, &s), 0);
    l->n_saved = saved > l->n_saved ? saved : l->n_saved;
    life_check_group(l, s, first);
    wait_for_all_due(s);
    life_read(l, s);
    ck_assert_uint_ge(l->n_published, published);
    for (uint64_t n = 1; n <= l->n_published; n++) {
        ck_assert_msg((l->came[n] & 1) != 0, "%" PRIu64 " is missing", n);
        ck_assert_msg((l->acked[n] & ACKED_DUE) == 0 || (l->came[n] & 2) != 0, "%" PRIu64 " never came", n);
        ck_assert_msg((l->acked[n] & ACKED_KEPT) == 0 || (l->came[n] & 4) != 0, "%" PRIu64 " is gone", n);
    }
    /* In one order: the save of n stands behind the publish of n, and before the next. */
    ck_assert_uint_ge(l->n_published, l->n_saved);
    ck_assert_uint_le(l->n_published, l->n_saved + 1);
    for (uint64_t n = l->n_saved + 1; n <= l->n_published; n++)
        l->lost_save[n] = true;
    run_ms(s, 30);
    tick_until(s, ends_are_over, l);
    store_free(s);
}

START_TEST(queues_and_times_are_whole_when_the_process_is_killed)
{
    static const enum sqlite_sync syncs[] = {SQLITE_SYNC_NONE, SQLITE_SYNC_INTERVAL, SQLITE_SYNC_ALWAYS};
    struct life *l = calloc(1, sizeof(*l));
    uint64_t random = 0x9e3779b97f4a7c15u + (uint64_t)_i;

    for (unsigned round = 0; round < 25; round++) {
        uint64_t published = l->n_published, saved = 0,
                 first = (l->n_published > l->n_saved ? l->n_published : l->n_saved) + 1;

        life_run_child(l, syncs[_i % 3], first, next_random(&random) % 30000, &published, &saved);
        life_look(l, syncs[_i % 3], first, published, saved);
    }
    ck_assert_uint_gt(l->n_acks, 0);
    free(l);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("sqlite-queue");

    add(s, "queues_and_times_are_whole_when_the_process_is_killed",
        queues_and_times_are_whole_when_the_process_is_killed, 6);
    return run_suite(s);
}
