# SPDX-License-Identifier: Apache-2.0
"""A minute of chaos for `make check`, with one seed for every run so that what befalls is the same; `./dev chaos` is the long one.
Before, the same bus with a subscriber that lies: a driver that finds nothing proves nothing."""
import sys

try:
    import msgpack  # noqa: F401
except ImportError:
    print("SKIP: python3-msgpack is not installed")
    sys.exit(77)

from tests.chaos.chaos import parse, run
from tests.support.bus import SANITIZED


def main():
    for plant in ("loss", "repeat", "reorder"):
        print(f"--- planted: {plant} ---", flush=True)
        if run(parse(["--seconds", "1", "--seed", "3", "--scale", "0.3", "--plant", plant])) == 0:
            print(f"FAILED: the planted {plant} was not found")
            return 1
    print("--- the real thing ---", flush=True)
    memory, sqlite = ("8", "15") if SANITIZED else ("20", "40")
    return run(parse(["--seconds", memory, "--seed", "2", "--backend", "memory"])) or \
        run(parse(["--seconds", sqlite, "--seed", "2", "--backend", "sqlite"]))


if __name__ == "__main__":
    sys.exit(main())
