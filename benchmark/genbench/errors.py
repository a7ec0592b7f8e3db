"""The errors that genbench prints without a traceback, and the exit code of each.

A message says what was found, what is allowed, and the next command to type.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path

LISTED = 200  #: problems that one message names, each on its line


class ExitCode(IntEnum):
    """What the exit status of `genbench` means."""

    OK = 0
    CELLS_FAILED = 1  #: the run finished, but at least one cell failed
    USAGE = 2  #: a wrong name, option or suite, or a path where nothing is; nothing was run
    DATA = 3  #: a dataset or weights are there and cannot be read, or hold something that cannot be used
    STORE = 4  #: the store is damaged, or it or an output cannot be written: the disk is full or read-only
    CONTRADICTED = 5  #: a submission contradicts itself, or what was recomputed or run again
    INTERRUPTED = 130  #: Ctrl-C (143 after SIGTERM, 129 after SIGHUP); the same command resumes


class GenbenchError(Exception):
    """A problem that the user can mend: printed as one message, no traceback.

    Args:
        message: What was found and what is allowed.
        hint: The next command to type, or the next thing to do.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}\n  {hint}" if hint else message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type["GenbenchError"], tuple[str], dict[str, object]]:
        """Travel between processes with the hint intact."""
        return (type(self), (self.message,), {"hint": self.hint, "args": self.args})


class UsageError(GenbenchError):
    """A name, an option, a suite or a path that genbench does not know."""


class PluginError(GenbenchError):
    """A plugin broke the contract."""


class SpoiledProcessError(PluginError):
    """Code of a third party changed the process that it shares: nothing that runs in it can be trusted."""


class GuestError(Exception):
    """What the code of a third party raised in its own process, or how that process died.

    Args:
        message: Class and text of the exception, or the cause of death.
        details: A traceback.
        errno: Of an OSError.
    """

    def __init__(self, message: str, details: str = "", errno: int | None = None) -> None:
        super().__init__(message)
        self.details = details
        self.errno = errno


class ProtocolError(GenbenchError):
    """A rule of the experimental protocol would be broken (`docs/protocol.md`)."""


class DataError(GenbenchError):
    """A dataset, image, label or weight file that cannot be used."""

    exit_code = ExitCode.DATA


class NothingThereError(DataError):
    """A path that was named, and where nothing is: whoever typed it can mend it."""

    exit_code = ExitCode.USAGE


def unusable_path(path: Path, message: str, *, hint: str = "") -> DataError:
    """Return the error about a path that is not what it should be, by whether anything is there.

    >>> unusable_path(Path("/no/such/place"), "it is no folder").exit_code.name
    'USAGE'
    >>> unusable_path(Path("/"), "it is no file").exit_code.name
    'DATA'
    """
    try:
        there = path.expanduser().exists()
    except (OSError, RuntimeError):  # behind a folder that may not be read; a home that is unknown
        there = True
    return (DataError if there else NothingThereError)(message, hint=hint)


class StoreError(GenbenchError):
    """The store cannot be read or written."""

    exit_code = ExitCode.STORE


class StoreUnwritableError(StoreError):
    """The store is full or read-only: no step would fare better than the one that found out."""


class OutputError(GenbenchError):
    """A file or folder outside the store cannot be written."""

    exit_code = ExitCode.STORE


class SupersededError(GenbenchError):
    """Another attempt has taken a step over: this one must leave its files alone."""


class Interrupted(GenbenchError):  # noqa: N818 - being asked to stop is no error
    """The run was asked to stop, and stopped with its work saved."""

    exit_code = ExitCode.INTERRUPTED


def together(found: Sequence[GenbenchError]) -> GenbenchError:
    """Return several findings as one error, with the exit code of the first."""
    if len(found) == 1:
        return found[0]
    lines = [f"{len(found)} things would keep this from running:", *(f"- {one}" for one in found)]
    return type(found[0])("\n".join(lines))


def listed_problems(what: str, problems: Sequence[str], *, hint: str = "") -> DataError:
    """Return one error for all problems found, each on a line of its own; one alone is told as it is.

    >>> print(listed_problems("files that cannot be used", ["a.png: empty", "b.png: empty"]).message)
    2 files that cannot be used:
      a.png: empty
      b.png: empty
    """
    if len(problems) == 1:
        return DataError(problems[0], hint=hint)
    more = [f"and {len(problems) - LISTED:,} more"] if len(problems) > LISTED else []
    lines = [*problems[:LISTED], *more]
    return DataError("\n  ".join([f"{len(problems):,} {what}:", *lines]), hint=hint)


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known names, and all of them.

    >>> did_you_mean("resnet23", ["cnn", "resnet32"])
    'Did you mean resnet32? Known: cnn, resnet32.'
    """
    names = sorted(known)
    near = get_close_matches(found, names, n=2)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{guess}Known: {', '.join(names) if names else 'none'}."
