/* SPDX-License-Identifier: Apache-2.0 */
/* A frontend for tests: see fakefrontend.h. */
#include "config.h"

#include "tests/unit/broker/fakefrontend.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/rand.h"
#include "wire/link.h"
#include "wire/transport.h"

/* ---- What comes. ---- */

static void
add_line(struct fake *f, const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (f->n_lines == f->lines_room) {
        f->lines_room = f->lines_room == 0 ? 64 : f->lines_room * 2;
        f->lines = realloc(f->lines, f->lines_room * sizeof(f->lines[0]));
    }
    f->lines[f->n_lines++] = strdup(line);
}

static const char *
topic_of(struct fake *f, uint64_t handle)
{
    ck_assert_msg(
        handle < FAKE_TOPICS && f->topics[handle] != NULL, "handle %" PRIu64 " was never named", handle);
    return f->topics[handle];
}

/* Long bodies are cut: the beginning tells them apart. */
static int
shown(struct slice body)
{
    return body.n < 100 ? (int)body.n : 100;
}

static void
note_message(struct fake *f, const struct frame_message *m)
{
    const char *topic = topic_of(f, m->handle);

    f->n_messages++;
    ck_assert_msg(
        m->seq > f->last_message_seq, "message %" PRIu64 " after %" PRIu64, m->seq, f->last_message_seq);
    f->last_message_seq = m->seq;
    snprintf(f->last_body, sizeof(f->last_body), "%.*s", SLICE_ARG(m->body));
    if (!f->is_quiet)
        add_line(f, "MESSAGE %s seq=%" PRIu64 " prev=%" PRIu64 "%s%.*s %.*s", topic, m->seq, m->prev,
            m->key.n > 0 ? " key=" : "", SLICE_ARG(m->key), shown(m->body), (const char *)m->body.p);
}

static void
note_replay(struct fake *f, const struct frame_replay *m)
{
    const char *topic = topic_of(f, m->handle);

    if (!f->is_quiet)
        add_line(f, "REPLAY %" PRIu64 " %s seq=%" PRIu64 " prev=%" PRIu64 "%s%.*s %.*s", m->req, topic,
            m->seq, m->prev, m->key.n > 0 ? " key=" : "", SLICE_ARG(m->key), shown(m->body),
            (const char *)m->body.p);
}

static void
note_topic(struct fake *f, const struct frame_topic *t)
{
    ck_assert_uint_lt(t->handle, FAKE_TOPICS);
    ck_assert_msg(f->topics[t->handle] == NULL, "handle %" PRIu64 " is named twice", t->handle);
    f->topics[t->handle] = strndup((const char *)t->topic.p, t->topic.n);
    add_line(f, "TOPIC %" PRIu64 " %.*s policy=%" PRIu64, t->handle, SLICE_ARG(t->topic), t->policy);
}

static void
note_forget(struct fake *f, uint64_t handle)
{
    add_line(f, "FORGET %s", topic_of(f, handle));
    free(f->topics[handle]);
    f->topics[handle] = NULL;
}

/* ---- Frames of queues, requests and presence. ---- */

static void
note_settled(struct fake *f, const struct frame_settled *s)
{
    add_line(f, "SETTLED %" PRIu64 " code=%.*s count=%" PRIu64, s->req, SLICE_ARG(s->code), s->count);
}

static void
note_token(char *to, size_t room, struct slice token)
{
    snprintf(to, room, "%.*s", SLICE_ARG(token));
}

static void
note_dispatch(struct fake *f, const struct frame_dispatch *d)
{
    note_token(f->lease, sizeof(f->lease), d->lease);
    f->leases = realloc(f->leases, (f->n_leases + 1) * sizeof(f->leases[0]));
    f->leases[f->n_leases].seq = d->seq;
    note_token(f->leases[f->n_leases].text, sizeof(f->leases[0].text), d->lease);
    f->n_leases++;
    add_line(f, "DISPATCH %" PRIu64 " %.*s seq=%" PRIu64 " n=%" PRIu64 " %.*s", d->consumer,
        SLICE_ARG(d->topic), d->seq, d->n_deliveries, shown(d->body), (const char *)d->body.p);
}

static void
note_call(struct fake *f, const struct frame_call *c)
{
    note_token(f->call, sizeof(f->call), c->call);
    f->call_timeout_ms = c->timeout_ms;
    add_line(f, "CALL %" PRIu64 " %.*s n=%" PRIu64 " %.*s", c->consumer, SLICE_ARG(c->topic), c->n_deliveries,
        shown(c->body), (const char *)c->body.p);
}

static void
note_replied(struct fake *f, const struct frame_replied *r)
{
    add_line(f, "REPLIED %" PRIu64 " code=%.*s %.*s", r->req, SLICE_ARG(r->code), shown(r->body),
        (const char *)r->body.p);
}

static void
note_queue(struct fake *f, const struct frame_queue *q)
{
    f->oldest_ms = q->oldest_ms;
    add_line(f,
        "QUEUE %" PRIu64 " %.*s %.*s ready=%" PRIu64 " leased=%" PRIu64 " delayed=%" PRIu64 " done=%" PRIu64
        " dead=%" PRIu64 " lost=%" PRIu64 " consumers=%" PRIu64,
        q->req, SLICE_ARG(q->topic), SLICE_ARG(q->group), q->n_ready, q->n_leased, q->n_delayed, q->n_done,
        q->n_dead, q->n_lost, q->n_consumers);
}

static void
note_peeked(struct fake *f, const struct frame_peeked *p)
{
    add_line(f, "PEEKED %" PRIu64 " seq=%" PRIu64 " state=%" PRIu64 " n=%" PRIu64 " %.*s", p->req, p->seq,
        p->state, p->n_deliveries, shown(p->body), (const char *)p->body.p);
}

static void
note_accepted(struct fake *f, const struct frame_accepted *a)
{
    note_token(f->request_id, sizeof(f->request_id), a->id);
    add_line(f, "ACCEPTED %" PRIu64, a->req);
}

static void
note_present(struct fake *f, const struct frame_present *p)
{
    add_line(f, "PRESENT %" PRIu64 " %.*s connections=%" PRIu64 " %.*s", p->req, SLICE_ARG(p->id),
        p->n_connections, shown(p->info), (const char *)p->info.p);
}

/* False: none of these. */
static bool
note_pattern(struct fake *f, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_SCHEDULED:
        add_line(f, "SCHEDULED %" PRIu64, frame->scheduled.pub);
        return true;
    case FRAME_CONSUMING:
        add_line(f, "CONSUMING %" PRIu64, frame->consuming.consumer);
        return true;
    case FRAME_UNCONSUMABLE:
        add_line(f, "UNCONSUMABLE %" PRIu64 " %.*s", frame->unconsumable.consumer,
            SLICE_ARG(frame->unconsumable.code));
        return true;
    case FRAME_DISPATCH:
        note_dispatch(f, &frame->dispatch);
        return true;
    case FRAME_SETTLED:
        note_settled(f, &frame->settled);
        return true;
    case FRAME_QUEUE:
        note_queue(f, &frame->queue);
        return true;
    case FRAME_QUEUES_END:
        add_line(f, "QUEUES_END %" PRIu64 " more=%" PRIu64, frame->queues_end.req, frame->queues_end.more);
        return true;
    case FRAME_PEEKED:
        note_peeked(f, &frame->peeked);
        return true;
    case FRAME_PEEK_END:
        add_line(f, "PEEK_END %" PRIu64 " more=%" PRIu64, frame->peek_end.req, frame->peek_end.more);
        return true;
    case FRAME_ACCEPTED:
        note_accepted(f, &frame->accepted);
        return true;
    case FRAME_REPLIED:
        note_replied(f, &frame->replied);
        return true;
    case FRAME_CALL:
        note_call(f, &frame->call);
        return true;
    case FRAME_PRESENT:
        note_present(f, &frame->present);
        return true;
    case FRAME_WHO_END:
        add_line(f, "WHO_END %" PRIu64 " mode=%" PRIu64 " count=%" PRIu64 " more=%" PRIu64,
            frame->who_end.req, frame->who_end.mode, frame->who_end.count, frame->who_end.more);
        return true;
    default:
        return false;
    }
}

static int
fake_on_frame(struct link *link, const struct frame *frame, void *arg)
{
    struct fake *f = arg;

    switch (frame->type) {
    case FRAME_MESSAGE:
        note_message(f, &frame->message);
        break;
    case FRAME_REPLAY:
        note_replay(f, &frame->replay);
        break;
    case FRAME_TOPIC:
        note_topic(f, &frame->topic);
        break;
    case FRAME_FORGET:
        note_forget(f, frame->forget.handle);
        break;
    case FRAME_SUBSCRIBED:
        add_line(f, "SUBSCRIBED %" PRIu64 " seq=%" PRIu64 " retained=%" PRIu64, frame->subscribed.filter,
            frame->subscribed.seq, frame->subscribed.retained);
        break;
    case FRAME_UNSUBSCRIBABLE:
        add_line(f, "UNSUBSCRIBABLE %" PRIu64 " %.*s", frame->unsubscribable.filter,
            SLICE_ARG(frame->unsubscribable.code));
        break;
    case FRAME_RESUMED:
        add_line(f, "RESUMED state=%" PRIu64 " seq=%" PRIu64, frame->resumed.state, frame->resumed.seq);
        ck_assert_uint_eq(frame->resumed.epoch, f->epoch);
        break;
    case FRAME_GAP:
        add_line(f, "GAP %" PRIu64 " %.*s seq=%" PRIu64, frame->gap.req, SLICE_ARG(frame->gap.topic),
            frame->gap.seq);
        break;
    case FRAME_RECOVERED:
        add_line(f, "RECOVERED %" PRIu64 " state=%" PRIu64 " seq=%" PRIu64 " more=%" PRIu64,
            frame->recovered.req, frame->recovered.state, frame->recovered.seq, frame->recovered.more);
        break;
    case FRAME_PUBLISHED:
        add_line(f, "PUBLISHED %" PRIu64 " seq=%" PRIu64 " count=%" PRIu64, frame->published.pub,
            frame->published.seq, frame->published.count);
        break;
    case FRAME_REJECTED:
        add_line(f, "REJECTED %" PRIu64 " %.*s", frame->rejected.pub, SLICE_ARG(frame->rejected.code));
        break;
    case FRAME_LISTED:
        add_line(f, "LISTED %" PRIu64 " %.*s seq=%" PRIu64 " kept=%" PRIu64 " links=%" PRIu64,
            frame->listed.req, SLICE_ARG(frame->listed.topic), frame->listed.seq, frame->listed.n_kept,
            frame->listed.n_links);
        break;
    case FRAME_LIST_END:
        add_line(f, "LIST_END %" PRIu64 " more=%" PRIu64, frame->list_end.req, frame->list_end.more);
        break;
    default:
        if (!note_pattern(f, frame))
            ck_abort_msg("a %s frame came", frame_name(frame->type));
    }
    return 0;
}

static void
fake_on_up(struct link *link, const struct frame *frame, void *arg)
{
    struct fake *f = arg;

    f->is_up = true;
    loop_stop(f->bus->loop);
    f->epoch = frame->attached.epoch;
    f->seq = frame->attached.seq;
}

static void
fake_on_down(struct link *link, const char *reason, bool is_clean, void *arg)
{
    struct fake *f = arg;

    f->is_down = true;
    loop_stop(f->bus->loop);
    f->is_clean = is_clean;
    snprintf(f->reason, sizeof(f->reason), "%s", reason);
    f->link = link_close(link);
}

static void
fake_on_batch_end(struct link *link, void *arg)
{
    struct fake *f = arg;

    loop_stop(f->bus->loop);
}

static const struct link_ops fake_link_ops = {.on_up = fake_on_up,
    .on_frame = fake_on_frame,
    .on_batch_end = fake_on_batch_end,
    .on_down = fake_on_down};

/* ---- Opening. ---- */

static void
fake_on_answer(const struct frame *answer, int error, void *arg)
{
    struct fake *f = arg;

    f->has_answer = true;
    loop_stop(f->bus->loop);
    f->control_error = error;
    if (answer == NULL)
        return;
    if (answer->type == FRAME_REFUSED) {
        snprintf(f->refusal, sizeof(f->refusal), "%.*s", SLICE_ARG(answer->refused.code));
        return;
    }
    f->welcome = answer->welcome;
    ck_assert_uint_eq(f->welcome.token.n, sizeof(f->token));
    memcpy(f->token, f->welcome.token.p, sizeof(f->token));
    snprintf(f->url, sizeof(f->url), "%.*s", SLICE_ARG(f->welcome.url));
}

void
fake_hello(struct fake *f, struct bus *bus, const char *name, uint64_t boot, uint64_t proto)
{
    uint64_t end = loop_now_ms(bus->loop) + DEADLINE_MS;
    struct frame_hello hello = {.proto = proto,
        .name = slice_str(name),
        .kind = slice_str("fake"),
        .version = slice_str("1"),
        .pid = 1,
        .epoch = bus->hello_epoch};
    char path[128];

    *f = (struct fake){.bus = bus, .boot = boot};
    snprintf(f->name, sizeof(f->name), "%s", name);
    while (f->boot == 0)
        rand_bytes(&f->boot, sizeof(f->boot));
    hello.boot = f->boot;
    snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET_NAME, bus->runtime_dir);
    for (;;) {
        struct control *control;

        f->has_answer = false;
        ck_assert_int_eq(
            control_call(bus->loop, &transport_nanomsg, path, &hello, 300, fake_on_answer, f, &control), 0);
        bus_wait(bus, &f->has_answer, "an answer to HELLO");
        control_close(control);
        if (f->control_error == 0)
            return;
        ck_assert_msg(loop_now_ms(bus->loop) < end, "the broker does not answer HELLO");
    }
}

void
fake_open(struct fake *f, struct bus *bus, const char *name, uint64_t boot)
{
    struct link_config config = {
        .loop = bus->loop, .transport = &transport_nanomsg, .peer = "broker", .own_credit = 1024 * 1024};

    fake_hello(f, bus, name, boot, LINK_PROTO);
    ck_assert_str_eq(f->refusal, "");
    ck_assert(strncmp(f->url, LINK_URL_SCHEME, strlen(LINK_URL_SCHEME)) == 0);
    config.path = f->url + strlen(LINK_URL_SCHEME);
    config.session = f->welcome.session;
    memcpy(config.token, f->token, sizeof(config.token));
    config.peer_credit = f->welcome.credit;
    config.heartbeat_ms = f->welcome.heartbeat_ms;
    config.attach_timeout_ms = DEADLINE_MS;
    ck_assert_int_eq(link_open(&config, &fake_link_ops, f, &f->link), 0);
    bus_wait(bus, &f->is_up, "ATTACHED");
}

void
fake_open_live(struct fake *f, struct bus *bus, const char *name)
{
    fake_open(f, bus, name, 0);
    fake_resume(f, 0, 0);
    fake_expect(f, "RESUMED state=0 seq=%" PRIu64, f->seq);
}

void
fake_close(struct fake *f)
{
    f->link = link_close(f->link);
    for (size_t i = 0; i < FAKE_TOPICS; i++)
        free(f->topics[i]);
    for (size_t i = 0; i < f->n_handles; i++)
        free(f->handles[i]);
    for (size_t i = 0; i < f->n_lines; i++)
        free(f->lines[i]);
    free(f->lines);
    free(f->leases);
    memset(f, 0, sizeof(*f));
}

void
fake_wait_down(struct fake *f)
{
    bus_wait(f->bus, &f->is_down, "the end of the link");
}

/* ---- What it says. ---- */

void
fake_subscribe(struct fake *f, uint64_t number, const char *pattern)
{
    frame_put_subscribe(
        link_buf(f->link), &(struct frame_subscribe){.filter = number, .pattern = slice_str(pattern)});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_resume(struct fake *f, uint64_t epoch, uint64_t seq)
{
    frame_put_resume(link_buf(f->link), &(struct frame_resume){.epoch = epoch, .seq = seq});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_recover(struct fake *f, uint64_t req, const char *filter, uint64_t mode, uint64_t epoch, uint64_t seq,
    uint64_t count)
{
    struct frame_recover recover = {.req = req, .mode = mode, .epoch = epoch, .seq = seq, .count = count};
    struct slice filters[8];
    char copy[256];
    struct buf packed;
    size_t n = 0;

    snprintf(copy, sizeof(copy), "%s", filter);
    for (char *one = strtok(copy, " "); one != NULL; one = strtok(NULL, " "))
        filters[n++] = slice_str(one);
    buf_init(&packed, 0);
    strs_from(&packed, &recover.filters, filters, n);
    frame_put_recover(link_buf(f->link), &recover);
    ck_assert_int_eq(link_commit(f->link), 0);
    buf_fini(&packed);
}

static uint64_t
handle_of(struct fake *f, const char *topic)
{
    for (unsigned i = 0; i < f->n_handles; i++)
        if (strcmp(f->handles[i], topic) == 0)
            return i;
    ck_assert_uint_lt(f->n_handles, FAKE_HANDLES);
    f->handles[f->n_handles] = strdup(topic);
    frame_put_name(
        link_buf(f->link), &(struct frame_name){.handle = f->n_handles, .topic = slice_str(topic)});
    ck_assert_int_eq(link_commit(f->link), 0);
    return f->n_handles++;
}

void
fake_publish_with(struct fake *f, const char *topic, const struct frame_publish *p)
{
    struct frame_publish publish = *p;

    publish.handle = handle_of(f, topic);
    if (publish.pub == 0)
        publish.pub = ++f->pub;
    frame_put_publish(link_buf(f->link), &publish);
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_publish(struct fake *f, const char *topic, const char *body)
{
    fake_publish_with(f, topic, &(struct frame_publish){.kind = MESSAGE_TEXT, .body = slice_str(body)});
}

void
fake_publish_some(struct fake *f, const char *topic, unsigned n)
{
    char body[32];

    for (unsigned i = 0; i < n; i++) {
        snprintf(body, sizeof(body), "%s%u", topic, i + 1);
        fake_publish(f, topic, body);
    }
}

void
fake_list(struct fake *f, uint64_t req, const char *filter, const char *after, uint64_t limit)
{
    frame_put_list(link_buf(f->link),
        &(struct frame_list){
            .req = req, .filter = slice_str(filter), .after = slice_str(after), .limit = limit});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_consume(
    struct fake *f, uint64_t number, uint64_t mode, const char *topic, const char *group, uint64_t credit)
{
    frame_put_consume(link_buf(f->link), &(struct frame_consume){.consumer = number,
                                             .topic = slice_str(topic),
                                             .group = slice_str(group),
                                             .mode = mode,
                                             .credit = credit});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_unconsume(struct fake *f, uint64_t number)
{
    frame_put_unconsume(link_buf(f->link), &(struct frame_unconsume){.consumer = number});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_credit(struct fake *f, uint64_t number, uint64_t more)
{
    frame_put_credit(link_buf(f->link), &(struct frame_credit){.consumer = number, .more = more});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_hold(struct fake *f, uint64_t number, const char *lease)
{
    frame_put_hold(link_buf(f->link), &(struct frame_hold){.consumer = number, .lease = slice_str(lease)});
    ck_assert_int_eq(link_commit(f->link), 0);
}

static void
put_request(
    struct fake *f, uint64_t req, const char *topic, const char *body, uint64_t timeout_ms, uint64_t flags)
{
    frame_put_request(link_buf(f->link), &(struct frame_request){.req = req,
                                             .topic = slice_str(topic),
                                             .flags = flags,
                                             .timeout_ms = timeout_ms,
                                             .kind = MESSAGE_TEXT,
                                             .body = slice_str(body)});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_request(struct fake *f, uint64_t req, const char *topic, const char *body, uint64_t timeout_ms)
{
    put_request(f, req, topic, body, timeout_ms, 0);
}

void
fake_request_kept(struct fake *f, uint64_t req, const char *topic, const char *body, uint64_t timeout_ms)
{
    put_request(f, req, topic, body, timeout_ms, 1);
}

void
fake_result(struct fake *f, uint64_t req, const char *id, uint64_t wait_ms)
{
    frame_put_result(
        link_buf(f->link), &(struct frame_result){.req = req, .id = slice_str(id), .wait_ms = wait_ms});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_withdraw(struct fake *f, uint64_t req, const char *id)
{
    frame_put_withdraw(link_buf(f->link), &(struct frame_withdraw){.req = req, .id = slice_str(id)});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_abandon(struct fake *f, uint64_t req)
{
    frame_put_abandon(link_buf(f->link), &(struct frame_abandon){.req = req});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_reply(
    struct fake *f, uint64_t req, uint64_t consumer, const char *call, const char *code, const char *body)
{
    struct slice text = slice_str(body);

    frame_put_reply(link_buf(f->link), &(struct frame_reply){.req = req,
                                           .consumer = consumer,
                                           .call = slice_str(call),
                                           .code = slice_str(code),
                                           .message = code != NULL ? text : slice_of(NULL, 0),
                                           .kind = MESSAGE_TEXT,
                                           .body = code != NULL ? slice_of(NULL, 0) : text});
    ck_assert_int_eq(link_commit(f->link), 0);
}

const char *
fake_lease(const struct fake *f, uint64_t seq)
{
    for (size_t i = f->n_leases; i > 0; i--)
        if (f->leases[i - 1].seq == seq)
            return f->leases[i - 1].text;
    ck_abort_msg("%s: no lease of %" PRIu64, f->name, seq);
    return NULL;
}

void
fake_settle(
    struct fake *f, uint64_t req, uint64_t consumer, const char *lease, uint64_t outcome, uint64_t delay_ms)
{
    frame_put_settle(link_buf(f->link), &(struct frame_settle){.req = req,
                                            .consumer = consumer,
                                            .lease = slice_str(lease),
                                            .outcome = outcome,
                                            .delay_ms = delay_ms,
                                            .reason = slice_str(outcome == 1 || outcome == 3 ? "why" : "")});
    ck_assert_int_eq(link_commit(f->link), 0);
}

static void
put_join(struct fake *f, uint64_t req, uint64_t member, const char *topic, const char *id, const char *info,
    uint64_t flags)
{
    frame_put_join(link_buf(f->link), &(struct frame_join){.req = req,
                                          .member = member,
                                          .topic = slice_str(topic),
                                          .id = slice_str(id),
                                          .flags = flags,
                                          .info = slice_str(info)});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_join(struct fake *f, uint64_t req, uint64_t member, const char *topic, const char *id, const char *info)
{
    put_join(f, req, member, topic, id, info, 0);
}

void
fake_join_again(struct fake *f, uint64_t member, const char *topic, const char *id, const char *info)
{
    put_join(f, 0, member, topic, id, info, 1);
}

void
fake_leave(struct fake *f, uint64_t member, uint64_t flags)
{
    frame_put_leave(link_buf(f->link), &(struct frame_leave){.member = member, .flags = flags});
    ck_assert_int_eq(link_commit(f->link), 0);
}

void
fake_who(struct fake *f, uint64_t req, const char *topic, const char *after, uint64_t limit)
{
    frame_put_who(link_buf(f->link),
        &(struct frame_who){
            .req = req, .topic = slice_str(topic), .after = slice_str(after), .limit = limit});
    ck_assert_int_eq(link_commit(f->link), 0);
}

/* ---- What must come. ---- */

static bool
is_about_names(const char *line)
{
    return strncmp(line, "TOPIC ", 6) == 0 || strncmp(line, "FORGET ", 7) == 0;
}

static const char *
next_line(struct fake *f, bool wants_names)
{
    uint64_t end = loop_now_ms(f->bus->loop) + DEADLINE_MS;

    for (;;) {
        while (f->at < f->n_lines) {
            const char *line = f->lines[f->at++];

            if (wants_names || !is_about_names(line))
                return line;
        }
        ck_assert_msg(!f->is_down, "%s: the link is down: %s", f->name, f->reason);
        ck_assert_msg(loop_now_ms(f->bus->loop) < end, "%s: nothing came", f->name);
        bus_turn(f->bus);
    }
}

const char *
fake_next(struct fake *f)
{
    return next_line(f, false);
}

void
fake_expect(struct fake *f, const char *fmt, ...)
{
    char expected[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(expected, sizeof(expected), fmt, ap);
    va_end(ap);
    ck_assert_str_eq(next_line(f, is_about_names(expected)), expected);
}

void
fake_expect_nothing(struct fake *f)
{
    frame_put_list(link_buf(f->link), &(struct frame_list){.req = 999, .filter = slice_str("no/such/topic")});
    ck_assert_int_eq(link_commit(f->link), 0);
    fake_expect(f, "LIST_END 999 more=0");
}
