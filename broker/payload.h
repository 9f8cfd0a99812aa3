/* SPDX-License-Identifier: Apache-2.0 */
/* What a client may send as a message, a request or a reply: the sizes of its parts, and that text is text.
 */
#ifndef BROKER_PAYLOAD_H
#define BROKER_PAYLOAD_H

#include <stdint.h>

#include "base/slice.h"
#include "wire/errors.h"

struct payload {
    uint64_t kind; /* enum message_kind; one that exists */
    struct slice type, headers, key, once, body;
};

/* max: of the body. *ret_message is NULL where the code's own sentence will do. */
enum error_code payload_check(const struct payload *p, uint64_t max, const char **ret_message);

#endif
