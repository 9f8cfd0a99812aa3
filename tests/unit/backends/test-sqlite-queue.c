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
        while ((r = ops->group_save(s->b, group, items, items_of(n, items),
                    &(struct store_group_state){.floor = floor_of(n)},
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

    snprintf(body, sizeof(body), "%.*s", SLICE_ARG(record_body(record)));
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
    check_figures();
}

START_TEST(queues_and_times_are_whole_when_the_process_is_killed)
{
    static const enum sqlite_sync syncs[] = {SQLITE_SYNC_NONE, SQLITE_SYNC_INTERVAL, SQLITE_SYNC_ALWAYS};
    struct life *l = calloc(1, sizeof(*l));
    uint64_t random = 0x9e3779b97f4a7c15u + (uint64_t)_i;

    for (unsigned round = 0; round < 10; round++) {
        uint64_t published = l->n_published, saved = 0,
                 first = (l->n_published > l->n_saved ? l->n_published : l->n_saved) + 1;

        life_run_child(l, syncs[_i % 3], first, next_random(&random) % 30000, &published, &saved);
        life_look(l, syncs[_i % 3], first, published, saved);
    }
    ck_assert_uint_gt(l->n_acks, 0);
    free(l);
}
END_TEST

/* ---- Disks that do not take it. ---- */

static off_t
size_of(const char *part)
{
    char name[160];
    struct stat st;

    snprintf(name, sizeof(name), "%s%s", path, part);
    return stat(name, &st) == 0 ? st.st_size : 0;
}

static void
set_file_limit(rlim_t limit)
{
    struct rlimit both;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &both), 0);
    both.rlim_cur = limit;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &both), 0);
}

static bool
is_trimmed(struct store *s, void *arg)
{
    uint64_t n;

    ops->topic_stats(s->b, topic_of(s, 0), NULL, &n, NULL);
    return n == *(uint64_t *)arg;
}

/* Until it is full: what was asked for meanwhile is done when there is room, or was answered with an error.
 */
START_TEST(full_disk_forgets_no_group_and_loses_nothing_that_is_due)
{
    struct store_item item = {.seq = 2, .n_deliveries = 1, .state = ITEM_LEASED};
    struct store_group *old, *new, *gone;
    struct append later[20] = {0};
    struct store *s;
    uint64_t n_left = 37, n;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(
        store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 1000, .is_held = true}, &s), 0);
    ops->topic_hold(s->b, topic_of(s, 0), 0);
    old = group_of(s, 0, "old");
    gone = group_of(s, 0, "gone");
    ck_assert_int_eq(save(s, old, &item, 1, 0), 0);
    for (unsigned i = 0; i < 20; i++) {
        char text[16];

        snprintf(text, sizeof(text), "%u", i);
        ck_assert_int_eq(push_record(s, &later[i], 1, record_of(text, 0, in_ms(s, 300)), 0), 0);
    }
    wait_for(s, &later[19].is_done);
    for (unsigned i = 0; i < n_left + 3; i++)
        ck_assert_int_eq(append(s, 0, "x", 0).error, 0);
    set_file_limit((rlim_t)size_of("-wal")); /* and not a byte more */
    item = (struct store_item){.seq = 3, .n_deliveries = 2, .state = ITEM_DONE};
    ck_assert_int_lt(save(s, old, &item, 1, 1), 0);
    new = group_of(s, 0, "new");
    ck_assert_int_lt(save(s, new, &item, 1, 0), 0);
    ops->group_drop(s->b, gone);
    ops->topic_trim(s->b, topic_of(s, 0), 3);
    ck_assert_int_eq(ops->group_save(s->b, old, &item, 1, &(struct store_group_state){0}, NULL),
        0);         /* nobody waits for it: it is lost */
    run_ms(s, 500); /* and meanwhile some are due */
    ck_assert_int_lt(append(s, 0, "x", 0).error, 0);
    ck_assert_uint_eq(stats_of(s).n_scheduled, 20);
    set_file_limit(RLIM_INFINITY);
    wait_for_all_due(s);
    tick_until(s, is_trimmed, &n_left);
    item.n_deliveries = 7;
    ck_assert_int_eq(save(s, new, &item, 1, 0), 0);
    store_free(s);
    check_figures();
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(s->n_groups, 2);
    ck_assert_str_eq(s->groups[0].name, "old");
    ck_assert_uint_eq(s->groups[0].floor, 0);
    ck_assert_uint_eq(s->groups[0].n_items, 1);
    ck_assert_uint_eq(s->groups[0].items[0].seq, 2);
    ck_assert_str_eq(s->groups[1].name, "new");
    ck_assert_uint_eq(s->groups[1].n_items, 1);
    ck_assert_uint_eq(s->groups[1].items[0].n_deliveries, 7);
    ops->topic_stats(s->b, topic_of(s, 1), NULL, &n, NULL);
    ck_assert_uint_eq(n, 20);
    store_free(s);
}
END_TEST

/* ---- What nobody keeps. ---- */

static const struct store_limits leaves_nothing = {
    .is_volatile = true, .is_unrecoverable = true, .keeps_no_retained = true};

START_TEST(volatile_messages_cost_no_disk)
{
    struct store *s;
    off_t before;

    ck_assert_int_eq(store_try(SQLITE_SYNC_ALWAYS, 0, leaves_nothing, &s), 0);
    append(s, 0, "x", 1); /* numbers are reserved with the first */
    before = size_of("-wal");
    for (unsigned i = 0; i < 1000; i++)
        ck_assert_int_eq(append(s, i % 10, "text", i + 2).error, 0);
    ck_assert_int_eq(append(s, 7, "again", 500).outcome, APPEND_REPEATED);
    ck_assert_uint_eq(s->n_records, 1001);
    ck_assert_int_eq(size_of("-wal"), before);
    for (unsigned i = 0; i < 20000; i++)
        ck_assert_uint_eq(append(s, i % 10, "text", 0).seq, i + 1002);
    ck_assert_int_le(size_of("-wal") - before, 100000); /* some more reservations */
    ck_assert_int_eq(query("SELECT count(*) FROM topics"), 0);
    ck_assert_int_eq(query("SELECT count(*) FROM publishes"), 0);
    store_free(s);
    s = store_new(SQLITE_SYNC_ALWAYS, 0);
    ck_assert_uint_eq(s->n_restored, 0);
    ck_assert_uint_eq(ops->last_seq(s->b), 21001); /* it said goodbye */
    store_free(s);
}
END_TEST

/* Numbers are never given out twice, and what is kept stands between what is not. */
START_TEST(numbers_of_volatile_messages_are_not_given_again)
{
    uint64_t last = 0, random = 88172645463325252u + (uint64_t)_i;

    for (unsigned round = 0; round < 10; round++) {
        unsigned n_volatile = (unsigned)(next_random(&random) % 6000);
        bool keeps_one = next_random(&random) % 2 == 0;
        int fds[2], status;
        uint64_t seq, epoch = 0;
        struct store *s;
        pid_t pid;

        ck_assert_int_eq(pipe(fds), 0);
        pid = fork_alone(fds[1]);
        if (pid == 0) {
            if (store_try(SQLITE_SYNC_NONE, 0, leaves_nothing, &s) < 0)
                _exit(1);
            for (unsigned i = 0; i < n_volatile; i++)
                (void)append(s, 0, "x", 0);
            s->limits = roomy;
            if (keeps_one)
                (void)append(s, 1, "y", 0);
            s->limits = leaves_nothing;
            seq = append(s, 0, "x", 0).seq;
            (void)!write(fds[1], &seq, sizeof(seq));
            for (;;)
                pause();
        }
        close(fds[1]);
        ck_assert_int_eq(read(fds[0], &seq, sizeof(seq)), sizeof(seq));
        close(fds[0]);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_uint_gt(seq, last);
        s = store_new(SQLITE_SYNC_NONE, 0);
        ck_assert(epoch == 0 || epoch == ops->epoch(s->b));
        epoch = ops->epoch(s->b);
        ck_assert_uint_ge(ops->last_seq(s->b), seq);
        ck_assert_uint_lt(ops->last_seq(s->b), seq + 10000);
        last = append(s, 1, "z", 0).seq;
        ck_assert_uint_gt(last, seq);
        store_free(s);
    }
}
END_TEST

START_TEST(volatile_messages_go_on_for_a_while_on_a_full_disk)
{
    struct store *s;
    unsigned n = 0;
    int error;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, leaves_nothing, &s), 0);
    append(s, 0, "x", 0);
    set_file_limit(1);
    while ((error = append(s, 0, "x", 0).error) == 0)
        ck_assert_uint_lt(++n, 10000);
    ck_assert_uint_gt(n, 100);
    ck_assert_int_lt(error, 0);
    set_file_limit(RLIM_INFINITY);
    ck_assert_uint_eq(append(s, 0, "x", 0).seq, n + 2);
    store_free(s);
}
END_TEST

/* ---- Very many. ---- */

#define N_MANY 50000u

static void
free_append(struct append *a)
{
    ck_assert_int_eq(a->error, 0);
    free(a);
}

static void
push_many(struct store *s, unsigned topic, unsigned n)
{
    s->on_answer = free_append;
    for (unsigned i = 0; i < n; i++) {
        struct append *a = calloc(1, sizeof(*a));

        while (push(s, a, topic, slice_str("a message of a queue that is long"), 0) == -EAGAIN)
            run_ms(s, 1);
    }
    while (s->n_under_way > 0)
        run_ms(s, 1);
    s->on_answer = NULL;
}

/* All that is ready costs nothing but its messages; a purge is one save, and rows go by and by. */
START_TEST(long_queue_has_no_items_and_is_purged_at_once)
{
    struct store_group *group;
    struct store *s;
    uint64_t n;

    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.is_held = true}, &s), 0);
    ops->topic_hold(s->b, topic_of(s, 0), 0);
    group = group_of(s, 0, "g");
    push_many(s, 0, N_MANY);
    ck_assert_uint_eq(stats_of(s).n_records, N_MANY);
    ck_assert_uint_eq(stats_of(s).n_items, 0);
    ck_assert_int_eq(query("SELECT count(*) FROM queue_items"), 0);
    ck_assert_int_eq(save(s, group, NULL, 0, ops->last_seq(s->b)), 0);
    ops->topic_trim(s->b, topic_of(s, 0), ops->last_seq(s->b));
    ck_assert_uint_eq(append(s, 0, "next", 0).seq, N_MANY + 1);
    ops->topic_stats(s->b, topic_of(s, 0), NULL, &n, NULL);
    ck_assert_uint_eq(n, 1);
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    while (query("SELECT count(*) FROM messages") > 1)
        run_ms(s, 10);
    loop_timer_stop(s->loop, &s->deadline);
    store_free(s);
    check_figures();
}
END_TEST

static void
exit_now(struct append *a)
{
    _exit(a->seq == 20001 ? 0 : 2);
}

/* What was to be deleted when the process ended is deleted when something goes next. */
START_TEST(purge_that_was_interrupted_is_finished)
{
    struct store *s;
    int status;
    pid_t pid = fork_alone(-1);
    uint64_t n;

    if (pid == 0) {
        if (store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.is_held = true}, &s) < 0)
            _exit(1);
        ops->topic_hold(s->b, topic_of(s, 0), 0);
        push_many(s, 0, 20000);
        ops->topic_trim(s->b, topic_of(s, 0), 20000);
        s->on_answer = exit_now;
        (void)append(s, 0, "next", 0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    if (query("SELECT count(*) FROM messages") < 1000)
        return; /* it was faster than its end */
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.is_held = true}, &s), 0);
    ops->topic_stats(s->b, topic_of(s, 0), NULL, &n, NULL);
    ck_assert_uint_eq(n, 1);
    push_many(s, 0, 100);
    ops->topic_trim(s->b, topic_of(s, 0), 20090);
    append(s, 0, "x", 0);
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    while (query("SELECT count(*) FROM messages") > 100)
        run_ms(s, 10);
    loop_timer_stop(s->loop, &s->deadline);
    store_free(s);
    check_figures();
}
END_TEST

static bool
has_no_records(struct store *s, void *arg)
{
    return stats_of(s).n_records == 0;
}

/* It did not wait for all. */
static void
check_most_are_there(struct append *a)
{
    ck_assert_uint_gt(stats_of(a->s).n_records, N_MANY / 4);
}

START_TEST(very_many_that_expire_at_once_stop_nobody)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0);
    int64_t end_ms = in_ms(s, 1);

    s->on_answer = free_append;
    for (unsigned i = 0; i < N_MANY; i++) {
        struct append *a = calloc(1, sizeof(*a));
        struct record *record = record_of("soon over", end_ms, 0);

        while (push_record(s, a, i % 7, record_ref(record), 0) == -EAGAIN)
            run_ms(s, 1);
        record_unref(record);
    }
    while (s->n_under_way > 0)
        run_ms(s, 1);
    s->on_answer = check_most_are_there;
    ops->tick(s->b, 1000);
    ck_assert_int_eq(append(s, 8, "x", 0).error, 0);
    s->on_answer = NULL;
    ops->topic_drop(s->b, topic_of(s, 8));
    s->topics[8].store = NULL;
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    while (!has_no_records(s, NULL)) /* one tick is enough */
        run_ms(s, 1);
    loop_timer_stop(s->loop, &s->deadline);
    ck_assert_uint_eq(stats_of(s).n_expired, N_MANY);
    store_free(s);
    check_figures();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("sqlite-queue");

    add(s, "queues_and_times_are_whole_when_the_process_is_killed",
        queues_and_times_are_whole_when_the_process_is_killed, 6);
    add(s, "full_disk_forgets_no_group_and_loses_nothing_that_is_due",
        full_disk_forgets_no_group_and_loses_nothing_that_is_due, 1);
    add(s, "volatile_messages_cost_no_disk", volatile_messages_cost_no_disk, 1);
    add(s, "numbers_of_volatile_messages_are_not_given_again",
        numbers_of_volatile_messages_are_not_given_again, 2);
    add(s, "volatile_messages_go_on_for_a_while_on_a_full_disk",
        volatile_messages_go_on_for_a_while_on_a_full_disk, 1);
    add(s, "long_queue_has_no_items_and_is_purged_at_once", long_queue_has_no_items_and_is_purged_at_once, 1);
    add(s, "purge_that_was_interrupted_is_finished", purge_that_was_interrupted_is_finished, 1);
    add(s, "very_many_that_expire_at_once_stop_nobody", very_many_that_expire_at_once_stop_nobody, 1);
    return run_suite(s);
}
