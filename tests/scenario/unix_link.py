# SPDX-License-Identifier: Apache-2.0
"""The same promises with AF_UNIX sockets between the processes: whatever dies, whoever speaks; and two ends that do not agree."""
import os
import signal

os.environ["BUSBAR_TEST_LINK"] = "unix"  # before the modules below are read

from tests.scenario import kills, one_topic  # noqa: E402
from tests.support.bus import Bus, main, wait_until  # noqa: E402


def what_carries_the_link_is_the_sockets():
    """No thread of nanomsg runs, and a link's socket is gone from the directory once it is connected."""
    with Bus() as bus:
        for name, process in bus.processes.items():
            assert len(os.listdir(f"/proc/{process.pid}/task")) == 1, name
        assert os.listdir(os.path.join(bus.runtime_dir, "link")) == []


def a_killed_frontend_is_noticed_at_once():
    with Bus(frontends=["tcp.1"], broker={"heartbeat": "10s"}) as bus:
        bus.kill("tcp")
        wait_until(lambda: "the peer is gone" in bus.process("broker").log(), "the broker to see it", deadline=5)


def two_ends_that_do_not_agree_are_told():
    """Either way round there is a line that says what is wrong, and nobody dies of it. When they agree, all is well."""
    for broker, frontend in ("nanomsg", "unix"), ("unix", "nanomsg"):
        with Bus(frontends=["tcp.1"], start=False, link={"transport": broker}) as bus:
            bus.start("broker")
            bus.start("tcp", wait=False, extra=["--set", f"link.transport={frontend}"])
            log = bus.process("tcp" if frontend == "unix" else "broker").log
            wait_until(lambda: "nanomsg, but here it is link.transport: unix" in log(), "the line in the log")
            bus.stop("tcp")
            bus.start("tcp")
            c = bus.tcp()
            c.pub("a", 1)


def a_stale_control_socket_is_replaced():
    with Bus(frontends=["tcp.1"]) as bus:
        bus.kill("broker")
        assert os.path.exists(os.path.join(bus.runtime_dir, "control.sock"))
        bus.start("broker")
        bus.tcp().pub("a", 1)


def a_change_needs_a_restart():
    with Bus(frontends=["tcp.1"]) as bus:
        bus.config["link"]["transport"] = "nanomsg"
        bus.write_config()
        for name, process in bus.processes.items():
            process.signal(signal.SIGHUP)
            wait_until(lambda: "restart" in process.log(), f"{name} to say so")
        bus.tcp().pub("a", 1)


if __name__ == "__main__":
    main([what_carries_the_link_is_the_sockets, a_killed_frontend_is_noticed_at_once, two_ends_that_do_not_agree_are_told,
          a_stale_control_socket_is_replaced, a_change_needs_a_restart, *kills.TESTS, *one_topic.TESTS])
