# SPDX-License-Identifier: Apache-2.0
"""npm's ws, unmodified: the native protocol by hand, raw topics, compression, pings."""
import json
import urllib.parse

from tests.clients.nodes import Node, need_node
from tests.support.bus import Bus, main


def client(bus):
    return Node("wsclient.mjs", f"ws://127.0.0.1:{bus.ws_port}", modules=("ws",))


def text_of(event):
    return json.loads(event["text"])


def test_native():
    with Bus(frontends=("ws", "tcp")) as bus, client(bus) as node:
        tcp = bus.tcp()
        node.do("open", name="n", path="/ws", protocols=["busbar.v1.json"])
        assert node.wait(event="open")["protocol"] == "busbar.v1.json"
        node.do("send", name="n", text='{"op":"sub","id":"s","topic":"a/#"}')
        assert text_of(node.wait(event="message"))["op"] == "subscribed"
        tcp.pub("a/1", {"from": "tcp"})
        got = text_of(node.wait(2, event="message"))
        assert (got["op"], got["sub"], got["data"]) == ("msg", "s", {"from": "tcp"}), got
        tcp.sub("a/#")
        node.do("send", name="n", text='{"op":"pub","topic":"a/2","data":"from ws"}')
        assert tcp.message()["data"] == "from ws"
        node.do("ping", name="n", text="are you there")
        assert node.wait(event="pong")["text"] == "are you there"
        node.do("close", name="n")
        assert node.wait(event="close")["code"] == 1000


def test_raw():
    """What is sent is published, what is published arrives bare, text as text and bytes as bytes."""
    with Bus(frontends=("ws", "tcp")) as bus, client(bus) as node:
        tcp = bus.tcp()
        tcp.sub("rooms/é 1")
        path = "/raw/" + urllib.parse.quote("rooms/é 1")
        node.do("open", name="a", path=path)
        node.do("open", name="b", path=path)
        node.wait(event="open", name="a")
        node.wait(event="open", name="b")
        node.do("send", name="a", text="hello")
        assert node.wait(event="message", name="b")["text"] == "hello"
        assert tcp.message()["data"] == "hello"
        node.do("send", name="b", bytes=[1, 0, 255])
        assert node.wait(2, event="message", name="a")["bytes"] == [1, 0, 255]
        assert tcp.message()["encoding"] == "base64"
        tcp.pub("rooms/é 1", {"json": True})
        assert text_of(node.wait(3, event="message", name="a")) == {"json": True}


def test_compressed():
    """permessage-deflate as ws offers it; a message that compresses well comes whole."""
    with Bus(frontends=("ws", "tcp"), ws={"deflate": True}) as bus, client(bus) as node:
        node.do("open", name="d", path="/raw/big", deflate=True)
        extensions = node.wait(event="open")["extensions"]
        big = "busbar " * 20000
        node.do("send", name="d", text=big)
        assert node.wait(event="message")["text"] == big
        assert "permessage-deflate" in extensions, extensions


if __name__ == "__main__":
    need_node("ws")
    main([test_native, test_raw, test_compressed])
