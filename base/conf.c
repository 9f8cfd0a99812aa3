/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a configuration: the files with what they include, then the walk by the tables, then overrides;
 * and all or nothing: on any error every struct is freed and zero again.
 */
#include "config.h"

#include "base/confimpl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"

/* ---- Errors. ---- */

/* What came from a file or the command line must not forge a line of output, nor break one of JSON. */
static void
make_printable(char *text)
{
    bool is_utf8 = utf8_is_valid(text, strlen(text));

    for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f || (!is_utf8 && *p >= 0x80))
            *p = '?';
    }
}

static void
error_add(
    struct conf_errors *errs, const char *file, unsigned line, unsigned column, const char *fmt, va_list ap)
{
    if (errs->n == CONF_MAX_ERRORS) {
        errs->n_more++;
        return;
    }
    struct conf_error *e = &errs->at[errs->n++];
    *e = (struct conf_error){.line = line, .column = column};
    (void)snprintf(e->file, sizeof e->file, "%s", file);
    (void)vsnprintf(e->what, sizeof e->what, fmt, ap);
    make_printable(e->file);
    make_printable(e->what);
}

void
conf_error_at(
    struct conf_errors *errs, const char *file, unsigned line, unsigned column, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_add(errs, file, line, column, fmt, ap);
    va_end(ap);
}

void
conf_errors_add(struct conf_errors *errs, const char *file, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_add(errs, file, 0, 0, fmt, ap);
    va_end(ap);
}

void
conf_error_format(const struct conf_error *e, char *ret, size_t ret_size)
{
    if (e->line > 0)
        (void)snprintf(ret, ret_size, "%s:%u:%u: %s", e->file, e->line, e->column, e->what);
    else
        (void)snprintf(ret, ret_size, "%s%s%s", e->file, e->file[0] != '\0' ? ": " : "", e->what);
}

void
conf_errors_print(const struct conf_errors *errs, FILE *to)
{
    for (size_t i = 0; i < errs->n; i++) {
        char line[1024];
        conf_error_format(&errs->at[i], line, sizeof line);
        (void)fprintf(to, "%s\n", line);
    }
    if (errs->n_more > 0)
        (void)fprintf(to, "and %zu more\n", errs->n_more);
}

/* ---- Files. ---- */

/* Reads a regular file whole, CONF_MAX_FILE bytes at most. 0, or negative errno, noted if it is -EINVAL. */
static int
read_fd(int fd, const char *name, struct conf_errors *errs, char **ret, size_t *ret_n)
{
    char *p = malloc(CONF_MAX_FILE + 1);
    size_t n = 0;

    if (p == NULL)
        return -ENOMEM;
    while (n <= CONF_MAX_FILE) {
        ssize_t got = read(fd, p + n, CONF_MAX_FILE + 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int r = -errno;
            free(p);
            return r;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    if (n > CONF_MAX_FILE) {
        conf_error_at(errs, name, 0, 0, "larger than %u bytes: not a configuration", CONF_MAX_FILE);
        free(p);
        return -EINVAL;
    }
    *ret = p;
    *ret_n = n;
    return 0;
}

static int
open_regular(struct conf_state *st, const char *name, struct stat *ret_stat)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return -errno;
    if (fstat(fd, ret_stat) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    if (!S_ISREG(ret_stat->st_mode)) {
        conf_error_at(st->errs, name, 0, 0, "is not a file");
        (void)close(fd);
        return -EINVAL;
    }
    return fd;
}

static int
file_new(const char *name, struct conf_file *parent, struct conf_file **ret)
{
    struct conf_file *file = calloc(1, sizeof *file);

    if (file == NULL)
        return -ENOMEM;
    file->name = strdup(name);
    if (file->name == NULL) {
        free(file);
        return -ENOMEM;
    }
    file->parent = parent;
    *ret = file;
    return 0;
}

static void
file_free(struct conf_file *file)
{
    if (file == NULL)
        return;
    (void)conf_node_free(file->root);
    free(file->name);
    free(file);
}

static void
note_include(
    struct conf_state *st, const struct conf_file *file, const struct conf_node *at, const char *what)
{
    conf_error_at(st->errs, file->name, at->line, at->column, "include: %.120s: %s",
        at->kind == CONF_NODE_TEXT ? at->text : "", what);
}

/* The same file again: by another name, or in a circle. */
static bool
is_read_already(struct conf_state *st, const struct conf_file *file, const struct conf_node *at)
{
    for (const struct conf_file *f = file->parent; f != NULL; f = f->parent) {
        if (f->dev != file->dev || f->ino != file->ino)
            continue;
        note_include(st, file->parent, at, "the file would include itself");
        return true;
    }
    for (const struct conf_file *f = st->files; f != NULL; f = f->next) {
        if (f->dev != file->dev || f->ino != file->ino)
            continue;
        note_include(st, file->parent, at, "the file is included a second time");
        return true;
    }
    return false;
}

static int
read_file(struct conf_state *st, struct conf_file *file, const struct conf_node *at)
{
    struct stat stat;
    char *text = NULL;
    size_t n = 0;
    int fd = open_regular(st, file->name, &stat);

    if (fd < 0)
        return fd;
    file->dev = stat.st_dev;
    file->ino = stat.st_ino;
    int r = file->parent != NULL && is_read_already(st, file, at) ? -EINVAL : 0;
    if (r == 0)
        r = read_fd(fd, file->name, st->errs, &text, &n);
    (void)close(fd);
    if (r == 0)
        r = conf_yaml_parse(file->name, text, n, &st->n_nodes, st->errs, &file->root);
    free(text);
    return r;
}

static int load_file(struct conf_state *st, const char *name, struct conf_file *parent,
    const struct conf_node *at, unsigned depth);

/* One pattern. Wildcards may stand in the last part only, which bounds what glob() can walk. */
static int
include_pattern(struct conf_state *st, struct conf_file *file, const struct conf_node *at, unsigned depth)
{
    const char *slash = strrchr(file->name, '/'), *text = at->text, *last = strrchr(text, '/');
    bool has_wildcard = strpbrk(text, "*?[") != NULL;
    char *pattern = NULL;
    glob_t found;
    int r = 0;

    if (has_wildcard && last != NULL && strpbrk(text, "*?[") < last) {
        note_include(st, file, at, "wildcards may stand in the last part of the path only");
        return 0;
    }
    if (text[0] == '/' || slash == NULL)
        pattern = strdup(text);
    else if (asprintf(&pattern, "%.*s/%s", (int)(slash - file->name), file->name, text) < 0)
        pattern = NULL;
    if (pattern == NULL)
        return -ENOMEM;
    if (!has_wildcard) {
        r = load_file(st, pattern, file, at, depth + 1);
        free(pattern);
        return r;
    }
    switch (glob(pattern, GLOB_ERR, NULL, &found)) {
    case 0:
        for (size_t i = 0; i < found.gl_pathc && r == 0; i++)
            r = load_file(st, found.gl_pathv[i], file, at, depth + 1);
        globfree(&found);
        break;
    case GLOB_NOMATCH:
        break; /* an empty conf.d is fine */
    case GLOB_NOSPACE:
        r = -ENOMEM;
        break;
    default:
        note_include(st, file, at, "the folder cannot be read");
    }
    free(pattern);
    return r;
}

static int
include_all(struct conf_state *st, struct conf_file *file, unsigned depth)
{
    const struct conf_node *include = NULL;
    int r = 0;

    if (file->root == NULL || file->root->kind != CONF_NODE_MAP)
        return 0;
    for (const struct conf_node *c = file->root->first; c != NULL && include == NULL; c = c->next)
        include = strcmp(c->key, "include") == 0 ? c : NULL;
    if (include == NULL || conf_node_is_nothing(include))
        return 0;
    if (st->is_memory || depth >= CONF_MAX_INCLUDE_DEPTH) {
        note_include(st, file, include, st->is_memory ? "not from here" : "included too deeply");
        return 0;
    }
    if (include->kind == CONF_NODE_TEXT)
        return include_pattern(st, file, include, depth);
    for (const struct conf_node *c = include->first; c != NULL && r == 0; c = c->next) {
        if (include->kind != CONF_NODE_LIST || c->kind != CONF_NODE_TEXT || c->text[0] == '\0') {
            note_include(st, file, c, "must be a path, or a list of paths");
            return 0;
        }
        r = include_pattern(st, file, c, depth);
    }
    return r;
}

/* Puts the file behind those that it includes. Takes it. */
static void
file_append_take(struct conf_state *st, struct conf_file *file)
{
    *st->files_end = file;
    st->files_end = &file->next;
}

/* at is the include that names it. 0, also when errors were noted; -ENOMEM. */
static int
load_file(struct conf_state *st, const char *name, struct conf_file *parent, const struct conf_node *at,
    unsigned depth)
{
    struct conf_file *file = NULL;
    int r = file_new(name, parent, &file);

    if (r < 0)
        return r;
    if (++st->n_files > CONF_MAX_FILES) {
        if (st->n_files == CONF_MAX_FILES + 1)
            conf_error_at(st->errs, name, 0, 0, "more than %u files are included", CONF_MAX_FILES);
        file_free(file);
        return 0;
    }
    r = read_file(st, file, at);
    if (r < 0) {
        if (r != -EINVAL && r != -ENOMEM && parent == NULL)
            conf_error_at(st->errs, name, 0, 0, "cannot be read: %s", strerror(-r));
        else if (r != -EINVAL && r != -ENOMEM)
            note_include(st, parent, at, strerror(-r));
        file_free(file);
        return r == -ENOMEM ? r : 0;
    }
    r = include_all(st, file, depth);
    file_append_take(st, file);
    return r;
}

/* ---- The load. ---- */

static int
bind_default(const struct conf_bind *bind)
{
    if (bind->section->is_list) {
        *(struct conf_items *)bind->into = (struct conf_items){0};
        return 0;
    }
    return conf_struct_default(bind->section, bind->into);
}

static int
load_all(struct conf_state *st)
{
    const struct conf_request *req = st->req;
    int r = 0;

    for (const struct conf_file *f = st->files; f != NULL && r == 0; f = f->next)
        r = conf_walk_file(st, f);
    for (size_t i = 0; i < req->n_set && r == 0; i++)
        r = conf_walk_override(st, req->set[i]);
    if (r == 0 && st->errs->n == 0)
        conf_walk_required(st);
    if (r == 0 && st->errs->n == 0 && req->check != NULL)
        req->check((struct conf_check *)st, req->check_arg);
    return r;
}

/* Everything after the files have been read; frees the state. */
static int
load_finish(struct conf_state *st, int r)
{
    const struct conf_request *req = st->req;
    size_t n_ready = 0;

    st->seen = calloc(req->n_binds + 1, CONF_MAX_ROWS * sizeof *st->seen);
    st->items_seen = calloc(req->n_binds + 1, sizeof *st->items_seen);
    if (st->seen == NULL || st->items_seen == NULL)
        r = -ENOMEM;
    for (; r == 0 && n_ready < req->n_binds; n_ready++) {
        assert(req->binds[n_ready].section->n_rows <= CONF_MAX_ROWS);
        r = bind_default(&req->binds[n_ready]);
        if (r < 0)
            break;
    }
    if (r == 0)
        r = load_all(st);
    if (r == 0 && st->errs->n > 0)
        r = -EINVAL;
    if (r < 0) {
        if (st->errs->n == 0)
            conf_error_at(st->errs, req->path != NULL ? req->path : "", 0, 0, "%s", strerror(-r));
        conf_free(req->binds, n_ready);
    }
    for (struct conf_file *f = st->files; f != NULL;) {
        struct conf_file *next = f->next;
        file_free(f);
        f = next;
    }
    for (size_t i = 0; st->items_seen != NULL && i < req->n_binds; i++)
        free(st->items_seen[i].p);
    free(st->items_seen);
    free(st->seen);
    return r;
}

int
conf_load(const struct conf_request *req, struct conf_errors *errs)
{
    struct conf_state st = {.req = req, .errs = errs};
    int r = 0;

    st.files_end = &st.files;
    *errs = (struct conf_errors){0};
    if (req->path != NULL)
        r = load_file(&st, req->path, NULL, NULL, 0);
    return load_finish(&st, r);
}

int
conf_load_memory(
    const struct conf_request *req, const char *name, const void *p, size_t n, struct conf_errors *errs)
{
    struct conf_state st = {.req = req, .errs = errs, .is_memory = true};
    struct conf_file *file = NULL;
    int r;

    st.files_end = &st.files;
    *errs = (struct conf_errors){0};
    r = file_new(name, NULL, &file);
    if (r == 0 && n > CONF_MAX_FILE)
        conf_error_at(errs, name, 0, 0, "larger than %u bytes: not a configuration", CONF_MAX_FILE);
    else if (r == 0)
        r = conf_yaml_parse(name, p, n, &st.n_nodes, errs, &file->root);
    if (r == 0)
        r = include_all(&st, file, 0);
    if (file != NULL)
        file_append_take(&st, file);
    return load_finish(&st, r);
}

void
conf_free(const struct conf_bind *binds, size_t n_binds)
{
    for (size_t i = 0; i < n_binds; i++) {
        const struct conf_section *section = binds[i].section;
        if (!section->is_list) {
            conf_struct_free(section, binds[i].into);
            continue;
        }
        struct conf_items *items = binds[i].into;
        for (size_t k = 0; k < items->n; k++)
            conf_struct_free(section, (char *)items->p + k * section->struct_size);
        free(items->p);
        *items = (struct conf_items){0};
    }
}

int
conf_item_default(const struct conf_section *section, const char *name, const char *text, void *ret)
{
    char what[256];
    int r;

    memset(ret, 0, section->struct_size);
    r = conf_struct_default(section, ret);
    if (r < 0 || name == NULL)
        return r;
    const struct conf_row *row = conf_row_find(section, name);
    r = row != NULL ? conf_value_set(row, ret, &text, 1, NULL, what, sizeof what) : -EINVAL;
    if (r < 0)
        conf_struct_free(section, ret);
    return r;
}

void
conf_item_fini(const struct conf_section *section, void *item)
{
    conf_struct_free(section, item);
}

/* ---- Differences, for a reload. ---- */

static bool
row_differs(const struct conf_section *section, const struct conf_row *row, const void *old, const void *new)
{
    const struct conf_items *a = old, *b = new;

    if (!section->is_list)
        return !conf_value_equal(row, old, new);
    if (a->n != b->n)
        return true;
    for (size_t i = 0; i < a->n; i++) {
        size_t at = i * section->struct_size;
        if (!conf_value_equal(row, (const char *)a->p + at, (const char *)b->p + at))
            return true;
    }
    return false;
}

size_t
conf_diff(const struct conf_section *section, const void *old, const void *new, struct buf *ret_names)
{
    size_t n = 0;

    for (size_t i = 0; i < section->n_rows; i++) {
        const struct conf_row *row = &section->rows[i];
        if (row->type == CONF_RETIRED || row->when != CONF_RESTART || !row_differs(section, row, old, new))
            continue;
        n++;
        buf_printf(ret_names, "%s%s%s%s", ret_names->n > 0 ? ", " : "", section->name,
            section->name[0] != '\0' ? "." : "", row->name);
    }
    return n;
}
