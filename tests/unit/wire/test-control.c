/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket, where a frontend asks for its link, over each of the real transports in turn. */
#include "config.h"

#include "tests/unit/wire/linkfixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wire/errors.h"

static struct control *server, *call;
static struct {
    bool is_done;
    int error;
    enum frame_type type;
    char text[64];
} answer;
static bool
has_answer(void)
{
    return answer.is_done;
}

static void
on_hello(const struct frame_hello *hello, struct frame *ret, void *arg)
{
    ck_assert(slice_is(hello->kind, "ws"));
    if (slice_is(hello->name, "ws.1"))
        *ret = (struct frame){.type = FRAME_WELCOME,
            .welcome = {.proto = LINK_PROTO,
                .session = 9,
                .token = slice_of(token, 16),
                .url = slice_str("ipc:///x")}};
    else
        *ret = (struct frame){.type = FRAME_REFUSED,
            .refused = {.code = slice_str(error_code_name(ERROR_NOT_ALLOWED)), .message = slice_str("no")}};
}

static void
on_answer(const struct frame *f, int error, void *arg)
{
    ck_assert(!answer.is_done);
    call = control_close(call); /* allowed in here; the answer stays */
    answer.is_done = true;
    answer.error = error;
    if (f == NULL)
        return;
    answer.type = f->type;
    (void)snprintf(answer.text, sizeof answer.text, "%.*s",
        SLICE_ARG(f->type == FRAME_WELCOME ? f->welcome.url : f->refused.code));
}

static void
ask(const char *name, uint64_t proto)
{
    struct frame_hello hello = {.proto = proto, .name = slice_str(name), .kind = slice_str("ws")};

    memset(&answer, 0, sizeof answer);
    ck_assert_int_eq(control_call(loop, transport, path, &hello, 400, on_answer, NULL, &call), 0);
    ck_assert(run_until(has_answer, 2000));
}

START_TEST(test_control)
{
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &server), 0);
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_int_eq(answer.type, FRAME_WELCOME);
    ck_assert_str_eq(answer.text, "ipc:///x");
    ask("ws.2", LINK_PROTO);
    ck_assert_int_eq(answer.type, FRAME_REFUSED);
    ck_assert_str_eq(answer.text, "not_allowed");
    ask("ws.1", LINK_PROTO + 1);
    ck_assert_str_eq(answer.text, "version_unsupported");
    ask("\xff", LINK_PROTO); /* not UTF-8: malformed */
    ck_assert_str_eq(answer.text, "request_invalid");
#ifndef __SANITIZE_ADDRESS__ /* nanomsg leaks a little here */
    struct control *second;
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &second), -EADDRINUSE);
#endif
    server = control_close(server);
}
END_TEST

START_TEST(test_control_without_a_broker)
{
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, -ETIMEDOUT);
}
END_TEST

START_TEST(test_control_comes_later)
{
    struct frame_hello hello = {.proto = LINK_PROTO, .name = slice_str("ws.1"), .kind = slice_str("ws")};

    memset(&answer, 0, sizeof answer);
    ck_assert_int_eq(control_call(loop, transport, path, &hello, 2000, on_answer, NULL, &call), 0);
    ck_assert(!run_until(has_answer, 50));
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &server), 0);
    ck_assert(run_until(has_answer, 2500));
    ck_assert_int_eq(answer.error, 0);
    server = control_close(server);
}
END_TEST

/* ---- By AF_UNIX. ---- */

/* Many who say nothing or nonsense do not keep a frontend from its answer, nor a dead broker's socket a new
 * broker from its place. */
START_TEST(test_control_among_strangers)
{
    int fds[100];

    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &server), 0);
    for (size_t i = 0; i < 100; i++) {
        fds[i] = connect_bare();
        if (i % 3 == 1)
            write_bare(fds[i], "\0SP\0\0\x30\0\0", 8);
        else if (i % 3 == 2)
            write_bare(fds[i], "\0\0\0\2\0", 5);
    }
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_int_eq(answer.type, FRAME_WELCOME);
    for (size_t i = 0; i < 100; i++)
        (void)close(fds[i]);
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, 0);
    struct control *second;
    ck_assert_int_eq(control_serve(loop, transport, path, on_hello, NULL, &second), -EADDRINUSE);
    server = control_close(server);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__ /* nanomsg leaks a little when it refuses somebody */
START_TEST(test_the_other_transport)
{
    ck_assert_int_eq(control_serve(loop, &transport_nanomsg, path, on_hello, NULL, &server), 0);
    ask("ws.1", LINK_PROTO);
    ck_assert_int_eq(answer.error, -EPROTONOSUPPORT);
    server = control_close(server);
}
END_TEST
#endif

int
main(void)
{
    const TTest *const tests[] = {test_control, test_control_without_a_broker, test_control_comes_later};
    const TTest *const unix_tests[] = {test_control_among_strangers,
#ifndef __SANITIZE_ADDRESS__
        test_the_other_transport
#endif
    };
    const size_t n = sizeof tests / sizeof tests[0];
    int n_failed = run_tests(&transport_nanomsg, tests, n) + run_tests(&transport_unix, tests, n);

    n_failed += run_tests(&transport_unix, unix_tests, sizeof unix_tests / sizeof unix_tests[0]);
    return n_failed == 0 ? 0 : 1;
}
