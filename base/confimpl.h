/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the config reader share; nobody else includes this.
 *
 *     conf.c       loading: files, includes, overrides, errors, freeing, differences
 *     confyaml.c   YAML text to a tree of nodes (libyaml's events, strictly)
 *     confwalk.c   the tree to structs, by the tables
 *     confvalue.c  one option's text to its field and back, and all its kinds of memory
 *     confunits.c  times, sizes, numbers, addresses
 *     confnames.c  the nearest known name
 *     confprint.c  the sample file and the manual
 */
#ifndef BASE_CONFIMPL_H
#define BASE_CONFIMPL_H

#include <sys/types.h>

#include "base/conf.h"

#define CONF_MAX_DEPTH 8u      /* of nesting in the file */
#define CONF_MAX_KEYS 256u     /* names in one mapping: finding repeated ones is quadratic */
#define CONF_MAX_NODES 200000u /* in one load */
#define CONF_MAX_ROWS 64u      /* of one table */
#define CONF_MAX_NAME 128u     /* bytes of a full option name */

enum conf_node_kind { CONF_NODE_TEXT, CONF_NODE_LIST, CONF_NODE_MAP };

/* One value in a file. Children hang in the order of the file; those of a map have a key. */
struct conf_node {
    enum conf_node_kind kind;
    bool is_plain;         /* text without quotes: then empty, ~ and null mean that nothing is there */
    unsigned line, column; /* from 1 */
    unsigned key_line, key_column;
    char *key, *text; /* UTF-8 without control characters */
    struct conf_node *first, *last, *next;
    size_t n; /* children */
};

struct conf_file {
    char *name;               /* as errors call it */
    struct conf_node *root;   /* NULL: nothing in it */
    struct conf_file *parent; /* that includes this one */
    struct conf_file *next;   /* in the order of reading, all of one load */
    dev_t dev;
    ino_t ino;
};

/* Where an option was set first. */
struct conf_seen {
    bool is_given;
    const struct conf_file *file; /* NULL: by an override */
    unsigned line;                /* of its name */
    unsigned value_line, value_column;
};

/* The same for the items of a list of mappings, one after the other, n_rows each. */
struct conf_item_seen {
    struct conf_seen *p;
};

struct conf_state {
    const struct conf_request *req;
    struct conf_errors *errs;
    struct conf_file *files, **files_end;
    size_t n_files, n_nodes;
    struct conf_seen *seen;            /* CONF_MAX_ROWS for each bind */
    struct conf_item_seen *items_seen; /* one for each bind */
    bool is_memory;
};

/* Notes an error; line 0 when there is none. */
void conf_error_at(struct conf_errors *errs, const char *file, unsigned line, unsigned column,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The text of a file to a tree, NULL for an empty one. 0, -EINVAL (noted), -ENOMEM. n_nodes counts on. */
int conf_yaml_parse(const char *name, const void *p, size_t n, size_t *n_nodes, struct conf_errors *errs,
    struct conf_node **ret);
struct conf_node *conf_node_free(struct conf_node *node);
bool conf_node_is_nothing(const struct conf_node *node);

/* Sets what a file's tree says, and what one override says. 0 or -ENOMEM; what is wrong is noted. */
int conf_walk_file(struct conf_state *st, const struct conf_file *file);
int conf_walk_override(struct conf_state *st, const char *set);
/* Notes options that must be given and were not. */
void conf_walk_required(struct conf_state *st);

const struct conf_row *conf_row_find(const struct conf_section *section, const char *name);

/* Sets the field from texts (one, but for LIST), and frees what it held. dir: what a relative PATH is
 * relative to, or NULL. 0; -ENOMEM; -EINVAL with a clause in ret_what ("must be ..."). */
int conf_value_set(const struct conf_row *row, void *base, const char *const *texts, size_t n,
    const char *dir, char *ret_what, size_t what_size);
int conf_value_set_default(const struct conf_row *row, void *base);
void conf_value_free(const struct conf_row *row, void *base);
bool conf_value_equal(const struct conf_row *row, const void *a, const void *b);

int conf_struct_default(const struct conf_section *section, void *base);
void conf_struct_free(const struct conf_section *section, void *base);

#endif
