"""What a room says to the process that opened it: one JSON object a message, bounded in size, never a pickle.

A confined process must not choose what its opener unpickles: that would be code of its choice.
"""

import json
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from genbench.errors import (
    DataError,
    GenbenchError,
    GuestError,
    PluginError,
    ProtocolError,
    UsageError,
)
from genbench.escaping import LONGEST_SENTENCE, exception_text, shortened, writable

MOST_BYTES = 1 << 20  #: of one message
_DETAIL_CHARACTERS = 50_000


class Talk:
    """The guest's end: tells progress and how it ended, and may ask for data."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, kind: str, **content: Any) -> None:
        """Send one message.

        Raises:
            PluginError: It is too large, or holds what JSON cannot.
        """
        try:
            message = json.dumps({"kind": kind, **content}).encode()
        except (TypeError, ValueError) as problem:
            raise PluginError(f"what a step says of itself must be JSON: {problem}") from None
        if len(message) > MOST_BYTES:
            raise PluginError(f"a step said {len(message)} bytes of itself at once; {MOST_BYTES} are allowed")
        self._connection.send_bytes(message)

    def ask(self, kind: str) -> bytes:
        """Ask for data, and return the answer."""
        self.tell(kind)
        return self._connection.recv_bytes()

    def report(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Tell progress."""
        numbers = {str(name)[:100]: float(value) for name, value in list(metrics.items())[:20]}
        self.tell("progress", done=int(done), total=int(total), metrics=numbers)


def described(problem: BaseException) -> dict[str, Any]:
    """Return an exception as JSON: its class is kept where it is one of genbench's own."""
    if isinstance(problem, GenbenchError):
        kind = type(problem).__name__
        said = {"message": str(problem.message), "hint": str(problem.hint)}
        return {"error": kind, **{name: shortened(text, LONGEST_SENTENCE) for name, text in said.items()}}
    trace = "".join(traceback.format_exception(problem))
    return {
        "error": "",
        "message": exception_text(problem),
        "details": trace[-_DETAIL_CHARACTERS:],
        "errno": getattr(problem, "errno", None) if isinstance(problem, OSError) else None,
    }


#: Errors that a plugin may raise and a user can mend; any other of genbench's own becomes the plugin's fault.
_MAY_RAISE = {one.__name__: one for one in (PluginError, ProtocolError, DataError, UsageError)}


def rebuilt(message: Mapping[str, Any]) -> Exception:
    """Return the exception that `described` described."""
    text, kind = writable(message.get("message", "")), message.get("error")
    if kind and isinstance(kind, str):
        return _MAY_RAISE.get(kind, PluginError)(text, hint=writable(message.get("hint", "")))
    number = message.get("errno")
    return GuestError(text, writable(message.get("details", "")), number if type(number) is int else None)


def is_list_of_texts(value: object) -> bool:
    """Say whether a value from outside is a list of strings."""
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(x, str) for x in value)
    )
