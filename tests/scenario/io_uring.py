# SPDX-License-Identifier: Apache-2.0
"""The same promises with clients written to by io_uring: many at once, those that do not read, those that go."""
import os
import sys

os.environ["BUSBAR_TEST_WRITES"] = "io_uring"  # before the modules below are read

from tests.scenario import one_topic, slow  # noqa: E402
from tests.scenario.tls import TlsBus  # noqa: E402
from tests.support.bus import Bus, main, wait_until  # noqa: E402


def is_there():
    with Bus(frontends=["tcp.1"]) as bus:
        wait_until(lambda: "io_uring" in bus.process("tcp").log(), "the line in the log")
        return "written to by io_uring" in bus.process("tcp").log()


def what_writes_is_io_uring():
    """Many that get one message are written to together; nobody misses one or gets it twice, though some go meanwhile."""
    with Bus(frontends=["tcp.1"]) as bus:
        publisher, status, readers = bus.tcp(), bus.tcp(), [bus.tcp() for _ in range(300)]
        for c in readers:
            c.sub("a")
        for n in range(20):
            publisher.pub("a", n)
            for c in readers:
                assert c.message()["data"] == n
            readers.pop().close()
        status.sub("$sys/frontends/tcp.1")
        wait_until(lambda: status.message()["data"]["write_batches"] >= 20, "the figure that says so", deadline=30)


def tls_is_written_by_itself():
    """What TLS clients get is encrypted for each of them: none of it goes by io_uring, with plain clients beside them."""
    with TlsBus(frontends=["tcp.1"]) as bus:
        publisher, status = bus.tcp(), bus.tcp()
        encrypted = [bus.tls_tcp() for _ in range(20)]
        for c in encrypted:
            c.sub("a")
        for n in range(20):
            publisher.pub("a", n)
            for c in encrypted:
                assert c.message()["data"] == n
        status.sub("$sys/frontends/tcp.1")
        figures = status.message()["data"]
        while figures["writes"] < 400:
            figures = status.message()["data"]
        assert figures["write_batches"] == 0, figures
        plain = [bus.tcp() for _ in range(20)]
        for c in plain:
            c.sub("a")
        for n in range(20, 25):
            publisher.pub("a", n)
            for c in encrypted + plain:
                assert c.message()["data"] == n
        wait_until(lambda: status.message()["data"]["write_batches"] >= 5, "the figure that says so", deadline=30)


if __name__ == "__main__":
    if not is_there():
        print("io_uring is not in this build, or not allowed here")
        sys.exit(77)
    main([what_writes_is_io_uring, tls_is_written_by_itself, *one_topic.TESTS, *slow.TESTS])
