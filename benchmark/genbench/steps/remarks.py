"""What libraries print while a worker does a step: lines of the step's log, not of the user's terminal.

A warning of diffusers or torch is about code that the user did not write, once per worker; among bars and
failures it hides what matters. Outside of steps, and in a process that is shared, everything is printed.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from typing import TextIO


class _Remarks(io.TextIOBase):
    """Stands for the standard error: writes whole lines to the log of the step at hand, if there is one."""

    def __init__(self, beyond: TextIO) -> None:
        self._beyond, self._begun = beyond, ""
        self.log: logging.Logger | None = None

    def write(self, text: str) -> int:
        if self.log is None:
            return self._beyond.write(text)
        *lines, self._begun = (self._begun + text.replace("\r", "\n")).split("\n")
        for line in lines:
            if line.strip():
                self.log.warning("printed: %s", line.rstrip())
        return len(text)

    def flush(self) -> None:
        if self.log is None:
            self._beyond.flush()

    def fileno(self) -> int:
        return self._beyond.fileno()

    def isatty(self) -> bool:
        return False


def keep_remarks() -> None:
    """Let `noted_in` take what is printed, from now on; before libraries take hold of the standard error."""
    if not isinstance(sys.stderr, _Remarks):
        sys.stderr = _Remarks(sys.stderr)


@contextlib.contextmanager
def noted_in(log: logging.Logger) -> Iterator[None]:
    """Write what is printed within to a log, in a worker that keeps remarks."""
    stream = sys.stderr
    if not isinstance(stream, _Remarks):
        yield
        return
    before, stream.log = stream.log, log
    try:
        yield
    finally:
        stream.write("\n")  # a line without an end is one, too
        stream.log = before
