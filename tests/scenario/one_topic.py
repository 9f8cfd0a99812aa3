# SPDX-License-Identifier: Apache-2.0
"""One topic, every client: what any transport publishes reaches all others, as it was, in one order."""
import base64
import json
import time
import urllib.parse

from tests.support.bus import Bus, main, wait_until


def every_transport_reaches_every_other():
    with Bus() as bus:
        topic = "room/é"
        path = urllib.parse.quote(topic)
        pub_tcp, pub_ws = bus.tcp(), bus.ws()
        text, value, binary = "grüße \u0000 \"quoted\"\n", {"a": [1, 2.50, None], "ключ": "v"}, bytes(range(256))
        publishers = [
            (lambda: pub_tcp.pub(topic, text), text, None, text),
            (lambda: pub_ws.pub(topic, text), text, None, text),
            (lambda: bus.http("POST", "/topics/" + path, text, {"Content-Type": "text/plain; charset=utf-8"}), text, None, text),
            (lambda: bus.ws_raw(path).send_message(text), text, None, text),
            (lambda: pub_tcp.pub(topic, value), value, None, json.dumps(value)),
            (lambda: pub_ws.pub(topic, value), value, None, json.dumps(value)),
            (lambda: bus.http("POST", "/topics/" + path, json.dumps(value), {"Content-Type": "application/json"}), value, None,
             json.dumps(value)),
            (lambda: pub_tcp.pub(topic, base64.b64encode(binary).decode(), encoding="base64"),
             base64.b64encode(binary).decode(), "base64", binary),
            (lambda: bus.http("POST", "/topics/" + path, binary, {"Content-Type": "application/octet-stream"}),
             base64.b64encode(binary).decode(), "base64", binary),
            (lambda: bus.ws_raw(path).send_message(binary), base64.b64encode(binary).decode(), "base64", binary),
            (lambda: bus.ws_raw(path).send_message(""), "", None, ""),
        ]
        for publish, data, encoding, bare in publishers:
            tcp, ws = bus.tcp(), bus.ws()
            tcp.sub(topic)
            ws.sub(topic)
            raw = bus.ws_raw(path)
            sse = bus.sse("/topics/" + path + "?envelope=1")
            # The raw client and the stream have no answer to wait for that says that they are subscribed; a first message does.
            pub_tcp.pub(topic, "first")
            assert raw.recv_message() == "first"
            event = sse.next()
            while event["event"] == "state":
                event = sse.next()
            assert json.loads(event["data"])["data"] == "first"
            assert tcp.message()["data"] == "first" and ws.message()["data"] == "first"
            cursor = event["id"]
            publish()
            for client in (tcp, ws):
                m = client.message()
                assert (m["data"], m.get("encoding"), m["topic"]) == (data, encoding, topic), m
            assert raw.recv_message() == bare
            event = sse.next()
            m = json.loads(event["data"])
            assert (m["data"], m.get("encoding")) == (data, encoding), m
            assert m["cursor"] == event["id"]
            answer = bus.http("GET", f"/topics/{path}?since={cursor}&wait=10").json()
            assert answer["state"] == "recovered", answer
            assert [(m["data"], m.get("encoding"), m["topic"]) for m in answer["messages"]] == [(data, encoding, topic)], answer
            for client in (tcp, ws, raw, sse):
                client.close()


def json_passes_byte_for_byte():
    with Bus(frontends=("ws", "http", "tcp")) as bus:
        odd = '{ "b" : 1e2, "a":[ 1 ,2.0], "\\u00e9": "\\/" , "n": -0.0}'
        raw = bus.ws_raw("odd")
        sub = bus.tcp()
        sub.sub("odd")
        ready = bus.tcp()
        ready.pub("odd", "first")
        assert raw.recv_message() == "first"
        sub.message()
        bus.http("POST", "/topics/odd", odd, {"Content-Type": "application/json"})
        assert raw.recv_message() == odd
        line = sub.recv_text(10).decode()
        assert odd in line, line
        ready.write(('{"data":' + odd + ',"topic":"odd","op":"pub"}\n').encode())
        assert raw.recv_message() == odd


def content_type_and_headers_are_kept():
    with Bus() as bus:
        sub = bus.tcp()
        sub.sub("typed")
        bus.http("POST", "/topics/typed", "<b>hi</b>", {"Content-Type": "text/html", "Busbar-Meta-Trace": "abc"})
        m = sub.message()
        assert m["data"] == "<b>hi</b>" and m["type"] == "text/html" and m["headers"] == {"trace": "abc"}, m
        ws = bus.ws()
        ws.pub("typed", "x", type="text/markdown", headers={"k": "v"})
        m = sub.message()
        assert m["type"] == "text/markdown" and m["headers"] == {"k": "v"}, m
        answer = bus.http("GET", "/topics/typed?last=1").json()["messages"][0]
        assert answer["type"] == "text/markdown" and answer["headers"] == {"k": "v"}, answer


def everybody_sees_one_order():
    """Four publishers on different transports, four subscribers with overlapping filters: one order over all topics."""
    with Bus() as bus:
        watchers = [bus.tcp(), bus.ws(), bus.tcp(), bus.ws()]
        for w in watchers:
            w.sub("order/#")
            w.sub("order/+/x")  # a second subscription of the same client: also in order
        publishers = [bus.tcp(), bus.ws(), bus.tcp(), bus.ws()]
        n = 50
        for i in range(n):
            for k, p in enumerate(publishers):
                p.send(op="pub", topic=f"order/{(i + k) % 7}/x", data=[k, i])
        seen = []
        for w in watchers:
            got = w.messages(2 * n * len(publishers))
            cursors = [int(m["cursor"].split("-")[1]) for m in got]
            assert cursors == sorted(cursors), "out of order"
            seen.append([m["cursor"] for m in got if m["sub"] == got[0]["sub"]])
            assert len(seen[-1]) == n * len(publishers)
            for k in range(len(publishers)):
                own = [m["data"][1] for m in got if m["sub"] == got[0]["sub"] and m["data"][0] == k]
                assert own == list(range(n)), f"publisher {k}'s messages: {own}"
        assert all(s == seen[0] for s in seen)


def retained_values():
    topics = [{"match": "last/#", "retain": "last", "history": {"messages": 0}},
              {"match": "none/#", "retain": "none"}, {"match": "#", "history": {"messages": 10}}]
    with Bus(topics=topics) as bus:
        p = bus.tcp()
        p.pub("flag/a", "one", retain=True)
        p.pub("flag/a", "two")
        p.pub("last/a", "three")
        p.pub("last/b", "four")
        p.pub("none/a", "five", retain=True)
        s = bus.ws()
        s.sub("+/a")
        got = {m["topic"]: m for m in s.messages(2)}
        assert got["flag/a"]["data"] == "one" and got["flag/a"]["retained"] is True, got
        assert got["last/a"]["data"] == "three", got
        assert s.try_recv(0.3) is None
        p.pub("last/a", "six")
        m = s.message()
        assert m["data"] == "six" and "retained" not in m, m
        late = bus.tcp()  # joins a filter that is live already
        late.sub("+/a")
        assert {m["data"] for m in late.messages(2)} == {"one", "six"}
        p.pub("flag/a", "", retain=True)  # an empty value takes it away
        again = bus.tcp()
        again.sub("flag/a")
        assert again.try_recv(0.3) is None


def the_bus_tells_its_figures():
    with Bus(broker={"sys_interval": "1s"}) as bus:
        s = bus.tcp()
        s.sub("$sys/#")
        seen = {}
        end = time.monotonic() + 20
        while time.monotonic() < end and not ({"$sys/broker"} <= seen.keys() and any(t.startswith("$sys/links/") for t in seen)):
            m = s.message()
            seen[m["topic"]] = m["data"]
        assert isinstance(seen["$sys/broker"], dict), seen
        assert any(t.startswith("$sys/links/") for t in seen), seen.keys()
        s.send(op="sub", id=99, topic="#")  # a wildcard in the first level does not match $sys
        s.expect("subscribed", id=99)
        s.send(op="pub", id=7, topic="$sys/broker", data=1)
        assert s.expect("error", id=7)["code"] == "not_allowed"


def quiet_frontends_know_where_the_bus_is():
    """A server that nothing is delivered to hears of the position with the heartbeats."""
    with Bus(broker={"heartbeat": "50ms", "sys_interval": "0"}) as bus:
        tcp = bus.tcp()

        def position():
            tcp.send(op="hello", id="p")
            return int(tcp.expect("welcome", id="p").get("cursor", "0-0").rsplit("-", 1)[1])

        for _ in range(2):
            seq = int(bus.http("POST", "/topics/elsewhere", "x").json()["cursor"].rsplit("-", 1)[1])
            wait_until(lambda: position() >= seq, "the position to come")


TESTS = [every_transport_reaches_every_other, json_passes_byte_for_byte, content_type_and_headers_are_kept,
         everybody_sees_one_order, retained_values, the_bus_tells_its_figures, quiet_frontends_know_where_the_bus_is]

if __name__ == "__main__":
    main(TESTS)
