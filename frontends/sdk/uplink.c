/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the link: asking for one, attaching, resuming, and starting over. What is published on it is in
 * uplinkpub.c; what is subscribed and received is the hub's.
 */
#include "config.h"

#include "frontends/sdk/uplinkpriv.h"

#include "base/log.h"
#include "base/rand.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/hub.h"
#include "wire/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* After the name was taken by another frontend: at first, and at most. */
#define NAME_WAIT_MS 200u
#define NAME_WAIT_MAX_MS 5000u

static void uplink_call(struct uplink *u);

static int
uplink_on_frame(struct link *link, const struct frame *f, void *arg)
{
    struct uplink *u = arg;
    int r;

    if (f->type == FRAME_PUBLISHED)
        return uplink_on_published(u, f);
    if (f->type == FRAME_REJECTED)
        return uplink_on_rejected(u, f);
    r = hub_on_frame(u->hub, f);
    if (r == -ENOTSUP && f->type == FRAME_SCHEDULED)
        return uplink_on_scheduled(u, f);
    if (r == -ENOTSUP)
        log_error("the broker sent a %s, which is no frame for a frontend", frame_name(f->type));
    if (r == 0 && f->type == FRAME_RESUMED) {
        if (u->phase == UPLINK_RESUMING) {
            u->phase = UPLINK_LIVE;
            u->n_failures = 0;
            u->live_at_ms = loop_now_ms(u->fe->loop);
            log_info("the link to the broker is live");
        }
        u->epoch = f->resumed.epoch;
    }
    return r;
}

/* ---- The link. ---- */

static void
uplink_on_up(struct link *link, const struct frame *f, void *arg)
{
    struct uplink *u = arg;
    struct position from;

    u->phase = UPLINK_RESUMING;
    u->epoch = f->attached.epoch;
    u->is_unavailable = false;
    loop_timer_stop(u->fe->loop, &u->hold_timer);
    link_set_mark(link, UPLINK_BACKLOG_MARK);
    hub_on_attached(u->hub);
    from = hub_position(u->hub);
    frame_put_resume(link_buf(link), &(struct frame_resume){.epoch = from.epoch, .seq = from.seq});
    uplink_commit(u);
    hub_pump(u->hub);
    uplink_resend(u);
}

static void
uplink_on_batch_end(struct link *link, void *arg)
{
    struct uplink *u = arg;

    if (u->phase == UPLINK_LIVE)
        hub_on_position(u->hub, link_peer_position(link));
}

static void
uplink_on_drained(struct link *link, void *arg)
{
    struct uplink *u = arg;

    loop_defer(u->fe->loop, &u->pump_hook);
}

/* Some milliseconds more for each failure in a row, up to a limit, and a bit of chance, so that the frontends
 * of a bus do not come all at once. */
static uint64_t
uplink_retry_delay(struct uplink *u)
{
    uint64_t delay = u->options->retry_delay_ms;
    uint8_t chance;

    for (unsigned i = 1; i < u->n_failures && delay < u->options->retry_delay_max_ms; i++)
        delay *= 2;
    if (delay > u->options->retry_delay_max_ms)
        delay = u->options->retry_delay_max_ms;
    rand_bytes(&chance, sizeof chance);
    return delay - delay * chance / 1024;
}

/* This attempt came to nothing; the next one follows. */
static void
uplink_retry(struct uplink *u, const char *what, const char *why)
{
    u->control = control_close(u->control);
    u->link = link_close(u->link);
    u->phase = UPLINK_AWAY;
    u->n_failures++;
    if (u->n_failures == 1)
        log_info("%s: %s; trying again until it works", what, why);
    else
        log_debug("%s: %s", what, why);
    loop_timer_start(u->fe->loop, &u->retry_timer, uplink_retry_delay(u));
}

/* Two processes with one name would evict each other for ever, as fast as they can attach: each waits longer
 * from time to time, so that they are only a nuisance, which the log names. */
static void
uplink_wait_for_name(struct uplink *u)
{
    uint64_t delay = NAME_WAIT_MS;

    u->phase = UPLINK_AWAY;
    if (u->fe->is_stopping) { /* the name is its successor's now; those who are still here are served on */
        (void)snprintf(
            u->name, sizeof u->name, "%.*s-%ld", (int)UPLINK_NAME_MAX - 20, u->fe->instance, (long)getpid());
        log_notice("%s has a successor: leaving as %s", u->fe->instance, u->name);
        uplink_call(u);
        return;
    }
    if (loop_now_ms(u->fe->loop) - u->live_at_ms > 2 * NAME_WAIT_MAX_MS)
        u->n_evictions = 0;
    for (unsigned i = 0; i < u->n_evictions && delay < NAME_WAIT_MAX_MS; i++)
        delay *= 2;
    if (delay > NAME_WAIT_MAX_MS)
        delay = NAME_WAIT_MAX_MS;
    u->n_evictions++;
    log_warn("another frontend took the name %s: give each its own (--instance); asking again in %llu ms",
        u->fe->instance, (unsigned long long)delay);
    loop_timer_start(u->fe->loop, &u->retry_timer, delay);
}

static void
uplink_on_down(struct link *link, const char *reason, bool is_clean, void *arg)
{
    struct uplink *u = arg;
    enum uplink_phase was = u->phase;

    u->link = link_close(u->link);
    if (was == UPLINK_PARTING) {
        u->phase = UPLINK_STOPPED;
        hub_on_down(u->hub);
        u->on_stopped(u->stop_arg);
        return;
    }
    if (was == UPLINK_ATTACHING) {
        uplink_retry(u, "attaching to the broker", reason);
        return;
    }
    u->fe->counters.link_losses++;
    log_warn("the link to the broker has ended (%s); clients stay, looking for the broker", reason);
    hub_on_down(u->hub);
    loop_timer_start(u->fe->loop, &u->hold_timer, u->fe->limits->publish_hold_time_ms);
    if (is_clean && strstr(reason, LINK_NAMESAKE) != NULL) {
        uplink_wait_for_name(u);
        return;
    }
    if (was == UPLINK_RESUMING && u->n_failures > 0) {
        /* It broke before it was of any use: not at once again, or a fault that repeats would keep two
         * processes busy. */
        uplink_retry(u, "resuming", reason);
        return;
    }
    u->phase = UPLINK_AWAY;
    u->n_failures = was == UPLINK_RESUMING ? 1 : 0;
    uplink_call(u);
}

static const struct link_ops uplink_link_ops = {
    .on_up = uplink_on_up,
    .on_frame = uplink_on_frame,
    .on_batch_end = uplink_on_batch_end,
    .on_drained = uplink_on_drained,
    .on_down = uplink_on_down,
};

/* ---- Asking for a link. ---- */

static int
uplink_open_link(struct uplink *u, const struct frame_welcome *w)
{
    struct link_config config = {.loop = u->fe->loop,
        .transport = u->transport,
        .peer = "broker",
        .session = w->session,
        .peer_credit = w->credit,
        .own_credit = u->options->credit,
        .heartbeat_ms = w->heartbeat_ms,
        .attach_timeout_ms = u->options->attach_timeout_ms};
    char path[256];
    struct slice url = w->url;
    size_t scheme_n = strlen(LINK_URL_SCHEME);

    if (url.n > scheme_n && memcmp(url.p, LINK_URL_SCHEME, scheme_n) == 0)
        url = slice_of(url.p + scheme_n, url.n - scheme_n);
    if (w->proto != LINK_PROTO || w->token.n != sizeof config.token || w->heartbeat_ms == 0 ||
        url.n >= sizeof path)
        return -EPROTO;
    memcpy(path, url.p, url.n);
    path[url.n] = '\0';
    config.path = path;
    memcpy(config.token, w->token.p, w->token.n);
    return link_open(&config, &uplink_link_ops, u, &u->link);
}

static void
uplink_on_answer(const struct frame *answer, int error, void *arg)
{
    struct uplink *u = arg;
    int r;

    u->control = control_close(u->control);
    if (answer == NULL) {
        if (error == -EPROTONOSUPPORT && !u->is_mismatch_told)
            log_warn("the broker's control socket speaks nanomsg, but here it is link.transport: %s; the "
                     "broker must have "
                     "the same",
                u->transport->name);
        u->is_mismatch_told |= error == -EPROTONOSUPPORT;
        uplink_retry(u, "asking the broker for a link", strerror(-error));
        return;
    }
    if (answer->type == FRAME_REFUSED) {
        log_warn("the broker refuses the link: %.*s", SLICE_ARG(answer->refused.message));
        uplink_retry(u, "asking the broker for a link", "refused");
        return;
    }
    u->is_mismatch_told = false;
    u->max_message = answer->welcome.max_message;
    r = uplink_open_link(u, &answer->welcome);
    if (r < 0)
        uplink_retry(u, "opening the link that the broker gave", strerror(-r));
    else
        u->phase = UPLINK_ATTACHING;
}

static void
uplink_call(struct uplink *u)
{
    struct frame_hello hello = {.proto = LINK_PROTO,
        .name = slice_str(u->name[0] != '\0' ? u->name : u->fe->instance),
        .kind = slice_str(u->kind),
        .version = slice_str(PACKAGE_VERSION),
        .boot = u->boot,
        .pid = (uint64_t)getpid(),
        .epoch = hub_position(u->hub).epoch};
    int r;

    u->phase = UPLINK_CALLING;
    r = control_call(u->fe->loop, u->transport, u->control_path, &hello, u->options->hello_timeout_ms,
        uplink_on_answer, u, &u->control);
    if (r < 0)
        uplink_retry(u, "asking the broker for a link", strerror(-r));
}

static void
uplink_on_retry_timer(void *arg)
{
    uplink_call(arg);
}

/* ---- What the hub sends. ---- */

static struct buf *
uplink_sink_begin(void *arg)
{
    struct uplink *u = arg;

    return link_buf(u->link);
}

static void
uplink_sink_commit(void *arg)
{
    uplink_commit(arg);
}

static bool
uplink_sink_is_full(void *arg)
{
    const struct uplink *u = arg;

    return link_backlog(u->link) > UPLINK_BACKLOG_MARK;
}

void
uplink_commit(struct uplink *u)
{
    if (link_commit(u->link) < 0)
        link_fail(u->link, "a frame could not be sent: it is too large, or memory ran out");
}

/* ---- Life. ---- */

int
uplink_new(struct frontend *fe, const struct link_options *options, const char *control_path,
    const char *kind, struct uplink **ret)
{
    const struct transport_ops *transport;
    struct uplink *u;
    struct hub_sink sink = {
        .begin = uplink_sink_begin, .commit = uplink_sink_commit, .is_full = uplink_sink_is_full};

    transport = transport_find(link_options_transport(options));
    if (strlen(control_path) > transport->path_max)
        return -ENAMETOOLONG;
    u = calloc(1, sizeof *u);
    if (u == NULL)
        return -ENOMEM;
    u->fe = fe;
    u->options = options;
    u->transport = transport; /* a reload may bring other options */
    uplink_publishing_init(u);
    u->retry_timer = (struct loop_timer){.fn = uplink_on_retry_timer, .arg = u};
    u->control_path = strdup(control_path);
    u->kind = strdup(kind);
    sink.arg = u;
    if (u->control_path == NULL || u->kind == NULL || hub_new(fe, &sink, &u->hub) < 0) {
        uplink_free(u);
        return -ENOMEM;
    }
    fe->hub = u->hub;
    rand_bytes(&u->boot, sizeof u->boot);
    *ret = u;
    return 0;
}

struct uplink *
uplink_free(struct uplink *u)
{
    if (u == NULL)
        return NULL;
    loop_timer_stop(u->fe->loop, &u->retry_timer);
    u->control = control_close(u->control);
    u->link = link_close(u->link);
    uplink_publishing_fini(u);
    u->hub = hub_free(u->hub);
    u->fe->hub = NULL;
    free(u->control_path);
    free(u->kind);
    free(u);
    return NULL;
}

void
uplink_start(struct uplink *u)
{
    loop_timer_start(u->fe->loop, &u->hold_timer, u->fe->limits->publish_hold_time_ms);
    uplink_call(u);
}

void
uplink_stop(struct uplink *u, void (*fn)(void *arg), void *arg)
{
    bool was_up = uplink_is_up(u);

    loop_timer_stop(u->fe->loop, &u->retry_timer);
    u->on_stopped = fn;
    u->stop_arg = arg;
    if (was_up) {
        u->phase = UPLINK_PARTING;
        link_part(u->link, "stopping");
        return;
    }
    u->control = control_close(u->control);
    u->link = link_close(u->link);
    u->phase = UPLINK_STOPPED;
    fn(arg);
}

void
uplink_set_options(struct uplink *u, const struct link_options *options)
{
    u->options = options;
}

bool
uplink_is_live(const struct uplink *u)
{
    return u->phase == UPLINK_LIVE;
}

void
uplink_send_stats(struct uplink *u, struct slice json)
{
    if (u->phase != UPLINK_LIVE)
        return;
    frame_put_stats(link_buf(u->link), &(struct frame_stats){.json = json});
    uplink_commit(u);
}
