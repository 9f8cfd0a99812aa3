/* SPDX-License-Identifier: Apache-2.0 */
/* One handler for each frame that a frontend may send, by its type. The link itself knows ATTACH, GOODBYE and
 * BYE. */
#include "config.h"

#include "broker/router.h"

#include <errno.h>

#include "base/log.h"
#include "broker/asyncrequest.h"
#include "broker/catchup.h"
#include "broker/consumers.h"
#include "broker/links.h"
#include "broker/listing.h"
#include "broker/presence.h"
#include "broker/publish.h"
#include "broker/queue.h"
#include "broker/recovery.h"
#include "broker/request.h"
#include "broker/subscribe.h"
#include "broker/sys.h"
#include "wire/frame.h"

typedef int (*router_handler_fn)(struct peer *peer, const struct frame *f);

static const router_handler_fn handlers[FRAME_N] = {
    [FRAME_NAME] = publish_on_name,
    [FRAME_SUBSCRIBE] = subscribe_on_subscribe,
    [FRAME_UNSUBSCRIBE] = subscribe_on_unsubscribe,
    [FRAME_RESUME] = catchup_on_resume,
    [FRAME_RECOVER] = recovery_on_recover,
    [FRAME_CANCEL] = recovery_on_cancel,
    [FRAME_PUBLISH] = publish_on_publish,
    [FRAME_LIST] = listing_on_list,
    [FRAME_STATS] = sys_on_stats,
    [FRAME_CONSUME] = consumers_on_consume,
    [FRAME_UNCONSUME] = consumers_on_unconsume,
    [FRAME_CREDIT] = consumers_on_credit,
    [FRAME_HOLD] = consumers_on_hold,
    [FRAME_SETTLE] = queue_on_settle,
    [FRAME_QUEUES] = queue_on_queues,
    [FRAME_PEEK] = queue_on_peek,
    [FRAME_PURGE] = queue_on_purge,
    [FRAME_REDRIVE] = queue_on_redrive,
    [FRAME_REQUEST] = request_on_request,
    [FRAME_ABANDON] = request_on_abandon,
    [FRAME_RESULT] = asyncrequest_on_result,
    [FRAME_WITHDRAW] = asyncrequest_on_withdraw,
    [FRAME_REPLY] = request_on_reply,
    [FRAME_JOIN] = presence_on_join,
    [FRAME_LEAVE] = presence_on_leave,
    [FRAME_WHO] = presence_on_who,
};

int
router_dispatch(struct peer *peer, const struct frame *f)
{
    int r;

    if (handlers[f->type] == NULL)
        return peer_complain(peer, f, "a frontend does not send it");
    r = handlers[f->type](peer, f);
    if (r < 0 && r != -EPROTO)
        log_error("%s: a %s frame could not be handled: %s; its link is dropped", peer->name,
            frame_name(f->type), strerror(-r));
    return r;
}
