/* SPDX-License-Identifier: Apache-2.0 */
/* A store to try: see storefixture.h. */
#include "config.h"

#include "tests/conformance/backend/storefixture.h"

#include <errno.h>
#include <unistd.h>

#include "backends/memory/memory.h"
#include "backends/sqlite/sqlite.h"

const struct backend_ops *ops;
uint64_t variant_cache;
const struct store_limits roomy = {.messages = 1000};

/* ---- The fixture. ---- */

static void
on_record(struct record *record, void *arg)
{
    struct fixture *f = arg;

    ck_assert_uint_lt(f->n_delivered, MAX_SEEN);
    f->delivered[f->n_delivered++] = record_ref(record);
}

/* An answer came. It may have come before anybody waited. */
static void
stop_waiting(struct fixture *f)
{
    if (f->is_waiting)
        loop_stop(f->loop);
}

static void
on_appended(void *cookie, int error, enum append_outcome outcome, uint64_t seq, void *arg)
{
    struct appended *a = cookie;

    ck_assert(!a->is_done);
    *a = (struct appended){a->f, true, error, outcome, seq};
    stop_waiting(a->f);
}

static void
on_deadline(void *arg)
{
    ck_abort_msg("no answer came before the deadline");
}

static void
stop_loop(void *arg)
{
    loop_stop(arg);
}

void
run_ms(struct fixture *f, uint64_t ms)
{
    struct loop_timer timer = {.fn = stop_loop, .arg = f->loop};

    loop_timer_start(f->loop, &timer, ms);
    ck_assert_int_eq(loop_run(f->loop), 0);
}

void
wait_for(struct fixture *f, const bool *is_done)
{
    loop_timer_start(f->loop, &f->deadline, DEADLINE_MS);
    f->is_waiting = true;
    while (!*is_done)
        ck_assert_int_eq(loop_run(f->loop), 0);
    f->is_waiting = false;
    loop_timer_stop(f->loop, &f->deadline);
}

/* ---- Opening and closing. ---- */

/* In memory if there is such a place: the disk is not what is tested. */
static void
make_folder(struct fixture *f)
{
    snprintf(f->folder, sizeof(f->folder), "/dev/shm/bb-store-XXXXXX");
    if (mkdtemp(f->folder) == NULL) {
        snprintf(f->folder, sizeof(f->folder), "/tmp/bb-store-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(f->folder));
    }
}

static void
remove_files(struct fixture *f)
{
    static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"};
    char path[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", f->folder, names[i]);
        (void)unlink(path);
    }
    ck_assert_int_eq(rmdir(f->folder), 0);
}

/* With next to no cache: what it is asked for comes from the file. */
static void
open_sqlite(struct fixture *f, const struct store_host *host)
{
    char path[64];
    struct sqlite_options options = {
        .path = path,
        .sync = SQLITE_SYNC_NONE,
        .cache_bytes = variant_cache,
        .queue_max = 100000,
        .queue_bytes = 1 << 30,
        .bytes_max = f->bytes_max,
        .key_window_ms = f->key_window_ms,
        .keys_max = f->keys_max,
    };

    if (f->folder[0] == '\0')
        make_folder(f);
    snprintf(path, sizeof(path), "%s/store.db", f->folder);
    ck_assert_int_eq(ops->open(&options, f->loop, host, &f->b), 0);
}

static void
open_memory(struct fixture *f, const struct store_host *host)
{
    struct memory_options options = {
        .bytes_max = f->bytes_max, .key_window_ms = f->key_window_ms, .keys_max = f->keys_max};

    ck_assert_int_eq(ops->open(&options, f->loop, host, &f->b), 0);
}

/* A topic that the store has from before. */
static int
on_topic(struct slice name, struct store_topic *store, void **ret_cookie, struct store_limits *ret_limits,
    void *arg)
{
    struct fixture *f = arg;
    unsigned n;

    ck_assert_int_eq(sscanf((const char *)name.p, "topic/%u", &n), 1);
    ck_assert_uint_lt(n, N_TOPICS);
    ck_assert(!f->topics[n].is_restored);
    f->topics[n].number = n;
    f->topics[n].store = store;
    f->topics[n].is_restored = true;
    *ret_cookie = &f->topics[n];
    *ret_limits = f->topics[n].limits;
    return 0;
}

static int
on_group(void *cookie, struct slice name, struct store_group *store, const struct store_group_state *state,
    void **ret_cookie, void *arg)
{
    struct fixture *f = arg;
    const struct topic *topic = cookie;
    struct restored_group *group = &f->groups[f->n_groups++];

    ck_assert_uint_le(f->n_groups, N_GROUPS);
    ck_assert(topic->is_restored);
    *group = (struct restored_group){
        .topic = topic->number, .store = store, .floor = state->floor, .state = *state};
    snprintf(group->name, sizeof(group->name), "%.*s", SLICE_ARG(name));
    *ret_cookie = group;
    return 0;
}

static int
on_group_item(void *cookie, const struct store_item *item, void *arg)
{
    struct restored_group *group = cookie;

    ck_assert_uint_lt(group->n_items, MAX_ITEMS);
    ck_assert_uint_gt(item->seq, group->n_items > 0 ? group->items[group->n_items - 1].seq : group->floor);
    group->items[group->n_items++] = *item;
    return 0;
}

static void
on_saved(void *cookie, int error, void *arg)
{
    struct saved *saved = cookie;

    ck_assert(!saved->is_done);
    saved->is_done = true;
    saved->error = error;
    saved->last_seq = ops->last_seq(saved->f->b);
    stop_waiting(saved->f);
}

static void
fixture_open(struct fixture *f)
{
    struct store_host host = {.on_record = on_record,
        .on_appended = on_appended,
        .on_topic = on_topic,
        .on_group = on_group,
        .on_group_item = on_group_item,
        .on_saved = on_saved,
        .arg = f};

    if (ops == &backend_sqlite)
        open_sqlite(f, &host);
    else
        open_memory(f, &host);
    if (ops->restore != NULL)
        ck_assert_int_eq(ops->restore(f->b), 0);
}

struct fixture *
fixture_new(uint64_t bytes_max, uint64_t key_window_ms, uint64_t keys_max)
{
    struct fixture *f = calloc(1, sizeof(*f));

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(loop_new(&f->loop), 0);
    f->deadline = (struct loop_timer){.fn = on_deadline};
    f->bytes_max = bytes_max;
    f->key_window_ms = key_window_ms;
    f->keys_max = keys_max;
    fixture_open(f);
    return f;
}

struct fixture *
fixture_usual(void)
{
    return fixture_new(0, 120000, 1000);
}

bool
fixture_reopen(struct fixture *f)
{
    if (ops->restore == NULL)
        return false;
    ops->close(f->b);
    for (unsigned i = 0; i < N_TOPICS; i++) {
        f->topics[i].store = NULL;
        f->topics[i].is_restored = false;
    }
    f->n_groups = 0;
    fixture_open(f);
    return true;
}

void
fixture_free(struct fixture *f)
{
    for (size_t i = 0; i < f->n_delivered; i++)
        record_unref(f->delivered[i]);
    ops->close(f->b);
    if (f->folder[0] != '\0')
        remove_files(f);
    loop_free(f->loop);
    free(f);
}

/* ---- Topics. ---- */

void
open_topic(struct fixture *f, unsigned n, const struct store_limits *limits)
{
    char name[32];

    snprintf(name, sizeof(name), "topic/%u", n);
    f->topics[n].number = n;
    f->topics[n].limits = *limits;
    ck_assert_int_eq(ops->topic_open(f->b, slice_str(name), &f->topics[n], limits, &f->topics[n].store), 0);
}

struct appended
append_record(struct fixture *f, unsigned n, struct record *record, struct store_origin origin)
{
    struct appended a = {.f = f};

    ck_assert_int_eq(ops->append_take(f->b, f->topics[n].store, record, origin, &a), 0);
    wait_for(f, &a.is_done);
    ck_assert_int_eq(a.error, 0);
    return a;
}

struct appended
append_as(struct fixture *f, unsigned n, const char *key, struct slice body, uint8_t flags,
    struct store_origin origin)
{
    struct record *record = record_new(slice_str("t"), slice_str("h"), slice_str(key), body);

    ck_assert_ptr_nonnull(record);
    record->flags = flags;
    record->kind = 1;
    return append_record(f, n, record, origin);
}

uint64_t
append(struct fixture *f, unsigned n, const char *body)
{
    struct appended a = append_as(f, n, "", slice_str(body), 0, (struct store_origin){0});

    ck_assert_int_eq(a.outcome, APPEND_OK);
    return a.seq;
}

/* ---- Reads. ---- */

static bool
reading_wants(void *topic, void *arg)
{
    struct reading *r = arg;
    unsigned n = ((struct topic *)topic)->number;

    r->n_asked[n]++;
    return (r->wanted >> n & 1) != 0;
}

static void
reading_on_record(struct record *record, void *arg)
{
    struct reading *r = arg;

    ck_assert(!r->is_done);
    ck_assert_uint_lt(r->n_seen, MAX_SEEN);
    if (r->n_seen > 0)
        ck_assert_uint_gt(record->seq, r->seen[r->n_seen - 1]->seq);
    r->seen[r->n_seen++] = record_ref(record);
}

static void
reading_on_gap(void *topic, uint64_t seq, void *arg)
{
    struct reading *r = arg;

    ck_assert(!r->is_done);
    r->n_before_gap += r->n_seen;
    if (topic == NULL)
        r->gap_unnamed = seq;
    else
        r->gap[((struct topic *)topic)->number] = seq;
}

static void
reading_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct reading *r = arg;

    ck_assert(!r->is_done);
    r->is_done = true;
    r->error = error;
    r->upto = upto;
    r->is_cut_short = is_cut_short;
    stop_waiting(r->f);
}

void
reading_reset(struct reading *r)
{
    for (size_t i = 0; i < r->n_seen; i++)
        record_unref(r->seen[i]);
    memset(r, 0, sizeof(*r));
}

void
read_with(struct fixture *f, struct reading *r, unsigned wanted, struct store_read read)
{
    reading_reset(r);
    r->wanted = wanted;
    r->f = f;
    read.wants = reading_wants;
    read.on_record = reading_on_record;
    read.on_gap = reading_on_gap;
    read.on_done = reading_on_done;
    read.arg = r;
    ck_assert_int_eq(ops->read(f->b, &read), 0);
    wait_for(f, &r->is_done);
    ck_assert_int_eq(r->error, 0);
    ck_assert_uint_eq(r->n_before_gap, 0);
}

void
read_since(struct fixture *f, struct reading *r, unsigned wanted, uint64_t since)
{
    read_with(f, r, wanted, (struct store_read){.since = since});
    ck_assert(!r->is_cut_short);
    ck_assert_uint_eq(r->upto, ops->last_seq(f->b));
}

/* The bodies of what was read, as "a b c". */
void
check_seen(const struct reading *r, const char *expected)
{
    char got[4096] = "";
    size_t n = 0;

    for (size_t i = 0; i < r->n_seen && n < sizeof(got) - 64; i++)
        n += (size_t)snprintf(
            got + n, sizeof(got) - n, "%s%.*s", i > 0 ? " " : "", SLICE_ARG(record_body(r->seen[i])));
    ck_assert_str_eq(got, expected);
}

/* ---- Groups. ---- */

struct store_group *
open_group(struct fixture *f, unsigned topic, const char *name, uint64_t floor)
{
    struct store_group *group;

    ck_assert_int_eq(ops->group_open(f->b, f->topics[topic].store, slice_str(name),
                         &(struct store_group_state){.floor = floor}, NULL, &group),
        0);
    return group;
}

void
save(struct fixture *f, struct store_group *group, const struct store_item *items, size_t n, uint64_t floor)
{
    struct saved saved = {.f = f};

    ck_assert_int_eq(
        ops->group_save(f->b, group, items, n, &(struct store_group_state){.floor = floor}, &saved), 0);
    wait_for(f, &saved.is_done);
    ck_assert_int_eq(saved.error, 0);
}

/* ---- Retained values. ---- */

void
check_retained(struct fixture *f, unsigned n, const char *expected)
{
    struct record *record = ops->retained(f->b, f->topics[n].store);

    if (expected == NULL) {
        ck_assert_ptr_null(record);
        return;
    }
    ck_assert_ptr_nonnull(record);
    ck_assert_msg(
        slice_is(record_body(record), expected), "%.*s, not %s", SLICE_ARG(record_body(record)), expected);
    record_unref(record);
}

void
append_flagged(struct fixture *f, unsigned n, const char *body)
{
    append_as(f, n, "", slice_str(body), RECORD_RETAIN, (struct store_origin){0});
}
