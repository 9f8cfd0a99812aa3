/* SPDX-License-Identifier: Apache-2.0 */
/* HELLO: a frontend asks for a link and gets a fresh one, or the reason why not. */
#ifndef BROKER_HELLO_H
#define BROKER_HELLO_H

struct broker;

/* Serves the control socket in the runtime directory. */
int hello_serve(struct broker *broker);
void hello_stop(struct broker *broker);

#endif
