/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The config reader: one YAML file (libyaml) into plain structs, by tables.
 *
 * One table is one section of the file and one struct. A table is a `.tbl.h` of rows
 *
 *     OPTION(name, TYPE, field, when, default, min, max, hint, sentence)
 *
 *     OPTION("ping_interval", TIME, ping_interval_ms, LIVE, "30s", "1s", "1h", "",
 *         "How often an idle client is pinged.")
 *
 *   name      as in the file; one dot is one level of nesting ("history.messages"). Rows of one group
 *             stand together.
 *   TYPE      C type of the field    in the file
 *     BOOL    bool                   true, false, yes, no, on, off
 *     COUNT   uint64_t               a whole number
 *     TIME    uint64_t, in ms        250ms 10s 2m 1h 1d; a bare 0; else the unit is needed
 *     BYTES   uint64_t               512 64KiB 16MiB 1GiB (1024) 1kB 1MB 1GB (1000)
 *     STRING  char *, never NULL     text
 *     PATH    char *, never NULL     text; relative to the folder of the file that it stands in
 *     ENUM    int                    one of the names in hint, "a|b|c": the value is its index there
 *     ADDRESS struct conf_address    host:port, [v6]:port, *:port
 *     LIST    struct conf_list       a list of texts, or one text
 *     RETIRED (no field)             refused; the sentence says what to do instead
 *   when      LIVE: taken over by a reload; RESTART: only by a restart (conf_diff() names them)
 *   default   as it would stand in the file ("" is the empty text or list); NULL: must be given
 *   min, max  likewise as text: of the value, or of the length (STRING, PATH), or of the number of items
 *             (LIST); "" for none
 *   hint      ENUM: the choices. Else an example for the sample file where there is no default, or ""
 *   sentence  one or more whole sentences, for the sample file and the manual
 *
 * The table ends with `#undef OPTION`. The struct comes from it in the process's options.h:
 *
 *     struct ws_options {
 *     #define OPTION CONF_FIELD
 *     #include "frontends/ws/options.tbl.h"
 *     };
 *     extern const struct conf_section ws_section;
 *
 * and the parser's rows in options.c:
 *
 *     static const struct conf_row ws_rows[] = {
 *     #define OPTION(...) CONF_ROW(struct ws_options, __VA_ARGS__)
 *     #include "frontends/ws/options.tbl.h"
 *     };
 *     const struct conf_section ws_section =
 *         CONF_SECTION("ws", ws_rows, struct ws_options, "The ... frontend.");
 *
 * A process then loads the sections that it knows:
 *
 *     struct log_options log = {0};
 *     struct ws_options ws = {0};
 *     const struct conf_bind binds[] = {{&log_section, &log}, {&ws_section, &ws}};
 *     struct conf_request req = {.path = path, .binds = binds, .n_binds = 2, .ignored = conf_all_sections};
 *     if (conf_load(&req, &errors) < 0) {
 *         conf_errors_print(&errors, stderr);
 *         return PROC_EXIT_CONFIG;
 *     }
 *
 * The file is checked strictly: unknown and repeated names, wrong types, values out of range, and YAML that
 * means something hidden (anchors, aliases, tags, merge keys, several documents) are errors with file, line
 * and column, and with the nearest known name. Several errors are collected before giving up. Scalars are
 * typed by the table, never guessed: `retain: no` is an error and not false.
 *
 * `include: conf.d/(star).yaml` (one or a list; patterns; relative to the file that says it) at the top level
 * reads more files first. An option stands in one place only: the same one in two files is an error that
 * names both. Lists of mappings (topics:) are joined, included files first. Top-level names that begin with
 * `x-` are for programs of others and are passed over.
 *
 * Not for: anything that a client sends; secrets (they come from files that PATH options name).
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

#define CONF_MAX_FILE (1u << 20) /* bytes of one file */
#define CONF_MAX_FILES 64u       /* files in one load, includes counted */
#define CONF_MAX_INCLUDE_DEPTH 8u
#define CONF_MAX_ITEMS 10000u /* items of one list of mappings, or of one LIST */
#define CONF_MAX_ERRORS 20u   /* more are only counted */

enum conf_type {
    CONF_BOOL,
    CONF_COUNT,
    CONF_TIME,
    CONF_BYTES,
    CONF_STRING,
    CONF_PATH,
    CONF_ENUM,
    CONF_ADDRESS,
    CONF_LIST,
    CONF_RETIRED,
};

enum conf_when { CONF_LIVE, CONF_RESTART };

/* Where to listen or connect. All zero when the option is empty. */
struct conf_address {
    char *text;    /* as it was written, for messages: "*:8080" */
    char *host;    /* without brackets; NULL for `*`, every address of the machine */
    uint16_t port; /* 0: any free port, for tests */
};

struct conf_list {
    char **items;
    size_t n;
};

/* What a list of mappings is loaded into: p points to n structs, in the order of the file. */
struct conf_items {
    void *p;
    size_t n;
};

struct conf_row {
    const char *name;
    enum conf_type type;
    enum conf_when when;
    size_t offset;
    const char *def, *min, *max, *hint, *sentence;
};

struct conf_section {
    const char *name; /* "" for options that stand at the top level */
    const char *sentence;
    const struct conf_row *rows;
    size_t n_rows;
    size_t struct_size;
    bool is_list; /* a list of mappings, into a struct conf_items */
};

/* A section and the caller's struct for it (struct conf_items for a list). */
struct conf_bind {
    const struct conf_section *section;
    void *into;
};

/* A load that is being checked: only for conf_check_note(). */
struct conf_check;

struct conf_request {
    const char *path; /* NULL: no file, only defaults and `set` */
    const struct conf_bind *binds;
    size_t n_binds;
    const char *const *ignored; /* sections of other processes, ends with NULL; may name ours; may be NULL.
                                 * The top level ("") is never passed over: every process binds bus_section */
    const char *const *set;     /* "ws.listen=127.0.0.1:9000"; a LIST takes commas; over the file */
    size_t n_set;
    void (*check)(struct conf_check *check, void *arg); /* what the tables cannot say; called once when every
                                                         * option alone is right; may be NULL */
    void *check_arg;
};

struct conf_error {
    char file[256];        /* "" if no file is to blame; "--set" for overrides */
    unsigned line, column; /* from 1; 0 when there is none */
    char what[512];
};

struct conf_errors {
    size_t n; /* in at[], at most CONF_MAX_ERRORS */
    size_t n_more;
    struct conf_error at[CONF_MAX_ERRORS];
};

/* Fills every bound struct: defaults, then the file, then `set`. The structs must be zero, or loaded and
 * freed, before. 0; or -EINVAL, -ENOENT, -ENOMEM, ... with at least one error in errs (which is emptied
 * first) and every bound struct zero. Never aborts, whatever the file holds. */
int conf_load(const struct conf_request *req, struct conf_errors *errs);

/* The same from memory; name is what errors call it. An include is an error there. */
int conf_load_memory(
    const struct conf_request *req, const char *name, const void *p, size_t n, struct conf_errors *errs);

/* Frees what the structs own and zeroes them. */
void conf_free(const struct conf_bind *binds, size_t n_binds);

/* One item of a list of mappings from its table's defaults, with one option set (for a required one; name may
 * be NULL). 0, -ENOMEM, or -EINVAL for a value that the option does not take; ret is then zero. */
int conf_item_default(const struct conf_section *section, const char *name, const char *text, void *ret);
void conf_item_fini(const struct conf_section *section, void *item);

/* For a request's check: an error at the place where the option stands: in a file, in an override, or without
 * a place if it has its default. section is a bound one; item counts from 0 in a list of mappings, else 0. */
void conf_check_note(struct conf_check *check, const struct conf_section *section, size_t item,
    const char *name, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

bool conf_check_is_given(
    struct conf_check *check, const struct conf_section *section, size_t item, const char *name);

/* An error without a line. */
void conf_errors_add(struct conf_errors *errs, const char *file, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "busbar.yaml:3:5: ws.lisen: unknown option; did you mean listen?", one a line. */
void conf_errors_print(const struct conf_errors *errs, FILE *to);
void conf_error_format(const struct conf_error *error, char *ret, size_t ret_size);

/* For a reload: the options of one section that need a restart and differ between two loads, as
 * "ws.listen, ws.workers". 0, or the number of them. A list of mappings is compared item by item. */
size_t conf_diff(const struct conf_section *section, const void *old, const void *new, struct buf *ret_names);

/* The commented sample file, and the options as mdoc list items, for these sections in this order. */
void conf_sample(struct buf *out, const struct conf_section *const *sections, size_t n);
void conf_man(struct buf *out, const struct conf_section *const *sections, size_t n);

/* Finds the mistakes of a table: bounds that do not parse, defaults out of range, groups torn apart. For
 * unit tests. 0, or -EINVAL with errors. */
int conf_check_section(const struct conf_section *section, struct conf_errors *errs);

/* The names of all sections there are, for conf_request.ignored; ends with NULL. */
extern const char *const conf_all_sections[];

/* One value alone, as an option of that type takes it. 0, -EINVAL, or -ERANGE (does not fit 64 bits). */
int conf_parse_time(const char *text, uint64_t *ret_ms);
int conf_parse_bytes(const char *text, uint64_t *ret);
int conf_parse_count(const char *text, uint64_t *ret);
int conf_parse_bool(const char *text, bool *ret);

/* 0, -EINVAL, -ENOMEM. Free with conf_address_fini(). */
int conf_parse_address(const char *text, struct conf_address *ret);
void conf_address_fini(struct conf_address *a);

/* How far two names are apart, in single-letter edits; and the nearest of a NULL-ended list, or NULL when
 * none is near enough to be meant. */
size_t conf_name_distance(const char *a, const char *b);
const char *conf_nearest(const char *name, const char *const *known);

/* What the tables expand to. */
#define CONF_SECTION(name_, rows_, type_, sentence_)                                                         \
    {                                                                                                        \
        .name = (name_), .sentence = (sentence_), .rows = (rows_),                                           \
        .n_rows = sizeof(rows_) / sizeof((rows_)[0]), .struct_size = sizeof(type_)                           \
    }
#define CONF_SECTION_LIST(name_, rows_, type_, sentence_)                                                    \
    {                                                                                                        \
        .name = (name_), .sentence = (sentence_), .rows = (rows_),                                           \
        .n_rows = sizeof(rows_) / sizeof((rows_)[0]), .struct_size = sizeof(type_), .is_list = true          \
    }

#define CONF_FIELD(name_, type_, field_, when_, def_, min_, max_, hint_, sentence_) CONF_FIELD_##type_(field_)
#define CONF_ROW(s_, ...) CONF_ROW_(s_, __VA_ARGS__)
#define CONF_ROW_(s_, name_, type_, field_, when_, def_, min_, max_, hint_, sentence_)                       \
    {.name = (name_),                                                                                        \
        .type = CONF_##type_,                                                                                \
        .when = CONF_##when_,                                                                                \
        .offset = CONF_OFFSET_##type_(s_, field_),                                                           \
        .def = (def_),                                                                                       \
        .min = (min_),                                                                                       \
        .max = (max_),                                                                                       \
        .hint = (hint_),                                                                                     \
        .sentence = (sentence_)},

#define CONF_FIELD_BOOL(f) bool f;
#define CONF_FIELD_COUNT(f) uint64_t f;
#define CONF_FIELD_TIME(f) uint64_t f;
#define CONF_FIELD_BYTES(f) uint64_t f;
#define CONF_FIELD_STRING(f) char *f;
#define CONF_FIELD_PATH(f) char *f;
#define CONF_FIELD_ENUM(f) int f;
#define CONF_FIELD_ADDRESS(f) struct conf_address f;
#define CONF_FIELD_LIST(f) struct conf_list f;
#define CONF_FIELD_RETIRED(f)

/* The comparison is for the compiler: a row whose field has another type than the row says does not build. */
#define CONF_OFFSET_AS_(s, f, t) (offsetof(s, f) + 0 * sizeof(&((s *)0)->f == (t *)0))
#define CONF_OFFSET_BOOL(s, f) CONF_OFFSET_AS_(s, f, bool)
#define CONF_OFFSET_COUNT(s, f) CONF_OFFSET_AS_(s, f, uint64_t)
#define CONF_OFFSET_TIME(s, f) CONF_OFFSET_AS_(s, f, uint64_t)
#define CONF_OFFSET_BYTES(s, f) CONF_OFFSET_AS_(s, f, uint64_t)
#define CONF_OFFSET_STRING(s, f) CONF_OFFSET_AS_(s, f, char *)
#define CONF_OFFSET_PATH(s, f) CONF_OFFSET_AS_(s, f, char *)
#define CONF_OFFSET_ENUM(s, f) CONF_OFFSET_AS_(s, f, int)
#define CONF_OFFSET_ADDRESS(s, f) CONF_OFFSET_AS_(s, f, struct conf_address)
#define CONF_OFFSET_LIST(s, f) CONF_OFFSET_AS_(s, f, struct conf_list)
#define CONF_OFFSET_RETIRED(s, f) 0

#endif
