/* SPDX-License-Identifier: Apache-2.0 */
/* busbar restart: asks the `busbar up` of this configuration, and prints what it says (cli/upcontrol.h). */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/proc.h"
#include "cli/allconf.h"
#include "cli/upcontrol.h"
#include "cli/rundir.h"

static const char help[] =
    "usage: busbar restart [OPTIONS] ws|http|tcp|all|broker|INSTANCE\n"
    "Restarts processes of the bus that `busbar up` runs here, without refusing a client. A frontend's\n"
    "successor starts beside it on the same socket; once it serves, the old one tells its clients to "
    "connect\n"
    "again, limits.drain_rate of them a second, and ends. If the new one does not come up, the old one "
    "stays.\n"
    "Several are restarted one after another; all stands for every frontend. The broker is stopped and "
    "started:\n"
    "clients stay connected, and publishes are held until it is back.\n\n"
    "  -c, --config FILE       the configuration of the bus\n"
    "      --set NAME=VALUE    as for `busbar up`\n"
    "      --runtime-dir DIR   where the bus runs, instead of what the configuration says\n"
    "  -h, --help              this text\n"
    "\nExit codes: 0 done, 1 failed (the old one goes on), 2 wrong usage, 3 wrong configuration, 4 no bus "
    "runs here.\n";

struct restart_args {
    struct proc_args proc;
    const char *runtime_dir, *what;
};

enum { OPTION_SET = 256, OPTION_RUNTIME_DIR };

static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, OPTION_SET},
    {"runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR}, {"help", no_argument, NULL, 'h'}, {0}};

/* 0: go on; 1: end with *ret_exit. */
static int
take_option(struct restart_args *args, int c, int *ret_exit)
{
    switch (c) {
    case 'c':
        args->proc.config = optarg;
        return 0;
    case OPTION_SET:
        if (args->proc.n_set < PROC_MAX_SET) {
            args->proc.set[args->proc.n_set++] = optarg;
            return 0;
        }
        (void)fprintf(stderr, "busbar restart: more than %d times --set\n", PROC_MAX_SET);
        break;
    case OPTION_RUNTIME_DIR:
        args->runtime_dir = optarg;
        return 0;
    case 'h':
        (void)fputs(help, stdout);
        *ret_exit = PROC_EXIT_OK;
        return 1;
    default: /* getopt said what is wrong */
        break;
    }
    *ret_exit = PROC_EXIT_USAGE;
    return 1;
}

static int
parse_args(struct restart_args *args, int argc, char **argv, int *ret_exit)
{
    int c;

    while ((c = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1)
        if (take_option(args, c, ret_exit) != 0)
            return 1;
    if (optind + 1 == argc && argv[optind][0] != '\0' && strpbrk(argv[optind], "\n ") == NULL &&
        strlen(argv[optind]) < 100) {
        args->what = argv[optind];
        return 0;
    }
    (void)fputs("usage: busbar restart [OPTIONS] ws|http|tcp|all|broker|INSTANCE\n", stderr);
    *ret_exit = PROC_EXIT_USAGE;
    return 1;
}

/* ---- Where the bus is. ---- */

static int
try_connect(const char *dir)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd, n = snprintf(addr.sun_path, sizeof addr.sun_path, "%s/" CONTROL_NAME, dir);

    if (n < 0 || (size_t)n >= sizeof addr.sun_path)
        return -ENAMETOOLONG;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    int r = -errno;
    (void)close(fd);
    return r;
}

static int
complain(const char *dir, int error)
{
    if (error == -EACCES || error == -EPERM)
        (void)fprintf(stderr,
            "busbar restart: the bus in %s is another user's: only that user and root may restart it\n", dir);
    else
        (void)fprintf(stderr, "busbar restart: no `busbar up` runs in %s: %s\n", dir, strerror(-error));
    return PROC_EXIT_CONNECT;
}

/* A descriptor, or an exit code as a negative number. */
static int
find_bus(struct restart_args *args)
{
    static struct conf_errors errs;
    struct allconf conf = {0};
    char dir[RUNDIR_MAX + 1] = "", what[512];
    bool is_own = false;
    int fd;

    if (args->runtime_dir != NULL) {
        fd = try_connect(args->runtime_dir);
        return fd >= 0 ? fd : -complain(args->runtime_dir, fd);
    }
    if (args->proc.config == NULL)
        args->proc.config = proc_default_config();
    if (allconf_load(&conf, &args->proc, &errs) < 0) {
        conf_errors_print(&errs, stderr);
        return -PROC_EXIT_CONFIG;
    }
    fd = try_connect(conf.bus.runtime_dir);
    if (fd == -ENOENT || fd == -EACCES || fd == -ECONNREFUSED) {
        int first = fd;

        (void)snprintf(dir, sizeof dir, "%s", conf.bus.runtime_dir);
        /* Where an ordinary user's bus runs when the usual place is not theirs. */
        if (rundir_choose(conf.bus.runtime_dir, allconf_has_default_dir(&conf), dir, sizeof dir, &is_own,
                what, sizeof what) == 0 &&
            is_own)
            fd = try_connect(dir);
        if (fd < 0)
            fd = -complain(is_own ? dir : conf.bus.runtime_dir, is_own ? fd : first);
    } else if (fd < 0) {
        fd = -complain(conf.bus.runtime_dir, fd);
    }
    allconf_free(&conf);
    return fd;
}

/* ---- The talk. ---- */

static int
print_answer(FILE *in)
{
    char line[512];

    while (fgets(line, sizeof line, in) != NULL) {
        char *end;

        if (line[0] == '.' && line[1] == ' ') {
            (void)fputs(line + 2, stdout);
            (void)fflush(stdout);
            continue;
        }
        if (line[0] != '=')
            break;
        long code = strtol(line + 1, &end, 10);
        (void)fprintf(
            code == 0 ? stdout : stderr, "%s%s", code == 0 ? "" : "busbar restart: ", end + (*end == ' '));
        return (int)code;
    }
    (void)fputs("busbar restart: `busbar up` ended before it was done\n", stderr);
    return PROC_EXIT_CONNECT;
}

int
command_restart(int argc, char **argv)
{
    struct restart_args args = {0};
    char request[128];
    int exit_code = PROC_EXIT_FAILURE;

    if (parse_args(&args, argc, argv, &exit_code) != 0)
        return exit_code;
    int fd = find_bus(&args);
    if (fd < 0)
        return -fd;
    int n = snprintf(request, sizeof request, "restart %s\n", args.what);
    FILE *in = fdopen(fd, "r");
    if (in == NULL) {
        (void)close(fd);
        return PROC_EXIT_FAILURE;
    }
    if (send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        (void)fprintf(stderr, "busbar restart: %s\n", strerror(errno));
    else
        exit_code = print_answer(in);
    (void)fclose(in);
    return exit_code;
}
