# SPDX-License-Identifier: Apache-2.0
"""npm's eventsource, unmodified: an event stream goes on by Last-Event-ID after its frontend was killed."""
from tests.clients.nodes import Node, need_node
from tests.support.bus import Bus, main


def client(bus):
    return Node("eventsource.mjs", f"http://127.0.0.1:{bus.http_port}", modules=("eventsource",))


def test_resume():
    with Bus(frontends=("http", "tcp"), http={"retry_delay": "50ms"}) as bus, client(bus) as node:
        tcp = bus.tcp()
        node.do("open", name="s", path="/topics/a/1")
        node.wait(event="open")
        tcp.pub("a/1", "one")
        assert node.wait(event="message")["data"] == "one"
        bus.kill("http")
        node.wait(event="error")
        tcp.pub("a/1", "while away")
        tcp.pub("a/1", {"n": 2})
        bus.start("http")
        node.wait(3, event="message")
        tcp.pub("a/1", "live")
        node.wait(4, event="message")
        assert [e["data"] for e in node.find(event="message")] == ["one", "while away", '{"n": 2}', "live"], node.events
        ids = [e["id"] for e in node.find(event="message")]
        assert len(set(ids)) == 4 and all(ids), ids


def test_many_topics():
    with Bus(frontends=("http", "tcp")) as bus, client(bus) as node:
        tcp = bus.tcp()
        node.do("open", name="s", path="/topics?topic=a/%23&topic=b")
        node.wait(event="open")
        tcp.pub("a/1", 1)
        tcp.pub("b", 2)
        tcp.pub("c", 3)
        tcp.pub("a/2", "line\nbreak")
        node.wait(3, event="message")
        assert len(node.find(event="message")) == 3, node.events


if __name__ == "__main__":
    need_node("eventsource")
    main([test_resume, test_many_topics])
