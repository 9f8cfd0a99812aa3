/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that earlier versions of busbar wrote, as a broker left them that was killed: they are brought up to
 * date at the start and nothing in them is lost. old/version-1.db: 12 messages on topic/0, 12 on topic/1 of
 * which 5 are kept, a retained one and another on topic/2, on topic/3 one with a key, headers, a type and an
 * idempotency key; and in the log alone one more. store.sync was `always`. old/version-2.db: a queue topic/0
 * with a group.
 */
#include "config.h"

#include "tests/unit/backends/sqlitesupport.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OLD_EPOCH UINT64_C(0x4691e50ac9d57)

static void
copy_old(const char *name, const char *part)
{
    char command[700];

    snprintf(command, sizeof(command), "cp '%s/%s%s' '%s%s'", OLD_FILES, name, part, path, part);
    ck_assert_int_eq(system(command), 0);
}

struct tally {
    unsigned n[4];
    uint64_t last_seq;
};

static void
tally_record(struct record *record, void *arg)
{
    struct tally *t = arg;
    unsigned topic = ((struct topic *)record->topic)->number;

    t->n[topic]++;
    t->last_seq = record->seq;
    ck_assert_int_eq(record->expires_ms, 0);
    if (record->seq == 28) {
        ck_assert_uint_eq(topic, 3);
        ck_assert(slice_is(record_key(record), "thing"));
        ck_assert(slice_is(record_type(record), "text/x-order"));
        ck_assert_uint_gt(record->n_headers, 0);
    }
    if (record->seq == 30)
        ck_assert_uint_eq(record->n_body, 3000);
}

static void
check_old(struct store *s)
{
    struct tally t = {0};
    struct reading r = {.on_record = tally_record, .arg = &t};
    struct record *retained;

    ck_assert_uint_eq(ops->epoch(s->b), OLD_EPOCH);
    ck_assert_uint_eq(s->n_restored, 4);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(t.n[0], 12);
    ck_assert_uint_eq(t.n[1], 5);
    ck_assert_uint_eq(t.n[2], 2);
    ck_assert_uint_eq(t.n[3], 2);
    ck_assert_uint_eq(t.last_seq, 30);
    ck_assert_uint_eq(r.gap[1], 15);
    ck_assert_uint_eq(r.gap[0] + r.gap[2] + r.gap[3], 0);
    retained = ops->retained(s->b, topic_of(s, 2));
    ck_assert_ptr_nonnull(retained);
    ck_assert(slice_is(record_body(retained), "kept"));
    record_unref(retained);
}

START_TEST(file_of_version_1_is_brought_up_to_date)
{
    struct store_item item = {.seq = 3, .n_deliveries = 1, .state = ITEM_LEASED};
    struct store *s;
    struct append a = {0};
    struct record *record;

    copy_old("version-1.db", "");
    copy_old("version-1.db", "-wal");
    ck_assert_int_eq(query("PRAGMA user_version"), 1);
    s = store_new(SQLITE_SYNC_ALWAYS, 0);
    check_old(s);
    ck_assert_uint_eq(count_files("store.db.newer-") + count_files("store.db.damaged-"), 0);
    ck_assert_int_eq(query("SELECT count(*) FROM keys WHERE seq = 28 AND key = 'order-1'"), 1);
    ck_assert_int_eq(query("SELECT count(*) FROM history WHERE expires IS NULL"), 21);
    /* What is new works on what is old. */
    ck_assert_int_eq(save(s, group_of(s, 0, "g"), &item, 1, 0), 0);
    record = record_new(slice_str(""), slice_str(""), slice_str(""), slice_str("later"));
    record->due_ms = INT64_MAX;
    ck_assert_int_eq(push_record(s, &a, 0, record, 0), 0);
    wait_for(s, &a.is_done);
    ck_assert_int_eq(a.outcome, APPEND_SCHEDULED);
    ck_assert_int_eq(query("SELECT count(*) FROM scheduled_messages WHERE topic = 'topic/0'"), 1);
    ck_assert_int_eq(query("SELECT leased FROM queues WHERE topic = 'topic/0' AND queue_group = 'g'"), 1);
    store_free(s);
    s = store_new(SQLITE_SYNC_ALWAYS, 0);
    check_old(s);
    ck_assert_uint_eq(s->n_groups, 1);
    ck_assert_uint_eq(s->groups[0].n_items, 1);
    ck_assert_uint_eq(append(s, 3, "next", 0).seq, 31);
    store_free(s);
}
END_TEST

/* Because the disk is full, say. Here somebody else holds its lock. */
START_TEST(file_of_version_1_is_read_while_it_cannot_be_changed)
{
    struct store *s;
    struct append a;
    sqlite3 *other;

    copy_old("version-1.db", "");
    copy_old("version-1.db", "-wal");
    ck_assert_int_eq(sqlite3_open(path, &other), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    s = store_new(SQLITE_SYNC_ALWAYS, 0);
    check_old(s);
    ck_assert_int_eq(append(s, 3, "refused", 0).error, -EBUSY);
    check_old(s);
    ck_assert_int_eq(query("PRAGMA user_version"), 1);
    ck_assert_int_eq(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(other), SQLITE_OK);
    a = append_at_last(s);
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(a.seq, 31);
    ck_assert_int_eq(query("PRAGMA user_version"), 3);
    ck_assert_uint_eq(ops->epoch(s->b), OLD_EPOCH);
    store_free(s);
}
END_TEST

/* topic/0 is a queue of version-2.db: a group g with four items above its floor of 3 and no figures yet. */
static void
check_old_group(const struct store *s, uint64_t n_done)
{
    const struct group *g = &s->groups[0];

    ck_assert_uint_eq(s->n_groups, 1);
    ck_assert_str_eq(g->name, "g");
    ck_assert_uint_eq(g->state.floor, 3);
    ck_assert_uint_eq(g->state.born, 0);
    ck_assert_uint_eq(g->state.n_done, n_done);
    ck_assert_uint_eq(g->n_items, 3);
}

START_TEST(groups_of_version_2_go_on)
{
    const struct store_group_state state = {.n_done = 1, .n_dead = 2, .n_lost = 3};
    struct store *s;
    sqlite3 *other;

    copy_old("version-2.db", "");
    ck_assert_int_eq(query("PRAGMA user_version"), 2);
    ck_assert_int_eq(sqlite3_open(path, &other), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    s = store_new(SQLITE_SYNC_ALWAYS, 0); /* it can only be read */
    check_old_group(s, 0);
    store_free(s);
    ck_assert_int_eq(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(other), SQLITE_OK);
    ck_assert_int_eq(query("PRAGMA user_version"), 2);
    s = store_new(SQLITE_SYNC_ALWAYS, 0);
    check_old_group(s, 0);
    ck_assert_int_eq(query("PRAGMA user_version"), 3);
    ck_assert_int_eq(ops->group_save(s->b, s->groups[0].store, NULL, 0, &state, NULL), 0);
    store_free(s);
    s = store_new(SQLITE_SYNC_ALWAYS, 0);
    check_old_group(s, 1);
    ck_assert_uint_eq(s->groups[0].state.n_dead, 2);
    ck_assert_uint_eq(s->groups[0].state.n_lost, 3);
    store_free(s);
}
END_TEST

/* The frontend that published is still there, and sends again what it got no answer to. */
START_TEST(publish_numbers_of_version_1_are_known)
{
    int64_t boot;
    struct store *s;
    struct append a = {0};
    struct record *record = record_new(slice_str(""), slice_str(""), slice_str(""), slice_str("again"));

    copy_old("version-1.db", "");
    copy_old("version-1.db", "-wal");
    s = store_new(SQLITE_SYNC_ALWAYS, 0);
    boot = query("SELECT boot FROM publishes WHERE first <= 28 AND first + n > 28");
    a.s = s;
    s->n_under_way++;
    ck_assert_int_eq(ops->append_take(s->b, topic_of(s, 3), record,
                         (struct store_origin){.boot = (uint64_t)boot, .pub = 28}, &a),
        0);
    wait_for(s, &a.is_done);
    ck_assert_int_eq(a.outcome, APPEND_REPEATED);
    ck_assert_uint_eq(a.seq, 30);
    store_free(s);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("sqlite-upgrade");

    add(s, "file_of_version_1_is_brought_up_to_date", file_of_version_1_is_brought_up_to_date, 1);
    add(s, "file_of_version_1_is_read_while_it_cannot_be_changed",
        file_of_version_1_is_read_while_it_cannot_be_changed, 1);
    add(s, "groups_of_version_2_go_on", groups_of_version_2_go_on, 1);
    add(s, "publish_numbers_of_version_1_are_known", publish_numbers_of_version_1_are_known, 1);
    return run_suite(s);
}
