/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP frontend: the native protocol on a plain byte stream, as lines of JSON or as MessagePack; a
 * connection's first byte says which. One connection is one session.
 */
#ifndef TCP_TCP_H
#define TCP_TCP_H

#include "frontends/sdk/frontend.h"

extern const struct frontend_kind tcp_kind;

#endif
