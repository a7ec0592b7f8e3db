"""What a lease has done so far: which tasks ended and how, what was sent home, and what need not be."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from _freight import write_json

Status = Literal["passed", "failed", "unfinished"]


@dataclass
class Ended:
    """How the last attempt at a task went.

    Attributes:
        status: `unfinished` tasks are tried again in the next slot.
        seconds: Of all attempts.
        slot: Of the last attempt.
        note: Why it failed, or what it waits for.
    """

    status: Status
    seconds: float
    slot: int
    note: str = ""


@dataclass
class State:
    """The progress of a lease; travels home with every slot, and from there to a fresh machine.

    Attributes:
        slots: How many slots were begun.
        tasks: By name.
        sent: Names of the pieces that were written for home.
        spent: Places of artifacts that nobody needs any more.
        carried: Places that home holds, on a fresh machine until all have arrived: records wait for them.
    """

    slots: int = 0
    tasks: dict[str, Ended] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    spent: list[str] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "State":
        """Read what `to_json` gave."""
        tasks = {name: Ended(**entry) for name, entry in content["tasks"].items()}
        return cls(**{**content, "tasks": tasks})

    @classmethod
    def read(cls, file: Path) -> "State":
        """Read a state file; a missing one is a lease that has not begun."""
        return cls.from_json(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else cls()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)

    def write(self, file: Path) -> None:
        """Write it in one step."""
        write_json(file, self.to_json())

    def is_over(self, task: str) -> bool:
        """Say whether a task passed or failed, and is not to be run."""
        return task in self.tasks and self.tasks[task].status != "unfinished"

    def end(self, task: str, status: Status, seconds: float, note: str = "") -> None:
        """Note how an attempt went."""
        before = self.tasks[task].seconds if task in self.tasks else 0.0
        self.tasks[task] = Ended(status, round(before + seconds, 1), self.slots, note)
