/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS under a connection. conn.c reads and writes through a struct tls_stream where it would else call recv()
 * and send(); nothing above knows of it.
 *
 *     socket → recv → tls.in → OpenSSL → the shared read buffer → on_bytes()
 *     queue → one record's worth → OpenSSL → tls.out → one send → socket; what does not go: unsent
 *
 * OpenSSL has no socket here: its BIO reads what we received and writes to a buffer that we send. So it never
 * waits in the middle of a record: what it was given is encrypted, in order, and kept by us until it is gone,
 * and the queue of what was not given may still be cut (slow clients).
 */
#ifndef SDK_TLS_H
#define SDK_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct conn;
struct frontend;
struct tls;
struct tls_options;
struct tls_stream;

/* What one record holds, and so what one call of tls_stream_send() takes. */
#define TLS_RECORD_MAX 16384u

/* ---- Of a frontend. ---- */

/* is_http: clients are web clients: ALPN is http/1.1, and who comes without TLS is answered in HTTP. 0, or
 * negative errno after logging why. */
int tls_new(struct frontend *fe, const struct tls_options *options, bool is_http, struct tls **ret);
struct tls *tls_free(struct tls *tls); /* after all connections; NULL is fine */
/* Reads the files again, for connections from now on. What is wrong is logged, and the old context stays.
 * NULL is fine. */
void tls_reload(struct tls *tls, const struct tls_options *options);
/* One more client may begin its handshake. */
bool tls_has_room(const struct tls *tls);
/* Room of TLS_RECORD_MAX bytes to put pieces together in, until the next call of anything here. */
uint8_t *tls_scratch(struct tls *tls);

/* ---- Of a connection. ---- */

/* The handshake's time begins. */
int tls_stream_new(struct tls *tls, struct conn *c, struct tls_stream **ret);
struct tls_stream *tls_stream_free(struct tls_stream *s); /* NULL is fine */

/* The handshake is done: bytes may be sent. */
bool tls_stream_is_open(const struct tls_stream *s);
/* Something that is encrypted already waits for the socket. */
bool tls_stream_has_unsent(const struct tls_stream *s);
/* Nothing more will come out of it but what tls_stream_recv() says then: an end or an error. */
bool tls_stream_is_over(const struct tls_stream *s);
/* What waits in the socket begins with a record that is as short as TLS's end. */
bool tls_stream_may_end(const struct tls_stream *s);

/* As recv(): n must be 64 KiB or more. EAGAIN: nothing for on_bytes(), though the handshake may have gone on;
 * EPROTO: TLS is broken, which was logged and counted; an alert for the peer may be unsent. */
ssize_t tls_stream_recv(struct tls_stream *s, uint8_t *to, size_t n);
/* Encrypts and sends up to TLS_RECORD_MAX bytes: all are taken, or none with EAGAIN while something is unsent
 * or the handshake not done, or another error as of send(). n of 0: only what is unsent. */
ssize_t tls_stream_send(struct tls_stream *s, const uint8_t *p, size_t n);
/* Tells the peer, once, that all was sent. False: not everything is sent yet. */
bool tls_stream_say_bye(struct tls_stream *s);

/* ---- What a connection of either kind asks. ---- */

struct tls *tls_stream_tls(const struct tls_stream *s);

#endif
