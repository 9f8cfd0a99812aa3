# SPDX-License-Identifier: Apache-2.0
"""busbar pub, sub, topics and status against a real bus, as a script would use them."""
import json
import os
import signal
import subprocess

from tests.support.bus import DEADLINE, Bus, free_port, main, program, wait_until


def environment(bus):
    env = dict(os.environ, BUSBAR_SERVER=f"127.0.0.1:{bus.tcp_port}")
    env.pop("NO_COLOR", None)
    return env


def busbar(bus, *argv, input=None, code=0):
    done = subprocess.run([program("busbar"), *argv], env=environment(bus), input=input, capture_output=True, text=True,
                          timeout=DEADLINE, check=False)
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(bus, *argv, **options):
    return subprocess.Popen([program("busbar"), *argv], env=environment(bus), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


def test_pub_kinds():
    with Bus(frontends=("tcp",)) as bus:
        tcp = bus.tcp()
        tcp.sub("a/#")
        busbar(bus, "pub", "a/1", "hello")
        assert tcp.message()["data"] == "hello"
        busbar(bus, "pub", "a/1", '{"x": [1]}', "--json", "--header", "k=v", "--header", "l: m")
        got = tcp.message()
        assert (got["data"], got["headers"]) == ({"x": [1]}, {"k": "v", "l": "m"}), got
        busbar(bus, "pub", "a/1", "-", "--type", "text/html", input="<p>\n")
        got = tcp.message()
        assert (got["data"], got["type"]) == ("<p>\n", "text/html"), got
        busbar(bus, "pub", "a/1", "{", "--json", code=1)
        assert "This is no topic: it contains a wildcard" in busbar(bus, "pub", "a/+", "x", code=1).stderr
        cursor = busbar(bus, "pub", "a/1", "kept", "--retain", "--cursor", "--key", "K").stdout.strip()
        assert busbar(bus, "pub", "a/1", "kept", "--retain", "--cursor", "--key", "K").stdout.strip() == cursor
        assert busbar(bus, "pub", "a/1", "kept", "--retain", "--cursor", "--key", "L", "--once", "K").stdout.strip() == cursor
        assert tcp.message()["cursor"] == cursor
        late = bus.tcp()
        late.sub("a/1")
        assert late.message()["retained"] is True


def test_pub_lines():
    """More lines than the window holds, the last without a newline: all, once, in order."""
    n = 5000
    with Bus(frontends=("tcp",), topics=[{"match": "#", "history": {"messages": n}}]) as bus:
        text = "\n".join(f"line {i}" for i in range(n))
        out = busbar(bus, "pub", "load", "--lines", "--cursor", input=text).stdout
        assert len(set(out.split())) == n
        out = busbar(bus, "sub", "load", "--last", str(n), "--count", str(n), "--data", "-t", "20s").stdout
        assert out == text + "\n"


def test_pub_through_kills():
    """The frontend and the broker die while lines are published: each line is there, none twice."""
    n = 3000
    with Bus(frontends=("tcp",), topics=[{"match": "#", "history": {"messages": n}}]) as bus:
        pub = start(bus, "pub", "load", "--lines")
        for i in range(n):
            pub.stdin.write(f"{i}\n")
            if i in (n // 3, 2 * n // 3):
                pub.stdin.flush()
                bus.kill("tcp")
                bus.start("tcp")
        out, err = pub.communicate(timeout=DEADLINE)
        assert pub.returncode == 0, err
        out = busbar(bus, "sub", "load", "--last", str(n), "--count", str(n), "--data", "-t", "20s").stdout
        assert out == "".join(f"{i}\n" for i in range(n))


def test_sub_resumes():
    with Bus(frontends=("tcp", "http")) as bus:
        bus.http("POST", "/topics/a/1", b"from before")  # so that the topic is listed
        sub = start(bus, "sub", "a/#", "--count", "4")
        wait_until(lambda: links(bus, "a/1"), "it subscribes")
        bus.http("POST", "/topics/a/1", b"before")
        bus.kill("tcp")
        bus.http("POST", "/topics/a/2", b"while away")
        bus.start("tcp")
        bus.http("POST", "/topics/a/1", b"after")
        bus.http("POST", "/topics/a/1", b"last")
        out, err = sub.communicate(timeout=DEADLINE)
        assert sub.returncode == 0, err
        assert out == "a/1 before\na/2 while away\na/1 after\na/1 last\n", out
        assert "recovered" in err and "lost" in err, err


def links(bus, topic):
    out = busbar(bus, "topics", topic, "--json").stdout
    return json.loads(out)["links"] if out else 0


def test_cursor_file():
    with Bus(frontends=("tcp",)) as bus:
        path = os.path.join(bus.dir, "cursor")
        tcp = bus.tcp()
        for i in range(5):
            tcp.pub("a", i)
        out = busbar(bus, "sub", "a", "--last", "3", "--count", "2", "--cursor-file", path, "-t", "20s").stdout
        assert out == "a 2\na 3\n"
        out = busbar(bus, "sub", "a", "--count", "1", "--cursor-file", path, "-t", "20s").stdout
        assert out == "a 4\n"
        # Ended by a signal, it keeps its place too.
        sub = start(bus, "sub", "a", "--cursor-file", path)
        tcp.pub("a", 5)
        assert sub.stdout.readline() == "a 5\n"
        sub.send_signal(signal.SIGTERM)
        assert sub.wait(DEADLINE) == 0
        sub.communicate()
        tcp.pub("a", 6)
        out = busbar(bus, "sub", "a", "--count", "1", "--json", "--cursor-file", path, "-t", "20s").stdout
        assert json.loads(out)["data"] == 6
        with open(path, "w") as f:
            f.write("nonsense\n")
        assert "cursor" in busbar(bus, "sub", "a", "--cursor-file", path, code=2).stderr


def test_sub_ends():
    with Bus(frontends=("tcp",)) as bus:
        assert "0 of 2" in busbar(bus, "sub", "a", "--count", "2", "--timeout", "300ms", code=1).stderr
        busbar(bus, "sub", "a", "--timeout", "300ms")
        assert "refused" in busbar(bus, "sub", "a/#/b", code=1).stderr
        busbar(bus, "sub", code=2)
        busbar(bus, "sub", "a", "--last", "none", code=2)
        # `| head -n 1`: the reader goes away.
        tcp = bus.tcp()
        for i in range(10):
            tcp.pub("a", i)
        sub = start(bus, "sub", "a", "--last", "10")
        assert sub.stdout.readline() == "a 0\n"
        sub.stdout.close()
        tcp.pub("a", "one more")
        assert sub.wait(DEADLINE) == 0
        sub.stdin.close()
        sub.stderr.close()
        # The same when nothing more is published.
        sub = start(bus, "sub", "a", "--last", "1")
        assert sub.stdout.readline() == "a one more\n"
        sub.stdout.close()
        assert sub.wait(DEADLINE) == 0
        sub.stdin.close()
        sub.stderr.close()


def test_topics_pages():
    with Bus(frontends=("tcp",)) as bus:
        tcp = bus.tcp()
        names = sorted(f"many/{i}" for i in range(250))
        for name in names:
            tcp.pub(name, 1)
        listed = [json.loads(line) for line in busbar(bus, "topics", "many/#", "--json").stdout.splitlines()]
        assert [t["topic"] for t in listed] == names
        assert listed[0]["messages"] == 1 and listed[0]["cursor"]
        assert "many/0" in busbar(bus, "topics").stdout
        assert "no topic" in busbar(bus, "topics", "none/#").stderr


def test_status():
    with Bus(frontends=("tcp", "ws"), broker={"sys_interval": "200ms"}) as bus:
        bus.tcp().pub("a", 1)
        wait_until(lambda: {"tcp.1", "ws.1"} <= set(json.loads(busbar(bus, "status", "--json").stdout)["frontends"]), "figures")
        wait_until(lambda: json.loads(busbar(bus, "status", "--json").stdout)["broker"]["published"] >= 1, "the publish")
        out = busbar(bus, "status").stdout
        assert "tcp.1" in out and "ws.1" in out and "live" in out, out


def test_no_bus():
    with Bus(start=False) as bus:
        done = busbar(bus, "pub", "a", "x", "--server", f"127.0.0.1:{free_port()}", code=4)
        assert "no bus" in done.stderr and "busbar up" in done.stderr
        assert "HOST:PORT" in busbar(bus, "topics", "--server", "x:y", code=2).stderr
        # A bus that comes later.
        pub = start(bus, "pub", "a", "x", "--wait")
        bus.frontends = ["tcp.1"]
        bus.start_all()
        out, err = pub.communicate(timeout=DEADLINE)
        assert pub.returncode == 0, err


def test_broker_away():
    """What is asked while the frontend has no broker is answered when it has one again."""
    with Bus(frontends=("tcp",)) as bus:
        bus.kill("broker")
        commands = [start(bus, "pub", "a", "x"), start(bus, "topics", "--json"), start(bus, "sub", "a", "--last", "1", "--count", "1")]
        bus.start("broker")
        for command in commands:
            out, err = command.communicate(timeout=DEADLINE)
            assert command.returncode == 0, (command.args, out, err)
        assert out == "a x\n", out


def test_address_from_config():
    with Bus(frontends=("tcp",)) as bus:
        env = dict(os.environ)
        env.pop("BUSBAR_SERVER", None)
        subprocess.run([program("busbar"), "pub", "a", "x", "-c", bus.config_path], env=env, check=True, timeout=DEADLINE)


if __name__ == "__main__":
    main([test_pub_kinds, test_pub_lines, test_pub_through_kills, test_sub_resumes, test_cursor_file, test_sub_ends,
          test_topics_pages, test_status, test_no_bus, test_broker_away, test_address_from_config])
