"""What a page shows of a board: every text as one printable line, and none longer than a reader would read.

JSON and CSV keep texts whole. Here, a label of ten megabytes says how long it is and shows its beginning.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast

from genbench.escaping import LONGEST_LABEL, LONGEST_MESSAGE, LONGEST_SENTENCE, one_line

T = TypeVar("T")

#: Of the texts that are sentences, by the name of their field; everything else is a label.
_LONGEST = {
    "reason": LONGEST_SENTENCE,
    "note": LONGEST_SENTENCE,
    "notes": LONGEST_SENTENCE,
    "commands": LONGEST_MESSAGE,
}


def shown(value: T, name: str = "") -> T:
    """Return a board, or a part of it, with its texts as pages show them.

    Args:
        value: Dataclasses, named tuples, tuples, mappings, texts and numbers.
        name: Of the field that holds it.
    """
    return cast("T", _Shown().of(value, name))


class _Shown:
    """Goes through a board once: parts that many rows share, as their components, are looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Any] = {}  # by identity; the board outlives this

    def of(self, value: Any, name: str) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is str:
            return one_line(value, _LONGEST.get(name, LONGEST_LABEL))
        key = (id(value), name)
        if key not in self._known:
            self._known[key] = self._inside(value, name)
        return self._known[key]

    def _inside(self, value: Any, name: str) -> Any:
        if isinstance(value, str):
            return one_line(value, _LONGEST.get(name, LONGEST_LABEL))
        if is_dataclass(value):
            changed = {}
            for entry in _names(cast("Any", type(value))):
                old = getattr(value, entry)
                if type(old) not in _PLAIN and (new := self.of(old, entry)) is not old:
                    changed[entry] = new
            return replace(cast("Any", value), **changed) if changed else value
        if isinstance(value, Mapping):
            pairs = [(self.of(key, name), self.of(inner, name)) for key, inner in value.items()]
            same = all(
                key is old and inner is value[old] for (key, inner), old in zip(pairs, value, strict=True)
            )
            return value if same else dict(pairs)
        if isinstance(value, list | tuple):
            parts = [self.of(inner, name) for inner in value]
            same = all(new is old for new, old in zip(parts, value, strict=True))
            return value if same else _like(value, parts)
        return value


_PLAIN = frozenset({int, float, bool, type(None)})


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(kind))


def _like(value: "list[Any] | tuple[Any, ...]", parts: list[Any]) -> object:
    """Return the parts as a sequence of the same class."""
    made = getattr(type(value), "_make", type(value))  # a named tuple takes its parts one by one
    return made(parts)
