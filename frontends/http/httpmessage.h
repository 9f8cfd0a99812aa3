/* SPDX-License-Identifier: Apache-2.0 */
/* Messages in HTTP: a request's body and headers as a message, and a message as a response. */
#ifndef FRONTENDS_HTTP_HTTPMESSAGE_H
#define FRONTENDS_HTTP_HTTPMESSAGE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "frontends/sdk/message.h"
#include "frontends/sdk/request.h"
#include "wire/errors.h"

struct http_conn;
struct http_reply;

/* Why a request cannot be taken. */
struct http_problem {
    enum error_code code;
    const char *text;
    char words[128]; /* where text is put together */
};

/* Always -EINVAL. */
int http_problem_set(struct http_problem *ret, enum error_code code, const char *text);

/* Fills kind, type, headers, key and body of ret from the request being handled (is_retain, which makes an
 * empty body good, stands already). Slices point into the request and the frontend's scratch. 0 or -EINVAL.
 */
int http_message_read(struct http_conn *hc, struct request *ret, struct http_problem *ret_problem);

/* A time of the request being handled, "5s", "500ms" or a number of seconds: by header or by parameter, of
 * which either may be NULL. *ret_ms stays as it is if there is none. 0 or -EINVAL. */
int http_time_read(struct http_conn *hc, const char *header, const char *parameter, uint64_t *ret_ms,
    struct http_problem *ret_problem);

/* Copies what a request that must wait points to into memory of its own. 0 or -ENOMEM. */
int http_request_hold(struct buf *held, struct request *request);

/* A message that is kept until it can be sent. */
struct http_stored {
    enum message_kind kind;
    struct buf type, headers, body;
};
void http_stored_init(struct http_stored *stored);
void http_stored_set(struct http_stored *to, const struct message *m); /* failure is the buffers' */
void http_stored_fini(struct http_stored *stored);

/* 200 with the message's body, content type and headers (as Busbar-Meta-Name, if HTTP can carry the name),
 * and more header lines. */
void http_stored_respond(struct http_conn *hc, const struct http_reply *reply,
    const struct http_stored *stored, struct slice lines);

#endif
