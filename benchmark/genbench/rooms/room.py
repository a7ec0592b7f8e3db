"""The outside of a room: open it, pass on what it tells, and see to it that nothing of it is left."""

import contextlib
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from genbench.errors import GuestError, Interrupted
from genbench.escaping import shortened
from genbench.rooms.guest import live
from genbench.rooms.messages import MOST_BYTES, is_list_of_texts, rebuilt
from genbench.rooms.order import Order
from genbench.rooms.tree import descendants, end_descendants

PRELOADED = "genbench.steps.preloaded"  #: imported by the server that rooms are forked from
MOST_OUTPUT_BYTES = 1 << 20  #: of what a step prints, in its log
_MOST_LEFT = 40  # changes that are kept
_LEAVING_SECONDS = 5.0  # for a room that has said how it ended
_SECRETS = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE)


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
    prepare()
    context = _context()
    ours, theirs = context.Pipe()
    heard, voice = context.Pipe(duplex=False)
    process = context.Process(target=live, args=(theirs, voice, order))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    voice.close()
    listener = threading.Thread(target=_keep_output, args=(heard, log), name="genbench-room-output")
    listener.start()
    try:
        return _attend(_Visit(process, ours, must_stop), report, answers or {})
    finally:
        end_descendants(process.pid)
        process.kill()
        process.join()
        ours.close()
        listener.join(_LEAVING_SECONDS)


def prepare() -> None:
    """Start the server that rooms are forked from, so that it imports torch while others work."""
    context = _context()
    if context.get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        with _without_secrets(), _ignoring(signal.SIGTERM, signal.SIGHUP):
            ensure_running()


@cache
def _context() -> BaseContext:
    """Return how rooms are started: forked from a clean server where that is safe, else from nothing."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


@dataclass
class _Visit:
    """A room that is open.

    Attributes:
        process: The room.
        connection: To it.
        must_stop: Says whether it should leave.
        was_asked: Whether it was told so.
    """

    process: Any
    connection: Connection
    must_stop: Callable[[], bool]
    was_asked: bool = False

    def messages(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the room says until it ends.

        Raises:
            GuestError: It said what is no message.
        """
        while True:
            if self.must_stop() and not self.was_asked:
                self.was_asked = True
                self.process.terminate()
            if not self.connection.poll(0.2):
                continue
            try:
                text = self.connection.recv_bytes(MOST_BYTES)
                message = json.loads(text)
            except EOFError:
                return
            except (OSError, ValueError, RecursionError) as problem:
                raise GuestError(f"its process said what nobody understands ({problem!r})") from None
            if not isinstance(message, dict):
                raise GuestError("its process said what nobody understands")
            yield message


def _attend(
    visit: _Visit,
    report: Callable[[int, int, Mapping[str, float]], None],
    answers: Mapping[str, Callable[[], bytes]],
) -> Stay:
    in_force = ""
    for message in visit.messages():
        kind = message.get("kind")
        if kind == "ready":
            in_force = shortened(str(message.get("in_force", "")), 100)
        elif kind == "progress":
            _pass_on(message, report)
        elif kind in answers:
            visit.connection.send_bytes(answers[str(kind)]())
        elif kind == "interrupted":
            raise Interrupted("stopped; the same command resumes from here")
        elif kind == "failed":
            raise rebuilt(message)
        elif kind == "done":
            facts, left = message.get("facts"), message.get("left")
            if not isinstance(facts, dict) or not is_list_of_texts(left):
                raise GuestError("its process said what nobody understands")
            texts = tuple(shortened(text, 200) for text in (left or ())[:_MOST_LEFT])
            return Stay(facts, in_force, texts)
    visit.process.join(_LEAVING_SECONDS)
    raise GuestError(cause_of_death(visit.process.exitcode))


def _pass_on(message: Mapping[str, Any], report: Callable[[int, int, Mapping[str, float]], None]) -> None:
    """Pass progress on, if it is progress."""
    done, total, metrics = message.get("done"), message.get("total"), message.get("metrics")
    if isinstance(done, int) and isinstance(total, int) and isinstance(metrics, dict):
        report(done, total, {str(k): float(v) for k, v in metrics.items() if isinstance(v, int | float)})


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


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Hide keys and tokens from a process that is started inside: it passes its environment on."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if _SECRETS.search(name)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def secrets() -> dict[str, str]:
    """Return the variables that rooms do not see, for one that may use the network."""
    return {name: value for name, value in os.environ.items() if _SECRETS.search(name)}


@contextlib.contextmanager
def _ignoring(*signals: signal.Signals) -> Iterator[None]:
    """Have a process that is started inside ignore signals that are sent to the whole group."""
    before = {one: signal.signal(one, signal.SIG_IGN) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


__all__ = ["Stay", "cause_of_death", "descendants", "prepare", "secrets", "stay"]
