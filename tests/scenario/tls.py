# SPDX-License-Identifier: Apache-2.0
"""TLS by the bus itself: every frontend, stock clients, and what strangers do to a TLS port."""
import ctypes
import ctypes.util
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time

from tests.support import clients
from tests.support.bus import DEADLINE, SANITIZED, Bus, main, program, wait_until
from tests.support.certificates import Authority, openssl
from tests.support.ports import free_port
from tests.support.clients import Closed


class TlsBus(Bus):
    """Every frontend listens in the clear and for TLS."""

    def __init__(self, tls=None, frontends=("ws.1", "http.1", "tcp.1"), start=True, **options):
        Bus.__init__(self, frontends=frontends, start=False, **options)
        self.authority = Authority(os.path.join(self.dir, "tls"))
        self.certificate, self.key = self.authority.issue("server")
        self.context = self.authority.context()
        self.tls_ports = {}
        for kind in ("ws", "http", "tcp"):
            self.tls_ports[kind] = free_port()
            self.config[kind]["tls"] = {"listen": f"127.0.0.1:{self.tls_ports[kind]}", "certificate": self.certificate,
                                        "key": self.key, **(tls or {})}
        self.write_config()
        if start:
            try:
                self.start_all()
            except BaseException:
                self.close(check=False)
                raise

    def tls_tcp(self, context=None, **options):
        return self._keep(clients.JsonLines("127.0.0.1", self.tls_ports["tcp"], tls=context or self.context, **options))

    def tls_ws(self, path="/ws", **options):
        return self._keep(clients.WsJson("127.0.0.1", self.tls_ports["ws"], path, tls=self.context, **options))

    def https(self, method, path, body=None, headers=None):
        return clients.http_request(self.tls_ports["http"], method, path, body, headers, tls=self.context)

    def tls_sse(self, path, **options):
        return self._keep(clients.Sse("127.0.0.1", self.tls_ports["http"], path, tls=self.context, **options))

    def connect(self, kind):
        """A plain socket to a TLS port."""
        s = socket.create_connection(("127.0.0.1", self.tls_ports[kind]), DEADLINE)
        s.settimeout(DEADLINE)
        return s

    def wait_counters(self, name, wanted):
        """Until every frontend has told of a counter what `wanted` says; they tell every 10 s."""
        client, told = self.tcp(), {}
        client.sub("$sys/frontends/+")
        while not all(instance in told and wanted(told[instance]) for instance in self.frontends):
            m = client.message()
            told[m["topic"].rsplit("/", 1)[1]] = m["data"][name]

    def log_has(self, instance, text):
        wait_until(lambda: text in self.process(instance).log(), f"'{text}' in the log of {instance}")


def read_all(s):
    data = b""
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def every_frontend_speaks_tls_beside_plain():
    with TlsBus() as bus:
        heard = {"tcp": bus.tcp(), "tls_tcp": bus.tls_tcp(), "ws": bus.ws(), "tls_ws": bus.tls_ws()}
        for c in heard.values():
            c.sub("a/#")
        plain, events = bus.sse("/topics/a/1"), bus.tls_sse("/topics/a/1")
        assert bus.https("POST", "/topics/a/1", json.dumps({"by": "https"}), {"Content-Type": "application/json"}).status < 300
        heard["tls_ws"].pub("a/1", {"by": "wss"})
        heard["tls_tcp"].pub("a/1", {"by": "tls"})
        for by in "https", "wss", "tls":
            for c in heard.values():
                assert c.message()["data"] == {"by": by}
            for e in plain, events:
                assert json.loads(e.next()["data"]) == {"by": by}
        assert heard["tls_ws"].sock.version() == "TLSv1.3"


def large_messages_pass_both_ways():
    """Of several records, cut anywhere, and many in one."""
    with TlsBus(frontends=["tcp.1", "ws.1"]) as bus:
        a, b = bus.tls_tcp(), bus.tls_ws()
        a.sub("big")
        b.sub("big")
        for n in 0, 1, 16383, 16384, 16385, 100_000, 700_000:
            a.pub("big", "x" * n)
            assert len(a.message()["data"]) == n
            assert len(b.message()["data"]) == n
        for i in range(500):
            b.send(op="pub", topic="big", data=i)
        assert [m["data"] for m in a.messages(500)] == list(range(500))
        assert [m["data"] for m in b.messages(500)] == list(range(500))


def s_client_publishes_by_a_pipe():
    """What is sent before the end counts, and the end is TLS's own."""
    with TlsBus(frontends=["tcp.1"]) as bus:
        listener = bus.tcp()
        listener.sub("p")
        for version in "-tls1_2", "-tls1_3":
            done = subprocess.run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{bus.tls_ports['tcp']}", "-CAfile", bus.authority.ca, "-verify_return_error",
                 "-quiet", "-no_ign_eof", version],
                input=json.dumps({"op": "pub", "topic": "p", "data": version}) + "\n", capture_output=True, text=True, timeout=DEADLINE, check=False)
            assert listener.message()["data"] == version, done


def curl_publishes_and_listens():
    if not shutil.which("curl"):
        print("no curl: left out")
        return
    with TlsBus(frontends=["http.1"]) as bus:
        address = f"https://localhost:{bus.tls_ports['http']}/topics/c"
        command = ["curl", "-sS", "--cacert", bus.authority.ca, "--max-time", str(DEADLINE)]
        with subprocess.Popen([*command, "-N", "-H", "Accept: text/event-stream", address], stdout=subprocess.PIPE, text=True) as stream:
            wait_until(lambda: bus.http("GET", "/topics").json(), "topics")
            lines = iter(stream.stdout.readline, "")
            said = []
            while not any("retry" in line or line.startswith(":") for line in said):  # it is subscribed
                said.append(next(lines))
            posted = subprocess.run([*command, "-d", "by curl", address], capture_output=True, text=True, timeout=DEADLINE, check=False)
            assert posted.returncode == 0, posted
            while not said[-1].startswith("data:"):
                said.append(next(lines))
            assert "by curl" in said[-1]
            stream.terminate()
        strange = subprocess.run(["curl", "-sS", "--max-time", str(DEADLINE), address], capture_output=True, text=True, check=False)
        assert strange.returncode == 60, strange  # nobody it trusts


def an_event_stream_that_is_left_is_noticed_at_once():
    """Though its end stands behind encrypted bytes that nobody reads while the stream goes on."""
    with TlsBus(frontends=["http.1"], http={"keepalive_interval": "10m"}) as bus:
        for _ in range(3):
            stream = bus.tls_sse("/topics/left")
            wait_until(lambda: n_connected(bus, "http.1") == 1, "the stream alone to be there")
            if not stream.buffer:
                stream.fill(DEADLINE)  # its first bytes
            try:
                stream.sock.unwrap().close()  # sends TLS's end and waits for ours
            except ssl.SSLError:
                stream.close()  # bytes of the stream came before it
            wait_until(lambda: n_connected(bus, "http.1") == 0, "the stream to be gone")
        bus.tls_sse("/topics/left").sock.close()  # without it
        wait_until(lambda: n_connected(bus, "http.1") == 0, "the streams to be gone")


def n_connected(bus, instance):
    """Sockets of that process to clients that are still open on our side."""
    port = f":{bus.tls_ports[instance.split('.')[0]]:04X}"
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(port) and row[3] in ("01", "08"))


def a_half_handshake_ends_in_time():
    """Silence, half a hello, a hello and then nothing: each is ended by tls.handshake_timeout and counted."""
    with TlsBus(tls={"handshake_timeout": "500ms"}) as bus:
        hello = client_hello()
        waiting = [bus.connect(kind) for kind in ("ws", "http", "tcp") for _ in range(3)]
        for i, s in enumerate(waiting):
            s.sendall((b"", hello[:50], hello)[i % 3])
        began = time.monotonic()
        for s in waiting:
            read_all(s)
            s.close()
        assert time.monotonic() - began < DEADLINE / 2
        bus.wait_counters("closed_timeout", lambda n: n == 3)
        bus.tls_tcp().pub("still", "there")


def client_hello():
    """As OpenSSL begins."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    end = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def garbage_is_refused_and_counted():
    with TlsBus() as bus:
        hello = client_hello()
        junk = [os.urandom(300), b"\x16\x03\x01\xff\xff" + b"a" * 70000, b"\x00" * 1000, hello[:5] + os.urandom(len(hello) - 5), hello + os.urandom(500),
                b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x01\x00\x00", hello[:40] + b"\xff" * 40 + hello[80:], hello * 2]
        for kind in "ws", "http", "tcp":
            for bytes_ in junk:
                with bus.connect(kind) as s:
                    try:
                        s.sendall(bytes_)
                    except OSError:
                        pass
                    try:
                        s.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                    read_all(s)
        bus.tls_tcp().pub("still", "there")
        bus.tls_ws().pub("still", "there")
        assert bus.https("POST", "/topics/still", "there").status < 300
        bus.wait_counters("tls_failed", lambda n: n >= len(junk) - 2)


def plain_http_is_told_so():
    with TlsBus() as bus:
        for kind in "ws", "http":
            with bus.connect(kind) as s:
                s.sendall(b"GET /topics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = read_all(s)
            assert answer.startswith(b"HTTP/1.1 400 ") and b"https://" in answer, answer
            bus.log_has(kind, "plain HTTP to the TLS port")
        with bus.connect("tcp") as s:
            s.sendall(b'{"op":"ping"}\n')
            read_all(s)
        bus.log_has("tcp", "a TLS handshake failed")


def old_versions_and_unknown_protocols_are_refused():
    with TlsBus(tls={"min_version": "1.3"}) as bus:
        old = bus.authority.context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            bus.tls_tcp(context=old)
            raise AssertionError("TLS 1.2 was taken")
        except ssl.SSLError:
            pass
        h2 = bus.authority.context()
        h2.set_alpn_protocols(["h2"])
        with bus.connect("http") as s:
            try:
                h2.wrap_socket(s, server_hostname="localhost")
                raise AssertionError("h2 was taken")
            except ssl.SSLError:
                pass
        both = bus.authority.context()
        both.set_alpn_protocols(["h2", "http/1.1"])
        with bus.connect("ws") as s, both.wrap_socket(s, server_hostname="localhost") as t:
            assert t.selected_alpn_protocol() == "http/1.1"


def renegotiation_is_refused():
    """A client of TLS 1.2 that asks for it is answered no, or ended; the others go on."""
    with TlsBus(frontends=["tcp.1"]) as bus:
        s = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{bus.tls_ports['tcp']}", "-CAfile", bus.authority.ca, "-tls1_2"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        s.stdin.write('{"op":"ping"}\n')
        s.stdin.flush()
        for line in iter(s.stdout.readline, ""):
            if '"pong"' in line:
                break
        s.stdin.write("R\n")
        s.stdin.flush()
        out, _ = s.communicate(timeout=DEADLINE)
        assert "no renegotiation" in out.lower() or "alert" in out.lower(), out
        bus.tls_tcp().pub("still", "there")


class RestlessClient:
    """TLS 1.3 by libssl itself: Python's module cannot ask for new keys. It never reads."""

    def __init__(self, port):
        self.lib = ctypes.CDLL(ctypes.util.find_library("ssl"))
        for name in "TLS_client_method", "SSL_CTX_new", "SSL_new":
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(DEADLINE), 0))
        self.context = ctypes.c_void_p(self.lib.SSL_CTX_new(ctypes.c_void_p(self.lib.TLS_client_method())))
        self.ssl = ctypes.c_void_p(self.lib.SSL_new(self.context))
        self.lib.SSL_set_fd(self.ssl, self.sock.fileno())
        assert self.lib.SSL_connect(self.ssl) == 1

    def new_keys(self, asks_back):
        return self.lib.SSL_key_update(self.ssl, int(asks_back)) == 1 and self.lib.SSL_do_handshake(self.ssl) == 1

    def ping(self):
        text, answer = b'{"op":"ping"}\n', ctypes.create_string_buffer(1000)
        return self.lib.SSL_write(self.ssl, text, len(text)) == len(text) and self.lib.SSL_read(self.ssl, answer, 1000) > 0 and b"pong" in answer.raw

    def close(self):
        self.lib.SSL_free(self.ssl)
        self.lib.SSL_CTX_free(self.context)
        self.sock.close()


def who_asks_for_new_keys_over_and_over_is_ended():
    """Each costs the client one record, and us keys in both directions and an answer that it need not read."""
    with TlsBus(frontends=["tcp.1"]) as bus:
        for asks_back in True, False:
            c = RestlessClient(bus.tls_ports["tcp"])
            assert all(c.new_keys(asks_back) for _ in range(10)) and c.ping()  # as much as anyone needs
            end = time.monotonic() + DEADLINE
            while c.new_keys(asks_back):
                assert time.monotonic() < end, "it may go on for ever"
            c.close()
        bus.tls_tcp().pub("still", "there")
        bus.log_has("tcp", "over and over")
        bus.wait_counters("closed_bad_input", lambda n: n == 2)


def clients_show_a_certificate():
    with TlsBus(start=False, frontends=["tcp.1", "ws.1"]) as bus:
        people = Authority(os.path.join(bus.dir, "people"), "who issues for people")
        bus.config["tcp"]["tls"]["client_ca"] = people.ca
        bus.write_config()
        bus.start_all()
        mine = bus.authority.context(*people.issue("ann"))
        first = bus.tls_tcp(context=mine)
        first.pub("a", 1)
        again = mine.wrap_socket(bus.connect("tcp"), server_hostname="localhost", session=first.sock.session)
        again.sendall(b'{"op":"ping"}\n')
        assert b"pong" in again.recv(100) and again.session_reused  # a ticket saves showing it again
        again.close()
        for context in bus.context, bus.authority.context(*bus.authority.issue("stranger")):
            try:
                c = bus.tls_tcp(context=context)
                c.send(op="ping")
                c.recv()
                raise AssertionError("it was let in")
            except (ssl.SSLError, Closed, ConnectionError):
                pass
        bus.tls_ws().pub("a", 2)  # of these none is asked


def a_reload_takes_a_new_certificate_and_drops_nobody():
    with TlsBus() as bus:
        before = {"tcp": bus.tls_tcp(), "ws": bus.tls_ws()}
        for c in before.values():
            c.sub("r")
        old = serial_of(bus, "ws")
        bus.authority.issue("server")
        for instance in bus.frontends:
            bus.process(instance).signal(signal.SIGHUP)
            bus.log_has(instance, "the config was reloaded")
        assert serial_of(bus, "ws") != old
        assert serial_of(bus, "tcp") == serial_of(bus, "ws") == serial_of(bus, "http")
        bus.tls_tcp().pub("r", "after")
        for c in before.values():
            assert c.message()["data"] == "after"
        # What cannot be used is named, and changes nothing.
        now = serial_of(bus, "ws")
        with open(bus.key, "w") as f:
            f.write("no key\n")
        for instance in bus.frontends:
            bus.process(instance).signal(signal.SIGHUP)
            bus.log_has(instance, "everything stays as it was")
            bus.log_has(instance, bus.key)
        assert serial_of(bus, "ws") == now
        bus.tls_tcp().pub("r", "still")
        for c in before.values():
            assert c.message()["data"] == "still"


def serial_of(bus, kind):
    with bus.connect(kind) as s, bus.context.wrap_socket(s, server_hostname="localhost") as t:
        return t.getpeercert()["serialNumber"]


def what_is_wrong_with_the_files_is_said():
    """By check-config and by the frontend, with the file, the reason and the option; and no question is asked."""
    with TlsBus(start=False) as bus:
        locked, other = os.path.join(bus.dir, "locked.key"), bus.authority.issue("other")[1]
        openssl("pkey", "-in", bus.key, "-aes256", "-passout", "pass:secret", "-out", locked)
        junk = os.path.join(bus.dir, "junk.pem")
        with open(junk, "w") as f:
            f.write("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        rsa = bus.authority.issue("rsa", key=("rsa:2048",))[1]
        pipe, backwards = os.path.join(bus.dir, "pipe"), os.path.join(bus.dir, "backwards.pem")
        os.mkfifo(pipe)
        with open(backwards, "w") as to:
            for path in bus.authority.ca, bus.certificate:
                with open(path) as f:
                    to.write(f.read())
        wrong = [({"certificate": pipe}, ["tls.certificate", pipe, "not a regular file"]),
                 ({"key": bus.dir}, ["tls.key", bus.dir, "not a regular file"]),
                 ({"certificate": backwards}, ["tls.key", backwards, "stands before its issuers'"]),
                 ({"certificate": ""}, ["tls.certificate", "is empty"]),
                 ({"certificate": "/nowhere/at-all.pem"}, ["tls.certificate", "/nowhere/at-all.pem", "No such file"]),
                 ({"certificate": junk}, ["tls.certificate", junk]),
                 ({"certificate": bus.key}, ["tls.certificate", bus.key]),
                 ({"key": rsa}, ["tls.key", rsa, "not the key of"]),
                 ({"key": other}, ["tls.key", other, "not the key of"]),
                 ({"key": bus.certificate}, ["tls.key", bus.certificate, "no private key"]),
                 ({"key": locked}, ["tls.key", locked, "passphrase"]),
                 ({"key": ""}, ["tls.certificate", bus.certificate, "no private key"]),
                 ({"client_ca": junk}, ["tls.client_ca", junk]),
                 ({"ciphers": "NONSENSE"}, ["tls.ciphers", "NONSENSE"]),
                 ({"ciphersuites": "NONSENSE"}, ["tls.ciphersuites", "NONSENSE"]),
                 ({"min_version": "1.1"}, ["tls.min_version", "1.1"])]
        right = dict(bus.config["tcp"]["tls"])
        for change, words in wrong:
            bus.config["tcp"]["tls"] = {**right, **change}
            bus.write_config()
            for command in ([program("busbar"), "check-config", bus.config_path], [program("tcp"), "--config", bus.config_path]):
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False)
                assert done.returncode == 3, (command, done)
                assert all(word in done.stderr for word in words), (words, done.stderr)
        expired, its_key = bus.authority.issue("expired", days=-1)
        bus.config["tcp"]["tls"] = {**right, "certificate": expired, "key": its_key}
        bus.config["ws"] = {"enabled": False, "tls": {**right, "key": other}}  # nobody would read that
        bus.write_config()
        done = subprocess.run([program("busbar"), "check-config", bus.config_path], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "fine" in done.stdout and f'"{expired}" has expired' in done.stderr, done
        if os.geteuid() != 0:
            os.chmod(bus.key, 0)
            bus.config["tcp"]["tls"] = right
            bus.write_config()
            done = subprocess.run([program("busbar"), "check-config", bus.config_path], capture_output=True, text=True, check=False)
            assert "must be able to read it" in done.stderr, done
            os.chmod(bus.key, 0o600)


def only_tls_is_a_configuration_too():
    with TlsBus(start=False, frontends=["ws.1"]) as bus:
        for kind in "ws", "http", "tcp":
            bus.config[kind]["listen"] = ""
        bus.write_config()
        done = subprocess.run([program("busbar"), "check-config", bus.config_path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        bus.start_all()
        bus.tls_ws().pub("a", 1)


def handshakes_wait_their_turn():
    """With few allowed at once, many still come through."""
    with TlsBus(frontends=["tcp.1"], tls={"handshakes": 2, "handshake_timeout": "2s"}) as bus:
        idle = [bus.connect("tcp") for _ in range(2)]  # these take both places until their time is over
        many = [bus.tls_tcp() for _ in range(20)]
        for c in many:
            c.pub("t", 1)
        for s in idle:
            s.close()
        bus.log_has("tcp", "tls.handshakes")
        bus.wait_counters("tls_full", lambda n: n > 0)


def a_hello_without_end_is_ended():
    """OpenSSL takes 128 KiB of it, which a thousand who never finish would make much of."""
    with TlsBus(frontends=["tcp.1"]) as bus, bus.connect("tcp") as s:
        sent = 0
        try:
            s.sendall(b"\x16\x03\x01\x00\x06\x01" + (131000).to_bytes(3, "big") + b"\x03\x03")
            while sent < 120 << 10:
                sent += s.send(b"\x16\x03\x01\x10\x00" + b"a" * 4096)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        read_all(s)
        bus.log_has("tcp", "the handshake is too long")
        bus.wait_counters("tls_failed", lambda n: n == 1)


def a_slow_reader_is_treated_as_its_topic_says():
    """Over TLS, what was encrypted already is sent whole; the rest of the queue obeys the policy."""
    policies = ["drop_oldest", "conflate", "catch_up", "disconnect"]
    topics = [{"match": p, "slow_consumer": p, "history": {"messages": 100000, "bytes": "64MiB"}} for p in policies]
    with TlsBus(frontends=["tcp.1", "ws.1"], topics=topics, limits={"queue_bytes": "64KiB"}) as bus:
        slow = {p: bus.tls_tcp(rcvbuf=4096) for p in policies}
        for p, c in slow.items():
            c.sub(p)
        fast = bus.tcp()
        n, size = 600, 20000
        for i in range(n):
            for p in policies:
                fast.send(op="pub", topic=p, data=[i, "x" * size], **({"key": str(i % 3)} if p == "conflate" else {}))
        fast.send(op="ping", id="last")
        fast.expect("pong")
        for p in "drop_oldest", "conflate", "catch_up":
            seen = []
            while not seen or seen[-1] != n - 1:
                m = slow[p].recv()
                if m["op"] == "msg":
                    assert len(m["data"][1]) == size
                    seen.append(m["data"][0])
            assert seen == sorted(set(seen)), (p, seen)
            assert (len(seen) == n) == (p == "catch_up"), (p, len(seen))
        try:
            while True:
                slow["disconnect"].recv()
        except (Closed, ssl.SSLError, ConnectionError):
            pass


def kills_and_restarts():
    with TlsBus() as bus:
        c, w = bus.tls_tcp(), bus.tls_ws()
        c.sub("k")
        w.sub("k")
        bus.kill("broker")
        bus.start("broker")
        for client in c, w:
            client.expect("state")
        assert bus.https("POST", "/topics/k", "again").status < 300
        assert c.message()["data"] == "again"
        assert w.message()["data"] == "again"
        bus.kill("tcp.1")
        try:
            while True:
                c.recv()
        except (Closed, ssl.SSLError, ConnectionError):
            pass
        bus.start("tcp.1")
        bus.tls_tcp().pub("k", "tcp is back")
        assert w.message()["data"] == "tcp is back"
        bus.stop("ws.1")  # planned: the client is told, in its protocol and in TLS's
        try:
            while True:
                w.recv()
        except Closed as e:
            assert "1001" in str(e) or "1012" in str(e) or "end" in str(e), e


def a_restart_passes_the_sockets():
    """`busbar up` holds the TLS sockets too: no connection is refused while a frontend is restarted."""
    with TlsBus(start=False) as bus:
        log = os.path.join(bus.dir, "up.log")
        env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
        with open(log, "wb") as out, subprocess.Popen([program("busbar"), "up", "-c", bus.config_path], stdin=subprocess.DEVNULL, stdout=out,
                                                      stderr=out, env=env) as up:
            def said(text):
                with open(log, errors="replace") as f:
                    return text in f.read()
            try:
                wait_until(lambda: said("The bus is up."), "the bus")
                for kind, scheme in ("ws", "wss"), ("http", "https"), ("tcp", "tls"):
                    assert said(f"{scheme}://127.0.0.1:{bus.tls_ports[kind]}"), kind
                c = bus.tls_tcp()
                c.pub("a", 1)
                restart = subprocess.Popen([program("busbar"), "restart", "-c", bus.config_path, "tcp.1"], stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL)
                n = 0
                while restart.poll() is None or n == 0:
                    bus.tls_tcp().pub("a", n)
                    n += 1
                assert restart.returncode == 0
                bus.tls_tcp().pub("a", "after")
            finally:
                up.terminate()
                assert up.wait(DEADLINE) == 0
        with open(log, errors="replace") as f:
            text = f.read()
        assert "a socket that was passed" in text and "Sanitizer" not in text, text


if __name__ == "__main__":
    main([every_frontend_speaks_tls_beside_plain, large_messages_pass_both_ways, s_client_publishes_by_a_pipe, curl_publishes_and_listens,
          an_event_stream_that_is_left_is_noticed_at_once, a_half_handshake_ends_in_time, garbage_is_refused_and_counted, plain_http_is_told_so,
          old_versions_and_unknown_protocols_are_refused, renegotiation_is_refused, who_asks_for_new_keys_over_and_over_is_ended, clients_show_a_certificate,
          a_reload_takes_a_new_certificate_and_drops_nobody, what_is_wrong_with_the_files_is_said, only_tls_is_a_configuration_too,
          handshakes_wait_their_turn, a_hello_without_end_is_ended, a_slow_reader_is_treated_as_its_topic_says, kills_and_restarts, a_restart_passes_the_sockets])
