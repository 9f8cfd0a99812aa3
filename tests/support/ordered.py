# SPDX-License-Identifier: Apache-2.0
"""A bus for tests in other languages: orders as JSON lines on standard input, one answer a line on standard output.

    $ python3 -m tests.support.ordered '{"frontends": ["tcp", "http"]}'
    {"ok": true, "ports": {"ws": 1, "http": 2, "tcp": 3}}
    {"do": "kill", "what": "tcp"}                   also start, stop, pause, cont
    {"ok": true}
    {"do": "raw", "text": "{\"op\":\"ping\"}"}      asks by TCP, gives the first line that comes
    {"do": "http", "method": "GET", "path": "/topics/a"}

The end of its input ends the bus, with the checks of tests/support/bus.py: exit code 1 says that one failed.
"""
import json
import sys

from tests.support.bus import Bus


def obey(bus, order):
    what = order.get("do")
    if what in ("kill", "start", "stop", "pause", "cont"):
        getattr(bus, what)(order["what"])
        return {}
    if what == "raw":
        client = bus.tcp()
        client.send_text(order["text"])
        return {"text": client.recv_text().decode()}
    if what == "http":
        r = bus.http(order["method"], order["path"], order.get("body"), order.get("headers"))
        return {"status": r.status, "headers": dict(r.headers), "body": r.body.decode()}
    raise ValueError(f"no such order: {what}")


def main():
    with Bus(**json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}")) as bus:
        print(json.dumps({"ok": True, "ports": bus.ports, "dir": bus.dir}), flush=True)
        for line in sys.stdin:
            try:
                answer = {"ok": True, **obey(bus, json.loads(line))}
            except Exception as e:  # told to who asked, who fails the test
                answer = {"ok": False, "error": f"{type(e).__name__}: {e}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
