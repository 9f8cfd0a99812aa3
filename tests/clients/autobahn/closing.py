# SPDX-License-Identifier: Apache-2.0
"""Cases 7: the closing handshake, begun by us."""
from tests.clients.autobahn.judge import BAD_DATA, INFORMATIONAL, NORMAL, PROTOCOL, Case, Failure, Verdict
from tests.clients.autobahn.peer import CLOSE, PING, TEXT, close_body, frame

HELLO = b"Hello World!"
BAD_REASON = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"
VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]


def close_frame(code=None, reason=b""):
    return frame(CLOSE, close_body(code, reason))


def echo_then_close(t):
    t.send(frame(TEXT, HELLO))
    return t.expect_clean([("message", HELLO, False)])


def close_then(*after):
    """What comes after our close frame is ignored."""
    def play(t):
        t.send(close_frame(NORMAL), *after)
        return t.expect_clean([], is_close_sent=True)
    return play


def close_inside_a_message(t):
    t.send(frame(TEXT, b"fragment1", fin=False), close_frame(NORMAL), frame(0, b"fragment2"))
    return t.expect_clean([], is_close_sent=True)


def large_then_close(t):
    """Whether the echo of what stood before the close frame still comes is the server's choice; it must end."""
    large = (b"BAsd7&jh23" * 26215)[:256 * 1024]
    t.send(frame(TEXT, large), frame(TEXT, HELLO), close_frame(NORMAL), frame(PING))
    echoes = 0
    while True:
        got = t.peer.event()
        if got is None:
            raise Failure("the server did not close")
        if got[0] in ("close", "end"):
            close = "dropped" if got[0] == "end" else str(got[1] or "none")
            return Verdict(INFORMATIONAL, f"{echoes} of 2 messages came back before the close", close)
        if got not in (("message", large, False), ("message", HELLO, False)):
            raise Failure(f"got {got[0]} after the close frame")
        echoes += 1


def close_with(body, codes, must_be_clean):
    def play(t):
        t.send(frame(CLOSE, body))
        return t.expect_close_answer(codes, must_be_clean)
    return play


def out_of_range(code):
    def play(t):
        t.send(close_frame(code))
        verdict = t.expect_close_answer([NORMAL, PROTOCOL, code], must_be_clean=False)
        verdict.result = INFORMATIONAL
        return verdict
    return play


def cases(settings):
    yield Case("7.1.1", "a message, then close", echo_then_close)
    yield Case("7.1.2", "two close frames", close_then(frame(CLOSE)))
    yield Case("7.1.3", "ping after close", close_then(frame(PING)))
    yield Case("7.1.4", "text after close", close_then(frame(TEXT, HELLO)))
    yield Case("7.1.5", "close between two fragments", close_inside_a_message)
    yield Case("7.1.6", "256 KiB, text, close and ping at once", large_then_close)
    yield Case("7.3.1", "close without code", close_with(b"", [NORMAL], True))
    yield Case("7.3.2", "close with one byte", close_with(b"a", [PROTOCOL], False))
    yield Case("7.3.3", "close with a code", close_with(close_body(NORMAL), [NORMAL], True))
    yield Case("7.3.4", "close with a code and a reason", close_with(close_body(NORMAL, HELLO), [NORMAL], True))
    yield Case("7.3.5", "close with the longest reason", close_with(close_body(NORMAL, b"*" * 123), [NORMAL], True))
    yield Case("7.3.6", "close with a reason one byte too long",
               close_with(close_body(NORMAL, b"*" * 124), [PROTOCOL], False))
    yield Case("7.5.1", "close with a reason that is not UTF-8",
               close_with(close_body(NORMAL, BAD_REASON), [PROTOCOL, BAD_DATA], False))
    for i, code in enumerate(VALID_CODES, 1):
        yield Case(f"7.7.{i}", f"close with code {code}", close_with(close_body(code), [NORMAL, code], True))
    for i, code in enumerate(INVALID_CODES, 1):
        yield Case(f"7.9.{i}", f"close with code {code}: not valid", close_with(close_body(code), [PROTOCOL], False))
    for i, code in enumerate((5000, 65535), 1):
        yield Case(f"7.13.{i}", f"close with code {code}: undefined", out_of_range(code))
