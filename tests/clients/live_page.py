# SPDX-License-Identifier: Apache-2.0
"""The live page that busbar-http serves, in Chromium: publish there and receive by nc, and back; a reload goes on where the page
was. BUSBAR_SCREENSHOT=FILE keeps a picture of it.
"""
import json
import os
import subprocess

from tests.clients.nodes import Node, need_chromium, need_node, need_program
from tests.support.bus import Bus, main

TOPIC = "chat/room1"


def browser(bus):
    return Node("page.mjs", need_chromium(), os.path.join(bus.dir, "chromium"), f"http://127.0.0.1:{bus.http_port}/",
                modules=("playwright-core",))


def see(page, text, n=1):
    """The page shows the text n times."""
    before = len(page.find(event="seen", text=text))
    page.do("see", text=text, n=n)
    page.wait(before + 1, deadline=60, event="seen", text=text)


def open_page(page):
    page.wait(deadline=90, event="launched")
    page.do("open")
    page.wait(event="opened")
    page.do("state", state="live")
    page.wait(event="state", state="live")


def check_page(page):
    assert not page.find(event="pageerror"), page.find(event="pageerror")
    bad = [e for e in page.find(event="console", type="error") if "WebSocket" not in e["text"]]
    assert not bad, bad


def test_both_ways():
    with Bus() as bus, browser(bus) as page:
        open_page(page)
        page.do("read")
        shown = page.wait(event="page")
        # The page's own line for nc is what we run. -N is not in it: nc stays.
        nc = subprocess.Popen(["bash", "-c", shown["nc"]], stdout=subprocess.PIPE, text=True)
        try:
            assert json.loads(nc.stdout.readline())["op"] == "subscribed"
            page.do("publish", text="hello from the page")
            got = json.loads(nc.stdout.readline())
            assert (got["topic"], got["data"]) == (TOPIC, "hello from the page"), got
            see(page, "hello from the page")
            page.do("publish", text='{"a": [1, 2]}')
            assert json.loads(nc.stdout.readline())["data"] == {"a": [1, 2]}
        finally:
            nc.kill()
            nc.wait()
        line = json.dumps({"op": "pub", "id": 1, "topic": TOPIC, "data": "hello from nc"}) + "\n"
        subprocess.run(["nc", "-N", "127.0.0.1", str(bus.tcp_port)], input=line, text=True, check=True, capture_output=True)
        see(page, "hello from nc")
        subprocess.run(["bash", "-c", shown["curl"]], check=True, capture_output=True)
        see(page, "hello from curl")
        see(page, '{"a":[1,2]}')
        page.do("publish", text="<b>not markup</b>")
        see(page, "<b>not markup</b>")
        check_page(page)


def test_reload():
    """A reload shows what was shown, once, and what was published meanwhile, and says that nothing was missed."""
    with Bus() as bus, browser(bus) as page:
        tcp = bus.tcp()
        tcp.pub(TOPIC, "from before")
        open_page(page)
        see(page, "from before")
        for i in range(30):
            tcp.pub(TOPIC, f"message {i}")
        see(page, "message 29")
        page.do("reload")
        page.wait(event="reloaded")
        tcp.pub(TOPIC, "after the reload")
        see(page, "after the reload")
        page.do("state", state="recovered")
        page.wait(event="state", state="recovered")
        page.do("read")
        shown = page.wait(event="page")
        assert shown["messages"] == ["from before", *(f"message {i}" for i in range(30)), "after the reload"], shown
        assert "nothing was missed" in shown["state"], shown
        page.do("join", topic="other/#")
        page.wait(event="joined")
        tcp.pub("other/x", "elsewhere")
        see(page, "elsewhere")
        page.do("reload")
        page.wait(2, event="reloaded")
        see(page, "elsewhere")
        page.do("read")
        shown = page.wait(2, event="page")
        assert (shown["topic"], shown["messages"]) == ("other/#", ["elsewhere"]), shown
        check_page(page)


def test_frontend_killed():
    with Bus() as bus, browser(bus) as page:
        tcp = bus.tcp()
        open_page(page)
        bus.kill("ws")
        page.do("connection", state="waiting")
        page.wait(event="connection", state="waiting")
        page.do("publish", text="from the page, while away")
        tcp.pub(TOPIC, "while away")
        bus.start("ws")
        see(page, "while away")
        see(page, "from the page, while away")
        tcp.pub(TOPIC, "live")
        see(page, "live")
        page.do("read")
        shown = page.wait(event="page")
        assert sorted(shown["messages"]) == ["from the page, while away", "live", "while away"], shown
        check_page(page)


def test_screenshot():
    path = os.environ.get("BUSBAR_SCREENSHOT")
    if not path:
        return
    # The ports that everybody gets, for the picture's sake; not in a test that runs beside others.
    usual = {kind: {"listen": f"127.0.0.1:{port}"} for kind, port in (("ws", 8081), ("http", 8080), ("tcp", 7070))}
    with Bus(start=False, **usual) as bus:
        bus.ports = {"ws": 8081, "http": 8080, "tcp": 7070}
        bus.start_all()
        take_screenshot(bus, path)


def take_screenshot(bus, path):
    with browser(bus) as page:
        open_page(page)
        page.do("publish", text="Hello from the page.")
        see(page, "Hello from the page.")
        bus.http("POST", "/topics/chat/room1", b"Hello from curl.", {"Content-Type": "text/plain"})
        bus.tcp().pub(TOPIC, "Hello from nc, over plain TCP.")
        bus.tcp().pub(TOPIC, {"sensor": "t1", "celsius": 21.4})
        see(page, "Hello from nc, over plain TCP.")
        see(page, '{"sensor":"t1","celsius":21.4}')
        page.do("screenshot", path=path)
        page.wait(event="screenshot")


if __name__ == "__main__":
    need_node("playwright-core")
    need_chromium()
    need_program("nc")
    need_program("curl")
    main([test_both_ways, test_reload, test_frontend_killed, test_screenshot])
