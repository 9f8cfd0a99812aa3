/* SPDX-License-Identifier: Apache-2.0 */
/* What uplink.c (the link's life) and uplinkpub.c (publishing on it) share. */
#ifndef SDK_UPLINKPRIV_H
#define SDK_UPLINKPRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "frontends/sdk/namecache.h"
#include "frontends/sdk/publishes.h"
#include "frontends/sdk/uplink.h"
#include "wire/link.h"

/* More than this waiting for the transport: publishers wait too. */
#define UPLINK_BACKLOG_MARK (1024u * 1024)

enum uplink_phase {
    UPLINK_AWAY,
    UPLINK_CALLING,
    UPLINK_ATTACHING,
    UPLINK_RESUMING,
    UPLINK_LIVE,
    UPLINK_PARTING,
    UPLINK_STOPPED,
};

/* The broker takes no longer one. */
#define UPLINK_NAME_MAX 64u

struct uplink {
    struct frontend *fe;
    struct hub *hub;
    const struct link_options *options;
    const struct transport_ops *transport; /* what the options said at the start */
    bool is_mismatch_told;                 /* the broker's is another: logged since the last WELCOME */
    char *control_path, *kind;
    char name[UPLINK_NAME_MAX + 1]; /* the instance, unless somebody else took that while we leave */
    uint64_t boot;                  /* random: the origin of this process's publish numbers */
    enum uplink_phase phase;
    struct control *control;
    struct link *link;
    struct loop_timer retry_timer;
    unsigned n_failures;  /* in a row */
    unsigned n_evictions; /* by namesakes, one soon after the other */
    uint64_t live_at_ms;  /* when the link became live last */
    uint64_t epoch;       /* of the link: of the seqs in PUBLISHED */
    uint64_t max_message; /* the broker's, 0 before the first WELCOME */

    struct publishes held;
    uint64_t next_send;     /* publishes below were put on this link */
    struct namecache names; /* of topics that were found good */
    struct buf scratch;     /* a PUBLISH that cannot be sent yet */
    struct list blocked;    /* sessions that were told -EAGAIN */
    struct loop_hook pump_hook;
    struct loop_timer hold_timer;
    bool is_unavailable; /* the broker has been away for longer than publishes are held */

    void (*on_stopped)(void *arg);
    void *stop_arg;
};

/* The link takes frames. */
static inline bool
uplink_is_up(const struct uplink *u)
{
    return u->phase == UPLINK_RESUMING || u->phase == UPLINK_LIVE;
}

void uplink_commit(struct uplink *u);

void uplink_publishing_init(struct uplink *u);
void uplink_publishing_fini(struct uplink *u);
/* On a new link: everything without an answer goes again, in order. */
void uplink_resend(struct uplink *u);
int uplink_on_published(struct uplink *u, const struct frame *f);
int uplink_on_scheduled(struct uplink *u, const struct frame *f);
int uplink_on_rejected(struct uplink *u, const struct frame *f);

#endif
