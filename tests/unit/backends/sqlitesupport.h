/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a file, with a loop of its own, for the tests of backends/sqlite: opening it, appending,
 * reading, and the folder that it is in. */
#ifndef TESTS_SQLITESUPPORT_H
#define TESTS_SQLITESUPPORT_H

#include <check.h>
#include <sys/types.h>

#include "backends/backend.h"
#include "backends/sqlite/sqlite.h"
#include "base/loop.h"

#define DEADLINE_MS 20000
#define TOPICS_MAX 300
#define BOOT 77
#define GROUPS_MAX 8
#define ITEMS_MAX 256

extern const struct backend_ops *const ops;
extern char folder[64], path[128]; /* of the test that runs, see set_up() */

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

/* A group that the store had from before. */
struct group {
    unsigned topic;
    char name[STORE_GROUP_NAME_MAX + 1];
    struct store_group_state state;
    struct store_group *store;
    uint64_t floor;
    struct store_item items[ITEMS_MAX];
    unsigned n_items;
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
    struct group groups[GROUPS_MAX];
    unsigned n_groups;
    void (*on_saved)(void *cookie, int error, struct store *s);
};

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

/* ---- A store. ---- */

int store_try(enum sqlite_sync sync, uint64_t cache, struct store_limits limits, struct store **ret);
/* What was found damaged only now is set aside by the next start, and whoever started the broker starts it
 * again. */
struct store *store_start_again(void);
struct store *store_new(enum sqlite_sync sync, uint64_t cache);
void store_free(struct store *s);
void wait_for(struct store *s, const bool *is_done);
void run_ms(struct store *s, uint64_t ms);
struct store_topic *topic_of(struct store *s, unsigned n);
/* Hands it over and does not wait. -EAGAIN: full. */
int push(struct store *s, struct append *a, unsigned topic, struct slice body, uint64_t pub);
/* Likewise, takes the record. */
int push_record(struct store *s, struct append *a, unsigned topic, struct record *record, uint64_t pub);
struct append append(struct store *s, unsigned topic, const char *body, uint64_t pub);
/* On topic 1, again and again until it is kept. */
struct append append_at_last(struct store *s);
struct store_stats stats_of(struct store *s);
/* As it was restored, or a new one with floor 0. */
struct store_group *group_of(struct store *s, unsigned topic, const char *name);
/* Waits for the answer; the error. */
int save(
    struct store *s, struct store_group *group, const struct store_item *items, size_t n, uint64_t floor);
/* Ticks until it is so. */
void tick_until(struct store *s, bool (*is_so)(struct store *s, void *arg), void *arg);

/* ---- Reading it. ---- */

void reading_start(struct store *s, struct reading *r, uint64_t since, size_t max_bytes);
/* All of it, in pieces. */
int read_all(struct store *s, struct reading *r, uint64_t since);

/* A process of its own. Check's assertions write to a file that it would share with us. */
pid_t fork_alone(int kept_fd);

/* ---- Files. ---- */

void empty_folder(void);
void set_up(void);
void tear_down(void);
unsigned count_files(const char *prefix);
int64_t query(const char *sql); /* the first number of its answer */
/* What the file counts is what is in it. Nobody has it open. */
void check_figures(void);
uint64_t next_random(uint64_t *random);

/* A case of its own for each test: CK_RUN_CASE=name runs it alone. */
void add(Suite *s, const char *name, const TTest *test, int n);
int run_suite(Suite *s); /* the exit code */

#endif
