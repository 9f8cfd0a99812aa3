# SPDX-License-Identifier: Apache-2.0
"""The bus's client protocols over asyncio streams, as small as a hundred clients in one process need them: the native protocol
in both forms over TCP and WebSocket, HTTP requests, event streams. A message in and out is a dict; Lost ends a connection."""
import asyncio
import base64
import json
import os
import socket
import struct

import msgpack

CONNECT_TIMEOUT = 5


class Lost(Exception):
    """The connection ended, or was never made."""


class Connection:
    """A socket with a buffer of its own, so that a reader who waits pushes back on the sender."""

    def __init__(self, port, rcvbuf=0):
        self.port, self.rcvbuf = port, rcvbuf
        self.reader = self.writer = None
        self.buffer = bytearray()

    async def connect(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            if self.rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.rcvbuf)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port)), CONNECT_TIMEOUT)
            self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=16384)
        except (OSError, asyncio.TimeoutError) as e:
            sock.close()
            raise Lost(f"no connection: {e!r}") from e

    async def open(self):
        await self.connect()

    def write(self, data):
        if self.writer is None or self.writer.is_closing():
            raise Lost("closed")
        self.writer.write(data)

    async def drain(self):
        try:
            await self.writer.drain()
        except OSError as e:
            raise Lost(f"{e!r}") from e

    async def fill(self):
        try:
            data = await self.reader.read(65536)
        except OSError as e:
            raise Lost(f"{e!r}") from e
        if not data:
            raise Lost("end of stream")
        self.buffer += data

    async def until(self, mark):
        while True:
            at = self.buffer.find(mark)
            if at >= 0:
                piece = bytes(self.buffer[:at])
                del self.buffer[:at + len(mark)]
                return piece
            await self.fill()

    async def exactly(self, n):
        while len(self.buffer) < n:
            await self.fill()
        piece = bytes(self.buffer[:n])
        del self.buffer[:n]
        return piece

    def abort(self):
        """The cable is pulled out."""
        if self.writer is not None:
            self.writer.transport.abort()

    def close(self):
        if self.writer is not None:
            self.writer.close()


class TcpJson(Connection):
    def send(self, message):
        self.write(json.dumps(message).encode() + b"\n")

    async def recv(self):
        return json.loads(await self.until(b"\n"))


class TcpMsgpack(Connection):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.unpacker = msgpack.Unpacker()

    def send(self, message):
        self.write(msgpack.packb(packed(message)))

    async def recv(self):
        while True:
            for message in self.unpacker:
                return unpacked(message)
            if not self.buffer:
                await self.fill()
            self.unpacker.feed(bytes(self.buffer))
            self.buffer.clear()


def packed(message):
    """In MessagePack JSON is a text that says so."""
    if "data" not in message:
        return message
    return dict(message, data=json.dumps(message["data"]), encoding="json")


def unpacked(message):
    if message.get("encoding") == "json":
        message["data"] = json.loads(message["data"])
    return message


class WebSocket(Connection):
    subprotocol = "busbar.v1.json"

    async def open(self):
        await self.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        self.write((f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                    f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n\r\n").encode())
        try:
            head = await asyncio.wait_for(self.until(b"\r\n\r\n"), CONNECT_TIMEOUT)
        except asyncio.TimeoutError as e:
            raise Lost("no handshake") from e
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise Lost(head.decode())

    def send_frame(self, opcode, payload):
        mask = os.urandom(4)
        n = len(payload)
        head = bytes([0x80 | opcode])
        if n < 126:
            head += bytes([0x80 | n])
        elif n < 65536:
            head += struct.pack("!BH", 0x80 | 126, n)
        else:
            head += struct.pack("!BQ", 0x80 | 127, n)
        pad = (mask * (n // 4 + 1))[:n]
        self.write(head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(n, "big"))

    async def recv_payload(self):
        parts = []
        while True:
            first, second = await self.exactly(2)
            n = second & 0x7F
            if n == 126:
                n, = struct.unpack("!H", await self.exactly(2))
            elif n == 127:
                n, = struct.unpack("!Q", await self.exactly(8))
            payload = await self.exactly(n)
            opcode = first & 0x0F
            if opcode == 9:
                self.send_frame(10, payload)
            elif opcode == 8:
                raise Lost(f"closed with {int.from_bytes(payload[:2], 'big') if payload else None}")
            elif opcode < 8:
                parts.append(payload)
                if first & 0x80:
                    return b"".join(parts)

    def send(self, message):
        self.send_frame(1, json.dumps(message).encode())

    async def recv(self):
        return json.loads(await self.recv_payload())


class WebSocketMsgpack(WebSocket):
    subprotocol = "busbar.v1.msgpack"

    def send(self, message):
        self.send_frame(2, msgpack.packb(packed(message)))

    async def recv(self):
        return unpacked(msgpack.unpackb(await self.recv_payload()))


class Http(Connection):
    """One connection that is kept for request after request."""

    async def request(self, method, path, body=b"", headers=()):
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        status, fields = await self.head()
        if fields.get("transfer-encoding") == "chunked":
            parts = []
            while True:
                part = await self.chunk()
                if not part:
                    return status, b"".join(parts)
                parts.append(part)
        return status, await self.exactly(int(fields.get("content-length", 0)))

    async def head(self):
        lines = (await self.until(b"\r\n\r\n")).decode().split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        return int(lines[0].split()[1]), fields

    async def chunk(self):
        size = int((await self.until(b"\r\n")).split(b";")[0], 16)
        return (await self.exactly(size + 2))[:-2]


class EventStream(Http):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.text = b""

    async def get(self, path, last_event_id):
        await self.connect()
        headers = ["Accept: text/event-stream"] + ([f"Last-Event-ID: {last_event_id}"] if last_event_id else [])
        self.write(("\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers]) + "\r\n\r\n").encode())
        status, _ = await self.head()
        if status != 200:
            raise Lost(f"status {status}")

    async def recv(self):
        """The next event: {"event", "id", "data"}; None for a comment or an id alone."""
        event = {"event": "message", "id": None, "data": None}
        while True:
            while b"\n" not in self.text:
                part = await self.chunk()
                if not part:
                    raise Lost("end of stream")
                self.text += part
            line, self.text = self.text.split(b"\n", 1)
            line = line.decode()
            if line == "":
                return event
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name in event:
                event[name] = value if name != "data" or event["data"] is None else event["data"] + "\n" + value


NATIVE = {"tcp": ("tcp", TcpJson), "tcp-msgpack": ("tcp", TcpMsgpack), "ws": ("ws", WebSocket), "ws-msgpack": ("ws", WebSocketMsgpack)}
