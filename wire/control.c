/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of the control socket: one HELLO, one WELCOME or REFUSED. Each message is one frame and nothing
 * else.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "wire/errors.h"
#include "wire/link.h"
#include "wire/transport.h"

#define REQUESTS_PER_TURN 16
#define ANSWER_MAX (60u * 1024)
#define ERROR_LOG_MS 10000u /* one line about such things in this time */

struct control {
    struct loop *loop;
    const struct transport_ops *transport;
    struct channel *channel;
    struct event *recv_event;
    struct event *send_event; /* a call whose HELLO is not taken yet; else NULL */
    struct buf out;
    void *arg;

    control_hello_fn on_hello; /* a server */
    uint64_t n_malformed;
    uint64_t n_errors; /* of the transport, since errors_from_ms */
    uint64_t errors_from_ms;

    control_answer_fn on_answer; /* a call; NULL once it has been called */
    struct loop_timer timeout;
};

static struct slice
error_slice(enum error_code code)
{
    return slice_str(error_code_name(code));
}

static void
put_refused(struct buf *out, enum error_code code, const char *message)
{
    frame_put_refused(out, &(struct frame_refused){.code = error_slice(code), .message = slice_str(message)});
}

/* ---- The server. ---- */

/* A HELLO of another version may have other fields: its number and its version are all that is read of it. */
static bool
is_other_version(struct slice request)
{
    struct mp c = mp_of(request);
    uint64_t number, proto;
    uint32_t n;

    return mp_array(&c, &n) == 0 && n >= 2 && mp_u64(&c, &number) == 0 && number == FRAME_HELLO &&
           mp_u64(&c, &proto) == 0 && proto != LINK_PROTO;
}

static void
control_put_answer(struct control *control, const struct frame *answer)
{
    struct buf *out = &control->out;

    if (answer->type == FRAME_WELCOME)
        frame_put_welcome(out, &answer->welcome);
    else if (answer->type == FRAME_REFUSED)
        frame_put_refused(out, &answer->refused);
    else
        put_refused(out, ERROR_INTERNAL, "the broker has no answer");
    if (buf_failed(out)) {
        buf_reset(out);
        put_refused(out, ERROR_INTERNAL, "the answer is too large");
    }
}

static void
control_answer_request(struct control *control, struct slice request)
{
    struct mp cursor = mp_of(request);
    struct frame hello, answer = {0};
    const char *error = "it is not a HELLO and nothing else";

    buf_reset(&control->out);
    if (is_other_version(request)) {
        put_refused(
            &control->out, ERROR_VERSION_UNSUPPORTED, "this broker speaks another version of the link");
        return;
    }
    if (frame_next(&cursor, &hello, &error) != FRAME_OK || hello.type != FRAME_HELLO ||
        cursor.p != cursor.end) {
        control->n_malformed++;
        log_warn("a malformed request on the control socket (%llu so far): %s",
            (unsigned long long)control->n_malformed, error);
        put_refused(&control->out, ERROR_REQUEST_INVALID, error);
        return;
    }
    control->on_hello(&hello.hello, &answer, control->arg);
    control_put_answer(control, &answer);
}

/* Somebody who never got as far as a request. Such a one may try again and again. */
static void
control_on_bad_asker(struct control *control, int error)
{
    uint64_t now = loop_now_ms(control->loop);

    if (now - control->errors_from_ms >= ERROR_LOG_MS) {
        control->n_errors = 0;
        control->errors_from_ms = now;
    }
    if (control->n_errors++ > 0)
        return;
    if (error == -EPROTONOSUPPORT)
        log_warn("somebody asks for a link by nanomsg, but here it is link.transport: %s; a frontend must "
                 "have the same",
            control->transport->name);
    else if (error == -EPERM)
        log_warn("somebody who is neither this user, root nor of the directory's group came to the control "
                 "socket");
    else
        log_warn("the control socket: %s", strerror(-error));
}

/* Every request is answered before the next is read, as REP wants it. An answer that the transport does not
 * take is dropped: its asker is gone, or will ask again. */
static void
control_on_request(evutil_socket_t fd, short what, void *arg)
{
    struct control *control = arg;
    struct slice request;

    for (int i = 0; i < REQUESTS_PER_TURN; i++) {
        int r = control->transport->recv(control->channel, &request);
        if (r == -EAGAIN)
            return;
        if (r < 0) {
            control_on_bad_asker(control, r);
            continue;
        }
        control_answer_request(control, request);
        control->transport->release(control->channel, request);
        (void)control->transport->send(control->channel, buf_slice(&control->out));
    }
}

/* ---- The call. ---- */

/* The end of a call. on_answer() may close the control, so nothing of it is touched after. */
static void
control_finish(struct control *control, const struct frame *answer, int error)
{
    control_answer_fn fn = control->on_answer;

    control->on_answer = NULL;
    loop_timer_stop(control->loop, &control->timeout);
    (void)event_del(control->recv_event);
    (void)event_del(control->send_event);
    fn(answer, error, control->arg);
}

static void
control_on_timeout(void *arg)
{
    control_finish(arg, NULL, -ETIMEDOUT);
}

static void
control_on_can_send(evutil_socket_t fd, short what, void *arg)
{
    struct control *control = arg;
    int r = control->transport->send(control->channel, buf_slice(&control->out));

    if (r == -EAGAIN)
        return; /* level-triggered: we come again */
    (void)event_del(control->send_event);
    if (r < 0)
        control_finish(control, NULL, r);
}

static void
control_on_answer(evutil_socket_t fd, short what, void *arg)
{
    struct control *control = arg;
    struct slice message;
    struct frame answer;
    int r = control->transport->recv(control->channel, &message);

    if (r == -EAGAIN)
        return;
    if (r < 0) {
        control_finish(control, NULL, r);
        return;
    }
    /* A copy, so that the answer outlives a control_close() inside on_answer(). */
    uint8_t *copy = malloc(message.n > 0 ? message.n : 1);
    if (copy != NULL)
        memcpy(copy, message.p, message.n);
    struct mp cursor = mp_of(slice_of(copy, copy == NULL ? 0 : message.n));
    control->transport->release(control->channel, message);
    if (copy == NULL)
        control_finish(control, NULL, -ENOMEM);
    else if (frame_next(&cursor, &answer, NULL) != FRAME_OK || cursor.p != cursor.end ||
             (answer.type != FRAME_WELCOME && answer.type != FRAME_REFUSED))
        control_finish(control, NULL, -EPROTO);
    else
        control_finish(control, &answer, 0);
    free(copy);
}

/* ---- Both. ---- */

static int
control_new(struct loop *loop, const struct transport_ops *transport, void *arg, struct control **ret)
{
    struct control *control = calloc(1, sizeof *control);

    if (control == NULL)
        return -ENOMEM;
    control->loop = loop;
    control->transport = transport;
    control->arg = arg;
    control->timeout = (struct loop_timer){.fn = control_on_timeout, .arg = control};
    buf_init(&control->out, ANSWER_MAX);
    *ret = control;
    return 0;
}

/* An event on one of the channel's descriptors, added already. */
static int
control_watch(struct control *control, int fd, event_callback_fn fn, struct event **ret)
{
    *ret = event_new(loop_base(control->loop), fd, EV_READ | EV_PERSIST, fn, control);
    return *ret == NULL || event_add(*ret, NULL) < 0 ? -ENOMEM : 0;
}

int
control_serve(struct loop *loop, const struct transport_ops *transport, const char *path,
    control_hello_fn on_hello, void *arg, struct control **ret)
{
    struct control *control;
    int r = control_new(loop, transport, arg, &control);

    if (r < 0)
        return r;
    control->on_hello = on_hello;
    r = transport->serve(path, &control->channel);
    if (r == 0)
        r = control_watch(
            control, transport->recv_fd(control->channel), control_on_request, &control->recv_event);
    if (r < 0) {
        control_close(control);
        return r;
    }
    *ret = control;
    return 0;
}

int
control_call(struct loop *loop, const struct transport_ops *transport, const char *path,
    const struct frame_hello *hello, uint64_t timeout_ms, control_answer_fn fn, void *arg,
    struct control **ret)
{
    struct control *control;
    int r = control_new(loop, transport, arg, &control);

    if (r < 0)
        return r;
    control->on_answer = fn;
    frame_put_hello(&control->out, hello);
    r = buf_failed(&control->out) ? -EMSGSIZE : transport->call(path, &control->channel);
    if (r == 0)
        r = control_watch(
            control, transport->recv_fd(control->channel), control_on_answer, &control->recv_event);
    if (r == 0)
        r = control_watch(
            control, transport->send_fd(control->channel), control_on_can_send, &control->send_event);
    if (r < 0) {
        control_close(control);
        return r;
    }
    loop_timer_start(loop, &control->timeout, timeout_ms);
    *ret = control;
    return 0;
}

struct control *
control_close(struct control *control)
{
    if (control == NULL)
        return NULL;
    loop_timer_stop(control->loop, &control->timeout);
    if (control->recv_event != NULL)
        event_free(control->recv_event);
    if (control->send_event != NULL)
        event_free(control->send_event);
    control->transport->close(control->channel);
    buf_fini(&control->out);
    free(control);
    return NULL;
}
