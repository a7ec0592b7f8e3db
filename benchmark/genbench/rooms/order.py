"""What a room is asked to do, and with which rights: sent to it once, at its start."""

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
        home: A folder of the room's own, for whatever libraries write: `HOME`, caches, temporary files.
        rights: What may be read and written; None: everything.
        network: Whether it may be used.
        threads: Of torch.
        environment: Variables that only this room gets.
    """

    target: str
    payload: Any
    home: Path
    rights: Rights | None = None
    network: bool = True
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


def can_confine() -> str:
    """Say in a few words with what this machine confines a process; empty if it cannot."""
    version = abi()
    if not version:
        return ""
    return f"Landlock {version}" + (" and seccomp" if can_deny_network() else ", no seccomp")
