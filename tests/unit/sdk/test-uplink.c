/* SPDX-License-Identifier: Apache-2.0 */
/* The uplink against the broker's end of a link, in one process: attaching, resending, pushing back, starting
 * over. */
#include "config.h"

#include "frontends/sdk/uplink.h"

#include "tests/unit/sdk/suite.h"

#include "frontends/sdk/frontend.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/session.h"
#include "wire/link.h"
#include "wire/transport.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct loop *loop;
static struct frontend fe;
static struct limits_options limits;
static const struct link_options options = {.credit = 1 << 20,
    .hello_timeout_ms = 300,
    .attach_timeout_ms = 1000,
    .retry_delay_ms = 50,
    .retry_delay_max_ms = 100};
static struct loop_timer deadline;

/* The broker. */
static char dir[64], control_path[80], link_path[96], url[112];
static char hello_name[65]; /* of the last HELLO */
static struct control *control;
static struct link *link_;
static unsigned n_hellos;
static bool answers; /* publishes are answered */
static uint64_t seq;
static struct buf got;
static const char *wanted; /* the loop stops when `got` is this */

/* The client. */
static struct session session;
static struct buf told;
static unsigned n_unblocked;

static const uint8_t token[16] = "0123456789abcde";

/* ---- The broker. ---- */

static void
check_wanted(void)
{
    if (wanted != NULL && slice_is(buf_slice(&got), wanted))
        loop_stop(loop);
}

static int
on_frame(struct link *link, const struct frame *f, void *arg)
{
    buf_put_str(&got, frame_name(f->type));
    if (f->type == FRAME_RESUME) {
        buf_printf(&got, " %llx-%d", (unsigned long long)f->resume.epoch, (int)f->resume.seq);
        frame_put_resumed(
            link_buf(link), &(struct frame_resumed){.state = STATE_RECOVERED, .epoch = 0xe, .seq = seq});
        ck_assert_int_eq(link_commit(link), 0);
    } else if (f->type == FRAME_NAME) {
        buf_printf(&got, " %d %.*s", (int)f->name.handle, SLICE_ARG(f->name.topic));
    } else if (f->type == FRAME_PUBLISH) {
        buf_printf(
            &got, " %d to %d %.*s", (int)f->publish.pub, (int)f->publish.handle, SLICE_ARG(f->publish.body));
        if (f->publish.ttl_ms > 0 || f->publish.delay_ms > 0)
            buf_printf(&got, " ttl %d delay %d", (int)f->publish.ttl_ms, (int)f->publish.delay_ms);
        if (f->publish.flags != 0)
            buf_printf(&got, " kind %d %.*s %.*s %.*s %.*s%s", (int)f->publish.kind,
                SLICE_ARG(f->publish.type), SLICE_ARG(f->publish.headers), SLICE_ARG(f->publish.key),
                SLICE_ARG(f->publish.once), f->publish.flags & MESSAGE_RETAIN ? " retained" : "");
        if (answers && f->publish.delay_ms > 0) {
            frame_put_scheduled(link_buf(link), &(struct frame_scheduled){.pub = f->publish.pub,
                                                    .due_ms = 1700000000000 + f->publish.delay_ms});
            ck_assert_int_eq(link_commit(link), 0);
        } else if (answers) {
            frame_put_published(
                link_buf(link), &(struct frame_published){.pub = f->publish.pub, .seq = ++seq, .count = 1});
            ck_assert_int_eq(link_commit(link), 0);
        }
    }
    buf_put_str(&got, "; ");
    check_wanted();
    return 0;
}

static void
on_up(struct link *link, const struct frame *f, void *arg)
{
    frame_put_attached(link_buf(link), &(struct frame_attached){.epoch = 0xe, .seq = seq});
    ck_assert_int_eq(link_commit(link), 0);
}

static void
on_down(struct link *link, const char *reason, bool is_clean, void *arg)
{
    link_ = link_close(link);
    buf_put_str(&got, is_clean ? "PARTED; " : "LOST; ");
    check_wanted();
}

static const struct link_ops link_ops = {.on_up = on_up, .on_frame = on_frame, .on_down = on_down};

static void
on_hello(const struct frame_hello *hello, struct frame *ret, void *arg)
{
    struct link_config config = {.loop = loop,
        .transport = &transport_nanomsg,
        .path = link_path,
        .peer = "frontend",
        .is_broker = true,
        .session = ++n_hellos,
        .peer_credit = 1 << 20,
        .own_credit = 1 << 20,
        .heartbeat_ms = 1000,
        .attach_timeout_ms = 1000};

    link_ = link_close(link_);
    (void)snprintf(link_path, sizeof link_path, "%s/link%u", dir, n_hellos);
    (void)snprintf(url, sizeof url, LINK_URL_SCHEME "%s", link_path);
    memcpy(config.token, token, sizeof token);
    ck_assert_int_eq(link_open(&config, &link_ops, NULL, &link_), 0);
    (void)snprintf(hello_name, sizeof hello_name, "%.*s", SLICE_ARG(hello->name));
    ret->type = FRAME_WELCOME;
    ret->welcome = (struct frame_welcome){.proto = LINK_PROTO,
        .session = n_hellos,
        .token = slice_of(token, sizeof token),
        .url = slice_str(url),
        .epoch = 0xe,
        .credit = 1 << 20,
        .heartbeat_ms = 1000,
        .max_message = 1000};
}

static void
broker_start(void)
{
    ck_assert_int_eq(control_serve(loop, &transport_nanomsg, control_path, on_hello, NULL, &control), 0);
}

static void
broker_stop(void)
{
    control = control_close(control);
    link_ = link_close(link_);
}

/* Runs until the broker has got exactly this since the last time. */
static void
expect(const char *frames)
{
    wanted = frames;
    if (!slice_is(buf_slice(&got), frames))
        ck_assert_int_eq(loop_run(loop), 0);
    wanted = NULL;
    buf_reset(&got);
    loop_settle(loop);
}

/* ---- The client. ---- */

static void
on_answer(struct session *s, const struct answer *a)
{
    if (a->type == ANSWER_PUBLISHED)
        buf_printf(&told, "%.*s=%llx-%d ", SLICE_ARG(a->id), (unsigned long long)a->position.epoch,
            (int)a->position.seq);
    else if (a->type == ANSWER_SCHEDULED)
        buf_printf(&told, "%.*s at %llu ", SLICE_ARG(a->id), (unsigned long long)a->time_ms);
    else
        buf_printf(&told, "%.*s:%s ", SLICE_ARG(a->id), error_code_name(a->code));
}

static void
on_unblocked(struct session *s)
{
    n_unblocked++;
    loop_stop(loop);
}

static const struct session_ops session_ops = {.on_answer = on_answer, .on_unblocked = on_unblocked};

static int
publish(const char *id, const char *topic, const char *body)
{
    struct request r = {.op = REQUEST_PUB,
        .id = slice_str(id),
        .topic = slice_str(topic),
        .kind = MESSAGE_TEXT,
        .body = slice_str(body)};

    return session_request(&session, &r);
}

static void
stop_loop(void *arg)
{
    loop_stop(loop);
}

static void
run_a_tick(void)
{
    struct loop_timer t = {.fn = stop_loop};

    loop_timer_start(loop, &t, LOOP_TICK_MS);
    ck_assert_int_eq(loop_run(loop), 0);
    loop_timer_stop(loop, &t);
}

/* Runs until the uplink has read what the broker answered to RESUME, or fails at the deadline. */
static void
expect_ready(void)
{
    while (!frontend_is_ready(&fe))
        run_a_tick();
}

/* Runs until the client has been told this, or fails at the deadline. */
static void
expect_told(const char *text)
{
    while (told.n < strlen(text))
        run_a_tick();
    buf_put_byte(&told, '\0');
    ck_assert_str_eq((const char *)told.p, text);
    buf_reset(&told);
}

static void
on_deadline(void *arg)
{
    buf_put_byte(&got, '\0');
    ck_abort_msg("too long; wanted %s, got %s", wanted == NULL ? "-" : wanted, (const char *)got.p);
}

static void
setup(void)
{
    ck_assert_int_eq(loop_new(&loop), 0);
    limits = (struct limits_options){.queue_bytes = 65536,
        .message_bytes = 2000,
        .publishes_held = 4,
        .publish_hold_bytes = 1 << 20,
        .publish_hold_time_ms = 30000};
    ck_assert_int_eq(frontend_init(&fe, loop, &limits), 0);
    fe.instance = "test.1";
    (void)snprintf(dir, sizeof dir, "/tmp/test-uplink-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(control_path, sizeof control_path, "%s/control.sock", dir);
    ck_assert_int_eq(uplink_new(&fe, &options, control_path, "test", &fe.uplink), 0);
    buf_init(&got, 0);
    buf_init(&told, 0);
    answers = true;
    seq = 100;
    n_hellos = 0;
    session_init(&session, &fe, NULL, &session_ops);
    deadline = (struct loop_timer){.fn = on_deadline};
    loop_timer_start(loop, &deadline, 20000);
}

static void
teardown(void)
{
    char command[128];

    session_fini(&session);
    fe.uplink = uplink_free(fe.uplink);
    broker_stop();
    loop_timer_stop(loop, &deadline);
    frontend_fini(&fe);
    loop = loop_free(loop);
    buf_fini(&got);
    buf_fini(&told);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(test_attaches_and_publishes)
{
    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    expect_ready();
    ck_assert_int_eq(publish("1", "t", "one"), 0);
    ck_assert_int_eq(publish("2", "t", "two"), 0);
    ck_assert_int_eq(publish("3", "u", "three"), 0);
    expect("NAME 0 t; PUBLISH 1 to 0 one; PUBLISH 2 to 0 two; NAME 1 u; PUBLISH 3 to 1 three; ");
    expect_told("1=e-101 2=e-102 3=e-103 ");
    ck_assert_uint_eq(uplink_n_held(fe.uplink), 0);
}
END_TEST

START_TEST(test_starts_before_the_broker)
{
    uplink_start(fe.uplink);
    ck_assert_int_eq(publish("1", "t", "early"), 0);
    loop_settle(loop);
    ck_assert(!frontend_is_ready(&fe));
    broker_start();
    expect("RESUME 0-0; NAME 0 t; PUBLISH 1 to 0 early; ");
    expect_told("1=e-101 ");
}
END_TEST

START_TEST(test_sends_again_what_has_no_answer)
{
    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    ck_assert_int_eq(publish("1", "t", "one"), 0);
    expect("NAME 0 t; PUBLISH 1 to 0 one; ");
    expect_told("1=e-101 ");
    answers = false;
    ck_assert_int_eq(publish("2", "t", "two"), 0);
    expect("PUBLISH 2 to 0 two; ");
    broker_stop();
    ck_assert_int_eq(publish("3", "u", "three"), 0);
    answers = true;
    broker_start();
    expect("RESUME e-100; NAME 0 t; PUBLISH 2 to 0 two; NAME 1 u; PUBLISH 3 to 1 three; ");
    expect_told("2=e-102 3=e-103 ");
    ck_assert_uint_eq(fe.counters.link_losses, 1);
}
END_TEST

/* What was held for a link that never stood, and what was sent on one that was lost. */
START_TEST(test_a_held_publish_keeps_all_that_it_says)
{
    struct request r = {.op = REQUEST_PUB,
        .id = slice_str("1"),
        .topic = slice_str("t"),
        .type = slice_str("a/b"),
        .headers = slice_str("hh"),
        .key = slice_str("k"),
        .once = slice_str("o"),
        .body = slice_str("x"),
        .kind = MESSAGE_JSON,
        .is_retain = true};
    static const char all[] = " x kind 2 a/b hh k o retained; ";
    char first[128], again[128];

    (void)snprintf(
        first, sizeof first, "RESUME 0-0; NAME 0 u; PUBLISH 1 to 0 y; NAME 1 t; PUBLISH 2 to 1%s", all);
    (void)snprintf(again, sizeof again, "PUBLISH 3 to 1%s", all);
    ck_assert_int_eq(publish("0", "u", "y"), 0);
    ck_assert_int_eq(session_request(&session, &r), 0);
    broker_start();
    uplink_start(fe.uplink);
    expect(first);
    expect_told("0=e-101 1=e-102 ");
    answers = false;
    ck_assert_int_eq(session_request(&session, &r), 0);
    expect(again);
    broker_stop();
    answers = true;
    broker_start();
    (void)snprintf(again, sizeof again, "RESUME e-100; NAME 1 t; PUBLISH 3 to 1%s", all);
    expect(again);
    expect_told("1=e-103 ");
}
END_TEST

START_TEST(test_later)
{
    struct request r = {.op = REQUEST_PUB,
        .id = slice_str("1"),
        .topic = slice_str("t"),
        .body = slice_str("x"),
        .ttl_ms = 60000,
        .delay_ms = 5000};

    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    answers = false;
    ck_assert_int_eq(session_request(&session, &r), 0);
    expect("NAME 0 t; PUBLISH 1 to 0 x ttl 60000 delay 5000; ");
    broker_stop();
    answers = true;
    broker_start();
    expect("RESUME e-100; NAME 0 t; PUBLISH 1 to 0 x ttl 60000 delay 5000; ");
    expect_told("1 at 1700000005000 ");
    ck_assert_uint_eq(uplink_n_held(fe.uplink), 0);
}
END_TEST

START_TEST(test_an_answer_for_nobody)
{
    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    answers = false;
    ck_assert_int_eq(publish("1", "t", "one"), 0);
    session_fini(&session);
    expect("NAME 0 t; PUBLISH 1 to 0 one; ");
    frame_put_published(link_buf(link_), &(struct frame_published){.pub = 1, .seq = ++seq, .count = 1});
    ck_assert_int_eq(link_commit(link_), 0);
    frame_put_published(
        link_buf(link_), &(struct frame_published){.pub = 2, .seq = ++seq, .count = 1}); /* never sent */
    ck_assert_int_eq(link_commit(link_), 0);
    expect("RESUME e-100; "); /* on another link */
    ck_assert_uint_eq(uplink_n_held(fe.uplink), 0);
}
END_TEST

START_TEST(test_pushes_back)
{
    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    answers = false;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(publish("x", "t", "x"), 0);
    ck_assert_int_eq(publish("x", "t", "x"), -EAGAIN);
    ck_assert(session.is_blocked);
    expect("NAME 0 t; PUBLISH 1 to 0 x; PUBLISH 2 to 0 x; PUBLISH 3 to 0 x; PUBLISH 4 to 0 x; ");
    ck_assert_uint_eq(n_unblocked, 0);
    frame_put_published(link_buf(link_), &(struct frame_published){.pub = 1, .seq = 101, .count = 3});
    ck_assert_int_eq(link_commit(link_), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(n_unblocked, 1);
    ck_assert(!session.is_blocked);
    expect_told("x=e-101 x=e-102 x=e-103 ");
    ck_assert_int_eq(publish("x", "t", "x"), 0);
}
END_TEST

START_TEST(test_says_when_the_broker_is_away_too_long)
{
    limits.publish_hold_time_ms = 100;
    uplink_start(fe.uplink);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(publish("x", "t", "x"), 0);
    ck_assert_int_eq(publish("5", "t", "x"), -EAGAIN);
    ck_assert_int_eq(loop_run(loop), 0); /* until it is unblocked */
    ck_assert_int_eq(publish("5", "t", "x"), 0);
    expect_told("5:unavailable ");
    broker_start(); /* what was held is sent */
    expect("RESUME 0-0; NAME 0 t; PUBLISH 1 to 0 x; PUBLISH 2 to 0 x; PUBLISH 3 to 0 x; PUBLISH 4 to 0 x; ");
    expect_told("x=e-101 x=e-102 x=e-103 x=e-104 ");
}
END_TEST

START_TEST(test_refusals)
{
    char body[2002] = {0};

    memset(body, 'x', 2001);
    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    ck_assert_int_eq(publish("1", "t", body), 0); /* limits.message_bytes */
    body[1001] = '\0';
    ck_assert_int_eq(publish("2", "t", body), 0); /* the broker's max_message */
    ck_assert_int_eq(publish("3", "a/+", "x"), 0);
    ck_assert_int_eq(publish("4", "$sys/x", "x"), 0);
    expect_told("1:message_too_large 2:message_too_large 3:topic_invalid 4:not_allowed ");
    answers = false;
    ck_assert_int_eq(publish("5", "t", "x"), 0);
    frame_put_rejected(link_buf(link_), &(struct frame_rejected){.pub = 1, .code = slice_str("not_allowed")});
    ck_assert_int_eq(link_commit(link_), 0);
    expect_told("5:not_allowed ");
    ck_assert_uint_eq(fe.counters.publishes_refused, 5);
    ck_assert_uint_eq(fe.counters.link_losses, 0);
}
END_TEST

/* What is not UTF-8 would be no frame: the broker would end the link of all. */
START_TEST(test_refuses_words_that_are_no_text)
{
    struct request r = {.op = REQUEST_PUB, .topic = slice_str("t"), .body = slice_str("x")};
    struct slice *const words[] = {&r.type, &r.key, &r.once};

    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    for (unsigned i = 0; i < 3; i++) {
        r.id = slice_of("123" + i, 1);
        *words[i] = slice_str("a\xff");
        ck_assert_int_eq(session_request(&session, &r), 0);
        *words[i] = slice_str("b");
    }
    expect_told("1:request_invalid 2:request_invalid 3:request_invalid ");
    r.id = slice_str("4");
    ck_assert_int_eq(session_request(&session, &r), 0);
    expect("NAME 0 t; PUBLISH 1 to 0 x; ");
    expect_told("4=e-101 ");
    ck_assert_uint_eq(fe.counters.link_losses, 0);
}
END_TEST

static void
on_stopped(void *arg)
{
    *(bool *)arg = true;
}

/* Whoever takes the name of one that is leaving has it. */
START_TEST(test_leaves_under_another_name)
{
    char name[32];

    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    expect_ready();
    ck_assert_str_eq(hello_name, "test.1");
    fe.is_stopping = true;
    link_part(link_, LINK_NAMESAKE);
    expect("PARTED; ");
    expect("RESUME e-100; ");
    expect_ready();
    (void)snprintf(name, sizeof name, "test.1-%ld", (long)getpid());
    ck_assert_str_eq(hello_name, name);
    ck_assert_int_eq(publish("1", "t", "one"), 0);
    expect("NAME 0 t; PUBLISH 1 to 0 one; ");
}
END_TEST

START_TEST(test_parts)
{
    bool is_stopped = false;

    broker_start();
    uplink_start(fe.uplink);
    expect("RESUME 0-0; ");
    uplink_stop(fe.uplink, on_stopped, &is_stopped);
    expect("PARTED; ");
    ck_assert(is_stopped);
}
END_TEST

SUITE_MAIN_WITH("uplink", setup, teardown, test_attaches_and_publishes, test_starts_before_the_broker,
    test_sends_again_what_has_no_answer, test_a_held_publish_keeps_all_that_it_says, test_later,
    test_an_answer_for_nobody, test_pushes_back, test_says_when_the_broker_is_away_too_long, test_refusals,
    test_refuses_words_that_are_no_text, test_leaves_under_another_name, test_parts)
