# SPDX-License-Identifier: Apache-2.0
"""io.client_writes: io_uring where it is not to be had, at the start or later: the log says so and everybody gets all."""
import ctypes
import errno
import resource

from tests.support.bus import Bus, main, wait_until

SETUP, ENTER = 425, 426  # on every architecture
NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
libc = ctypes.CDLL(None, use_errno=True)


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("n", ctypes.c_uint16), ("p", ctypes.POINTER(Instruction))]


def refusing(number, error):
    """What a container's seccomp profile does, to be called in the process that is started."""
    code = (Instruction * 4)((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000))
    program = Program(4, code)

    def refuse():
        if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp")
    return refuse


def everybody_gets_all(preexec_fn, said):
    with Bus(frontends=["tcp.1"], start=False, io={"client_writes": "io_uring"}) as bus:
        bus.start("broker")
        bus.start("tcp.1", preexec_fn=preexec_fn)
        publisher, status, readers = bus.tcp(), bus.tcp(), [bus.tcp() for _ in range(20)]
        for c in readers:
            c.sub("a")
        for n in range(5):
            publisher.pub("a", n)
            for c in readers:
                assert c.message()["data"] == n
        log = bus.process("tcp").log()
        is_built = "without liburing" not in log
        if is_built:
            wait_until(lambda: said in bus.process("tcp").log(), f"'{said}' in the log")
            assert bus.process("tcp").log().count("io_uring") <= 2, bus.process("tcp").log()
        status.sub("$sys/frontends/tcp.1")
        figures = status.message()["data"]
        while figures["writes"] < 100:
            figures = status.message()["data"]
        assert figures["write_batches"] == 0, figures


def at_the_start():
    everybody_gets_all(refusing(SETUP, errno.EPERM), "(Operation not permitted); send is used")


def because_the_kernel_has_none():
    everybody_gets_all(refusing(SETUP, errno.ENOSYS), "(Function not implemented); send is used")


def later():
    everybody_gets_all(refusing(ENTER, errno.EPERM), "io_uring failed; clients are written to by send from now on")


def no_memory_to_lock():
    """Kernels before 5.12 count a ring as locked memory; later ones do not. Either way everybody gets all."""
    with Bus(frontends=["tcp.1"], start=False, io={"client_writes": "io_uring"}) as bus:
        bus.start("broker")
        bus.start("tcp.1", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)))
        publisher, readers = bus.tcp(), [bus.tcp() for _ in range(20)]
        for c in readers:
            c.sub("a")
        publisher.pub("a", 1)
        for c in readers:
            assert c.message()["data"] == 1
        assert "io_uring" in bus.process("tcp").log()


if __name__ == "__main__":
    main([at_the_start, because_the_kernel_has_none, later, no_memory_to_lock])
