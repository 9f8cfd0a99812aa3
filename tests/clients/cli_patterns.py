# SPDX-License-Identifier: Apache-2.0
"""busbar request, respond, queue, presence, and pub with a time to live or a delay, as a script would use them."""
import json
import os
import signal
import time

from tests.clients.cli import busbar, start
from tests.support.bus import DEADLINE, Bus, main, wait_until

QUEUES = [{"match": "jobs/#", "queue": {"max_deliveries": 2}, "max_delay": "1h"}]


def responder(bus, *argv):
    """A `busbar respond` that has subscribed."""
    process = start(bus, "respond", *argv)
    probe = bus.tcp()

    def is_there():
        probe.send(op="request", id=0, topic=argv[0].replace("+", "probe"), data="probe", timeout=500)
        return probe.recv().get("code") != "no_responder"

    wait_until(is_there, "a responder")
    return process


def end(process):
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, (process.returncode, out, err)
    return out, err


def test_request_and_respond():
    with Bus(frontends=("tcp", "http")) as bus:
        refused = busbar(bus, "request", "svc/upper", "hello", code=1)
        assert "no_responder" in refused.stderr, refused.stderr
        upper = responder(bus, "svc/+", "--exec", "tr a-z A-Z", "--concurrency", "4")
        assert busbar(bus, "request", "svc/upper", "hello").stdout == "HELLO\n"
        assert busbar(bus, "request", "svc/upper", input="from\nstdin").stdout == "FROM\nSTDIN\n"
        assert busbar(bus, "request", "svc/upper", '{"a": 1}', "--json").stdout == '{"A": 1}\n'
        out = json.loads(busbar(bus, "request", "svc/upper", "x", "--full").stdout)
        assert out == {"data": "X"}, out
        large = "x" * 300000
        assert busbar(bus, "request", "svc/upper", "-", input=large).stdout == large.upper() + "\n"
        end(upper)

        env = responder(bus, "env/x", "--exec", 'printf "%s %s %s %s" "$BUSBAR_TOPIC" "$BUSBAR_TYPE" "$BUSBAR_KEY" "$BUSBAR_HEADER_A_B"')
        out = busbar(bus, "request", "env/x", "<p>", "--type", "text/html", "--key", "k", "--header", "a-b=c").stdout
        assert out == "env/x text/html k c\n", out
        end(env)

        typed = responder(bus, "json", "--exec", "cat", "--json", "--header", "k=v")
        out = json.loads(busbar(bus, "request", "json", '{"n": [1]}', "--full").stdout)
        assert out == {"headers": {"k": "v"}, "data": {"n": [1]}}, out
        failed = busbar(bus, "request", "json", "{", code=1)
        assert "responder_failed" in failed.stderr and "JSON" in failed.stderr, failed.stderr
        end(typed)

        failing = responder(bus, "fail", "--exec", "exit 3")
        assert "exit code 3" in busbar(bus, "request", "fail", "x", code=1).stderr
        end(failing)

        # Too large, and so large that its line would end the connection: the asker is told, the next one is served.
        wordy = responder(bus, "wordy", "--exec", 'head -c "$(cat)" /dev/zero')
        for size in ("2000000", "9000000"):
            assert "larger" in busbar(bus, "request", "wordy", size, code=1).stderr
        assert busbar(bus, "request", "wordy", "0").stdout == "\n"
        end(wordy)

        slow = responder(bus, "slow", "--exec", "exec sleep 60")
        assert "timeout" in busbar(bus, "request", "slow", "x", "-t", "300ms", code=4).stderr
        end(slow)


def test_respond_ends():
    """--count: the last reply is out before it ends; a killed responder's request is told so."""
    with Bus(frontends=("tcp",)) as bus:
        once = start(bus, "respond", "svc", "--exec", "cat", "--count", "1")
        wait_until(lambda: busbar_or_none(bus, "request", "svc", "x") == "x\n", "the reply")
        assert once.wait(DEADLINE) == 0
        once.communicate()
        slow = responder(bus, "svc", "--exec", "exec sleep 60")
        asker = start(bus, "request", "svc", "x")
        time.sleep(0.3)  # for the request to be under way
        slow.kill()
        slow.communicate()
        out, err = asker.communicate(timeout=DEADLINE)
        assert asker.returncode == 1 and ("responder_gone" in err or "no_responder" in err), (asker.returncode, err)


def busbar_or_none(bus, *argv):
    try:
        return busbar(bus, *argv).stdout
    except AssertionError:
        return None


def test_queue():
    with Bus(frontends=("tcp",), topics=QUEUES) as bus:
        for i in range(4):
            busbar(bus, "pub", "jobs/x", f"job {i}")
        busbar(bus, "queue", "take", "jobs/x", "g", "--exec", "exit 1", "--delay", "1h")
        listed = json.loads(busbar(bus, "queue", "list", "--json").stdout)
        assert (listed["ready"], listed["delayed"], listed["group"]) == (3, 1, "g"), listed
        assert "jobs/x g" in busbar(bus, "queue", "list", "jobs/#").stdout
        peeked = busbar(bus, "queue", "peek", "jobs/x", "g").stdout
        assert "job 0" in peeked and "delayed" in peeked and "job 3" in peeked, peeked
        out = busbar(bus, "queue", "take", "jobs/x", "g", "--count", "2").stdout
        assert out == "job 1\njob 2\n", out
        out = json.loads(busbar(bus, "queue", "take", "jobs/x", "g", "--json").stdout)
        assert out["data"] == "job 3" and out["deliveries"] in (1, 2) and out["topic"] == "jobs/x", out
        busbar(bus, "queue", "take", "jobs/x", "g", "-t", "300ms", code=4)
        assert busbar(bus, "queue", "purge", "jobs/x", "g").stdout == "1\n"
        out = busbar(bus, "queue", "take", "jobs/x", "g", "--exec", "cat; echo", "--count", "0", "-t", "300ms").stdout
        assert out == "", out
        busbar(bus, "pub", "jobs/x", "poison")
        busbar(bus, "queue", "take", "jobs/x", "g", "--exec", "exit 1", "--count", "2")
        wait_until(lambda: json.loads(busbar(bus, "queue", "list", "jobs/#", "--json").stdout)["dead"] == 1, "a dead letter")
        assert busbar(bus, "queue", "redrive", "jobs/x", "g").stdout == "1\n"
        assert busbar(bus, "queue", "take", "jobs/x", "g").stdout == "poison\n"
        assert busbar(bus, "queue", "purge", "jobs/x", "g", "--drop-group").stdout == "0\n"
        busbar(bus, "queue", "take", "jobs/x", code=2)
        busbar(bus, "queue", "take", "jobs/x", "no group", code=1)


def test_presence():
    with Bus(frontends=("tcp",)) as bus:
        assert "nobody" in busbar(bus, "presence", "chat/1").stderr
        there = start(bus, "presence", "chat/1", "--as", "u1", "--info", '{"name":"Ada"}')
        first = json.loads(there.stdout.readline())
        assert first["event"] == "snapshot" and first["members"] == [{"id": "u1", "info": {"name": "Ada"}}], first
        listed = json.loads(busbar(bus, "presence", "chat/1", "--json").stdout)
        assert listed["member"] == "u1" and listed["connections"] == 1, listed
        assert '"u1" {"name":"Ada"}' in busbar(bus, "presence", "chat/1").stdout
        followed = busbar(bus, "presence", "chat/1", "--follow", "-t", "500ms").stdout
        assert json.loads(followed.splitlines()[0])["count"] == 1, followed
        end(there)
        busbar(bus, "presence", "chat/1", "--as", "u1", "--info", "{", code=2)
        assert "not_allowed" in busbar(bus, "presence", "$sys/x", code=1).stderr


def test_later():
    with Bus(frontends=("tcp",), topics=[{"match": "#", "history": {"messages": 10}, "max_delay": "1h"}]) as bus:
        tcp = bus.tcp()
        tcp.sub("a")
        busbar(bus, "pub", "a", "later", "--delay", "400ms")
        busbar(bus, "pub", "a", "now", "--ttl", "1h")
        assert [tcp.message()["data"] for _ in range(2)] == ["now", "later"]
        busbar(bus, "pub", "b", "short", "--ttl", "200ms")
        time.sleep(0.4)  # its time to live
        assert busbar(bus, "sub", "b", "--last", "5", "-t", "300ms", "--data").stdout == ""
        busbar(bus, "pub", "b", "x", "--ttl", "soon", code=2)
        assert "max_delay" in busbar(bus, "pub", "b", "x", "--delay", "2h", code=1).stderr


if __name__ == "__main__":
    os.environ.pop("BUSBAR_SERVER", None)
    main([test_request_and_respond, test_respond_ends, test_queue, test_presence, test_later])
