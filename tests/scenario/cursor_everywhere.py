# SPDX-License-Identifier: Apache-2.0
"""One cursor on every transport: clients that change, in the middle of a stream and under load, between WebSocket, long-poll,
event streams, TCP, the JavaScript client and `busbar sub`, see one sequence: all that was published, once, in order.

Each client takes its turns at random: how many messages, what comes next, how the connection is lost. BUSBAR_TEST_SEED repeats a
run's choices (the order in which messages come is the machine's).
"""
import base64
import functools
import json
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
import urllib.parse

from tests.clients.nodes import Node, need_node
from tests.support import clients
from tests.support.bus import DEADLINE, SANITIZED, Bus, main, program
from tests.support.clients import Closed

try:
    import msgpack
except ImportError:
    msgpack = None

TOPICS = [{"match": "#", "history": {"messages": 100000, "bytes": "256MiB"}}]
SEED = int(os.environ.get("BUSBAR_TEST_SEED") or random.randrange(1 << 32))
# The order of the issue, which half of the clients begin with; then whatever comes.
IN_ORDER = ["ws", "poll", "sse", "tcp", "tcp_msgpack", "js", "cli", "ws_msgpack"]
N_TURNS = 12 if SANITIZED else 30
LAST = "the last"  # published to a topic that everybody follows, when all the others are done
LOAD_SECONDS = 10  # at most
PUBLISHED_TOPICS = ["at/a", "at/b", *(f"at/w/{i}" for i in range(6)), "at/w/deep/er", "elsewhere/a"]
FILTERS = [
    (["at/a", "at/b", "at/w/#"], lambda t: t.startswith("at/")),
    (["at/a", "at/w/+"], lambda t: t == "at/a" or (t.startswith("at/w/") and t != "at/w/deep/er")),
    (["at/b", "at/w/#", "at/w/3"], lambda t: t == "at/b" or t.startswith("at/w/")),  # one that two filters match comes once
]


def seq_of(cursor):
    return int(cursor.split("-")[1])


def reset_at_close(sock):
    """What was not read, or not sent, is lost: as if the cable was pulled."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Cutter(threading.Thread):
    """Stands before a port and cuts connections after a random number of bytes, wherever in a message that is."""

    def __init__(self, port, rng):
        super().__init__(daemon=True)
        self.target, self.rng, self.n_cuts = port, rng, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.pump, args=(near, self.rng.randint(3000, 30000)), daemon=True).start()

    def pump(self, near, left):
        try:
            with near, socket.create_connection(("127.0.0.1", self.target)) as far:
                while True:
                    for s in select.select([near, far], [], [])[0]:
                        data = s.recv(min(left, 4096) if s is far else 4096)
                        if not data:
                            return
                        (near if s is far else far).sendall(data)
                        left -= len(data) if s is far else 0
                        if left == 0:
                            self.n_cuts += 1
                            reset_at_close(near)
                            return
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


# ---- Publishers. ----

class Publisher(threading.Thread):
    """Publishes until it is told to stop, to random topics; `acked` has what was acknowledged: seq -> (topic, data)."""

    def __init__(self, bus, number, is_over):
        super().__init__(daemon=True)
        self.bus, self.number, self.is_over = bus, number, is_over
        self.rng = random.Random(f"{SEED} publisher {number}")
        self.acked, self.n, self.error = {}, 0, None

    def run(self):
        try:
            self.publish_all()
        except Exception as e:
            self.error = e

    def next_message(self):
        topic, self.n = self.rng.choice(PUBLISHED_TOPICS), self.n + 1
        kind = self.n % 3
        data = [self.number, self.n] if kind == 0 else f"{self.number} {self.n} é" if kind == 1 else b"\0\xff%d %d" % (self.number, self.n)
        return topic, data

    def take_ack(self, cursor, message):
        assert seq_of(cursor) not in self.acked, f"two publishes got {cursor}"
        self.acked[seq_of(cursor)] = message


class NativePublisher(Publisher):
    def connect(self):
        return self.bus.tcp()

    def publish_all(self):
        """Bursts, with as many answers to come."""
        c = self.connect()
        while not self.is_over():
            waiting = {}
            for _ in range(self.rng.randint(1, 24)):
                topic, data = self.next_message()
                waiting[self.n] = topic, data
                extra = {}
                if isinstance(data, bytes):
                    extra, data = {"encoding": "base64"}, base64.b64encode(data).decode()
                c.send(op="pub", id=self.n, topic=topic, data=data, **extra)
            while waiting:
                m = c.recv()
                assert m["op"] == "published", m
                self.take_ack(m["cursor"], waiting.pop(m["id"]))
            time.sleep(self.rng.uniform(0, 0.02))  # so that the clients see quiet moments too


class WsPublisher(NativePublisher):
    def connect(self):
        return self.bus.ws()


class HttpPublisher(Publisher):
    def publish_all(self):
        while not self.is_over():
            topic, data = self.next_message()
            body, kind = (data, "application/octet-stream") if isinstance(data, bytes) else \
                (data, "text/plain; charset=utf-8") if isinstance(data, str) else (json.dumps(data), "application/json")
            answer = self.bus.http("POST", "/topics/" + topic, body, {"Content-Type": kind})
            assert answer.status == 200, answer
            self.take_ack(answer.json()["cursor"], (topic, data))
            time.sleep(self.rng.uniform(0, 0.01))


# ---- Clients, each of which is one stream over many connections. ----

class Client(threading.Thread):
    def __init__(self, bus, number, turns):
        super().__init__(daemon=True)
        self.bus, self.number, self.turns = bus, number, turns
        self.rng = random.Random(f"{SEED} client {number}")
        self.filters, self.wants = FILTERS[number % len(FILTERS)]
        self.cursor = None   # the newest that any answer, message or event gave
        self.started_at = 0  # seq of the first cursor
        self.seen = []       # (seq, topic, data)
        self.history = []    # (turn, where it began, how many messages): for a failure's text
        self.node, self.node_read, self.n_js = None, 0, 0
        self.error = None
        self.cutters = {}

    def run(self):
        try:
            while self.turns and not self.is_over():
                self.turn(self.turns.pop(0))
            while not self.is_over():
                self.turn(self.rng.choice(self.kinds()))
        except Exception as e:
            self.error = e
        finally:
            if self.node is not None:
                self.end_node()

    def kinds(self):
        return [kind for kind in IN_ORDER if is_possible(kind) and (kind != "js" or self.has_js)]

    has_js = property(lambda self: self.number % 2 == 0)

    def turn(self, kind):
        self.left = self.rng.randint(1, 120)
        self.history.append([kind, self.cursor, 0])
        getattr(self, kind)()

    def is_over(self):
        return self.seen[-1:] != [] and self.seen[-1][2] == LAST

    def goes_on(self):
        return self.left > 0 and not self.is_over()

    def moved(self, cursor):
        """Where the stream is, from an answer: never behind what was seen, and nothing up to it may come later."""
        if self.cursor is None:
            self.started_at = seq_of(cursor)
        else:
            assert seq_of(cursor) >= seq_of(self.cursor), f"a cursor went back: {cursor} after {self.cursor}; {self.history[-3:]}"
        self.cursor = cursor

    def take(self, topic, data, cursor):
        if self.cursor is None:  # a first poll that something came to in its moment
            self.started_at = seq_of(cursor) - 1
        assert self.cursor is None or seq_of(cursor) > seq_of(self.cursor), \
            f"{cursor} on {topic} came after {self.cursor}: repeated or out of order; {self.history[-3:]}"
        self.cursor = cursor
        self.seen.append((seq_of(cursor), topic, data))
        self.history[-1][2] += 1
        self.left -= 1

    def take_json(self, m):
        """A message object of any of the text forms."""
        assert not m.get("retained"), m
        self.take(m["topic"], base64.b64decode(m["data"]) if m.get("encoding") == "base64" else m["data"], m["cursor"])

    def state(self, m, had_cursor):
        assert m["state"] == ("recovered" if had_cursor else "live"), (m, self.history[-3:])
        self.moved(m["cursor"])

    def lose(self, stream):
        """Ends a connection, with whatever is still under way, in one of the ways in which they end."""
        if self.rng.random() < 0.5:
            reset_at_close(stream.sock)
        stream.close()

    # The native protocol.
    def native(self, c, send, recv, take):
        had_cursor = self.cursor is not None
        send({"op": "sub", "id": 1, "topic": self.filters, **({"since": self.cursor} if had_cursor else {})})
        while self.goes_on():
            m = recv()
            if m["op"] == "msg":
                take(m)
            else:
                assert m["op"] == "subscribed", (m, self.history[-3:])
                self.state(m, had_cursor)
        self.lose(c)

    def ws(self):
        c = clients.WsJson("127.0.0.1", self.bus.ws_port, "/ws")
        self.native(c, lambda m: c.send(**m), c.recv, self.take_json)

    def tcp(self):
        c = clients.JsonLines("127.0.0.1", self.bus.tcp_port)
        self.native(c, lambda m: c.send(**m), c.recv, self.take_json)

    def take_map(self, m):
        data = json.loads(m["data"]) if m.get("encoding") == "json" else m["data"]
        self.take(m["topic"], data, m["cursor"])

    def ws_msgpack(self):
        c = clients.WebSocket("127.0.0.1", self.bus.ws_port, "/ws", protocols=["busbar.v1.msgpack"])
        self.native(c, lambda m: c.send_message(msgpack.packb(m)), lambda: msgpack.unpackb(c.recv_message()), self.take_map)

    def tcp_msgpack(self):
        c = clients.Stream("127.0.0.1", self.bus.tcp_port)
        unpacker = msgpack.Unpacker()

        def recv():
            while True:
                for m in unpacker:
                    return m
                c.fill(DEADLINE)
                unpacker.feed(c.buffer)
                c.buffer = b""

        self.native(c, lambda m: c.write(msgpack.packb(m)), recv, self.take_map)

    # HTTP.
    def query(self, **more):
        return "/topics?" + urllib.parse.urlencode([*(("topic", f) for f in self.filters), *more.items()], quote_via=urllib.parse.quote)

    def poll(self):
        while self.goes_on():
            had_cursor, headers = self.cursor is not None, {}
            more = {"wait": "0.5"} if had_cursor else {}  # the first answer is where the stream begins
            if had_cursor and self.rng.random() < 0.3:
                headers["If-None-Match"] = f'"{self.cursor}"'
            elif had_cursor:
                more["since"] = self.cursor
            if had_cursor and self.rng.random() < 0.2:  # one that is given up before its answer was read
                abandoned = clients.Stream("127.0.0.1", self.bus.http_port)
                abandoned.write(f"GET {self.query(**more)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                self.lose(abandoned)
            answer = self.bus.http("GET", self.query(**more), headers=headers)
            if answer.status == 304:
                continue
            assert answer.status == 200, answer
            answer = answer.json()
            assert answer["state"] == ("recovered" if had_cursor else "live"), (answer, self.history[-3:])
            for m in answer["messages"]:
                if not self.goes_on():
                    return  # in the middle of an answer
                self.take_json(m)
            self.moved(answer["cursor"])

    def sse(self):
        headers, more, had_cursor = {}, {}, self.cursor is not None
        if had_cursor and self.rng.random() < 0.5:
            headers["Last-Event-ID"] = self.cursor
        elif had_cursor:
            more["since"] = self.cursor
        c = clients.Sse("127.0.0.1", self.bus.http_port, self.query(**more), headers)
        while self.goes_on():
            if not had_cursor and self.cursor is None:
                self.moved(self.first_id(c))
            event = c.next()
            m = json.loads(event["data"])
            if event["event"] == "message":
                assert event["id"] == m["cursor"], event
                self.take_json(m)
            else:
                assert event["event"] == "state", event
                self.state(m, had_cursor)
                if event["id"] is not None:
                    self.moved(event["id"])
        self.lose(c)

    @staticmethod
    def first_id(c):
        """A browser remembers the id of an event without data too."""
        end = time.monotonic() + DEADLINE
        while True:
            line = c._line(end)
            if line.startswith("id: "):
                return line[4:]

    # Programs of ours, whose connections are cut while they run: they are to go on by themselves.
    def cut(self, port):
        if port not in self.cutters:
            self.cutters[port] = Cutter(port, random.Random(self.rng.random()))
        return self.cutters[port].port

    def js(self):
        if self.node is None:
            self.node = Node("busbarjs.mjs", f"ws://127.0.0.1:{self.cut(self.bus.ws_port)}/ws", modules=("ws",))
            self.node_read = 0
        self.n_js += 1
        name, had_cursor = f"turn {self.n_js}", self.cursor is not None
        self.node.do("sub", name=name, topic=self.filters, options={"since": self.cursor} if had_cursor else {})
        while self.goes_on():
            e = self.next_event()
            assert e["event"] in ("connection", "message", "stream"), e
            if e.get("sub") != name:
                continue  # of the turn before
            if e["event"] == "message":
                data = bytes(e["data"]["bytes"]) if isinstance(e["data"], dict) else e["data"]
                self.take(e["topic"], data, e["cursor"])
            else:
                self.state(e, had_cursor)
                had_cursor = True
        if self.rng.random() < 0.3:
            self.end_node()
        else:
            self.node.do("unsub", name=name)

    def next_event(self):
        with self.node.changed:
            assert self.node.changed.wait_for(lambda: len(self.node.events) > self.node_read, DEADLINE), "the JavaScript client is silent"
            e = self.node.events[self.node_read]
            self.node_read += 1
        return e

    def end_node(self):
        self.node.popen.kill()
        self.node.close()
        self.node = None

    def cli(self):
        if self.cursor is None:
            return self.tcp()  # it does not say where it begins
        argv = [program("busbar"), "sub", "--quiet", "--json", "--since", self.cursor, "--server",
                f"127.0.0.1:{self.cut(self.bus.tcp_port)}", *self.filters]
        with open(os.path.join(self.bus.dir, f"sub-{self.number}.log"), "ab") as log, \
                subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL) as sub:
            try:
                text, end = b"", time.monotonic() + DEADLINE
                while self.goes_on():
                    line, newline, text = text.partition(b"\n")
                    if newline:
                        self.take_json(json.loads(line))
                        continue
                    text = line
                    assert select.select([sub.stdout], [], [], max(0, end - time.monotonic()))[0], "busbar sub is silent"
                    data = os.read(sub.stdout.fileno(), 65536)
                    assert data, f"busbar sub ended with {sub.wait()}; {self.history[-3:]}"
                    text += data
            finally:
                sub.kill()


@functools.cache
def has_node():
    try:
        return bool(need_node("ws"))
    except SystemExit:  # it said what is missing
        return False


def is_possible(kind):
    return has_node() if kind == "js" else msgpack is not None or "msgpack" not in kind


def check(client, published):
    """What one client saw against what was acknowledged."""
    if client.error is not None:
        raise AssertionError(f"client {client.number}, turns {client.history[-4:]}") from client.error
    want = [(seq, topic, data) for seq, (topic, data) in sorted(published.items())
            if seq > client.started_at and client.wants(topic)]
    if client.seen == want:
        return
    at = next((i for i, (a, b) in enumerate(zip(client.seen, want)) if a != b), min(len(client.seen), len(want)))
    n, turns = 0, []
    for turn in client.history:
        n, turns = n + turn[2], [*turns[-4:], turn]
        if n > at:
            break
    raise AssertionError(f"client {client.number}: {len(client.seen)} messages, {len(want)} were published; "
                         f"number {at} is {client.seen[at:at + 1]} instead of {want[at:at + 1]}, in the last of {turns}")


def crowd_of(bus, rng):
    crowd = []
    for number in range(4 if SANITIZED else 6):
        client = Client(bus, number, [])
        client.turns = client.kinds()
        if number % 3:
            rng.shuffle(client.turns)
        client.turns += [rng.choice(client.kinds()) for _ in range(N_TURNS - len(client.turns))]
        crowd.append(client)
    return crowd


def under_load(bus, crowd, meanwhile):
    """Publishes until all clients have had their turns; returns what was acknowledged."""
    stop = threading.Event()
    publishers = [kind(bus, k, stop.is_set) for k, kind in enumerate([NativePublisher, WsPublisher, HttpPublisher, NativePublisher])]
    for thread in [*crowd, *publishers]:
        thread.start()
    end = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < end and not any(t.error for t in [*crowd, *publishers]) and any(c.turns for c in crowd):
        meanwhile(sum(len(p.acked) for p in publishers))
        time.sleep(0.01)
    stop.set()
    published = {}
    for p in publishers:
        p.join(DEADLINE)
        assert p.error is None and not p.is_alive(), f"publisher {p.number}: {p.error!r}"
        assert not published.keys() & p.acked.keys(), "two publishes got one cursor"
        published.update(p.acked)
    published[seq_of(bus.tcp().pub("at/w/3", LAST))] = ("at/w/3", LAST)
    return published


def follow(bus, rng, meanwhile=lambda n_acked: None):
    crowd = crowd_of(bus, rng)
    published = under_load(bus, crowd, meanwhile)
    for c in crowd:
        c.join(DEADLINE)
    turns = [t for c in crowd for t in c.history]
    n_cuts = sum(cutter.n_cuts for c in crowd for cutter in c.cutters.values())
    print(f"{len(published)} published; {len(crowd)} clients saw {sum(len(c.seen) for c in crowd)} in {len(turns)} turns, "
          f"{n_cuts} connections cut", flush=True)
    for c in crowd:
        for cutter in c.cutters.values():
            cutter.close()
        assert not c.is_alive() or c.error is not None, f"client {c.number} still waits, at {c.cursor} of {max(published)}: {c.history[-3:]}"
        check(c, published)
    assert {t[0] for t in turns} == {k for k in IN_ORDER if is_possible(k)}, "a transport had no turn"


def one_sequence_whatever_a_client_speaks():
    with Bus(topics=TOPICS) as bus:
        follow(bus, random.Random(SEED))


def and_whatever_happens_to_the_broker():
    """From the file, with a cache that holds next to nothing, and the broker killed under it all: nobody is told."""
    rng = random.Random(SEED + 1)
    kills = sorted(rng.randint(100, 500) for _ in range(2))

    def meanwhile(n_acked):
        if kills and n_acked >= kills[0]:
            kills.pop(0)
            bus.kill("broker")
            bus.start("broker")

    with Bus(topics=TOPICS, start=False, broker={"backend": "sqlite"}) as bus:
        bus.config["store"] = {"path": os.path.join(bus.dir, "busbar.db"), "cache": "16KiB"}
        bus.write_config()
        bus.start_all()
        follow(bus, rng, meanwhile)
        assert not kills, f"the broker was not killed, the load was over: {kills}"


if __name__ == "__main__":
    if msgpack is None:
        print("without MessagePack: python3-msgpack is not installed")
    if not has_node():
        print("without the JavaScript client")
    print(f"BUSBAR_TEST_SEED={SEED}", flush=True)
    main([one_sequence_whatever_a_client_speaks, and_whatever_happens_to_the_broker])
