/* SPDX-License-Identifier: Apache-2.0 */
/* Which runtime_dir a bus has when its configuration does not say, and that it is there and ours. */
#ifndef CLI_RUNDIR_H
#define CLI_RUNDIR_H

#include <stdbool.h>
#include <stddef.h>

#define RUNDIR_MAX 80 /* a link's socket must fit behind it: sun_path holds 107 bytes */

/* configured: what the configuration says; is_default: nobody chose it. The default is for the system's bus:
 * who may not write there gets $XDG_RUNTIME_DIR/busbar or /tmp/busbar-UID, and *ret_is_own says so. 0, or
 * negative errno with a sentence in ret_what. */
int rundir_choose(const char *configured, bool is_default, char *ret, size_t ret_size, bool *ret_is_own,
    char *ret_what, size_t what_size);

/* Likewise store.path: who may not write where the default is gets $XDG_STATE_HOME/busbar/busbar.db, or that
 * below
 * ~/.local/state. False: the configured one is good, or there is no other. */
bool rundir_choose_store(const char *configured, bool is_default, char *ret, size_t ret_size);

/* Makes the folder if it is missing (its parent must be there), and checks that it is a folder that we may
 * write to and strangers may not. 0, or negative errno with a sentence. */
int rundir_prepare(const char *path, char *ret_what, size_t what_size);

#endif
