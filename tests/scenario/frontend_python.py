# SPDX-License-Identifier: Apache-2.0
"""The frontend in examples/frontend-python, made from docs/link.md alone, is a full citizen of a real bus."""
import ctypes
import os
import re
import signal
import subprocess
import sys

from tests.support.bus import DEADLINE, SRC, Bus, main, wait_until
from tests.support.clients import Stream

PROGRAM = os.path.join(SRC, "examples", "frontend-python", "busbar-line")
HISTORY = [{"match": "#", "history": {"messages": 100000}}]


class Line(Stream):
    def command(self, line):
        self.write(line.encode() + b"\n")

    def line(self, timeout=DEADLINE):
        return self.read_until(b"\n", timeout).decode()

    def expect(self, want):
        """The next line; want is a regular expression."""
        have = self.line()
        assert re.fullmatch(want, have), f"came '{have}', wanted '{want}'"
        return have


class LineFrontend:
    """The example as a process beside the bus's own."""

    def __init__(self, bus, instance="line.1"):
        self.bus, self.instance = bus, instance
        self.log_path = os.path.join(bus.dir, instance + ".log")
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, PROGRAM, "--runtime-dir", self.bus.runtime_dir, "--listen", "127.0.0.1:0", "--instance",
                 self.instance], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        self.port = int(self.popen.stdout.readline().rsplit(b":", 1)[1])
        self.popen.stdout.close()

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def client(self):
        return self.bus._keep(Line("127.0.0.1", self.port))

    def stop(self):
        self.popen.terminate()
        assert self.popen.wait(DEADLINE) == 0, self.log()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            print(self.log(), file=sys.stderr)
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


def lines_meet_json():
    """Its clients and those of another frontend are on the same topics."""
    with Bus(topics=HISTORY, frontends=("tcp",)) as bus, LineFrontend(bus) as line:
        a, b, json_client = line.client(), line.client(), bus.tcp()
        for client in (a, b):
            client.command("SUB chat/+")
            client.expect("OK SUB chat/\\+")
        json_client.sub("chat/#")
        a.command("PUB chat/x from a line")
        assert sorted((a.line().split(" ")[0], a.line().split(" ")[0])) == ["MSG", "OK"]
        b.expect("MSG chat/x from a line")
        assert json_client.message()["topic"] == "chat/x"
        json_client.pub("chat/y", "from JSON")
        b.expect('MSG chat/y "?from JSON"?')
        b.command("UNSUB chat/+")
        b.expect("OK UNSUB chat/\\+")
        a.expect('MSG chat/y "?from JSON"?')
        json_client.pub("chat/y", "again")
        a.expect('MSG chat/y "?again"?')
        b.command("SUB a/#/b")
        b.expect("ERR filter_invalid .*")  # and not the message
        b.command("PUB $sys/x forged")
        b.expect("ERR .*")
        line.stop()


def expect_numbers(client, first, last):
    """MSGs with exactly these numbers, in order; other lines are returned."""
    others = []
    n = first
    while n <= last:
        have = client.line()
        if have.startswith("MSG "):
            assert have == f"MSG count {n}", f"came '{have}', wanted number {n}"
            n += 1
        else:
            others.append(have)
    return others


def broker_killed_and_started():
    """What is published while the broker is away is held and then kept once; subscriptions come back; RESET is told."""
    with Bus(topics=HISTORY, frontends=()) as bus, LineFrontend(bus) as line:
        subscriber, publisher = line.client(), line.client()
        subscriber.command("SUB count")
        subscriber.expect("OK SUB count")
        for n in range(1, 51):
            publisher.command(f"PUB count {n}")
        for _ in range(50):
            publisher.expect("OK PUB [0-9]+")
        assert expect_numbers(subscriber, 1, 50) == []
        bus.kill("broker")
        wait_until(lambda: "again in" in line.log(), "the loss is noticed")
        for n in range(51, 101):
            publisher.command(f"PUB count {n}")
        bus.start("broker")
        assert expect_numbers(subscriber, 51, 100) == ["RESET"]
        for _ in range(50):
            publisher.expect("OK PUB [0-9]+")
        line.stop()


def broker_stopped_for_a_while():
    """The link is lost, the store is not: everything comes, once, in order, without a word to the clients."""
    with Bus(topics=HISTORY, frontends=(), broker={"heartbeat": "200ms"}) as bus, LineFrontend(bus) as line:
        subscriber, publisher = line.client(), line.client()
        subscriber.command("SUB count")
        subscriber.expect("OK SUB count")
        total = 0
        for _ in range(3):
            for _ in range(20):
                total += 1
                publisher.command(f"PUB count {total}")
                publisher.expect("OK PUB [0-9]+")
            n_losses = line.log().count("again in")
            bus.pause("broker")
            wait_until(lambda: line.log().count("again in") > n_losses, "the silence is noticed")
            total += 1
            publisher.command(f"PUB count {total}")  # held, then sent again on the new link
            bus.cont("broker")
            publisher.expect("OK PUB [0-9]+")
        assert expect_numbers(subscriber, 1, total) == []
        line.stop()


def killed_and_started_under_its_name():
    """kill -9 leaves nothing behind that keeps the next one out."""
    with Bus(topics=HISTORY, frontends=()) as bus, LineFrontend(bus) as line:
        for _ in range(5):
            client = line.client()
            client.command("SUB a")
            client.expect("OK SUB a")
            client.command("PUB a 1")
            assert sorted((client.line()[:3], client.line()[:3])) == ["MSG", "OK "]
            line.popen.send_signal(signal.SIGKILL)
            line.popen.wait()
            line.start()
        line.stop()


if __name__ == "__main__":
    try:
        import msgpack  # noqa: F401
        ctypes.CDLL("libnanomsg.so.5")
    except (ImportError, OSError) as e:
        print(f"skipped: {e}")
        sys.exit(77)
    main([lines_meet_json, broker_killed_and_started, broker_stopped_for_a_while, killed_and_started_under_its_name])
