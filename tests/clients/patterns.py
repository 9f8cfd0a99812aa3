# SPDX-License-Identifier: Apache-2.0
"""examples/patterns: one job in three ways, each by its page in Chromium, by its native program and by curl."""
import json
import os
import subprocess
import sys

from tests.clients.nodes import Node, need_chromium, need_node, need_program
from tests.support.bus import BUILD, SRC, Bus, main

EXAMPLE = os.path.join(SRC, "examples", "patterns")
PAGES = os.path.join(EXAMPLE, "pages")


def primes(bus, *args, **more):
    env = dict(os.environ, BUSBAR_TCP=f"127.0.0.1:{bus.tcp_port}")
    return subprocess.run([sys.executable, os.path.join(EXAMPLE, "primes"), *map(str, args)], env=env, capture_output=True, text=True,
                          timeout=60, check=False, **more)


class Worker:
    def __init__(self, bus):
        env = dict(os.environ, BUSBAR_TCP=f"127.0.0.1:{bus.tcp_port}")
        self.popen = subprocess.Popen([sys.executable, os.path.join(EXAMPLE, "primes"), "work"], env=env, stdout=subprocess.PIPE,
                                      text=True)
        assert self.popen.stdout.readline() == "ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.wait()


def a_bus():
    return Bus(http={"static_dir": PAGES})


def browser(bus):
    page = Node("patterns.mjs", need_chromium(), os.path.join(bus.dir, "chromium"), f"http://127.0.0.1:{bus.http_port}/",
                modules=("playwright-core",))
    page.wait(deadline=90, event="launched")
    return page


def see(page, name, text):
    page.do("see", name=name, text=text)
    page.wait(deadline=60, event="seen", name=name, text=text)


def curl(*args):
    done = subprocess.run([need_program("curl"), "-sS", "--max-time", "40", *args], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_natively():
    with a_bus() as bus:
        none = primes(bus, "wait", 360)
        assert none.returncode == 1 and "no_responder" in none.stderr, none
        left = primes(bus, "later", 360)
        assert left.returncode == 0, left
        with Worker(bus):
            assert primes(bus, "result", left.stdout.strip()).stdout == "2 2 2 3 3 5\n"
            assert primes(bus, "wait", 97).stdout == "97\n"
            assert primes(bus, "room", 1001).stdout == "7 11 13\n"
            wrong = primes(bus, "wait", 1)
            assert wrong.returncode == 1 and "responder_failed: a number between" in wrong.stderr, wrong
        assert primes(bus, "wait", "x").returncode == 2


def test_by_curl():
    with a_bus() as bus:
        url = f"http://127.0.0.1:{bus.http_port}"
        head = curl("-i", "-d", "91", "-H", "Prefer: respond-async", f"{url}/requests/primes")
        assert head.startswith("HTTP/1.1 202 "), head
        where = [line.split(": ")[1].strip() for line in head.splitlines() if line.startswith("Location: ")][0]
        assert json.loads(curl(f"{url}{where}"))["state"] == "pending"
        with Worker(bus):
            assert json.loads(curl(f"{url}{where}?wait=30")) == {"n": 91, "factors": [7, 13]}
            assert json.loads(curl("-d", "360", f"{url}/requests/primes"))["factors"] == [2, 2, 2, 3, 3, 5]


def test_by_exec():
    """busbar respond makes any program a worker."""
    with a_bus() as bus:
        responder = subprocess.Popen([os.path.join(BUILD, "cli/busbar"), "respond", "-c", bus.config_path, "factors", "--exec",
                                      "factor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            url = f"http://127.0.0.1:{bus.http_port}/requests/factors"
            done = curl("--retry", "20", "--retry-delay", "1", "--retry-all-errors", "-f", "-d", "360", url)
            assert done.strip() == "360: 2 2 2 3 3 5", done
        finally:
            responder.terminate()
            responder.wait(30)


def test_pages():
    need_node("playwright-core")
    with a_bus() as bus, browser(bus) as page:
        for name in ("wait", "later", "room"):
            page.do("open", name=name)
            page.wait(deadline=60, event="opened", name=name)
        page.do("ask", name="wait", n=360)
        see(page, "wait", "360: no_responder")
        page.do("ask", name="later", n=91)
        see(page, "later", "91: waiting")
        # The page is closed, and another one asks for the reply.
        page.do("close", name="later")
        page.wait(event="closed", name="later")
        with Worker(bus):
            page.do("open", name="later")
            see(page, "later", "91 = 7 × 13")
            page.do("ask", name="wait", n=1001)
            see(page, "wait", "1001 = 7 × 11 × 13")
            page.do("ask", name="wait", n=1)
            see(page, "wait", "1: responder_failed: a number between")
            page.do("ask", name="room", n=15)
            see(page, "room", "15?")
            see(page, "room", "15 = 3 × 5")
            # A native program in the same room.
            assert primes(bus, "room", 77).stdout == "7 11\n"
            see(page, "room", "77 = 7 × 11")
        assert not page.find(event="pageerror"), page.find(event="pageerror")


if __name__ == "__main__":
    need_program("curl")
    main([test_natively, test_by_curl, test_by_exec, test_pages])
