/* SPDX-License-Identifier: Apache-2.0 */
/* Templates are read anew each time: they are short, and a subscription is not made often. */
#include "config.h"

#include "frontends/dialects/actioncable/actemplate.h"

#include <string.h>

#include "base/json.h"
#include "wire/names.h"

#define CLAIM "claim:"
#define CLAIM_DEPTH 4u /* names in a path of claims */

/* ---- The text. ---- */

enum piece_kind { PIECE_TEXT, PIECE_PARAM, PIECE_CLAIM, PIECE_ACTION };

struct piece {
    enum piece_kind kind;
    struct slice text; /* literal, or the name */
};

/* The next piece at *at: 1, 0 at the end, -1: an open brace that is never closed, or a gap without a name. */
static int
next_piece(const char **at, struct piece *ret)
{
    const char *p = *at, *end;

    if (*p == '\0')
        return 0;
    if (*p != '{') {
        size_t n = strcspn(p, "{}");

        if (p[n] == '}')
            return -1;
        *ret = (struct piece){PIECE_TEXT, slice_of(p, n)};
        *at = p + n;
        return 1;
    }
    end = p + 1 + strcspn(p + 1, "{}");
    if (*end != '}' || end == p + 1)
        return -1;
    ret->text = slice_of(p + 1, (size_t)(end - p - 1));
    ret->kind = PIECE_PARAM;
    if (slice_is(ret->text, "action")) {
        ret->kind = PIECE_ACTION;
    } else if (ret->text.n > strlen(CLAIM) && memcmp(ret->text.p, CLAIM, strlen(CLAIM)) == 0) {
        ret->kind = PIECE_CLAIM;
        ret->text = slice_of(ret->text.p + strlen(CLAIM), ret->text.n - strlen(CLAIM));
    }
    *at = end + 1;
    return 1;
}

const char *
actemplate_error(const char *text, bool may_action)
{
    const char *at = text, *error = NULL;
    struct piece piece;
    struct buf topic;
    int r;

    if (*text == '$')
        return "names that begin with $ are the bus's own";
    buf_init(&topic, 0);
    while (error == NULL && (r = next_piece(&at, &piece)) != 0) {
        if (r < 0)
            error = "a { is not closed, a } not opened, or there is no name between them";
        else if (piece.kind == PIECE_ACTION && !may_action)
            error = "{action} is known only where something is performed";
        else if (piece.kind == PIECE_TEXT)
            buf_put_slice(&topic, piece.text);
        else
            buf_put_byte(&topic, 'x');
    }
    if (error == NULL)
        error = buf_failed(&topic) ? "memory ran out" : topic_name_error(buf_slice(&topic));
    buf_fini(&topic);
    return error;
}

/* ---- Values. ---- */

/* What a client says, in a topic. */
static const char *
value_error(struct slice value)
{
    if (value.n == 0)
        return "a value for its topic is empty";
    if (value.p[0] == '$')
        return "a value for its topic begins with $";
    if (memchr(value.p, '/', value.n) != NULL)
        return "a value for its topic contains a /";
    return topic_name_error(value) == NULL ? NULL : "a value for its topic has characters that no topic has";
}

static const char *
put_scalar(struct slice raw, struct buf *out)
{
    size_t at = out->n;

    if (raw.n == 0 || raw.p[0] == '{' || raw.p[0] == '[' || slice_is(raw, "null"))
        return "a value for its topic is missing, or neither text nor number";
    if (raw.p[0] == '"')
        json_unescape(out, slice_of(raw.p + 1, raw.n - 2));
    else
        buf_put_slice(out, raw);
    if (buf_failed(out))
        return "memory ran out";
    return value_error(slice_of(out->p + at, out->n - at));
}

static const char *
put_param(const struct actemplate_values *values, struct slice name, struct buf *out)
{
    struct slice raw = {.n = 0};

    if (json_member(values->params, values->max_depth, name, &raw) < 0)
        return "the identifier is no JSON object";
    return put_scalar(raw, out);
}

/* The first name of a path; the rest stays in it. */
static struct slice
cut_name(struct slice *path)
{
    const uint8_t *dot = memchr(path->p, '.', path->n);
    struct slice name = *path;

    if (dot == NULL) {
        path->n = 0;
        return name;
    }
    name.n = (size_t)(dot - path->p);
    *path = slice_of(dot + 1, path->n - name.n - 1);
    return name;
}

/* Into an object, or a string that holds one: its text is then in `decoded`. */
static int
claim_step(struct slice *at, struct slice name, unsigned max_depth, struct buf *decoded)
{
    struct slice object = *at;

    *at = slice_of(NULL, 0);
    if (object.n > 0 && object.p[0] == '"') {
        buf_reset(decoded);
        json_unescape(decoded, slice_of(object.p + 1, object.n - 2));
        object = buf_slice(decoded);
    }
    return json_member(object, max_depth, name, at);
}

static const char *
put_claim(const struct actemplate_values *values, struct slice path, struct buf *out)
{
    struct slice at = values->claims;
    struct buf decoded[CLAIM_DEPTH];
    const char *error = NULL;
    unsigned n = 0;

    if (at.n == 0)
        return "its topic needs a token, and the connection has none";
    for (; error == NULL && path.n > 0 && n < CLAIM_DEPTH; n++) {
        buf_init(&decoded[n], 0);
        if (claim_step(&at, cut_name(&path), values->max_depth, &decoded[n]) < 0 || buf_failed(&decoded[n]))
            error = "its token has no such claim";
    }
    if (error == NULL)
        error = path.n > 0 ? "its topic names a claim that is too deep" : put_scalar(at, out);
    while (n > 0)
        buf_fini(&decoded[--n]);
    return error;
}

static const char *
put_action(const struct actemplate_values *values, struct buf *out)
{
    const char *error = value_error(values->action);

    if (error == NULL)
        buf_put_slice(out, values->action);
    return error;
}

const char *
actemplate_put(const char *text, const struct actemplate_values *values, struct buf *out)
{
    const char *at = text, *error = NULL;
    size_t start = out->n;
    struct piece piece;

    while (error == NULL && next_piece(&at, &piece) > 0) {
        if (piece.kind == PIECE_TEXT)
            buf_put_slice(out, piece.text);
        else if (piece.kind == PIECE_PARAM)
            error = put_param(values, piece.text, out);
        else if (piece.kind == PIECE_CLAIM)
            error = put_claim(values, piece.text, out);
        else
            error = put_action(values, out);
    }
    if (error != NULL)
        return error;
    if (buf_failed(out))
        return "memory ran out";
    if (out->n - start > 0 && out->p[start] == '$')
        return "its topic would be one of the bus's own";
    return topic_name_error(slice_of(out->p + start, out->n - start));
}
