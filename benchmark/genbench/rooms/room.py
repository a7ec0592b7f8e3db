"""The outside of a room: open it, pass on what it tells, and see to it that nothing of it is left."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from genbench.errors import GuestError, Interrupted
from genbench.escaping import shortened, writable
from genbench.rooms.guest import live
from genbench.rooms.messages import MOST_BYTES, is_list_of_texts, rebuilt
from genbench.rooms.order import Order
from genbench.rooms.server import Server
from genbench.rooms.tree import end_descendants

MOST_OUTPUT_BYTES = 1 << 20  #: of what a step prints, in its log
_MOST_LEFT = 40  # changes that are kept
_LEAVING_SECONDS = 5.0  # for a room that has said how it ended
_PROGRESS_SECONDS = 0.2  # between two reports that are passed on
_NONSENSE = "its process said what nobody understands"


@dataclass(frozen=True)
class Stay:
    """How it was in a room.

    Attributes:
        facts: What the function returned.
        in_force: What the process was confined with: `Landlock 7, seccomp`; empty where with nothing.
        left: What it changed for others in its process, and left behind.
    """

    facts: Mapping[str, Any]
    in_force: str
    left: tuple[str, ...]


def stay(
    order: Order,
    log: Path,
    report: Callable[[int, int, Mapping[str, float]], None],
    must_stop: Callable[[], bool],
    answers: Mapping[str, Callable[[], bytes]] | None = None,
) -> Stay:
    """Carry out an order in a process of its own, and wait for its end.

    Args:
        order: What is to be done.
        log: File that its output is added to, up to a megabyte.
        report: Where its progress goes.
        must_stop: Says whether it should save its work and leave.
        answers: What to send when it asks.

    Raises:
        Interrupted: It was asked to stop, and did.
        GenbenchError: Whatever of genbench's own it raised.
        GuestError: Whatever else it raised, or how it died.
    """
    ours, theirs = multiprocessing.Pipe()
    heard, voice = multiprocessing.Pipe(duplex=False)
    room = _opened(theirs, voice)
    theirs.close()
    voice.close()
    listener = threading.Thread(target=_keep_output, args=(heard, log), name="genbench-room-output")
    listener.start()
    try:
        visit = _Visit(room, ours, must_stop)
        visit.say(order)
        return _attend(visit, report, answers or {})
    finally:
        room.end()
        ours.close()
        listener.join(_LEAVING_SECONDS)


class _Room(Protocol):
    """What this file needs of a process, wherever it came from."""

    sentinel: Any

    def end(self) -> int:
        """End it and everything below it, if it still runs; return its exit code."""
        ...

    def terminate(self) -> None:
        """Ask it to save its work and leave."""
        ...


class _SpawnedRoom:
    """A room where a process that has torch loaded is not safely forked: it starts from nothing."""

    def __init__(self, connection: Connection, output: Connection) -> None:
        arguments = (connection, output, os.getpid())
        self._process = multiprocessing.get_context("spawn").Process(target=live, args=arguments)
        self._process.start()
        self.sentinel = self._process.sentinel

    def end(self) -> int:
        if self._process.pid is not None:
            end_descendants(self._process.pid)
        self._process.kill()
        self._process.join()
        return self._process.exitcode or 0

    def terminate(self) -> None:
        self._process.terminate()


_servers: dict[int, Server] = {}  # of this process, by its number: a fork has none


def prepare() -> None:
    """Fork the server of rooms from this process, while it has one thread and nothing foreign.

    With more threads, as in workers of an engine that has its own there, the server starts by itself when the
    first room is opened: a fork would have the engine's connections, and locks that nobody lets go.
    """
    if sys.platform == "linux" and threading.active_count() == 1:
        _servers[os.getpid()] = Server(fork=True)


def _opened(connection: Connection, output: Connection) -> _Room:
    if sys.platform != "linux":
        return _SpawnedRoom(connection, output)
    server = _servers.get(os.getpid()) or _servers.setdefault(os.getpid(), Server(fork=False))
    try:
        return server.open(connection, output)
    except (OSError, EOFError):  # somebody ended it
        server.close()
        _servers[os.getpid()] = Server(fork=False)
        return _servers[os.getpid()].open(connection, output)


@dataclass
class _Visit:
    """A room that is open.

    Attributes:
        room: Its process.
        connection: To it.
        must_stop: Says whether it should leave.
        was_asked: Whether it was told so.
    """

    room: _Room
    connection: Connection
    must_stop: Callable[[], bool]
    was_asked: bool = False
    _reported: float = 0.0

    def say(self, what: Order | bytes) -> None:
        """Send it something; a room that is gone tells why when its messages are read."""
        with contextlib.suppress(OSError):
            if isinstance(what, bytes):
                self.connection.send_bytes(what)
            else:
                self.connection.send(what)

    def messages(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the room says until it ends.

        Raises:
            GuestError: It said what is no message.
        """
        while True:
            if self.must_stop():  # again and again: a room that has just been opened does not listen yet
                self.was_asked = True
                self.room.terminate()
            ready = wait([self.connection, self.room.sentinel], 0.2)
            if self.connection in ready:
                try:
                    message = json.loads(self.connection.recv_bytes(MOST_BYTES))
                except EOFError:
                    return
                except (OSError, ValueError, RecursionError) as problem:
                    raise GuestError(f"{_NONSENSE} ({problem!r})") from None
                if not isinstance(message, dict):
                    raise GuestError(_NONSENSE)
                yield message
            elif ready:  # it has ended, and everything that it said was read
                return

    def is_time_to_report(self) -> bool:
        """Say whether progress may be passed on: a room may not flood the others."""
        now = time.monotonic()
        if now - self._reported < _PROGRESS_SECONDS:
            return False
        self._reported = now
        return True


def _attend(
    visit: _Visit,
    report: Callable[[int, int, Mapping[str, float]], None],
    answers: Mapping[str, Callable[[], bytes]],
) -> Stay:
    """Listen to a room until it has said how it ended."""
    in_force = ""
    for message in visit.messages():
        kind = message.get("kind")
        if kind == "ready":
            in_force = shortened(writable(message.get("in_force", "")), 100)
        elif kind == "progress":
            _pass_on(visit, message, report)
        elif kind in answers:
            visit.say(answers[str(kind)]())
        elif kind == "interrupted" and visit.was_asked:
            raise Interrupted("stopped; the same command resumes from here")
        elif kind in {"failed", "interrupted"}:
            raise rebuilt(message)
        elif kind == "done":
            facts, left = message.get("facts"), message.get("left")
            if not isinstance(facts, dict) or not is_list_of_texts(left):
                raise GuestError(_NONSENSE)
            texts = tuple(shortened(writable(text), 200) for text in (left or ())[:_MOST_LEFT])
            return Stay(facts, in_force, texts)
    raise GuestError(cause_of_death(visit.room.end()))


def _pass_on(
    visit: _Visit, message: Mapping[str, Any], report: Callable[[int, int, Mapping[str, float]], None]
) -> None:
    """Pass progress on, if it is progress."""
    done, total, metrics = message.get("done"), message.get("total"), message.get("metrics")
    if not (isinstance(done, int) and isinstance(total, int) and isinstance(metrics, dict)):
        return
    if visit.is_time_to_report():
        numbers = {writable(name): float(one) for name, one in metrics.items() if type(one) in {int, float}}
        report(done, total, numbers)


def cause_of_death(exit_code: int | None) -> str:
    """Say how a process ended that did not say so itself."""
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        advice = " (often: out of memory)" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{advice}"
    return f"its process ended without a word (exit code {exit_code})"


def _keep_output(heard: Connection, log: Path) -> None:
    """Add what a room prints to the step's log, and read on where the log has enough: nobody may block."""
    kept = left_out = 0
    with contextlib.suppress(OSError), heard:
        while piece := os.read(heard.fileno(), 1 << 16):
            room = max(0, MOST_OUTPUT_BYTES - kept)
            kept += len(piece[:room])
            left_out += len(piece[room:])
            if room:
                with contextlib.suppress(OSError), log.open("ab") as file:
                    file.write(piece[:room])
    if left_out:
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(f"\n... and {left_out} bytes more\n")
