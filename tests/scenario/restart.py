# SPDX-License-Identifier: Apache-2.0
"""A planned restart refuses nobody: clients are told by their protocol, at a paced rate, come back and miss nothing; every
attempt to connect is served. After kill -9 of a frontend attempts wait in the socket that `busbar up` holds."""
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time

from tests.scenario.up import Up
from tests.support import clients
from tests.support.bus import DEADLINE, SANITIZED, Bus, main, program, wait_until
from tests.support.clients import Closed

TOPICS = [{"match": "#", "history": {"messages": 100000, "bytes": "64MiB"}}]
LAST = -1  # published at the very end


def restart(bus, what, code=0):
    r = subprocess.run([program("busbar"), "restart", "-c", bus.config_path, what], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=120)
    assert r.returncode == code, (what, r.returncode, r.stdout)
    return r.stdout


class Client(threading.Thread):
    """One subscriber to load/a, until it has seen LAST: what it saw, when and how it was told to go, how often it came back."""

    def __init__(self, bus):
        super().__init__(daemon=True)
        self.bus, self.seen, self.cursor, self.told, self.n_back, self.error = bus, [], None, [], 0, None
        self.is_in = False
        self.start()

    def take(self, data, cursor):
        self.seen.append(data)
        self.cursor = cursor

    def is_over(self):
        return self.seen[-1:] == [LAST]

    def run(self):
        try:
            while not self.is_over():
                self.life()
                self.n_back += 1
        except Exception as e:
            self.error = e


class Ws(Client):
    def life(self):
        c = clients.WsJson("127.0.0.1", self.bus.ws_port, "/ws")
        self.native(c)

    def native(self, c):
        try:
            c.send(op="sub", id=1, topic="load/a", **({"since": self.cursor} if self.cursor else {}))
            while not self.is_over():
                m = c.recv(120)
                if m["op"] == "msg":
                    self.take(m["data"], m["cursor"])
                elif m["op"] == "subscribed":
                    assert m["state"] == ("recovered" if self.cursor else "live"), m
                    self.cursor, self.is_in = self.cursor or m["cursor"], True
                else:
                    self.on_other(m)
        except Closed as e:
            self.on_closed(str(e))
        finally:
            c.close()

    def on_other(self, m):
        raise AssertionError(m)

    def on_closed(self, how):
        assert how.startswith("close 1012 shutting_down: "), how
        self.told.append(time.monotonic())


class Tcp(Ws):
    def life(self):
        self.was_told = False
        self.native(clients.JsonLines("127.0.0.1", self.bus.tcp_port))

    def on_other(self, m):
        assert m["op"] == "closing" and m["code"] == "shutting_down", m
        self.was_told = True
        self.told.append(time.monotonic())

    def on_closed(self, how):
        assert self.was_told and how == "end of stream", how


class Sse(Client):
    def life(self):
        c = clients.Sse("127.0.0.1", self.bus.http_port, "/topics/load/a", {"Last-Event-ID": self.cursor} if self.cursor else {})
        was_told, self.is_in = False, True  # a stream begins when its subscription stands
        try:
            while not self.is_over():
                e = c.next(120)
                if e["event"] == "message":
                    self.take(json.loads(e["data"]), e["id"])
                elif e["event"] == "closing":
                    assert json.loads(e["data"])["error"]["code"] == "shutting_down", e
                    was_told = True
                    self.told.append(time.monotonic())
                else:
                    self.cursor = e["id"] or self.cursor
        except Closed as e:
            assert was_told and str(e) == "end of stream", e
        finally:
            c.close()


class Poll(Client):
    """On one connection while the server keeps it; the answer that ends it says `Connection: close`."""

    def life(self):
        c = http.client.HTTPConnection("127.0.0.1", self.bus.http_port, timeout=120)
        try:
            while not self.is_over():
                c.request("GET", "/topics/load/a?" + (f"wait=60&since={self.cursor}" if self.cursor else "wait=0"))
                r = c.getresponse()
                answer = json.loads(r.read())
                assert r.status == 200 and answer["state"] in ("live", "recovered"), (r.status, answer)
                for m in answer["messages"]:
                    self.take(m["data"], m["cursor"])
                self.cursor, self.is_in = answer["cursor"], True
                if r.headers.get("Connection", "").lower() == "close":
                    self.told.append(time.monotonic())
                    return
        finally:
            c.close()


class Publisher(threading.Thread):
    """Numbers on load/a with acknowledgement and an idempotency key, from one connection to the next."""

    def __init__(self, bus, n_per_second):
        super().__init__(daemon=True)
        self.bus, self.pause, self.n, self.error = bus, 1 / n_per_second, 0, None
        self.stopping = threading.Event()
        self.start()

    def run(self):
        c = None
        try:
            while not self.stopping.wait(self.pause):
                try:
                    c = c or clients.JsonLines("127.0.0.1", self.bus.tcp_port)
                    c.pub("load/a", self.n, key=f"k{self.n}")
                    self.n += 1
                except Closed:
                    c = None  # and the same once more
        except Exception as e:
            self.error = e

    def stop(self):
        self.stopping.set()
        self.join(DEADLINE)
        assert not self.error, self.error


class Storm:
    """Connects all the time, from several threads; each attempt must be served: an answer, then whatever."""

    def __init__(self, bus):
        self.bus, self.stopping, self.served, self.errors = bus, threading.Event(), {}, []
        attempts = [self.ws, self.tcp, self.http, self.late]
        self.threads = [threading.Thread(target=self.run, args=(a,), daemon=True) for a in attempts for _ in range(3)]
        for t in self.threads:
            t.start()

    def run(self, attempt):
        while not self.stopping.is_set():
            try:
                attempt()
                self.served[attempt.__name__] = self.served.get(attempt.__name__, 0) + 1
            except Exception as e:
                self.errors.append(f"{attempt.__name__}: {e!r}")
            time.sleep(0.005)

    def ws(self):
        clients.WsJson("127.0.0.1", self.bus.ws_port, "/ws").close()

    def tcp(self):
        c = clients.JsonLines("127.0.0.1", self.bus.tcp_port)
        c.send(op="ping", id=1)
        assert c.recv()["op"] == "pong"
        c.close()

    def late(self):
        """Says nothing at first."""
        c = clients.JsonLines("127.0.0.1", self.bus.tcp_port)
        time.sleep(0.3)
        c.send(op="hello", id=1)
        assert c.recv()["op"] == "welcome"
        c.close()

    def http(self):
        r = self.bus.http("GET", "/topics/other")
        assert r.status == 200, r

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(DEADLINE)
        assert not self.errors, (len(self.errors), self.errors[:5])
        assert set(self.served) == {"ws", "tcp", "http", "late"} and sum(self.served.values()) > 100, self.served


def nobody_is_refused():
    n = {Ws: 100, Tcp: 100, Sse: 60, Poll: 40}
    if SANITIZED:
        n = {kind: k // 4 for kind, k in n.items()}
    with Bus(topics=TOPICS, start=False, ws={"workers": 2}, limits={"drain_rate": 100}) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        everybody = [kind(bus) for kind, k in n.items() for _ in range(k)]
        wait_until(lambda: all(c.is_in or c.error for c in everybody), "everybody is subscribed")
        before = up.children()
        publisher, storm = Publisher(bus, 10), Storm(bus)
        wait_until(lambda: publisher.n > 5 or publisher.error, "publishing is under way")
        for what in ("ws", "http", "tcp"):
            said = restart(bus, what)
            assert f"{what}.1-2 is ready; {what}.1 lets its clients go" in said and "exit code 0: done" in said, said
        storm.stop()
        publisher.stop()
        bus.tcp().pub("load/a", LAST)
        for c in everybody:
            c.join(DEADLINE)
        failed = [(type(c).__name__, c.error, c.seen[-3:]) for c in everybody if c.error or not c.is_over()]
        assert not failed, (len(failed), failed[:5])
        expected = list(range(publisher.n)) + [LAST]
        for c in everybody:
            # Some polls and streams were between two connections when it was their turn: nobody had to tell them.
            assert c.seen == expected, (type(c).__name__, [x for x in c.seen if x not in expected], len(c.seen), len(expected))
            assert c.told or isinstance(c, Poll), type(c).__name__
        after = up.children()
        assert set(after) == {"broker", "ws.1-2", "ws.2-2", "http.1-2", "tcp.1-2"}, after
        assert not set(after.values()) & set(before.values()) - {before["broker"]}, (before, after)
        print(f"{len(everybody)} clients of {publisher.n} messages, {sum(storm.served.values())} attempts served: {storm.served}")
        up.end(0)


def told_at_a_paced_rate():
    """100 clients, 50 a second: two seconds. A deadline of 400 ms is stronger than the rate."""
    with Bus(topics=TOPICS, start=False, limits={"drain_rate": 50}) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        everybody = [Tcp(bus) for _ in range(100)]
        wait_until(lambda: all(c.is_in or c.error for c in everybody), "everybody is subscribed")
        restart(bus, "tcp.1")
        told = sorted(t for c in everybody for t in c.told)
        assert len(told) == 100, len(told)
        assert 1.7 < told[-1] - told[0] < 8, told[-1] - told[0]
        # No more than the rate says at any place, but for what a process that did not get the processor makes up for.
        crowded = max(sum(t <= u < t + 0.5 for u in told) for t in told)
        assert crowded <= 25 + 40, crowded
        assert up.children().keys() == {"broker", "ws.1", "http.1", "tcp.1-2"}
        bus.config["limits"] = {"drain_rate": 50, "drain_time": "400ms"}
        bus.write_config()
        up.process.send_signal(signal.SIGHUP)
        up.wait_log("every process was told")
        wait_until(lambda: all(c.n_back == 1 for c in everybody), "everybody is back")
        began = time.monotonic()
        restart(bus, "tcp")
        assert time.monotonic() - began < 6, time.monotonic() - began
        bus.tcp().pub("load/a", LAST)
        for c in everybody:
            c.join(DEADLINE)
            assert not c.error and c.seen == [LAST] and len(c.told) == 2, (c.error, c.seen, c.told)
        up.end(0)


def a_killed_frontend_keeps_its_queue():
    """While nobody accepts, attempts to connect wait; when the frontend is back they are served."""
    with Bus(start=False, up={"restart_delay": "1s"}) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        for kind, ask, answer in (
                ("tcp", b'{"op":"ping","id":1}\n', b'"op":"pong"'), ("http", b"GET /topics/a HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
                ("ws", b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", b"101 ")):
            pid = up.children()[kind + ".1"]
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: f"{kind}.1 was killed by SIGKILL" in up.log(), "its end is seen")
            waiting = []
            for _ in range(100):
                s = socket.create_connection(("127.0.0.1", bus.ports[kind]), timeout=DEADLINE)
                s.sendall(ask)
                waiting.append(s)
            assert kind + ".1" not in up.children(), "it came back too early for this test"
            for s in waiting:
                got = b""
                while answer not in got:
                    more = s.recv(4096)
                    assert more, (kind, got)
                    got += more
                s.close()
        up.end(0)


def what_cannot_be_restarted():
    with Bus(topics=TOPICS, start=False) as bus:
        assert "no `busbar up` runs in" in restart(bus, "ws", 4)
        with Up(bus) as up:
            up.wait_log("The bus is up.")
            mode = os.stat(os.path.join(bus.runtime_dir, "up.sock")).st_mode & 0o777
            assert mode == 0o600, oct(mode)
            assert "there is no process wss" in restart(bus, "wss", 2)
            client = bus.ws()
            good = dict(bus.config["ws"])
            bus.config["ws"]["path"] = 17 * ["no path"]
            bus.write_config()
            r = subprocess.run([program("busbar"), "restart", "--runtime-dir", bus.runtime_dir, "ws"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, timeout=60)
            assert r.returncode == 1 and "ws.1-2 ended with exit code 3: the one before it goes on" in r.stdout, r
            bus.config["ws"] = good
            bus.write_config()
            client.pub("a", 1)  # it did not notice
            assert "broker is ready" in restart(bus, "broker")
            client.pub("a", 2)
            assert "ws.1-2" in restart(bus, "ws")
            assert "ws.1-3 is ready; ws.1-2 lets" in restart(bus, "ws.1-2")
            up.end(0)
            assert not os.path.exists(os.path.join(bus.runtime_dir, "up.sock"))


def systemd_passes_sockets():
    """sd_listen_fds(3): `busbar up` takes the socket for ws.listen, warns of a stray one, and opens the others itself."""
    with Bus(start=False) as bus:
        mine = socket.create_server(("127.0.0.1", bus.ws_port))
        stray = socket.create_server(("127.0.0.1", 0))
        log_path = os.path.join(bus.dir, "up.log")
        # The shell becomes busbar, so that its pid is the one in LISTEN_PID.
        script = f"exec 3<&{mine.fileno()} 4<&{stray.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$@\""
        with open(log_path, "wb") as log:
            p = subprocess.Popen(["bash", "-c", script, "bash", program("busbar"), "up", "-c", bus.config_path], stdout=log,
                                 stderr=log, stdin=subprocess.DEVNULL, pass_fds=(mine.fileno(), stray.fileno()))
        try:
            wait_until(lambda: b"The bus is up." in open(log_path, "rb").read() or p.poll() is not None, "it is up")
            text = open(log_path).read()
            assert "The bus is up." in text and "are no frontend's listen address" in text, text
            bus.ws().pub("a", 1)
            bus.tcp().pub("a", 1)
        finally:
            p.terminate()
            assert p.wait(DEADLINE) == 0


if __name__ == "__main__":
    main([nobody_is_refused, told_at_a_paced_rate, a_killed_frontend_keeps_its_queue, what_cannot_be_restarted,
          systemd_passes_sockets])
