# SPDX-License-Identifier: Apache-2.0
"""Publishers that wait for their acknowledgements, over each transport. Each numbers its publishes from 0.

A keyed publisher sends what has no answer again, under its idempotency key, until it is acknowledged: it must then stand exactly
once. One without keys never repeats: what it has no answer for may stand once or not at all."""
import asyncio
import json
import random

from tests.chaos.subscribers import PASSING
from tests.chaos.wire import NATIVE, Http, Lost

ANSWER_TIME = 8.0


class Publisher:
    def __init__(self, world, name, kinds, has_keys, rate, window=1):
        self.world, self.name, self.kinds, self.has_keys = world, name, list(kinds), has_keys
        self.rate, self.window = rate, window
        self.random = random.Random(f"{world.seed}-{name}")
        self.n = 0
        self.unanswered = {}     # n -> request
        self.sent = []           # of this connection, in order
        self.refused = set()     # what was once answered by an error may come to stand behind what was sent after it
        self.connection = None
        self.is_ending = False
        self.burst = 0           # so many at once, and large
        self.n_errors = 0
        self.topics, self.sizes = world.topics, (0, 10, 100, 100, 500, 3000)
        self.longest = 0.0

    def next(self):
        n, self.n = self.n, self.n + 1
        topic = self.random.choice(self.topics)
        size = 4000 if self.burst > 0 else self.random.choice(self.sizes)
        self.burst = max(0, self.burst - 1)
        request = {"op": "pub", "id": n, "topic": topic, "data": {"p": self.name, "n": n, "x": "x" * size}}
        if self.has_keys:
            request["key"] = f"{self.world.seed}-{self.name}-{n}"
        self.world.truth.send(self.name, n)
        return request

    async def pause(self):
        if self.burst == 0:
            await asyncio.sleep(self.random.expovariate(self.rate))

    def cut(self):
        if self.connection is not None:
            self.connection.abort()

    async def run(self):
        """Until is_ending and, with keys, everything is acknowledged."""
        while not (self.is_ending and not (self.has_keys and self.unanswered)):
            kind = self.random.choice(self.kinds)
            try:
                if kind == "http":
                    await self.over_http()
                else:
                    await self.over_native(kind)
            except Lost:
                pass
            except asyncio.CancelledError:
                self.cut()
                raise
            except Exception as e:
                self.world.truth.problem(f"{self.name} over {kind}: {e!r}")
            self.cut()
            self.end_connection()
            await asyncio.sleep(self.random.uniform(0.02, 0.3))

    def note_sent(self, request, is_again=False):
        """What is sent again keeps its place only in a store that remembers: a new one may have the later ones already, from
        the frontend, which had no answer for them, while the earlier one was in the old store and its answer was lost."""
        if not is_again or self.world.is_durable:
            self.sent.append(request["id"])

    def end_connection(self):
        self.world.truth.check_order(self.name, [n for n in self.sent if n not in self.refused])
        self.sent = []
        if self.world.disk and self.world.disk.was_full(20):
            self.refused |= set(self.unanswered)  # an answer that was not read may have been an error
        if not self.has_keys:
            self.unanswered.clear()

    def answered(self, n, cursor=None, code=None):
        request = self.unanswered.pop(n, None)
        if request is None:
            self.world.truth.problem(f"{self.name} was answered {cursor or code} for {n}, which waits for no answer")
        elif cursor is not None:
            self.world.truth.ack(self.name, n, request["topic"], cursor)
        else:
            self.n_errors += 1
            self.refused.add(n)
            if code == "store_failed" and not self.has_keys:
                self.world.truth.refused.add((self.name, n))
            if code not in PASSING | {"store_failed"}:
                self.world.truth.problem(f"{self.name} was answered {code} for {n}")
            if self.has_keys:
                self.unanswered[n] = request
                raise Lost(code)  # again, over another connection

    # ---- The native protocol: up to a window of them without waiting. ----

    async def over_native(self, kind):
        transport, make = NATIVE[kind]
        c = self.connection = make(self.world.port(transport))
        await c.open()
        reader = asyncio.create_task(self.read_native(c))
        try:
            for request in list(self.unanswered.values()):
                self.note_sent(request, is_again=True)
                c.send(request)
            while not self.is_ending or self.unanswered:
                while len(self.unanswered) >= self.window or (self.is_ending and self.unanswered):
                    if reader.done():
                        await reader
                    await asyncio.sleep(0.005)
                if self.is_ending:
                    break
                request = self.next()
                self.unanswered[request["id"]] = request
                self.note_sent(request)
                c.send(request)
                await c.drain()
                await self.pause()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def read_native(self, c):
        """Ends the connection if nothing comes for too long while something is unanswered."""
        while True:
            try:
                m = await asyncio.wait_for(c.recv(), ANSWER_TIME)
            except asyncio.TimeoutError:
                if self.unanswered:
                    self.cut()
                    raise Lost("silent") from None
                continue
            except Lost:
                self.cut()
                raise
            if m["op"] == "published":
                self.answered(m["id"], cursor=m["cursor"])
            elif m["op"] == "error":
                self.answered(m["id"], code=m["code"])
            elif m["op"] == "closing":
                raise Lost("closing")

    # ---- HTTP: one after another. ----

    async def over_http(self):
        c = self.connection = Http(self.world.port("http"))
        await c.connect()
        waiting = list(self.unanswered.values())
        while waiting or not self.is_ending:
            is_again = bool(waiting)
            request = waiting.pop(0) if waiting else self.next()
            n = request["id"]
            self.unanswered[n] = request
            self.note_sent(request, is_again)
            headers = ["Content-Type: application/json"]
            if self.has_keys:
                headers.append(f"Idempotency-Key: {request['key']}")
            body = json.dumps(request["data"]).encode()
            try:
                status, answer = await asyncio.wait_for(c.request("POST", "/topics/" + request["topic"], body, headers), ANSWER_TIME)
            except asyncio.TimeoutError:
                raise Lost("silent") from None
            answer = json.loads(answer)
            if status == 200:
                self.answered(n, cursor=answer["cursor"])
            else:
                self.answered(n, code=answer["error"]["code"])
            await self.pause()


class NodePublisher(Publisher):
    """busbar.js: it repeats by itself, under keys of its own."""

    def __init__(self, world, name, node, rate):
        super().__init__(world, name, ("busbarjs",), True, rate)
        self.node = node

    async def run(self):
        futures = set()
        while not self.is_ending:
            request = self.next()
            task = asyncio.create_task(self.one(request))
            futures.add(task)
            task.add_done_callback(futures.discard)
            await self.pause()
        await asyncio.gather(*futures)

    async def one(self, request):
        n, topic = request["id"], request["topic"]
        what, value = await self.node.publish(self.name, n, topic, request["data"])
        if what == "acked":
            self.world.truth.ack(self.name, n, topic, value)
        elif value != "limit_reached":
            self.n_errors += 1
            if value != "store_failed":
                self.world.truth.problem(f"{self.name} was refused {value} for {n}")


class PipePublisher(Publisher):
    """`busbar pub --lines`: a topic of its own."""

    def __init__(self, world, pub, rate):
        super().__init__(world, pub.name, ("busbar pub",), True, rate)
        self.pub = pub

    async def run(self):
        while not self.is_ending:
            self.pub.publish({"x": "x" * self.random.choice((0, 100, 1000))})
            await self.pause()
        await self.pub.finish()
