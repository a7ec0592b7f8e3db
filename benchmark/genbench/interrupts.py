"""Ctrl-C, SIGTERM and SIGHUP: the first one asks to stop, the next one to stop at once.

    working    a signal raises `Stopped` in the main thread
    saving     running steps save their work; one more signal raises `Stopped` again, and cuts that short
    cleaning   workers are ended and leases given back, which takes moments: signals wait
    leaving    the message is out: one more signal, if it is the first one, ends the process

A signal that was ignored when the program started (`nohup`, a shell's `&`) stays ignored.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Literal

_Phase = Literal["working", "saving", "cleaning", "leaving"]
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last one does not exist on Windows


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop."""


class _State:
    """Signals belong to the process, and so does what they do at the moment."""

    phase: _Phase = "working"
    first: int | None = None  # the signal that asked to stop
    is_heeded: bool = False


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Heed signals inside; within another such block, or outside the main thread, this does nothing."""
    if _State.is_heeded or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _numbers()}
    mine = [number for number, handler in before.items() if handler not in {signal.SIG_IGN, None}]
    _State.phase, _State.first, _State.is_heeded = "working", None, True
    try:
        for number in mine:
            signal.signal(number, _take)
        yield
    finally:
        _State.is_heeded = False
        if not _is_leaving():
            for number in mine:
                signal.signal(number, before[number])


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Let steps save their work inside, until that is done or one more signal cuts it short."""
    _State.phase = "saving"
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        _State.phase = "cleaning"


@contextlib.contextmanager
def cleaning() -> Iterator[None]:
    """Keep signals waiting inside; the first one, if it came here, is raised at the end."""
    had = _State.first
    _State.phase = "cleaning"
    try:
        yield
    finally:
        _State.phase = "working"
    if _State.is_heeded and had is None and _State.first is not None:
        raise Stopped


def exit_code() -> int:
    """Return the exit code of a program that a signal stopped: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_State.first or signal.SIGINT)


def leave() -> None:
    """Say that all is done but leaving.

    A program that was stopped has nothing left to do: more signals are ignored, as Python would die of one
    while it puts its own house in order.
    """
    _State.phase = "leaving"
    if _State.is_heeded and _State.first is not None:
        for number in _numbers():
            signal.signal(number, signal.SIG_IGN)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _is_leaving() -> bool:
    return _State.phase == "leaving"


def _take(number: int, frame: FrameType | None) -> None:
    """Do what a signal asks for in the present phase."""
    is_first = _State.first is None
    _State.first = _State.first or number
    if _State.phase == "leaving":
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # nothing may keep us
                stream.flush()
        os._exit(exit_code())
    if _State.phase == "saving":
        _State.phase = "cleaning"
        raise Stopped
    if _State.phase == "working" and is_first:
        raise Stopped
