"""Files that others wrote, read with bounds: regular files only, so large, so deep, and unambiguous.

What is read here is data until its schema has accepted it. Every function raises `ValueError` with what was
found; callers say which file it was and what to do.
"""

import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genbench.disk import read_regular

#: Lists and dictionaries of a document, and its texts. Each takes 60 bytes of memory and more, however short
#: it is written: these bound what a document of the largest size can become.
MOST_CONTAINERS, MOST_TEXTS = 500_000, 4_000_000


def read_text(path: Path, most_bytes: int, inside: Path | None = None) -> str:
    """Read a regular file of UTF-8 text.

    Args:
        path: The file. A link counts as the file that it leads to.
        most_bytes: A larger file is refused before it is read.
        inside: A folder (resolved) that a link must not lead out of.

    Raises:
        ValueError: It cannot be read, is no regular file, too large, elsewhere, or no UTF-8.
    """
    try:
        resolved = path.resolve(strict=True)
        if inside is not None and not resolved.is_relative_to(inside):
            raise ValueError("a link that leads out of the folder")
        content = read_regular(resolved, most_bytes, links=False)
    except OSError as problem:
        raise ValueError(problem.strerror or str(problem)) from None
    except RuntimeError:  # what Python 3.11 and 3.12 say of links in a circle
        raise ValueError("a link that leads to itself") from None
    if content.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it begins with a byte order mark; save it as plain UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ValueError(f"no UTF-8: byte {problem.start:,} is {content[problem.start]:#04x}") from None


def files_below(folder: Path, prefixes: tuple[str, ...], suffix: str) -> Iterator[Path]:
    """Yield the files below a folder whose names begin and end so; links to folders are not followed.

    Raises:
        ValueError: A folder cannot be listed.
    """

    def refuse(problem: OSError) -> None:
        raise ValueError(f"{problem.filename}: {problem.strerror}") from None

    for parent, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            if name.startswith(prefixes) and name.endswith(suffix):
                yield Path(parent, name)


def parse_json(text: str, most_depth: int) -> Any:
    """Parse JSON in which every name is unique and every number is one.

    Raises:
        ValueError: It is no JSON, nested deeper than `most_depth`, larger than memory should bear, repeats a
            name within one dictionary, or holds NaN, infinity or a number of very many digits.
    """
    for what, marks, most in (
        ("lists and dictionaries", "[{", MOST_CONTAINERS),
        ("texts", '"', 2 * MOST_TEXTS),
    ):
        found = sum(map(text.count, marks))
        if found > most:
            raise ValueError(f"about {found // len(marks):,} {what}: too many")
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except (RecursionError, ValueError) as problem:
        raise _refusal(problem, most_depth) from None
    _check_depth(value, most_depth)
    return value


def parse_toml(text: str, most_depth: int) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: It is no TOML, is nested deeper than `most_depth`, or holds a date that is none or a
            number of thousands of digits.
    """
    try:
        value = tomllib.loads(text)
    except (RecursionError, ValueError) as problem:
        raise _refusal(problem, most_depth) from None
    _check_depth(value, most_depth)
    return value


def _refusal(problem: Exception, most_depth: int) -> ValueError:
    """Return what a parser found, in words for the author of the file."""
    if isinstance(problem, RecursionError):
        return ValueError(_too_deep(most_depth))
    if "set_int_max_str_digits" in str(problem):  # Python's own bound, whose advice is for programmers
        return ValueError("a whole number of thousands of digits")
    return ValueError(str(problem))


def _check_depth(value: Any, most: int) -> None:
    """Refuse a value whose lists and dictionaries are nested deeper than `most`."""
    level = [value]
    for _ in range(most + 1):
        level = [one for one in level if type(one) in {dict, list}]
        if not level:
            return
        level = [inner for one in level for inner in (one.values() if type(one) is dict else one)]
    raise ValueError(_too_deep(most))


def _too_deep(most: int) -> str:
    return f"nested deeper than {most} lists and dictionaries"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # readers differ in which of two counts
        count = Counter(name for name, _ in pairs)
        raise ValueError(f"the name {count.most_common(1)[0][0][:80]!r} stands there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
