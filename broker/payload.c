/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for what clients send: see payload.h. */
#include "config.h"

#include "broker/payload.h"

#include <stddef.h>

#include "backends/backend.h"
#include "base/utf8.h"
#include "wire/frame.h"

#define TYPE_MAX 255u
#define HEADERS_MAX (16u * 1024)
#define KEY_MAX 255u

enum error_code
payload_check(const struct payload *p, uint64_t max, const char **ret_message)
{
    *ret_message = NULL;
    if (p->body.n > max) {
        *ret_message = "The message is larger than this topic takes.";
        return ERROR_MESSAGE_TOO_LARGE;
    }
    if (p->type.n > TYPE_MAX || p->headers.n > HEADERS_MAX || p->key.n > KEY_MAX ||
        p->once.n > RECORD_ONCE_MAX) {
        *ret_message = "The content type, the headers or a key are too long.";
        return ERROR_MESSAGE_TOO_LARGE;
    }
    if (p->kind == MESSAGE_JSON && p->body.n == 0) {
        *ret_message = "An empty payload is no JSON.";
        return ERROR_BODY_INVALID;
    }
    if (p->kind != MESSAGE_BINARY && !utf8_is_valid(p->body.p, p->body.n)) {
        *ret_message = "The payload is not UTF-8.";
        return ERROR_BODY_INVALID;
    }
    return ERROR_NONE;
}
