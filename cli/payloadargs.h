/* SPDX-License-Identifier: Apache-2.0 */
/* What pub, request and respond say of what they send: its content type, its headers, whether it is JSON. */
#ifndef CLI_PAYLOADARGS_H
#define CLI_PAYLOADARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "clients/c/busbar.h"

#define PAYLOAD_HEADERS_MAX 64u

struct payload_args {
    const char *type;
    bool is_json;
    struct bb_header headers[PAYLOAD_HEADERS_MAX];
    size_t n_headers;
};

/* NAME=VALUE or NAME: VALUE; the text is cut in two and kept. 0 or -EINVAL, said on stderr. */
int payload_args_take_header(struct payload_args *args, const char *command, char *text);

/* These bytes, as JSON if that was said, as text if they are UTF-8, else as bytes. It borrows both. */
struct bb_payload payload_of(const struct payload_args *args, const void *data, size_t n);

/* Why libbusbar does not take it. */
const char *payload_error(int error);

#endif
