# SPDX-License-Identifier: Apache-2.0
"""clients/js in Node: messages of every kind, and a WebSocket frontend that is killed under it."""
from tests.clients.nodes import Node, need_node
from tests.support.bus import Bus, main


def client(bus):
    return Node("busbarjs.mjs", f"ws://127.0.0.1:{bus.ws_port}/ws", modules=("ws",))


def test_kinds():
    with Bus(frontends=("ws", "tcp")) as bus, client(bus) as js:
        tcp = bus.tcp()
        tcp.sub("a/#")
        js.do("sub", name="s", topic="a/#")
        js.wait(event="stream", sub="s", state="live")
        for i, data in enumerate(["text", {"x": [1, None]}, 5, None, ["é\n"]]):
            js.do("pub", topic="a/1", data=data)
            cursor = js.wait(i + 1, event="published")["cursor"]
            assert tcp.message()["data"] == data
            got = js.wait(i + 1, event="message")
            assert got["data"] == data and got["cursor"] == cursor, got
        js.do("pub", topic="a/1", bytes=[0, 255])
        got = tcp.message()
        assert (got["data"], got["encoding"]) == ("AP8=", "base64"), got
        assert js.wait(6, event="message")["data"] == {"bytes": [0, 255]}
        js.do("pub", topic="a/1", data="s", options={"type": "application/json", "headers": {"k": "v"}, "key": "K", "retain": True})
        got = js.wait(7, event="message")
        assert (got["data"], got["type"], got["key"], got["headers"]) == ("s", "application/json", "K", {"k": "v"}), got
        js.do("sub", name="late", topic="a/+")
        assert js.wait(event="message", sub="late")["retained"] is True
        js.do("sub", name="history", topic=["a/1", "b"], options={"last": 2})
        js.wait(2, event="message", sub="history")
        js.do("unsub", name="s")
        js.do("pub", topic="a/1", data="to the others")
        js.wait(event="message", sub="late", data="to the others")
        assert not js.find(event="message", sub="s", data="to the others")


def test_refused():
    with Bus(frontends=("ws",)) as bus, client(bus) as js:
        js.do("sub", name="s", topic="a/#/b")
        assert js.wait(event="refused")["code"] == "filter_invalid"
        js.do("pub", topic="a/+", data=1)
        assert js.wait(event="failed")["code"] == "topic_invalid"
        js.do("pub", topic="$sys/x", data=1)
        assert js.wait(2, event="failed")["code"] == "not_allowed"


def test_frontend_killed():
    """Published while it was away, by the client itself and by others: everything comes once, in order."""
    with Bus(frontends=("ws", "tcp")) as bus, client(bus) as js:
        tcp = bus.tcp()
        js.do("sub", name="s", topic="a/#")
        js.wait(event="stream", state="live")
        tcp.pub("a/1", 0)
        js.wait(event="message", data=0)
        for i in range(1, 4):
            bus.kill("ws")
            js.wait(i, event="connection", state="waiting")
            tcp.pub("a/1", i * 10)
            js.do("pub", topic="a/1", data=i * 10 + 1)
            bus.start("ws")
            js.wait(event="message", data=i * 10 + 1)
            js.wait(i, event="stream", state="recovered")
            js.wait(i, event="published")
        tcp.pub("a/1", "last")
        js.wait(event="message", data="last")
        assert [e["data"] for e in js.find(event="message")] == [0, 10, 11, 20, 21, 30, 31, "last"], js.find(event="message")


def test_broker_killed():
    """The history is in memory: the client is told that its cursor is void, and goes on."""
    with Bus(frontends=("ws", "tcp")) as bus, client(bus) as js:
        js.do("sub", name="s", topic="a")
        js.wait(event="stream", state="live")
        js.do("pub", topic="a", data=1)
        js.wait(event="message", data=1)
        bus.kill("broker")
        js.do("pub", topic="a", data=2)
        bus.start("broker")
        js.wait(event="message", data=2)
        js.wait(event="stream", state="reset")
        js.wait(2, event="published")
        assert not js.find(event="connection", state="waiting")


if __name__ == "__main__":
    need_node("ws")
    main([test_kinds, test_refused, test_frontend_killed, test_broker_killed])
