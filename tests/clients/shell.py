# SPDX-License-Identifier: Apache-2.0
"""curl and nc, as a person would use them."""
import json
import subprocess

from tests.clients.nodes import need_program
from tests.support.bus import DEADLINE, Bus, main, wait_until


def run(*argv, input=None):
    return subprocess.run(argv, input=input, capture_output=True, text=True, timeout=DEADLINE, check=True).stdout


def test_curl():
    with Bus(frontends=("http", "tcp")) as bus:
        url = f"http://127.0.0.1:{bus.http_port}/topics/chat/room1"
        first = json.loads(run("curl", "-sS", "--fail", "-d", "hello from curl", url))
        assert first["cursor"], first
        answer = json.loads(run("curl", "-sS", "--fail", url + "?last=5"))
        assert [m["data"] for m in answer["messages"]] == ["hello from curl"], answer
        # The long-poll: it waits for what comes after the cursor.
        poll = subprocess.Popen(["curl", "-sS", "--fail", f"{url}?since={answer['cursor']}&wait=30"],
                                stdout=subprocess.PIPE, text=True)
        bus.tcp().pub("chat/room1", {"x": 1})
        out, _ = poll.communicate(timeout=DEADLINE)
        assert [m["data"] for m in json.loads(out)["messages"]] == [{"x": 1}], out


def test_curl_stream():
    with Bus(frontends=("http", "tcp")) as bus:
        url = f"http://127.0.0.1:{bus.http_port}/topics/chat/room1"
        stream = subprocess.Popen(["curl", "-sSN", "--fail", "-H", "Accept: text/event-stream", url],
                                  stdout=subprocess.PIPE, text=True)
        try:
            tcp = bus.tcp()
            wait_until(lambda: subscribers(tcp, "chat/room1"), "the stream subscribes")
            tcp.pub("chat/room1", "one\ntwo")
            lines = []
            while lines[-2:] != ["data: one", "data: two"]:
                lines.append(stream.stdout.readline().rstrip("\n"))
                assert len(lines) < 50, lines
            assert any(line.startswith("id: ") for line in lines), lines
        finally:
            stream.kill()
            stream.wait()


def subscribers(tcp, topic):
    """A retained probe is listed with how many frontends want it."""
    tcp.pub(topic, "probe")
    tcp.send(op="topics", id="t", filter=topic)
    n = tcp.expect("topic", id="t")["links"]
    tcp.expect("topics_end", id="t")
    return n


def test_nc():
    with Bus(frontends=("tcp",)) as bus:
        address = ("127.0.0.1", str(bus.tcp_port))
        out = run("nc", "-N", *address, input='{"op":"pub","id":1,"topic":"chat/room1","data":"from a script"}\n')
        assert json.loads(out)["op"] == "published", out
        nc = subprocess.Popen(["nc", *address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            nc.stdin.write('{"op":"sub","id":1,"topic":"chat/#","last":10}\n')
            nc.stdin.flush()
            assert json.loads(nc.stdout.readline())["op"] == "subscribed"
            assert json.loads(nc.stdout.readline())["data"] == "from a script"
            bus.tcp().pub("chat/room2", {"x": 1})
            got = json.loads(nc.stdout.readline())
            assert (got["topic"], got["data"]) == ("chat/room2", {"x": 1}), got
        finally:
            nc.kill()
            nc.wait()


if __name__ == "__main__":
    need_program("curl")
    need_program("nc")
    main([test_curl, test_curl_stream, test_nc])
