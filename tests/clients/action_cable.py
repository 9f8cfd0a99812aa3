# SPDX-License-Identifier: Apache-2.0
"""Stock Action Cable clients, unmodified: @rails/actioncable (current, and that of Rails 6.1) and @anycable/core."""
import json
import os

from tests.clients.nodes import Node, need_node
from tests.scenario.action_cable import token
from tests.support.bus import Bus, main, wait_until

MODULES = ("@rails/actioncable", "actioncable61", "@anycable/core", "ws")
CHANNELS = [{"channel": "ChatChannel", "stream": "chat/{room}", "publish": ["speak", "receive"]}]
V1 = ("rails", "rails61", "anycable")
ALL = (*V1, "anycable-ext")


def client(bus, kind, **options):
    return Node("cable.mjs", f"ws://127.0.0.1:{bus.ws_port}/cable", kind, json.dumps(options), modules=MODULES)


def cable_bus(**options):
    options.setdefault("channels", CHANNELS)
    return Bus(**options)


def chat(room, **more):
    return {"channel": "ChatChannel", "room": room, **more}


def test_two_subscriptions(client=client):
    """Two on one connection: each gets its own, a third is rejected, what ends gets no more."""
    with cable_bus() as bus:
        for kind in ALL:
            with client(bus, kind) as node:
                one, two = kind + "1", kind + "2"
                tcp = bus.tcp()
                tcp.sub("chat/#")
                node.do("subscribe", name="a", params=chat(one))
                node.do("subscribe", name="b", params=chat(two))
                node.do("subscribe", name="c", params={"channel": "Nonsense"})
                node.wait(event="connected", name="a")
                node.wait(event="connected", name="b")
                node.wait(event="rejected", name="c")
                tcp.pub("chat/" + one, {"n": 1})
                tcp.pub("chat/" + two, "text")
                assert node.wait(event="received", name="a")["data"] == {"n": 1}
                assert node.wait(event="received", name="b")["data"] == "text"
                node.do("perform", name="a", action="speak", data={"body": "hi é"})
                assert node.wait(2, event="received", name="a")["data"] == {"body": "hi é"}
                assert [tcp.message()["data"] for _ in range(3)][2] == {"body": "hi é"}
                node.do("unsubscribe", name="a")
                node.do("perform", name="b", action="speak", data={"last": True})
                assert node.wait(2, event="received", name="b")["data"] == {"last": True}
                tcp.pub("chat/" + one, {"n": 2})
                tcp.pub("chat/" + two, {"n": 3})
                node.wait(3, event="received", name="b")
                assert len(node.find(event="received", name="a")) == 2, (kind, node.find(event="received"))
                tcp.close()


def test_http_publishes(client=client):
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


def received(node, name="a"):
    return [e["data"] for e in node.find(event="received", name=name)]


def begin(client, bus, kind, params=None, ping=1):
    """A client that is subscribed as "a", and does not wait long for a silent server."""
    node = client(bus, kind)
    node.do("impatient", seconds=2 * ping)
    node.do("subscribe", name="a", params=params or chat(1))
    node.wait(event="connected", name="a")
    return node


def test_identifiers(client=client):
    """Key order, nesting, Unicode, quotes: what the client wrote is what it finds again."""
    odd = [chat(1), {"room": "1", "channel": "ChatChannel"}, {"b": 1, "a": {"z": [1, None]}, "channel": "ChatChannel", "room": "é 🚋"},
           chat('"quoted" \\ back'), chat("2", note="line\nbreak / slash \u2028"), chat(2.5), chat(True)]
    with cable_bus() as bus:
        tcp = bus.tcp()
        for kind in ALL:
            with client(bus, kind) as node:
                for n, params in enumerate(odd):
                    node.do("subscribe", name=str(n), params=params)
                for n in range(len(odd)):
                    node.wait(event="connected", name=str(n))
                # (AnyCable's client passes over what is false in JavaScript: nothing here is.)
                for n, room in enumerate(("1", "é 🚋", '"quoted" \\ back', "2", "2.5", "true")):
                    tcp.pub("chat/" + room, {"kind": kind, "n": n})
                for n in range(len(odd)):
                    node.wait(event="received", name=str(n), data={"kind": kind, "n": max(n - 1, 0)})


def test_a_thousand_subscriptions():
    with cable_bus(limits={"subscriptions_per_client": 2000}) as bus:
        tcp = bus.tcp()
        for kind in ("rails", "anycable-ext"):
            with client(bus, kind) as node:
                node.do("subscribe_many", n=1000, channel="ChatChannel")
                node.wait(1000, event="connected")
                for i in range(0, 1000, 100):
                    tcp.pub(f"chat/{i}", [kind, i])
                for i in range(0, 1000, 100):
                    node.wait(event="received", name=f"s{i}", data=[kind, i])
                assert len(node.find(event="received")) == 10 or kind != "rails"


def test_killed_frontend(client=client):
    """After kill -9 each client comes back by itself. In v1 what was published meanwhile is lost, with positions nothing is."""
    with cable_bus(cable={"ping_interval": "1s"}, broker={"backend": "sqlite"}) as bus:
        nodes = {kind: begin(client, bus, kind) for kind in ALL}
        tcp = bus.tcp()
        tcp.pub("chat/1", 1)
        for node in nodes.values():
            node.wait(event="received")
        bus.kill("ws")
        for n in range(2, 51):
            tcp.pub("chat/1", n)
        bus.start("ws")
        for node in nodes.values():
            node.wait(2, event="connected", name="a", deadline=60)
        for n in range(51, 61):
            tcp.pub("chat/1", n)
        for kind, node in nodes.items():
            wait_until(lambda node=node: 60 in received(node), "the last one came")
            got = received(node)
            assert got == ([1, *range(51, 61)] if kind in V1 else list(range(1, 61))), (kind, got)
            assert node.close() == 0


def test_stale(client=client):
    """A server that says nothing: the client sees it by the missing pings, and is back when the server is."""
    with cable_bus(cable={"ping_interval": "1s"}) as bus:
        nodes = [begin(client, bus, kind) for kind in ("rails", "rails61", "anycable-ext")]
        bus.pause("ws")
        try:
            for node in nodes:
                node.wait(2, event="socket", state="connecting", deadline=60)
        finally:
            bus.cont("ws")
        for node in nodes:
            node.wait(2, event="connected", name="a", deadline=60)
        bus.tcp().pub("chat/1", "after")
        for node in nodes:
            wait_until(lambda node=node: "after" in received(node), "it goes on")
            assert node.close() == 0


def test_restart(client=client):
    """A planned stop is told, and they come back to whoever listens next."""
    with cable_bus(cable={"ping_interval": "1s"}) as bus:
        nodes = {kind: begin(client, bus, kind) for kind in ALL}
        tcp = bus.tcp()
        bus.stop("ws")
        tcp.pub("chat/1", "while away")
        for node in nodes.values():
            frame = node.wait(event="frame", type="disconnect")
            assert (frame["reason"], frame["reconnect"]) == ("server_restart", True), frame
        bus.start("ws")
        for node in nodes.values():
            node.wait(2, event="connected", name="a", deadline=60)
        tcp.pub("chat/1", "after")
        for kind, node in nodes.items():
            wait_until(lambda node=node: "after" in received(node), "it goes on")
            assert received(node) == (["after"] if kind in V1 else ["while away", "after"]), (kind, received(node))
            assert node.close() == 0


def test_restored_session(client=client):
    """@anycable/core takes its session up again when only its connection broke: no new subscription, and nothing is lost."""
    with cable_bus() as bus:
        tcp = bus.tcp()
        with client(bus, "anycable-ext") as node:
            node.do("subscribe", name="a", params=chat(1))
            node.do("subscribe", name="b", params=chat(2))
            node.wait(event="connected", name="a")
            node.wait(event="connected", name="b")
            for round in range(5):
                node.do("cut")
                for n in range(3):
                    tcp.pub("chat/1", [round, n])
                    tcp.pub("chat/2", [round, n])
                wait_until(lambda: len(node.find(event="cable", state="connect", restored=True)) == round + 1, "restored")
            wait_until(lambda: len(received(node)) >= 15 and len(received(node, "b")) >= 15, "all came")
            want = [[r, n] for r in range(5) for n in range(3)]
            assert received(node) == want and received(node, "b") == want, (received(node), received(node, "b"))
            assert [e["restored"] for e in node.find(event="connected", name="a")] == [False] + [True] * 5
            assert not node.find(event="info", type="history_not_found")


def test_whispers(client=client):
    channels = [{"channel": "ChatChannel", "stream": "chat/{room}", "whisper": True}]
    with cable_bus(channels=channels, cable={"public_streams": True}) as bus:
        a, b, old = client(bus, "anycable-ext"), client(bus, "anycable-ext"), client(bus, "rails")
        for node in (a, b, old):
            node.do("subscribe", name="a", params=chat(1))
            node.do("subscribe", name="p", params={"channel": "$pubsub", "stream_name": "public/1"})
            node.wait(event="connected", name="a")
            node.wait(event="connected", name="p")
        a.do("whisper", name="a", data={"typing": True})
        a.do("whisper", name="p", data="psst")
        for node in (b, old):
            assert node.wait(event="received", name="a")["data"] == {"typing": True}
            assert node.wait(event="received", name="p")["data"] == "psst"
        b.do("whisper", name="a", data="back")
        a.wait(event="received", name="a", data="back")
        assert received(a) == ["back"] and received(a, "p") == []
        for node in (a, b, old):
            assert node.close() == 0


def test_history_not_found():
    """A client that was away for too long is told, once, and goes on."""
    with cable_bus(topics=[{"match": "#", "history": {"messages": 2}}]) as bus:
        tcp = bus.tcp()
        with client(bus, "anycable-ext") as node:
            node.do("subscribe", name="a", params=chat(1))
            node.wait(event="connected", name="a")
            tcp.pub("chat/1", 1)
            node.wait(event="received")
            bus.kill("ws")
            for n in range(2, 8):
                tcp.pub("chat/1", n)
            bus.start("ws")
            node.wait(event="info", name="a", type="history_not_found", deadline=60)
            tcp.pub("chat/1", "live")
            wait_until(lambda: "live" in received(node), "it goes on")
            assert received(node) == [1, "live"]


def test_same_stream_everywhere():
    """What Action Cable clients say is on the topic for SSE, long-poll and TCP, with one cursor; what those say reaches them."""
    with cable_bus() as bus:
        nodes = [client(bus, kind) for kind in ALL]
        for node in nodes:
            node.do("subscribe", name="a", params=chat(1))
            node.wait(event="connected", name="a")
        tcp, sse = bus.tcp(), bus.sse("/topics/chat/1")
        start = tcp.sub("chat/1")["cursor"]
        nodes[0].do("perform", name="a", action="speak", data={"from": "rails"})
        tcp.message()
        tcp.pub("chat/1", {"from": "tcp"})
        tcp.message()
        bus.http("POST", "/topics/chat/1", '{"from":"http"}', {"Content-Type": "application/json"})
        tcp.message()
        nodes[3].do("perform", name="a", action="speak", data={"from": "anycable"})
        last = tcp.message()
        want = [{"from": "rails"}, {"from": "tcp"}, {"from": "http"}, {"from": "anycable"}]
        for node in nodes:
            node.wait(4, event="received")
            assert received(node) == want
        events = [sse.next() for _ in range(4)]
        assert [json.loads(e["data"]) for e in events] == want
        # The place that an extended client has in the stream is the cursor of everybody.
        meta = nodes[3].find(event="received")[1]["meta"]
        cursor = f"{meta['epoch']}-{meta['offset']}"
        assert cursor == events[1]["id"] and meta["stream"] == "chat/1"
        poll = bus.http("GET", f"/topics/chat/1?since={cursor}").json()
        assert [m["data"] for m in poll["messages"]] == want[2:], poll
        again = bus.tcp()
        again.sub("chat/1", since=cursor)
        assert [m["data"] for m in again.messages(2)] == want[2:]
        assert last["cursor"] == events[3]["id"] and start != cursor
        for node in nodes:
            assert node.close() == 0


def test_tokens(client=client):
    """In the address and among the subprotocols; one that has expired is replaced by AnyCable's client itself."""
    channels = [{"channel": "Mail", "stream": "mail/{claim:sub}"}]
    with cable_bus(channels=channels, jwt={"key_env": "BUSBAR_TEST_KEY"}, start=False) as bus:
        os.environ["BUSBAR_TEST_KEY"] = "the key of these tests"
        try:
            bus.start_all()
        finally:
            del os.environ["BUSBAR_TEST_KEY"]
        tcp = bus.tcp()
        for kind, how in (("rails", "param"), ("rails61", "param"), ("rails", "sub-protocol"), ("anycable", "sub-protocol"),
                          ("anycable-ext", "param"), ("anycable-ext", "sub-protocol")):
            with client(bus, kind, token=token(b"the key of these tests", sub=kind + how), how=how) as node:
                node.do("subscribe", name="a", params={"channel": "Mail"})
                node.wait(event="connected", name="a")
                tcp.pub(f"mail/{kind}{how}", how)
                assert node.wait(event="received")["data"] == how
        for kind in ("rails", "rails61", "anycable"):
            with client(bus, kind) as node:
                node.do("subscribe", name="a", params={"channel": "Mail"})
                assert node.wait(event="frame", type="disconnect")["reason"] == "unauthorized"
                node.wait(event="socket", state="closed")
        old, new = token(b"the key of these tests", sub="x", exp=1), token(b"the key of these tests", sub="x")
        with client(bus, "anycable-ext", token=old, how="param") as node:
            node.do("subscribe", name="a", params={"channel": "Mail"})
            node.wait(event="refresh")
            node.do("token", token=new)
            node.wait(event="connected", name="a")
            tcp.pub("mail/x", "again")
            assert node.wait(event="received")["data"] == "again"


def test_requests():
    """What a service on the bus replies comes to who performed the action, and to nobody else."""
    channels = [{"channel": "Shop", "stream": "shop", "request": "price", "request_topic": "services/{action}"}]
    with cable_bus(channels=channels) as bus:
        server = bus.tcp()
        server.sub("services/#", respond=True)
        nodes = [client(bus, kind) for kind in ALL]
        for node in nodes:
            node.do("subscribe", name="a", params={"channel": "Shop"})
            node.wait(event="connected")
        for n, node in enumerate(nodes):
            node.do("perform", name="a", action="price", data={"of": n})
            asked = server.expect("request")
            assert asked["data"] == {"of": n}
            server.send(op="reply", call=asked["call"], data={"price": n})
            assert node.wait(event="received")["data"] == {"price": n}
        bus.tcp().pub("shop", {"open": True})
        for n, node in enumerate(nodes):
            node.wait(event="received", data={"open": True})
            assert received(node) == [{"price": n}, {"open": True}]
            assert node.close() == 0


def test_presence():
    channels = [{"channel": "ChatChannel", "stream": "chat/{room}", "presence": True}]
    with cable_bus(channels=channels, topics=[{"match": "#", "presence": {"linger": "2s"}}]) as bus:
        a, b = client(bus, "anycable-ext"), client(bus, "anycable-ext")
        for node in (a, b):
            node.do("subscribe", name="a", params=chat(1))
            node.wait(event="connected", name="a")
        a.do("join", name="a", id="ann", info={"name": "Ann"})
        for node in (a, b):
            assert node.wait(event="presence", type="join")["info"] == {"name": "Ann"}
        tcp = bus.tcp()
        bob = tcp.sub("chat/1", presence={"id": "bob", "info": 1})["id"]
        for node in (a, b):
            node.wait(event="presence", type="join", id="bob")
        b.do("who", name="a")
        who = b.wait(event="who")
        assert who["there"] == {"ann": {"name": "Ann"}, "bob": 1}, who
        # A broken connection is no leave, if its client is back in time.
        a.do("cut")
        wait_until(lambda: a.find(event="cable", state="connect", restored=True), "restored")
        tcp.send(op="unsub", id=bob)
        for node in (a, b):
            node.wait(event="presence", type="leave", id="bob")
        a.do("leave", name="a")
        b.wait(event="presence", type="leave", id="ann")
        told = [e["type"] + e["id"] for e in b.find(event="presence") if e["type"] != "info"]
        assert told == ["joinann", "joinbob", "leavebob", "leaveann"], told
        for node in (a, b):
            assert node.close() == 0


def test_disconnected_by_name():
    """Rails' remote_connections: with reconnect they come back, without they stay away."""
    os.environ["BUSBAR_TEST_KEY"] = "the key of these tests"
    try:
        bus = cable_bus(jwt={"key_env": "BUSBAR_TEST_KEY"}, cable={"identified_by": "{claim:sub}", "ping_interval": "1s"})
    finally:
        del os.environ["BUSBAR_TEST_KEY"]
    with bus:
        tcp = bus.tcp()
        for kind in ("rails", "rails61", "anycable", "anycable-ext"):
            with client(bus, kind, token=token(b"the key of these tests", sub=kind), how="param") as node:
                node.do("impatient", seconds=2)
                node.do("subscribe", name="a", params=chat(1))
                node.wait(event="connected", name="a")
                tcp.pub("action_cable/" + kind, {"type": "disconnect", "reconnect": True})
                assert node.wait(event="frame", type="disconnect")["reason"] == "remote"
                node.wait(2, event="connected", name="a", deadline=60)
                tcp.pub("action_cable/" + kind, {"type": "disconnect", "reconnect": False})
                node.wait(2, event="frame", type="disconnect")
                node.wait(2, event="socket", state="closed")


TESTS = [test_two_subscriptions, test_http_publishes, test_identifiers, test_a_thousand_subscriptions, test_killed_frontend, test_stale,
         test_restart, test_tokens, test_restored_session, test_requests, test_presence,
         test_disconnected_by_name, test_whispers, test_history_not_found, test_same_stream_everywhere]

if __name__ == "__main__":
    need_node(*MODULES)
    main(TESTS)
