/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends of a link in one process and one loop, over one of the real transports, in a directory of their
 * own. There is one link in a test, and whoever uses this has nothing else: names are short.
 */
#ifndef TESTS_UNIT_WIRE_LINKFIXTURE_H
#define TESTS_UNIT_WIRE_LINKFIXTURE_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/loop.h"
#include "wire/link.h"
#include "wire/transport.h"

#define SESSION 77
#define HEARTBEAT_MS 150

extern const struct transport_ops *transport; /* that the tests run over */
extern struct loop *loop;
extern char dir[64], path[96]; /* path: of a link or a control socket in dir */
extern const uint8_t token[16];
extern char filler[LINK_BATCH_MAX + 1];

/* What one end has seen. */
struct end {
    struct link *link;
    bool is_up, is_down, is_clean;
    char reason[256];
    uint64_t n_frames, last; /* of PUBLISH: pub; of MESSAGE: seq */
    uint64_t n_batches, n_drained;
    uint64_t epoch;    /* of ATTACHED */
    uint64_t pause_at; /* pause when `last` comes here */
    bool is_wrong;     /* something came out of order */
    bool is_position;  /* a batch's position is the seq of the last message in it */
    size_t biggest;
    struct timespec down_at;
};
extern struct end broker, frontend;
extern const struct link_ops ops; /* they note in the struct end that is their argument */

/* Each test has setup and teardown around it, unless it calls them itself. Returns how many failed. */
int run_tests(const struct transport_ops *which, const TTest *const *tests, size_t n_tests);
int run_bare_tests(const struct transport_ops *which, const TTest *const *tests, size_t n_tests);
void setup(void);
void teardown(void);

/* True if it came to be so in time. Without is_done: runs for that long. */
bool run_until(bool (*is_done)(void), int ms);
bool both_up(void);
bool both_down(void);
bool broker_up(void);
bool broker_down(void);
bool frontend_down(void);
int64_t ms_between(struct timespec a, struct timespec b);

struct link_config config_of(bool is_broker, uint64_t credit);
void open_broker(uint64_t credit);
void open_both(uint64_t credit);

/* A connection to the AF_UNIX socket at path, that can send anything. */
int connect_bare(void);
void write_bare(int fd, const char *p, size_t n);

#endif
