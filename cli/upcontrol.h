/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person may tell a running `busbar up`: a socket in the runtime directory that only its own user (and
 * root) can open. One request is one line, the answer is lines until the connection ends:
 *
 *     > restart ws
 *     < . ws.1-2 starts beside ws.1
 *     < . ws.1-2 is ready; ws.1 lets its clients go
 *     < = 0 ws.1 ended with exit code 0: done
 *
 * "=" is the last line, with an exit code (base/proc.h). Processes are restarted one after another; what was
 * begun goes on when the asker leaves.
 */
#ifndef CLI_UPCONTROL_H
#define CLI_UPCONTROL_H

#include <stdbool.h>

struct control;
struct loop;
struct supervise;

/* Behind the runtime directory. */
#define CONTROL_NAME "up.sock"

/* Only when no other bus can be there: what is left at the path is removed. */
int control_open(struct loop *loop, struct supervise *supervise, const char *path, struct control **ret);
struct control *control_close(struct control *control); /* NULL is fine */

/* supervise_ops.on_restart; NULL is fine. */
void control_on_restart(struct control *control, const char *text, bool is_over, bool is_done);

#endif
