# SPDX-License-Identifier: Apache-2.0
"""POST /_broadcast as AnyCable's publishers do it: who may, what it becomes on the bus, batches, the broker gone."""
import hashlib
import hmac
import json
import os
import signal
import subprocess
import threading

from tests.support.bus import BUILD, Bus, main, wait_until

SECRET = "qwerty"
# What AnyCable's own tests have for that secret.
KEY = "42923a28b760e667fc92f7c6123bb07a282822b329dd2ef48e7aee7830d98485"


def post(bus, body, path="/_broadcast", **headers):
    return bus.http("POST", path, body if isinstance(body, (str, bytes)) else json.dumps(body),
                    {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}})


def open_to_all(**options):
    return Bus(frontends=("http", "tcp"), http={"broadcast": {"access": "open", **options}})


def n_connected(bus):
    """Connections that the HTTP frontend holds, by what the kernel says of its port."""
    port = f":{bus.http_port:04X}"
    with open("/proc/net/tcp") as f:
        return sum(1 for line in f if line.split()[1].endswith(port) and line.split()[3] == "01")


def kept(bus, topic):
    return bus.http("GET", f"/topics/{topic}?last=1000").json()["messages"]


def off_unless_configured():
    with Bus(frontends=("http",)) as bus:
        r = post(bus, {"stream": "a", "data": "1"})
        assert r.status == 405, r
        assert kept(bus, "a") == []


def the_key():
    assert hmac.new(SECRET.encode(), b"broadcast-cable", hashlib.sha256).hexdigest() == KEY
    for source, text in (("secret_file", SECRET + "\n"), ("key_file", KEY)):
        bus = Bus(frontends=("http",), start=False)
        path = os.path.join(bus.dir, "secret")
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o600)
        bus.config["http"]["broadcast"] = {"access": "key", source: path}
        bus.write_config()
        with bus:
            bus.start_all()
            one = {"stream": "a", "data": "1"}
            assert post(bus, one, Authorization=f"Bearer {KEY}").status == 201
            assert post(bus, one, authorization=f"bearer {KEY}").status == 201
            for wrong in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Bearer {KEY[:-1]}"}, {"Authorization": "Bearer "},
                          {"Authorization": f"Basic {KEY}"}, {"Authorization": KEY}, {"Authorization": f"Bearer {'0' * 64}"},
                          {"Authorization": f"Bearer {SECRET}"}):
                r = post(bus, one, **wrong)
                assert (r.status, r.json()["error"]["code"], r.headers["www-authenticate"]) == (401, "not_allowed", "Bearer"), (wrong, r)
            assert len(kept(bus, "a")) == 2
            # A new one by a reload; if that cannot be read, the old one stays.
            with open(path, "w") as f:
                f.write("other" if source == "key_file" else "other secret")
            new = "other" if source == "key_file" else hmac.new(b"other secret", b"broadcast-cable", hashlib.sha256).hexdigest()
            bus.process("http").signal(signal.SIGHUP)
            wait_until(lambda: post(bus, one, Authorization=f"Bearer {new}").status == 201, "the new key")
            assert post(bus, one, Authorization=f"Bearer {KEY}").status == 401
            os.unlink(path)
            bus.process("http").signal(signal.SIGHUP)
            wait_until(lambda: "stays as it was" in bus.process("http").log(), "the log to say so")
            assert post(bus, one, Authorization=f"Bearer {new}").status == 201
            log = bus.process("http").log()
            assert KEY not in log and SECRET not in log and new not in log, log


def configurations():
    def check(**broadcast):
        bus = Bus(frontends=("http",), start=False, http={"broadcast": broadcast})
        r = subprocess.run([os.path.join(BUILD, "cli/busbar"), "check-config", "-c", bus.config_path], capture_output=True, text=True, check=False)
        bus.close()
        return r.returncode, r.stdout + r.stderr
    for options in ({"access": "key"}, {"access": "key", "key_file": "k", "secret_env": "S"}, {"access": "open", "path": "x"}):
        code, text = check(**options)
        assert code != 0 and "http.broadcast" in text and ":" in text, (options, text)
    assert check(access="key", key_env="K")[0] == 0 and check(access="open")[0] == 0
    # A process whose key cannot be read does not start.
    bus = Bus(frontends=("http",), start=False, http={"broadcast": {"access": "key", "key_env": "BUSBAR_NO_SUCH_VARIABLE"}})
    try:
        bus.start("broker")
        process = bus.start("http", wait=False)
        process.is_expected_to_end = True
        assert process.popen.wait(30) != 0
        assert "BUSBAR_NO_SUCH_VARIABLE" in process.log(), process.log()
    finally:
        bus.close()


def messages():
    with open_to_all() as bus:
        tcp = bus.tcp()
        tcp.sub("#")
        r = post(bus, {"stream": "chat/1", "data": json.dumps({"text": "hé"}), "meta": {"exclude_socket": "0123456789abcdef" + "secret" * 5, "transient": True}})
        assert r.status == 201, r
        got = tcp.message()
        assert got["data"] == {"text": "hé"} and got["headers"] == {"busbar-exclude": "0123456789abcdef"} and got["cursor"] == r.json()["cursor"], got
        for data, wanted, kind in (("not json", "not json", None), ("", "", None), ('"quoted"', "quoted", "application/json"), ("null", None, None),
                                   ('{"b" : 1.50}', {"b": 1.5}, None)):
            assert post(bus, {"stream": "a:b", "data": data}).status == 201
            got = tcp.message()
            assert (got["topic"], got["data"], got.get("type"), got.get("headers")) == ("a:b", wanted, kind, None), got
        assert bus.http("GET", "/topics/a:b?last=1").body.find(b'{"b" : 1.50}') > 0
        for body, status, code in (("", 400, "request_invalid"), ("x", 400, "request_invalid"), ({}, 400, "request_invalid"),
                                   ({"stream": "a#", "data": "1"}, 400, "topic_invalid"), ({"stream": "$sys/x", "data": "1"}, 403, "not_allowed"),
                                   ({"stream": "a", "data": {"x": 1}}, 400, "request_invalid"), ({"stream": "a", "data": "[" * 33 + "]" * 33}, 400, "body_invalid"),
                                   ({"command": "disconnect", "payload": {"identifier": "1", "reconnect": False}}, 501, "op_unknown"),
                                   ([{"stream": "a", "data": "1"}] * 1001, 429, "limit_reached"), ([], 400, "request_invalid")):
            r = post(bus, body)
            assert (r.status, r.json()["error"]["code"]) == (status, code), (body, r)
        assert post(bus, "x" * (1 << 20) + "y").status == 413
        assert bus.http("GET", "/_broadcast").status == 405 and bus.http("OPTIONS", "/_broadcast").headers["allow"] == "POST, OPTIONS"
        assert kept(bus, "a") == []


def batches():
    with open_to_all(path="/somewhere/else", batch=5000) as bus:
        batch = [{"stream": f"s/{i % 3}", "data": json.dumps(i)} for i in range(2000)]
        r = post(bus, batch, "/somewhere/else", Idempotency_Key="k")
        assert r.status == 201, r
        got = bus.http("GET", "/topics?topic=s/%23&last=1000").json()["messages"]
        assert [m["data"] for m in got] == list(range(2000)) and got[-1]["cursor"] == r.json()["cursor"]
        # The same again changes nothing.
        assert post(bus, batch, "/somewhere/else", Idempotency_Key="k").json() == r.json()
        assert len(bus.http("GET", "/topics?topic=s/%23&last=1000").json()["messages"]) == 2000
        assert post(bus, batch[0], "/somewhere/else", Idempotency_Key="x" * 256).status == 400
        assert post(bus, batch[:2], "/somewhere/else", Idempotency_Key="x" * 250).status == 400
        # One mistake anywhere refuses all; what the topics' settings refuse is told.
        assert post(bus, [{"stream": "n", "data": "1"}, {"stream": "n"}], "/somewhere/else").status == 400
        r = post(bus, [{"stream": "n", "data": "1"}, {"stream": "$n", "data": "1"}, {"stream": "n", "data": "2"}], "/somewhere/else")
        assert r.status == 403 and "1 of the batch's 3" in r.json()["error"]["message"], r
        assert [m["data"] for m in kept(bus, "n")] == [1, 2]


def the_broker_is_away():
    """More than may be held: the batch waits for room, and comes once and in order."""
    with Bus(frontends=("http",), http={"broadcast": {"access": "open"}}, limits={"publishes_held": 10}) as bus:
        assert post(bus, {"stream": "a", "data": "0"}).status == 201
        bus.kill("broker")
        wait_until(lambda: bus.http("GET", "/health/ready").status == 503, "not ready")
        answers = []
        batch = [{"stream": "b", "data": str(i)} for i in range(100)]
        t = threading.Thread(target=lambda: answers.append(post(bus, batch)))
        t.start()
        bus.start("broker")
        t.join(30)
        assert answers and answers[0].status == 201, answers
        assert [m["data"] for m in kept(bus, "b")] == list(range(100))
        # A stop while it waits: what was taken is answered when the broker is back, the rest is not begun.
        bus.kill("broker")
        wait_until(lambda: bus.http("GET", "/health/ready").status == 503, "not ready")
        n_before = len(answers)
        t = threading.Thread(target=lambda: answers.append(post(bus, batch)))
        t.start()
        wait_until(lambda: n_connected(bus) > 0, "the request to come")
        assert bus.http("GET", "/health/live").status == 200  # and to be read before this one
        bus.process("http").is_expected_to_end = True
        bus.process("http").signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in bus.process("http").log(), "it to stop")
        bus.start("broker")
        t.join(30)
        assert len(answers) > n_before and answers[-1].status == 503, answers
        assert "90 of the batch's 100" in answers[-1].json()["error"]["message"], answers[-1]
        wait_until(lambda: bus.process("http").popen.poll() is not None, "its end")


if __name__ == "__main__":
    main([off_unless_configured, the_key, configurations, messages, batches, the_broker_is_away])
