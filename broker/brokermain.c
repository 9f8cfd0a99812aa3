/* SPDX-License-Identifier: Apache-2.0 */
/* busbar-broker: reads its arguments and its config, runs the broker. */
#include "config.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/fdlimit.h"
#include "base/log.h"
#include "base/proc.h"
#include "broker/broker.h"

/* --check is this program's own: taken out before the arguments that all programs have are read. */
static bool
take_check(int *argc, char **argv)
{
    bool is_there = false;
    int n = 1;

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--check") == 0)
            is_there = true;
        else
            argv[n++] = argv[i];
    }
    argv[n] = NULL;
    *argc = n;
    return is_there;
}

int
main(int argc, char **argv)
{
    bool is_check = take_check(&argc, argv);
    struct broker_config config = {0};
    struct broker *broker;
    struct proc_args args;
    int code;

    if (proc_args_parse(&args, argc, argv, "broker",
            "The broker of a message bus: topics, history, and who wants what. --check only reads the "
            "config.",
            &code) != 0)
        return code;
    if (broker_config_load(&config, args.config, args.set, args.n_set) < 0)
        return PROC_EXIT_CONFIG;
    if (is_check) {
        broker_config_free(&config);
        return PROC_EXIT_OK;
    }
    log_open(args.instance);
    log_options_apply(&config.log);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)fdlimit_raise(NULL); /* the links need few; what there is will do */
    code = broker_new(&config, args.config, args.set, args.n_set, &broker);
    if (code != 0)
        return code;
    code = broker_run(broker);
    broker_free(broker);
    return code;
}
