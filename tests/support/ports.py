# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that a test starts. A port that the kernel named (bind to 0, close) may be given to any connection of
the tests beside this one before the server binds it; so these lie below the range that the kernel gives from, and each is
held for this process by the name of an abstract socket, which ends with it however it ends."""
import random
import socket

_held = {}


def _first_given_by_kernel():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            return int(f.read().split()[0])
    except OSError:
        return 32768


def _is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def free_port():
    low, end = 10000, _first_given_by_kernel()
    if end - low < 1000:
        low, end = 49152, 65536  # everything is the kernel's to give
    for _ in range(1000):
        port = random.randrange(low, end)
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0busbar-test-port-{port}")
        except OSError:
            name.close()
            continue
        if _is_free(port):
            _held[port] = name
            return port
        name.close()
    raise AssertionError("no free port")
