/* SPDX-License-Identifier: Apache-2.0 */
/* What tls.c and tlsstream.c share. */
#ifndef SDK_TLSPRIV_H
#define SDK_TLSPRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "frontends/sdk/tls.h"

struct bio_method_st;
struct bio_st;
struct ssl_ctx_st;
struct ssl_st;

/* With what OpenSSL may have kept of a record that had not come whole (17 KiB), it still fits 64 KiB when
 * decrypted. */
#define TLS_IN_BYTES (47u * 1024)

struct tls {
    struct frontend *fe;
    bool is_http;
    struct ssl_ctx_st *ctx; /* of new connections */
    struct bio_method_st *bio_method;
    uint64_t handshake_timeout_ms, handshakes_max;
    struct list shaking; /* streams that are not open yet, the oldest first */
    size_t n_shaking;
    struct loop_timer shaking_timer;
    struct loop_hook turn_hook;
    unsigned n_steps; /* of handshakes, in this turn of the loop */
    /* Of the call that is under way: */
    size_t in_at, in_n;
    struct buf out;
    uint8_t in[TLS_IN_BYTES];
    uint8_t scratch[TLS_RECORD_MAX];
};

struct tls_stream {
    struct tls *tls;
    struct conn *conn;
    struct ssl_st *ssl; /* NULL until the first byte has come: who says nothing costs little */
    struct buf unsent;
    struct list in_shaking;
    uint64_t begun_at_ms;
    uint64_t own_since_ms; /* since when n_own_steps counts */
    unsigned n_own_steps;  /* of TLS's own: the handshake, new keys, alerts */
    bool is_open, has_eof, has_failed, has_said_bye;
    size_t n_shaken;     /* bytes of the handshake */
    const char *verdict; /* why nothing more is read; or NULL */
};

/* Whether this turn of the loop has time for one more step of a handshake: each may cost a millisecond. */
bool tls_take_step(struct tls *tls);
/* OpenSSL did something that is not data. */
void tls_on_own_step(struct tls_stream *s);
/* It is open, or gone: its time does not run any more. */
void tls_on_shaken(struct tls_stream *s);
/* A BIO for this stream, or NULL. */
struct bio_st *tls_bio_new(struct tls_stream *s);

#endif
