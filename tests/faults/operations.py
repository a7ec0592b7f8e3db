"""Every file operation of a process that changes something, seen before it happens.

What libraries in C or Rust write by themselves (safetensors, large arrays) is seen when it is flushed.
"""

import builtins
import io
import os
from collections.abc import Callable
from typing import Any

#: Called with the name of the operation, the path that it is about, and the new path if there is one.
Hook = Callable[[str, str, str], None]

_CHANGES = ("mkdir", "rename", "replace", "unlink", "remove", "rmdir", "link", "symlink", "fsync", "write")
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_open = io.open


def watch(hook: Hook) -> None:
    """Call `hook` before every such operation of this process, from now on; what it raises is the outcome."""
    for name in _CHANGES:
        setattr(os, name, _watched(name, getattr(os, name), hook))
    os_open = os.open

    def watched_open(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & _FOR_WRITING:
            hook("open", located(path, named.get("dir_fd")), "")
        return os_open(path, flags, *more, **named)

    os.open = watched_open
    opened = _watched_files(hook)
    io.open = opened  # type: ignore[assignment] - same behaviour, other class
    builtins.open = opened  # type: ignore[assignment] - as above


def located(path: Any, folder: int | None) -> str:
    """Return the absolute path that an operation is about: of a descriptor, or of a name in a folder."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    base = os.readlink(f"/proc/self/fd/{folder}") if folder is not None else ""
    return os.path.abspath(os.path.join(base, os.fspath(path)))


def _watched(name: str, function: Any, hook: Hook) -> Any:
    def watched(*arguments: Any, **named: Any) -> Any:
        path = located(arguments[0], named.get("dir_fd"))
        is_move = name in {"rename", "replace"}
        hook(name, path, located(arguments[1], None) if is_move else "")
        return function(*arguments, **named)

    return watched


def _watched_files(hook: Hook) -> Any:
    class Raw(io.FileIO):
        def write(self, data: Any) -> Any:
            hook("write", located(self.name, None), "")
            return super().write(data)

    def opened(  # noqa: PLR0917 - the arguments of `open`
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
        newline: Any = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if not set(mode) & set("wax+"):
            return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        hook("open", located(file, None), "")
        raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd=closefd, opener=opener)
        buffer: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    return opened
