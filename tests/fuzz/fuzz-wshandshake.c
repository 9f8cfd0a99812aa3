/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is the request's fields, "Name: value" a line, as a parser would hand them over. Whatever they
 * hold, the answer is one well-formed response into which no line of the client's slipped.
 */
#include "config.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "frontends/ws/wshandshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The i-th field of that name; header parsers give no value with CR, LF or NUL. */
static struct slice
lookup(void *arg, const char *name, unsigned i)
{
    struct slice rest = *(const struct slice *)arg;
    size_t n_name = strlen(name);

    while (rest.n > 0) {
        const uint8_t *lf = memchr(rest.p, '\n', rest.n);
        size_t n = lf == NULL ? rest.n : (size_t)(lf - rest.p);
        if (n > n_name + 1 && strncasecmp((const char *)rest.p, name, n_name) == 0 && rest.p[n_name] == ':' &&
            memchr(rest.p, '\r', n) == NULL && memchr(rest.p, 0, n) == NULL && i-- == 0)
            return slice_of(rest.p + n_name + 2, n - n_name - 2);
        n += lf != NULL;
        rest = slice_of(rest.p + n, rest.n - n);
    }
    return slice_of(NULL, 0);
}

/* Lines of "Name: value", an empty one, and a body as long as it says; gives the number of lines. */
static unsigned
check_response(struct slice r)
{
    unsigned n_lines = 0;
    for (;;) {
        const uint8_t *cr = memchr(r.p, '\r', r.n);
        assert(cr != NULL && (size_t)(cr - r.p) + 1 < r.n && cr[1] == '\n');
        size_t n = (size_t)(cr - r.p);
        assert(memchr(r.p, '\n', n) == NULL);
        if (n == 0)
            return n_lines;
        assert(n_lines == 0 || memchr(r.p, ':', n) != NULL);
        n_lines++;
        r = slice_of(r.p + n + 2, r.n - n - 2);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const protocols[] = {"busbar.v1", "mqtt"};
    static const char *const origins[] = {"https://*.example.org"};
    static struct wshandshake_policy policy = {.subprotocols = protocols,
        .n_subprotocols = 2,
        .origins = origins,
        .n_origins = 1,
        .has_deflate = true};
    struct slice fields = slice_of(data, size);
    struct wshandshake_request request = {
        .method = slice_str("GET"), .version = 11, .header = lookup, .header_arg = &fields};
    struct wshandshake_result result;
    struct buf out;

    if (policy.sha1 == NULL)
        policy.sha1 = wshandshake_sha1_new(); /* as a server, for all */
    buf_init(&out, 0);
    wshandshake_answer(&request, &policy, &out, &result);
    unsigned n_lines = check_response(buf_slice(&out));
    if (result.status == 101) {
        assert(n_lines == 4u + (result.subprotocol >= 0) + result.deflate.is_on);
        assert(result.subprotocol < 2 && result.reason == NULL && wshandshake_is_asked(&request));
    } else {
        assert(result.status >= 400 && result.reason != NULL && result.subprotocol == -1 &&
               !result.deflate.is_on);
    }
    buf_fini(&out);
    return 0;
}
