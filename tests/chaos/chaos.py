# SPDX-License-Identifier: Apache-2.0
"""Everything that may go wrong, at random, for as long as you like; and nothing is lost silently.

A bus under `busbar up` with some hundred subscribers of all kinds and publishers over every transport that wait for their
acknowledgements. Meanwhile its processes are killed, terminated and stopped, connections cut, readers made slow. In the end
every acknowledged publish and everything that every subscriber was given is compared (model.py has the rules).

    ./dev chaos --minutes 30 --seed 7
"""
import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import time
import traceback

from tests.chaos import plants
from tests.chaos.foreign import BusbarPub, BusbarSub, Node
from tests.chaos.model import parse_cursor
from tests.chaos.publishers import NodePublisher, PipePublisher, Publisher
from tests.chaos.subscribers import Subscriber
from tests.chaos.wire import Http, Lost, TcpJson, WebSocket
from tests.chaos.world import BACK, DROPPING, INSTANCES, World
from tests.support.bus import SANITIZED

EVERYTHING = ("tcp", "tcp-msgpack", "ws", "ws-msgpack", "poll", "sse")
PYTHON_KINDS = [(("tcp",), 12), (("tcp-msgpack",), 8), (("ws",), 12), (("ws-msgpack",), 8), (("poll",), 10), (("sse",), 10),
                (EVERYTHING, 16)]
NODE_KINDS = [("ws", 12), ("eventsource", 10), ("busbarjs", 8)]
N_BUSBAR_SUB = 6


def some_filters(rng, topics):
    return rng.choice((
        lambda: ["t/#"],
        lambda: [f"t/{rng.randrange(4)}/+"],
        lambda: [f"t/{rng.randrange(4)}/#", rng.choice(topics)],
        lambda: [f"t/+/{rng.randrange(8)}"],
        lambda: [rng.choice(topics)],
        lambda: rng.sample(topics, 3),
        lambda: ["short/#"],
        lambda: ["none/+", rng.choice(topics)],
        lambda: ["#"],
    ))()


class Chaos:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.world = World(options.seed, options.backend, {"store": {"sync": options.sync}}, options.drops)
        self.subscribers, self.subs, self.publishers = [], [], []
        self.node = None
        self.tasks, self.befalling = [], set()
        self.notes = []

    def witnesses(self):
        own = [s.witness for s in self.subscribers] + [s.witness for s in self.subs]
        return own + (list(self.node.witnesses.values()) if self.node else [])

    # ---- The beginning. ----

    async def first_cursor(self):
        c = TcpJson(self.world.port("tcp"))
        await c.open()
        self.world.truth.send("begin", 0)
        c.send({"op": "pub", "id": 1, "topic": "t/0/0", "data": {"p": "begin", "n": 0}})
        cursor = (await asyncio.wait_for(c.recv(), 30))["cursor"]
        self.world.truth.ack("begin", 0, "t/0/0", cursor)
        c.close()
        return cursor

    def scaled(self, n):
        return max(1, round(n * self.options.scale))

    async def begin_clients(self, start):
        topics = self.world.topics
        for kinds, count in PYTHON_KINDS:
            for i in range(self.scaled(count)):
                name = f"{kinds[0] if len(kinds) == 1 else 'roamer'}-{i}"
                since = start if self.random.random() < 0.5 else None
                self.subscribers.append(Subscriber(self.world, name, kinds, some_filters(self.random, topics), since))
        if self.options.drops:
            for i, kind in enumerate(("tcp", "ws", "sse", "tcp-msgpack", "ws-msgpack")):
                self.subscribers.append(Subscriber(self.world, f"drop-{kind}", (kind,), ["drop/+"], start, is_narrow=True))
            p = Publisher(self.world, "p-drop", ("tcp",), True, 200, 16)
            p.topics, p.sizes = DROPPING, (4000,)
            self.publishers.append(p)
        if self.options.plant:
            plants.plant(self.options.plant, self.subscribers)
        await self.begin_foreign(start)
        rate = self.options.rate / 11
        for name, kinds, has_keys, window in (
                ("p-tcp", ("tcp",), True, 16), ("p-ws", ("ws",), True, 16), ("p-mixed", EVERYTHING[:4], True, 4),
                ("p-http", ("http",), True, 1), ("p-roam", (*EVERYTHING[:4], "http"), True, 8),
                ("p-once-tcp", ("tcp-msgpack",), False, 16), ("p-once-ws", ("ws", "ws-msgpack"), False, 4),
                ("p-once-http", ("http",), False, 1), ("p-http2", ("http",), True, 1)):
            self.publishers.append(Publisher(self.world, name, kinds, has_keys, rate, window))
        if self.node:
            self.publishers.append(NodePublisher(self.world, "p-busbarjs", self.node, rate))
        pub = BusbarPub(self.world, "p-libbusbar", "t/p/0")
        await pub.start()
        self.publishers.append(PipePublisher(self.world, pub, rate))
        for client in self.subscribers + self.publishers:
            self.tasks.append(asyncio.create_task(client.run()))

    async def begin_foreign(self, start):
        node = os.environ.get("NODE") or shutil.which("node")
        modules = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients", "node_modules")
        if node and os.path.isdir(os.path.join(modules, "ws")) and os.path.isdir(os.path.join(modules, "eventsource")):
            specs = [{"name": f"npm-{kind}-{i}", "kind": kind, "filters": some_filters(self.random, self.world.topics), "since": start}
                     for kind, count in NODE_KINDS for i in range(self.scaled(count))]
            specs.append({"name": "p-busbarjs", "kind": "busbarjs", "publishes": True})
            self.node = Node(self.world, node, specs)
            await self.node.start()
        else:
            self.notes.append("without node, npm's ws and eventsource, busbar.js (run `npm ci` in tests/clients)")
        for i in range(self.scaled(N_BUSBAR_SUB)):
            self.subs.append(BusbarSub(self.world, f"libbusbar-{i}", some_filters(self.random, self.world.topics), start))
            await self.subs[-1].start()

    # ---- What befalls. ----

    def befall(self, coroutine):
        task = asyncio.create_task(coroutine)
        self.befalling.add(task)
        task.add_done_callback(self.befalling.discard)

    def victim(self):
        return self.random.choice(("broker", "broker", *INSTANCES))

    def do_kill(self):
        self.world.signal(self.victim(), signal.SIGKILL, "kill")

    def do_kill_two(self):
        for instance in self.random.sample(INSTANCES, 2):
            self.world.signal(instance, signal.SIGKILL, "kill")

    def do_term(self):
        self.world.signal(self.victim(), signal.SIGTERM, "term")

    def do_stop(self):
        self.befall(self.world.stop_for(self.victim(), self.random.choice((0.2, 0.5, 1, 2, 4, 7))))

    def do_restart(self):
        self.befall(self.world.restart(self.victim()))

    def do_cut(self):
        clients = self.random.sample(self.subscribers, min(len(self.subscribers), self.random.randrange(1, 12)))
        for client in clients + self.random.sample(self.publishers, 1):
            client.cut()
            self.world.count("cut")
        if self.node:
            for name in self.random.sample(sorted(self.node.witnesses), 3):
                self.node.order(do="cut", name=name)
                self.world.count("cut")

    def do_slow(self):
        for client in self.random.sample(self.subscribers, self.random.randrange(1, 5)):
            client.be_slow(self.random.uniform(0.5, 5))
            self.world.count("slow")

    def do_fall_behind(self):
        """Until messages are dropped; and perhaps it is cut off when it has seen what came after them."""
        async def cut_after(client, seconds):
            await asyncio.sleep(seconds)
            client.cut()
        client = self.random.choice([s for s in self.subscribers if s.is_narrow])
        seconds = self.random.uniform(3, 8)
        client.be_slow(seconds)
        self.world.count("fall behind")
        if self.random.random() < 0.5:
            self.befall(cut_after(client, seconds + self.random.uniform(0, 0.3)))

    def do_freeze(self):
        async def freeze(process, seconds):
            process.signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            process.signal(signal.SIGCONT)
        process = self.random.choice([p for p in [*self.subs, self.node] if p])
        self.world.count("freeze client")
        self.befall(freeze(process, self.random.uniform(0.5, 4)))

    def do_burst(self):
        self.random.choice(self.publishers[:9]).burst = self.random.randrange(20, 150)
        self.world.count("burst")

    def do_fill(self):
        self.world.count("full disk")
        self.befall(self.world.disk.fill_for(self.random.uniform(0.2, 4)))

    async def rage(self, seconds):
        deeds = {self.do_kill: 4, self.do_kill_two: 1, self.do_term: 3, self.do_stop: 3, self.do_restart: 2, self.do_cut: 5, self.do_slow: 3,
                 self.do_freeze: 1, self.do_burst: 3}
        if self.options.drops:
            deeds[self.do_fall_behind] = 8
        if self.world.disk:
            deeds[self.do_fill] = 2
        elif self.world.is_durable:
            self.notes.append("without a full disk (needs root, for a tmpfs)")
        end = time.monotonic() + seconds
        said = time.monotonic()
        while time.monotonic() < end and self.world.up.poll() is None:
            await asyncio.sleep(min(self.random.expovariate(1 / self.options.pace), 10))
            self.random.choices(list(deeds), list(deeds.values()))[0]()
            if self.world.truth.problems and not self.options.on:
                print("ending early: something is wrong", flush=True)
                break
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(f"# {int(end - said)} s left; {self.world.truth.n_acked} acknowledged, "
                      f"{sum(w.n_messages for w in self.witnesses())} deliveries", flush=True)
        await asyncio.gather(*self.befalling)

    # ---- The end. ----

    async def answers(self, instance):
        """Whether this instance serves clients and has its broker."""
        kind = instance.split(".")[0]
        c = {"ws": WebSocket, "tcp": TcpJson, "http": Http}[kind](self.world.port(kind))
        try:
            await c.open()
            if kind == "http":
                return (await asyncio.wait_for(c.request("GET", "/health/ready"), 5))[0] == 200
            c.send({"op": "hello"})
            m = await asyncio.wait_for(c.recv(), 5)
            return m["server"].split("-")[0] == instance and "cursor" in m
        except (Lost, asyncio.TimeoutError):
            return False
        finally:
            c.abort()

    async def everybody_is_back(self):
        for instance in INSTANCES:
            end = time.monotonic() + BACK
            while instance not in self.world.children() or (instance != "broker" and not await self.answers(instance)):
                if time.monotonic() > end:
                    self.world.truth.problem(f"{instance} is not back, or does not answer, {BACK} s after the last deed")
                    break
                await asyncio.sleep(0.05)

    async def end_publishers(self):
        for p in self.publishers:
            p.is_ending = True
        tasks = self.tasks[len(self.subscribers):]
        _, late = await asyncio.wait(tasks, timeout=2 * BACK)
        for task in late:
            p = self.publishers[tasks.index(task)]
            self.world.truth.problem(f"{p.name}: {len(p.unanswered)} publishes not acknowledged {2 * BACK} s after the end: "
                                     f"{sorted(p.unanswered)[:5]}")
            task.cancel()

    async def mark_the_end(self):
        """A last message on each topic, so that each subscriber can be waited for."""
        marker = Publisher(self.world, "end", ("tcp",), True, 1000, 1)
        for n, topic in enumerate(self.world.topics + ["t/p/0"]):
            self.world.truth.send("end", n)
            marker.unanswered[n] = {"op": "pub", "id": n, "topic": topic, "data": {"p": "end", "n": n}, "key": f"end-{self.world.seed}-{n}"}
        marker.is_ending = True
        marker.window = len(marker.unanswered) + 1
        await asyncio.wait_for(marker.run(), BACK)

    def has_arrived(self, witness):
        truth = self.world.truth
        if not witness.segments:
            return False
        ends = [truth.acked[("end", n)] for n, topic in enumerate(self.world.topics + ["t/p/0"])
                if any(plants.matches(f, topic) for f in witness.filters)]
        epoch, position = parse_cursor(witness.cursor)
        return all(epoch == e and position >= seq for e, seq in ends)

    async def all_arrive(self, witnesses):
        """Whoever comes nearer is waited for: a newcomer has all of it to read."""
        end, reached = time.monotonic() + 2 * BACK, None
        while True:
            late = [w for w in witnesses if not self.has_arrived(w)]
            if not late:
                return
            if reached != (reached := [w.cursor for w in late]):
                end = time.monotonic() + 2 * BACK
            if time.monotonic() > end:
                for w in late[:5]:
                    w.problem(f"stands at {w.cursor}, the end never came\n    " + "\n    ".join(w.history[-10:]))
                return
            await asyncio.sleep(0.05)

    async def audit(self, start):
        """Newcomers read everything from the beginning."""
        auditors = [Subscriber(self.world, f"auditor-{kind}", (kind,), ["#"], start) for kind in EVERYTHING]
        self.subscribers += auditors
        self.tasks += [asyncio.create_task(a.run()) for a in auditors]
        await self.all_arrive([a.witness for a in auditors])

    async def end_clients(self):
        """asyncio.wait_for() may swallow a cancellation that comes together with what it waits for: so until they end."""
        pending = self.tasks
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1)

    async def run(self):
        self.began = time.monotonic()
        world = self.world
        try:
            await world.start()
            watch = asyncio.create_task(world.watch())
            start = await self.first_cursor()
            await self.begin_clients(start)
            await asyncio.sleep(1)
            await self.rage(self.options.seconds)
            await self.everybody_is_back()
            await self.end_publishers()
            await self.mark_the_end()
            await self.all_arrive(self.witnesses())
            await self.audit(start)
            watch.cancel()
        finally:
            world.is_over = True
            await self.end_clients()
            for process in self.subs + ([self.node] if self.node else []):
                await process.end()
            for p in self.publishers:
                if isinstance(p, PipePublisher):
                    await p.pub.end()
            world.end()
        world.truth.close()
        return sum(w.judge() for w in self.witnesses())

    def summary(self, losses):
        world, witnesses = self.world, self.witnesses()
        kills = ", ".join(f"{k} {v}" for k, v in sorted(world.kills.items()))
        return (f"seed {self.options.seed}, {world.backend}, {time.monotonic() - self.began:.0f} s; {kills}; "
                f"{world.truth.n_acked} publishes acknowledged by {len(self.publishers)} publishers; "
                f"{sum(w.n_messages for w in witnesses)} deliveries to {len(witnesses)} subscribers over "
                f"{sum(s.n_connections for s in self.subscribers)} connections; "
                f"gaps told {sum(w.n_gaps for w in witnesses)}, resets told {sum(w.n_resets for w in witnesses)}, "
                f"dropped {sum(w.n_dropped for w in witnesses)}; losses {losses}, problems {len(world.truth.problems)}"
                + "".join(f"; {note}" for note in self.notes))


def run(options):
    """0 if all is well."""
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:quarantine_size_mb=16")
    os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    print(f"chaos: {options.seconds:.0f} s with seed {options.seed}, backend {options.backend}", flush=True)
    chaos = Chaos(options)
    try:
        return judged(chaos, options)
    finally:
        if chaos.world.disk:
            chaos.world.disk.unmount()
        if not options.keep:
            shutil.rmtree(chaos.world.bus.dir, ignore_errors=True)


def judged(chaos, options):
    losses = 0
    try:
        losses = asyncio.run(chaos.run())
    except Exception as e:
        chaos.world.truth.problem(f"the driver ended with {e!r}")
        if options.keep:
            traceback.print_exc()
    problems = chaos.world.truth.problems
    for problem in problems[:1 if options.plant else 12]:
        print("PROBLEM", problem)
    if problems and not options.plant:
        print(f"--- the end of the bus's log ---\n{chaos.world.log()[-6000:]}")
        print(f"FAILED with {len(problems)} problems; again with --seed {options.seed}")
    print(chaos.summary(losses), flush=True)
    if options.keep:
        if chaos.world.disk:
            shutil.copytree(chaos.world.disk.path, chaos.world.disk.path + "-kept", dirs_exist_ok=True)
        print("kept in", chaos.world.bus.dir)
    return 1 if problems else 0


def parse(argv):
    p = argparse.ArgumentParser(prog="./dev chaos", description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("--minutes", type=float, help="how long (1)")
    p.add_argument("--seconds", type=float, help="the same in seconds")
    p.add_argument("--seed", type=int, default=None, help="what befalls, and when; the clock does the rest (random)")
    p.add_argument("--backend", default="sqlite", choices=("memory", "sqlite"), help="where messages are kept (sqlite)")
    p.add_argument("--sync", default="interval", choices=("none", "interval", "always"), help="what the store promises (interval)")
    p.add_argument("--scale", type=float, default=1.0, help="times the usual number of subscribers (1)")
    p.add_argument("--rate", type=float, default=50 if SANITIZED else 100, help="publishes a second, all publishers together (100)")
    p.add_argument("--pace", type=float, default=0.8, help="seconds between two deeds, on average (0.8)")
    p.add_argument("--drops", action="store_true", help="also topics whose messages are dropped for slow readers")
    p.add_argument("--plant", choices=sorted(plants.PLANTS), help="let a subscriber lie, to see that it is found")
    p.add_argument("--keep", action="store_true", help="keep configuration, store and logs")
    p.add_argument("--on", action="store_true", help="go on after the first problem")
    options = p.parse_args(argv)
    if options.seconds is None:
        options.seconds = 60 * (options.minutes or 1)
    if options.seed is None:
        options.seed = random.randrange(1 << 31)
    return options


if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:])))
