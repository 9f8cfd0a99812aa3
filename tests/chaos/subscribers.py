# SPDX-License-Identifier: Apache-2.0
"""Subscribers of every kind. Each has a Witness, reconnects with its cursor for as long as it runs, and can be cut off and made
to read slowly. Those of this file speak the protocols themselves; foreign.py has stock clients in processes of their own."""
import asyncio
import json
import random
import urllib.parse

from tests.chaos.model import Witness, parse_cursor
from tests.chaos.wire import NATIVE, EventStream, Http, Lost

# A server that was stopped says nothing: after so long it is asked, after so long again given up.
SILENCE = 4.0
# Errors that another moment may not give.
PASSING = {"unavailable", "timeout", "shutting_down"}


class Subscriber:
    def __init__(self, world, name, kinds, filters, since=None, is_narrow=False):
        self.world, self.name, self.kinds = world, name, list(kinds)
        self.witness = Witness(world.truth, name, filters)
        if since:
            self.witness.begin(since)
        self.random = random.Random(f"{world.seed}-{name}")
        self.is_narrow = is_narrow  # its socket takes little, so that its being slow is felt
        self.connection = None
        self.slow_until = 0.0
        self.n_connections = 0
        self.kind = None

    async def run(self):
        """Until it is cancelled."""
        while True:
            self.kind = self.random.choice(self.kinds)
            try:
                await self.session()
            except Lost as e:
                self.witness.remember(f"{self.kind} lost: {str(e)[:100]}")
            except asyncio.CancelledError:
                self.cut()
                raise
            except Exception as e:  # what the server sent was no answer
                self.witness.problem(f"over {self.kind}: {e!r}")
            self.cut()
            await asyncio.sleep(self.random.uniform(0.02, 0.4))

    async def session(self):
        self.n_connections += 1
        if self.kind in NATIVE:
            await self.native()
        elif self.kind == "sse":
            await self.events()
        else:
            await self.poll()

    def cut(self):
        if self.connection is not None:
            self.connection.abort()

    def be_slow(self, seconds):
        self.slow_until = asyncio.get_running_loop().time() + seconds

    async def patience(self):
        """Before each read: a slow reader waits."""
        wait = self.slow_until - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)

    def take(self, message):
        body = message["data"]
        self.witness.message(message["cursor"], message["topic"], body["p"], body["n"])

    # ---- The native protocol. ----

    async def native(self):
        transport, make = NATIVE[self.kind]
        c = self.connection = make(self.world.port(transport), rcvbuf=4096 if self.is_narrow or self.random.random() < 0.3 else 0)
        await c.open()
        request = {"op": "sub", "id": 1, "topic": self.witness.filters}
        if self.witness.cursor is not None:
            request["since"] = self.witness.cursor
        c.send(request)
        has_asked = False
        while True:
            await self.patience()
            try:
                message = await asyncio.wait_for(c.recv(), SILENCE)
                has_asked = False
            except asyncio.TimeoutError:
                if has_asked:
                    raise Lost("silent") from None
                has_asked = True
                c.send({"op": "ping", "id": 2})
                continue
            self.native_message(message, "since" in request)

    def native_message(self, m, has_cursor):
        op = m["op"]
        if op == "msg":
            if not m.get("retained"):
                self.take(m)
        elif op == "subscribed" and m["state"] == "live" and not has_cursor:
            self.witness.live(m["cursor"])
        elif op in ("subscribed", "state"):
            self.witness.state(m["state"], m["cursor"], m.get("topics", ()))
        elif op == "dropped":
            self.witness.dropped(m["count"])
        elif op == "closing":
            raise Lost(m["code"])
        elif op == "error" and m["code"] in PASSING | {"too_slow"}:
            raise Lost(m["code"])
        elif op == "error":
            self.witness.problem(f"was answered {m}")
            raise Lost(m["code"])

    # ---- HTTP. ----

    def path(self, **query):
        pairs = [("topic", f) for f in self.witness.filters] + list(query.items())
        if self.witness.cursor is not None and query.get("envelope") is None:
            pairs.append(("since", self.witness.cursor))
        return "/topics?" + urllib.parse.urlencode(pairs)

    async def poll(self):
        c = self.connection = Http(self.world.port("http"))
        await c.connect()
        for _ in range(self.random.randrange(1, 40)):
            await self.patience()
            had_cursor = self.witness.cursor is not None
            try:
                status, body = await asyncio.wait_for(c.request("GET", self.path(wait=2)), 2 + 2 * SILENCE)
            except asyncio.TimeoutError:
                raise Lost("silent") from None
            answer = json.loads(body)
            if status != 200:
                if answer["error"]["code"] not in PASSING:
                    self.witness.problem(f"was answered {status} {answer}")
                raise Lost(answer["error"]["code"])
            self.poll_answer(answer, had_cursor)

    def poll_answer(self, answer, had_cursor):
        """The state is told beside the messages: what is of the old epoch came before a reset, the rest after."""
        messages = [m for m in answer["messages"] if not m.get("retained")]
        if answer["state"] == "reset":
            epoch = parse_cursor(answer["cursor"])[0]
            after = [m for m in messages if parse_cursor(m["cursor"])[0] == epoch]
            for m in messages[:len(messages) - len(after)]:
                self.take(m)
            first = parse_cursor(after[0]["cursor"])[1] - 1 if after else parse_cursor(answer["cursor"])[1]
            self.witness.state("reset", f"{epoch}-{first}")
            messages = after
        elif not had_cursor:
            epoch, seq = parse_cursor(messages[0]["cursor"] if messages else answer["cursor"])
            self.witness.live(f"{epoch}-{seq - 1 if messages else seq}")
        else:
            self.witness.state(answer["state"], None, answer.get("topics", ()))
        for m in messages:
            self.take(m)
        self.witness.advance(answer["cursor"])

    async def events(self):
        c = self.connection = EventStream(self.world.port("http"), rcvbuf=4096 if self.is_narrow else 0)
        had_cursor = self.witness.cursor is not None
        try:
            await asyncio.wait_for(c.get(self.path(envelope=1), self.witness.cursor), 2 * SILENCE)
        except asyncio.TimeoutError:
            raise Lost("silent") from None
        while True:
            await self.patience()
            try:
                event = await asyncio.wait_for(c.recv(), self.world.keepalive + 2 * SILENCE)
            except asyncio.TimeoutError:
                raise Lost("silent") from None
            data = json.loads(event["data"]) if event["data"] is not None else None
            if event["event"] == "closing":
                raise Lost(data["error"]["code"])
            if event["event"] == "state":
                self.witness.state(data["state"], data["cursor"], data.get("topics", ()))
            elif event["event"] == "dropped":
                self.witness.dropped(data["count"])
            elif data is not None and not data.get("retained"):
                self.take(data)
            elif data is None and event["id"] is not None:
                if not had_cursor and not self.witness.segments:
                    self.witness.live(event["id"])
                else:
                    self.witness.advance(event["id"])
