/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 of RFC 4648 section 4 (with padding), and the form for addresses. Decoding is strict: no white
 * space, no missing padding, no stray bits. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"
#include "base/slice.h"

void base64_put(struct buf *out, struct slice in);

/* 0, or -EINVAL; out may then hold a part. */
int base64_decode(struct buf *out, struct slice in);

/* Section 5's alphabet, with '-' and '_', and no padding: as strict. */
int base64url_decode(struct buf *out, struct slice in);

#endif
