# SPDX-License-Identifier: Apache-2.0
"""Presence over the native protocol: who is there, on every transport, agrees with the truth after whatever was killed."""
import os
import random
import socket
import threading
import time

from tests.support.bus import SANITIZED, Bus, main, wait_until
from tests.support.clients import JsonLines, WsJson

TOPICS = [{"match": "chat/#", "presence": {"linger": "300ms"}}]
BROKER = {"grace": "600ms"}


class Watcher:
    """Folds snapshots and events as docs/protocol.md says a client should."""

    def __init__(self, client, topic, **presence):
        self.client, self.topic = client, topic
        self.members, self.count, self.events = {}, None, []
        self.is_continuing = False
        client.send(op="sub", id="w", topic=topic, presence=presence or True)
        client.expect("subscribed", id="w")

    def fold(self, data):
        self.events.append(data)
        if data["event"] == "snapshot":
            if data.get("part", 0) == 0:
                self.members = {}
            self.members.update({m["id"]: m.get("info") for m in data["members"]})
            self.is_continuing = data.get("more", False)
        elif data["event"] == "join":
            self.members[data["id"]] = data.get("info")
        elif data["event"] == "leave":
            self.members.pop(data["id"], None)
        self.count = data["count"]

    def read(self, timeout=0.02):
        while (m := self.client.try_recv(timeout)) is not None:
            if m["op"] == "presence" and m.get("sub") == "w":
                assert m["topic"] == self.topic and "cursor" not in m, m
                self.fold(m["data"])

    def sees(self, ids):
        self.read()
        return not self.is_continuing and set(self.members) == set(ids) and self.count == len(set(ids))


def who(client, topic, **options):
    client.send(op="presence", id="who", topic=topic, **options)
    members = {}
    while (m := client.recv())["op"] != "members_end":
        if m["op"] == "member":
            members[m["member"]] = m
        elif m["op"] == "error":
            raise AssertionError(m)
    return members, m


def there(client, topic, id, info=None):
    client.send(op="sub", id=1, topic=topic, presence={"id": id, "info": info} if info is not None else {"id": id})
    client.expect("subscribed", id=1)


def joins_and_leaves():
    """A snapshot, then events; several connections with one id are one member; unsub leaves at once, a lost connection lingers."""
    with Bus(topics=TOPICS, frontends=("ws.1", "tcp.1"), broker=BROKER) as bus:
        looking = Watcher(bus.tcp(), "chat/1")
        wait_until(lambda: looking.sees([]), "the first snapshot")
        a, b, a2 = bus.tcp(), bus.ws(), bus.ws()
        there(a, "chat/1", "u1", {"name": "Ada"})
        wait_until(lambda: looking.sees(["u1"]), "u1 joins")
        assert looking.members["u1"] == {"name": "Ada"}
        there(b, "chat/1", "u2")
        wait_until(lambda: looking.sees(["u1", "u2"]), "u2 joins")
        there(a2, "chat/1", "u1", {"name": "Ada L."})  # the same, on another transport
        first = a2.expect("presence")["data"]
        assert first["event"] == "snapshot" and {m["id"] for m in first["members"]} == {"u1", "u2"}, first
        members, end = who(bus.tcp(), "chat/1")
        assert members["u1"]["connections"] == 2 and end["count"] == 2 and end["presence"] == "members", (members, end)
        assert members["u1"]["info"] == {"name": "Ada L."}, members
        assert who(bus.tcp(), "chat/1", after="u1")[0].keys() == {"u2"}
        assert who(bus.tcp(), "chat/1", limit=0) [1]["count"] == 2
        a.send(op="unsub", id=1)
        a.expect("unsubscribed")
        looking.read(0.2)
        assert looking.sees(["u1", "u2"]), "its other connection is there"
        a2.send(op="unsub", id=1)
        a2.expect("unsubscribed")
        wait_until(lambda: looking.sees(["u2"]), "u1 leaves", deadline=5)
        assert looking.events[-1]["event"] == "leave" and looking.events[-1]["reason"] == "left", looking.events[-1]
        n = len(looking.events)
        b.close()
        again = bus.ws()
        there(again, "chat/1", "u2")  # within the time
        looking.read(0.6)
        assert looking.sees(["u2"]) and len(looking.events) == n, looking.events[n:]
        again.close()
        wait_until(lambda: looking.sees([]), "u2 is lost")
        assert looking.events[-1]["reason"] == "lost", looking.events[-1]


def messages_and_presence():
    """Both on one subscription; what since brings comes first, and no gap is told of presence."""
    broker = dict(BROKER, backend="memory")  # whose messages go with the broker
    with Bus(topics=[dict(TOPICS[0], history={"messages": 10})], frontends=("tcp.1",), broker=broker) as bus:
        a, b = bus.tcp(), bus.tcp()
        cursor = b.pub("chat/1", 1)
        b.pub("chat/1", 2)
        a.send(op="sub", id=1, topic=["chat/1", "chat/2"], since=cursor, presence={"id": "u1"})
        assert a.recv()["state"] == "recovered"
        assert a.recv()["data"] == 2
        snapshots = [a.recv(), a.recv()]
        assert {m["topic"] for m in snapshots} == {"chat/1", "chat/2"}, snapshots
        assert all([x["id"] for x in m["data"]["members"]] == ["u1"] for m in snapshots), snapshots
        there(b, "chat/2", "u2")
        event = a.expect("presence", topic="chat/2")
        assert event["data"]["event"] == "join" and event["data"]["id"] == "u2" and event["time"] > 0, event
        b.pub("chat/2", 3)
        assert a.expect("msg")["data"] == 3
        bus.kill("broker")
        bus.start("broker")
        state = a.expect("state", sub=1)
        assert state["state"] == "reset", state
        while a.expect("presence")["data"]["event"] != "snapshot":
            pass
        assert [m for m in a.backlog if m["op"] == "state"] == [], a.backlog


def closed_without_a_word():
    """Who closes on TCP where nothing is ever said is not there any more; who ends only its own side still listens."""
    with Bus(topics=TOPICS, broker=BROKER, frontends=("http.1", "tcp.1")) as bus:
        def members():
            return [m["id"] for m in bus.http("GET", "/presence/chat/quiet").json()["members"]]

        gone, listener = bus.tcp(), bus.tcp()
        there(gone, "chat/quiet", "gone")
        there(listener, "chat/quiet", "listener")
        for client in (gone, listener):
            while client.expect("presence")["data"]["count"] < 2:  # all is read: its end is no reset
                pass
        assert members() == ["gone", "listener"]
        gone.close()
        wait_until(lambda: members() == ["listener"], "the leave")
        listener.sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: members() == [], "the leave")
        bus.http("POST", "/topics/chat/quiet", "hello")
        assert listener.message()["data"] == "hello"


def settings():
    """Counts only, nobody at all, and no more than so many."""
    topics = [{"match": "count/#", "presence": {"mode": "count", "linger": "100ms"}},
              {"match": "off/#", "presence": {"mode": "off"}}, {"match": "few/#", "presence": {"max_members": 1}}]
    with Bus(topics=topics, frontends=("tcp.1",), broker=BROKER) as bus:
        looking, a = Watcher(bus.tcp(), "count/1"), bus.tcp()
        wait_until(lambda: looking.count == 0 or looking.read(), "the snapshot")
        assert looking.events[0]["presence"] == "count", looking.events
        there(a, "count/1", "u1")
        wait_until(lambda: looking.count == 1 or looking.read(), "a count")
        assert looking.events[-1]["event"] == "count" and looking.members == {}, looking.events
        b = bus.tcp()
        b.send(op="sub", id=5, topic="off/1", presence={"id": "u1"})
        b.expect("subscribed")
        assert b.expect("error", id=5)["code"] == "not_allowed"
        assert who(b, "off/1")[1]["presence"] == "off"
        b.send(op="sub", id=6, topic="few/1", presence={"id": "u1"})
        b.expect("presence")
        c = bus.tcp()
        c.send(op="sub", id=7, topic="few/1", presence={"id": "u2"})
        c.expect("subscribed")
        assert c.expect("error", id=7)["code"] == "limit_reached"


def large_snapshots():
    """More members than a part holds, for a client that reads slowly."""
    n = 250
    with Bus(topics=TOPICS, frontends=("tcp.1",), broker=BROKER, limits={"presences_per_client": 10000, "queue_bytes": "256KiB"}) as bus:
        crowd = bus.tcp()
        ids = [f"member-{i:05}".ljust(250, "x") for i in range(n)]
        for i, id in enumerate(ids):
            crowd.send(op="sub", id=i, topic="chat/1", presence={"id": id, "info": {"x": "y" * 100}})
            while crowd.expect("presence", sub=i)["data"]["event"] != "snapshot":
                pass
            crowd.backlog.clear()  # it is told of all the others
        slow = Watcher(bus.tcp(rcvbuf=4096), "chat/1")
        time.sleep(0.3)  # it does not read
        wait_until(lambda: slow.sees(ids), "all of them")
        parts = [e for e in slow.events if e["event"] == "snapshot"]
        assert [p.get("part", 0) for p in parts] == [0, 1], [(p.get("part", 0), len(p["members"])) for p in parts]


def crowd_is_paced():
    """Very many who ask at once who is there take turns, at first and when the broker comes back: others are served meanwhile."""
    n, n_connections = (600, 5) if SANITIZED else (2000, 10)
    limits = {"presences_per_client": 1000, "queue_bytes": "4MiB"}
    with Bus(topics=TOPICS, frontends=("tcp.1",), broker=BROKER, limits=limits) as bus:
        other = bus.tcp()
        crowd = [bus.tcp() for _ in range(n_connections)]
        counts = [0] * n_connections

        def read(i):
            """Counts the ends of snapshots."""
            kept = b""
            while True:
                try:
                    got = crowd[i].sock.recv(1 << 20)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not got:
                    return
                data = kept + got
                whole = data.rfind(b"\n") + 1
                lines, kept = data[:whole], data[whole:]
                counts[i] += lines.count(b'"event":"snapshot"') - lines.count(b'"more":true')

        def served_until(expected, what):
            """How long the others took, and the longest that an acknowledgement did meanwhile."""
            begin, worst = time.monotonic(), 0
            while sum(counts) < expected:
                assert time.monotonic() < begin + 120, f"{what}: {sum(counts)} of {expected} snapshots"
                at = time.monotonic()
                other.pub("plain", 1)
                worst = max(worst, time.monotonic() - at)
            took = time.monotonic() - begin
            print(f"{what}: {took:.2f} s, {worst * 1000:.0f} ms at most", flush=True)
            assert worst < took / 5, f"{what}: one publish took {worst:.2f} s of {took:.2f} s"

        threads = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(n_connections)]
        for i, client in enumerate(crowd):
            threads[i].start()
            for k in range(n // n_connections):
                client.send(op="sub", id=k, topic="chat/1", presence={"id": f"u{i}-{k}"})
        served_until(n, "at first")
        bus.kill("broker")
        bus.start("broker")
        other.pub("plain", 1)
        served_until(2 * n, "again")
        bus.stop("tcp.1")  # ends all connections
        for thread in threads:
            thread.join(30)


def agrees_after_every_kill():
    """Members on two frontends; clients, frontends and the broker are killed at random; then everybody sees who is there."""
    seed = int(os.environ.get("BUSBAR_SEED") or random.randrange(1 << 30))
    chance = random.Random(seed)
    print(f"seed {seed}", flush=True)
    with Bus(topics=TOPICS, frontends=("ws.1", "tcp.1"), broker=BROKER) as bus:
        watchers = [Watcher(bus.tcp(), "chat/1"), Watcher(bus.ws(), "chat/1", id="watcher")]
        members = {}  # connection -> id

        def connect(id):
            client = bus.ws() if chance.random() < 0.5 else bus.tcp()
            there(client, "chat/1", id)
            members[client] = id

        def truth():
            return set(members.values()) | ({"watcher"} if watchers[1] else set())

        for i in range(10):
            connect(f"u{i}")
        for turn in range(6 if SANITIZED else 14):
            what = chance.choice(["client", "client", "ws.1", "tcp.1", "broker", "broker", "join", "leave"])
            if what == "client" and members:
                client = chance.choice(list(members))
                del members[client]
                client.close()
            elif what == "leave" and members:
                client = chance.choice(list(members))
                client.send(op="unsub", id=1)
                client.expect("unsubscribed")
                del members[client]
            elif what == "broker":
                bus.kill("broker")
                bus.start("broker")
            elif what in ("ws.1", "tcp.1"):
                bus.kill(what)
                bus.start(what)
                lost = [c for c in members if isinstance(c, JsonLines if what == "tcp.1" else WsJson)]
                ids = [members.pop(c) for c in lost]
                for id in ids:
                    if chance.random() < 0.7:
                        connect(id)  # it comes back, perhaps on the other
                i = ["tcp.1", "ws.1"].index(what)
                watchers[i] = Watcher(bus.tcp(), "chat/1") if i == 0 else Watcher(bus.ws(), "chat/1", id="watcher")
            connect(f"u{10 + turn}")
            for name, watcher in zip(("tcp", "ws"), watchers):
                try:
                    wait_until(lambda: watcher.sees(truth()), "agreement", deadline=15)
                except AssertionError as e:
                    raise AssertionError(f"turn {turn}, after {what}, {name}: it misses {truth() - set(watcher.members)}, has too much: "
                                         f"{set(watcher.members) - truth()}, count {watcher.count}; {watcher.events[-6:]}") from e
            seen = wait_until(lambda: (w := who(watchers[0].client, "chat/1")[0]) and set(w) == truth() and w, "WHO agrees", 15)
            assert set(seen) == truth()


if __name__ == "__main__":
    main([joins_and_leaves, messages_and_presence, closed_without_a_word, settings, large_snapshots, crowd_is_paced, agrees_after_every_kill])
