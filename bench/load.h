/* SPDX-License-Identifier: Apache-2.0 */
/* What the load generator (load.c) and its protocols (loadproto.c) say to each other. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens the payload: MARK, 16 digits of its number, ':', 16 digits of nanoseconds, ':', padding. No other
 * byte of what a server says contains it. */
#define MARK "@@"

enum phase { PHASE_GREET, PHASE_JOIN, PHASE_READY };

struct client {
    int fd;
    enum phase phase;
    bool is_connected, is_publisher;
    uint32_t topic;
    uint64_t next; /* the number that must come next; of a publisher: that its protocol answers next */
    uint8_t *in;   /* an incomplete message */
    size_t in_n, in_cap;
    uint8_t *out; /* what the socket did not take */
    size_t out_n, out_cap;
};

struct protocol {
    const char *name;
    void (*greet)(struct client *c); /* connected: say hello */
    void (*join)(struct client *c);  /* a subscriber, after load_greeted(); NULL: it joined by greeting */
    void (*publish)(struct client *c, const char *payload, size_t n);
    /* One message from the front of the input: calls load_greeted(), load_ready() or load_delivered() for it
     * and returns its length; 0 if it is incomplete; -1 if it must not be. */
    ssize_t (*read)(struct client *c, const uint8_t *p, size_t n);
    /* Scenario acks: asks for an answer, on which read() calls load_acked(). NULL: it has no answers. */
    void (*publish_asking)(struct client *c, uint64_t number, const char *payload, size_t n);
};

extern const struct protocol protocols[]; /* ends with name NULL */

void load_write(struct client *c, const void *data, size_t n);
void load_greeted(struct client *c);
void load_ready(struct client *c);
void load_delivered(struct client *c, const uint8_t *payload, size_t n);
void load_acked(struct client *c, uint64_t number);
void load_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
