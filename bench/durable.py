#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What durability costs, and what it gives back: three tables.

    bench/durable.py --build DIR [acks] [recovery] [restart] [--rounds N] [--seconds S] [--json]

acks      publishes per second that were acknowledged, and how long each waited for that, for each setting of the store, beside
          nats-server with JetStream and Redis Streams, in turn, in one run, on the disk of --dir
recovery  messages per second to one client that comes back, from memory, from the store's cache, and from its file
restart   from kill -9 of the broker under `busbar up` to what was published after it, for many clients and topics
"""
import argparse
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from bench import servers  # noqa: E402
from bench.servers import cpu_seconds, end_when_told, median_of  # noqa: E402

EVERYTHING = {"messages": 100000000, "age": "1d", "bytes": "0"}
LOADS = [("1 publisher, 1 in flight", ["--topics", "1", "--window", "1"]),
         ("1 publisher, 100 in flight", ["--topics", "1", "--window", "100"]),
         ("100 publishers, 1 in flight each", ["--topics", "100", "--window", "1"]),
         ("100 publishers, 10 in flight each", ["--topics", "100", "--window", "10"])]
DEADLINE = 120


class Busbar(servers.Busbar):
    """A broker with busbar-tcp; sync None: it keeps messages in memory. is_up: under `busbar up`."""

    def __init__(self, build, sync=None, is_up=False, link="nanomsg"):
        self.is_up = is_up
        sections = {"broker": {"backend": "memory" if sync is None else "sqlite"}}
        if sync is not None:
            sections["store"] = {"path": "busbar.db", "sync": sync}  # in its own folder, where it runs
        super().__init__(build, "tcp", link=link, history=EVERYTHING, **sections)
        self.wait_until_it_answers()

    def start(self, ports, workers, kind):
        if not self.is_up:
            super().start(ports, workers, kind)
            return
        only = [x for other in ("ws", "http") for x in ("--set", f"{other}.enabled=false")]
        self.listens(self.spawn(os.path.join(self.build, "cli/busbar"), "up", "-c", self.config, *only))

    def restart_broker(self):
        self.processes.remove(self.broker)
        self.broker.terminate()
        self.broker.wait(DEADLINE)
        self.start_broker()
        self.wait_until_it_answers()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def wait_until_it_answers(self):
        self.publish([("ready", "x")])

    def publish(self, messages):
        """All of them, acknowledged; returns the last cursor."""
        with self.connect() as s:
            cursor = None
            lines = s.makefile("rb")
            for i in range(0, len(messages), 500):
                part = messages[i:i + 500]
                s.sendall("".join(f'{{"op":"pub","id":1,"topic":"{t}","data":"{d}"}}\n' for t, d in part).encode())
                for _ in part:
                    answer = json.loads(lines.readline())
                    if answer["op"] != "published":
                        raise RuntimeError(f"instead of published: {answer}")
                    cursor = answer["cursor"]
            return cursor

    def child(self, name):
        for pid in self.pids():
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().split(b"\0")[0].endswith(name.encode()):
                    return pid
        return None


def kinds(build):
    """(name, what an acknowledgement says, the generator's protocol, how to start it)"""
    yield "busbar, memory", "in memory", "busbar-tcp", lambda: Busbar(build)
    yield "busbar, memory, link: unix", "in memory", "busbar-tcp", lambda: Busbar(build, link="unix")
    if has_sqlite(build):
        yield "busbar, sync: none", "write()", "busbar-tcp", lambda: Busbar(build, "none")
        yield "busbar, sync: interval", "write(), fsync 100 ms later", "busbar-tcp", lambda: Busbar(build, "interval")
        yield "busbar, sync: interval, link: unix", "write(), fsync 100 ms later", "busbar-tcp", lambda: Busbar(build, "interval", link="unix")
    if shutil.which("nats-server"):
        yield "nats-server, JetStream", "write(), fsync minutes later", "jetstream", lambda: servers.JetStream(build)
    if shutil.which("redis-server"):
        yield "redis, everysec", "write(), fsync 1 s later", "redis", lambda: servers.Redis(build, "everysec")
        yield "redis, always", "fsync", "redis", lambda: servers.Redis(build, "always")
    if has_sqlite(build):
        yield "busbar, sync: always", "fsync", "busbar-tcp", lambda: Busbar(build, "always")
        yield "busbar, sync: always, link: unix", "fsync", "busbar-tcp", lambda: Busbar(build, "always", link="unix")


def has_sqlite(build):
    out = subprocess.run([os.path.join(build, "broker/busbar-broker"), "--set", "broker.backend=nothing", "--config", "/dev/null"],
                         capture_output=True, text=True, check=False)
    return "sqlite" in out.stderr + out.stdout


def disk(seconds=2):
    """What this disk gives to who appends 100 bytes and calls fdatasync()."""
    peer = servers.Server()
    times = []
    try:
        fd = os.open(os.path.join(peer.dir, "disk"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            os.write(fd, b"x" * 100)
            os.fdatasync(fd)
            times.append((time.monotonic() - began) * 1e6)
        os.close(fd)
    finally:
        peer.close()
    times.sort()
    return {"per_s": len(times) / seconds, "p50_us": times[len(times) // 2], "p99_us": times[len(times) * 99 // 100]}


# ---- acks ----

def acks(args):
    rows = {}
    for n in range(args.rounds):
        rows.setdefault(("write() and fdatasync()", "", ""), []).append(disk())
        for name, says, proto, start in kinds(args.build):
            print(f"bench: acks, {name}, round {n + 1} of {args.rounds}", file=sys.stderr)
            for load, arguments in LOADS:
                peer = start()
                try:
                    g = servers.generator(args.build, peer, proto, ["acks", *arguments, "--seconds", str(args.seconds)])
                    out, err = g.communicate(timeout=DEADLINE)
                    result = json.loads(out) if g.returncode == 0 else {"error": err.strip()}
                except RuntimeError as e:
                    result = {"error": str(e)}
                finally:
                    peer.close()
                rows.setdefault((name, says, load), []).append(result)
    if not args.json:
        d = median_of(rows[("write() and fdatasync()", "", "")])
        print(f"\n## acks: publishes of 100 bytes that were acknowledged, TCP\n\nThis disk: {d['per_s']:,.0f} appends of 100 bytes with "
              f"fdatasync() per second, one after the other; p50 {d['p50_us']:,.0f} µs, p99 {d['p99_us']:,.0f} µs.\n")
    for load, _ in LOADS:
        if not args.json:
            print(f"\n{load}:\n\n| server | an answer means | published/s | p50 µs | p99 µs | CPU s per million |\n|---|---|---|---|---|---|")
        for (name, says, of_load), results in rows.items():
            if of_load != load:
                continue
            r = median_of(results)
            if args.json:
                print(json.dumps({"table": "acks", "server": name, "load": load, **r}))
            elif "error" in r:
                print(f"| {name} | {says} | failed: {r['error']} |")
            else:
                print(f"| {name} | {says} | {r['deliveries_per_s']:,.0f} | {r['p50_us']:,.0f} | {r['p99_us']:,.0f} | {r['cpu_s_per_million']:.1f} |")


# ---- recovery ----

def replay(peer, filter_, cursor, n_messages, n_times):
    """One client asks for everything after cursor, a few times over."""
    cpu, began = cpu_seconds(peer.pids()), time.monotonic()
    for _ in range(n_times):
        with peer.connect() as s:
            s.sendall(json.dumps({"op": "sub", "id": 1, "topic": filter_, "since": cursor}).encode() + b"\n")
            missing = n_messages + 1  # and `subscribed`
            head = None
            while missing > 0:
                data = s.recv(1 << 20)
                if not data:
                    raise RuntimeError("the server closed the connection")
                missing -= data.count(b"\n")
                head = head or data
            if b'"recovered"' not in head.split(b"\n")[0]:
                raise RuntimeError(f"instead of recovered: {head[:300]!r}")
    n = n_messages * n_times
    return {"messages_per_s": n / (time.monotonic() - began), "cpu_s_per_million": (cpu_seconds(peer.pids()) - cpu) * 1e6 / n}


def recovery(args):
    n, times = args.messages, 3
    rows = {}
    for round_ in range(args.rounds):
        for what, topics, filter_ in [("one topic", 1, "bench/0"), ("a wildcard over 10,000 topics", 10000, "bench/#")]:
            for store in ["memory", *(["sqlite"] if has_sqlite(args.build) else [])]:
                print(f"bench: recovery, {what}, {store}, round {round_ + 1} of {args.rounds}", file=sys.stderr)
                peer = Busbar(args.build, None if store == "memory" else "interval")
                try:
                    start = peer.publish([("elsewhere", "x")])
                    peer.publish([(f"bench/{i % topics}", "x" * 100) for i in range(n)])
                    rows.setdefault((what, store if store == "memory" else "sqlite, what was published last, in its cache"),
                                    []).append(replay(peer, filter_, start, n, times))
                    if store == "sqlite":
                        began = time.monotonic()
                        peer.restart_broker()
                        took = time.monotonic() - began
                        for first, name in [(True, "sqlite, first after a restart"), (False, "sqlite, again")]:
                            r = replay(peer, filter_, start, n, 1 if first else times)
                            rows.setdefault((what, name), []).append({**r, **({"start_s": took} if first else {})})
                except (RuntimeError, OSError) as e:
                    rows.setdefault((what, store), []).append({"error": str(e)})
                finally:
                    peer.close()
    if not args.json:
        print(f"\n## recovery: {n:,} messages of 100 bytes to one client that comes back, TCP\n\n"
              "| what | from | messages/s | CPU s per million |\n|---|---|---|---|")
    for (what, store), results in rows.items():
        r = median_of(results)
        if args.json:
            print(json.dumps({"table": "recovery", "what": what, "from": store, **r}))
        elif "error" in r:
            print(f"| {what} | {store} | failed: {r['error']} |")
        else:
            print(f"| {what} | {store} | {r['messages_per_s']:,.0f} | {r['cpu_s_per_million']:.2f} |")


# ---- restart ----

class Crowd:
    """Many subscribers, each with a topic of its own, in one epoll loop."""

    def __init__(self, peer, n):
        self.selector, self.n = selectors.EpollSelector(), n
        self.rest, self.seen, self.told, self.n_subscribed = {}, [None] * n, 0, 0
        self.socks = []
        for i in range(n):
            s = socket.socket()
            s.bind((f"127.0.0.{1 + i // 5000}", 0))
            s.connect(("127.0.0.1", peer.port))
            s.sendall(b'{"op":"sub","id":1,"topic":"bench/%d"}\n' % i)
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ, i)
            self.socks.append(s)
            if i % 100 == 0:
                self.turn(0)
        end = time.monotonic() + DEADLINE
        while self.n_subscribed < n:
            self.turn(0.1)
            if time.monotonic() > end:
                raise RuntimeError(f"only {self.n_subscribed} of {n} are subscribed")

    def turn(self, timeout):
        """Takes what came; returns how many first messages with a new mark were among it."""
        n_new = 0
        for key, _ in self.selector.select(timeout):
            data = key.fileobj.recv(65536)
            if not data:
                raise RuntimeError("a client was disconnected")
            *lines, self.rest[key.data] = (self.rest.get(key.data, b"") + data).split(b"\n")
            for line in lines:
                if b'"subscribed"' in line:
                    self.n_subscribed += 1
                elif b'"msg"' in line:
                    mark = line.split(b'"data":"')[1].split(b'"')[0]
                    if self.seen[key.data] == mark:
                        raise RuntimeError("a message came twice")
                    self.seen[key.data] = mark
                    n_new += 1
                elif b'"state"' in line:
                    self.told += 1
        return n_new

    def close(self):
        for s in self.socks:
            s.close()
        self.selector.close()


def restart(args):
    n = args.clients
    rows = {}
    for round_ in range(args.rounds):
        for store in ["memory", *(["sqlite"] if has_sqlite(args.build) else [])]:
            print(f"bench: restart, {store}, round {round_ + 1} of {args.rounds}", file=sys.stderr)
            peer = Busbar(args.build, None if store == "memory" else "interval", is_up=True)
            crowd = None
            try:
                peer.publish([(f"bench/{i % n}", "kept") for i in range(10 * n)])
                crowd = Crowd(peer, n)
                rows.setdefault(store, []).append(one_restart(peer, crowd, n))
            except (RuntimeError, OSError) as e:
                rows.setdefault(store, []).append({"error": str(e)})
            finally:
                if crowd is not None:
                    crowd.close()
                peer.close()
    if not args.json:
        print(f"\n## restart: kill -9 of the broker under `busbar up`, {n:,} TCP clients, each with a topic of its own that keeps 10 messages\n\n"
              "| store | the first of what was published after the kill, ms | to all clients, ms | told of a reset |\n|---|---|---|---|")
    for store, results in rows.items():
        r = median_of(results)
        if args.json:
            print(json.dumps({"table": "restart", "store": store, **r}))
        elif "error" in r:
            print(f"| {store} | failed: {r['error']} |")
        else:
            print(f"| {store} | {r['first_ms']:,.0f} | {r['all_ms']:,.0f} | {r['told']:,.0f} |")


def one_restart(peer, crowd, n):
    with peer.connect() as publisher:
        pid = peer.child("busbar-broker")
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        publisher.sendall(b"".join(b'{"op":"pub","topic":"bench/%d","data":"after"}\n' % i for i in range(n)))
        first, missing = None, n
        while missing > 0:
            n_new = crowd.turn(0.05)
            now = time.monotonic()
            if n_new > 0 and first is None:
                first = now
            missing -= n_new
            if now > killed + DEADLINE:
                raise RuntimeError(f"{missing} of {n} messages were not delivered")
    if peer.child("busbar-broker") in (None, pid):
        raise RuntimeError("there is no new broker")
    return {"first_ms": (first - killed) * 1000, "all_ms": (now - killed) * 1000, "told": crowd.told}


TABLES = {"acks": acks, "recovery": recovery, "restart": restart}


def main():
    end_when_told()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", type=int, default=10000, help="of restart")
    parser.add_argument("--messages", type=int, default=200000, help="of recovery")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    for name in args.tables:
        if name not in TABLES:
            parser.error(f"there is no table '{name}'; there are {', '.join(TABLES)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name in args.tables or TABLES:
        TABLES[name](args)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
