# SPDX-License-Identifier: Apache-2.0
"""A frontend's end of the link to the broker, for as long as the process lives (docs/link.md).

    link = BusLink(selector, runtime_dir, "line.1", owner)
    link.subscribe("chat/#")
    pub = link.publish("chat/room1", b"hello")
    while True:
        for key, _ in selector.select(link.poll_seconds): key.data()
        link.turn()

The owner has the methods on_message(topic, seq, body), on_published(pub, seq), on_rejected(pub, code, message),
on_subscribed(pattern), on_unsubscribable(pattern, code, message), on_gap(topic) and on_reset(). When the broker goes
away nothing is called: what is published is kept and sent again, filters are subscribed again, and what was missed comes
by on_message().
"""
import collections
import os
import random
import selectors
import sys
import time

import msgpack

import nanomsg

PROTO = 3
BATCH_BYTES = 32 * 1024
BATCH_MAX = 16 * 1024 * 1024 + 64 * 1024
CONTROL_MAX = 64 * 1024
OWN_CREDIT = 8 * 1024 * 1024
HELD_MAX = 10000  # publishes without an answer
HELLO_SECONDS = ATTACH_SECONDS = PART_SECONDS = 1.0
RETRY_SECONDS, RETRY_SECONDS_MAX = 0.05, 1.0
BATCHES_PER_TURN = 64

HELLO, WELCOME, REFUSED, BATCH, ATTACH, ATTACHED, NAME, TOPIC, FORGET = range(1, 10)
SUBSCRIBE, SUBSCRIBED, UNSUBSCRIBABLE, UNSUBSCRIBE, RESUME, RESUMED, GAP = range(10, 17)
PUBLISH, PUBLISHED, REJECTED, MESSAGE = range(30, 34)
GOODBYE, BYE = 70, 71

# What may come to us, with the types of its fields: u64, str, bin.
U, S, B = int, str, bytes
FIELDS = {
    WELCOME: (U, U, B, S, U, U, U, U), REFUSED: (S, S), BATCH: (U, U, U, U, U), ATTACHED: (U, U), TOPIC: (U, S, U),
    FORGET: (U,), SUBSCRIBED: (U, U, U), UNSUBSCRIBABLE: (U, S, S), RESUMED: (U, U, U), GAP: (U, S, U),
    PUBLISHED: (U, U, U), REJECTED: (U, S, S), MESSAGE: (U, U, U, U, U, U, S, B, S, B), GOODBYE: (S,), BYE: (),
}


class Doubt(Exception):
    """Something that the protocol does not allow: the link is given up and made anew."""


def pack(*frame):
    return msgpack.packb(frame, use_bin_type=True)


def unpack(message):
    """The frames of a message, each checked as a whole."""
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=BATCH_MAX)
    try:
        unpacker.feed(message)
        frames = list(unpacker)
        if unpacker.tell() != len(message):
            raise Doubt("a message ends inside a frame")
    except (ValueError, msgpack.UnpackException) as e:
        raise Doubt(f"malformed MessagePack: {e}") from e
    for f in frames:
        if not isinstance(f, list) or not f or type(f[0]) is not int or f[0] not in FIELDS:
            raise Doubt("a frame of an unknown number")
        types = FIELDS[f[0]]
        if len(f) != 1 + len(types) or any(type(v) is not t or (t is int and v < 0) for v, t in zip(f[1:], types)):
            raise Doubt(f"frame {f[0]} has other fields than it should")
    return frames


class BusLink:
    poll_seconds = 0.05

    def __init__(self, selector, runtime_dir, name, owner):
        self.selector, self.runtime_dir, self.name, self.owner = selector, runtime_dir, name, owner
        self.boot = random.SystemRandom().randint(1, 2**63 - 1)
        self.position = None        # (epoch, seq): everything up to it has come
        self.highest = 0            # the highest seq given to the owner in this epoch
        self.filters = {}           # number -> pattern
        self.numbers = {}           # pattern -> number
        self.next_filter = 1
        self.next_pub = 1
        self.unanswered = collections.OrderedDict()  # pub -> (topic, kind, body)
        self.socket = None
        self.is_send_waiting = False
        self.is_stopping = False
        self.retry_seconds = RETRY_SECONDS
        self.state, self.deadline = "away", 0.0

    # ---- What the owner calls. ----

    @property
    def is_live(self):
        return self.state == "live"

    def subscribe(self, pattern):
        """Once for each pattern, however many clients want it."""
        number = self.next_filter
        self.next_filter += 1
        self.filters[number] = pattern
        self.numbers[pattern] = number
        if self.state in ("resuming", "live"):
            self._put(pack(SUBSCRIBE, number, pattern))

    def unsubscribe(self, pattern):
        number = self.numbers.pop(pattern, None)
        if number is None:
            return
        del self.filters[number]
        if self.state in ("resuming", "live"):
            self._put(pack(UNSUBSCRIBE, number))

    def publish(self, topic, body, kind=1):
        """The number under which on_published() or on_rejected() will come; None if no more can be held."""
        if len(self.unanswered) >= HELD_MAX:
            return None
        pub = self.next_pub
        self.next_pub += 1
        self.unanswered[pub] = (topic, kind, body)
        if self.state in ("resuming", "live"):
            self._put_publish(pub)
        return pub

    def stop(self):
        """Parts from the broker; is_stopped becomes true within a second."""
        self.is_stopping = True
        if self.state in ("resuming", "live"):
            self._put(pack(GOODBYE, "the frontend stops"))
            self._enter("parting", PART_SECONDS)
        elif self.state != "parting":
            self._away("stopping")

    @property
    def is_stopped(self):
        return self.is_stopping and self.state == "away"

    def turn(self):
        """At the end of each turn of the event loop: timers, and what was put since is sent."""
        try:
            self._check_clock(time.monotonic())
            if self.state in ("attaching", "resuming", "live", "parting"):
                self._flush()
        except (Doubt, nanomsg.Error) as e:
            self._away(str(e))

    # ---- The states: away, calling, attaching, resuming, live; and parting, left. ----

    def _enter(self, state, seconds=None):
        self.state = state
        self.deadline = None if seconds is None else time.monotonic() + seconds

    def _away(self, reason):
        self._close()
        if self.state != "away" and not self.is_stopping:
            print(f"link: {reason}; again in {self.retry_seconds:.2f} s", file=sys.stderr, flush=True)
        self._enter("away", self.retry_seconds)
        self.retry_seconds = min(2 * self.retry_seconds, RETRY_SECONDS_MAX)

    def _check_clock(self, now):
        is_late = self.deadline is not None and now >= self.deadline
        if self.state == "away":
            if is_late and not self.is_stopping:
                self._call()
            return
        if is_late:
            self._away(f"no answer in time while {self.state}")
            return
        if self.state == "calling":
            return
        if self.state != "attaching" and not self.socket.has_peer():
            self._receive()  # what is there still: perhaps a GOODBYE
            if self.state != "away":
                self._away("the broker is gone")
        elif self.state != "attaching" and now - self.received_at > 3 * self.heartbeat:
            self._receive()
            if self.state != "away" and now - self.received_at > 3 * self.heartbeat:
                self._away("the broker is silent")
        elif self.state in ("resuming", "live") and (self.unacked_in > 0 or now - self.sent_at >= self.heartbeat):
            self.wants_empty = True

    def _watch(self, fd, on_ready):
        self.selector.register(fd, selectors.EVENT_READ, on_ready)

    def _close(self):
        if self.socket is None:
            return
        for fd in (self.socket.recv_fd, self.socket.send_fd):
            try:
                self.selector.unregister(fd)
            except KeyError:
                pass
        self.socket.close()
        self.socket = None

    # ---- HELLO. ----

    def _call(self):
        url = f"ipc://{self.runtime_dir}/control.sock"
        self._enter("calling", HELLO_SECONDS)
        self.socket = nanomsg.Socket(nanomsg.REQ, url, CONTROL_MAX)
        epoch = self.position[0] if self.position else 0
        self.socket.send(pack(HELLO, PROTO, self.name, self.name.split(".")[0], "example", self.boot, os.getpid(), epoch))
        self._watch(self.socket.recv_fd, self._guarded(self._on_answer))

    def _guarded(self, fn):
        def call():
            try:
                fn()
            except (Doubt, nanomsg.Error) as e:
                self._away(str(e))
        return call

    def _on_answer(self):
        message = self.socket.recv()
        if message is None:
            return
        frames = unpack(message)
        if len(frames) != 1 or frames[0][0] not in (WELCOME, REFUSED):
            raise Doubt("the answer to HELLO is no answer")
        if frames[0][0] == REFUSED:
            raise Doubt(f"refused: {frames[0][1]}: {frames[0][2]}")
        _, proto, self.session, token, url, _, self.peer_credit, heartbeat_ms, self.max_message = frames[0]
        if proto != PROTO:
            raise Doubt("the broker speaks another version of the link")
        self._close()
        self._attach(url, token, heartbeat_ms / 1000)

    # ---- The link. ----

    def _attach(self, url, token, heartbeat):
        self.heartbeat = heartbeat
        self.out = collections.deque()  # packed frames that wait
        self.sent = collections.deque() # (number, bytes) without an ack
        self.number = self.received = 0
        self.in_flight = self.unacked_in = 0
        self.wants_empty = self.is_send_waiting = False
        self.handles, self.own_handles = {}, collections.OrderedDict()
        self.sent_at = self.received_at = time.monotonic()
        self._enter("attaching", ATTACH_SECONDS)
        self.socket = nanomsg.Socket(nanomsg.PAIR, url, BATCH_MAX)
        self._watch(self.socket.recv_fd, self._guarded(self._receive))
        self._put(pack(ATTACH, self.session, token))

    def _on_attached(self, epoch, seq):
        if self.state != "attaching":
            raise Doubt("a second ATTACHED")
        for number, pattern in self.filters.items():
            self._put(pack(SUBSCRIBE, number, pattern))
        self._put(pack(RESUME, *(self.position or (0, 0))))
        for pub in self.unanswered:
            self._put_publish(pub)
        self._enter("resuming")

    def _on_resumed(self, state, epoch, seq):
        if self.position is not None and state == 3:
            self.highest = 0
            self.owner.on_reset()
        self.position = (epoch, seq)
        self.retry_seconds = RETRY_SECONDS
        if self.state == "resuming":
            self._enter("live")
            print("link: live", file=sys.stderr, flush=True)

    # ---- Batches out. ----

    def _put(self, frame):
        self.out.append(frame)

    def _put_publish(self, pub):
        topic, kind, body = self.unanswered[pub]
        handle = self.own_handles.get(topic)
        if handle is None:
            handle = len(self.own_handles)
            if handle == 65536:  # all given: the oldest gets another topic
                handle = self.own_handles.popitem(last=False)[1]
            self.own_handles[topic] = handle
            self._put(pack(NAME, handle, topic))
        self._put(pack(PUBLISH, pub, handle, 0, kind, 0, 0, "", b"", "", "", body))

    def _send(self, frames):
        """One batch of these frames: False if it has to wait for the socket, or for credit."""
        head = pack(BATCH, self.session, self.number + 1, self.received, OWN_CREDIT, 0)
        batch = head + b"".join(frames)
        counted = len(batch) if frames else 0
        if counted and self.in_flight and self.in_flight + counted > self.peer_credit:
            return False
        if not self.socket.send(batch):
            if not self.is_send_waiting:
                self._watch(self.socket.send_fd, self._guarded(self._on_can_send))
                self.is_send_waiting = True
            return False
        self.number += 1
        self.in_flight += counted
        self.sent.append((self.number, counted))
        self.unacked_in = 0
        self.wants_empty = False
        self.sent_at = time.monotonic()
        return True

    def _on_can_send(self):
        self.selector.unregister(self.socket.send_fd)
        self.is_send_waiting = False
        self._flush()

    def _flush(self):
        while self.out and not self.is_send_waiting:
            n = size = 0
            while n < len(self.out) and (n == 0 or size + len(self.out[n]) <= BATCH_BYTES):
                size += len(self.out[n])
                n += 1
            if not self._send([self.out[i] for i in range(n)]):
                break
            for _ in range(n):
                self.out.popleft()
        if self.wants_empty and not self.is_send_waiting:
            self._send([])

    # ---- Batches in. ----

    def _receive(self):
        for _ in range(BATCHES_PER_TURN):
            message = self.socket.recv() if self.socket is not None else None
            if message is None:
                return
            self._on_batch(message)

    def _on_batch(self, message):
        frames = unpack(message)
        if not frames or frames[0][0] != BATCH:
            raise Doubt("a batch without its header")
        _, session, number, ack, self.peer_credit, position = frames[0]
        if session != self.session or number != self.received + 1:
            raise Doubt("a batch of another session, or a gap in their numbers")
        acked = self.sent[0][0] - 1 if self.sent else self.number
        if not acked <= ack <= self.number:
            raise Doubt("an ack that cannot be")
        while self.sent and self.sent[0][0] <= ack:
            self.in_flight -= self.sent.popleft()[1]
        self.received_at = time.monotonic()
        for frame in frames[1:]:
            self._on_frame(frame[0], frame[1:])
            if self.state in ("left", "away"):
                return
        self.received = number
        if len(frames) > 1:
            self.unacked_in += len(message)
            self.wants_empty |= self.unacked_in > OWN_CREDIT // 4
        if position and self.position is not None and self.state in ("live", "parting"):
            self.position = (self.position[0], position)

    def _on_frame(self, number, fields):
        if self.state == "attaching" and number != ATTACHED:
            raise Doubt(f"frame {number} before ATTACHED")
        handler = self.HANDLERS.get(number)
        if handler is None:
            raise Doubt(f"frame {number} does not belong on a link")
        handler(self, *fields)

    def _on_topic(self, handle, topic, policy):
        self.handles[handle] = topic

    def _on_forget(self, handle):
        self.handles.pop(handle, None)

    def _on_subscribed(self, number, seq, retained):
        if number in self.filters:
            self.owner.on_subscribed(self.filters[number])

    def _on_unsubscribable(self, number, code, message):
        pattern = self.filters.pop(number, None)
        if pattern is not None:
            del self.numbers[pattern]
            self.owner.on_unsubscribable(pattern, code, message)

    def _on_gap(self, req, topic, seq):
        self.owner.on_gap(topic)

    def _on_message(self, handle, seq, prev, time_ms, flags, kind, content_type, headers, key, body):
        if handle not in self.handles:
            raise Doubt("a message of a topic that was not named")
        if seq > self.highest:  # else it came before the last link was lost
            self.highest = seq
            self.owner.on_message(self.handles[handle], seq, body)

    def _on_published(self, pub, seq, count):
        for i in range(count):
            if self.unanswered.pop(pub + i, None) is not None:
                self.owner.on_published(pub + i, seq + i)

    def _on_rejected(self, pub, code, message):
        if self.unanswered.pop(pub, None) is not None:
            self.owner.on_rejected(pub, code, message)

    def _on_goodbye(self, reason):
        """The broker stops: BYE, and stay until it is gone so that the BYE is not lost."""
        self.out.clear()
        self.socket.send(pack(BATCH, self.session, self.number + 1, self.received, OWN_CREDIT, 0) + pack(BYE))
        self._enter("left", PART_SECONDS)

    def _on_bye(self):
        if self.state != "parting":
            raise Doubt("a BYE without a GOODBYE")
        self._away("parted")

    HANDLERS = {
        ATTACHED: _on_attached, TOPIC: _on_topic, FORGET: _on_forget, SUBSCRIBED: _on_subscribed,
        UNSUBSCRIBABLE: _on_unsubscribable, RESUMED: _on_resumed, GAP: _on_gap, MESSAGE: _on_message,
        PUBLISHED: _on_published, REJECTED: _on_rejected, GOODBYE: _on_goodbye, BYE: _on_bye,
    }
