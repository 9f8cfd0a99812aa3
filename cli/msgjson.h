/* SPDX-License-Identifier: Apache-2.0 */
/* A message as one JSON object, with the keys of the native protocol. */
#ifndef CLI_MSGJSON_H
#define CLI_MSGJSON_H

struct bb_message;
struct buf;

/* Without a line's end. */
void msgjson_put(struct buf *out, const struct bb_message *m);

#endif
