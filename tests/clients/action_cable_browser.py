# SPDX-License-Identifier: Apache-2.0
"""The tests of action_cable.py again where the stock clients are at home: in Chromium, with its own WebSocket and its Origin."""
import tempfile

from tests.clients import action_cable
from tests.clients.action_cable import ALL, cable_bus, chat
from tests.clients.nodes import Node, need_chromium, need_node
from tests.support.bus import main

MODULES = (*action_cable.MODULES, "playwright-core")


class Tab:
    """A page with one client: what Node is to the other tests."""

    def __init__(self, node, name):
        self.node, self.name = node, name

    def do(self, what, **order):
        self.node.do(what, tab=self.name, **order)

    def find(self, **fields):
        return self.node.find(tab=self.name, **fields)

    def wait(self, n=1, **fields):
        return self.node.wait(n, tab=self.name, **fields)

    def close(self):
        self.do("close")
        self.wait(event="closed-tab")
        assert not self.find(event="pageerror"), self.find(event="pageerror")
        return 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind is None:
            self.close()


class Browser:
    """Called, it opens a tab: as action_cable.client starts a Node."""

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="busbar-chromium-", ignore_cleanup_errors=True)
        self.node = Node("cablepage.mjs", need_chromium(), self.dir.name, modules=MODULES)
        self.port = self.node.wait(deadline=90, event="launched")["port"]
        self.tabs = 0
        return self

    def __exit__(self, kind, value, traceback):
        try:
            self.node.__exit__(kind, value, traceback)
        finally:
            self.dir.cleanup()

    def __call__(self, bus, kind, host="127.0.0.1", **options):
        self.tabs += 1
        tab = Tab(self.node, self.tabs)
        tab.do("open", host=host, address=f"ws://127.0.0.1:{bus.ws_port}/cable", kind=kind, **options)
        return tab


def in_browser(test):
    def run():
        with Browser() as browser:
            test(browser)
    run.__name__ = test.__name__
    return run


def test_origins(client):
    """A page of another site gets no connection, unless its origin is in the list."""
    with cable_bus(ws={"origins": [f"http://friend.example:{client.port}"]}) as bus:
        for kind in ALL:
            with client(bus, kind, host="friend.example") as friend, client(bus, kind, host="stranger.example") as stranger:
                for tab in (friend, stranger):
                    tab.do("subscribe", name="a", params=chat(1))
                friend.wait(event="connected")
                stranger.wait(event="socket", state="closed")
                assert not stranger.find(event="socket", state="open") and not stranger.find(event="connected")


TESTS = [action_cable.test_two_subscriptions, action_cable.test_http_publishes, action_cable.test_identifiers,
         action_cable.test_killed_frontend, action_cable.test_stale, action_cable.test_restart, action_cable.test_restored_session,
         action_cable.test_tokens, action_cable.test_whispers, test_origins]

if __name__ == "__main__":
    need_node(*MODULES)
    need_chromium()
    main([in_browser(test) for test in TESTS])
