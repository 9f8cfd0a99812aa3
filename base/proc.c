/* SPDX-License-Identifier: Apache-2.0 */
/* The command line that all processes of the bus have in common. */
#include "config.h"

#include "base/proc.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG SYSCONFDIR "/busbar/busbar.yaml"

enum { OPT_INSTANCE = 256, OPT_SET, OPT_VERSION };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {"instance", required_argument, NULL, OPT_INSTANCE},
    {"set", required_argument, NULL, OPT_SET},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

const char *
proc_default_config(void)
{
    return access(DEFAULT_CONFIG, F_OK) == 0 ? DEFAULT_CONFIG : NULL;
}

static void
print_help(const char *program, const char *instance, const char *about)
{
    (void)printf("usage: %s [-c FILE] [--set SECTION.OPTION=VALUE]... [--instance NAME]\n"
                 "%s\n\n"
                 "  -c, --config FILE   the configuration (default " DEFAULT_CONFIG ", if it is there)\n"
                 "  --set NAME=VALUE    one option, over the file\n"
                 "  --instance NAME     the name of this process in logs and to the broker (default %s)\n"
                 "  --help, --version\n\n"
                 "`busbar up` starts all processes of a bus; `busbar sample-config` shows every option.\n",
        program, about, instance);
}

/* An instance's name stands in logs and file names. */
static bool
instance_is_valid(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);

    return n > 0 && n <= 64 && name[0] != '.' && strspn(name, letters) == n;
}

static int
end_with(int *ret_exit, int code)
{
    *ret_exit = code;
    return 1;
}

int
proc_args_parse(
    struct proc_args *ret, int argc, char **argv, const char *instance, const char *about, int *ret_exit)
{
    struct proc_args args = {.config = proc_default_config(), .instance = instance};
    const char *slash = strrchr(argv[0], '/'), *program = slash != NULL ? slash + 1 : argv[0];
    int c;

    while ((c = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
        switch (c) {
        case 'c':
            args.config = optarg;
            break;
        case OPT_INSTANCE:
            args.instance = optarg;
            break;
        case OPT_SET:
            if (args.n_set == PROC_MAX_SET) {
                (void)fprintf(stderr, "%s: more than %d times --set\n", program, PROC_MAX_SET);
                return end_with(ret_exit, PROC_EXIT_USAGE);
            }
            args.set[args.n_set++] = optarg;
            break;
        case 'h':
            print_help(program, instance, about);
            return end_with(ret_exit, PROC_EXIT_OK);
        case OPT_VERSION:
            (void)printf("%s %s\n", program, PACKAGE_VERSION);
            return end_with(ret_exit, PROC_EXIT_OK);
        default:
            return end_with(ret_exit, PROC_EXIT_USAGE); /* getopt has said what is wrong */
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "%s: %s: it takes options only, see --help\n", program, argv[optind]);
        return end_with(ret_exit, PROC_EXIT_USAGE);
    }
    if (!instance_is_valid(args.instance)) {
        (void)fprintf(stderr, "%s: --instance takes 1 to 64 letters, digits, dots, dashes\n", program);
        return end_with(ret_exit, PROC_EXIT_USAGE);
    }
    *ret = args;
    return 0;
}
