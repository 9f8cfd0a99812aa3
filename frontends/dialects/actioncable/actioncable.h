/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Action Cable, and AnyCable's extension of it: pure codecs.
 *
 *     actioncable-v1-json        what Rails' own client speaks
 *     actioncable-v1-ext-json    the same with positions, history, whispers and presence
 *
 *     accommand    a client's message → struct accommand
 *     acaction     what a `message` command carries: the action's name, and the payload without it
 *     acframe      everything that a server says
 *
 * One command is not one request of the session: which subscriptions there are, what they may and when they
 * were confirmed is known to the transport's connection alone. So the dialects below decode nothing; they are
 * the writing half, for an encoder. A subscription's id is the identifier as a JSON string, quotes and all,
 * in the one form that accommand_decode() gives it, and with "\0" and a number behind it if one identifier
 * stands for several streams.
 */
#ifndef DIALECTS_ACTIONCABLE_H
#define DIALECTS_ACTIONCABLE_H

#include "frontends/dialects/dialect.h"

extern const struct dialect dialect_actioncable;
extern const struct dialect dialect_actioncable_ext;

#endif
