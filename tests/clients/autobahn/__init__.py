# SPDX-License-Identifier: Apache-2.0
"""A WebSocket server against the case list of the Autobahn testsuite, with nothing but Python's standard library.

    peer.py      one connection that can send every wrong thing, and believes nothing that it is sent
    judge.py     what a case expects, and the verdict on what came
    framing.py   cases 1 to 5 and 10: frames, pings, reserved bits, opcodes, fragments
    texts.py     cases 6: UTF-8
    closing.py   cases 7: the closing handshake
    volume.py    cases 9: large messages, small pieces, round trips
    deflate.py   cases 12 and 13: permessage-deflate
    run.py       the command; starts a bus unless it is given an address

The numbers and what counts as OK or NON-STRICT are Autobahn's, so that a result can be compared with its reports. What
differs: we do not wait where an event can be waited for, and cases 9.7, 9.8, 12 and 13 send fewer messages than its
1000 unless --full is given.
"""
