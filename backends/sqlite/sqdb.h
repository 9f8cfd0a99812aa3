/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file: opening it whatever is found there, its tables, and the statements on it. docs/store.md describes
 * the tables for people, and the steps for changing them.
 *
 * Each thread that works on the file has a connection of its own (struct sqdb).
 */
#ifndef BACKENDS_SQLITE_SQDB_H
#define BACKENDS_SQLITE_SQDB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* Names of the statements; their text is in sqdb.c. */
enum sqdb_statement {
    SQDB_BEGIN,
    SQDB_COMMIT,
    SQDB_ROLLBACK,
    SQDB_STATE_SET,
    SQDB_TOPIC_NEW,
    SQDB_TOPIC_UPDATE,
    SQDB_TOPIC_DROP,
    SQDB_MESSAGE_NEW,
    SQDB_MESSAGE_DELETE,
    SQDB_MESSAGES_OLDEST,
    SQDB_MESSAGES_DELETE,
    SQDB_MESSAGES_DELETE_SOME,
    SQDB_MESSAGES_DROP,
    SQDB_RETAINED_SET,
    SQDB_RETAINED_CLEAR,
    SQDB_KEY_FIND,
    SQDB_KEY_SET,
    SQDB_KEYS_TRIM,
    SQDB_KEYS_EXPIRE,
    SQDB_KEYS_DROP,
    SQDB_PUBLISHES_NEW,
    SQDB_PUBLISHES_EXPIRE,
    SQDB_PUBLISHES_PRUNE,
    SQDB_SEQS_SINCE,
    SQDB_SEQS_LAST,
    SQDB_MESSAGE_GET,
    SQDB_MESSAGES_SCAN,
    SQDB_ENDS_FIND,
    SQDB_ENDS_NEXT,
    SQDB_ASIDE_NEW,
    SQDB_ASIDE_DUE,
    SQDB_ASIDE_NEXT,
    SQDB_ASIDE_DELETE,
    SQDB_ASIDE_SIZE,
    SQDB_ASIDE_DROP,
    SQDB_GROUP_NEW,
    SQDB_GROUP_UPDATE,
    SQDB_GROUP_DROP,
    SQDB_ITEM_NEW,
    SQDB_ITEM_UPDATE,
    SQDB_ITEM_DELETE,
    SQDB_ITEMS_TRIM,
    SQDB_ITEMS_OF,
    SQDB_N_STATEMENTS,
};

struct sqdb {
    sqlite3 *db;
    sqlite3_stmt *statements[SQDB_N_STATEMENTS]; /* prepared when they are used first */
};

/* What was found, and what has to be done about it. */
enum sqdb_found {
    SQDB_FOUND_GOOD,
    SQDB_FOUND_NOTHING, /* and it cannot be made */
    SQDB_FOUND_DAMAGED,
    SQDB_FOUND_NEWER,   /* written by a later version of this program */
    SQDB_FOUND_FOREIGN, /* of another program, or no file at all: it is not ours to move */
};

/* Opens the file, made with its tables if it is not there (and may_make), brought up to date if it is older.
 * If it cannot be written to, it is opened to be read: *ret_why is then the negative errno that says why,
 * else 0. cannot: 0, or a reason why it must not be written to. An outcome or negative errno: there is
 * something that cannot even be read. */
int sqdb_open(struct sqdb *d, const char *path, bool may_make, int cannot, int *ret_why);
/* Another connection to a file that sqdb_open() found good, to read. may_write: somebody has one to write. If
 * not, a full disk or folder that may not be written to is no hindrance, but nobody is kept from writing
 * meanwhile: *ret_is_unlocked. */
int sqdb_open_reader(struct sqdb *d, const char *path, bool may_write, bool *ret_is_unlocked);
void sqdb_close(struct sqdb *d);

/* Reads it all; positive if it is damaged. */
int sqdb_check(struct sqdb *d);

/* Renames the file, and what belongs to it, to path.WHY-TIME. The new name goes to ret. */
int sqdb_set_aside(const char *path, const char *why, char *ret, size_t ret_size);

int sqdb_exec(struct sqdb *d, const char *sql);

/* The errno of an SQLite result; -EUCLEAN: the file is damaged. */
int sqdb_errno(int result);

/* Of any text. 0 or negative errno. */
int sqdb_prepare(struct sqdb *d, const char *sql, sqlite3_stmt **ret);

/* A statement, reset, without values; NULL if it could not be prepared (*ret_error says why). */
sqlite3_stmt *sqdb_get(struct sqdb *d, enum sqdb_statement which, int *ret_error);

/* Binds the integers in order, runs it once, resets it. 0 or negative errno. */
int sqdb_run(struct sqdb *d, enum sqdb_statement which, unsigned n, ...);

/* One step of a statement: 1 a row, 0 done, negative errno. */
int sqdb_step(sqlite3_stmt *s);

/* Numbers of the table `state`. 1: found; 0: not there; negative errno. */
int sqdb_state_get(struct sqdb *d, const char *name, uint64_t *ret);
int sqdb_state_set(struct sqdb *d, const char *name, uint64_t value);

static inline struct slice
sqdb_blob(sqlite3_stmt *s, int column)
{
    const void *p = sqlite3_column_blob(s, column);

    return slice_of(p, p != NULL ? (size_t)sqlite3_column_bytes(s, column) : 0);
}

static inline void
sqdb_bind_blob(sqlite3_stmt *s, int at, struct slice part, bool is_text)
{
    if (part.n == 0)
        (void)sqlite3_bind_null(s, at);
    else if (is_text)
        (void)sqlite3_bind_text(s, at, (const char *)part.p, (int)part.n, SQLITE_STATIC);
    else
        (void)sqlite3_bind_blob(s, at, part.p, (int)part.n, SQLITE_STATIC);
}

#endif
