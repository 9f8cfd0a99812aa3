/* SPDX-License-Identifier: Apache-2.0 */
/* What conn.c, connout.c and frontend.c share. */
#ifndef SDK_CONNPRIV_H
#define SDK_CONNPRIV_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct frontend;

/* What frontend.read_buffer is. */
uint8_t *conn_read_buffer_new(void);

/* Adds the event for what the connection waits for now; closes it if that cannot be. */
void conn_update_event(struct conn *c);
/* It cannot write now: the socket is full, or the TLS handshake not done. */
void conn_set_blocked(struct conn *c, bool is_blocked);
/* Something is to be done at the turn's end. */
void conn_mark_dirty(struct conn *c);
void conn_on_writable(struct conn *c);
/* Forgets all that is queued. */
void conn_drop_queue(struct conn *c);

/* The turn's end: writes, then tells of those that were closed. */
void conn_write_dirty(struct frontend *fe);
void conn_free_closed(struct frontend *fe);
void conn_sweep_closing(struct frontend *fe);

#endif
