"""What reaches standard error past genbench's own printing: from libraries in C and Python, from workers."""

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

_MOST_BYTES = 10_000  # after which a line that does not end is handed over in parts
_LAST_SECONDS = 1.0  # for what was written before the end: a process that was left behind may write for ever
_ENDS = b"\r\n"


class StrayLines:
    """Takes standard error away from everybody; `out` is what it was.

    File descriptor 2 becomes a pipe, which workers inherit, and a thread reads that. Where somebody replaced
    `sys.stderr` by an object of their own, nothing is taken away.

    Args:
        each: Called with every line, in the thread that reads.
    """

    def __init__(self, each: Callable[[str], None]) -> None:
        self.out: TextIO = sys.stderr
        self._each, self._begun, self._is_over = each, b"", threading.Event()
        self._reader: threading.Thread | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if sys.stderr.fileno() == 2:
                self._take()

    def give_back(self) -> None:
        """Let standard error be what it was, once everything that was written to it is read."""
        if self._reader is None:
            return
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(self.out.fileno(), 2)
        self._is_over.set()
        self._reader.join()
        self._reader = None

    def _take(self) -> None:
        sys.stderr.flush()
        self.out = os.fdopen(os.dup(2), "w", encoding="utf-8", newline="\n")
        reading, writing = os.pipe()
        os.dup2(writing, 2)  # which, unlike the others, programs that are started inherit
        os.close(writing)
        self._reader = threading.Thread(target=self._read, args=(reading,), name="stderr", daemon=True)
        self._reader.start()

    def _read(self, source: int) -> None:
        """Read until nobody holds the other end; or, once it is over, until there is nothing left.

        A process that somebody left behind may hold it for ever, and write for ever.
        """
        until = float("inf")
        while time.monotonic() < until:
            is_last = self._is_over.is_set()
            until = min(until, time.monotonic() + _LAST_SECONDS) if is_last else until
            if select.select([source], [], [], 0 if is_last else 0.1)[0]:
                found = os.read(source, 65536)
                self._split(found)
                if found:
                    continue
                break
            if is_last:
                break
        self._split(b"\n")
        os.close(source)

    def _split(self, found: bytes) -> None:
        """Hand over whole lines; what a progress bar overwrites (`\\r`) is a line, too."""
        for part in found.splitlines(keepends=True):
            self._begun += part
            if self._begun[-1:] in _ENDS or len(self._begun) > _MOST_BYTES:
                line, self._begun = self._begun.decode("utf-8", "backslashreplace").rstrip(), b""
                if line:
                    self._each(line)
