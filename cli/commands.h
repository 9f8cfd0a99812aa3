/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of the subcommands, one file each. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#define COMMAND(name_, function_, summary_) int function_(int argc, char **argv);
#include "cli/commands.tbl.h"

#endif
