/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime directory: one bus, one directory, one lock. Sockets that a killed broker left there are
 * removed; nothing that is not a socket ever is. */
#ifndef BROKER_RUNTIME_H
#define BROKER_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the directory (0750) and its folder for links, takes the lock: 0 and the lock's descriptor, to be
 * closed when all is over; or a PROC_EXIT_, and why was logged. path_max: of the transport. */
int runtime_open(const char *dir, size_t path_max, int *ret_lock_fd);

/* False if somebody removed or replaced what frontends need to find us: then it is to be opened anew. */
bool runtime_is_there(const char *dir, int lock_fd);

#endif
