/* SPDX-License-Identifier: Apache-2.0 */
/* busbar sample-config: every option with its default, as a file to begin with; or as the manual's list. */
#include "config.h"

#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/proc.h"
#include "cli/allconf.h"

int
command_sample_config(int argc, char **argv)
{
    bool is_man = argc == 2 && strcmp(argv[1], "--man") == 0;
    struct buf out;

    if (argc > 1 && !is_man) {
        bool is_help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        (void)fputs("usage: busbar sample-config [--man]\n"
                    "Prints a configuration with every option, its default and what it is for.\n\n"
                    "  --man   the same options as mdoc(7), for busbar.yaml(5)\n",
            is_help ? stdout : stderr);
        return is_help ? PROC_EXIT_OK : PROC_EXIT_USAGE;
    }
    buf_init(&out, 0);
    if (is_man)
        conf_man(&out, allconf_sections, ALLCONF_N_SECTIONS);
    else
        conf_sample(&out, allconf_sections, ALLCONF_N_SECTIONS);
    bool is_written = !buf_failed(&out) && fwrite(out.p, 1, out.n, stdout) == out.n && fflush(stdout) == 0;
    buf_fini(&out);
    if (!is_written) {
        perror("busbar sample-config");
        return PROC_EXIT_FAILURE;
    }
    return PROC_EXIT_OK;
}
