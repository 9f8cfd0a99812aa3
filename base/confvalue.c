/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One option: from the texts in the file to the field of the struct, with its bounds, and what the field
 * owns. Nothing here knows of files or sections.
 */
#include "config.h"

#include "base/confimpl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Enough of a wrong value to know it again. */
#define SHOWN 40

static void *
field_of(const struct conf_row *row, void *base)
{
    return (char *)base + row->offset;
}

static int
parse_scalar(enum conf_type type, const char *text, uint64_t *ret)
{
    switch (type) {
    case CONF_TIME:
        return conf_parse_time(text, ret);
    case CONF_BYTES:
        return conf_parse_bytes(text, ret);
    default:
        return conf_parse_count(text, ret);
    }
}

/* Bounds of numbers are in the option's own unit, of lengths and lists plain numbers. */
static bool
is_inside(const struct conf_row *row, uint64_t v)
{
    enum conf_type type = row->type == CONF_TIME || row->type == CONF_BYTES ? row->type : CONF_COUNT;
    uint64_t min = 0, max = UINT64_MAX;

    if (row->min[0] != '\0')
        (void)parse_scalar(type, row->min, &min); /* conf_check_section() has seen that it parses */
    if (row->max[0] != '\0')
        (void)parse_scalar(type, row->max, &max);
    return v >= min && v <= max;
}

static void
say_range(const struct conf_row *row, const char *of_what, const char *given, char *what, size_t size)
{
    const char *min = row->min[0] != '\0' ? row->min : "0";

    if (row->max[0] != '\0')
        (void)snprintf(what, size, "%s%.*s is outside %s to %s", of_what, SHOWN, given, min, row->max);
    else
        (void)snprintf(what, size, "%s%.*s is less than %s", of_what, SHOWN, given, min);
}

static int
set_number(const struct conf_row *row, void *base, const char *text, char *what, size_t size)
{
    uint64_t v;
    int r = parse_scalar(row->type, text, &v);

    if (r == -EINVAL) {
        const char *wanted = row->type == CONF_TIME    ? "a time with its unit, ms, s, m, h or d (like 10s)"
                             : row->type == CONF_BYTES ? "a size (like 4096, 64KiB or 1MiB)"
                                                       : "a whole number, digits only";
        (void)snprintf(what, size, "\"%.*s\" is not %s", SHOWN, text, wanted);
        return -EINVAL;
    }
    if (r == -ERANGE || !is_inside(row, v)) {
        say_range(row, "", text, what, size);
        return -EINVAL;
    }
    *(uint64_t *)field_of(row, base) = v;
    return 0;
}

static int
set_bool(const struct conf_row *row, void *base, const char *text, char *what, size_t size)
{
    if (conf_parse_bool(text, field_of(row, base)) == 0)
        return 0;
    (void)snprintf(what, size, "\"%.*s\" is neither true nor false", SHOWN, text);
    return -EINVAL;
}

/* The choices of a hint, "a|b|c", as a NULL-ended list into buf. */
static size_t
split_choices(const char *hint, char *buf, size_t buf_size, const char **ret, size_t max)
{
    size_t n = 0;

    (void)snprintf(buf, buf_size, "%s", hint);
    for (char *p = buf; p != NULL && n + 1 < max;) {
        ret[n++] = strsep(&p, "|");
    }
    ret[n] = NULL;
    return n;
}

static int
set_enum(const struct conf_row *row, void *base, const char *text, char *what, size_t size)
{
    char buf[256];
    const char *choices[32];
    size_t n = split_choices(row->hint, buf, sizeof buf, choices, 32);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *(int *)field_of(row, base) = (int)i;
            return 0;
        }
    }
    int at = snprintf(what, size, "\"%.*s\" is not known here", SHOWN, text);
    const char *nearest = conf_nearest(text, choices);
    if (nearest != NULL)
        at += snprintf(what + at, size - (size_t)at, "; did you mean %s?", nearest);
    at += snprintf(what + at, size - (size_t)at, nearest != NULL ? " It takes one of" : "; it takes one of");
    for (size_t i = 0; i < n && (size_t)at < size; i++)
        at += snprintf(what + at, size - (size_t)at, "%s %s", i > 0 ? "," : "", choices[i]);
    return -EINVAL;
}

/* A relative path is relative to the folder of the file; what comes from the command line stays. */
static char *
path_join(const char *dir, const char *text)
{
    size_t n = strlen(text) + 1;
    char *path;

    if (dir == NULL || text[0] == '/' || text[0] == '\0')
        return strdup(text);
    n += strlen(dir) + 1;
    path = malloc(n);
    if (path != NULL)
        (void)snprintf(path, n, "%s/%s", dir, text);
    return path;
}

static int
set_text(const struct conf_row *row, void *base, const char *text, const char *dir, char *what, size_t size)
{
    char **field = field_of(row, base);
    char *v = path_join(row->type == CONF_PATH ? dir : NULL, text);

    if (v == NULL)
        return -ENOMEM;
    if (!is_inside(row, strlen(v))) {
        char length[24];
        (void)snprintf(length, sizeof length, "%zu", strlen(v));
        if (v[0] == '\0')
            (void)snprintf(what, size, "must not be empty");
        else
            say_range(row, "its length of ", length, what, size);
        free(v);
        return -EINVAL;
    }
    free(*field);
    *field = v;
    return 0;
}

static int
set_address(const struct conf_row *row, void *base, const char *text, char *what, size_t size)
{
    struct conf_address *field = field_of(row, base);
    struct conf_address a = {0};

    if (text[0] != '\0') {
        int r = conf_parse_address(text, &a);
        if (r == -EINVAL) {
            (void)snprintf(what, size,
                "\"%.*s\" is not an address: host:port, [v6]:port, or *:port for every address of this "
                "machine",
                SHOWN, text);
            return r;
        }
        if (r < 0)
            return r;
    }
    conf_address_fini(field);
    *field = a;
    return 0;
}

static void
list_fini(struct conf_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct conf_list){0};
}

static int
set_list(const struct conf_row *row, void *base, const char *const *texts, size_t n, char *what, size_t size)
{
    struct conf_list *field = field_of(row, base);
    struct conf_list list = {0};

    if (n > CONF_MAX_ITEMS || !is_inside(row, n)) {
        char number[24];
        (void)snprintf(number, sizeof number, "%zu", n);
        say_range(row, "the number of items, ", number, what, size);
        return -EINVAL;
    }
    if (n > 0) {
        list.items = calloc(n, sizeof *list.items);
        if (list.items == NULL)
            return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
            list.items[i] = strdup(texts[i]);
            if (list.items[i] == NULL) {
                list_fini(&list);
                return -ENOMEM;
            }
            list.n++;
        }
    }
    list_fini(field);
    *field = list;
    return 0;
}

int
conf_value_set(const struct conf_row *row, void *base, const char *const *texts, size_t n, const char *dir,
    char *ret_what, size_t what_size)
{
    if (row->type == CONF_LIST)
        return set_list(row, base, texts, n, ret_what, what_size);
    assert(n == 1);
    switch (row->type) {
    case CONF_BOOL:
        return set_bool(row, base, texts[0], ret_what, what_size);
    case CONF_COUNT:
    case CONF_TIME:
    case CONF_BYTES:
        return set_number(row, base, texts[0], ret_what, what_size);
    case CONF_ENUM:
        return set_enum(row, base, texts[0], ret_what, what_size);
    case CONF_STRING:
    case CONF_PATH:
        return set_text(row, base, texts[0], dir, ret_what, what_size);
    case CONF_ADDRESS:
        return set_address(row, base, texts[0], ret_what, what_size);
    case CONF_RETIRED:
    case CONF_LIST:
        break;
    }
    (void)snprintf(ret_what, what_size, "is not an option any more. %s", row->sentence);
    return -EINVAL;
}

/* The default is checked by conf_check_section() in a unit test of each table. A required option starts as
 * an empty text, so that no char pointer is ever NULL. */
int
conf_value_set_default(const struct conf_row *row, void *base)
{
    char what[256];
    const char *text = row->def;

    if (row->type == CONF_RETIRED)
        return 0;
    if (text == NULL) {
        if (row->type != CONF_STRING && row->type != CONF_PATH)
            return 0;
        char **field = field_of(row, base);
        *field = strdup("");
        return *field != NULL ? 0 : -ENOMEM;
    }
    return conf_value_set(
        row, base, &text, row->type == CONF_LIST && text[0] == '\0' ? 0 : 1, NULL, what, sizeof what);
}

void
conf_value_free(const struct conf_row *row, void *base)
{
    void *field = field_of(row, base);

    switch (row->type) {
    case CONF_STRING:
    case CONF_PATH:
        free(*(char **)field);
        *(char **)field = NULL;
        break;
    case CONF_ADDRESS:
        conf_address_fini(field);
        break;
    case CONF_LIST:
        list_fini(field);
        break;
    default:
        break;
    }
}

static bool
text_equal(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

bool
conf_value_equal(const struct conf_row *row, const void *base_a, const void *base_b)
{
    const void *a = (const char *)base_a + row->offset, *b = (const char *)base_b + row->offset;

    switch (row->type) {
    case CONF_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case CONF_COUNT:
    case CONF_TIME:
    case CONF_BYTES:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case CONF_ENUM:
        return *(const int *)a == *(const int *)b;
    case CONF_STRING:
    case CONF_PATH:
        return text_equal(*(char *const *)a, *(char *const *)b);
    case CONF_ADDRESS:
        return text_equal(((const struct conf_address *)a)->text, ((const struct conf_address *)b)->text);
    case CONF_LIST: {
        const struct conf_list *x = a, *y = b;
        if (x->n != y->n)
            return false;
        for (size_t i = 0; i < x->n; i++) {
            if (strcmp(x->items[i], y->items[i]) != 0)
                return false;
        }
        return true;
    }
    case CONF_RETIRED:
        break;
    }
    return true;
}

int
conf_struct_default(const struct conf_section *section, void *base)
{
    for (size_t i = 0; i < section->n_rows; i++) {
        int r = conf_value_set_default(&section->rows[i], base);
        if (r < 0) {
            conf_struct_free(section, base);
            return r;
        }
    }
    return 0;
}

void
conf_struct_free(const struct conf_section *section, void *base)
{
    for (size_t i = 0; i < section->n_rows; i++)
        conf_value_free(&section->rows[i], base);
    memset(base, 0, section->struct_size);
}

const struct conf_row *
conf_row_find(const struct conf_section *section, const char *name)
{
    for (size_t i = 0; i < section->n_rows; i++) {
        if (strcmp(section->rows[i].name, name) == 0)
            return &section->rows[i];
    }
    return NULL;
}
