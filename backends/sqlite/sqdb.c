/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file: see sqdb.h.
 *
 * To change the tables: add a row to migrations[] that brings a file of the version before to the new one
 * (never change a row that was released), and one to as_of_today[] for reading the version before; change
 * docs/store.md; the version in the file is the number of rows. Then run tests/unit/backends/test-sqlite and
 * test-sqlite-start.
 */
#include "config.h"

#include "backends/sqlite/sqdb.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define APPLICATION_ID 0x42757362 /* "Busb" */
#define BUSY_MS 3000
#define WAL_KEPT_BYTES "16777216"

static const char *const migrations[] = {
    /* 1 */
    "CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_seq INTEGER NOT NULL,"
    " evicted_seq INTEGER NOT NULL, messages INTEGER NOT NULL, bytes INTEGER NOT NULL);"
    "CREATE TABLE messages (seq INTEGER PRIMARY KEY, topic INTEGER NOT NULL, prev INTEGER NOT NULL,"
    " time_ms INTEGER NOT NULL, size INTEGER NOT NULL, kind INTEGER NOT NULL, flags INTEGER NOT NULL,"
    " type TEXT, key TEXT, headers BLOB, body);"
    "CREATE INDEX messages_by_topic ON messages (topic);" /* the seq is in it: it is the row's number */
    "CREATE TABLE retained (topic INTEGER PRIMARY KEY, seq INTEGER NOT NULL, prev INTEGER NOT NULL,"
    " time_ms INTEGER NOT NULL, kind INTEGER NOT NULL, flags INTEGER NOT NULL,"
    " type TEXT, key TEXT, headers BLOB, body);"
    "CREATE TABLE keys (seq INTEGER PRIMARY KEY, topic INTEGER NOT NULL, key TEXT NOT NULL, time_ms INTEGER "
    "NOT NULL);"
    "CREATE UNIQUE INDEX keys_by_name ON keys (topic, key);"
    "CREATE TABLE publishes (boot INTEGER NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL, seqs BLOB "
    "NOT NULL,"
    " time_ms INTEGER NOT NULL, PRIMARY KEY (boot, first)) WITHOUT ROWID;"
    "CREATE VIEW history AS SELECT m.seq, t.name AS topic,"
    " strftime('%Y-%m-%d %H:%M:%f', m.time_ms / 1000.0, 'unixepoch') AS time, m.type, m.key, m.headers, "
    "m.body"
    " FROM messages m JOIN topics t ON t.id = m.topic WHERE m.seq > t.evicted_seq;"
    "CREATE VIEW retained_values AS SELECT t.name AS topic, r.seq,"
    " strftime('%Y-%m-%d %H:%M:%f', r.time_ms / 1000.0, 'unixepoch') AS time, r.type, r.key, r.headers, "
    "r.body"
    " FROM retained r JOIN topics t ON t.id = r.topic;",
    /* 2: messages that expire, messages that are due later, groups */
    "ALTER TABLE messages ADD COLUMN expires_ms INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX messages_by_end ON messages (topic, expires_ms) WHERE expires_ms > 0;"
    "ALTER TABLE retained ADD COLUMN expires_ms INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE scheduled (id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, due_ms INTEGER NOT NULL,"
    " time_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, size INTEGER NOT NULL, kind INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, type TEXT, key TEXT, headers BLOB, body);"
    "CREATE INDEX scheduled_by_time ON scheduled (due_ms);" /* the id is in it */
    "CREATE TABLE queue_groups (id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, name TEXT NOT NULL,"
    " floor INTEGER NOT NULL, UNIQUE (topic, name));"
    "CREATE TABLE queue_items (queue_group INTEGER NOT NULL, seq INTEGER NOT NULL, state INTEGER NOT NULL,"
    " deliveries INTEGER NOT NULL, until_ms INTEGER NOT NULL, PRIMARY KEY (queue_group, seq)) WITHOUT ROWID;"
    /* Keys in the order in which they came: those of what has no seq yet are among them. */
    "CREATE TABLE new_keys (id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, key TEXT NOT NULL,"
    " seq INTEGER NOT NULL, time_ms INTEGER NOT NULL);"
    "INSERT INTO new_keys (topic, key, seq, time_ms) SELECT topic, key, seq, time_ms FROM keys ORDER BY seq;"
    "DROP TABLE keys;"
    "ALTER TABLE new_keys RENAME TO keys;"
    "CREATE UNIQUE INDEX keys_by_name ON keys (topic, key);"
    "DROP VIEW history;"
    "DROP VIEW retained_values;"
    "CREATE VIEW history AS SELECT m.seq, t.name AS topic,"
    " strftime('%Y-%m-%d %H:%M:%f', m.time_ms / 1000.0, 'unixepoch') AS time, m.type, m.key, m.headers, "
    "m.body, CASE m.expires_ms WHEN 0 THEN NULL"
    " ELSE strftime('%Y-%m-%d %H:%M:%f', m.expires_ms / 1000.0, 'unixepoch') END AS expires"
    " FROM messages m JOIN topics t ON t.id = m.topic WHERE m.seq > t.evicted_seq"
    " AND (m.expires_ms = 0 OR m.expires_ms > strftime('%s', 'now') * 1000);"
    "CREATE VIEW retained_values AS SELECT t.name AS topic, r.seq,"
    " strftime('%Y-%m-%d %H:%M:%f', r.time_ms / 1000.0, 'unixepoch') AS time, r.type, r.key, r.headers, "
    "r.body, CASE r.expires_ms WHEN 0 THEN NULL"
    " ELSE strftime('%Y-%m-%d %H:%M:%f', r.expires_ms / 1000.0, 'unixepoch') END AS expires"
    " FROM retained r JOIN topics t ON t.id = r.topic"
    " WHERE r.expires_ms = 0 OR r.expires_ms > strftime('%s', 'now') * 1000;"
    "CREATE VIEW scheduled_messages AS SELECT s.id, t.name AS topic,"
    " strftime('%Y-%m-%d %H:%M:%f', s.due_ms / 1000.0, 'unixepoch') AS due, s.type, s.key, s.headers, s.body"
    " FROM scheduled s JOIN topics t ON t.id = s.topic;"
    "CREATE VIEW queues AS SELECT t.name AS topic, g.name AS queue_group, g.floor,"
    " (SELECT count(*) FROM messages m WHERE m.topic = t.id AND m.seq > g.floor AND m.seq > t.evicted_seq)"
    " AS messages,"
    " (SELECT count(*) FROM queue_items i WHERE i.queue_group = g.id AND i.state = 1) AS leased,"
    " (SELECT count(*) FROM queue_items i WHERE i.queue_group = g.id AND i.state = 2) AS done"
    " FROM queue_groups g JOIN topics t ON t.id = g.topic;",
    /* 3: which group it is of those that have had the name, and its figures */
    "ALTER TABLE queue_groups ADD COLUMN born INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE queue_groups ADD COLUMN done INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE queue_groups ADD COLUMN dead INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE queue_groups ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;",
};
#define TABLES_VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

/* What stands before the tables of an older version that cannot be brought up to date, so that it can be read
 * (only read) by today's statements. */
static const char *const as_of_today[TABLES_VERSION] = {
    [1] = "CREATE TEMP VIEW messages AS SELECT *, 0 AS expires_ms FROM main.messages;"
          "CREATE TEMP VIEW retained AS SELECT *, 0 AS expires_ms FROM main.retained;"
          "CREATE TEMP TABLE scheduled (topic, due_ms, size);"
          "CREATE TEMP TABLE queue_groups (id, topic, name, floor, born, done, dead, lost);"
          "CREATE TEMP TABLE queue_items (queue_group, seq, state, deliveries, until_ms);",
    [2] = "CREATE TEMP VIEW queue_groups AS SELECT *, 0 AS born, 0 AS done, 0 AS dead, 0 AS lost"
          " FROM main.queue_groups;",
};

#define MESSAGE_COLUMNS "seq, topic, prev, time_ms, kind, flags, type, key, headers, body, expires_ms"
/* The index is named where another would do worse and look as good. */
#define ENDED "messages INDEXED BY messages_by_end WHERE topic = ?1 AND expires_ms > 0"

static const char *const texts[SQDB_N_STATEMENTS] = {
    [SQDB_BEGIN] = "BEGIN IMMEDIATE",
    [SQDB_COMMIT] = "COMMIT",
    [SQDB_ROLLBACK] = "ROLLBACK",
    [SQDB_STATE_SET] = "INSERT OR REPLACE INTO state (name, value) VALUES (?1, ?2)",
    [SQDB_TOPIC_NEW] =
        "INSERT INTO topics (name, last_seq, evicted_seq, messages, bytes) VALUES (?1, 0, 0, 0, 0)",
    [SQDB_TOPIC_UPDATE] =
        "UPDATE topics SET last_seq = ?2, evicted_seq = ?3, messages = ?4, bytes = ?5 WHERE id = ?1",
    [SQDB_TOPIC_DROP] = "DELETE FROM topics WHERE id = ?1",
    [SQDB_MESSAGE_NEW] = "INSERT INTO messages (" MESSAGE_COLUMNS ", size)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [SQDB_MESSAGE_DELETE] = "DELETE FROM messages WHERE seq = ?1",
    [SQDB_MESSAGES_OLDEST] =
        "SELECT seq, size, time_ms FROM messages WHERE topic = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    [SQDB_MESSAGES_DELETE] = "DELETE FROM messages WHERE topic = ?1 AND seq <= ?2",
    [SQDB_MESSAGES_DELETE_SOME] =
        "DELETE FROM messages WHERE seq IN"
        " (SELECT seq FROM messages WHERE topic = ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)",
    [SQDB_MESSAGES_DROP] = "DELETE FROM messages WHERE topic = ?1",
    [SQDB_RETAINED_SET] = "INSERT OR REPLACE INTO retained (" MESSAGE_COLUMNS ")"
                          " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [SQDB_RETAINED_CLEAR] = "DELETE FROM retained WHERE topic = ?1",
    [SQDB_KEY_FIND] = "SELECT seq, time_ms FROM keys WHERE topic = ?1 AND key = ?2",
    [SQDB_KEY_SET] = "INSERT OR REPLACE INTO keys (seq, topic, key, time_ms) VALUES (?1, ?2, ?3, ?4)",
    [SQDB_KEYS_TRIM] = "DELETE FROM keys WHERE id IN (SELECT id FROM keys ORDER BY id LIMIT ?1)",
    [SQDB_KEYS_EXPIRE] =
        "DELETE FROM keys WHERE id IN"
        " (SELECT id FROM (SELECT id, time_ms FROM keys ORDER BY id LIMIT ?2) WHERE time_ms <= ?1)",
    [SQDB_KEYS_DROP] = "DELETE FROM keys WHERE topic = ?1",
    [SQDB_PUBLISHES_NEW] =
        "INSERT OR REPLACE INTO publishes (boot, first, n, seqs, time_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQDB_PUBLISHES_EXPIRE] = "DELETE FROM publishes WHERE time_ms < ?1",
    [SQDB_PUBLISHES_PRUNE] = "DELETE FROM publishes WHERE boot = ?1 AND first < ?2",
    [SQDB_SEQS_SINCE] = "SELECT seq, size FROM messages WHERE topic = ?1 AND seq > ?2 AND seq <= ?3"
                        " AND (expires_ms = 0 OR expires_ms > ?5) ORDER BY seq LIMIT ?4",
    [SQDB_SEQS_LAST] = "SELECT seq, size FROM messages WHERE topic = ?1 AND seq > ?2 AND seq <= ?3"
                       " AND (expires_ms = 0 OR expires_ms > ?5) ORDER BY seq DESC LIMIT ?4",
    [SQDB_MESSAGE_GET] = "SELECT " MESSAGE_COLUMNS " FROM messages WHERE seq = ?1",
    [SQDB_MESSAGES_SCAN] =
        "SELECT " MESSAGE_COLUMNS " FROM messages WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
    [SQDB_ENDS_FIND] = "SELECT seq, size FROM " ENDED " AND expires_ms <= ?2 ORDER BY expires_ms LIMIT ?3",
    [SQDB_ENDS_NEXT] = "SELECT min(expires_ms) FROM " ENDED,
    [SQDB_ASIDE_NEW] = "INSERT INTO scheduled (id, topic, time_ms, kind, flags, type, key, headers, body,"
                       " expires_ms, size, due_ms)"
                       " VALUES (?1, ?2, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [SQDB_ASIDE_DUE] = "SELECT id, topic, 0, time_ms, kind, flags, type, key, headers, body, expires_ms, size"
                       " FROM scheduled WHERE due_ms <= ?1 ORDER BY due_ms, id LIMIT ?2",
    [SQDB_ASIDE_NEXT] = "SELECT min(due_ms) FROM scheduled",
    [SQDB_ASIDE_DELETE] = "DELETE FROM scheduled WHERE id = ?1",
    [SQDB_ASIDE_SIZE] = "SELECT sum(size) FROM scheduled WHERE topic = ?1",
    [SQDB_ASIDE_DROP] = "DELETE FROM scheduled WHERE topic = ?1",
    [SQDB_GROUP_NEW] = "INSERT INTO queue_groups (topic, name, floor, born) VALUES (?1, ?2, ?3, ?4)",
    [SQDB_GROUP_UPDATE] = "UPDATE queue_groups SET floor = ?2, done = ?3, dead = ?4, lost = ?5 WHERE id = ?1",
    [SQDB_GROUP_DROP] = "DELETE FROM queue_groups WHERE id = ?1",
    [SQDB_ITEM_NEW] = "INSERT OR IGNORE INTO queue_items (queue_group, seq, state, deliveries, until_ms)"
                      " VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQDB_ITEM_UPDATE] = "UPDATE queue_items SET state = ?3, deliveries = ?4, until_ms = ?5"
                         " WHERE queue_group = ?1 AND seq = ?2",
    [SQDB_ITEM_DELETE] = "DELETE FROM queue_items WHERE queue_group = ?1 AND seq = ?2",
    [SQDB_ITEMS_TRIM] = "DELETE FROM queue_items WHERE queue_group = ?1 AND seq <= ?2",
    [SQDB_ITEMS_OF] = "SELECT seq, state, deliveries, until_ms FROM queue_items"
                      " WHERE queue_group = ?1 AND seq > ?2 ORDER BY seq",
};

int
sqdb_errno(int result)
{
    switch (result & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    default:
        return -EIO;
    }
}

/* ---- Statements. ---- */

/* A statement of ours that makes no sense to the file's tables: these are not what its version says. */
static int
prepare_errno(int result)
{
    return result == SQLITE_ERROR ? -EUCLEAN : sqdb_errno(result);
}

int
sqdb_prepare(struct sqdb *d, const char *sql, sqlite3_stmt **ret)
{
    return prepare_errno(sqlite3_prepare_v2(d->db, sql, -1, ret, NULL));
}

sqlite3_stmt *
sqdb_get(struct sqdb *d, enum sqdb_statement which, int *ret_error)
{
    sqlite3_stmt **s = &d->statements[which];

    if (*s == NULL) {
        int result = d->db == NULL
                         ? SQLITE_READONLY
                         : sqlite3_prepare_v3(d->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, s, NULL);

        if (result != SQLITE_OK) {
            *ret_error = prepare_errno(result);
            return NULL;
        }
    }
    (void)sqlite3_reset(*s);
    return *s;
}

int
sqdb_step(sqlite3_stmt *s)
{
    int result = sqlite3_step(s);

    return result == SQLITE_ROW ? 1 : sqdb_errno(result);
}

int
sqdb_run(struct sqdb *d, enum sqdb_statement which, unsigned n, ...)
{
    int r = 0;
    sqlite3_stmt *s = sqdb_get(d, which, &r);
    va_list args;

    if (s == NULL)
        return r;
    va_start(args, n);
    for (unsigned i = 1; i <= n; i++)
        (void)sqlite3_bind_int64(s, (int)i, va_arg(args, int64_t));
    va_end(args);
    r = sqdb_step(s);
    (void)sqlite3_reset(s);
    return r < 0 ? r : 0;
}

int
sqdb_exec(struct sqdb *d, const char *sql)
{
    return sqdb_errno(sqlite3_exec(d->db, sql, NULL, NULL, NULL));
}

/* ---- Numbers. ---- */

static int
pragma_get(struct sqdb *d, const char *sql, int64_t *ret)
{
    sqlite3_stmt *s;
    int r = sqdb_prepare(d, sql, &s);

    if (r < 0)
        return r;
    r = sqdb_step(s);
    if (r > 0)
        *ret = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return r;
}

int
sqdb_state_get(struct sqdb *d, const char *name, uint64_t *ret)
{
    sqlite3_stmt *s;
    int r = sqdb_prepare(d, "SELECT value FROM state WHERE name = ?1", &s);

    if (r < 0)
        return r;
    (void)sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    r = sqdb_step(s);
    if (r > 0)
        *ret = (uint64_t)sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return r;
}

int
sqdb_state_set(struct sqdb *d, const char *name, uint64_t value)
{
    int r = 0;
    sqlite3_stmt *s = sqdb_get(d, SQDB_STATE_SET, &r);

    if (s == NULL)
        return r;
    (void)sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 2, (int64_t)value);
    r = sqdb_step(s);
    (void)sqlite3_reset(s);
    return r < 0 ? r : 0;
}

/* ---- Opening. ---- */

void
sqdb_close(struct sqdb *d)
{
    for (unsigned i = 0; i < SQDB_N_STATEMENTS; i++)
        (void)sqlite3_finalize(d->statements[i]);
    (void)sqlite3_close_v2(d->db);
    *d = (struct sqdb){0};
}

static int
connect_to(struct sqdb *d, const char *path, int flags)
{
    int r;

    *d = (struct sqdb){0};
    r = sqdb_errno(
        sqlite3_open_v2(path, &d->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL));
    if (r < 0) {
        sqdb_close(d);
        return r;
    }
    (void)sqlite3_extended_result_codes(d->db, 1);
    (void)sqlite3_busy_timeout(d->db, BUSY_MS);
    return 0;
}

/* Whose file it is, by the numbers in its head. */
static int
look_at_head(struct sqdb *d, int64_t *ret_version)
{
    int64_t id = 0, version = 0, n_tables = 0;
    int r = pragma_get(d, "PRAGMA application_id", &id);

    if (r >= 0)
        r = pragma_get(d, "PRAGMA user_version", &version);
    if (r >= 0)
        r = pragma_get(d, "SELECT count(*) FROM sqlite_master", &n_tables);
    if (r < 0)
        return r == -EUCLEAN ? SQDB_FOUND_DAMAGED : r;
    if (id != APPLICATION_ID && (id != 0 || version != 0 || n_tables > 0))
        return SQDB_FOUND_FOREIGN;
    if (version > TABLES_VERSION)
        return SQDB_FOUND_NEWER;
    *ret_version = version;
    return SQDB_FOUND_GOOD;
}

static int
migrate(struct sqdb *d, int from)
{
    char sql[100];
    int r = 0;

    if (from == TABLES_VERSION)
        return 0;
    r = sqdb_exec(d, "BEGIN IMMEDIATE");
    for (int i = from; i < TABLES_VERSION && r == 0; i++)
        r = prepare_errno(sqlite3_exec(d->db, migrations[i], NULL, NULL, NULL));
    (void)snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
        TABLES_VERSION);
    if (r == 0)
        r = sqdb_exec(d, sql);
    if (r == 0)
        r = sqdb_exec(d, "COMMIT");
    if (r < 0)
        (void)sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    else if (from > 0)
        log_notice("the store's tables were brought from version %d to %d", from, TABLES_VERSION);
    return r;
}

static int
prepare_connection(struct sqdb *d)
{
    /* Checkpoints are ours to choose (writer.c). Deleted bytes are not wiped: that would write each page
     * twice. */
    return sqdb_exec(d,
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = OFF;"
        "PRAGMA journal_size_limit = " WAL_KEPT_BYTES "; PRAGMA temp_store = MEMORY;"
        "PRAGMA cache_size = -8192; PRAGMA foreign_keys = OFF");
}

/* The index of the log could not be made larger: SQLite calls that an I/O error. */
static bool
is_disk_full(struct sqdb *d)
{
    int error = sqlite3_system_errno(d->db);

    return error == ENOSPC || error == EDQUOT;
}

static int
open_to_write(struct sqdb *d, const char *path, bool may_make)
{
    int64_t version = 0;
    int r = connect_to(d, path, SQLITE_OPEN_READWRITE | (may_make ? SQLITE_OPEN_CREATE : 0));

    if (r < 0)
        return r;
    r = look_at_head(d, &version);
    if (r == SQDB_FOUND_GOOD && sqlite3_db_readonly(d->db, "main") == 1)
        r = -EROFS;
    if (r == SQDB_FOUND_GOOD)
        r = prepare_connection(d);
    if (r == 0)
        r = migrate(d, (int)version);
    if (r == -EIO && is_disk_full(d))
        r = -ENOSPC;
    if (r != SQDB_FOUND_GOOD)
        sqdb_close(d);
    return r == -EUCLEAN ? SQDB_FOUND_DAMAGED : r;
}

/* ---- Opening what cannot be written to. ---- */

static bool
has_log(const char *path)
{
    char name[4200];
    struct stat st;

    (void)snprintf(name, sizeof(name), "%s-wal", path);
    return stat(name, &st) == 0 && st.st_size > 0;
}

/* Without locks and without a file beside it: of a file that nobody writes to. */
static int
connect_unlocked(struct sqdb *d, const char *path)
{
    char *uri = malloc(3 * strlen(path) + sizeof("file:?immutable=1")), *to = uri;
    int r;

    if (uri == NULL)
        return -ENOMEM;
    to += sprintf(to, "file:");
    for (; *path != '\0'; path++) {
        if (strchr("%?#", *path) != NULL)
            to += sprintf(to, "%%%02x", (unsigned)*path);
        else
            *to++ = *path;
    }
    (void)sprintf(to, "?immutable=1");
    r = connect_to(d, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    free(uri);
    return r;
}

/* The log has something, which is part of the data: with a lock on all of it SQLite needs no index in a file
 * of its own. */
static int
connect_alone(struct sqdb *d, const char *path)
{
    int r = connect_to(d, path, SQLITE_OPEN_READWRITE);

    return r == 0 ? sqdb_exec(d, "PRAGMA locking_mode = EXCLUSIVE") : r;
}

static int
look_as_of_today(struct sqdb *d, int64_t version)
{
    if (version <= 0 || version >= TABLES_VERSION)
        return 0;
    return prepare_errno(sqlite3_exec(d->db, as_of_today[version], NULL, NULL, NULL));
}

static int
open_to_read(struct sqdb *d, const char *path, int64_t *ret_version, bool *ret_is_unlocked)
{
    int r = connect_to(d, path, SQLITE_OPEN_READWRITE);

    *ret_is_unlocked = false;
    if (r == 0)
        r = look_at_head(d, ret_version);
    if (r < 0 && r != -ENOMEM) {
        sqdb_close(d);
        *ret_is_unlocked = !has_log(path);
        r = *ret_is_unlocked ? connect_unlocked(d, path) : connect_alone(d, path);
        if (r == 0)
            r = look_at_head(d, ret_version);
    }
    if (r == SQDB_FOUND_GOOD)
        r = sqdb_exec(d, "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192");
    if (r == SQDB_FOUND_GOOD)
        r = look_as_of_today(d, *ret_version);
    if (r == SQDB_FOUND_GOOD)
        r = sqdb_exec(d, "PRAGMA query_only = ON");
    if (r != SQDB_FOUND_GOOD)
        sqdb_close(d);
    return r == -EUCLEAN ? SQDB_FOUND_DAMAGED : r;
}

int
sqdb_open(struct sqdb *d, const char *path, bool may_make, int cannot, int *ret_why)
{
    int64_t version = 0;
    bool is_unlocked;
    struct stat st;
    int r = cannot < 0 ? cannot : open_to_write(d, path, may_make);

    *ret_why = 0;
    if (r >= 0 || r == -ENOMEM)
        return r;
    *ret_why = r;
    if (stat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? SQDB_FOUND_NOTHING : r;
    if (!S_ISREG(st.st_mode))
        return SQDB_FOUND_FOREIGN;
    r = open_to_read(d, path, &version, &is_unlocked);
    if (r != SQDB_FOUND_GOOD)
        return r;
    if (version > 0)
        return SQDB_FOUND_GOOD;
    sqdb_close(d);
    return SQDB_FOUND_NOTHING; /* a file that was begun, without tables */
}

int
sqdb_open_reader(struct sqdb *d, const char *path, bool may_write, bool *ret_is_unlocked)
{
    int64_t version;
    int r;

    *ret_is_unlocked = false;
    if (!may_write) {
        r = open_to_read(d, path, &version, ret_is_unlocked);
        return r > 0 ? -EIO : r;
    }
    r = connect_to(d, path, SQLITE_OPEN_READWRITE);
    if (r == 0)
        r = sqdb_exec(d, "PRAGMA query_only = ON; PRAGMA cache_size = -8192");
    if (r < 0)
        sqdb_close(d);
    return r;
}

int
sqdb_check(struct sqdb *d)
{
    sqlite3_stmt *s;
    int r = sqdb_prepare(d, "PRAGMA quick_check(1)", &s);

    if (r < 0)
        return r == -EUCLEAN ? 1 : r;
    r = sqdb_step(s);
    if (r > 0) {
        struct slice answer = sqdb_blob(s, 0);

        r = !slice_is(answer, "ok");
        if (r > 0)
            log_error("%s: %.*s", sqlite3_db_filename(d->db, "main"), SLICE_ARG(answer));
    }
    (void)sqlite3_finalize(s);
    return r == -EUCLEAN ? 1 : r;
}

/* ---- Setting aside. ---- */

int
sqdb_set_aside(const char *path, const char *why, char *ret, size_t ret_size)
{
    static const char *const parts[] = {"-wal", "-shm"};
    char from[4200], to[4200];
    struct stat st;
    struct tm tm;
    time_t now = time(NULL);
    char stamp[32];

    (void)gmtime_r(&now, &tm);
    (void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    for (unsigned n = 0;; n++) { /* one that was set aside in the same second is not written over */
        int length = n == 0 ? snprintf(ret, ret_size, "%s.%s-%s", path, why, stamp)
                            : snprintf(ret, ret_size, "%s.%s-%s-%u", path, why, stamp, n);

        if (length < 0 || (size_t)length >= ret_size)
            return -ENAMETOOLONG;
        if (lstat(ret, &st) < 0)
            break;
    }
    if (rename(path, ret) < 0)
        return -errno;
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(from, sizeof(from), "%s%s", path, parts[i]);
        (void)snprintf(to, sizeof(to), "%s%s", ret, parts[i]);
        if (rename(from, to) < 0 && errno != ENOENT && unlink(from) < 0)
            return -errno; /* the new file must not be given the old one's log */
    }
    return 0;
}
