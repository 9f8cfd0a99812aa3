/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who answers requests on which topics: consumers of mode 1 by their filters, taking turns among those that
 * have room. Those who have work for a topic whose responders are all busy leave a demand there and are
 * called when one has room: so nothing is ever searched, whatever the number of topics, responders and
 * demands.
 *
 *     pick(svc/add) ---- filters that match ---- svc/add  ready: 7 3      busy: 5
 *                                           \--- svc/+    ready: (none)   busy: 9, 2    wanted: svc/add
 * svc/sub
 */
#ifndef BROKER_RESPONDERS_H
#define BROKER_RESPONDERS_H

#include <stdbool.h>

#include "base/list.h"
#include "base/slice.h"
#include "broker/consumers.h"

struct broker;
struct responders;
struct wanted;

int responders_new(struct responders **ret);
struct responders *responders_free(struct responders *responders); /* no consumer is left */

/* A consumer becomes one of them: 0 or -ENOMEM. And is none any more: nothing if it was none. */
int responders_add(struct consumer *c);
void responders_remove(struct consumer *c);
/* It has room: it is given what waits for it. */
void responders_on_room(struct consumer *c);

/* The responder of this topic whose turn it is, among those with room; the caller gives it one and calls
 * consumer_note_out(). NULL: none has room; *ret_has_any (may be NULL) says whether there is one at all. */
struct consumer *responders_pick(struct broker *broker, struct slice topic, bool *ret_has_any);

/* Work that waits for responders of one topic; embedded in its user. It is called when it was started. */
struct demand {
    /* This responder of the topic has room. Gives it one piece of work, with consumer_note_out(): true.
     * False: there is nothing for it now, and the demand has stopped itself. */
    bool (*on_room)(struct demand *demand, struct consumer *responder);
    /* The last responder of the topic went away. It may stop itself in here. */
    void (*on_alone)(struct demand *demand);
    struct wanted *wanted; /* the module's; NULL: not started */
    struct list in_wanted; /* the module's */
};

bool responders_has_any(struct broker *broker, struct slice topic);

/* The topic is copied. Starting one that is started does nothing. 0 or -ENOMEM. */
int demand_start(struct broker *broker, struct demand *demand, struct slice topic);
void demand_stop(struct broker *broker, struct demand *demand);

static inline bool
demand_is_started(const struct demand *demand)
{
    return demand->wanted != NULL;
}

#endif
