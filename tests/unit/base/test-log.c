/* SPDX-License-Identifier: Apache-2.0 */
/* Each test has stderr go to a pipe and reads what came. Check forks for each, so the state is fresh. */
#include "config.h"

#include "base/log.h"

#include "tests/unit/base/suite.h"

#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct capture {
    int fd, saved;
    char text[1 << 16];
};

static struct capture capture;

static void
capture_start(void)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    capture.saved = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(fds[1], STDERR_FILENO), 0);
    (void)close(fds[1]);
    capture.fd = fds[0];
    ck_assert_int_eq(unsetenv("JOURNAL_STREAM"), 0);
    log_open("ws.1");
}

static const char *
capture_read(void)
{
    ssize_t n = read(capture.fd, capture.text, sizeof capture.text - 1);

    capture.text[n > 0 ? n : 0] = '\0';
    return capture.text;
}

static void
capture_stop(void)
{
    (void)dup2(capture.saved, STDERR_FILENO);
    (void)close(capture.saved);
    (void)close(capture.fd);
}

/* The line after its time, which must look like 2026-11-21 20:36:01.123 and a space. */
static const char *
after_time(const char *line)
{
    static const char shape[] = "0000-00-00 00:00:00.000 ";

    for (size_t i = 0; i < sizeof shape - 1; i++) {
        if (shape[i] == '0')
            ck_assert_msg(line[i] >= '0' && line[i] <= '9', "%s", line);
        else
            ck_assert_msg(line[i] == shape[i], "%s", line);
    }
    return line + sizeof shape - 1;
}

START_TEST(test_text)
{
    capture_start();
    log_notice("listening on %s:%d", "127.0.0.1", 80);
    ck_assert_str_eq(after_time(capture_read()), "NOTICE ws.1: listening on 127.0.0.1:80\n");
    errno = ENOENT;
    log_error("open: %m");
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_str_eq(after_time(capture_read()), "ERROR ws.1: open: No such file or directory\n");
    capture_stop();
}
END_TEST

START_TEST(test_levels)
{
    static const char *const names[] = {"error", "warn", "notice", "info", "debug"};
    enum log_level level;

    capture_start();
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(log_level_parse(names[i], &level), 0);
        ck_assert_uint_eq(level, i);
    }
    ck_assert_int_eq(log_level_parse("loud", &level), -EINVAL);
    ck_assert_int_eq(log_level_parse("ERROR", &level), -EINVAL);
    log_info("not by default");
    ck_assert_str_eq(capture_read(), "");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("now %s", "it is");
    ck_assert_str_eq(after_time(capture_read()), "DEBUG ws.1: now it is\n");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("not any more");
    ck_assert_str_eq(capture_read(), "");
    ck_assert(log_enabled(LOG_LEVEL_ERROR) && !log_enabled(LOG_LEVEL_WARN));
    capture_stop();
}
END_TEST

START_TEST(test_nobody_forges_a_line)
{
    capture_start();
    log_warn("name=%s", "x\n2026 ERROR ws.1: forged\r\x1b[2J\x7f caf\xc3\xa9 \xff\xc3 \xc2\x9b");
    ck_assert_str_eq(after_time(capture_read()),
        "WARN ws.1: name=x\\n2026 ERROR ws.1: forged\\x0d\\x1b[2J\\x7f caf\xc3\xa9 \\xff\\xc3 \\xc2\\x9b\n");
    capture_stop();
}
END_TEST

START_TEST(test_journal)
{
    char stream[64];
    struct stat st;

    capture_start();
    log_set_format(LOG_FORMAT_JOURNAL);
    log_error("a\nb");
    ck_assert_str_eq(capture_read(), "<3>a\\nb\n");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("x");
    ck_assert_str_eq(capture_read(), "<7>x\n");
    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    ck_assert_int_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
    log_open("broker");
    log_warn("found by itself");
    ck_assert_str_eq(capture_read(), "<4>found by itself\n");
    ck_assert_int_eq(setenv("JOURNAL_STREAM", "1:2", 1), 0); /* somebody else's stream */
    log_open("broker");
    log_warn("w");
    ck_assert_str_eq(after_time(capture_read()), "WARN broker: w\n");
    capture_stop();
}
END_TEST

START_TEST(test_json)
{
    static const char *const keys[] = {"time", "level", "process", "message"};
    static const char *const values[] = {NULL, "notice", "ws.1", "a \\\"b\\\"\\n\\\\xff \xc3\xa9"};
    struct json_token t;
    const char *line;
    struct json r;

    capture_start();
    log_set_format(LOG_FORMAT_JSON);
    log_notice("a \"b\"\n\xff \xc3\xa9");
    line = capture_read();
    json_init(&r, line, strlen(line), 4);
    ck_assert_int_eq(json_next(&r, &t), 0);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(json_next(&r, &t), 0);
        ck_assert(slice_is(t.raw, keys[i]));
        ck_assert_int_eq(json_next(&r, &t), 0);
        ck_assert_int_eq(t.type, JSON_STRING);
        ck_assert_msg(values[i] == NULL || slice_is(t.raw, values[i]), "%.*s", SLICE_ARG(t.raw));
    }
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(t.type, JSON_OBJECT_END);
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(t.type, JSON_END);
    ck_assert_int_eq(line[strlen(line) - 1], '\n');
    capture_stop();
}
END_TEST

static unsigned
count_lines(const char *text)
{
    unsigned n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

START_TEST(test_a_place_is_limited)
{
    static const char file[] = "x/y.c";

    capture_start();
    log_set_level(LOG_LEVEL_DEBUG);
    for (int i = 0; i < 50; i++)
        log_write(LOG_LEVEL_WARN, file, 7, "line %d", i);
    ck_assert_uint_eq(count_lines(capture_read()), 20);
    log_write(LOG_LEVEL_WARN, file, 8, "another place");
    ck_assert_uint_eq(count_lines(capture_read()), 1);
    for (int i = 0; i < 50; i++)
        log_debug("debug is not limited");
    ck_assert_uint_eq(count_lines(capture_read()), 50);
    capture_stop();
}
END_TEST

/* A place whose slot another one takes says at once what it held back. 256 further places take all slots. */
START_TEST(test_suppressed_lines_are_told)
{
    static const char file[] = "x/y.c";
    const char *text;

    capture_start();
    for (int i = 0; i < 50; i++)
        log_write(LOG_LEVEL_WARN, file, 7, "line %d", i);
    (void)capture_read();
    for (int line = 100; line < 2000; line++) {
        log_write(LOG_LEVEL_NOTICE, file, line, "-");
        text = capture_read();
        if (strstr(text, "suppressed") != NULL)
            break;
    }
    ck_assert_ptr_nonnull(
        strstr(capture.text, "WARN ws.1: 30 more lines like this were suppressed (y.c:7)\n"));
    capture_stop();
}
END_TEST

START_TEST(test_long_messages_are_cut)
{
    char big[20000];
    size_t n;

    capture_start();
    memset(big, '\x01', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_set_format(LOG_FORMAT_JSON);
    log_warn("%s", big);
    n = strlen(capture_read());
    ck_assert_uint_gt(n, 1000);
    ck_assert_uint_lt(n, 8000);
    ck_assert_int_eq(json_check(capture.text, n, 4, NULL), 0);
    log_set_format(LOG_FORMAT_TEXT);
    log_warn("%s", big);
    n = strlen(capture_read());
    ck_assert_str_eq(capture.text + n - 4, "...\n");
    capture_stop();
}
END_TEST

START_TEST(test_a_full_pipe_drops_and_counts)
{
    capture_start();
    log_set_level(LOG_LEVEL_DEBUG);
    for (unsigned i = 0; i < 100000 && log_dropped() == 0; i++)
        log_debug("filling the pipe that nobody reads");
    ck_assert_uint_eq(log_dropped(), 1);
    log_debug("one more");
    ck_assert_uint_eq(log_dropped(), 2);
    (void)capture_read();
    log_debug("there is room again");
    ck_assert_uint_eq(log_dropped(), 2);
    (void)close(STDERR_FILENO);
    log_error("nobody hears this");
    ck_assert_uint_eq(log_dropped(), 3);
    capture_stop();
}
END_TEST

SUITE_MAIN("log", test_text, test_levels, test_nobody_forges_a_line, test_journal, test_json,
    test_a_place_is_limited, test_suppressed_lines_are_told, test_long_messages_are_cut,
    test_a_full_pipe_drops_and_counts)
