# SPDX-License-Identifier: Apache-2.0
"""Attacks that once did harm, each beside an innocent pair of clients that must not notice."""
import json
import shutil
import socket
import struct
import threading
import time

from tests.support.bus import Bus, main, wait_until
from tests.support.clients import Stream

# What a message of the innocent may take, with sanitizers on a busy machine; before the mending it was 20 s and more.
PATIENCE = 8.0


class Innocent(threading.Thread):
    """Publishes by TCP, reads by WebSocket, one message after the other, until the block ends; nothing may be lost or doubled."""

    def __init__(self, bus):
        super().__init__(daemon=True)
        self.subscriber, self.publisher = bus.ws(), bus.tcp()
        self.subscriber.sub("innocent/pair")
        self.is_over = threading.Event()
        self.problem, self.n, self.longest = None, 0, 0.0

    def run(self):
        try:
            while not self.is_over.is_set():
                began = time.monotonic()
                self.publisher.pub("innocent/pair", self.n)
                data = self.subscriber.message()["data"]
                assert data == self.n, f"{data} instead of {self.n}"
                self.longest = max(self.longest, time.monotonic() - began)
                self.n += 1
                time.sleep(0.01)
        except BaseException as e:
            self.problem = e

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, traceback):
        enough = self.n + 20  # the attack's work may only begin where its sender has done
        if kind is None:
            wait_until(lambda: self.n >= enough or not self.is_alive(), "the innocent get on", deadline=40)
        self.is_over.set()
        self.join(40)
        if kind is None:
            assert not self.is_alive() and self.problem is None, self.problem
            assert self.n > 0 and self.longest < PATIENCE, (self.n, self.longest)
            print(f"  {self.n} innocent messages, the longest took {self.longest * 1000:.0f} ms")


def fill(bus, n):
    """n topics, one message each."""
    c = bus.tcp()
    for at in range(0, n, 1000):
        c.write(b"".join(b'{"op":"pub","topic":"t/%d","data":1}\n' % i for i in range(at, min(at + 1000, n))))
    c.pub("t/end", 1)
    c.close()


def reset(stream):
    stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.sock.close()


def many_lists_of_many_topics():
    """Each list looks at all topics; they are answered one by one, messages go on in between, and there is a limit."""
    with Bus() as bus:
        fill(bus, 30000)
        lists = b'{"op":"topics","id":1,"filter":"nothing/#","limit":1000}\n' * 50
        with Innocent(bus):
            c = bus.tcp()
            c.write(lists)
            answers = [c.recv() for _ in range(50)]
            assert all(a.get("code") == "limit_reached" or a["op"] == "topics_end" for a in answers), answers
            assert sum(a["op"] == "topics_end" for a in answers) >= 4
            for _ in range(100):
                s = Stream("127.0.0.1", bus.tcp_port)
                s.write(lists)
                reset(s)
        names, end = wait_until(lambda: _list(c), "lists are taken again")
        assert end["more"] is True, end
        assert names == sorted(names) and len(set(names)) == 1000 and names[0] == "t/10", names[:3]


def _list(c):
    """Names and the end; None while others have asked for too much."""
    c.send(op="topics", id=2, filter="t/#", limit=1000, after="t/1")
    names = []
    while (m := c.recv())["op"] == "topic":
        names.append(m["topic"])
    assert m["op"] == "topics_end" or m["code"] == "limit_reached", m
    return (names, m) if m["op"] == "topics_end" else None


def a_storm_of_recoveries():
    """Clients with an old cursor that ask for everything and go away, over and over."""
    with Bus() as bus:
        fill(bus, 30000)
        c = bus.tcp()
        c.send(op="hello")
        epoch = c.expect("welcome")["cursor"].split("-")[0]
        asks = b"".join(json.dumps({"op": "sub", "id": i, "topic": "#", "since": epoch + "-0"}).encode() + b"\n" for i in range(50))
        with Innocent(bus):
            for _ in range(200):
                s = Stream("127.0.0.1", bus.tcp_port)
                s.write(asks)
                reset(s)


def the_runtime_directory_is_removed():
    """Links that stand go on; the broker makes the directory anew, so that a frontend that starts finds it."""
    with Bus() as bus:
        with Innocent(bus):
            shutil.rmtree(bus.runtime_dir)
            bus.kill("http")
            bus.start("http", wait=False)
            wait_until(lambda: _publishes(bus), "the new frontend finds the broker")
        assert "was removed or replaced" in bus.process("broker").log()


def _publishes(bus):
    try:
        return bus.http("POST", "/topics/a", "x", timeout=3).status == 200
    except OSError:
        return False


def deep_filters_count_for_more():
    """A client's filters of 128 levels cost it, and us, a fraction of the memory that 1000 of them would."""
    with Bus(frontends=("tcp", "ws")) as bus:
        c, seed = bus.tcp(), 1
        refused = 0
        with Innocent(bus):
            for i in range(200):
                levels = []
                for _ in range(120):
                    seed = seed * 6364136223846793005 + 1442695040888963407 & 0xFFFFFFFFFFFFFFFF
                    levels.append("+" if seed >> 63 else "a")
                c.send(op="sub", id=i, topic="/".join(levels) + "/#")
                m = c.recv()
                refused += m.get("code") == "limit_reached"
                assert m["op"] == "subscribed" or refused > 0, m
            bus.ws().pub("/".join(["a"] * 128), 1)
        assert 130 <= refused <= 150, refused  # each takes the place of 16 or 17
        for i in range(200 - refused):
            c.send(op="unsub", id=i)
            c.expect("unsubscribed", id=i)
        c.sub([f"t/{i}" for i in range(64)], id="again")


if __name__ == "__main__":
    main([many_lists_of_many_topics, a_storm_of_recoveries, the_runtime_directory_is_removed, deep_filters_count_for_more])
