# SPDX-License-Identifier: Apache-2.0
"""Faults that are planted to see that they are found: what a subscriber was given is changed before its Witness hears of it."""
from tests.chaos.model import filter_matches as matches  # noqa: F401


def _every(n, change):
    """Each n-th message goes through change(hear, message); the others as they are."""
    def make(hear):
        count = 0

        def heard(*message):
            nonlocal count
            count += 1
            if count % n == 0:
                change(hear, message)
            else:
                hear(*message)
        return heard
    return make


def _reorder(hear):
    held = []

    def heard(*message):
        heard.count += 1
        if heard.count % 20 == 0:
            held.append(message)
            return
        hear(*message)
        while held:
            hear(*held.pop())
    heard.count = 0
    return heard


def _twice(hear, message):
    hear(*message)
    hear(*message)


def _other(hear, message):
    cursor, topic, publisher, n = message
    hear(cursor, topic, publisher, n + 1)


PLANTS = {
    "loss": _every(20, lambda hear, message: None),
    "repeat": _every(20, _twice),
    "reorder": _reorder,
    "other": _every(20, _other),  # another body at this place
}


def plant(kind, subscribers):
    for s in subscribers:
        if s.witness.filters[0] in ("t/#", "#"):
            s.witness.message = PLANTS[kind](s.witness.message)
            return
    raise AssertionError("no subscriber to lie")
