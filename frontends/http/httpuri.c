/* SPDX-License-Identifier: Apache-2.0 */
/* What is read out of a request that has been parsed: headers by name, escapes, query parameters. */
#include "config.h"

#include <errno.h>

#include "base/buf.h"
#include "frontends/http/httpreq.h"

static uint8_t
lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 0x20) : c;
}

bool
httpreq_is_same_text(const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i] && lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

const struct slice *
httpreq_find_header(const struct httpreq *req, struct slice name, unsigned i)
{
    for (unsigned k = 0; k < req->n_headers; k++)
        if (httpreq_is_same_name(req->headers[k].name, name) && i-- == 0)
            return &req->headers[k].value;
    return NULL;
}

static bool
list_has(struct slice list, const char *token)
{
    while (list.n > 0) {
        const uint8_t *comma = memchr(list.p, ',', list.n);
        size_t n = comma == NULL ? list.n : (size_t)(comma - list.p);
        struct slice item = slice_of(list.p, n);
        const uint8_t *semicolon = n == 0 ? NULL : memchr(item.p, ';', n);
        if (semicolon != NULL)
            item.n = (size_t)(semicolon - item.p);
        while (item.n > 0 && (item.p[0] == ' ' || item.p[0] == '\t'))
            item = slice_of(item.p + 1, item.n - 1);
        while (item.n > 0 && (item.p[item.n - 1] == ' ' || item.p[item.n - 1] == '\t'))
            item.n--;
        if (httpreq_is_name(item, token))
            return true;
        n += comma != NULL;
        list = slice_of(list.p + n, list.n - n);
    }
    return false;
}

bool
httpreq_has_token(const struct httpreq *req, const char *name, const char *token)
{
    const struct slice *value;

    for (unsigned i = 0; (value = httpreq_header_at(req, name, i)) != NULL; i++)
        if (list_has(*value, token))
            return true;
    return false;
}

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
httpreq_decode(struct buf *out, struct slice in, bool is_query)
{
    size_t start = 0; /* of what stands for itself */

    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        if (c != '%' && (c != '+' || !is_query))
            continue;
        buf_put(out, in.p + start, i - start);
        if (c == '%') {
            int high = in.n - i > 2 ? hex_digit(in.p[i + 1]) : -1;
            int low = in.n - i > 2 ? hex_digit(in.p[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return -EINVAL;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else {
            c = ' ';
        }
        buf_put_byte(out, c);
        start = i + 1;
    }
    if (start < in.n)
        buf_put(out, in.p + start, in.n - start);
    return buf_failed(out) ? -ENOMEM : 0;
}

int
httpreq_query_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    while (rest->n > 0) {
        const uint8_t *end = memchr(rest->p, '&', rest->n);
        size_t n = end == NULL ? rest->n : (size_t)(end - rest->p);
        struct slice pair = slice_of(rest->p, n);
        n += end != NULL;
        *rest = slice_of(rest->p + n, rest->n - n);
        if (pair.n == 0)
            continue;
        const uint8_t *equals = memchr(pair.p, '=', pair.n);
        size_t n_name = equals == NULL ? pair.n : (size_t)(equals - pair.p);
        *ret_name = slice_of(pair.p, n_name);
        *ret_value = equals == NULL ? slice_of(NULL, 0) : slice_of(equals + 1, pair.n - n_name - 1);
        return 1;
    }
    return 0;
}

int
httpreq_query_get(struct slice query, const char *name, struct buf *ret)
{
    struct slice key, value;
    while (httpreq_query_next(&query, &key, &value) == 1) {
        if (!slice_is(key, name))
            continue;
        int r = httpreq_decode(ret, value, true);
        return r == 0 ? 1 : r;
    }
    return 0;
}
