# SPDX-License-Identifier: Apache-2.0
"""What a case expects, and the verdict. A case is a function of a Table: it plays with a Peer and ends in one of
Table's expect_... methods, which return the verdict."""
import time
from dataclasses import dataclass, field

from tests.clients.autobahn.peer import Peer, ServerError

OK, NON_STRICT, INFORMATIONAL, UNIMPLEMENTED, FAILED = "OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"
NORMAL, PROTOCOL, BAD_DATA = 1000, 1002, 1007


@dataclass
class Verdict:
    result: str
    note: str = ""
    close: str = ""  # the code that the server sent, "none" for a close frame without, "dropped" for no close frame


@dataclass
class Case:
    id: str
    what: str
    play: object  # function of a Trial -> Verdict
    offers: list = None
    seconds: float = field(default=0.0, compare=False)


class Failure(Exception):
    pass


def show(event):
    if event is None:
        return "nothing in time"
    parts = []
    for part in event:
        text = repr(part)
        parts.append(text if len(text) <= 60 else f"{text[:40]}... ({len(part)} bytes)")
    return " ".join(parts)


class Trial:
    """One connection, for one case."""

    def __init__(self, peer, settings):
        self.peer = peer
        self.settings = settings

    # ---- shorthand for the cases

    def send(self, *frames, **how):
        self.peer.send(*frames, **how)

    def expect_events(self, wanted):
        """These events and no other, in this order."""
        for want in wanted:
            got = self.peer.event()
            if got != want:
                raise Failure(f"got {show(got)}, expected {show(want)}")

    def expect_clean(self, wanted, is_close_sent=False):
        """The events come; then we close, and the server answers, says nothing else, and ends the stream."""
        self.expect_events(wanted)
        if not is_close_sent:
            self.peer.send_close(NORMAL)
        return self.expect_close_answer([NORMAL])

    def expect_close_answer(self, codes, must_be_clean=True):
        """We have sent a close frame: the server answers with one of the codes (or none), then ends the stream."""
        got = self.peer.event()
        if got == ("end",):
            if must_be_clean:
                raise Failure("the stream ended without a close frame")
            return Verdict(OK, close="dropped")
        if got is None or got[0] != "close":
            raise Failure(f"got {show(got)}, expected a close frame")
        if got[1] is not None and got[1] not in codes:
            raise Failure(f"close code {got[1]} ({got[2]}), expected one of {codes}")
        self._expect_end()
        return Verdict(OK, close="none" if got[1] is None else str(got[1]))

    def expect_failed(self, codes, *alternatives):
        """The server fails the connection. What it sent before is the first alternative (OK) or another (NON-STRICT)."""
        received = []
        while True:
            got = self.peer.event()
            if got is None:
                raise Failure(f"the connection was not failed; received: {[show(e) for e in received]}")
            if got[0] in ("close", "end"):
                break
            received.append(got)
        result = self._which(received, alternatives or ([],))
        if got == ("end",):
            return Verdict(result, close="dropped")
        if got[1] is not None and got[1] not in codes:
            raise Failure(f"close code {got[1]} ({got[2]}), expected one of {codes}")
        self.peer.send_close(got[1])
        self._expect_end()
        return Verdict(result, note=got[2], close="none" if got[1] is None else str(got[1]))

    @staticmethod
    def _which(received, alternatives):
        for i, alternative in enumerate(alternatives):
            if received == alternative:
                return OK if i == 0 else NON_STRICT
        raise Failure(f"before the close came {[show(e) for e in received]}, "
                      f"expected {[show(e) for e in alternatives[0]] or 'nothing'}")

    def expect_quiet(self, seconds):
        got = self.peer.event(seconds)
        if got is not None:
            raise Failure(f"got {show(got)} while the message could still become valid")

    def _expect_end(self):
        """After both close frames it is the server that ends the TCP connection."""
        got = self.peer.event()
        if got != ("end",):
            raise Failure(f"after the close frames: {show(got)}, expected the server to end the connection")


def run(case, url, settings):
    began = time.monotonic()
    peer = None
    try:
        peer = Peer(url, settings.deadline, case.offers)
        if case.offers and peer.deflate is None:
            verdict = Verdict(UNIMPLEMENTED, "the server did not agree to permessage-deflate")
        else:
            verdict = case.play(Trial(peer, settings))
    except (Failure, ServerError) as e:
        verdict = Verdict(FAILED, str(e))
    except OSError as e:
        verdict = Verdict(FAILED, f"{type(e).__name__}: {e}")
    finally:
        if peer is not None:
            peer.end()
    case.seconds = time.monotonic() - began
    return verdict
