"""What a room is asked to do, and with which rights: sent to it once, at its start."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genbench.rooms.landlock import Rights, abi
from genbench.rooms.seccomp import can_deny_network

Confine = Literal["auto", "require", "off", "all"]


@dataclass(frozen=True)
class Order:
    """One call in a room.

    Attributes:
        target: `"module:function"`, called as `function(payload, talk)`; returns JSON facts or None.
        payload: What it is called with. Picklable; it comes from the process that is trusted.
        home: A folder of the room's own, for whatever libraries write: `HOME` and caches.
        temporary: Its folder for temporary files, with a short path: the addresses of sockets in it have at
            most 107 characters. None: the home.
        rights: What may be read and written; None: everything.
        network: Whether it may be used.
        threads: Of torch.
        environment: Variables that only this room gets.
        path: Where Python looks for modules, as in the process that ordered it.
    """

    target: str
    payload: Any
    home: Path
    temporary: Path | None = None
    rights: Rights | None = None
    network: bool = True
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))


_PRIVATE = re.compile(
    r"TOKEN(?!IZERS)|SECRET|PASSW|CREDENTIAL|AUTH|PROXY|COOKIE|(API|ACCESS|PRIVATE)?_?KEY(_ID)?$|_UR[IL]$|_DSN$",
    re.IGNORECASE,
)


def is_private(variable: str) -> bool:
    """Say whether an environment variable may hold a key, a password or an address with one."""
    return not variable.startswith("GENBENCH_") and bool(_PRIVATE.search(variable))


def can_confine() -> str:
    """Say in a few words with what this machine confines a process; empty if it cannot."""
    version = abi()
    if not version:
        return ""
    return f"Landlock {version}" + (" and seccomp" if can_deny_network() else ", no seccomp")
