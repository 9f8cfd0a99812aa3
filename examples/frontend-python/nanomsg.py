# SPDX-License-Identifier: Apache-2.0
"""Just enough of nanomsg for a frontend, by ctypes. Never blocks; see "Transport" in docs/link.md for why."""
import ctypes
import errno

_lib = ctypes.CDLL("libnanomsg.so.5")
_lib.nn_strerror.restype = ctypes.c_char_p
_lib.nn_get_statistic.restype = ctypes.c_uint64
_lib.nn_send.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
_lib.nn_recv.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_int]
_lib.nn_freemsg.argtypes = [ctypes.c_void_p]

PAIR, REQ = 16, 48
_AF_SP = 1
_SOL_SOCKET, _SNDBUF, _RCVBUF, _SNDFD, _RCVFD, _RCVMAXSIZE = 0, 2, 3, 10, 11, 16
_DONTWAIT = 1
_MSG = ctypes.c_size_t(-1).value
_CURRENT_CONNECTIONS = 201
LONGEST_URL = len("ipc://") + 107  # one byte more and nanomsg aborts the process


class Error(OSError):
    pass


def _fail(what):
    number = _lib.nn_errno()
    raise Error(number, f"{what}: {_lib.nn_strerror(number).decode()}")


class Socket:
    def __init__(self, protocol, url, message_max):
        if len(url.encode()) > LONGEST_URL:
            raise Error(errno.ENAMETOOLONG, f"too long for nanomsg: {url}")
        self.message_max = message_max
        self._s = _lib.nn_socket(_AF_SP, protocol)
        if self._s < 0:
            _fail("nn_socket")
        try:
            for option, value in ((_RCVMAXSIZE, message_max), (_SNDBUF, 1 << 20), (_RCVBUF, 1 << 20)):
                self._set(option, value)
            self.recv_fd = self._get(_RCVFD)  # both are readable when the thing can be done
            self.send_fd = self._get(_SNDFD)
            if _lib.nn_connect(self._s, url.encode()) < 0:
                _fail(f"nn_connect to {url}")
        except Error:
            self.close()
            raise

    def _set(self, option, value):
        v = ctypes.c_int(value)
        if _lib.nn_setsockopt(self._s, _SOL_SOCKET, option, ctypes.byref(v), ctypes.c_size_t(ctypes.sizeof(v))) < 0:
            _fail("nn_setsockopt")

    def _get(self, option):
        v, n = ctypes.c_int(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
        if _lib.nn_getsockopt(self._s, _SOL_SOCKET, option, ctypes.byref(v), ctypes.byref(n)) < 0:
            _fail("nn_getsockopt")
        return v.value

    def send(self, message):
        """True if it was taken, False if it would have to wait for send_fd."""
        if len(message) > self.message_max:
            raise Error(errno.EMSGSIZE, "the message is too large for the other end")
        if _lib.nn_send(self._s, bytes(message), len(message), _DONTWAIT) >= 0:
            return True
        if _lib.nn_errno() not in (errno.EAGAIN, errno.EINTR):
            _fail("nn_send")
        return False

    def recv(self):
        """One message, or None."""
        p = ctypes.c_void_p()
        n = _lib.nn_recv(self._s, ctypes.byref(p), _MSG, _DONTWAIT)
        if n >= 0:
            message = ctypes.string_at(p, n)
            _lib.nn_freemsg(p)
            return message
        if _lib.nn_errno() not in (errno.EAGAIN, errno.EINTR):
            _fail("nn_recv")
        return None

    def has_peer(self):
        return ctypes.c_int64(_lib.nn_get_statistic(self._s, _CURRENT_CONNECTIONS)).value > 0

    def close(self):
        """After both descriptors have been taken out of the event loop."""
        if self._s >= 0:
            _lib.nn_close(self._s)
            self._s = -1
