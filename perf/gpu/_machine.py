"""What a borrowed GPU machine allows, and which packages it is taken to hold."""

import re
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20
HERE = Path(__file__).resolve().parent  # a folder that is run gives its modules relative paths
TREE = HERE.parents[1]


class Limits(NamedTuple):
    """What goes in and comes out with one command, and how long the command may take.

    Attributes:
        command_seconds: Then the command is killed.
        carried_bytes: The tree and what is carried beside it.
        files: That come back.
        file_bytes: Of each of them.
        returned_bytes: Of all of them.
    """

    command_seconds: float = 600
    carried_bytes: int = 64 * MIB
    files: int = 8
    file_bytes: int = 16 * MIB
    returned_bytes: int = 64 * MIB


LIMITS = Limits()
FILE_NAME = re.compile(r"[A-Za-z0-9._-]+")  # of what comes back
SLOT_SECONDS = 570.0  # of a command's 600: starting Python and copying take the rest
PART_BYTES = 45_000_000  # of the data: no carried file is larger


def held_packages() -> dict[str, str]:
    """Return the packages of the machine by their normalised name: the version, or "" if it is not known."""
    return _packages(HERE / "machine.txt")


def carried_packages() -> dict[str, str]:
    """Return the packages that travel as wheels, with the versions that constraints.txt pins."""
    pinned = _packages(TREE / "constraints.txt")
    return {name: pinned[name] for name in _packages(HERE / "wheels.txt")}


def normalised(name: str) -> str:
    """Return a package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(file: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    parts = (line.partition("==") for line in lines if line)
    return {normalised(name): version for name, _, version in parts}
