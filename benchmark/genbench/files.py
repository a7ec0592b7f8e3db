"""Files that others made: which a folder holds, and how they are opened. Imports neither torch nor numpy.

A tree is walked through its links. A link that leads out of the folder, to nothing, or back to a folder that
it lies in is an error that names it; the folder itself may be a link. Pipes, sockets and devices are never
opened: reading them may wait for ever, or never end.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from genbench import disk
from genbench.errors import DataError
from genbench.escaping import one_line

_MOST_LINKS = 1_000  # to folders, within folders that are links: their number would grow at every step
_SHOWN_CHARACTERS = 250
_OUTSIDE_HINT = "copy what it leads to: cp -rL FOLDER COPY"


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, if it is one.

    Raises:
        DataError: It is a pipe, a socket, a device or a folder, or cannot be read.
    """
    try:
        return disk.open_regular(path)
    except (OSError, ValueError) as problem:
        raise DataError(f"{shown(path)} cannot be read: {_reason(problem)}") from None


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Read a file that is not larger than `most_bytes`.

    Raises:
        DataError: It is larger, or no regular file.
    """
    try:
        return disk.read_regular(path, most_bytes)
    except (OSError, ValueError) as problem:
        raise DataError(f"{shown(path)} cannot be read: {_reason(problem)}") from None


def load_tensors(path: Path, owner: str) -> dict[str, Any]:
    """Read a safetensors file: tensors by name, on the CPU.

    Args:
        path: The file.
        owner: Whose weights they are, for messages.

    Raises:
        DataError: It is no safetensors file, or claims more than it holds.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    open_regular(path).close()
    try:
        tensors: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as problem:
        raise DataError(
            f"{owner}: {shown(path)} cannot be read as safetensors: {said(problem)}", hint="download it again"
        ) from problem
    return tensors


def tree_files(
    folder: Path, *, top: Path | None = None, follow_links: bool = False, hint: str = _OUTSIDE_HINT
) -> list[Path]:
    """Return the files below a folder, sorted; hidden files are left out.

    Args:
        folder: Where to look.
        top: What links may not lead out of; the folder itself by default.
        follow_links: Whether links may lead anywhere.
        hint: What to do about a link that leads out.

    Raises:
        DataError: A link leads out of `top`, to nothing or in a circle, a name is not UTF-8, a folder cannot
            be read, or there is a pipe, a socket or a device; it is named.
    """
    base = None if follow_links else Path(os.path.realpath(top or folder))
    found, nested_links = list[Path](), 0
    start: tuple[Path, ...] = (Path(os.path.realpath(folder)),)
    # Each with the real paths of the folders that led there, and whether a link did.
    waiting: list[tuple[Path, tuple[Path, ...], bool]] = [(folder, start, False)]
    while waiting:
        current, above, by_link = waiting.pop()
        for entry in _entries(current):
            path, linked = Path(entry.path), entry.is_symlink()
            if entry.name.startswith(".") and (linked or not entry.is_dir()):
                continue
            real = _target(path, base, hint) if linked else above[-1] / entry.name
            if entry.is_dir():
                nested_links += linked and by_link
                _check_folder(path, real, above, nested_links)
                waiting.append((path, (*above, real), by_link or linked))
                continue
            if not entry.is_file():
                _check_kind(path, path.stat().st_mode)
            found.append(path)
    return sorted(found)


def shown(path: Path | str) -> str:
    """Return a path as it can be printed anywhere."""
    return one_line(str(path))


def said(problem: object) -> str:
    """Return what an error says, in one line that can be printed and has an end: it may quote a file."""
    return one_line(str(problem), _SHOWN_CHARACTERS)


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.isascii():
                    _check_name(Path(entry.path))
                yield entry
    except OSError as problem:
        raise DataError(f"{shown(folder)} cannot be read: {_reason(problem)}") from None


def _check_name(path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{shown(path)}: the file's name is not UTF-8",
            hint="rename it: convmv -f latin1 -t utf8 --notest FILE",
        ) from None


def _target(link: Path, base: Path | None, hint: str) -> Path:
    """Return what a link leads to.

    Raises:
        DataError: It leads to nothing, or out of `base`.
    """
    try:
        target = Path(os.path.realpath(link, strict=True))
    except OSError:
        raise DataError(
            f"{shown(link)} is a link to nothing: {shown(os.readlink(link))}", hint="remove it, or mend it"
        ) from None
    if base is not None and not target.is_relative_to(base):
        raise DataError(
            f"{shown(link)} is a link that leads out of {shown(base)}: {shown(target)}", hint=hint
        )
    return target


def _check_folder(path: Path, real: Path, above: tuple[Path, ...], nested_links: int) -> None:
    if real in above:
        raise DataError(f"{shown(path)} is a link to a folder that it lies in: {shown(real)}")
    if nested_links > _MOST_LINKS:
        raise DataError(
            f"{shown(path)}: more than {_MOST_LINKS:,} links to folders within folders that are links"
        )


def _check_kind(path: Path, mode: int) -> None:
    kind = disk.kind_of(mode)
    if kind:
        raise DataError(f"{shown(path)} is {kind}, not a file", hint="remove it, or name another folder")


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)
