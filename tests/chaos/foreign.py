# SPDX-License-Identifier: Apache-2.0
"""Clients that are not this process: npm's ws and eventsource and busbar.js in one Node, libbusbar as `busbar sub` and `busbar pub`.
They keep their cursors themselves; a Witness is told what they print."""
import asyncio
import json
import os
import re
import signal
import subprocess

from tests.chaos.model import Witness
from tests.support.bus import SRC, program

CLIENTS_JS = os.path.join(SRC, "tests", "clients")


class Foreign:
    """A process of ours; can be stopped and continued, which makes a slow reader of it."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.process = None
        self.tasks = []
        self.is_ending = False

    async def spawn(self, argv, **options):
        # Standard error goes where output goes: what is told has its place between the messages.
        self.process = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 22,
                                                            **options)
        self.tasks.append(asyncio.create_task(self.read()))

    async def read(self):
        async for line in self.process.stdout:
            try:
                self.line(line.decode())
            except Exception as e:
                self.world.truth.problem(f"{self.name} printed {line[:300]!r}: {e!r}")
        code = await self.process.wait()
        if not self.world.is_over and not self.is_ending:
            self.world.truth.problem(f"{self.name} ended by itself with {code}")

    def signal(self, number):
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def end(self):
        """Every one of them ends by itself, and well, when it is told to."""
        self.signal(signal.SIGCONT)
        self.process.stdin.close()
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 20)
        except asyncio.TimeoutError:
            self.world.truth.problem(f"{self.name} did not end within 20 s of SIGTERM")
            self.process.kill()
            await self.process.wait()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Node(Foreign):
    """specs: what clients.mjs takes. Its subscribers have a Witness each, in `witnesses`."""

    def __init__(self, world, node, specs):
        super().__init__(world, "node")
        self.node, self.specs = node, specs
        self.witnesses = {s["name"]: Witness(world.truth, s["name"], s["filters"]) for s in specs if not s.get("publishes")}
        self.waiting = {}  # (publisher, n) -> future
        for spec in specs:
            if not spec.get("publishes"):
                self.witnesses[spec["name"]].begin(spec["since"])

    async def start(self):
        await self.spawn([self.node, os.path.join(SRC, "tests/chaos/clients.mjs"), f"ws://127.0.0.1:{self.world.port('ws')}/ws",
                          f"http://127.0.0.1:{self.world.port('http')}", SRC, CLIENTS_JS, json.dumps(self.specs)], stderr=None)

    def line(self, line):
        name, what, *rest = json.loads(line)
        if what in ("acked", "nacked"):
            future = self.waiting.pop((name, rest[0]), None)
            if future is not None and not future.done():
                future.set_result((what, rest[1]))
            return
        witness = self.witnesses.get(name)
        if what == "msg":
            witness.message(*rest)
        elif what == "state":
            witness.state(*rest)
        elif what == "dropped":
            witness.dropped(*rest)
        elif what == "error" and rest[0] not in ("unavailable", "timeout", "shutting_down", "too_slow"):
            self.world.truth.problem(f"{name} was answered {rest}")
        elif witness is not None:
            witness.remember(f"{what} {rest}")

    def order(self, **order):
        self.process.stdin.write((json.dumps(order) + "\n").encode())

    def publish(self, name, n, topic, data):
        future = self.waiting[(name, n)] = asyncio.get_running_loop().create_future()
        self.order(do="pub", name=name, n=n, topic=topic, data=data)
        return future


class BusbarSub(Foreign):
    """libbusbar, by `busbar sub --json`."""

    def __init__(self, world, name, filters, since):
        super().__init__(world, name)
        self.witness = Witness(world.truth, name, filters)
        self.witness.begin(since)
        self.since = since

    async def start(self):
        env = dict(os.environ, BUSBAR_SERVER=f"127.0.0.1:{self.world.port('tcp')}")
        await self.spawn([program("busbar"), "sub", "--json", "--since", self.since, *self.witness.filters],
                         stderr=subprocess.STDOUT, env=env)

    def line(self, line):
        if line.startswith("{"):
            m = json.loads(line)
            if not m.get("retained"):
                self.witness.message(m["cursor"], m["topic"], m["data"]["p"], m["data"]["n"])
            return
        reset = re.search(r"reset: .* from ([0-9a-f]+-[0-9]+)$", line.strip())
        gap = re.search(r"gap: some messages are no longer kept: (.*)$", line.strip())
        dropped = re.search(r"dropped: (\d+) messages", line)
        if reset:
            self.witness.state("reset", reset.group(1))
        elif gap:
            self.witness.state("gap", None, gap.group(1).split(", "))
        elif dropped:
            self.witness.dropped(int(dropped.group(1)))
        elif "refused" in line or "rror" in line:
            self.witness.problem(f"printed {line.strip()}")
        else:
            self.witness.remember(line.strip())


class BusbarPub(Foreign):
    """libbusbar, by `busbar pub --lines --cursor`: one topic, acknowledged in the order of its lines."""

    def __init__(self, world, name, topic):
        super().__init__(world, name)
        self.topic = topic
        self.n = 0
        self.n_acked = self.n_refused = 0
        self.last = ""

    async def start(self):
        env = dict(os.environ, BUSBAR_SERVER=f"127.0.0.1:{self.world.port('tcp')}")
        await self.spawn([program("busbar"), "pub", "--lines", "--json", "--cursor", "--timeout", "2m", "--once", f"{self.name}-{self.world.seed}",
                          self.topic], stderr=subprocess.STDOUT, env=env)

    def line(self, line):
        line = line.strip()
        if re.fullmatch(r"[0-9a-f]+-[0-9]+", line):
            self.world.truth.ack_somewhere(self.name, line)
            self.n_acked += 1
        elif self.world.disk and (refused := re.search(r"(\d+) were not published", line)):
            self.n_refused = int(refused.group(1))
        elif self.world.disk and "store" in line:
            self.n_refused += 1  # the first of them are said one by one, and how many they were behind
        elif "refused" in line or "rror" in line:
            self.world.truth.problem(f"{self.name} printed {line}")
        if line:
            self.last = line

    def publish(self, data):
        """data is a dict; p and n are put in."""
        n, self.n = self.n, self.n + 1
        self.world.truth.send(self.name, n)
        self.process.stdin.write((json.dumps(dict(data, p=self.name, n=n)) + "\n").encode())

    async def finish(self, deadline=60):
        """Its input ends: it ends when everything is acknowledged."""
        self.is_ending = True
        self.process.stdin.close()
        try:
            code = await asyncio.wait_for(self.process.wait(), deadline)
        except asyncio.TimeoutError:
            self.world.truth.problem(f"{self.name}: {self.n - self.n_acked} of {self.n} lines without an answer after {deadline} s")
            self.process.kill()
            return
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if code != (1 if self.n_refused else 0) or self.n_acked + self.n_refused != self.n:
            self.world.truth.problem(f"{self.name} ended with {code}; of {self.n} lines {self.n_acked} were acknowledged, "
                                     f"{self.n_refused} refused; the last it said: {self.last}")
