/* SPDX-License-Identifier: Apache-2.0 */
/* The start of the SQLite backend: finds the file, loads its topics. */
#ifndef BACKENDS_SQLITE_SQLOAD_H
#define BACKENDS_SQLITE_SQLOAD_H

#include "backends/sqlite/sqstore.h"

/* Fills in what the file knows: epoch, last_seq, topics, retained values, publish numbers. Logs why if it
 * fails. */
int load_open(struct backend *b);

/* The next start sets the file aside. */
void load_note_suspect(const char *path);

/* A row of messages or retained, as SQDB_MESSAGE_GET gives it; NULL if memory ran out. */
struct record *load_record(sqlite3_stmt *s);

/* sqlite.c */
struct store_topic *store_topic_new(struct backend *b, struct slice name); /* in no list */
void store_topic_free(struct backend *b, struct store_topic *topic);

#endif
