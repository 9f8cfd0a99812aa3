/* SPDX-License-Identifier: Apache-2.0 */
/* busbar: finds the subcommand and calls it. */
#include "config.h"

#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/proc.h"

struct command {
    const char *name;
    int (*fn)(int argc, char **argv);
    const char *summary;
};

static const struct command commands[] = {
#define COMMAND(name_, function_, summary_) {name_, function_, summary_},
#include "cli/commands.tbl.h"
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void
print_help(FILE *to)
{
    (void)fprintf(to, "usage: busbar COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        (void)fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(to, "\n`busbar COMMAND --help` says more; `busbar --version` says which.\n\n"
                      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 wrong configuration, 4 no bus there,\n"
                      "5 an address cannot be listened on, 6 another bus runs in this runtime_dir.\n");
}

static int
unknown_command(const char *name)
{
    const char *known[N_COMMANDS + 1];

    for (size_t i = 0; i < N_COMMANDS; i++)
        known[i] = commands[i].name;
    known[N_COMMANDS] = NULL;
    const char *nearest = conf_nearest(name, known);
    (void)fprintf(stderr, "busbar: there is no command %s", name);
    if (nearest != NULL)
        (void)fprintf(stderr, "; did you mean %s?\n", nearest);
    else
        (void)fprintf(stderr, "; `busbar --help` lists them\n");
    return PROC_EXIT_USAGE;
}

int
main(int argc, char **argv)
{
    char name[64];

    if (argc < 2) {
        print_help(stderr);
        return PROC_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return PROC_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        (void)printf("busbar %s\n", PACKAGE_VERSION);
        return PROC_EXIT_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        (void)snprintf(name, sizeof name, "busbar %s", commands[i].name);
        argv[1] = name; /* getopt puts it before its complaints */
        return commands[i].fn(argc - 1, argv + 1);
    }
    return unknown_command(argv[1]);
}
