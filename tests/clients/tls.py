# SPDX-License-Identifier: Apache-2.0
"""Stock clients over TLS: npm's ws, and the live page in Chromium, which may then connect by wss:// only."""
import json
import os

from tests.clients.live_page import TOPIC, check_page, open_page, see
from tests.clients.nodes import Node, need_chromium
from tests.scenario.tls import TlsBus
from tests.support.bus import main


def test_npm_ws():
    with TlsBus(frontends=("ws", "tcp"), ws={"deflate": True}) as bus, \
            Node("wsclient.mjs", f"wss://localhost:{bus.tls_ports['ws']}", bus.authority.ca, modules=("ws",)) as node:
        tcp = bus.tls_tcp()
        tcp.sub("a/#")
        for name, deflate in ("plain", False), ("deflated", True):
            node.do("open", name=name, path="/ws", protocols=["busbar.v1.json"], deflate=deflate)
            node.wait(event="open", name=name)
            node.do("send", name=name, text='{"op":"sub","id":"s","topic":"a/#"}')
            assert json.loads(node.wait(event="message", name=name)["text"])["op"] == "subscribed"
        text = "many bytes " * 20_000
        tcp.pub("a/1", text)
        for name in "plain", "deflated":
            assert json.loads(node.wait(2, event="message", name=name)["text"])["data"] == text
        node.do("send", name="deflated", text=json.dumps({"op": "pub", "topic": "a/2", "data": text}))
        assert [m["data"] == text for m in tcp.messages(2)] == [True, True]
        node.do("close", name="plain")
        assert node.wait(event="close", name="plain")["code"] == 1000


def test_nobody_it_trusts():
    with TlsBus(frontends=("ws",)) as bus, Node("wsclient.mjs", f"wss://localhost:{bus.tls_ports['ws']}", modules=("ws",)) as node:
        node.do("open", name="n", path="/ws")
        assert "certificate" in node.wait(event="error", name="n")["message"]


def test_live_page():
    with TlsBus() as bus, Node("page.mjs", need_chromium(), os.path.join(bus.dir, "chromium"), f"https://127.0.0.1:{bus.tls_ports['http']}/",
                               modules=("playwright-core",)) as page:
        tcp = bus.tcp()
        tcp.sub(TOPIC)
        open_page(page)
        page.do("publish", text="by wss")
        assert tcp.message()["data"] == "by wss"
        tcp.pub(TOPIC, "in the clear")
        see(page, "in the clear")
        assert f"wss://{{host}}:{bus.tls_ports['ws']}" in bus.https("GET", "/console.json").body.decode()
        check_page(page)


if __name__ == "__main__":
    main([test_npm_ws, test_nobody_it_trusts, test_live_page])
