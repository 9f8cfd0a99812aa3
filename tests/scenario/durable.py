# SPDX-License-Identifier: Apache-2.0
"""With the store in a file the end of the broker, however it comes, is noticed by nobody: nothing is missing, repeated or out of
order, no client is disconnected, and none is told anything."""
import os
import random
import sqlite3
import threading
import time

from tests.support.bus import SANITIZED, Bus, main, wait_until

HISTORY = [{"match": "#", "history": {"messages": 100000, "age": "1h", "bytes": "256MiB"}}]
ROUNDS = 3 if SANITIZED else 5


def durable(**options):
    options.setdefault("topics", HISTORY)
    options["broker"] = dict(options.get("broker", {}), backend="sqlite")
    return Bus(**options)


class Publisher(threading.Thread):
    """Publishes numbers, so many at a time, until stopped; each is acknowledged once."""

    def __init__(self, client, topic, window=1):
        super().__init__(daemon=True)
        self.client, self.topic, self.window = client, topic, window
        self.n, self.error, self.cursors = 0, None, []
        self.stopping = threading.Event()
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                for i in range(self.window):
                    self.client.send(op="pub", id=f"p{self.n + i}", topic=self.topic, data=self.n + i)
                for i in range(self.window):
                    answer = self.client.expect("published", id=f"p{self.n + i}")
                    self.cursors.append(answer["cursor"])
                self.n += self.window
        except Exception as e:
            self.error = e

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), "the publisher hangs"
        if self.error:
            raise self.error


class Subscriber(threading.Thread):
    """Collects what comes until every topic is complete."""

    def __init__(self, client, *filters):
        super().__init__(daemon=True)
        self.client, self.seen, self.told, self.error = client, {}, [], None
        self.cursors = []
        for f in filters:
            client.sub(f)
        self.goals = None
        self.start()

    def run(self):
        try:
            while self.goals is None or any(self.seen.get(t, [None])[-1] != n - 1 for t, n in self.goals.items()):
                m = self.client.try_recv(0.2)
                if m is None:
                    continue
                if m["op"] == "msg":
                    self.seen.setdefault(m["topic"], []).append(m["data"])
                    self.cursors.append(m["cursor"])
                else:
                    self.told.append(m)
        except Exception as e:
            self.error = e

    def finish(self, goals):
        self.goals = goals
        self.join(60)
        if self.error:
            raise self.error
        assert not self.is_alive(), {t: len(n) for t, n in self.seen.items()}
        assert self.told == [], self.told
        for topic, n in goals.items():
            seen = self.seen[topic]
            assert seen == list(range(n)), f"{topic}: {[(i, x) for i, x in enumerate(seen) if i != x][:5]} {len(seen)} of {n}"
        seqs = [int(c.split("-")[1], 36 if not c.split("-")[1].isdigit() else 10) for c in self.cursors]
        assert seqs == sorted(set(seqs)), "out of order"


def broker_killed_under_load():
    """kill -9 again and again while clients of every kind publish and listen, on a topic and on wildcards."""
    with durable() as bus:
        subscribers = [(Subscriber(bus.tcp(), "load/#"), ("load/a", "load/b", "load/c")),
                       (Subscriber(bus.ws(), "load/a", "load/b"), ("load/a", "load/b")),
                       (Subscriber(bus.ws(), "+/c"), ("load/c",))]
        publishers = {"load/a": Publisher(bus.tcp(), "load/a"), "load/b": Publisher(bus.ws(), "load/b", 50),
                      "load/c": Publisher(bus.tcp(), "load/c", 200)}
        longest = 0.0
        for round_ in range(ROUNDS):
            at = {t: p.n for t, p in publishers.items()}
            wait_until(lambda: all(p.n > at[t] + 30 or p.error for t, p in publishers.items()), "publishing goes on")
            time.sleep(random.random() * 0.2)  # anywhere
            bus.kill("broker")
            began = time.monotonic()
            if round_ % 2:
                time.sleep(0.3)
            bus.start("broker")
            at = {t: p.n for t, p in publishers.items()}
            wait_until(lambda: any(p.n > at[t] or p.error for t, p in publishers.items()), "publishing goes on", interval=0.005)
            longest = max(longest, time.monotonic() - began)
        for p in publishers.values():
            p.stop()
        for s, topics in subscribers:
            s.finish({t: publishers[t].n for t in topics})
        late = bus.tcp()
        assert late.sub("load/#", since=publishers["load/a"].cursors[0])["state"] == "recovered"
        n = sum(p.n for p in publishers.values())
        print(f"{n} publishes, {ROUNDS} kills; publishing went on at most {longest:.2f} s after one")


def broker_stopped_under_load():
    """The same with SIGTERM."""
    with durable(frontends=("tcp", "ws")) as bus:
        s = Subscriber(bus.ws(), "#")
        p = Publisher(bus.tcp(), "a", 20)
        for _ in range(2):
            at = p.n
            wait_until(lambda: p.n > at + 100 or p.error, "publishing goes on")
            bus.stop("broker")
            bus.start("broker")
        p.stop()
        s.finish({"a": p.n})


def everything_restarts():
    """Cursors, retained values, keys and lists are good after the whole bus was killed."""
    with durable() as bus:
        c = bus.tcp()
        first = c.pub("t/one", "a", key="order-1")
        c.pub("t/two", "kept", retain=True)
        last = c.pub("t/one", "b")
        for name in ("tcp", "ws", "http", "broker"):
            bus.kill(name)
        bus.start_all()
        c = bus.ws()
        answer = c.sub("t/#", since=first)
        assert answer["state"] == "recovered", answer
        assert [c.message()["data"] for _ in range(2)] == ["kept", "b"]
        c = bus.tcp()
        c.sub("t/two")
        m = c.message()
        assert m["data"] == "kept" and m["retained"], m
        # The same key: the first answer again, on every transport.
        assert c.pub("t/one", "a", key="order-1") == first
        again = bus.http("POST", "/topics/t/one", b"a", {"Idempotency-Key": "order-1"})
        assert again.status in (200, 201) and again.json()["cursor"] == first, again
        made = bus.http("POST", "/topics/t/one", b"x", {"Idempotency-Key": "order-2"})
        bus.kill("broker")
        bus.start("broker")
        again = bus.http("POST", "/topics/t/one", b"x", {"Idempotency-Key": "order-2"})
        assert again.json()["cursor"] == made.json()["cursor"], (made, again)
        c = bus.ws()
        assert c.sub("t/one", since=last)["state"] == "recovered"
        assert c.message()["data"] == "x"
        assert c.try_recv(0.3) is None


def retained_values_are_found_by_wildcards():
    with durable(frontends=("tcp",)) as bus:
        c = bus.tcp()
        for i in range(50):
            c.pub(f"r/{i}", i, retain=True)
        bus.kill("broker")
        bus.start("broker")
        wait_until(lambda: "has ended" in bus.process("tcp").log(), "the loss is noticed")
        c = bus.tcp()
        c.pub("other", 1)
        c.sub("r/+")
        assert sorted(m["data"] for m in c.messages(50)) == list(range(50))


def file_is_readable_and_damage_is_survived():
    """sqlite3 reads what was published; a file that is no store is set aside, and clients are told reset."""
    with durable(frontends=("tcp",)) as bus:
        c = bus.tcp()
        cursor = c.pub("a/b", {"n": 1})
        c.pub("a/c", "text")
        path = os.path.join(bus.dir, "busbar.db")
        db = sqlite3.connect(path)
        rows = db.execute("SELECT topic, body FROM history ORDER BY seq").fetchall()
        db.close()
        assert [r[0] for r in rows] == ["a/b", "a/c"] and '"n"' in rows[0][1], rows
        bus.stop("broker")
        size = os.path.getsize(path)
        with open(path, "r+b") as f:
            f.seek(0)
            f.write(os.urandom(min(size, 8192)))
        bus.start("broker")
        aside = [n for n in os.listdir(bus.dir) if n.startswith("busbar.db.damaged-")]
        assert aside, os.listdir(bus.dir)
        assert "set aside" in bus.process("broker").log()
        c = bus.tcp()
        answer = wait_until(lambda: _reset(c, cursor), "the epoch is another")
        assert answer["state"] == "reset", answer
        c.pub("a/b", "goes on")


def _reset(c, cursor):
    answer = c.sub("a/b", since=cursor)
    if answer["state"] != "reset":
        c.send(op="unsub", id="u", sub=answer["id"])
        return None
    return answer


def a_full_disk_refuses_and_recovers():
    """While nothing can be written publishes are refused, by name; what was acknowledged stays; then it goes on by itself."""
    with durable(frontends=("tcp",), store={"path": "busbar.db", "sync": "always"}, start=False) as bus:
        # The file may grow to 4 MiB: RLIMIT_FSIZE stands for the disk.
        import resource
        import signal as signals

        def limit():
            signals.signal(signals.SIGXFSZ, signals.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, resource.RLIM_INFINITY))
        bus.start("broker", preexec_fn=limit)
        bus.start("tcp")
        c = bus.tcp()
        body = "x" * 100000
        kept, refused = [], None
        for i in range(100):
            c.send(op="pub", id=f"p{i}", topic="full", data=[i, body])
            m = c.recv()
            if m["op"] == "published":
                kept.append(i)
                continue
            refused = m
            break
        assert refused is not None and refused["code"] == "store_failed", refused
        assert len(kept) > 5
        resource.prlimit(bus.process("broker").pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        c.pub("full", [1000, "again"])
        bus.kill("broker")
        bus.start("broker")
        late = bus.tcp()
        late.sub("full", last=1000)
        got = [m["data"][0] for m in late.messages(len(kept) + 1)]
        assert got == kept + [1000], got
        log = bus.process("broker").log()
        assert log.count("nothing can be kept") == 1 and "messages are kept again" in log, log


if __name__ == "__main__":
    main([broker_killed_under_load, broker_stopped_under_load, everything_restarts, retained_values_are_found_by_wildcards,
          file_is_readable_and_damage_is_survived, a_full_disk_refuses_and_recovers])
