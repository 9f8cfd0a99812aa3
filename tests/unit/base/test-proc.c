/* SPDX-License-Identifier: Apache-2.0 */
/* The common command line, and the notifications to a supervisor. */
#include "config.h"

#include <check.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"
#include "base/proc.h"

static struct proc_args args;

static int
parse(int argc, const char **argv, int *ret_exit)
{
    optind = 0; /* getopt keeps its place between calls */
    opterr = 0;
    return proc_args_parse(&args, argc, (char **)argv, "ws.1", "A test.", ret_exit);
}

START_TEST(test_args)
{
    const char *given[] = {
        "busbar-ws", "--set", "a.b=1", "-c", "x.yaml", "--instance", "ws.2", "--set", "c=2", NULL};
    const char *none[] = {"busbar-ws", NULL};
    int code = -1;

    ck_assert_int_eq(parse(9, given, &code), 0);
    ck_assert_str_eq(args.config, "x.yaml");
    ck_assert_str_eq(args.instance, "ws.2");
    ck_assert_uint_eq(args.n_set, 2);
    ck_assert_str_eq(args.set[1], "c=2");
    ck_assert_int_eq(parse(1, none, &code), 0);
    ck_assert_str_eq(args.instance, "ws.1");
    ck_assert_uint_eq(args.n_set, 0);
}
END_TEST

START_TEST(test_args_refused)
{
    static const char *const wrong[][2] = {{"--nothing", NULL}, {"word", NULL}, {"--set", NULL},
        {"--instance", ""}, {"--instance", "../x"}, {"--instance", "a b"}};
    int code;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *argv[] = {"busbar-ws", wrong[i][0], wrong[i][1], NULL};
        code = -1;
        ck_assert_int_eq(parse(wrong[i][1] != NULL ? 3 : 2, argv, &code), 1);
        ck_assert_int_eq(code, PROC_EXIT_USAGE);
    }
    const char *many[2 + 2 * (PROC_MAX_SET + 1)] = {"busbar-ws"};
    for (int i = 0; i <= PROC_MAX_SET; i++) {
        many[1 + 2 * i] = "--set";
        many[2 + 2 * i] = "a=1";
    }
    ck_assert_int_eq(parse(1 + 2 * (PROC_MAX_SET + 1), many, &code), 1);
    ck_assert_int_eq(code, PROC_EXIT_USAGE);
}
END_TEST

static void
said(int fd, const char *expected)
{
    char text[1024];
    ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);

    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    ck_assert_msg(strncmp(text, expected, strlen(expected)) == 0, "%s, expected %s", text, expected);
}

static void
say_everything(int fd)
{
    notify_listening("127.0.0.1:80");
    notify_status("%d clients\nREADY=1", 5); /* one assignment only, whatever is in it */
    notify_ready();
    notify_reloading();
    notify_stopping();
    said(fd, "X_BUSBAR_LISTEN=127.0.0.1:80");
    said(fd, "STATUS=5 clients READY=1");
    said(fd, "READY=1");
    said(fd, "RELOADING=1\nMONOTONIC_USEC=");
    said(fd, "STOPPING=1");
}

START_TEST(test_notify)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/test-proc.XXXXXX", name[sizeof addr.sun_path];
    socklen_t n = sizeof addr;

    (void)unsetenv("NOTIFY_SOCKET");
    notify_ready(); /* nobody listens: nothing happens */
    (void)setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
    notify_ready();
    (void)setenv("NOTIFY_SOCKET", "relative", 1);
    notify_ready();

    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s/s", dir);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    (void)setenv("NOTIFY_SOCKET", addr.sun_path, 1);
    say_everything(fd);
    (void)close(fd);
    (void)unlink(addr.sun_path);
    (void)rmdir(dir);

    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* an abstract name, which the kernel picks */
    addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &n), 0);
    (void)snprintf(name, sizeof name, "@%.*s", (int)(n - sizeof(sa_family_t) - 1), addr.sun_path + 1);
    (void)setenv("NOTIFY_SOCKET", name, 1);
    say_everything(fd);
    (void)close(fd);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("proc");
    TCase *t = tcase_create("all");

    tcase_add_test(t, test_args);
    tcase_add_test(t, test_args_refused);
    tcase_add_test(t, test_notify);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int n_failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return n_failed == 0 ? 0 : 1;
}
