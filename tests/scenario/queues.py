# SPDX-License-Identifier: Apache-2.0
"""Work queues over the native protocol: members of a group take turns, what is not settled is given to another, and what is
settled is done, whatever dies in between."""
import collections
import os
import random
import threading
import time

from tests.support.bus import SANITIZED, Bus, main, wait_until
from tests.support.clients import Closed

N_MESSAGES = 1000 if SANITIZED else 5000
QUEUE = {"match": "jobs/#", "queue": {"lease": "30s", "max_deliveries": 1000}}


def settle(client, op, **fields):
    client.send(op=op, id="s", **fields)
    return client.expect({"ack": "acked", "nack": "nacked", "extend": "extended"}[op], id="s")


def turns_and_leases():
    """Each message goes to one member of each group; what one leaves goes to another, with its count."""
    with Bus(topics=[QUEUE], frontends=("ws.1", "tcp.1")) as bus:
        publisher, a, b, other = bus.tcp(), bus.tcp(), bus.ws(), bus.tcp()
        a.sub("jobs/x", id=1, group="g", prefetch=2)
        b.sub("jobs/x", id=1, group="g", prefetch=2)
        other.sub("jobs/x", id=1, group="other", prefetch=10)
        for i in range(4):
            publisher.pub("jobs/x", {"n": i}, headers={"a": "b"}, key=f"k{i}")
        got = {name: [c.expect("msg", sub=1) for _ in range(2)] for name, c in (("a", a), ("b", b))}
        assert sorted(m["data"]["n"] for m in got["a"] + got["b"]) == [0, 1, 2, 3], got
        first = got["a"][0]
        assert first["deliveries"] == 1 and 0 < first["expires"] <= 30000 and first["lease"] and first["cursor"], first
        assert first["headers"] == {"a": "b"} and first["key"] == f"k{first['data']['n']}", first
        assert [other.expect("msg")["data"]["n"] for _ in range(4)] == [0, 1, 2, 3]
        settle(a, "extend", lease=first["lease"])
        settle(a, "ack", lease=first["lease"])
        a.send(op="ack", id=5, lease=first["lease"])
        assert a.expect("error", id=5)["code"] == "lease_lost"
        a.send(op="ack", lease="no-such-lease")
        error = a.expect("error", lease="no-such-lease")
        assert error["code"] == "lease_lost", error
        for m in got["b"]:
            settle(b, "ack", lease=m["lease"])
        a.close()  # with one that it had
        again = b.expect("msg")
        assert again["data"] == got["a"][1]["data"] and again["deliveries"] == 2, again
        settle(b, "nack", lease=again["lease"], reason="busy", delay=0)
        again = b.expect("msg")
        assert again["deliveries"] == 3, again
        settle(b, "ack", lease=again["lease"])


def a_lease_is_settled_elsewhere():
    """By whoever knows it; and one that ran out is given out again."""
    with Bus(topics=[{"match": "jobs/#", "queue": {"lease": "300ms"}}], frontends=("ws.1", "tcp.1")) as bus:
        a, b = bus.tcp(), bus.ws()
        a.sub("jobs/x", id=1, group="g")
        b.pub("jobs/x", 1)
        settle(b, "ack", lease=a.expect("msg")["lease"])
        b.pub("jobs/x", 2)
        lease = a.expect("msg")["lease"]
        again = a.expect("msg")
        assert again["data"] == 2 and again["deliveries"] == 2, again
        a.send(op="ack", id=1, lease=lease)
        assert a.expect("error", id=1)["code"] == "lease_lost"
        settle(a, "ack", lease=again["lease"])


def dead_letters():
    """Refused for good, or too often: there with their history, and back by redrive. Lists, peek and purge."""
    topics = [{"match": "jobs/#", "queue": {"max_deliveries": 2}}, {"match": "dead/#", "history": {"messages": 100}}]
    with Bus(topics=topics, frontends=("tcp.1",)) as bus:
        client, watcher = bus.tcp(), bus.tcp()
        watcher.sub("dead/#")
        client.sub("jobs/x", id=1, group="g", prefetch=1)
        client.pub("jobs/x", "one")
        client.pub("jobs/x", "two")
        settle(client, "nack", lease=client.expect("msg")["lease"], dead=True, reason="broken\r\nin\u0000pieces\u007f")
        dead = watcher.message()
        assert dead["topic"] == "dead/jobs/x" and dead["data"] == "one", dead
        assert dead["headers"]["busbar-group"] == "g" and dead["headers"]["busbar-topic"] == "jobs/x", dead
        assert dead["headers"]["busbar-reason"] == "broken  in pieces ", dead  # headers are lines
        for _ in range(2):
            m = client.expect("msg")
            assert m["data"] == "two", m
            settle(client, "nack", lease=m["lease"], reason="no luck")
        assert watcher.message()["data"] == "two"

        client.send(op="queues", id=2, filter="jobs/#")
        queue = client.expect("queue", id=2)
        assert (queue["topic"], queue["group"], queue["dead"], queue["ready"], queue["consumers"]) == ("jobs/x", "g", 2, 0, 1), queue
        assert client.expect("queues_end", id=2)["more"] is False
        client.send(op="redrive", id=3, topic="jobs/x", group="g")
        assert client.expect("redriven", id=3)["count"] == 2
        m = client.expect("msg")
        assert m["data"] in ("one", "two"), m
        client.send(op="peek", id=4, topic="jobs/x", group="g")
        peeked = [client.expect("peeked", id=4) for _ in range(2)]
        assert sorted(p["state"] for p in peeked) == ["leased", "ready"], peeked
        assert client.expect("peek_end", id=4)["more"] is False
        client.send(op="purge", id=5, topic="jobs/x", group="g")
        assert client.expect("purged", id=5)["count"] >= 1
        client.send(op="peek", id=6, topic="nothing/here", group="g")
        assert client.expect("peek_end", id=6)["more"] is False


def later_and_not_too_late():
    """delay: published then; ttl: not after."""
    with Bus(topics=[{"match": "#", "history": {"messages": 100}, "max_delay": "1h"}], frontends=("ws.1", "tcp.1")) as bus:
        a, b = bus.tcp(), bus.ws()
        b.sub("later")
        before = time.time() * 1000
        a.send(op="pub", id=1, topic="later", data="x", delay=300)
        answer = a.expect("published", id=1)
        assert "cursor" not in answer and before + 250 <= answer["due"] <= time.time() * 1000 + 350, answer
        a.send(op="pub", id="o1", topic="once", data="x", delay=3600000, once="o")
        first = a.expect("published", id="o1")["due"]
        for i, delay in enumerate((1000, 3600000, None)):  # the first answer again, whatever is asked for now
            a.send(op="pub", id=f"again{i}", topic="once", data="x", once="o", **({"delay": delay} if delay else {}))
            assert a.expect("published", id=f"again{i}")["due"] == first
        a.pub("later", "y")
        assert b.message()["data"] == "y"
        m = b.message()
        assert m["data"] == "x" and m["time"] >= answer["due"], (m, answer)
        a.pub("short", "gone", ttl=200)
        a.pub("short", "kept", ttl=60000)
        time.sleep(0.4)  # the time to live of the first
        c = bus.tcp()
        c.sub("short", last=10)
        assert [m["data"] for m in iter(lambda: c.try_recv(0.3), None)] == ["kept"]


def prefetch_bounds_a_slow_consumer():
    """A consumer that reads slowly loses nothing, is not disconnected, and has never more than its prefetch."""
    with Bus(topics=[QUEUE], frontends=("tcp.1",), limits={"queue_bytes": "64KiB"}) as bus:
        publisher, client = bus.tcp(), bus.tcp(rcvbuf=4096)
        client.sub("jobs/x", id=1, group="g", prefetch=50)
        body = "x" * 60000
        for i in range(50):
            publisher.pub("jobs/x", {"n": i, "body": body})
        time.sleep(0.3)  # it does not read
        seen = [client.expect("msg") for _ in range(50)]
        assert [m["data"]["n"] for m in seen] == list(range(50))
        assert client.try_recv(0.2) is None
        for m in seen:
            settle(client, "ack", lease=m["lease"])


# ---- Everything dies. ----

class Consumer(threading.Thread):
    """Acks what it is given, nacks some, and dies now and then with what it has."""

    def __init__(self, connect, seed):
        super().__init__(daemon=True)
        self.connect, self.random = connect, random.Random(seed)
        self.acked, self.asked, self.n_deaths, self.error = [], set(), 0, None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    self.live(self.connect())
                except (Closed, OSError):
                    self.n_deaths += 1
                    time.sleep(0.01)
        except Exception as e:
            self.error = e

    def live(self, client):
        client.sub("jobs/x", group="g", prefetch=self.random.choice([1, 4, 32]))
        left, waiting = self.random.randrange(20, 300), {}
        while (left > 0 or waiting) and not self.stopping.is_set():
            m = client.try_recv(0.1)
            if m is None:
                continue
            if m["op"] == "acked":
                self.acked.append(waiting.pop(m["id"]))
            elif m["op"] == "error":
                assert m["code"] in ("lease_lost", "unavailable"), m
                waiting.pop(m.get("id"), None)
            elif left > 0:
                assert m["op"] == "msg", m
                left -= 1
                if self.random.random() < 0.05:
                    client.send(op="nack", lease=m["lease"], delay=self.random.choice([0, 100]))
                else:
                    waiting[left] = m["data"]
                    self.asked.add(m["data"])
                    client.send(op="ack", id=left, lease=m["lease"])
        client.close()
        self.n_deaths += 1


def dead_letters_of(bus):
    """What is in them, each with how often it is there."""
    client, found = bus.tcp(), collections.Counter()
    client.sub("dead/jobs/x", last=1000000)
    while True:
        m = client.try_recv(1)
        if m is None:
            client.close()
            return found
        if m["op"] == "msg":
            found[m["data"]] += 1


def run_and_kill(victims, queue=QUEUE, **options):
    seed = int(os.environ.get("BUSBAR_SEED") or random.randrange(1 << 30))
    chance = random.Random(seed)
    with Bus(topics=[queue], frontends=("ws.1", "tcp.1"), **options) as bus:
        consumers = [Consumer(bus.ws if i % 2 else bus.tcp, seed + i) for i in range(6)]
        publisher = bus.tcp()
        for c in consumers:
            c.start()
        n_sent, n_answered, n_kills = 0, 0, 0
        n_wanted = 4 if SANITIZED else 8
        next_kill = time.monotonic() + 0.3
        while n_answered < N_MESSAGES or n_kills < n_wanted:
            while n_sent - n_answered < 200 and (n_sent < N_MESSAGES or n_kills < n_wanted):
                publisher.send(op="pub", id=n_sent, topic="jobs/x", data=n_sent, once=f"m{n_sent}")
                n_sent += 1
            m = publisher.try_recv(0.05)
            if m is not None:
                assert m["op"] == "published", m
                n_answered += 1
            if n_kills < n_wanted and time.monotonic() > next_kill:
                victim = victims[n_kills % len(victims)]
                bus.kill(victim)
                time.sleep(chance.uniform(0, 0.2))
                bus.start(victim)
                n_kills += 1
                next_kill = time.monotonic() + chance.uniform(0.1, 0.5)

        def figures():
            client = bus.tcp()
            client.send(op="queues", id=1, filter="jobs/#")
            m = client.recv()
            client.close()
            return m if m["op"] == "queue" else None

        last = [None]

        def is_done():
            last[0] = figures()
            return last[0] and last[0]["ready"] == last[0]["leased"] == last[0]["delayed"] == 0

        try:
            wait_until(is_done, "everything is done", 60)
        except AssertionError as e:
            raise AssertionError(f"seed {seed}: {last[0]}, {[c.error for c in consumers]}") from e
        for c in consumers:
            c.stopping.set()
        for c in consumers:
            c.join(30)
            if c.error:
                raise c.error
        times = collections.Counter(n for c in consumers for n in c.acked)
        print(f"seed {seed}: {n_sent} messages, {len(times)} known to be acked, "
              f"{sum(c.n_deaths for c in consumers)} times a consumer died", flush=True)
        twice = {n: k for n, k in times.items() if k > 1}
        assert not twice, f"acked more than once: {twice}"
        final, dead = figures(), dead_letters_of(bus)
        assert final["lost"] == 0, final
        assert all(k == 1 for k in dead.values()), f"seed {seed}: dead more than once: {dead.most_common(3)}"
        assert not set(dead) & set(times), f"seed {seed}: acked and dead: {sorted(set(dead) & set(times))[:9]}"
        asked = set().union(*(c.asked for c in consumers))  # the answer may have died with the broker
        missing = set(range(n_sent)) - set(times) - set(dead) - asked
        assert not missing, f"seed {seed}: {len(missing)} are nowhere: {sorted(missing)[:9]}"
        if queue is QUEUE:
            assert final["dead"] == 0 and not dead, final


def consumers_and_server_die():
    """Messages whose consumers and their server process are killed: each is done, and none twice."""
    run_and_kill(["ws.1"])


def everything_dies():
    """The same while the broker is killed too."""
    run_and_kill(["broker", "ws.1"], broker={"backend": "sqlite"})


def everything_dies_and_many_are_dead():
    """Messages that are given out twice at most: each is done, or once in the dead letters."""
    run_and_kill(["broker", "ws.1"], queue={"match": "jobs/#", "queue": {"max_deliveries": 2}}, broker={"backend": "sqlite"})


if __name__ == "__main__":
    main([turns_and_leases, a_lease_is_settled_elsewhere, dead_letters, later_and_not_too_late, prefetch_bounds_a_slow_consumer,
          consumers_and_server_die, everything_dies, everything_dies_and_many_are_dead])
