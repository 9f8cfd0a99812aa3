/* SPDX-License-Identifier: Apache-2.0 */
/* The start of the SQLite backend: finds the file (sqopen.c), loads its topics (sqload.c). */
#ifndef BACKENDS_SQLITE_SQLOAD_H
#define BACKENDS_SQLITE_SQLOAD_H

#include "backends/sqlite/sqstore.h"

/* Opens the file and fills in what it knows: epoch, last_seq, topics, retained values, publish numbers.
 * Without a connection of the writer nothing can be written yet. Logs what it found. */
int load_open(struct backend *b);
/* Another try to get that connection: 0 if it can be written to now. -ESTALE: it is another file than was
 * loaded. */
int load_reopen(struct writer *w);

/* cannot: 0, or why it must not be written to. An enum sqdb_found, *ret_why as of sqdb_open(); or negative
 * errno. */
int load_file(struct backend *b, int cannot, int *ret_why);
/* Who writes from now on, and that the file is in use. */
int load_write_state(struct writer *w);
uint64_t load_new_epoch(void);

/* The next start sets the file aside. */
void load_note_suspect(const char *path);

/* A row of messages or retained, as SQDB_MESSAGE_GET gives it; NULL if memory ran out. */
struct record *load_record(sqlite3_stmt *s);

/* sqlite.c */
struct store_topic *store_topic_new(struct backend *b, struct slice name); /* in no list */
void store_topic_free(struct backend *b, struct store_topic *topic);

#endif
