# SPDX-License-Identifier: Apache-2.0
"""Python's websockets, unmodified: native JSON, native MessagePack, raw, and a clean close."""
import asyncio
import json

from tests.clients.nodes import skip
from tests.support.bus import Bus, main

try:
    import msgpack
    import websockets
except ImportError as e:
    skip(f"{e.name} is not installed (Debian: python3-websockets, python3-msgpack)")


def test_two_forms():
    """A publish in one form is delivered in the other."""
    async def go(bus):
        url = f"ws://127.0.0.1:{bus.ws_port}/ws"
        async with websockets.connect(url, subprotocols=["busbar.v1.json"]) as text, \
                websockets.connect(url, subprotocols=["busbar.v1.msgpack"]) as binary:
            assert text.subprotocol == "busbar.v1.json" and binary.subprotocol == "busbar.v1.msgpack"
            await text.send('{"op":"sub","id":1,"topic":"a"}')
            assert json.loads(await text.recv())["op"] == "subscribed"
            await binary.send(msgpack.packb({"op": "sub", "id": 1, "topic": "a"}))
            assert msgpack.unpackb(await binary.recv())["op"] == "subscribed"
            await binary.send(msgpack.packb({"op": "pub", "topic": "a", "data": b"\x00\x01"}))
            got = json.loads(await text.recv())
            assert (got["data"], got["encoding"]) == ("AAE=", "base64"), got
            assert msgpack.unpackb(await binary.recv())["data"] == b"\x00\x01"
            await text.send('{"op":"pub","topic":"a","data":{"x":[1]}}')
            got = msgpack.unpackb(await binary.recv())
            assert json.loads(got["data"]) == {"x": [1]} and got["encoding"] == "json", got

    with Bus(frontends=("ws",)) as bus:
        asyncio.run(asyncio.wait_for(go(bus), 30))


def test_raw():
    async def go(bus):
        async with websockets.connect(f"ws://127.0.0.1:{bus.ws_port}/raw/a/b") as one:
            await one.send("text")
            assert await one.recv() == "text"
            await one.send(b"\x00\xff")
            assert await one.recv() == b"\x00\xff"
            await one.send(["in ", "two ", "fragments"])
            assert await one.recv() == "in two fragments"
            await (await one.ping())
            await one.close()
            assert one.close_code == 1000, one.close_code

    with Bus(frontends=("ws",)) as bus:
        asyncio.run(asyncio.wait_for(go(bus), 30))


if __name__ == "__main__":
    main([test_two_forms, test_raw])
