/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket and HTTP as the load generator's protocols need them, from the client's side. */
#ifndef BENCH_LOADWS_H
#define BENCH_LOADWS_H

#include "bench/load.h"

#define WS_TEXT 0x81
#define WS_BINARY 0x82

const uint8_t *load_find(const uint8_t *p, size_t n, const char *what);
/* path and subprotocol (NULL: none) of the upgrade request. */
void ws_upgrade(struct client *c, const char *path, const char *protocol);
void ws_write(struct client *c, uint8_t kind, const void *payload, size_t n);
/* The head of the answer to an upgrade: its length, 0 if it is incomplete, or -1. */
ssize_t ws_read_head(const uint8_t *p, size_t n);
/* A frame's head: its length (0: incomplete), the payload's and the opcode. */
size_t ws_read_frame_head(const uint8_t *p, size_t n, size_t *ret_n, int *ret_opcode);
/* A frame: its whole length (0: incomplete), the payload and the opcode. */
size_t ws_read_frame(const uint8_t *p, size_t n, const uint8_t **ret_payload, size_t *ret_n, int *ret_opcode);
/* What every WebSocket protocol does with its input: the head, then frames, each of which goes to
 * on_message() (negative: it must not be). */
ssize_t ws_read(struct client *c, const uint8_t *p, size_t n,
    int (*on_message)(struct client *c, const uint8_t *p, size_t n));

/* A whole answer with Content-Length: its length (0: incomplete, -1: not one), its head and body. */
ssize_t http_read_answer(
    const uint8_t *p, size_t n, size_t *ret_head, const uint8_t **ret_body, size_t *ret_n);

#endif
