# SPDX-License-Identifier: Apache-2.0
"""One client connection: it sends frames exactly as told, and checks each byte that the server sends."""
import base64
import hashlib
import os
import socket
import struct
import time
import zlib
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
FLUSH_TAIL = b"\x00\x00\xff\xff"


class ServerError(Exception):
    """The server itself broke the protocol."""


class HandshakeError(ServerError):
    pass


def mask_bytes(data, key):
    n = len(data)
    pad = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")).to_bytes(n, "little")


def frame_head(opcode, n, fin=True, rsv=0, key=None):
    bit = 0x80 if key else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if n < 126:
        head = struct.pack("!BB", first, bit | n)
    elif n < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, n)
    else:
        head = struct.pack("!BBQ", first, bit | 127, n)
    return head + (key or b"")


def frame(opcode, payload=b"", fin=True, rsv=0):
    """A frame as a client sends it, as bytes."""
    key = os.urandom(4)
    return frame_head(opcode, len(payload), fin, rsv, key) + mask_bytes(payload, key)


def close_body(code=None, reason=b""):
    return b"" if code is None else struct.pack("!H", code) + reason


def fragments(payload, size, opcode, rsv=0):
    """The frames of one message in fragments of this many bytes (0: one frame)."""
    if not size or len(payload) <= size:
        yield frame(opcode, payload, rsv=rsv)
        return
    for at in range(0, len(payload), size):
        yield frame(opcode if at == 0 else 0, payload[at:at + size], fin=at + size >= len(payload),
                    rsv=rsv if at == 0 else 0)


class Deflate:
    """permessage-deflate as the server's answer has it; offer is a dict of what we asked for."""

    def __init__(self, offers, answer):
        self.server_no_context = self.client_no_context = False
        self.server_bits = self.client_bits = 15
        params = [p.strip() for p in answer.split(";")]
        if params[0].lower() != "permessage-deflate" or "," in answer:
            raise HandshakeError(f"the server agreed to what was not offered: {answer!r}")
        seen = set()
        for param in params[1:]:
            name, _, value = (s.strip().strip('"') for s in param.partition("="))
            if name in seen:
                raise HandshakeError(f"{name} twice in the answer")
            seen.add(name)
            self._set(name, value)
        if not any(self._fits(offer, seen) for offer in offers):
            raise HandshakeError(f"the answer {answer!r} fits none of the offers {offers!r}")
        self.packer = self.unpacker = None

    def _set(self, name, value):
        if name in ("server_no_context_takeover", "client_no_context_takeover") and not value:
            setattr(self, name[:6] + "_no_context", True)
        elif name in ("server_max_window_bits", "client_max_window_bits") and value in map(str, range(8, 16)):
            setattr(self, name[:6] + "_bits", int(value))
        else:
            raise HandshakeError(f"parameter {name}={value} in the answer")

    def _fits(self, offer, seen):
        if "client_max_window_bits" in seen and "client_max_window_bits" not in offer:
            return False
        if "server_no_context_takeover" in offer and not self.server_no_context:
            return False
        bits = offer.get("server_max_window_bits")
        return bits is None or ("server_max_window_bits" in seen and self.server_bits <= bits)

    def pack(self, data):
        if self.packer is None or self.client_no_context:
            self.packer = zlib.compressobj(6, zlib.DEFLATED, -max(self.client_bits, 9))
        return (self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def unpack(self, data):
        if self.unpacker is None or self.server_no_context:
            self.unpacker = zlib.decompressobj(-self.server_bits)
        try:
            return self.unpacker.decompress(data + FLUSH_TAIL)
        except zlib.error as e:
            raise ServerError(f"the server's message does not inflate: {e}") from e


def offer_text(offers):
    return ", ".join("; ".join(["permessage-deflate"] + [k if v is None else f"{k}={v}" for k, v in offer.items()])
                     for offer in offers)


class Peer:
    """Events are tuples: ("message", bytes, is_binary), ("ping", bytes), ("pong", bytes), ("close", code or None, reason),
    ("end",) for the end of the TCP stream; None is a timeout."""

    def __init__(self, url, deadline, offers=None):
        parts = urlsplit(url)
        self.deadline = deadline
        self.deflate = None
        self.is_send_broken = False
        self.n_wire = self.n_plain = self.n_compressed = 0  # of the messages received
        self.sock = socket.create_connection((parts.hostname, parts.port or 80), timeout=deadline)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.message = None  # (opcode, is_compressed, [parts])
        self._shake_hands(parts, offers)

    def _shake_hands(self, parts, offers):
        key = base64.b64encode(os.urandom(16))
        path = parts.path or "/"
        if parts.query:
            path += "?" + parts.query
        request = (f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n")
        if offers:
            request += f"Sec-WebSocket-Extensions: {offer_text(offers)}\r\n"
        self.sock.sendall(request.encode() + b"\r\n")
        end = time.monotonic() + self.deadline
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > 65536 or not self._fill(end):
                raise HandshakeError(f"no answer to the handshake: {bytes(self.buffer)!r}")
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if lines[0].split(" ")[:2] != ["HTTP/1.1", "101"]:
            raise HandshakeError(lines[0])
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID).digest()).decode()
        if headers.get("sec-websocket-accept") != accept:
            raise HandshakeError(f"Sec-WebSocket-Accept is {headers.get('sec-websocket-accept')!r}, not {accept!r}")
        answer = headers.get("sec-websocket-extensions")
        if answer and not offers:
            raise HandshakeError(f"an extension that was not offered: {answer}")
        if answer:
            self.deflate = Deflate(offers, answer)

    # ---- sending: a server that has failed the connection may refuse the rest, which is no error of the case

    def write(self, data):
        if self.is_send_broken:
            return
        try:
            self.sock.settimeout(self.deadline)
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.is_send_broken = True

    def send(self, *frames, chop=0, sync=False):
        """All in one write, one write a frame (sync), or pieces of `chop` bytes."""
        if sync:
            for f in frames:
                self.write(f)
            return
        data = b"".join(frames)
        for at in range(0, len(data), chop or max(len(data), 1)):
            self.write(data[at:at + chop] if chop else data)

    def send_message(self, payload, is_binary=False, fragment=0):
        opcode = BINARY if is_binary else TEXT
        rsv = 0
        if self.deflate is not None:
            payload, rsv = self.deflate.pack(payload), 4
        self.send(*fragments(payload, fragment, opcode, rsv))

    def send_close(self, code=None, reason=b""):
        self.send(frame(CLOSE, close_body(code, reason)))

    # ---- receiving

    def _fill(self, end):
        left = end - time.monotonic()
        if left <= 0:
            return False
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(1 << 18)
        except (socket.timeout, ConnectionResetError):
            return False
        self.buffer += data
        return bool(data)

    def _has(self, n, end):
        """True, False for the end of the stream, None for a timeout."""
        while len(self.buffer) < n:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 18)
            except socket.timeout:
                return None
            except ConnectionResetError:
                return False
            if not data:
                return False
            self.buffer += data
        return True

    def _frame(self, end):
        """(first byte, payload), ("end",) or None. A frame that is not whole at the timeout stays in the buffer."""
        need = 2
        while True:
            has = self._has(need, end)
            if has is None:
                return None
            if has is False:
                if self.buffer:
                    raise ServerError("the stream ended inside a frame")
                return ("end",)
            n7 = self.buffer[1] & 0x7F
            if self.buffer[1] & 0x80:
                raise ServerError("a masked frame from the server")
            n_head = 2 + (2 if n7 == 126 else 8 if n7 == 127 else 0)
            if len(self.buffer) < n_head:
                need = n_head
                continue
            n = n7 if n_head == 2 else int.from_bytes(self.buffer[2:n_head], "big")
            if (n_head == 4 and n < 126) or (n_head == 10 and n < 1 << 16):
                raise ServerError("a length not in its shortest form")
            if len(self.buffer) < n_head + n:
                need = n_head + n
                continue
            first = self.buffer[0]
            payload = bytes(memoryview(self.buffer)[n_head:n_head + n])
            del self.buffer[:n_head + n]
            return (first, payload)

    def event(self, timeout=None):
        end = time.monotonic() + (self.deadline if timeout is None else timeout)
        while True:
            got = self._frame(end)
            if got is None or got == ("end",):
                return got
            event = self._take(*got)
            if event is not None:
                return event

    def _take(self, first, payload):
        fin, rsv, opcode = first & 0x80, first >> 4 & 7, first & 0x0F
        if rsv & 3 or (rsv & 4 and (self.deflate is None or opcode not in (TEXT, BINARY))):
            raise ServerError(f"reserved bits {rsv} on opcode {opcode}")
        if opcode >= CLOSE:
            return self._take_control(fin, opcode, payload)
        if opcode in (TEXT, BINARY):
            if self.message is not None:
                raise ServerError("a new message inside another")
            self.message = (opcode, bool(rsv & 4), [])
        elif opcode != 0 or self.message is None:
            raise ServerError(f"opcode {opcode} out of place")
        self.message[2].append(payload)
        if not fin:
            return None
        opcode, is_compressed, parts = self.message
        self.message = None
        data = b"".join(parts)
        self.n_wire += len(data)
        if is_compressed:
            self.n_compressed += 1
            data = self.deflate.unpack(data)
        self.n_plain += len(data)
        if opcode == TEXT:
            try:
                data.decode("utf-8")
            except UnicodeDecodeError as e:
                raise ServerError("a text message that is not UTF-8") from e
        return ("message", data, opcode == BINARY)

    @staticmethod
    def _take_control(fin, opcode, payload):
        if not fin or len(payload) > 125:
            raise ServerError("a control frame in fragments or longer than 125 bytes")
        if opcode == PING:
            return ("ping", payload)
        if opcode == PONG:
            return ("pong", payload)
        if opcode != CLOSE or len(payload) == 1:
            raise ServerError(f"control opcode {opcode} with {len(payload)} bytes")
        if not payload:
            return ("close", None, "")
        code = struct.unpack("!H", payload[:2])[0]
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise ServerError(f"close code {code}")
        return ("close", code, payload[2:].decode("utf-8"))

    def end(self):
        self.sock.close()
