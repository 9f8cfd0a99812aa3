/* SPDX-License-Identifier: Apache-2.0 */
/* What `busbar up` prints when the bus is ready: its addresses, and lines to paste. */
#ifndef CLI_GREETING_H
#define CLI_GREETING_H

struct buf;

/* "host:port", NULL where it does not listen. */
struct greeting_address {
    const char *plain, *tls;
};

struct greeting {
    struct greeting_address http, ws, tcp;
    const char *ws_path;
    const char *runtime_dir;
};

void greeting_put(struct buf *out, const struct greeting *g);

/* An address to connect to from this machine: "*:80" and "0.0.0.0:80" to "127.0.0.1:80", "[::]:80" likewise.
 */
void greeting_connectable(const char *address, char *ret, unsigned long ret_size);

#endif
