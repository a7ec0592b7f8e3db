"""What steps of a run are at: written while it runs, read by `genbench status` from any machine.

    <store>/journals/<run>.jsonl   a line when a run begins, with its steps; one for each thing that happens
    <store>/submitted/<job>.json   a run that was handed to a cluster, and that may not have begun

A journal is a report, not a state: nothing is decided by it, and a run goes on where it cannot be written.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from genbench.disk import make_folder, write_atomically
from genbench.executors import Event
from genbench.plan import Plan, Step

_MOST_BYTES = 2**28
State = Literal["waiting", "queued", "running", "done", "failed"]
STATES: tuple[State, ...] = ("waiting", "queued", "running", "done", "failed")
_STATE_AFTER: Mapping[str, State] = {
    "queued": "queued",
    "started": "running",
    "retried": "queued",
    "found": "done",
    "done": "done",
    "failed": "failed",
    "interrupted": "waiting",
}


@dataclass
class StepNews:
    """What a step is at.

    Attributes:
        stage: Its kind.
        label: For people.
        state: What it is at; `waiting` for what it needs, `queued` for a worker.
        host: Where it runs, or ran.
        attempt: Which attempt that is.
        why: Of a failure, and of the last attempt where there were several.
        kind: Of that failure.
        note: What it waits for.
        since: When that began, in seconds since 1970.
    """

    stage: str
    label: str
    state: State = "waiting"
    host: str = ""
    attempt: int = 1
    why: str = ""
    kind: str = ""
    note: str = ""
    since: float = 0.0


@dataclass
class Story:
    """What a journal tells of the latest attempt of a run.

    Attributes:
        host: Where its process is.
        pid: Its number there.
        job: The job of a cluster that this process is in; empty for none.
        began: When, in seconds since 1970.
        told: When the last line was written.
        cached: How many steps were done before.
        steps: The others, by key.
    """

    host: str = ""
    pid: int = 0
    job: str = ""
    began: float = 0.0
    told: float = 0.0
    cached: int = 0
    steps: dict[str, StepNews] = field(default_factory=dict)

    def in_state(self, state: State) -> list[StepNews]:
        """Return the steps that are at something."""
        return [step for step in self.steps.values() if step.state == state]


class Journal:
    """Writes what happens; what cannot be written is left out."""

    def __init__(self, root: Path, run_id: str) -> None:
        self._path = _place(root, run_id)

    def planned(self, steps: Sequence[Step], plan: Plan) -> None:
        """Begin anew: the steps that will run."""
        head = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "cached": len(plan.steps) - len(steps),
            "steps": {step.key: [step.stage, step.label] for step in steps},
        }
        with contextlib.suppress(OSError):
            make_folder(self._path.parent)
            write_atomically(self._path, _line(head))

    def event(self, step: Step, event: Event) -> None:
        """Write down what happened to a step; its progress is left out."""
        if event.status not in _STATE_AFTER:
            return
        told: dict[str, Any] = {"key": event.id, "status": event.status, "attempt": event.attempt}
        told |= {name: text for name, text in (("host", event.host), ("note", event.note)) if text}
        if event.failure is not None:
            told |= {"why": event.failure.reason, "kind": event.failure.kind}
        if event.id == step.key and step.label:
            told |= {"stage": step.stage, "label": step.label}
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            file.write(_line(told))


def _line(content: Mapping[str, Any]) -> bytes:
    return (json.dumps({"at": round(time.time(), 1), **content}) + "\n").encode()


def _place(root: Path, run_id: str) -> Path:
    return root / "journals" / f"{run_id}.jsonl"


def read_story(root: Path, run_id: str) -> Story | None:
    """Return what the journal of a run tells; None where there is none.

    Args:
        root: The store's folder.
        run_id: Of the run.
    """
    try:
        path = _place(root, run_id)
        if path.stat().st_size > _MOST_BYTES:
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    story = Story()
    for line in text.split("\n")[:-1]:  # the last may be half written
        with contextlib.suppress(ValueError, TypeError, KeyError):
            _add(story, json.loads(line))
    return story if story.began else None


def _add(story: Story, told: Mapping[str, Any]) -> None:
    """Add a line to what is known."""
    story.told = float(told["at"])
    if "steps" in told:
        story.began = story.told
        story.host, story.pid, story.job = str(told["host"]), int(told["pid"]), str(told["job"])
        story.cached = int(told["cached"])
        story.steps = {key: StepNews(str(stage), str(label)) for key, (stage, label) in told["steps"].items()}
        return
    step = story.steps.setdefault(
        told["key"], StepNews(str(told.get("stage", "")), str(told.get("label", "")))
    )
    step.state, step.attempt = _STATE_AFTER[told["status"]], int(told["attempt"])
    step.since, step.note = story.told, str(told.get("note", ""))
    step.host = str(told.get("host", "")) if step.state != "queued" else ""
    if "why" in told:
        step.why, step.kind = str(told["why"]), str(told["kind"])


# -------------------------------------------------------------------------------------- what is submitted


@dataclass(frozen=True)
class Submitted:
    """A run that was handed to a cluster.

    Attributes:
        job: The job that controls it.
        name: Of the run.
        folder: That it will have, absolute.
        log: Where the job's output goes.
        command: What it runs.
        typed_in: The folder where that was typed.
        steps: How many steps were to run.
        at: When, in seconds since 1970.
    """

    job: str
    name: str
    folder: str
    log: str
    command: str
    typed_in: str
    steps: int
    at: float


def note_submitted(root: Path, one: Submitted) -> None:
    """Remember a run that was handed to a cluster."""
    folder = make_folder(root / "submitted")
    write_atomically(folder / f"{one.job}.json", json.dumps(asdict(one)).encode())


def all_submitted(root: Path) -> Iterator[Submitted]:
    """Yield the runs that were handed to a cluster, the newest first."""
    found = []
    for path in (root / "submitted").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Submitted(**json.loads(path.read_text(encoding="utf-8"))))
    yield from sorted(found, key=lambda one: one.at, reverse=True)
