# SPDX-License-Identifier: Apache-2.0
"""The same promises with AF_UNIX sockets between the processes: whatever dies, whoever speaks; and two ends that do not agree."""
import os
import signal
import socket

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


def only_the_user_root_and_the_group_may_connect():
    """Also when the file system does not keep them out. It takes root to become somebody else here."""
    if os.geteuid() != 0:
        print("not root: left out")
        return
    with Bus(frontends=["tcp.1"]) as bus:
        path = os.path.join(bus.runtime_dir, "control.sock")
        for d in bus.dir, bus.runtime_dir:
            os.chmod(d, 0o755)
        os.chmod(path, 0o777)
        os.chown(bus.runtime_dir, -1, 54321)
        bus.kill("broker")
        bus.start("broker")  # it looks at the directory's group when it opens the socket
        os.chmod(path, 0o777)
        for gid, groups, is_welcome in (65534, [], False), (65534, [65534, 54321], True), (54321, [], True):
            pid = os.fork()
            if pid == 0:
                try:
                    os.setgroups(groups)
                    os.setgid(gid)
                    os.setuid(65534)
                    with socket.socket(socket.AF_UNIX) as s:
                        s.settimeout(10)
                        s.connect(path)
                        try:
                            s.sendall(b"\0\0\0\1\x90")  # an answer is REFUSED, for it is no HELLO
                            answer = s.recv(1)
                        except (BrokenPipeError, ConnectionResetError):
                            answer = b""
                    os._exit(0 if (answer != b"") == is_welcome else 1)
                except BaseException:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, (gid, groups)
        assert "neither this user, root nor of the directory's group" in bus.process("broker").log()


if __name__ == "__main__":
    main([what_carries_the_link_is_the_sockets, a_killed_frontend_is_noticed_at_once, two_ends_that_do_not_agree_are_told,
          a_stale_control_socket_is_replaced, a_change_needs_a_restart, only_the_user_root_and_the_group_may_connect,
          *kills.TESTS, *one_topic.TESTS])
