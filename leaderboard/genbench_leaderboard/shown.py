"""What a page shows of a board: every text as one printable line, and none longer than a reader would read.

JSON and CSV keep texts whole. Here, a label of ten megabytes says how long it is and shows its beginning.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
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
    if isinstance(value, str):
        return cast("T", one_line(value, _LONGEST.get(name, LONGEST_LABEL)))
    if is_dataclass(value) and not isinstance(value, type):
        found = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        changed = {entry: new for entry, old in found.items() if (new := shown(old, entry)) is not old}
        return cast("T", replace(cast("Any", value), **changed)) if changed else value
    if isinstance(value, Mapping):
        pairs = [(shown(key, name), shown(inner, name)) for key, inner in value.items()]
        same = all(key is old and inner is value[old] for (key, inner), old in zip(pairs, value, strict=True))
        return value if same else cast("T", dict(pairs))
    if isinstance(value, list | tuple):
        parts = [shown(inner, name) for inner in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return cast("T", _like(value, parts))
    return value


def _like(value: "list[Any] | tuple[Any, ...]", parts: list[Any]) -> object:
    """Return the parts as a sequence of the same class."""
    made = getattr(type(value), "_make", type(value))  # a named tuple takes its parts one by one
    return made(parts)
