/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store to try: opened with what the cases of a suite need, waiting for answers with a deadline. The cases
 * know a backend only by its ops; an answer may come at once or later from the loop.
 */
#ifndef TESTS_CONFORMANCE_BACKEND_STOREFIXTURE_H
#define TESTS_CONFORMANCE_BACKEND_STOREFIXTURE_H

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/backend.h"
#include "base/loop.h"

#define DEADLINE_MS 5000
#define N_TOPICS 8
#define MAX_SEEN 20000
#define N_GROUPS 16
#define MAX_ITEMS 512
#define CACHE (1u << 20)

extern const struct backend_ops *ops; /* set by main(), before the cases fork */
extern uint64_t variant_cache;        /* likewise: of a store that keeps the recent ones in memory */

struct appended {
    struct fixture *f;
    bool is_done;
    int error;
    enum append_outcome outcome;
    uint64_t seq;
};

struct topic {
    unsigned number;
    struct store_topic *store;
    struct store_limits limits; /* that it was opened with: those that it has after a restart */
    bool is_restored;
};

/* A group that the store told of when it was opened. */
struct restored_group {
    unsigned topic;
    char name[STORE_GROUP_NAME_MAX + 1];
    struct store_group_state state;
    struct store_group *store;
    uint64_t floor;
    struct store_item items[MAX_ITEMS];
    size_t n_items;
};

/* A save and its answer. */
struct saved {
    struct fixture *f;
    bool is_done;
    int error;
    uint64_t last_seq; /* of the store at that moment */
};

struct fixture {
    struct loop *loop;
    struct backend *b;
    struct topic topics[N_TOPICS];
    struct record *delivered[MAX_SEEN];
    size_t n_delivered;
    struct loop_timer deadline;
    bool is_waiting;
    char folder[32]; /* of the files of a store that has any; "" */
    uint64_t bytes_max, key_window_ms, keys_max;
    struct restored_group groups[N_GROUPS];
    size_t n_groups;
};

/* One read and what came of it. */
struct reading {
    struct fixture *f;
    unsigned wanted; /* a bit for each topic */
    unsigned n_asked[N_TOPICS];
    struct record *seen[MAX_SEEN];
    size_t n_seen;
    uint64_t gap[N_TOPICS], gap_unnamed;
    size_t n_before_gap; /* records that came before a gap was told: must stay 0 */
    bool is_done, is_cut_short;
    int error;
    uint64_t upto;
};

extern const struct store_limits roomy;

struct fixture *fixture_new(uint64_t bytes_max, uint64_t key_window_ms, uint64_t keys_max);
struct fixture *fixture_usual(void);
void fixture_free(struct fixture *f);
/* The store is closed and opened again: what it had is restored. False: this one outlives nothing. */
bool fixture_reopen(struct fixture *f);

void run_ms(struct fixture *f, uint64_t ms);
void wait_for(struct fixture *f, const bool *is_done);

void open_topic(struct fixture *f, unsigned n, const struct store_limits *limits);
struct appended append_as(struct fixture *f, unsigned n, const char *key, struct slice body, uint8_t flags,
    struct store_origin origin);
/* Takes the record; waits for the answer, which must be no error. */
struct appended append_record(
    struct fixture *f, unsigned n, struct record *record, struct store_origin origin);
uint64_t append(struct fixture *f, unsigned n, const char *body);
void append_flagged(struct fixture *f, unsigned n, const char *body);
void check_retained(struct fixture *f, unsigned n, const char *expected);

struct store_group *open_group(struct fixture *f, unsigned topic, const char *name, uint64_t floor);
/* Waits for the answer, which must be good. */
void save(
    struct fixture *f, struct store_group *group, const struct store_item *items, size_t n, uint64_t floor);

void reading_reset(struct reading *r);
void read_with(struct fixture *f, struct reading *r, unsigned wanted, struct store_read read);
void read_since(struct fixture *f, struct reading *r, unsigned wanted, uint64_t since);
/* The bodies of what was read, as "a b c". */
void check_seen(const struct reading *r, const char *expected);

/* The suites beside the first one. */
TCase *case_times(void);
TCase *case_groups(void);
TCase *case_wide(void);

#endif
