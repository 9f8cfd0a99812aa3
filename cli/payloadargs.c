/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/payloadargs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"

int
payload_args_take_header(struct payload_args *args, const char *command, char *text)
{
    char *equals = strpbrk(text, "=:");

    if (equals == NULL || equals == text || args->n_headers == PAYLOAD_HEADERS_MAX) {
        (void)fprintf(stderr, "%s: --header %s: give NAME=VALUE, at most %u of them\n", command, text,
            PAYLOAD_HEADERS_MAX);
        return -EINVAL;
    }
    *equals = '\0';
    args->headers[args->n_headers].name = text;
    args->headers[args->n_headers++].value = equals + 1 + (equals[1] == ' ' ? 1 : 0);
    return 0;
}

static bool
is_json_type(const char *type)
{
    size_t n = type == NULL ? 0 : strcspn(type, "; ");

    return (n == 16 && strncasecmp(type, "application/json", n) == 0) ||
           (n > 5 && strncasecmp(type + n - 5, "+json", 5) == 0);
}

struct bb_payload
payload_of(const struct payload_args *args, const void *data, size_t n)
{
    struct bb_payload payload = {.kind = BB_TEXT,
        .data = data,
        .len = n,
        .type = args->type,
        .headers = args->headers,
        .n_headers = args->n_headers};

    if (args->is_json || is_json_type(args->type))
        payload.kind = BB_JSON;
    else if (!utf8_is_valid(data, n))
        payload.kind = BB_BINARY;
    return payload;
}

const char *
payload_error(int error)
{
    switch (error) {
    case -EINVAL:
        return "this is not JSON, or not of the type that it is said to be";
    case -EILSEQ:
        return "the topic, the type or a header is not UTF-8";
    case -EMSGSIZE:
    case -ENOBUFS:
        return "the message is too large";
    default:
        return strerror(-error);
    }
}
