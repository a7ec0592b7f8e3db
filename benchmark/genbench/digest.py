"""Canonical JSON and SHA-256: the only place where data becomes an identity.

Two values have the same digest exactly when they are the same data: keys are sorted, floats are written
in their shortest form that reads back equal (Python's `repr`), and NaN or infinity is refused.
"""

import hashlib
import json
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
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


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
