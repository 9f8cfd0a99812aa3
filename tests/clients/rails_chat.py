# SPDX-License-Identifier: Apache-2.0
"""examples/rails-chat as its README says it: one command; stock Action Cable clients at the bus and at Rails, a browser, a
terminal, a controller and `rails runner` in one room.
"""
import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from tests.clients.nodes import Node, need_chromium, need_node, need_program
from tests.clients.rubies import need_ruby
from tests.support.bus import BUILD, DEADLINE, SANITIZER_REPORTS, SRC, main, wait_until
from tests.support.clients import JsonLines
from tests.support.ports import free_port

HERE = os.path.join(SRC, "examples", "rails-chat")
MODULES = ("@rails/actioncable", "actioncable61", "ws")


class Chat:
    """The example, run by its one command."""

    def __init__(self):
        usual = {"RAILS_PORT": 3000, "HTTP_PORT": 8080, "WS_PORT": 8081, "TCP_PORT": 7070}
        # The picture of the README shows the usual ones.
        self.ports = usual if os.environ.get("RAILS_CHAT_SCREENSHOT") else {name: free_port() for name in usual}
        self.env = dict(os.environ, BUSBAR_BUILD=BUILD, **{name: str(port) for name, port in self.ports.items()})
        self.env["BUSBAR_URL"] = f"busbar://127.0.0.1:{self.ports['TCP_PORT']}"
        self.log = tempfile.TemporaryFile("w+")
        self.popen = subprocess.Popen([os.path.join(HERE, "run")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
                                      text=True, env=self.env, start_new_session=True,
                                      # Ctrl-C is for it, whatever whoever runs the tests in the background has ignored.
                                      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.said = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        self.cookies = next(h for h in self.opener.handlers if isinstance(h, urllib.request.HTTPCookieProcessor)).cookiejar
        try:
            wait_until(lambda: "Ctrl-C ends both" in "".join(self.said) or self.popen.poll() is not None, "both to be up", 60 + DEADLINE)
            assert self.popen.poll() is None, self.errors()
        except BaseException:
            self.end()
            raise

    def _read(self):
        for line in self.popen.stdout:
            self.said.append(line)

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def url(self, path):
        return f"http://127.0.0.1:{self.ports['RAILS_PORT']}{path}"

    def get(self, path):
        with self.opener.open(self.url(path), timeout=DEADLINE) as r:
            return r.read().decode()

    def post(self, page, path, **fields):
        """As a browser sends the form on the page."""
        token = re.search(r'name="csrf-token" content="([^"]*)"', self.get(page)).group(1)
        data = urllib.parse.urlencode({"authenticity_token": html.unescape(token), **fields}).encode()
        with self.opener.open(self.url(path), data, timeout=DEADLINE) as r:
            return r.read().decode()

    def stream(self, page):
        return html.unescape(re.search(r'data-stream="([^"]*)"', self.get(page)).group(1))

    def runner(self, code):
        return subprocess.run([os.path.join(HERE, "bin/rails"), "runner", code], env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def cable(self, where, kind):
        """A stock client, with what a browser on one of Rails' pages would send."""
        self.get("/rooms/lobby?as=ann")
        headers = {"Cookie": "; ".join(f"{c.name}={c.value}" for c in self.cookies), "Origin": self.url("")}
        port = self.ports["RAILS_PORT" if where == "rails" else "WS_PORT"]
        return Node("cable.mjs", f"ws://127.0.0.1:{port}/cable", kind, json.dumps({"headers": headers}), modules=MODULES)

    def tcp(self):
        return JsonLines("127.0.0.1", self.ports["TCP_PORT"])

    def end(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
            try:
                self.popen.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()
                raise AssertionError(f"it did not end:\n{self.errors()}") from None
        self.reader.join(DEADLINE)
        return self.popen.returncode

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        code = self.end()
        if kind is not None:
            print(self.errors()[-6000:])
        else:
            assert code == 0 and not any(mark in self.errors() for mark in SANITIZER_REPORTS), (code, self.errors())


def test_one_room():
    """Whoever speaks, by whatever way: all hear it, once and in one order."""
    with Chat() as chat:
        nc = chat.tcp()
        nc.sub("chat/#")
        sub = subprocess.Popen([os.path.join(BUILD, "cli/busbar"), "sub", "chat/#", "--json", "--server", f"127.0.0.1:{chat.ports['TCP_PORT']}"],
                               stdout=subprocess.PIPE, text=True)
        nodes = {(where, kind): chat.cable(where, kind) for where in ("bus", "rails") for kind in ("rails", "rails61")}
        try:
            for node in nodes.values():
                node.do("subscribe", name="room", params={"channel": "ChatChannel", "room": "lobby"})
                node.do("subscribe", name="bad", params={"channel": "ChatChannel", "room": "a/+"})
            for node in nodes.values():
                node.wait(event="connected", name="room")
                node.wait(event="rejected", name="bad")
            # `busbar sub` says nothing when it has begun: what it has heard does.
            wait_until(lambda: nc.pub("chat/ready", 1) and _has_line(sub), "busbar sub to hear")
            said = []
            for (where, kind), node in nodes.items():
                said.append({"sent_by": kind, "body": f"by {where} é"})
                node.do("perform", name="room", action="speak", data=said[-1])
                _heard(nodes, said)
            chat.post("/rooms/lobby", "/rooms/lobby/messages", body="<b>a form</b>")
            said.append(by_rails(nodes, len(said), "ann", "<b>a form</b>"))
            _heard(nodes, said)
            r = chat.runner('Room.say("lobby", "cron", "It is noon.")')
            assert r.returncode == 0, r
            said.append(by_rails(nodes, len(said), "cron", "It is noon."))
            nc.pub("chat/lobby", "typed by a person")
            said.append("typed by a person")
            nc.pub("chat/lobby", [1, {"x": None}])
            said.append([1, {"x": None}])
            _heard(nodes, said)
            assert [m["data"] for m in _until(nc, said[-1])] == said
            lines = []
            while not lines or lines[-1] != said[-1]:
                m = json.loads(sub.stdout.readline())
                if m["topic"] == "chat/lobby":
                    lines.append(m["data"])
            assert lines == said
            history = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{chat.ports['HTTP_PORT']}/topics/chat/lobby?last=100", timeout=DEADLINE).read())
            assert [m["data"] for m in history["messages"]] == said
        finally:
            sub.terminate()
            sub.wait(DEADLINE)
            sub.stdout.close()
            for node in nodes.values():
                node.close()


def by_rails(nodes, n, sent_by, body):
    """What Rails has rendered and broadcast after n messages: with the time that it was."""
    got = nodes["bus", "rails"].wait(n + 1, event="received", name="room")["data"]
    assert got["sent_by"] == sent_by and got["by_rails"] is True and re.fullmatch(re.escape(body) + r" \(\d\d:\d\d UTC\)", got["body"]), got
    return got


def _has_line(popen):
    import select
    return bool(select.select([popen.stdout], [], [], 0.05)[0])


def _heard(nodes, said):
    for (where, kind), node in nodes.items():
        node.wait(len(said), event="received", name="room")
        got = [e["data"] for e in node.find(event="received", name="room")]
        assert sorted(map(json.dumps, got)) == sorted(map(json.dumps, said)), (where, kind, got)
        if where == "bus":  # the worker pool of Rails' own server keeps no order
            assert got == said, (kind, got)


def _until(tcp, last):
    seen = []
    while not seen or seen[-1]["data"] != last:
        m = tcp.message()
        if m["topic"] == "chat/lobby":
            seen.append(m)
    return seen


def test_mail():
    """Each has a stream of their own: at Rails by the cookie, at the bus by a name that Rails has signed."""
    with Chat() as chat:
        signed = chat.stream("/mail?as=ann")
        bobs = chat.stream("/mail?as=bob")
        nodes = [chat.cable(where, "rails") for where in ("bus", "rails")]
        try:
            for node in nodes:
                node.do("subscribe", name="mail", params={"channel": "WebNotificationsChannel", "stream": signed})
                node.wait(event="connected", name="mail")
            forged = signed.split("--")[0] + "--" + bobs.split("--")[1]
            for name, stream in (("forged", forged), ("plain", "web_notifications:bob"), ("none", "")):
                nodes[0].do("subscribe", name=name, params={"channel": "WebNotificationsChannel", "stream": stream})
                nodes[0].wait(event="rejected", name=name)
            chat.get("/mail?as=bob")
            chat.post("/mail", "/mail", to="bob", body="not for ann")
            chat.post("/mail", "/mail", to="ann", body="for ann")
            for node in nodes:
                assert node.wait(event="received", name="mail")["data"] == {"title": "You have mail", "body": "bob writes: for ann"}
                assert len(node.find(event="received")) == 1
        finally:
            for node in nodes:
                node.close()


def last_message(chat):
    url = f"http://127.0.0.1:{chat.ports['HTTP_PORT']}/topics/chat/lobby?last=1"
    with urllib.request.urlopen(url, timeout=DEADLINE) as r:
        data = json.load(r)["messages"][0]["data"]
    return data if isinstance(data, dict) else {}


def test_browser():
    """The pages themselves, in Chromium, with the client that Debian's Action Cable brings."""
    need_chromium()
    data = tempfile.mkdtemp(prefix="bb-chromium-")
    try:
        with Chat() as chat, Node("chatpage.mjs", need_chromium(), data, modules=("playwright-core",)) as browser:
            browser.wait(event="launched", deadline=60 + DEADLINE)
            nc = chat.tcp()
            nc.pub("chat/lobby", "said before")
            for tab, path in (("bus", "/rooms/lobby?as=ann"), ("rails", "/rooms/lobby?as=ann&via=rails")):
                browser.do("open", tab=tab, address=chat.url(path))
                browser.do("state", tab=tab, state="connected")
                browser.wait(event="state", tab=tab, state="connected")
                browser.do("see", tab=tab, text="said before")
                browser.wait(event="seen", tab=tab, text="said before")
            said = ["said before"]

            def all_see(text):
                said.append(text)
                for tab in ("bus", "rails"):
                    browser.do("see", tab=tab, text=text)
                    browser.wait(event="seen", tab=tab, text=text)

            def rendered(text):
                """What the newest message says, which Rails rendered with the time that it was."""
                def newest():
                    m = last_message(chat)
                    line = f"{m.get('sent_by')} {m.get('body')}"
                    return m.get("by_rails") and line.startswith(text) and line
                return wait_until(newest, f"Rails to have rendered {text}")

            browser.do("speak", tab="bus", text="hello from a page at the bus")
            all_see("ann hello from a page at the bus")
            browser.do("speak", tab="rails", text="hello from a page at Rails")
            all_see("ann hello from a page at Rails")
            nc.pub("chat/lobby", {"sent_by": "nc", "body": "hello from a terminal"})
            all_see("nc hello from a terminal")
            assert chat.runner('Room.say("lobby", "cron", "It is <noon>.")').returncode == 0
            all_see(rendered("cron It is <noon>."))
            browser.do("post", tab="bus", fields={"body": "posted by a form"})
            browser.wait(event="posted", tab="bus")
            all_see(rendered("ann posted by a form"))
            for tab in ("bus", "rails"):
                browser.do("read", tab=tab)
                assert browser.wait(event="log", tab=tab)["lines"] == said, browser.find(event="log")
            path = os.environ.get("RAILS_CHAT_SCREENSHOT")
            if path:
                browser.do("screenshot", tab="bus", path=path)
                browser.wait(event="screenshot")
            browser.do("open", tab="mail", address=chat.url("/mail?as=ann"))
            browser.do("state", tab="mail", state="connected")
            browser.wait(event="state", tab="mail", state="connected")
            assert chat.runner('WebNotificationsChannel.broadcast_to("ann", title: "You have mail", body: "from afar")').returncode == 0
            browser.do("see", tab="mail", text="You have mail from afar")
            browser.wait(event="seen", tab="mail")
            assert not browser.find(event="pageerror"), browser.find(event="pageerror")
    finally:
        shutil.rmtree(data, ignore_errors=True)


def test_ends_cleanly():
    with Chat() as chat:
        began = time.monotonic()
        assert chat.end() == 0, chat.errors()
        assert time.monotonic() - began < DEADLINE
        for port in chat.ports.values():
            with socket.socket() as s:
                assert s.connect_ex(("127.0.0.1", port)) != 0, port
    # Who cannot have one of the ports is told, and nothing is left behind.
    for name, words in (("RAILS_PORT", "in use"), ("WS_PORT", "another program listens")):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ports = {n: str(free_port()) for n in ("RAILS_PORT", "HTTP_PORT", "WS_PORT", "TCP_PORT")}
            ports[name] = str(taken.getsockname()[1])
            r = subprocess.run([os.path.join(HERE, "run")], env=dict(os.environ, BUSBAR_BUILD=BUILD, **ports),
                               capture_output=True, text=True, timeout=120, check=False)
            assert r.returncode != 0 and words in r.stderr and "Ctrl-C" not in r.stdout, r
        for port in ports.values():
            with socket.socket() as s:
                assert s.connect_ex(("127.0.0.1", int(port))) != 0, port


if __name__ == "__main__":
    need_ruby("action_cable", "rails")
    need_program("puma")
    need_node(*MODULES)
    main([test_one_room, test_mail, test_browser, test_ends_cleanly])
