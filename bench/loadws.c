/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bench/loadws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint8_t *
load_find(const uint8_t *p, size_t n, const char *what)
{
    return memmem(p, n, what, strlen(what));
}

void
ws_upgrade(struct client *c, const char *path, const char *protocol)
{
    char text[512];
    (void)snprintf(text, sizeof text,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
        path, protocol != NULL ? "Sec-WebSocket-Protocol: " : "", protocol != NULL ? protocol : "",
        protocol != NULL ? "\r\n" : "");
    load_write_text(c, text);
}

/* Masked; the mask is zero, which is as valid as any. */
void
ws_write(struct client *c, uint8_t kind, const void *payload, size_t n)
{
    uint8_t head[14] = {kind};
    size_t at = 1;
    if (n < 126) {
        head[at++] = (uint8_t)(0x80 | n);
    } else if (n < 65536) {
        head[at++] = 0x80 | 126;
        head[at++] = (uint8_t)(n >> 8);
        head[at++] = (uint8_t)n;
    } else {
        head[at++] = 0x80 | 127;
        for (int i = 7; i >= 0; i--)
            head[at++] = (uint8_t)((uint64_t)n >> (8 * i));
    }
    load_write(c, head, at + 4);
    load_write(c, payload, n);
}

ssize_t
ws_read_head(const uint8_t *p, size_t n)
{
    const uint8_t *end = load_find(p, n, "\r\n\r\n");
    if (end == NULL)
        return 0;
    return memcmp(p, "HTTP/1.1 101", 12) == 0 ? end + 4 - p : -1;
}

size_t
ws_read_frame_head(const uint8_t *p, size_t n, size_t *ret_n, int *ret_opcode)
{
    size_t head = 2, size = n < 2 ? 0 : p[1] & 0x7fu;
    if (size == 126)
        head = 4;
    else if (size == 127)
        head = 10;
    *ret_opcode = n < 1 ? 0 : p[0] & 0x0f;
    if (n < head)
        return 0;
    for (size_t i = 2; i < head; i++)
        size = (i == 2 ? 0 : size << 8) | p[i];
    *ret_n = size;
    return head;
}

size_t
ws_read_frame(const uint8_t *p, size_t n, const uint8_t **ret_payload, size_t *ret_n, int *ret_opcode)
{
    size_t head = ws_read_frame_head(p, n, ret_n, ret_opcode);
    if (head == 0 || n < head + *ret_n)
        return 0;
    *ret_payload = p + head;
    return head + *ret_n;
}

ssize_t
ws_read(struct client *c, const uint8_t *p, size_t n,
    int (*on_message)(struct client *c, const uint8_t *p, size_t n))
{
    if (c->phase == PHASE_GREET) {
        ssize_t head = ws_read_head(p, n);
        if (head > 0)
            load_greeted(c);
        return head;
    }
    const uint8_t *payload;
    size_t payload_n;
    int opcode;
    size_t used = ws_read_frame(p, n, &payload, &payload_n, &opcode);
    if (used > 0 && (opcode == 8 || (opcode <= 2 && on_message(c, payload, payload_n) < 0)))
        return -1;
    return (ssize_t)used;
}

ssize_t
http_read_answer(const uint8_t *p, size_t n, size_t *ret_head, const uint8_t **ret_body, size_t *ret_n)
{
    const uint8_t *end = load_find(p, n, "\r\n\r\n");
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end + 4 - p);
    const uint8_t *length = load_find(p, head, "Content-Length: ");
    if (memcmp(p, "HTTP/1.1 2", 10) != 0 || length == NULL)
        return -1;
    size_t size = strtoul((const char *)length + 16, NULL, 10);
    if (n < head + size)
        return 0;
    *ret_head = head;
    *ret_body = p + head;
    *ret_n = size;
    return (ssize_t)(head + size);
}
