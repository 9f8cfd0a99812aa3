/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests from strangers. The input is parsed whole and then in small pieces: both must find the same
 * requests, and where one is found libhttp-parser must find it too and read it alike.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "frontends/http/httpreq.h"
#include "tests/unit/http/http-oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_FOUND 8

struct found {
    size_t n_requests;
    int last; /* MORE or REFUSED */
    struct {
        uint64_t sum; /* of method, path, query, host and body */
    } requests[MAX_FOUND];
};

static struct httpreq req;

static void
fail(const char *what)
{
    (void)fprintf(stderr, "fuzz-http: %s\n", what);
    abort();
}

static void
add(uint64_t *sum, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        *sum = (*sum ^ s.p[i]) * 0x100000001b3u;
    *sum = (*sum ^ 0x100) * 0x100000001b3u;
}

static void
note(struct found *f)
{
    uint64_t *sum = &f->requests[f->n_requests].sum;
    struct buf decoded;

    *sum = req.n_headers;
    add(sum, req.method_name);
    add(sum, req.path);
    add(sum, req.query);
    add(sum, req.host);
    add(sum, req.body);
    f->n_requests++;
    buf_init(&decoded, 0);
    (void)httpreq_decode(&decoded, req.path, false);
    (void)httpreq_query_get(req.query, "topic", &decoded);
    (void)httpreq_has_token(&req, "accept", "text/event-stream");
    buf_fini(&decoded);
}

/* Gives data in pieces of at most step bytes, as a connection would. */
static void
run(struct found *f, const uint8_t *data, size_t size, size_t step, bool is_judged)
{
    struct httpreq_limits limits = {.max_line = 256, .max_head = 1024, .max_body = 512};
    struct httpreq_state st = {0};
    uint8_t *p = malloc(size + 1);
    size_t n = 0, begun = 0; /* begun: where in data the current request begins */

    if (p == NULL)
        return;
    f->last = HTTPREQ_MORE;
    for (size_t i = 0; i < size && f->last == HTTPREQ_MORE && f->n_requests < MAX_FOUND;) {
        size_t piece = size - i < step ? size - i : step;
        memcpy(p + n, data + i, piece);
        n += piece;
        i += piece;
        while (f->n_requests < MAX_FOUND && (f->last = httpreq_parse(&st, &limits, p, n, &req)) == 0) {
            if (req.n_used > n)
                fail("used more than there is");
            note(f);
            if (is_judged) {
                const char *other = oracle_disagrees(data + begun, i - (n - req.n_used) - begun, &req);
                if (other != NULL)
                    fail(other);
            }
            n -= req.n_used;
            memmove(p, p + req.n_used, n);
            begun = i - n;
        }
    }
    free(p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct found whole = {0}, bytes = {0}, pieces = {0};

    if (size > 4096)
        return 0;
    run(&whole, data, size, size, true);
    run(&bytes, data, size, 1, false);
    run(&pieces, data, size, 7, false);
    if (whole.n_requests != bytes.n_requests || whole.n_requests != pieces.n_requests)
        fail("another number of requests in pieces");
    if (memcmp(whole.requests, bytes.requests, sizeof whole.requests) != 0 ||
        memcmp(whole.requests, pieces.requests, sizeof whole.requests) != 0)
        fail("another request in pieces");
    if (whole.n_requests < MAX_FOUND && (whole.last != bytes.last || whole.last != pieces.last))
        fail("refused whole or in pieces only");
    return 0;
}
