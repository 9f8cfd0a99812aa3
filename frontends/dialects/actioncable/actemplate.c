/* SPDX-License-Identifier: Apache-2.0 */
/* Templates are read anew each time: they are short, and a subscription is not made often. */
#include "config.h"

#include "frontends/dialects/actioncable/actemplate.h"

#include "base/buf.h"
#include "wire/names.h"

static const struct {
    const char *prefix;
    enum actemplate_kind kind;
} prefixes[] = {{"claim:", ACTEMPLATE_CLAIM}, {"signed:", ACTEMPLATE_SIGNED}, {"turbo:", ACTEMPLATE_TURBO}};

/* What stands between two braces. */
static struct actemplate_piece
gap_piece(struct slice text)
{
    if (slice_is(text, "action"))
        return (struct actemplate_piece){ACTEMPLATE_ACTION, text};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t n = strlen(prefixes[i].prefix);

        if (text.n > n && memcmp(text.p, prefixes[i].prefix, n) == 0)
            return (struct actemplate_piece){prefixes[i].kind, slice_of(text.p + n, text.n - n)};
    }
    return (struct actemplate_piece){ACTEMPLATE_PARAM, text};
}

int
actemplate_next(const char **at, struct actemplate_piece *ret)
{
    const char *p = *at, *end;

    if (*p == '\0')
        return 0;
    if (*p != '{') {
        size_t n = strcspn(p, "{}");

        if (p[n] == '}')
            return -1;
        *ret = (struct actemplate_piece){ACTEMPLATE_TEXT, slice_of(p, n)};
        *at = p + n;
        return 1;
    }
    end = p + 1 + strcspn(p + 1, "{}");
    if (*end != '}' || end == p + 1)
        return -1;
    *ret = gap_piece(slice_of(p + 1, (size_t)(end - p - 1)));
    *at = end + 1;
    return 1;
}

const char *
actemplate_error(const char *text, bool may_action)
{
    const char *at = text, *error = NULL;
    struct actemplate_piece piece;
    struct buf topic;
    int r;

    if (*text == '$')
        return "names that begin with $ are the bus's own";
    buf_init(&topic, 0);
    while (error == NULL && (r = actemplate_next(&at, &piece)) != 0) {
        if (r < 0)
            error = "a { is not closed, a } not opened, or there is no name between them";
        else if (piece.kind == ACTEMPLATE_ACTION && !may_action)
            error = "{action} is known only where something is performed";
        else if (piece.kind == ACTEMPLATE_TEXT)
            buf_put_slice(&topic, piece.text);
        else
            buf_put_byte(&topic, 'x');
    }
    if (error == NULL)
        error = buf_failed(&topic) ? "memory ran out" : topic_name_error(buf_slice(&topic));
    buf_fini(&topic);
    return error;
}
