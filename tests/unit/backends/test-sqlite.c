/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store in a file has to stand: the end of its process at any moment, a full disk, files that may
 * not be written to, are damaged, or come from a later version; and reads from the file beside appends. What
 * all backends have to do is in tests/conformance/backend.
 */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

#include "backends/backend.h"
#include "backends/sqlite/sqlite.h"
#include "base/loop.h"

#define DEADLINE_MS 20000
#define TOPICS_MAX 300
#define BOOT 77

static const struct backend_ops *const ops = &backend_sqlite;

struct store;

struct topic {
    unsigned number;
    struct store_topic *store;
};

struct append {
    struct store *s;
    bool is_done;
    int error;
    enum append_outcome outcome;
    uint64_t seq;
};

struct store {
    struct loop *loop;
    struct backend *b;
    struct topic topics[TOPICS_MAX];
    struct store_limits limits;
    struct loop_timer deadline;
    uint64_t n_records, last_seq;
    unsigned n_restored, n_under_way;
    bool is_waiting, is_broken;
    void (*on_answer)(struct append *a);
};

static char folder[64], path[128];

/* ---- A store. ---- */

static void
on_record(struct record *record, void *arg)
{
    struct store *s = arg;

    ck_assert_uint_gt(record->seq, s->last_seq);
    s->last_seq = record->seq;
    s->n_records++;
}

static void
on_appended(void *cookie, int error, enum append_outcome outcome, uint64_t seq, void *arg)
{
    struct append *a = cookie;
    struct store *s = a->s;

    ck_assert(!a->is_done);
    a->is_done = true;
    a->error = error;
    a->outcome = outcome;
    a->seq = seq;
    s->n_under_way--;
    if (s->on_answer != NULL)
        s->on_answer(a);
    if (s->is_waiting)
        loop_stop(s->loop);
}

static int
on_topic(struct slice name, struct store_topic *topic, void **ret_cookie, struct store_limits *ret_limits,
    void *arg)
{
    struct store *s = arg;
    unsigned n;

    if (sscanf((const char *)name.p, "topic/%u", &n) != 1 || n >= TOPICS_MAX || s->topics[n].store != NULL)
        return -EUCLEAN;
    s->topics[n] = (struct topic){n, topic};
    s->n_restored++;
    *ret_cookie = &s->topics[n];
    *ret_limits = s->limits;
    return 0;
}

static void
on_broken(void *arg)
{
    ((struct store *)arg)->is_broken = true;
}

static void
on_deadline(void *arg)
{
    ck_abort_msg("no answer came before the deadline");
}

static int
store_try(enum sqlite_sync sync, uint64_t cache, struct store_limits limits, struct store **ret)
{
    struct store *s = calloc(1, sizeof(*s));
    struct store_host host = {.on_record = on_record,
        .on_appended = on_appended,
        .on_topic = on_topic,
        .on_broken = on_broken,
        .arg = s};
    struct sqlite_options options = {
        .path = path,
        .sync = sync,
        .sync_interval_ms = 10,
        .cache_bytes = cache,
        .queue_max = 1000,
        .queue_bytes = 1 << 30,
        .key_window_ms = 120000,
        .keys_max = 1000,
    };
    int r;

    ck_assert_ptr_nonnull(s);
    s->limits = limits;
    ck_assert_int_eq(loop_new(&s->loop), 0);
    s->deadline = (struct loop_timer){.fn = on_deadline};
    r = ops->open(&options, s->loop, &host, &s->b);
    if (r == 0)
        r = ops->restore(s->b);
    if (r < 0 && s->b != NULL)
        ops->close(s->b);
    if (r < 0) {
        loop_free(s->loop);
        free(s);
        return r;
    }
    s->last_seq = ops->last_seq(s->b);
    *ret = s;
    return 0;
}

/* What was found damaged only now is set aside by the next start, and whoever started the broker starts it
 * again. */
static struct store *
store_start_again(void)
{
    struct store *s;
    int r = store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 1000000}, &s);

    if (r == -EUCLEAN)
        r = store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 1000000}, &s);
    ck_assert_int_eq(r, 0);
    return s;
}

static struct store *
store_new(enum sqlite_sync sync, uint64_t cache)
{
    struct store *s;

    ck_assert_int_eq(store_try(sync, cache, (struct store_limits){.messages = 1000000}, &s), 0);
    return s;
}

static void
store_free(struct store *s)
{
    ops->close(s->b);
    loop_free(s->loop);
    free(s);
}

static void
wait_for(struct store *s, const bool *is_done)
{
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    s->is_waiting = true;
    while (!*is_done)
        ck_assert_int_eq(loop_run(s->loop), 0);
    s->is_waiting = false;
    loop_timer_stop(s->loop, &s->deadline);
}

static void
stop_loop(void *arg)
{
    loop_stop(arg);
}

static void
run_ms(struct store *s, uint64_t ms)
{
    struct loop_timer timer = {.fn = stop_loop, .arg = s->loop};

    loop_timer_start(s->loop, &timer, ms);
    ck_assert_int_eq(loop_run(s->loop), 0);
}

static struct store_topic *
topic_of(struct store *s, unsigned n)
{
    char name[32];

    if (s->topics[n].store == NULL) {
        snprintf(name, sizeof(name), "topic/%u", n);
        s->topics[n].number = n;
        ck_assert_int_eq(
            ops->topic_open(s->b, slice_str(name), &s->topics[n], &s->limits, &s->topics[n].store), 0);
    }
    return s->topics[n].store;
}

/* Hands it over and does not wait. -EAGAIN: full. */
static int
push(struct store *s, struct append *a, unsigned topic, struct slice body, uint64_t pub)
{
    struct record *record = record_new(slice_str(""), slice_str(""), slice_str(""), body);
    int r;

    ck_assert_ptr_nonnull(record);
    record->kind = 1;
    a->s = s;
    s->n_under_way++;
    r = ops->append_take(
        s->b, topic_of(s, topic), record, (struct store_origin){.boot = pub != 0 ? BOOT : 0, .pub = pub}, a);
    if (r < 0)
        s->n_under_way--;
    return r;
}

static struct append
append(struct store *s, unsigned topic, const char *body, uint64_t pub)
{
    struct append a = {0};

    ck_assert_int_eq(push(s, &a, topic, slice_str(body), pub), 0);
    wait_for(s, &a.is_done);
    return a;
}

/* ---- Reading it. ---- */

struct reading {
    struct store *s;
    bool (*wants)(unsigned topic);
    void (*on_record)(struct record *record, void *arg);
    void *arg;
    uint64_t gap[TOPICS_MAX], gap_unnamed;
    uint64_t n, upto;
    bool is_done, is_cut_short;
    int error;
};

static bool
reading_wants(void *topic, void *arg)
{
    struct reading *r = arg;

    return r->wants == NULL || r->wants(((struct topic *)topic)->number);
}

static void
reading_on_record(struct record *record, void *arg)
{
    struct reading *r = arg;

    r->n++;
    if (r->on_record != NULL)
        r->on_record(record, r->arg);
}

static void
reading_on_gap(void *topic, uint64_t seq, void *arg)
{
    struct reading *r = arg;

    if (topic == NULL)
        r->gap_unnamed = seq;
    else
        r->gap[((struct topic *)topic)->number] = seq;
}

static void
reading_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct reading *r = arg;

    r->is_done = true;
    r->error = error;
    r->upto = upto;
    r->is_cut_short = is_cut_short;
    if (r->s->is_waiting)
        loop_stop(r->s->loop);
}

static void
reading_start(struct store *s, struct reading *r, uint64_t since, size_t max_bytes)
{
    struct store_read read = {
        .wants = reading_wants,
        .since = since,
        .max_bytes = max_bytes,
        .on_record = reading_on_record,
        .on_gap = reading_on_gap,
        .on_done = reading_on_done,
        .arg = r,
    };

    r->s = s;
    r->is_done = false;
    ck_assert_int_eq(ops->read(s->b, &read), 0);
}

/* All of it, in pieces. */
static int
read_all(struct store *s, struct reading *r, uint64_t since)
{
    do {
        reading_start(s, r, since, 16384);
        wait_for(s, &r->is_done);
        since = r->upto;
    } while (r->error == 0 && r->is_cut_short);
    return r->error;
}

/* ---- Files. ---- */

static void
empty_folder(void)
{
    DIR *d = opendir(folder);
    struct dirent *entry;

    ck_assert_ptr_nonnull(d);
    while ((entry = readdir(d)) != NULL)
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
}

static void
set_up(void)
{
    /* In memory if there is such a place: what is tested here is not the disk. */
    snprintf(folder, sizeof(folder), "/dev/shm/bb-sqlite-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        snprintf(folder, sizeof(folder), "/tmp/bb-sqlite-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(folder));
    }
    snprintf(path, sizeof(path), "%s/store.db", folder);
}

static void
tear_down(void)
{
    empty_folder();
    (void)rmdir(folder);
}

static unsigned
count_files(const char *prefix)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    while ((entry = readdir(d)) != NULL)
        n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

static uint64_t
next_random(uint64_t *random)
{
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    return *random;
}

/* ---- The end of the process at any moment. ---- */

/* A process of its own. Check's assertions write to a file that it would share with us. */
static pid_t
fork_alone(int kept_fd)
{
    pid_t pid = fork();
    int null = pid == 0 ? open("/dev/null", O_RDWR) : -1;

    for (int fd = 3; pid == 0 && fd < 1024; fd++)
        if (fd != null && fd != kept_fd && fcntl(fd, F_GETFD) >= 0)
            (void)dup2(null, fd);
    return pid;
}

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

    snprintf(body, sizeof(body), "%.*s", SLICE_ARG(record->body)); /* which has no NUL behind it */
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
    ck_assert(slice_is(retained->body, "kept"));
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

START_TEST(a_second_broker_is_kept_out)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0), *t;

    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, s->limits, &t), -EWOULDBLOCK);
    store_free(s);
}
END_TEST

/* ---- Files that cannot be used. ---- */

static void
execute(const char *sql)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

START_TEST(file_of_a_newer_version_is_set_aside)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0);
    uint64_t epoch = ops->epoch(s->b);

    append(s, 0, "x", 0);
    store_free(s);
    execute("PRAGMA user_version = 1000");
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_ne(ops->epoch(s->b), epoch);
    ck_assert_uint_eq(ops->last_seq(s->b), 0);
    ck_assert_uint_eq(count_files("store.db.newer-"), 1);
    ck_assert_int_eq(append(s, 0, "x", 0).error, 0);
    store_free(s);
}
END_TEST

START_TEST(database_of_another_program_is_left_alone)
{
    struct store *s;

    execute("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){0}, &s), -EEXIST);
    execute("SELECT a FROM theirs");
}
END_TEST

START_TEST(machine_that_went_down_makes_a_new_epoch_unless_all_was_synced)
{
    for (int sync = SQLITE_SYNC_NONE; sync <= SQLITE_SYNC_ALWAYS; sync++) {
        struct store *s = store_new((enum sqlite_sync)sync, 0);
        uint64_t epoch = ops->epoch(s->b);

        append(s, 0, "x", 0);
        store_free(s);
        execute("UPDATE state SET value = 12345 WHERE name = 'machine_run'");
        s = store_new((enum sqlite_sync)sync, 0);
        ck_assert_uint_eq(ops->epoch(s->b), epoch); /* it was closed in good order */
        store_free(s);
        execute("UPDATE state SET value = 12345 WHERE name = 'machine_run';"
                "UPDATE state SET value = 0 WHERE name = 'is_closed'");
        s = store_new((enum sqlite_sync)sync, 0);
        ck_assert_int_eq(ops->epoch(s->b) == epoch, sync == SQLITE_SYNC_ALWAYS);
        ck_assert_uint_eq(ops->last_seq(s->b), 1);
        store_free(s);
        empty_folder();
    }
}
END_TEST

static void
damage(uint64_t *random)
{
    int fd = open(path, O_RDWR);
    struct stat st;
    unsigned n = (unsigned)(next_random(random) % 3) * 20 + 1;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    for (unsigned i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)next_random(random);

        ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)(next_random(random) % (uint64_t)st.st_size)), 1);
    }
    if (next_random(random) % 4 == 0)
        ck_assert_int_eq(ftruncate(fd, (off_t)(next_random(random) % (uint64_t)st.st_size)), 0);
    close(fd);
}

START_TEST(damaged_file_never_keeps_the_bus_from_starting)
{
    uint64_t random = 0x2545f4914f6cdd1du * (uint64_t)(_i + 1);

    for (unsigned round = 0; round < 12; round++) {
        struct store *s = store_new(SQLITE_SYNC_NONE, 0);
        uint64_t epoch = ops->epoch(s->b);
        struct reading r = {0};

        for (unsigned i = 0; i < 300; i++)
            append(
                s, i % 20, "some text that is long enough to fill a few pages of the file, so to say", i + 1);
        store_free(s);
        damage(&random);
        s = store_start_again();
        (void)read_all(s, &r, 0);
        (void)append(s, 3, "x", 5000);
        if (s->is_broken) { /* found only while it was used: the next start sets it aside */
            store_free(s);
            s = store_new(SQLITE_SYNC_NONE, 0);
            ck_assert_uint_eq(count_files("store.db.damaged-") > 0, 1);
            ck_assert_uint_ne(ops->epoch(s->b), epoch);
        } else if (ops->epoch(s->b) != epoch) {
            ck_assert_uint_gt(count_files("store.db.damaged-"), 0);
        }
        if (!s->is_broken && ops->epoch(s->b) != epoch)
            ck_assert_int_eq(append(s, 4, "y", 5001).error, 0);
        store_free(s);
        empty_folder();
    }
}
END_TEST

/* ---- Disks that do not take it. ---- */

static void
set_file_limit(rlim_t limit)
{
    struct rlimit both;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &both), 0);
    both.rlim_cur = limit;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &both), 0);
}

START_TEST(full_disk_refuses_and_loses_nothing)
{
    static char body[20000];
    struct store *s = store_new((enum sqlite_sync)(_i % 3), 0);
    struct store_stats stats;
    struct reading r = {0};
    uint64_t n_kept = 0, last = 0, pub = 1;
    struct append a;

    signal(SIGXFSZ, SIG_IGN);
    memset(body, 'x', sizeof(body) - 1);
    for (unsigned round = 0; round < 3; round++) {
        set_file_limit((rlim_t)(round + 1) * 1000000);
        do {
            a = append(s, pub % 3, body, pub);
            if (a.error == 0) {
                ck_assert_uint_eq(a.seq, last + 1);
                last = a.seq;
                n_kept++;
                pub++;
            }
            ck_assert_uint_lt(n_kept, 1000);
        } while (a.error == 0);
        ck_assert_int_lt(append(s, pub % 3, body, pub).error, 0);
        ck_assert_uint_eq(ops->last_seq(s->b), last);
        set_file_limit(RLIM_INFINITY);
        a = append(s, pub % 3, "small", pub); /* the same publish again: not a repeat */
        ck_assert_int_eq(a.error, 0);
        ck_assert_int_eq(a.outcome, APPEND_OK);
        ck_assert_uint_eq(a.seq, ++last);
        n_kept++;
        pub++;
    }
    ops->stats(s->b, &stats);
    ck_assert_uint_ge(stats.n_failed, 6);
    ck_assert_uint_eq(stats.n_records, n_kept);
    store_free(s);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.n, n_kept);
    store_free(s);
}
END_TEST

START_TEST(file_that_may_not_be_written_is_read_until_it_may)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0);
    struct reading r = {0};
    bool is_root = geteuid() == 0;
    struct append a;

    append(s, 0, "x", 0);
    store_free(s);
    (void)unlink("store.db.lock");
    ck_assert_int_eq(chmod(path, 0444), 0);
    if (is_root) { /* who may write to everything is somebody else for a while */
        char lock[160];

        snprintf(lock, sizeof(lock), "%s.lock", path);
        (void)unlink(lock);
        ck_assert_int_eq(chmod(folder, 0777), 0);
        ck_assert_int_eq(seteuid(65534), 0);
    }
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(ops->last_seq(s->b), 1);
    ck_assert_int_eq(append(s, 0, "y", 0).error, -EROFS);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.n, 1);
    if (is_root)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chmod(path, 0666), 0);
    for (unsigned i = 0; i < 2; i++) { /* made by who might not write, like the file */
        char other[160];

        snprintf(other, sizeof(other), "%s%s", path, i == 0 ? "-wal" : "-shm");
        (void)chmod(other, 0666);
    }
    if (is_root)
        ck_assert_int_eq(seteuid(65534), 0);
    for (unsigned tries = 0; tries < 200; tries++) {
        run_ms(s, 50);
        a = append(s, 0, "y", 0);
        if (a.error == 0)
            break;
    }
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(a.seq, 2);
    store_free(s);
    if (is_root)
        ck_assert_int_eq(seteuid(0), 0);
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

/* A case of its own: CK_RUN_CASE=name runs it alone. */
static void
add(Suite *s, const char *name, const TTest *test, int n)
{
    TCase *t = tcase_create(name);

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, test, 0, n);
    suite_add_tcase(s, t);
}

int
main(void)
{
    Suite *s = suite_create("sqlite");
    SRunner *runner;
    int n_failed;

    add(s, "nothing_acknowledged_is_lost_when_the_process_is_killed",
        nothing_acknowledged_is_lost_when_the_process_is_killed, 6);
    add(s, "figures_and_values_are_as_before_after_a_kill", figures_and_values_are_as_before_after_a_kill, 1);
    add(s, "a_second_broker_is_kept_out", a_second_broker_is_kept_out, 1);
    add(s, "file_of_a_newer_version_is_set_aside", file_of_a_newer_version_is_set_aside, 1);
    add(s, "database_of_another_program_is_left_alone", database_of_another_program_is_left_alone, 1);
    add(s, "machine_that_went_down_makes_a_new_epoch_unless_all_was_synced",
        machine_that_went_down_makes_a_new_epoch_unless_all_was_synced, 1);
    add(s, "damaged_file_never_keeps_the_bus_from_starting", damaged_file_never_keeps_the_bus_from_starting,
        4);
    add(s, "full_disk_refuses_and_loses_nothing", full_disk_refuses_and_loses_nothing, 3);
    add(s, "file_that_may_not_be_written_is_read_until_it_may",
        file_that_may_not_be_written_is_read_until_it_may, 1);
    add(s, "read_of_many_topics_is_merged_and_complete", read_of_many_topics_is_merged_and_complete, 1);
    add(s, "nothing_is_missing_where_reads_meet_appends", nothing_is_missing_where_reads_meet_appends, 8);
    add(s, "close_answers_everything", close_answers_everything, 1);
    add(s, "full_queue_says_so_and_empties", full_queue_says_so_and_empties, 1);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
