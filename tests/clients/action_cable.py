# SPDX-License-Identifier: Apache-2.0
"""Stock Action Cable clients, unmodified: @rails/actioncable (current, and that of Rails 6.1) and @anycable/core."""
import json

from tests.clients.nodes import Node, need_node
from tests.support.bus import Bus, main, wait_until

MODULES = ("@rails/actioncable", "actioncable61", "@anycable/core", "ws")
CHANNELS = [{"channel": "ChatChannel", "stream": "chat/{room}", "publish": ["speak", "receive"]}]
V1 = ("rails", "rails61", "anycable")
ALL = (*V1, "anycable-ext")


def client(bus, kind, path="/cable"):
    return Node("cable.mjs", f"ws://127.0.0.1:{bus.ws_port}{path}", kind, modules=MODULES)


def cable_bus(**options):
    options.setdefault("channels", CHANNELS)
    return Bus(**options)


def chat(room, **more):
    return {"channel": "ChatChannel", "room": room, **more}


def test_two_subscriptions():
    """Two on one connection: each gets its own, a third is rejected, what ends gets no more."""
    with cable_bus() as bus:
        for kind in ALL:
            with client(bus, kind) as node:
                tcp = bus.tcp()
                tcp.sub("chat/#")
                node.do("subscribe", name="a", params=chat(1))
                node.do("subscribe", name="b", params=chat("two"))
                node.do("subscribe", name="c", params={"channel": "Nonsense"})
                node.wait(event="connected", name="a")
                node.wait(event="connected", name="b")
                node.wait(event="rejected", name="c")
                tcp.pub("chat/1", {"n": 1})
                tcp.pub("chat/two", "text")
                assert node.wait(event="received", name="a")["data"] == {"n": 1}
                assert node.wait(event="received", name="b")["data"] == "text"
                node.do("perform", name="a", action="speak", data={"body": "hi é"})
                assert node.wait(2, event="received", name="a")["data"] == {"body": "hi é"}
                assert [tcp.message()["data"] for _ in range(3)][2] == {"body": "hi é"}
                node.do("unsubscribe", name="a")
                node.do("perform", name="b", action="speak", data={"last": True})
                assert node.wait(2, event="received", name="b")["data"] == {"last": True}
                tcp.pub("chat/1", {"n": 2})
                tcp.pub("chat/two", {"n": 3})
                node.wait(3, event="received", name="b")
                assert len(node.find(event="received", name="a")) == 2, (kind, node.find(event="received"))
                tcp.close()


def test_http_publishes():
    with cable_bus() as bus:
        nodes = [client(bus, kind) for kind in ALL]
        for node in nodes:
            node.do("subscribe", name="a", params=chat(1))
        for node in nodes:
            node.wait(event="connected")
        answer = bus.http("POST", "/topics/chat/1", json.dumps({"from": "http"}), {"Content-Type": "application/json"})
        assert answer.status in (200, 201, 202), answer.status
        for node in nodes:
            assert node.wait(event="received")["data"] == {"from": "http"}
            assert node.close() == 0


def main_if_there():
    need_node(*MODULES)
    main([test_two_subscriptions, test_http_publishes])


if __name__ == "__main__":
    main_if_there()
