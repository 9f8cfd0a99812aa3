/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/actioncable/acexpand.h"

#include "base/json.h"
#include "frontends/dialects/actioncable/acsigned.h"
#include "frontends/dialects/actioncable/actemplate.h"
#include "wire/names.h"

#define CLAIM_DEPTH 3u /* names in a path of claims, behind the first */

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
    return value_error(buf_since(out, at));
}

static const char *
put_param(const struct acexpand_values *values, struct slice name, struct buf *out)
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
put_claim(const struct acexpand_values *values, struct slice path, struct buf *out)
{
    struct slice at = {.n = 0};
    struct buf decoded[CLAIM_DEPTH];
    const char *error = NULL;
    unsigned n = 0;

    if (values->claims.n == 0)
        return "its topic needs a token, and the connection has none";
    if (json_member(values->claims, values->max_depth, cut_name(&path), &at) < 1)
        return "its token has no such claim";
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
put_action(const struct acexpand_values *values, struct buf *out)
{
    const char *error = value_error(values->action);

    if (error == NULL)
        buf_put_slice(out, values->action);
    return error;
}

static const char *
put_signed(const struct acexpand_values *values, struct slice name, struct slice secret, struct buf *out)
{
    const char *error = "it has no signed name of a stream";
    struct slice raw = {.n = 0};
    struct buf text;

    if (json_member(values->params, values->max_depth, name, &raw) < 1 || raw.p[0] != '"')
        return error;
    buf_init(&text, 0);
    json_unescape(&text, slice_of(raw.p + 1, raw.n - 2));
    error = buf_failed(&text) ? "memory ran out" : acsigned_verify(buf_slice(&text), secret, out);
    buf_fini(&text);
    return error;
}

static const char *
put_piece(const struct actemplate_piece *piece, const struct acexpand_values *values, struct buf *out)
{
    switch (piece->kind) {
    case ACTEMPLATE_TEXT:
        buf_put_slice(out, piece->text);
        return NULL;
    case ACTEMPLATE_PARAM:
        return put_param(values, piece->text, out);
    case ACTEMPLATE_CLAIM:
        return put_claim(values, piece->text, out);
    case ACTEMPLATE_SIGNED:
        return put_signed(values, piece->text, values->streams_secret, out);
    case ACTEMPLATE_TURBO:
        return put_signed(values, piece->text, values->turbo_secret, out);
    case ACTEMPLATE_ACTION:
        return put_action(values, out);
    }
    return NULL;
}

const char *
acexpand_put(const char *text, const struct acexpand_values *values, struct buf *out)
{
    const char *at = text, *error = NULL;
    struct actemplate_piece piece;
    size_t start = out->n;

    while (error == NULL && actemplate_next(&at, &piece) > 0)
        error = put_piece(&piece, values, out);
    if (error != NULL)
        return error;
    if (buf_failed(out))
        return "memory ran out";
    if (out->n - start > 0 && out->p[start] == '$')
        return "its topic would be one of the bus's own";
    return topic_name_error(buf_since(out, start));
}
