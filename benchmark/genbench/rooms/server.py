"""The server that rooms are forked from: it has torch and genbench loaded, and nothing of a third party.

A worker forks it from itself before it does anything else; elsewhere it is a fresh interpreter. It hears its
opener alone, through a pair of sockets that no room inherits: a room that could ask it would get a process
with all rights. One room is open at a time. What a room leaves running becomes the server's child, and is
ended before the server says how the room ended; it ends itself when its opener is gone.
"""

import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from multiprocessing.connection import Connection

from genbench.rooms.guest import live
from genbench.rooms.tree import adopt_orphans, end_descendants

_NUMBER = struct.Struct("i")
_PRELOADED = "genbench.steps.preloaded"  # imported by a server that is a fresh interpreter


class Server:
    """A server, seen from the process that opens rooms.

    Args:
        fork: Whether it is forked from this process, which must have one thread and nothing foreign loaded.
    """

    def __init__(self, *, fork: bool) -> None:
        ours, theirs = socket.socketpair()
        self._process: subprocess.Popen[bytes] | None = None
        if fork:
            sys.stdout.flush()
            sys.stderr.flush()
            if os.fork() == 0:
                _serve(theirs.detach())
        else:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            code = f"from genbench.rooms.server import main; main({theirs.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], env=environment
            )
            atexit.register(self.close)
        theirs.close()
        self._socket = ours

    def close(self) -> None:
        """End a server that is a fresh interpreter."""
        self._socket.close()
        if self._process is not None:
            self._process.wait()

    def open(self, connection: Connection, output: Connection) -> "Room":
        """Open a room with the far ends of two pipes."""
        socket.send_fds(self._socket, [b"o"], [connection.fileno(), output.fileno()])
        return Room(_read(self._socket), self._socket)


class Room:
    """A room that was opened.

    Attributes:
        pid: Number of its process.
        sentinel: Can be read when it has ended.
    """

    def __init__(self, pid: int, sentinel: socket.socket) -> None:
        self.pid, self.sentinel = pid, sentinel
        self._code: int | None = None

    def end(self) -> int:
        """See to it that it and everything below it has ended; return its exit code, as `waitstatus`."""
        if self._code is None:
            self._code = _ended_now(self.sentinel)
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._code = _read(self.sentinel)
        return self._code

    def terminate(self) -> None:
        """Ask it to save its work and leave."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


def main(number: int) -> None:
    """Be a server in a fresh interpreter, for the opener at the other end of a socket."""
    importlib.import_module(_PRELOADED)
    _serve(number)


def _serve(number: int) -> None:
    """Fork a room for each request, until the opener is gone; never returns."""
    try:
        os.setsid()
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        close_all_but(0, 1, 2, number)
        adopt_orphans()
        gc.freeze()  # or the collector of a room would touch, and so copy, every object that they share
        opener = socket.socket(fileno=number)
        while True:
            message, descriptors, _, _ = socket.recv_fds(opener, 1, 2)
            if not message:
                break
            _send(opener, _one_room(opener, descriptors))
    except (OSError, EOFError):  # the opener is gone
        end_descendants(os.getpid())
    finally:
        os._exit(0)  # no finalizers: libraries would complain of what was never freed


def _one_room(opener: socket.socket, descriptors: list[int]) -> int:
    """Fork a room and wait for its end; return its exit code.

    Raises:
        EOFError: The opener is gone.
    """
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            opener.close()
            close_all_but(0, 1, 2, *descriptors)
            live(Connection(descriptors[0]), Connection(descriptors[1]), server)
        finally:
            os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    _send(opener, pid)
    ended = os.pidfd_open(pid)
    try:
        waiting = [ended, opener.fileno()]
        if ended not in select.select(waiting, [], [])[0]:
            raise EOFError
    finally:
        os.close(ended)
    _, status = os.waitpid(pid, 0)
    end_descendants(server)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return os.waitstatus_to_exitcode(status)


def close_all_but(*kept: int) -> None:
    """Close every open file of this process but these."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _send(to: socket.socket, number: int) -> None:
    to.sendall(_NUMBER.pack(number))


def _read(source: socket.socket) -> int:
    content = source.recv(_NUMBER.size, socket.MSG_WAITALL)
    if len(content) < _NUMBER.size:
        raise EOFError("the server of rooms is gone")
    number: int = _NUMBER.unpack(content)[0]
    return number


def _ended_now(source: socket.socket) -> int | None:
    ready, _, _ = select.select([source], [], [], 0)
    return _read(source) if ready else None
