/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/actioncable/acaction.h"

#include <errno.h>

#include "base/json.h"

static int
fail(const char **ret_error, const char *error)
{
    *ret_error = error;
    return -EINVAL;
}

/* The members but the action, into out; the last action's value. */
static int
acaction_split(struct json *r, struct buf *out, struct buf *name, struct slice *ret_action)
{
    struct json_token key;
    struct slice raw;
    bool is_first = true;

    buf_put_byte(out, '{');
    for (;;) {
        if (json_next(r, &key) < 0)
            return -EINVAL;
        if (key.type == JSON_OBJECT_END)
            break;
        if (json_skip(r, &raw) < 0)
            return -EINVAL;
        if (json_key_is(&key, slice_str("action"), name)) {
            *ret_action = raw;
            continue;
        }
        if (!is_first)
            buf_put_byte(out, ',');
        is_first = false;
        buf_put_byte(out, '"');
        buf_put_slice(out, key.raw);
        buf_put(out, "\":", 2);
        buf_put_slice(out, raw);
    }
    buf_put_byte(out, '}');
    return json_next(r, &key) == 0 && key.type == JSON_END ? 0 : -EINVAL;
}

int
acaction_read(
    struct slice data, unsigned max_depth, struct buf *scratch, struct acaction *ret, const char **ret_error)
{
    struct slice action = {.n = 0};
    struct json_token t;
    struct buf name;
    struct json r;
    size_t at = scratch->n, n;
    int e;

    /* No longer than the data, each of them: nothing moves. */
    if (buf_reserve(scratch, 2 * data.n) == NULL)
        return fail(ret_error, "memory ran out");
    json_init(&r, data.p, data.n, max_depth);
    buf_init(&name, 0);
    e = json_next(&r, &t);
    if (e == 0)
        e = t.type == JSON_OBJECT ? acaction_split(&r, scratch, &name, &action) : -EINVAL;
    buf_fini(&name);
    if (e < 0)
        return fail(ret_error, "what is performed is no JSON object");
    n = scratch->n - at;
    ret->payload = action.n == 0 ? data : slice_of(scratch->p + at, n);
    if (action.n > 0 && action.p[0] == '"') {
        at = scratch->n;
        json_unescape(scratch, slice_of(action.p + 1, action.n - 2));
        ret->name = buf_since(scratch, at);
    } else if (action.n == 0 || slice_is(action, "null")) {
        ret->name = slice_of(NULL, 0);
    } else {
        return fail(ret_error, "the name of the action is no string");
    }
    if (ret->name.n == 0)
        ret->name = slice_str("receive");
    return 0;
}
