/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an address can be listened on, before anything is started. */
#ifndef CLI_PORTS_H
#define CLI_PORTS_H

#include <stddef.h>

struct conf_address;

/* 0, or negative errno with a sentence that names option ("ws.listen") and says what to change. */
int ports_check(const struct conf_address *address, const char *option, char *ret_what, size_t what_size);

#endif
