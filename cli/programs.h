/* SPDX-License-Identifier: Apache-2.0 */
/* Where the programs of the bus are: beside this one, in $BUSBAR_LIBEXEC, or in a build tree. */
#ifndef CLI_PROGRAMS_H
#define CLI_PROGRAMS_H

#include <stddef.h>

/* name: "broker", "ws", ... for busbar-NAME. 0 with its path; -ENOENT with the places that were looked at. */
int programs_find(const char *name, char *ret, size_t ret_size, char *ret_what, size_t what_size);

#endif
