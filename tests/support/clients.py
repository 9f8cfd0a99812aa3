# SPDX-License-Identifier: Apache-2.0
"""Small blocking clients for the scenarios: JSON lines, WebSocket, HTTP, server-sent events. Every wait has a deadline."""
import base64
import http.client
import json
import os
import socket
import struct
import time

DEADLINE = float(os.environ.get("BUSBAR_TEST_DEADLINE", "30"))


class Closed(Exception):
    """The server closed the connection."""


class Stream:
    """A socket with a buffer."""

    def __init__(self, host, port, rcvbuf=None, tls=None):
        """tls: an ssl.SSLContext; localhost is who is expected."""
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(DEADLINE)
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = b""

    def write(self, data):
        self.sock.settimeout(DEADLINE)
        self.sock.sendall(data)

    def fill(self, timeout):
        """Reads something more; socket.timeout if nothing came, Closed at the end."""
        self.sock.settimeout(max(timeout, 0.001))
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError as e:
            raise Closed("reset") from e
        if not data:
            raise Closed("end of stream")
        self.buffer += data

    def read_until(self, mark, timeout):
        end = time.monotonic() + timeout
        while mark not in self.buffer:
            self.fill(end - time.monotonic())
        piece, self.buffer = self.buffer.split(mark, 1)
        return piece

    def read_exactly(self, n, timeout):
        end = time.monotonic() + timeout
        while len(self.buffer) < n:
            self.fill(end - time.monotonic())
        piece, self.buffer = self.buffer[:n], self.buffer[n:]
        return piece

    def close(self):
        self.sock.close()


class Native:
    """The native protocol's JSON form over whatever send_text() and recv_text() are."""

    def __init__(self):
        self.next_id = 1
        self.backlog = []  # what came while something else was waited for

    def send(self, **message):
        self.send_text(json.dumps(message))

    def recv(self, timeout=DEADLINE):
        """The next message, in order."""
        if self.backlog:
            return self.backlog.pop(0)
        return json.loads(self.recv_text(timeout))

    def try_recv(self, timeout):
        """The next message, or None if none came within the time."""
        try:
            return self.recv(timeout)
        except (socket.timeout, TimeoutError):
            return None

    def expect(self, op, timeout=DEADLINE, **fields):
        """The next message with this op (and fields); others are kept for recv(), in order."""
        end = time.monotonic() + timeout
        kept = []
        try:
            while True:
                m = self.recv(end - time.monotonic())
                if m.get("op") == op and all(m.get(k) == v for k, v in fields.items()):
                    return m
                if m.get("op") == "error" and op != "error":
                    raise AssertionError(f"an error instead of {op}: {m}")
                kept.append(m)
        except (socket.timeout, TimeoutError) as e:
            raise AssertionError(f"no {op} {fields} within {timeout} s; instead: {kept[-5:]}") from e
        finally:
            self.backlog = kept + self.backlog

    def _id(self):
        self.next_id += 1
        return self.next_id

    def sub(self, topic, id=None, **options):
        """Subscribes and returns the answer, with its id as "id"."""
        id = self._id() if id is None else id
        self.send(op="sub", id=id, topic=topic, **options)
        return self.expect("subscribed", id=id)

    def pub(self, topic, data, timeout=DEADLINE, **options):
        """Publishes and returns the cursor."""
        id = self._id()
        self.send(op="pub", id=id, topic=topic, data=data, **options)
        return self.expect("published", timeout, id=id)["cursor"]

    def message(self, timeout=DEADLINE):
        return self.expect("msg", timeout)

    def messages(self, n, timeout=DEADLINE):
        end = time.monotonic() + timeout
        return [self.expect("msg", end - time.monotonic()) for _ in range(n)]


class JsonLines(Native, Stream):
    def __init__(self, host, port, **options):
        Native.__init__(self)
        Stream.__init__(self, host, port, **options)

    def send_text(self, text):
        self.write(text.encode() + b"\n")

    def recv_text(self, timeout):
        return self.read_until(b"\n", timeout)


class WebSocket(Stream):
    """RFC 6455 from the client's side, enough for tests; the protocol's own cases have a runner of their own."""

    def __init__(self, host, port, path, headers=None, protocols=None, **options):
        Stream.__init__(self, host, port, **options)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        if protocols:
            lines.append("Sec-WebSocket-Protocol: " + ", ".join(protocols))
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        self.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = self.read_until(b"\r\n\r\n", DEADLINE).decode()
        self.status = int(head.split()[1])
        self.response_headers = {k.strip().lower(): v.strip() for k, v in
                                 (line.split(":", 1) for line in head.split("\r\n")[1:])}
        if self.status != 101:
            raise Closed(head)

    def send_frame(self, opcode, payload, fin=True):
        mask = os.urandom(4)
        n = len(payload)
        head = bytes([(0x80 if fin else 0) | opcode])
        if n < 126:
            head += bytes([0x80 | n])
        elif n < 65536:
            head += bytes([0x80 | 126]) + struct.pack("!H", n)
        else:
            head += bytes([0x80 | 127]) + struct.pack("!Q", n)
        pad = (mask * (n // 4 + 1))[:n]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(n, "big") if n else b""
        self.write(head + mask + masked)

    def send_message(self, data):
        if isinstance(data, str):
            self.send_frame(1, data.encode())
        else:
            self.send_frame(2, data)

    def recv_frame(self, timeout=DEADLINE):
        end = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 2:
                n = self.buffer[1] & 0x7F
                extra = {126: 2, 127: 8}.get(n, 0)
                need = 2 + extra
                if len(self.buffer) >= need:
                    if extra:
                        n = int.from_bytes(self.buffer[2:need], "big")
                    if len(self.buffer) >= need + n:
                        first = self.buffer[0]
                        payload = self.buffer[need:need + n]
                        self.buffer = self.buffer[need + n:]
                        return first & 0x0F, bool(first & 0x80), payload
            self.fill(end - time.monotonic())

    def recv_message(self, timeout=DEADLINE):
        """The next message: str or bytes. Pings are answered; Closed carries the close code."""
        end = time.monotonic() + timeout
        parts, kind = [], None
        while True:
            opcode, fin, payload = self.recv_frame(end - time.monotonic())
            if opcode == 9:
                self.send_frame(10, payload)
            elif opcode == 10:
                pass
            elif opcode == 8:
                code = int.from_bytes(payload[:2], "big") if payload else None
                raise Closed(f"close {code} {payload[2:].decode()}")
            else:
                kind = opcode or kind
                parts.append(payload)
                if fin:
                    data = b"".join(parts)
                    return data.decode() if kind == 1 else data


class WsJson(Native, WebSocket):
    def __init__(self, host, port, path, protocols=("busbar.v1.json",), **options):
        Native.__init__(self)
        WebSocket.__init__(self, host, port, path, protocols=protocols, **options)

    def send_text(self, text):
        self.send_message(text)

    def recv_text(self, timeout):
        return self.recv_message(timeout)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def http_request(port, method, path, body=None, headers=None, timeout=DEADLINE, tls=None):
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=tls)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        if isinstance(body, str):
            body = body.encode()
        connection.request(method, path, body=body, headers=headers or {})
        r = connection.getresponse()
        return Response(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
    finally:
        connection.close()


class Sse(Stream):
    """A stream of server-sent events: next() gives {"id", "event", "data"}; comments are passed over."""

    def __init__(self, host, port, path, headers=None, **options):
        Stream.__init__(self, host, port, **options)
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Accept: text/event-stream"]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        self.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = self.read_until(b"\r\n\r\n", DEADLINE).decode()
        self.status = int(head.split()[1])
        self.headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in head.split("\r\n")[1:])}
        self.is_chunked = self.headers.get("transfer-encoding") == "chunked"
        self.text = b""
        if self.status != 200:
            raise Closed(head)

    def _line(self, end):
        while b"\n" not in self.text:
            left = end - time.monotonic()
            if self.is_chunked:
                size = int(self.read_until(b"\r\n", left).split(b";")[0], 16)
                self.text += self.read_exactly(size + 2, left)[:-2]
                if size == 0:
                    raise Closed("end of stream")
            else:
                if not self.buffer:
                    self.fill(left)
                self.text, self.buffer = self.text + self.buffer, b""
        line, self.text = self.text.split(b"\n", 1)
        return line.rstrip(b"\r").decode()

    def next(self, timeout=DEADLINE):
        end = time.monotonic() + timeout
        event = {"id": None, "event": "message", "data": None}
        while True:
            line = self._line(end)
            if line == "":
                if event["data"] is not None:
                    return event
                event = {"id": event["id"], "event": "message", "data": None}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                value = value[1:] if value.startswith(" ") else value
                if name == "data":
                    event["data"] = value if event["data"] is None else event["data"] + "\n" + value
                elif name in ("id", "event"):
                    event[name] = value


class Cable(WebSocket):
    """An Action Cable client by hand: frames as dicts, pings apart."""

    def __init__(self, host, port, path="/cable", protocols=("actioncable-v1-json",), **options):
        WebSocket.__init__(self, host, port, path, protocols=protocols, **options)
        self.pings = []

    def send(self, command, identifier=None, **members):
        message = {"command": command, **members}
        if identifier is not None:
            message["identifier"] = identifier if isinstance(identifier, str) else json.dumps(identifier)
        self.send_message(json.dumps(message))

    def frame(self, timeout=DEADLINE):
        """The next frame but pings, which are kept in self.pings."""
        end = time.monotonic() + timeout
        while True:
            frame = json.loads(self.recv_message(end - time.monotonic()))
            if frame.get("type") != "ping":
                return frame
            self.pings.append(frame["message"])

    def expect(self, timeout=DEADLINE, **members):
        frame = self.frame(timeout)
        assert all(frame.get(k) == v for k, v in members.items()), f"{frame} instead of {members}"
        return frame

    def subscribe(self, identifier, **members):
        self.send("subscribe", identifier, **members)
        return self.expect(type="confirm_subscription",
                           identifier=identifier if isinstance(identifier, str) else json.dumps(identifier))
