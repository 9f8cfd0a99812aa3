/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frontends that speak the link to a real busbar-broker (fakebus.h) by hand. What a frontend is sent is noted
 * as one line of text for each frame, with names in the place of handles:
 *
 *     MESSAGE chat/1 seq=3 prev=1 hello        REPLAY 7 chat/1 seq=3 prev=1 hello
 *
 * and a test says which lines must come, in order. Everything waits with a deadline.
 */
#ifndef TESTS_UNIT_BROKER_FAKEFRONTEND_H
#define TESTS_UNIT_BROKER_FAKEFRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/broker/fakebus.h"
#include "wire/frame.h"

#define FAKE_HANDLES 64
#define FAKE_TOPICS 4096

struct link;

struct fake {
    struct bus *bus;
    char name[32];
    uint64_t boot;
    struct link *link;
    bool is_up, is_down, is_clean;
    char reason[256];
    uint64_t epoch, seq; /* of ATTACHED */
    char refusal[64];    /* the code of REFUSED */
    int control_error;
    bool has_answer;
    struct frame_welcome welcome;
    char url[128];
    uint8_t token[16];

    char *topics[FAKE_TOPICS];   /* by the broker's handle */
    char *handles[FAKE_HANDLES]; /* own */
    unsigned n_handles;
    uint64_t pub;
    char **lines; /* of frames */
    size_t n_lines, lines_room, at;
    bool is_quiet;   /* MESSAGE and REPLAY are only counted */
    bool is_lenient; /* the test makes no sense of what comes: epochs are not compared */
    uint64_t n_messages, last_message_seq;
    char lease[80], call[80], request_id[80]; /* of the last DISPATCH, CALL, ACCEPTED */
    uint64_t call_timeout_ms;
    uint64_t oldest_ms;   /* of the last QUEUE */
    char last_body[8192]; /* of the last MESSAGE, whole if it is shorter */
    struct fake_lease {
        uint64_t seq;
        char text[80];
    } * leases; /* of all DISPATCHes */
    size_t n_leases;
};

/* HELLO until it is answered, ATTACH, and waits for ATTACHED. boot 0: a new one. */
void fake_open(struct fake *f, struct bus *bus, const char *name, uint64_t boot);
/* HELLO only: the answer is in f. */
void fake_hello(struct fake *f, struct bus *bus, const char *name, uint64_t boot, uint64_t proto);
void fake_open_live(struct fake *f, struct bus *bus, const char *name); /* and RESUME with epoch 0 */
void fake_close(struct fake *f);                                        /* like a crash */
void fake_wait_down(struct fake *f);

void fake_subscribe(struct fake *f, uint64_t number, const char *pattern);
void fake_resume(struct fake *f, uint64_t epoch, uint64_t seq);
void fake_recover(struct fake *f, uint64_t req, const char *filter, uint64_t mode, uint64_t epoch,
    uint64_t seq, uint64_t count);
void fake_publish(struct fake *f, const char *topic, const char *body);
void fake_publish_some(struct fake *f, const char *topic, unsigned n); /* named after it and numbered */
void fake_publish_with(
    struct fake *f, const char *topic, const struct frame_publish *p); /* pub, handle are filled in */

void fake_list(struct fake *f, uint64_t req, const char *filter, const char *after, uint64_t limit);

void fake_consume(
    struct fake *f, uint64_t number, uint64_t mode, const char *topic, const char *group, uint64_t credit);
void fake_unconsume(struct fake *f, uint64_t number);
void fake_credit(struct fake *f, uint64_t number, uint64_t more);
void fake_hold(struct fake *f, uint64_t number, const char *lease);
void fake_request(struct fake *f, uint64_t req, const char *topic, const char *body, uint64_t timeout_ms);
/* One that is kept; f->request_id has its id after ACCEPTED. */
void fake_request_kept(
    struct fake *f, uint64_t req, const char *topic, const char *body, uint64_t timeout_ms);
void fake_result(struct fake *f, uint64_t req, const char *id, uint64_t wait_ms);
void fake_withdraw(struct fake *f, uint64_t req, const char *id);
void fake_abandon(struct fake *f, uint64_t req);
/* A reply of text; code not NULL: a failure, and body is what went wrong. */
void fake_reply(
    struct fake *f, uint64_t req, uint64_t consumer, const char *call, const char *code, const char *body);
/* info NULL: none. flags as in JOIN and LEAVE. */
void fake_join(
    struct fake *f, uint64_t req, uint64_t member, const char *topic, const char *id, const char *info);
void fake_join_again(struct fake *f, uint64_t member, const char *topic, const char *id, const char *info);
void fake_leave(struct fake *f, uint64_t member, uint64_t flags);
void fake_who(struct fake *f, uint64_t req, const char *topic, const char *after, uint64_t limit);

/* The last lease of the message. */
const char *fake_lease(const struct fake *f, uint64_t seq);
/* SETTLE, with 0 done, 1 to be tried again after delay_ms, 2 more time, 3 dead. */
void fake_settle(
    struct fake *f, uint64_t req, uint64_t consumer, const char *lease, uint64_t outcome, uint64_t delay_ms);

/* The next line (TOPIC and FORGET are passed over, unless asked for) must be this. */
void fake_expect(struct fake *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The next line, whatever it is. */
const char *fake_next(struct fake *f);
/* Asks something and gets the answer: so nothing else is on its way. */
void fake_expect_nothing(struct fake *f);

#endif
