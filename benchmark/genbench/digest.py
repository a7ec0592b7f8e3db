"""Canonical JSON and SHA-256: the only place where data becomes an identity.

Two values have the same digest exactly when they are the same data: keys are sorted, floats are written
in their shortest form that reads back equal (Python's `repr`), and NaN or infinity is refused.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genbench.errors import GenbenchError

_encode = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False
).encode


def canonical_json(value: Any) -> str:
    """Write JSON data in the one form that identity is taken from.

    Raises:
        GenbenchError: `value` holds NaN or infinity, or something that is not JSON.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError) as problem:
        raise GenbenchError(f"cannot take the identity of this value: {problem}") from problem


def digest(value: Any) -> str:
    """Return the SHA-256 of `value`'s canonical JSON, as 64 hex digits."""
    return text_digest(canonical_json(value))


def text_digest(text: str) -> str:
    """Return the SHA-256 of canonical JSON that is written already, as 64 hex digits."""
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as problem:  # half of a surrogate pair, which is no character
        raise GenbenchError(f"cannot take the identity of this value: {problem}") from problem


class Digester:
    """Takes digests of many values that share a large part, which is written once.

    The part is known by being the very same object; it must not be changed afterwards.
    """

    def __init__(self) -> None:
        self._written: dict[int, tuple[Any, str]] = {}  # the object is kept, so that its id stays its own

    def digest(self, value: dict[str, Any], shared: str) -> str:
        """Return the SHA-256 of `value`'s canonical JSON, as 64 hex digits: `digest(value)`, faster.

        Args:
            value: A dictionary with a text for every name.
            shared: Name of the entry that many values share; it may be missing.
        """
        if shared not in value:
            return digest(value)
        part = value[shared]
        if id(part) not in self._written:
            self._written[id(part)] = (part, canonical_json(part))
        # Sorted names and no white space: what lies before and after the part is canonical JSON of its own.
        before = canonical_json({name: one for name, one in value.items() if name < shared})[1:-1]
        after = canonical_json({name: one for name, one in value.items() if name > shared})[1:-1]
        whole = ",".join(filter(None, (before, f'"{shared}":{self._written[id(part)][1]}', after)))
        return hashlib.sha256(f"{{{whole}}}".encode()).hexdigest()


class Remembered:
    """Texts that follow from objects which many others share, each made once.

    Objects are known by being the very same; they must not be changed afterwards. Numbers and texts are known
    by value.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[str, tuple[Any, ...]]] = {}

    def of(self, make: Callable[..., str], *about: Any) -> str:
        """Return `make(*about)`."""
        key = (make, *(one if isinstance(one, (int, float, str)) else id(one) for one in about))
        if key not in self._known:
            self._known[key] = (make(*about), about)  # the objects are kept, so that their ids stay their own
        return self._known[key][0]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in chunks, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha256(usedforsecurity=False)).hexdigest()


ABSENT = "(absent)"


def differences(left: Any, right: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """List where two JSON values differ, as (path, left value, right value); a missing side is `ABSENT`.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    [('a.b', 1, 3)]
    """
    if left is right:
        return []
    if not (isinstance(left, dict) and isinstance(right, dict)):
        return [] if left == right else [(path, left, right)]
    found = []
    for name in sorted(left.keys() | right.keys()):
        below = f"{path}.{name}" if path else str(name)
        if name in left and name in right:
            found += differences(left[name], right[name], below)
        else:
            found.append((below, left.get(name, ABSENT), right.get(name, ABSENT)))
    return found
