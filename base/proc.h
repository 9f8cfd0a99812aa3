/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every program of the bus has in common on its command line: how it ends, and
 * `--config FILE --set section.option=value ... --instance NAME`.
 */
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include <stddef.h>

#include "base/conf.h"

/* Exit codes. `busbar up` acts on them, and docs/man/busbar.1 lists them: change all three together. */
enum proc_exit {
    PROC_EXIT_OK = 0,
    PROC_EXIT_FAILURE = 1,
    PROC_EXIT_USAGE = 2,   /* the command line */
    PROC_EXIT_CONFIG = 3,  /* the config file: errors were printed; a restart would not help */
    PROC_EXIT_CONNECT = 4, /* no bus there, or it did not answer */
    PROC_EXIT_LISTEN = 5,  /* an address cannot be listened on: taken, or not ours */
    PROC_EXIT_IN_USE = 6,  /* another bus runs in this runtime_dir */
};

#define PROC_MAX_SET 64

struct proc_args {
    const char *config;            /* NULL: no --config and no file at the default place */
    const char *instance;          /* "ws.2"; the default that was passed in if not given */
    const char *set[PROC_MAX_SET]; /* for conf_request.set */
    size_t n_set;
};

/* Reads argv; prints --help and --version (then *ret_exit is 0) and complaints (PROC_EXIT_USAGE). about is
 * one sentence for --help. 0: go on; 1: end with *ret_exit. Everything points into argv. */
int proc_args_parse(
    struct proc_args *ret, int argc, char **argv, const char *instance, const char *about, int *ret_exit);

/* The default place of the config file, SYSCONFDIR/busbar/busbar.yaml, if it is there; else NULL. */
const char *proc_default_config(void);

#endif
