/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sample file and the manual's list of options, from the tables. In the sample an option is a line with
 * `#` right before it, and a comment is one with `# ` before it: what is taken out by hand to set an option
 * is only the `#`. A test does that with all of them and loads the result.
 */
#include "config.h"

#include "base/confimpl.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"

#define WIDTH 90

/* Words of text, broken into lines that begin with prefix. */
static void
put_wrapped(struct buf *out, const char *prefix, const char *text)
{
    size_t column = 0;

    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, " ");
        if (column > 0 && column + 1 + n > WIDTH) {
            buf_put_byte(out, '\n');
            column = 0;
        }
        if (column == 0) {
            buf_put_str(out, prefix);
            column = strlen(prefix);
        } else {
            buf_put_byte(out, ' ');
            column++;
        }
        buf_put(out, p, n);
        column += n;
        p += n;
        p += strspn(p, " ");
    }
    buf_put_byte(out, '\n');
}

/* The range, or the choices, and when a change holds: one text, as it stands behind the sentence. */
static void
put_rules(struct buf *out, const struct conf_row *row)
{
    if (row->type == CONF_ENUM) {
        buf_put_str(out, " One of ");
        for (const char *p = row->hint; *p != '\0'; p++) {
            if (*p == '|')
                buf_put_str(out, ", ");
            else
                buf_put_byte(out, (uint8_t)*p);
        }
        buf_put_byte(out, '.');
    } else if (row->type == CONF_COUNT || row->type == CONF_TIME || row->type == CONF_BYTES) {
        if (row->max[0] != '\0')
            buf_printf(out, " From %s to %s.", row->min[0] != '\0' ? row->min : "0", row->max);
    }
    if (row->when == CONF_RESTART)
        buf_put_str(out, " A change needs a restart.");
}

/* YAML may take a text plainly if nothing in it could be anything else. */
static bool
needs_quotes(const char *text)
{
    if (text[0] == '\0' || text[strlen(text) - 1] == ':')
        return true;
    if (text[0] == '-' || text[0] == '.')
        return true;
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:-") !=
           strlen(text);
}

static void
put_quoted(struct buf *out, const char *text)
{
    buf_printf(out, needs_quotes(text) ? "\"%s\"" : "%s", text);
}

static void
put_value(struct buf *out, const struct conf_row *row)
{
    const char *text = row->def != NULL ? row->def : row->hint;

    if (row->type == CONF_LIST) {
        buf_put_byte(out, '[');
        if (text[0] != '\0')
            put_quoted(out, text);
        buf_put_byte(out, ']');
    } else {
        put_quoted(out, text);
    }
}

static void
put_comment(struct buf *out, const struct conf_row *row, const char *prefix)
{
    struct buf text;

    buf_init(&text, 4096);
    buf_put_str(&text, row->sentence);
    put_rules(&text, row);
    if (row->hint[0] != '\0' && row->type != CONF_ENUM && row->def != NULL)
        buf_printf(&text, " For example %s.", row->hint);
    buf_put_byte(&text, '\0');
    if (!buf_failed(&text))
        put_wrapped(out, prefix, (const char *)text.p);
    buf_fini(&text);
}

/* One option with its comment. margin: what stands before the # of a comment and of an option; lead: between
 * the # and the name. *group: the group that was open before. */
static void
sample_row(
    struct buf *out, const struct conf_row *row, const char *margin, const char *lead, const char **group)
{
    char prefix[32];
    const char *dot = strchr(row->name, '.');
    size_t n_group = dot != NULL ? (size_t)(dot - row->name) : 0;
    bool is_same = dot != NULL && *group != NULL && strncmp(*group, row->name, n_group + 1) == 0;

    if (dot != NULL && !is_same)
        buf_printf(out, "%s#%s%.*s:\n", margin, lead, (int)n_group, row->name);
    *group = dot != NULL ? row->name : NULL;
    if (dot != NULL && lead[0] == '-')
        lead = "  ";
    (void)snprintf(prefix, sizeof prefix, "%s# ", margin);
    put_comment(out, row, prefix);
    buf_printf(out, "%s#%s%s%s: ", margin, lead, dot != NULL ? "  " : "", dot != NULL ? dot + 1 : row->name);
    put_value(out, row);
    buf_put_byte(out, '\n');
}

static void
sample_section(struct buf *out, const struct conf_section *section)
{
    const char *margin = section->name[0] != '\0' ? "  " : "", *group = NULL;
    const char *lead = section->is_list ? "- " : "";

    buf_put_byte(out, '\n');
    if (section->name[0] != '\0') {
        put_wrapped(out, "# ", section->sentence);
        buf_printf(out, "%s:\n", section->name);
    }
    for (size_t i = 0; i < section->n_rows; i++) {
        if (section->rows[i].type == CONF_RETIRED)
            continue;
        sample_row(out, &section->rows[i], margin, lead, &group);
        if (section->is_list)
            lead = "  ";
    }
}

void
conf_sample(struct buf *out, const struct conf_section *const *sections, size_t n)
{
    buf_put_str(out,
        "# Busbar's configuration. Every option is here with its default: take the # away to change one.\n"
        "# `busbar check-config` says what is wrong with a file; busbar.yaml(5) is the manual.\n"
        "\n"
        "# More files to read first, relative to this one. An option stands in one file only.\n"
        "#include: conf.d/*.yaml\n");
    for (size_t i = 0; i < n; i++)
        sample_section(out, sections[i]);
}

/* ---- mdoc ---- */

/* A line of text must not begin like a macro, a backslash is not an escape, and a sentence begins a line. */
static void
put_roff(struct buf *out, const char *text)
{
    if (text[0] == '.' || text[0] == '\'')
        buf_put_str(out, "\\&");
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\\')
            buf_put_str(out, "\\e");
        else if (*p == '-')
            buf_put_str(out, "\\-");
        else if (*p == ' ' && p > text && p[-1] == '.' && p[1] >= 'A' && p[1] <= 'Z')
            buf_put_byte(out, '\n');
        else
            buf_put_byte(out, (uint8_t)*p);
    }
}

static const char *
type_word(enum conf_type type)
{
    switch (type) {
    case CONF_BOOL:
        return "true|false";
    case CONF_COUNT:
        return "number";
    case CONF_TIME:
        return "time";
    case CONF_BYTES:
        return "size";
    case CONF_STRING:
        return "text";
    case CONF_PATH:
        return "path";
    case CONF_ENUM:
        return "word";
    case CONF_ADDRESS:
        return "host:port";
    case CONF_LIST:
        return "list";
    case CONF_RETIRED:
        break;
    }
    return "";
}

static void
man_row(struct buf *out, const struct conf_section *section, const struct conf_row *row)
{
    struct buf text;

    buf_printf(out, ".It Ic %s%s%s Ar %s\n", section->name, section->name[0] != '\0' ? "." : "", row->name,
        type_word(row->type));
    buf_init(&text, 4096);
    buf_put_str(&text, row->sentence);
    if (row->type == CONF_RETIRED) {
        buf_put_byte(&text, '\0');
    } else {
        put_rules(&text, row);
        buf_put_byte(&text, '\0');
    }
    if (!buf_failed(&text))
        put_roff(out, (const char *)text.p);
    buf_fini(&text);
    buf_put_byte(out, '\n');
    if (row->type == CONF_RETIRED)
        return;
    if (row->def == NULL) {
        buf_put_str(out, "It must be given.\n");
        return;
    }
    buf_put_str(out, "The default is ");
    if (row->def[0] == '\0')
        buf_put_str(out, row->type == CONF_LIST ? "an empty list" : "empty");
    else
        put_roff(out, row->def);
    buf_put_str(out, ".\n");
}

void
conf_man(struct buf *out, const struct conf_section *const *sections, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct conf_section *section = sections[i];
        buf_printf(out, ".Ss %s\n", section->name[0] != '\0' ? section->name : "Top level");
        put_roff(out, section->sentence);
        buf_put_str(out, "\n.Bl -tag -width Ds\n");
        for (size_t k = 0; k < section->n_rows; k++)
            man_row(out, section, &section->rows[k]);
        buf_put_str(out, ".El\n");
    }
}

/* ---- The tables themselves. ---- */

static bool
bound_parses(const struct conf_row *row, const char *text)
{
    uint64_t v;

    if (text[0] == '\0')
        return true;
    if (row->type == CONF_TIME)
        return conf_parse_time(text, &v) == 0;
    if (row->type == CONF_BYTES)
        return conf_parse_bytes(text, &v) == 0;
    return conf_parse_count(text, &v) == 0;
}

int
conf_check_section(const struct conf_section *section, struct conf_errors *errs)
{
    _Alignas(max_align_t) char room[4096] = {0};

    *errs = (struct conf_errors){0};
    if (section->n_rows > CONF_MAX_ROWS || section->struct_size > sizeof room)
        conf_errors_add(errs, section->name, "too many rows");
    for (size_t i = 0; i < section->n_rows && errs->n == 0; i++) {
        const struct conf_row *row = &section->rows[i];
        const char *dot = strchr(row->name, '.');
        if (conf_row_find(section, row->name) != row)
            conf_errors_add(errs, section->name, "%s has two rows", row->name);
        if (dot != NULL && strchr(dot + 1, '.') != NULL)
            conf_errors_add(errs, section->name, "%s: one dot at most", row->name);
        if (strlen(row->name) >= 80)
            conf_errors_add(errs, section->name, "%s: too long", row->name);
        if (!bound_parses(row, row->min) || !bound_parses(row, row->max))
            conf_errors_add(errs, section->name, "%s: a bound does not parse", row->name);
        if (row->type == CONF_ENUM && row->hint[0] == '\0')
            conf_errors_add(errs, section->name, "%s: no choices", row->name);
        size_t n = strlen(row->sentence);
        if (n == 0 || row->sentence[n - 1] != '.')
            conf_errors_add(errs, section->name, "%s: not a sentence", row->name);
        if (errs->n == 0 && conf_value_set_default(row, room) < 0)
            conf_errors_add(errs, section->name, "%s: the default is not inside its bounds", row->name);
        conf_value_free(row, room);
    }
    return errs->n == 0 ? 0 : -EINVAL;
}
