"""The campaign of faults: what a trial is, and how many are tried.

A family is a module of this folder with a function `trials(size)`, which yields its trials: a few that fit
into CI (`short`), or all of them (`long`). `python tests/faults` tries the long form and prints a table.
"""

import importlib
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Size = Literal["short", "long"]

#: Every family: the module in this folder that yields its trials.
FAMILIES: tuple[str, ...] = (
    *("kills", "disk", "power", "damage", "together"),
    *("plugins", "records", "markup", "suites", "images", "archives", "http"),
)

#: Those that fork: they want a process of their own, in which nothing else was run before.
FORKING: tuple[str, ...] = ("kills", "disk", "power", "damage", "together")


@dataclass(frozen=True)
class Trial:
    """One fault.

    Attributes:
        name: Which, in a few words: `kill at file operation 17`.
        attempt: Tries it in an empty folder, and raises an AssertionError if genbench does not hold.
        count: How many single faults it stands for.
    """

    name: str
    attempt: Callable[[Path], None]
    count: int = 1


@dataclass
class Tally:
    """What became of a family's trials.

    Attributes:
        tried: Single faults.
        held: Those that did no harm.
        seconds: That all took.
        worst: The first and the last line of what each trial said that did not hold.
    """

    tried: int = 0
    held: int = 0
    seconds: float = 0.0
    worst: list[str] = field(default_factory=list)


def trials_of(family: str, size: Size) -> Iterator[Trial]:
    """Yield the trials of a family."""
    yield from importlib.import_module(f"faults.{family}").trials(size)


def attempted(family: str, size: Size, only: Sequence[str] = ()) -> Tally:
    """Try a family; with `only`, the trials whose name holds one of these words."""
    tally = Tally()
    began = time.monotonic()
    for trial in trials_of(family, size):
        if only and not any(word in trial.name for word in only):
            continue
        tally.tried += trial.count
        with tempfile.TemporaryDirectory(prefix="genbench-fault-") as folder:
            try:
                trial.attempt(Path(folder))
                tally.held += trial.count
            except Exception as problem:  # whatever it raises, genbench did not hold
                lines = traceback.format_exception_only(problem)[-1].strip().splitlines()
                what = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
                tally.worst.append(f"{trial.name}: {what}")
    tally.seconds = time.monotonic() - began
    return tally
