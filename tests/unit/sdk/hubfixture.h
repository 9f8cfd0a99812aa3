/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hub between a broker that is this test and clients that write down what they get. What clients get, and
 * what the hub sends to the broker, is text:
 *
 *     SUBSCRIBED(1,live,e-12) 1:a/1=x          SUBSCRIBE 1 a/+; CANCEL 1;
 *
 * There is one hub in a test, and whoever uses this has nothing else: names are short.
 */
#ifndef TESTS_UNIT_SDK_HUBFIXTURE_H
#define TESTS_UNIT_SDK_HUBFIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/sdk/suite.h"

#include "base/buf.h"
#include "base/loop.h"
#include "base/slice.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/options.h"
#include "frontends/sdk/session.h"
#include "wire/frame.h"

#define EPOCH 0xe
#define WHOS_MAX 64

extern struct loop *loop;
extern struct frontend fe;
extern struct limits_options limits;
extern struct buf sent;         /* frames for the broker */
extern uint64_t whos[WHOS_MAX]; /* what frames() has seen in WHO, by their numbers without the place */
extern bool is_full;            /* the transport's queue is long */
extern bool tells_positions;    /* clients write down the state and the position of SUBSCRIBED and STATE */

struct client {
    struct session session; /* first */
    struct buf log;         /* everything it was given, in order */
    unsigned n_deliveries;
    uint32_t group; /* of the last delivery */
    size_t queued;
    bool leaves_on_delivery, leaves_on_answer;
};

/* Around each test. */
void setup_hub(void);
void teardown_hub(void);

/* ---- The clients' side. ---- */

void client_begin(struct client *x);
void client_end(struct client *x);
/* What it was given since the last time. */
void expect(struct client *x, const char *log);
/* filters: separated by spaces; since: a cursor, or NULL for live. */
void sub(struct client *x, const char *id, const char *filters, const char *since);
void unsub(struct client *x, const char *id);
/* Until the loop's wheel has turned so far. */
void wait_ms(uint64_t ms);

/* ---- The broker's side. ---- */

/* What the hub has sent since the last time. */
const char *frames(void);
int give(struct frame f);
void resumed(enum recover_state state, uint64_t epoch, uint64_t seq);
void topic(uint64_t handle, const char *name);
void subscribed(uint64_t filter, uint64_t seq, bool retained);
int message_with(struct slice headers, uint64_t handle, uint64_t seq, uint64_t prev, const char *body);
int message(uint64_t handle, uint64_t seq, uint64_t prev, const char *body);
void replay(uint64_t req, uint64_t handle, uint64_t seq, const char *body);
void recovered(uint64_t req, enum recover_state state, uint64_t seq, bool more);
void gap(uint64_t req, const char *name, uint64_t seq);

/* A link: as the uplink does it; and live at seq 10; or rather that, with a/1 and a/2 and b/1 as topics 1, 2,
 * 3, without RESUME. */
void attach(void);
void attach_live(void);
void attach_topics(void);

#endif
