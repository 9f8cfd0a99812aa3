/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the address of an upgrade request asks for. Pure.
 *
 *     /ws                       the bus's own protocol
 *     /cable                    Action Cable
 *     /raw/chat%2Froom/1        the topic chat/room/1, bare: only messages from now on
 *     /raw/chat?since=CURSOR    first what came after the cursor
 *     /raw/chat?last=10         first the last ten
 *
 * Other parameters are passed over.
 */
#ifndef FRONTENDS_WS_WSTARGET_H
#define FRONTENDS_WS_WSTARGET_H

#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "frontends/sdk/request.h"

struct cable_options;
struct ws_options;

enum wstarget_kind { WSTARGET_NATIVE, WSTARGET_RAW, WSTARGET_CABLE };

struct wstarget {
    enum wstarget_kind kind;
    enum request_from from;
    uint64_t last;
    struct buf topic; /* of WSTARGET_RAW: decoded, a valid topic */
    struct buf since; /* of FROM_SINCE: a cursor that was parsed */
    unsigned status;  /* to refuse with, or 0 */
    char reason[256]; /* of a refusal: what was wrong and what to do */
};

/* path and query as they stand in the request. Follow with wstarget_fini(), refused or not. */
void wstarget_parse(struct slice path, struct slice query, const struct ws_options *options,
    const struct cable_options *cable, struct wstarget *ret);
void wstarget_fini(struct wstarget *target);

#endif
