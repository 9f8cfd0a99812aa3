/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlitesupport.h. */
#include "config.h"

#include "tests/unit/backends/sqlitesupport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct backend_ops *const ops = &backend_sqlite;

char folder[64], path[128];

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

static int
on_group(void *topic, struct slice name, struct store_group *store, const struct store_group_state *state,
    void **ret_cookie, void *arg)
{
    struct store *s = arg;
    struct group *group = &s->groups[s->n_groups];

    if (s->n_groups == GROUPS_MAX)
        return -EUCLEAN;
    s->n_groups++;
    *group = (struct group){
        .topic = ((struct topic *)topic)->number, .store = store, .floor = state->floor, .state = *state};
    snprintf(group->name, sizeof(group->name), "%.*s", SLICE_ARG(name));
    *ret_cookie = group;
    return 0;
}

static int
on_group_item(void *cookie, const struct store_item *item, void *arg)
{
    struct group *group = cookie;
    uint64_t last = group->n_items > 0 ? group->items[group->n_items - 1].seq : group->floor;

    if (group->n_items == ITEMS_MAX || item->seq <= last)
        return -EUCLEAN;
    group->items[group->n_items++] = *item;
    return 0;
}

struct saving {
    bool is_done;
    int error;
};

static void
on_saved(void *cookie, int error, void *arg)
{
    struct store *s = arg;

    if (s->on_saved != NULL) {
        s->on_saved(cookie, error, s);
        return;
    }
    *(struct saving *)cookie = (struct saving){true, error};
    if (s->is_waiting)
        loop_stop(s->loop);
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

int
store_try(enum sqlite_sync sync, uint64_t cache, struct store_limits limits, struct store **ret)
{
    struct store *s = calloc(1, sizeof(*s));
    struct store_host host = {.on_record = on_record,
        .on_appended = on_appended,
        .on_topic = on_topic,
        .on_group = on_group,
        .on_group_item = on_group_item,
        .on_saved = on_saved,
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

struct store *
store_start_again(void)
{
    struct store *s;
    int r = store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 1000000}, &s);

    if (r == -EUCLEAN)
        r = store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 1000000}, &s);
    ck_assert_int_eq(r, 0);
    return s;
}

struct store *
store_new(enum sqlite_sync sync, uint64_t cache)
{
    struct store *s;

    ck_assert_int_eq(store_try(sync, cache, (struct store_limits){.messages = 1000000}, &s), 0);
    return s;
}

void
store_free(struct store *s)
{
    ops->close(s->b);
    loop_free(s->loop);
    free(s);
}

void
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

void
run_ms(struct store *s, uint64_t ms)
{
    struct loop_timer timer = {.fn = stop_loop, .arg = s->loop};

    loop_timer_start(s->loop, &timer, ms);
    ck_assert_int_eq(loop_run(s->loop), 0);
}

struct store_topic *
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

int
push_record(struct store *s, struct append *a, unsigned topic, struct record *record, uint64_t pub)
{
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

int
push(struct store *s, struct append *a, unsigned topic, struct slice body, uint64_t pub)
{
    return push_record(s, a, topic, record_new(slice_str(""), slice_str(""), slice_str(""), body), pub);
}

struct store_stats
stats_of(struct store *s)
{
    struct store_stats stats;

    ops->stats(s->b, &stats);
    return stats;
}

struct store_group *
group_of(struct store *s, unsigned topic, const char *name)
{
    struct store_group *group;

    for (unsigned i = 0; i < s->n_groups; i++)
        if (s->groups[i].topic == topic && strcmp(s->groups[i].name, name) == 0)
            return s->groups[i].store;
    ck_assert_int_eq(ops->group_open(s->b, topic_of(s, topic), slice_str(name),
                         &(struct store_group_state){0}, NULL, &group),
        0);
    return group;
}

int
save(struct store *s, struct store_group *group, const struct store_item *items, size_t n, uint64_t floor)
{
    struct saving saving = {0};

    ck_assert_int_eq(
        ops->group_save(s->b, group, items, n, &(struct store_group_state){.floor = floor}, &saving), 0);
    wait_for(s, &saving.is_done);
    return saving.error;
}

void
tick_until(struct store *s, bool (*is_so)(struct store *s, void *arg), void *arg)
{
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    while (!is_so(s, arg)) {
        ops->tick(s->b, 1000);
        run_ms(s, 1);
    }
    loop_timer_stop(s->loop, &s->deadline);
}

struct append
append(struct store *s, unsigned topic, const char *body, uint64_t pub)
{
    struct append a = {0};

    ck_assert_int_eq(push(s, &a, topic, slice_str(body), pub), 0);
    wait_for(s, &a.is_done);
    return a;
}

struct append
append_at_last(struct store *s)
{
    struct append a = append(s, 1, "at last", 0);

    for (unsigned tries = 0; a.error != 0 && !s->is_broken && tries < 200; tries++) {
        run_ms(s, 50);
        a = append(s, 1, "at last", 0);
    }
    return a;
}

/* ---- Reading it. ---- */

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

void
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

int
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

void
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

void
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

void
tear_down(void)
{
    empty_folder();
    (void)rmdir(folder);
}

int64_t
query(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    int64_t value;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

void
check_figures(void)
{
    ck_assert_int_eq(query("SELECT count(*) FROM topics t WHERE messages != (SELECT count(*) FROM messages m"
                           " WHERE m.topic = t.id AND m.seq > t.evicted_seq)"),
        0);
    ck_assert_int_eq(query("SELECT count(*) FROM topics t WHERE bytes != (SELECT total(size) FROM messages m"
                           " WHERE m.topic = t.id AND m.seq > t.evicted_seq)"),
        0);
    ck_assert_int_eq(query("SELECT count(*) FROM queue_items WHERE queue_group NOT IN"
                           " (SELECT id FROM queue_groups)"),
        0);
    ck_assert_int_eq(query("SELECT count(*) FROM queue_items i JOIN queue_groups g ON g.id = i.queue_group"
                           " WHERE i.seq <= g.floor"),
        0);
    ck_assert_int_eq(query("SELECT count(*) FROM scheduled WHERE topic NOT IN (SELECT id FROM topics)"), 0);
}

unsigned
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

uint64_t
next_random(uint64_t *random)
{
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    return *random;
}

pid_t
fork_alone(int kept_fd)
{
    pid_t pid = fork();
    int null = pid == 0 ? open("/dev/null", O_RDWR) : -1;

    for (int fd = 3; pid == 0 && fd < 1024; fd++)
        if (fd != null && fd != kept_fd && fcntl(fd, F_GETFD) >= 0)
            (void)dup2(null, fd);
    return pid;
}

void
add(Suite *s, const char *name, const TTest *test, int n)
{
    TCase *t = tcase_create(name);

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, test, 0, n);
    suite_add_tcase(s, t);
}

int
run_suite(Suite *s)
{
    SRunner *runner = srunner_create(s);
    int n_failed;

    srunner_run_all(runner, CK_NORMAL);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
