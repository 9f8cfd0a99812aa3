/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the tree of a file to the structs, by the tables; and the overrides of the command line, which come
 * over it. Errors are noted and the walk goes on, so that one run tells them all.
 */
#include "config.h"

#include "base/confimpl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One map being walked. */
struct walk {
    struct conf_state *st;
    const struct conf_file *file;
    const struct conf_section *section;
    void *base;
    struct conf_seen *seen; /* one for each row */
    struct conf_item_seen *items_seen;
    const char *dir; /* what relative paths are relative to */
};

static void
say_known(char *ret, size_t size, const char *name, const char *const *known)
{
    const char *nearest = conf_nearest(name, known);
    int at = 0;

    ret[0] = '\0';
    if (nearest != NULL) {
        (void)snprintf(ret, size, "did you mean %s?", nearest);
        return;
    }
    for (size_t i = 0; known[i] != NULL && (size_t)at < size; i++)
        at += snprintf(ret + at, size - (size_t)at, "%s%s", i > 0 ? ", " : "known here: ", known[i]);
}

/* The names that may stand in a map: those of the rows below prefix, each group once. */
static void
names_below(
    const struct conf_section *section, const char *prefix, char (*buf)[CONF_MAX_NAME], const char **ret)
{
    size_t n = 0, n_prefix = strlen(prefix);

    for (size_t i = 0; i < section->n_rows && n < CONF_MAX_ROWS; i++) {
        const char *name = section->rows[i].name;
        if (strncmp(name, prefix, n_prefix) != 0 || section->rows[i].type == CONF_RETIRED)
            continue;
        name += n_prefix;
        (void)snprintf(buf[n], CONF_MAX_NAME, "%.*s", (int)strcspn(name, "."), name);
        if (n > 0 && strcmp(buf[n], buf[n - 1]) == 0)
            continue;
        ret[n] = buf[n];
        n++;
    }
    ret[n] = NULL;
}

/* "ws.listen", "topics.history.age", "runtime_dir" */
static void
full_name(const struct conf_section *section, const char *name, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s%s%.80s", section->name, section->name[0] != '\0' ? "." : "", name);
}

static void
note_unknown(const struct walk *w, const char *prefix, const char *key, const char *file, unsigned line,
    unsigned column)
{
    char buf[CONF_MAX_ROWS][CONF_MAX_NAME], text[300], full[CONF_MAX_NAME * 2];
    const char *known[CONF_MAX_ROWS + 1];

    names_below(w->section, prefix, buf, known);
    say_known(text, sizeof text, key, known);
    full_name(w->section, prefix, full, sizeof full);
    conf_error_at(w->st->errs, file, line, column, "%s%s%.60s: unknown option; %s", full,
        full[0] != '\0' && full[strlen(full) - 1] != '.' ? "." : "", key, text);
}

static void
note_value(const struct walk *w, const struct conf_row *row, const struct conf_node *node, const char *what)
{
    char full[CONF_MAX_NAME * 2];

    full_name(w->section, row->name, full, sizeof full);
    conf_error_at(w->st->errs, w->file->name, node->line, node->column, "%s: %s", full, what);
}

/* The same option in a second place: another file (in one file the YAML reader has noted it already). */
static bool
check_first(const struct walk *w, const struct conf_row *row, const struct conf_node *node)
{
    struct conf_seen *seen = &w->seen[row - w->section->rows];
    char full[CONF_MAX_NAME * 2];

    if (!seen->is_given) {
        *seen = (struct conf_seen){.is_given = true,
            .file = w->file,
            .line = node->key_line,
            .value_line = node->line,
            .value_column = node->column};
        return true;
    }
    if (seen->file != w->file) {
        full_name(w->section, row->name, full, sizeof full);
        conf_error_at(w->st->errs, w->file->name, node->key_line, node->key_column,
            "%s: is set already in %.120s:%u; an option stands in one place", full, seen->file->name,
            seen->line);
    }
    return false;
}

/* The texts of a list option: a list of texts, one text, or nothing. */
static int
walk_list(const struct walk *w, const struct conf_row *row, const struct conf_node *node)
{
    char what[256];
    const char **texts = calloc(node->n + 1, sizeof *texts);
    size_t n = 0;
    int r = 0;

    if (texts == NULL)
        return -ENOMEM;
    if (node->kind == CONF_NODE_TEXT && !conf_node_is_nothing(node))
        texts[n++] = node->text;
    for (const struct conf_node *c = node->first; c != NULL && r == 0; c = c->next) {
        if (c->kind != CONF_NODE_TEXT || conf_node_is_nothing(c)) {
            note_value(w, row, c, "each item must be a text");
            r = -EINVAL;
        } else {
            texts[n++] = c->text;
        }
    }
    if (r == 0) {
        r = conf_value_set(row, w->base, texts, n, w->dir, what, sizeof what);
        if (r == -EINVAL)
            note_value(w, row, node, what);
    }
    free(texts);
    return r == -ENOMEM ? r : 0;
}

static int
walk_option(const struct walk *w, const struct conf_row *row, const struct conf_node *node)
{
    char what[400];

    if (!check_first(w, row, node))
        return 0;
    if (row->type == CONF_LIST && node->kind != CONF_NODE_MAP)
        return walk_list(w, row, node);
    if (row->type != CONF_RETIRED) {
        if (node->kind != CONF_NODE_TEXT) {
            note_value(w, row, node,
                row->type == CONF_LIST ? "must be a list of texts, not a mapping" : "must be a single value");
            return 0;
        }
        if (node->is_plain && node->text[0] == '\0') {
            note_value(w, row, node, "has no value");
            return 0;
        }
    }
    const char *text = node->kind == CONF_NODE_TEXT ? node->text : "";
    int r = conf_value_set(row, w->base, &text, 1, w->dir, what, sizeof what);
    if (r == -EINVAL)
        note_value(w, row, node, what);
    return r == -ENOMEM ? r : 0;
}

static bool
is_group(const struct conf_section *section, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < section->n_rows; i++) {
        if (strncmp(section->rows[i].name, name, n) == 0 && section->rows[i].name[n] == '.')
            return true;
    }
    return false;
}

/* The options of one map; prefix is "" or "history.". */
static int
walk_map(const struct walk *w, const struct conf_node *map, const char *prefix)
{
    int r = 0;

    for (const struct conf_node *c = map->first; c != NULL && r == 0; c = c->next) {
        char name[CONF_MAX_NAME];
        const struct conf_row *row = NULL;
        int n = snprintf(name, sizeof name, "%s%s", prefix, c->key);
        bool is_short = (size_t)n < sizeof name && strchr(c->key, '.') == NULL;

        if (is_short)
            row = conf_row_find(w->section, name);
        if (row != NULL) {
            r = walk_option(w, row, c);
        } else if (!is_short || !is_group(w->section, name)) {
            note_unknown(w, prefix, c->key, w->file->name, c->key_line, c->key_column);
        } else if (c->kind == CONF_NODE_MAP && (size_t)n + 1 < sizeof name) {
            strcat(name, ".");
            r = walk_map(w, c, name);
        } else if (!conf_node_is_nothing(c)) {
            conf_error_at(
                w->st->errs, w->file->name, c->line, c->column, "%s: must be a mapping of options", name);
        }
    }
    return r;
}

static void
note_missing(const struct walk *w, unsigned line, unsigned column)
{
    for (size_t i = 0; i < w->section->n_rows; i++) {
        const struct conf_row *row = &w->section->rows[i];
        char full[CONF_MAX_NAME * 2];
        if (row->def != NULL || row->type == CONF_RETIRED || w->seen[i].is_given)
            continue;
        full_name(w->section, row->name, full, sizeof full);
        conf_error_at(w->st->errs, w->file != NULL ? w->file->name : "", line, column,
            "%s: must be given%s%s", full, row->hint[0] != '\0' ? ", for example " : "", row->hint);
    }
}

static int
walk_item(const struct walk *list, const struct conf_node *node, void *item, struct conf_seen *seen)
{
    struct walk w = *list;

    w.base = item;
    w.seen = seen;
    int r = conf_struct_default(w.section, item);
    if (r < 0)
        return r;
    if (node->kind != CONF_NODE_MAP) {
        conf_error_at(w.st->errs, w.file->name, node->line, node->column,
            "%s: each item must be a mapping of options", w.section->name);
        return 0;
    }
    r = walk_map(&w, node, "");
    if (r == 0)
        note_missing(&w, node->line, node->column);
    return r;
}

/* Joins the items of a list of mappings to those of the files before. */
static int
walk_items(const struct walk *w, const struct conf_node *node)
{
    struct conf_items *items = w->base;
    size_t size = w->section->struct_size;

    if (conf_node_is_nothing(node) || (node->kind == CONF_NODE_LIST && node->n == 0))
        return 0;
    if (node->kind != CONF_NODE_LIST || items->n + node->n > CONF_MAX_ITEMS) {
        conf_error_at(w->st->errs, w->file->name, node->line, node->column,
            "%s: must be a list, of at most %u items", w->section->name, CONF_MAX_ITEMS);
        return 0;
    }
    char *p = reallocarray(items->p, items->n + node->n, size);
    if (p == NULL)
        return -ENOMEM;
    items->p = p;
    size_t n_rows = w->section->n_rows;
    struct conf_seen *seen = reallocarray(w->items_seen->p, items->n + node->n, n_rows * sizeof *seen);
    if (seen == NULL)
        return -ENOMEM;
    w->items_seen->p = seen;
    memset(seen + items->n * n_rows, 0, node->n * n_rows * sizeof *seen);
    for (const struct conf_node *c = node->first; c != NULL; c = c->next) {
        char *item = p + items->n * size;
        memset(item, 0, size);
        seen = w->items_seen->p + items->n * n_rows;
        items->n++; /* conf_free() frees it, whatever it has become */
        int r = walk_item(w, c, item, seen);
        if (r < 0)
            return r;
    }
    return 0;
}

static int
walk_section(const struct walk *w, const struct conf_node *node)
{
    if (w->section->is_list)
        return walk_items(w, node);
    if (conf_node_is_nothing(node))
        return 0; /* all of it is commented out */
    if (node->kind != CONF_NODE_MAP) {
        conf_error_at(w->st->errs, w->file->name, node->line, node->column,
            "%s: must be a mapping of options", w->section->name);
        return 0;
    }
    return walk_map(w, node, "");
}

static bool
is_ignored(const struct conf_request *req, const char *name)
{
    for (const char *const *p = req->ignored; p != NULL && *p != NULL; p++) {
        if (name[0] != '\0' && strcmp(*p, name) == 0)
            return true;
    }
    return strncmp(name, "x-", 2) == 0;
}

static const struct conf_bind *
bind_find(const struct conf_request *req, const char *name)
{
    for (size_t i = 0; i < req->n_binds; i++) {
        if (strcmp(req->binds[i].section->name, name) == 0)
            return &req->binds[i];
    }
    return NULL;
}

/* What may stand at the top level: sections, ours and others', and the options of the section "". */
static void
note_unknown_top(struct conf_state *st, const char *key, const char *file, unsigned line, unsigned column)
{
    const char *known[2 * CONF_MAX_ROWS + 1];
    char text[300];
    size_t n = 0;
    const struct conf_bind *top = bind_find(st->req, "");

    for (size_t i = 0; top != NULL && i < top->section->n_rows; i++)
        known[n++] = top->section->rows[i].name;
    for (size_t i = 0; i < st->req->n_binds && n < 2 * CONF_MAX_ROWS; i++) {
        if (st->req->binds[i].section->name[0] != '\0')
            known[n++] = st->req->binds[i].section->name;
    }
    for (const char *const *p = st->req->ignored; p != NULL && *p != NULL && n < 2 * CONF_MAX_ROWS; p++) {
        if ((*p)[0] != '\0' && bind_find(st->req, *p) == NULL)
            known[n++] = *p;
    }
    known[n] = NULL;
    say_known(text, sizeof text, key, known);
    conf_error_at(st->errs, file, line, column, "%.60s: unknown section or option; %s", key, text);
}

static struct walk
walk_of(struct conf_state *st, const struct conf_file *file, const struct conf_bind *bind)
{
    return (struct walk){.st = st,
        .file = file,
        .section = bind->section,
        .base = bind->into,
        .seen = &st->seen[(size_t)(bind - st->req->binds) * CONF_MAX_ROWS],
        .items_seen = &st->items_seen[bind - st->req->binds]};
}

static int
walk_top(struct conf_state *st, const struct conf_file *file, const struct conf_node *c, const char *dir)
{
    const struct conf_bind *bind = c->key[0] != '\0' ? bind_find(st->req, c->key) : NULL;
    struct walk w;

    if (strcmp(c->key, "include") == 0)
        return 0; /* read already */
    if (bind != NULL) {
        w = walk_of(st, file, bind);
        w.dir = dir;
        return walk_section(&w, c);
    }
    bind = bind_find(st->req, "");
    const struct conf_row *row = bind != NULL ? conf_row_find(bind->section, c->key) : NULL;
    if (row != NULL) {
        w = walk_of(st, file, bind);
        w.dir = dir;
        return walk_option(&w, row, c);
    }
    if (!is_ignored(st->req, c->key))
        note_unknown_top(st, c->key, file->name, c->key_line, c->key_column);
    return 0;
}

int
conf_walk_file(struct conf_state *st, const struct conf_file *file)
{
    const char *slash = strrchr(file->name, '/');
    char *dir = slash != NULL ? strndup(file->name, (size_t)(slash - file->name)) : strdup("");
    int r = 0;

    if (dir == NULL)
        return -ENOMEM;
    if (file->root != NULL && file->root->kind != CONF_NODE_MAP && !conf_node_is_nothing(file->root))
        conf_error_at(st->errs, file->name, file->root->line, file->root->column,
            "the file must be a mapping of sections");
    else if (file->root != NULL)
        for (const struct conf_node *c = file->root->first; c != NULL && r == 0; c = c->next)
            r = walk_top(st, file, c, slash != NULL && !st->is_memory ? dir : NULL);
    free(dir);
    return r;
}

/* "a,b" to its parts; "" is none. Splits text in place. */
static size_t
split_commas(char *text, const char **ret, size_t max)
{
    size_t n = 0;

    if (text[0] == '\0')
        return 0;
    while (text != NULL && n < max)
        ret[n++] = strsep(&text, ",");
    return n;
}

static int
override_option(struct walk *w, const char *name, char *text, const char *set)
{
    const struct conf_row *row = conf_row_find(w->section, name);
    const char *texts[256] = {text};
    char what[400];
    size_t n = 1;

    if (row == NULL) {
        note_unknown(w, "", name, "--set", 0, 0);
        return 0;
    }
    if (row->type == CONF_LIST)
        n = split_commas(text, texts, 256);
    int r = conf_value_set(row, w->base, texts, n, NULL, what, sizeof what);
    if (r == -EINVAL)
        conf_error_at(w->st->errs, "--set", 0, 0, "%.100s: %s", set, what);
    else
        w->seen[row - w->section->rows] = (struct conf_seen){.is_given = true};
    return r == -ENOMEM ? r : 0;
}

static int
override_named(struct conf_state *st, char *name, char *text, const char *set)
{
    const struct conf_bind *top = bind_find(st->req, ""), *bind;
    char *dot = strchr(name, '.');
    struct walk w;

    if (top != NULL && conf_row_find(top->section, name) != NULL) {
        w = walk_of(st, NULL, top);
        return override_option(&w, name, text, set);
    }
    if (dot != NULL)
        *dot = '\0';
    bind = name[0] != '\0' ? bind_find(st->req, name) : NULL;
    if (bind == NULL) {
        if (!is_ignored(st->req, name))
            note_unknown_top(st, name, "--set", 0, 0);
        return 0;
    }
    if (bind->section->is_list || dot == NULL) {
        conf_error_at(st->errs, "--set", 0, 0,
            bind->section->is_list ? "%.60s is a list and can only be set in a file"
                                   : "%.60s is a section: say which option of it, section.option=value",
            name);
        return 0;
    }
    w = walk_of(st, NULL, bind);
    return override_option(&w, dot + 1, text, set);
}

int
conf_walk_override(struct conf_state *st, const char *set)
{
    char *name = strdup(set);
    int r = 0;

    if (name == NULL)
        return -ENOMEM;
    char *text = strchr(name, '=');
    if (text == NULL) {
        conf_error_at(st->errs, "--set", 0, 0, "%.100s: must be section.option=value", set);
    } else {
        *text++ = '\0';
        r = override_named(st, name, text, set);
    }
    free(name);
    return r;
}

static const struct conf_seen *
seen_find(const struct conf_state *st, const struct conf_section *section, size_t item, const char *name)
{
    const struct conf_bind *bind = bind_find(st->req, section->name);
    const struct conf_row *row = conf_row_find(section, name);

    if (bind == NULL || row == NULL)
        return NULL;
    size_t at = (size_t)(bind - st->req->binds), nth = (size_t)(row - section->rows);
    if (!section->is_list)
        return &st->seen[at * CONF_MAX_ROWS + nth];
    return item < ((const struct conf_items *)bind->into)->n
               ? &st->items_seen[at].p[item * section->n_rows + nth]
               : NULL;
}

bool
conf_check_is_given(
    struct conf_check *check, const struct conf_section *section, size_t item, const char *name)
{
    const struct conf_seen *seen = seen_find((struct conf_state *)check, section, item, name);

    return seen != NULL && seen->is_given;
}

void
conf_check_note(struct conf_check *check, const struct conf_section *section, size_t item, const char *name,
    const char *fmt, ...)
{
    struct conf_state *st = (struct conf_state *)check;
    const struct conf_seen *seen = seen_find(st, section, item, name);
    char full[CONF_MAX_NAME * 2], what[400];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    full_name(section, name, full, sizeof full);
    if (seen == NULL || !seen->is_given)
        conf_error_at(st->errs, "", 0, 0, "%s: %s", full, what);
    else if (seen->file == NULL)
        conf_error_at(st->errs, "--set", 0, 0, "%s: %s", full, what);
    else
        conf_error_at(st->errs, seen->file->name, seen->value_line, seen->value_column, "%s: %s", full, what);
}

void
conf_walk_required(struct conf_state *st)
{
    for (size_t i = 0; i < st->req->n_binds; i++) {
        struct walk w = walk_of(st, NULL, &st->req->binds[i]);
        if (!w.section->is_list)
            note_missing(&w, 0, 0);
    }
}
