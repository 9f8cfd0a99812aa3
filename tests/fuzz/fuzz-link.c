/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of a link against a peer that sends anything. The transport is a fake one: messages come from the
 * input, and what the link sends is checked as a peer would check it. The input is steps: a byte that says
 * what to do, one for the length, and the bytes of a message.
 *
 *     bit 0   the link is given a right header before the bytes (else they are the whole message)
 *     bit 1   the transport pushes back in this step
 *     bit 2   the owner pauses, or goes on
 *     bit 3   the owner puts a message of its own
 *     bit 4   the owner says goodbye
 *     bit 5   the header acknowledges all that was sent
 *
 * The first byte's lowest bit chooses the end: broker or frontend.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/loop.h"
#include "wire/link.h"
#include "wire/transport.h"

#undef NDEBUG
#include <assert.h>

#define SESSION 9
#define CREDIT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* There is one link at a time, and the transport's ops carry no argument of ours. */
static struct {
    struct link *link;
    struct loop *loop;
    int recv_fd, send_fd;
    bool is_pushing_back;
    struct buf message; /* the next one to be received, if any */
    bool has_message;
    uint64_t to_link;   /* number of the last batch that was given to it with a right header */
    uint64_t from_link; /* and of the last that it sent */
    uint64_t acked;     /* the last ack that it sent */
    size_t n_held;      /* messages that it holds */
    bool is_paused, is_down, is_up;
} peer;

static const uint8_t token[16] = "sixteen bytes...";

static int
fake_open(const char *path, struct channel **ret)
{
    *ret = (struct channel *)&peer;
    return 0;
}

static int
fake_send(struct channel *c, struct slice message)
{
    struct mp cursor = mp_of(message);
    struct frame f;

    if (peer.is_pushing_back)
        return -EAGAIN;
    assert(message.n <= LINK_BATCH_MAX);
    assert(frame_next(&cursor, &f, NULL) == FRAME_OK && f.type == FRAME_BATCH);
    assert(f.batch.session == SESSION && f.batch.number == ++peer.from_link);
    assert(f.batch.ack >= peer.acked && f.batch.ack <= peer.to_link);
    peer.acked = f.batch.ack;
    while (cursor.p != cursor.end)
        assert(frame_next(&cursor, &f, NULL) == FRAME_OK);
    return 0;
}

static int
fake_recv(struct channel *c, struct slice *ret)
{
    uint64_t n;

    if (!peer.has_message)
        return -EAGAIN;
    assert(read(peer.recv_fd, &n, sizeof n) == sizeof n);
    peer.has_message = false;
    uint8_t *copy = malloc(peer.message.n > 0 ? peer.message.n : 1);
    assert(copy != NULL);
    if (peer.message.n > 0)
        memcpy(copy, peer.message.p, peer.message.n);
    *ret = slice_of(copy, peer.message.n);
    peer.n_held++;
    return 0;
}

static void
fake_release(struct channel *c, struct slice message)
{
    peer.n_held--;
    free((void *)(uintptr_t)message.p);
}

static int
fake_recv_fd(struct channel *c)
{
    return peer.recv_fd;
}

static int
fake_send_fd(struct channel *c)
{
    return peer.send_fd;
}

static bool
fake_has_peer(struct channel *c)
{
    return true;
}

static void
fake_close(struct channel *c)
{
    assert(peer.n_held == 0);
}

static const struct transport_ops fake = {
    .name = "fake",
    .path_max = 100,
    .bind = fake_open,
    .connect = fake_open,
    .send = fake_send,
    .recv = fake_recv,
    .release = fake_release,
    .recv_fd = fake_recv_fd,
    .send_fd = fake_send_fd,
    .has_peer = fake_has_peer,
    .close = fake_close,
};

static void
on_up(struct link *link, const struct frame *f, void *arg)
{
    assert(!peer.is_up && !peer.is_down);
    peer.is_up = true;
    if (f->type == FRAME_ATTACH) {
        frame_put_attached(link_buf(link), &(struct frame_attached){.epoch = 1});
        assert(link_commit(link) == 0);
    }
}

static int
on_frame(struct link *link, const struct frame *f, void *arg)
{
    assert(peer.is_up && !peer.is_down && !peer.is_paused);
    assert((frame_direction(f->type) & (arg != NULL ? TO_BROKER : TO_FRONTEND)) != 0);
    if (f->type == FRAME_CANCEL && f->cancel.req == 1) { /* a frame that makes its owner pause */
        peer.is_paused = true;
        link_pause(link, true);
    }
    return f->type == FRAME_CANCEL && f->cancel.req == 2 ? -EINVAL : 0;
}

static void
on_down(struct link *link, const char *reason, bool is_clean, void *arg)
{
    assert(!peer.is_down && *reason != '\0');
    peer.is_down = true;
}

static const struct link_ops ops = {.on_up = on_up, .on_frame = on_frame, .on_down = on_down};

static void
on_turn_end(void *arg)
{
    loop_stop(peer.loop);
}

static void
turns(int n)
{
    struct loop_hook hook = {.fn = on_turn_end};

    for (int i = 0; i < n; i++) {
        loop_defer(peer.loop, &hook);
        assert(loop_run(peer.loop) == 0);
    }
}

/* The fuzzer found out how to write a header itself. */
static bool
is_next_batch(struct slice bytes)
{
    struct mp cursor = mp_of(bytes);
    struct frame f;

    return frame_next(&cursor, &f, NULL) == FRAME_OK && f.type == FRAME_BATCH && f.batch.session == SESSION &&
           f.batch.number == peer.to_link + 1;
}

static void
step(uint8_t what, struct slice bytes)
{
    uint64_t one = 1;

    peer.is_pushing_back = (what & 2) != 0;
    if ((what & 4) != 0) {
        peer.is_paused = !peer.is_paused;
        link_pause(peer.link, peer.is_paused);
    }
    if ((what & 8) != 0) {
        frame_put_gap(
            link_buf(peer.link), &(struct frame_gap){.topic = slice_of("0123456789", 10), .seq = what});
        assert(link_commit(peer.link) == 0);
    }
    if ((what & 16) != 0)
        link_part(peer.link, "enough");
    buf_reset(&peer.message);
    if ((what & 1) != 0)
        frame_put_batch(&peer.message, &(struct frame_batch){.session = SESSION,
                                           .number = ++peer.to_link,
                                           .ack = (what & 32) != 0 ? peer.from_link : 0,
                                           .credit = CREDIT});
    else if (is_next_batch(bytes))
        peer.to_link++;
    buf_put_slice(&peer.message, bytes);
    assert(!buf_failed(&peer.message));
    peer.has_message = true;
    assert(write(peer.recv_fd, &one, sizeof one) == sizeof one);
    turns(2);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t one = 1;

    if (size == 0)
        return 0;
    bool is_broker = (data[0] & 1) != 0;
    memset(&peer, 0, sizeof peer);
    buf_init(&peer.message, 0);
    peer.recv_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    peer.send_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(peer.recv_fd >= 0 && peer.send_fd >= 0);
    assert(write(peer.send_fd, &one, sizeof one) == sizeof one); /* always claims that sending would work */
    assert(loop_new(&peer.loop) == 0);
    struct link_config config = {.loop = peer.loop,
        .transport = &fake,
        .path = "x",
        .peer = "x",
        .is_broker = is_broker,
        .session = SESSION,
        .peer_credit = CREDIT,
        .own_credit = CREDIT,
        .heartbeat_ms = 10000,
        .attach_timeout_ms = 10000};
    memcpy(config.token, token, sizeof token);
    assert(link_open(&config, &ops, is_broker ? &peer : NULL, &peer.link) == 0);
    for (size_t at = 1, n_steps = 0; at + 2 <= size && !peer.is_down && n_steps < 64; n_steps++) {
        size_t n = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        step(data[at], slice_of(data + at + 2, n));
        at += 2 + n;
    }
    peer.link = link_close(peer.link);
    peer.loop = loop_free(peer.loop);
    buf_fini(&peer.message);
    (void)close(peer.recv_fd);
    (void)close(peer.send_fd);
    return 0;
}
