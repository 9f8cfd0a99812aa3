# SPDX-License-Identifier: Apache-2.0
"""busbar.js beyond publish and subscribe, in Node: requests, asynchronous ones, queues, presence, delay; and what it says when the
other side is lost.
"""
import os

from tests.clients.nodes import Node, need_node
from tests.support.bus import SRC, Bus, main

BUSBAR_JS = os.path.join(SRC, "clients", "js", "busbar.js")


def node(bus):
    return Node("jspatterns.mjs", BUSBAR_JS, f"ws://127.0.0.1:{bus.ws_port}/ws", modules=("ws",))


def test_requests():
    with Bus() as bus, node(bus) as js:
        js.do("request", name="a", id="none", topic="svc/x", data=1)
        assert js.wait(event="failed", id="none")["code"] == "no_responder"
        js.do("respond", name="r", topic="svc/#")
        js.do("request", name="r", id="first", topic="svc/x", data={"n": 1}, options={"headers": {"h": "v"}, "key": "k"})
        first = js.wait(event="reply", id="first")
        assert first["data"] == {"topic": "svc/x", "data": {"n": 1}, "key": "k", "by": "r"} and first["headers"] == {"h": "v"}, first
        for i in range(40):
            js.do("request", name="a", id=i, topic=f"svc/{i}", data=i)
        for i in range(40):
            assert js.wait(event="reply", id=i)["data"]["data"] == i
        js.do("request", name="a", id="fail", topic="svc/x", data="fail")
        failed = js.wait(event="failed", id="fail")
        assert (failed["code"], failed["message"]) == ("responder_failed", "as you wish"), failed
        js.do("request", name="a", id="late", topic="svc/x", data="never", options={"timeout": 200})
        assert js.wait(event="failed", id="late")["code"] == "timeout"
        # The asker's connection is lost: nobody knows, and it is not asked again.
        js.do("request", name="a", id="lost", topic="svc/x", data="never", options={"timeout": 30000})
        responder = bus.tcp()
        responder.sub("other", id=1, respond=True)
        js.do("request", name="a", id="held", topic="other", data=1, options={"timeout": 30000})
        responder.expect("request")
        bus.kill("ws")
        assert js.wait(event="failed", id="lost")["code"] == "unavailable"
        assert js.wait(event="failed", id="held")["code"] == "unavailable"
        bus.start("ws")
        js.do("request", name="a", id="after", topic="svc/x", data=2)
        answered = js.wait(event="reply", id="after")  # once the responder is there again
        assert answered["data"]["data"] == 2, answered


def test_later():
    with Bus() as bus, node(bus) as js:
        js.do("later", name="a", id=1, topic="jobs/primes", data="x")
        request = js.wait(event="left", id=1)["request"]
        js.do("result", name="b", id=2, request=request, wait=0)
        assert js.wait(event="result", id=2)["reply"] is None
        js.do("result", name="b", id=3, request=request, wait=30000)
        js.do("later", name="a", id=4, topic="jobs/primes", data="y")
        js.do("cancel", name="b", id=5, request=js.wait(event="left", id=4)["request"])
        js.wait(event="canceled", id=5)
        js.do("respond", name="r", topic="jobs/primes")
        assert js.wait(event="result", id=3)["reply"]["data"]["data"] == "x"
        js.do("result", name="a", id=6, request="0123456789abcdef", wait=0)
        assert js.wait(event="failed", id=6)["code"] == "not_found"


def test_queue():
    with Bus(topics=[{"match": "jobs", "queue": {"enabled": True, "max_deliveries": 3}}]) as bus, node(bus) as js:
        for i in range(30):
            js.do("publish", name="p", id=i, topic="jobs", data=i)
        for name in ("c", "d"):
            js.do("consume", name=name, topic="jobs", group="g")
        for i in range(30):
            js.wait(event="done", data=i)
        js.do("publish", name="p", id="again", topic="jobs", data="again")
        assert js.wait(event="done", data="again")["deliveries"] == 2
        js.do("publish", name="p", id="slow", topic="jobs", data="slow")
        js.wait(event="extended")
        js.wait(event="done", data="slow")
        dead = bus.tcp()
        dead.sub("dead/jobs", id=1)
        js.do("publish", name="p", id="poison", topic="jobs", data="poison")
        letter = dead.message()
        assert (letter["data"], letter["headers"]["busbar-deliveries"], letter["headers"]["busbar-reason"]) == \
            ("poison", "3", "not now"), letter
        # One that dies gives its work back.
        bus.kill("ws")
        bus.start("ws")
        js.do("publish", name="p", id="after", topic="jobs", data="after")
        js.wait(event="done", data="after")
        assert len(js.find(event="done")) == 33, js.find(event="done")


def test_presence():
    with Bus() as bus, node(bus) as js:
        js.do("present", name="a", topic="chat", presence={"id": "ann", "info": {"n": 1}})
        js.wait(event="presence", at="a", what="snapshot")
        js.do("present", name="b", topic="chat", presence={"id": "bob"})
        there = js.wait(event="presence", at="b", what="snapshot")
        assert (there["topic"], there["count"], [m["id"] for m in there["members"]]) == ("chat", 2, ["ann", "bob"]), there
        joined = js.wait(event="presence", at="a", what="join", id="bob")
        assert joined["count"] == 2, joined
        js.do("present", name="c", topic="chat", presence=True)  # only looks on
        assert js.wait(event="presence", at="c", what="snapshot")["count"] == 2


def test_delay():
    with Bus() as bus, node(bus) as js:
        tcp = bus.tcp()
        tcp.sub("t", id=1)
        js.do("publish", name="a", id=1, topic="t", data="later", options={"delay": 500})
        assert js.wait(event="published", id=1)["cursor"] is None
        js.do("publish", name="a", id=2, topic="t", data="now")
        assert [tcp.message()["data"], tcp.message()["data"]] == ["now", "later"]


if __name__ == "__main__":
    need_node("ws")
    main([test_requests, test_later, test_queue, test_presence, test_delay])
