/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the address of an upgrade request by the options path, raw_path and cable.path. */
#include "config.h"

#include "frontends/ws/wstarget.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "frontends/http/httpreq.h"
#include "frontends/ws/options.h"
#include "wire/names.h"

static void wstarget_refuse(struct wstarget *t, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
wstarget_refuse(struct wstarget *t, unsigned status, const char *fmt, ...)
{
    va_list ap;

    t->status = status;
    va_start(ap, fmt);
    (void)vsnprintf(t->reason, sizeof t->reason, fmt, ap);
    va_end(ap);
}

static void
wstarget_refuse_path(struct wstarget *t, const struct ws_options *options, const struct cable_options *cable)
{
    bool has_raw = options->raw_path[0] != '\0', has_cable = cable->path[0] != '\0';

    wstarget_refuse(t, 404,
        "There is nothing at this address: the WebSocket of the bus is %.60s%s%.60s%s%s%.60s", options->path,
        has_raw ? ", that of a single topic " : "", options->raw_path, has_raw ? "/{topic}" : "",
        has_cable ? ", that of Action Cable " : "", cable->path);
}

/* A slash behind it is no other address. */
static bool
wstarget_is_cable(struct slice path, const char *cable_path)
{
    if (cable_path[0] == '\0')
        return false;
    if (path.n > 1 && path.p[path.n - 1] == '/' && path.n > strlen(cable_path))
        path.n--;
    return slice_is(path, cable_path);
}

/* What follows "/raw/", or .p NULL. */
static struct slice
wstarget_raw_part(struct slice path, const char *raw_path)
{
    struct slice prefix = slice_str(raw_path);

    while (prefix.n > 0 && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    if (raw_path[0] == '\0' || path.n <= prefix.n || path.p[prefix.n] != '/' ||
        !slice_equal(slice_of(path.p, prefix.n), prefix))
        return slice_of(NULL, 0);
    return slice_of(path.p + prefix.n + 1, path.n - prefix.n - 1);
}

static void
wstarget_parse_topic(struct wstarget *t, struct slice part)
{
    int r = httpreq_decode(&t->topic, part, false);
    const char *wrong = r < 0 ? "it contains a bad percent escape" : topic_name_error(buf_slice(&t->topic));

    if (buf_failed(&t->topic))
        wrong = "it is too long";
    if (wrong != NULL)
        wstarget_refuse(t, 400, "The topic in the address is not valid: %s", wrong);
}

/* Decimal digits and nothing else. */
static int
wstarget_parse_count(struct slice text, uint64_t *ret)
{
    uint64_t n = 0;

    if (text.n == 0 || text.n > 18)
        return -EINVAL;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -EINVAL;
        n = n * 10 + (uint64_t)(text.p[i] - '0');
    }
    *ret = n;
    return 0;
}

static void
wstarget_parse_query(struct wstarget *t, struct slice query)
{
    struct position position;
    struct buf last;
    int has_since = httpreq_query_get(query, "since", &t->since), has_last;

    buf_init(&last, 0);
    has_last = httpreq_query_get(query, "last", &last);
    if (has_since != 0 && has_last != 0)
        wstarget_refuse(t, 400, "?since= and ?last= cannot both be given");
    else if (has_since != 0 && (has_since < 0 || cursor_parse(buf_slice(&t->since), &position) < 0))
        wstarget_refuse(t, 400, "?since= takes a cursor, as it stood in an answer; this is not one");
    else if (has_last != 0 && (has_last < 0 || wstarget_parse_count(buf_slice(&last), &t->last) < 0))
        wstarget_refuse(t, 400, "?last= takes a number of messages");
    buf_fini(&last);
    t->from = has_since != 0 ? FROM_SINCE : has_last != 0 ? FROM_LAST : FROM_LIVE;
}

void
wstarget_parse(struct slice path, struct slice query, const struct ws_options *options,
    const struct cable_options *cable, struct wstarget *ret)
{
    struct slice part;

    *ret = (struct wstarget){.kind = WSTARGET_NATIVE};
    buf_init(&ret->topic, 4 * TOPIC_MAX_BYTES);
    buf_init(&ret->since, 4 * CURSOR_MAX);
    if (slice_is(path, options->path))
        return;
    if (wstarget_is_cable(path, cable->path)) {
        ret->kind = WSTARGET_CABLE;
        return;
    }
    part = wstarget_raw_part(path, options->raw_path);
    if (part.p == NULL) {
        wstarget_refuse_path(ret, options, cable);
        return;
    }
    ret->kind = WSTARGET_RAW;
    wstarget_parse_topic(ret, part);
    if (ret->status == 0)
        wstarget_parse_query(ret, query);
}

void
wstarget_fini(struct wstarget *target)
{
    buf_fini(&target->topic);
    buf_fini(&target->since);
}
