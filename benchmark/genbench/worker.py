"""What a worker does with a step, in a process of its own or in this one."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from genbench.executors import Task, cores
from genbench.executors.base import Report
from genbench.parcels import Parcel
from genbench.plan import Step
from genbench.registry import Registry
from genbench.rooms import Confine, prepare
from genbench.store import Store

MOST_TOGETHER = 8  #: trainings side by side


@dataclass(frozen=True)
class RunOptions:
    """How a plan is run; nothing here changes a result's identity.

    Attributes:
        jobs: Worker processes; 0 is this process.
        device: `"cpu"` or `"cuda"`.
        gpus: How many GPUs the workers share out among them; 0 on a CPU.
        step_timeout_seconds: How long one step may take, or None.
        checkpoint_seconds: Time between the checkpoints of a long step.
        executor: The executor, with its options: `processes`, `ray:address=auto`.
        retries: How often a step is begun again whose worker was lost.
        command: What the user typed, for records.
        profile: Whether trainings are traced.
        max_memory_gib: Memory limit of a worker, or None.
        vectorize: Whether trainings of a bundle run side by side: `off`, `on`, or `auto`, if that is faster.
        keep_records: Whether records are saved in the store, where boards are rendered from.
        confine: Whether steps of third parties give up their rights (`genbench.rooms`): `auto`, where this
            machine can; `require`: everywhere, or nothing runs; `off`; `all`: steps of built-in ones, too.
    """

    jobs: int
    device: str = "cpu"
    gpus: int = 0
    step_timeout_seconds: float | None = None
    checkpoint_seconds: float = 30.0
    executor: str = "processes"
    retries: int = 0
    command: str = "genbench run"
    profile: bool = False
    max_memory_gib: float | None = None
    vectorize: Literal["auto", "on", "off"] = "auto"
    keep_records: bool = True
    confine: Confine = "auto"

    @property
    def most_together(self) -> int:
        """How many trainings that differ in their seed are handed to a worker as one bundle."""
        wanted = self.vectorize == "on" or (self.vectorize == "auto" and self.device.startswith("cuda"))
        return MOST_TOGETHER if wanted and not self.profile else 1


def make_worker(
    *,
    root: str,
    plugins: Parcel,
    options: RunOptions,
    must_stop: Callable[[], bool],
    shares_process: bool = False,
    expects_guests: bool = False,
) -> "_Performer":
    """Build what a worker process does with a step; called there.

    Args:
        root: The store's folder.
        plugins: Those to load.
        options: Of the run.
        must_stop: Says whether it was asked to stop.
        shares_process: Whether code of third parties runs in this process, for debuggers; else it runs in
            rooms, and is never imported here.
        expects_guests: Whether a step of the plan will need a room.
    """
    from genbench.steps import Rooms, Workshop
    from genbench.steps.limits import limit_memory
    from genbench.steps.provenance import choose_arithmetic
    from genbench.steps.remarks import keep_remarks

    helpers = () if shares_process else _further_devices(options.device)
    source, moved = plugins.opened()
    if not shares_process:
        keep_remarks()
    rooms = None if shares_process else Rooms(source, options.confine, options.max_memory_gib)
    if rooms is not None and expects_guests:  # first: a server has no context on a GPU, and no limits
        import genbench.steps.preloaded  # noqa: F401 - rooms are forked from what is loaded now

        prepare()
    if options.max_memory_gib is not None:
        limit_memory(options.max_memory_gib, options.device)
    choose_arithmetic()
    workshop = Workshop(
        Store(Path(root)),
        Registry(source if shares_process else source.limited_to(())),
        options.device,
        must_stop,
        options.checkpoint_seconds,
        options.profile,
        options.vectorize,
        rooms,
        helpers,
    )
    return _Performer(workshop, moved)


def worker_threads(device: str, jobs: int) -> int:
    """Return the threads of a worker: one on a CPU, where workers fill the cores; else its share of them.

    What stays on the CPU of a GPU machine (decoding, eigenvalues, neighbours) would leave the GPU idle.
    """
    return max(1, cores() // jobs) if device.startswith("cuda") else 1


def worker_environments(gpus: int, jobs: int | None = None) -> tuple[Mapping[str, str], ...]:
    """Return the variables of each worker in turn: its GPU, of those that this process may use.

    Where there are fewer workers than GPUs, they share them out: a worker computes on its first one, and
    steps that can be split are split over all of them.
    """
    if gpus < 2:
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in named.split(",")][:gpus] if named else [str(n) for n in range(gpus)]
    workers = min(gpus, jobs or gpus)
    return tuple({"CUDA_VISIBLE_DEVICES": ",".join(names[place::workers])} for place in range(workers))


def _further_devices(device: str) -> tuple[Mapping[str, str], ...]:
    """Keep the first of this worker's GPUs for itself; return the variables of helpers on the others.

    Called before anything opens a context on a GPU, which would fix what is seen of them.
    """
    first, *others = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if not device.startswith("cuda") or not others:
        return ()
    os.environ["CUDA_VISIBLE_DEVICES"] = first
    return tuple({"CUDA_VISIBLE_DEVICES": name} for name in others)


class _Performer:
    """Executes steps in a worker."""

    def __init__(self, workshop: Any, moved: Mapping[str, str]) -> None:
        self._workshop, self._moved = workshop, moved

    def __call__(self, task: Task, report: Report) -> None:
        """Execute a step."""
        from genbench.steps import execute

        execute(self._here(task), self._workshop, report)

    def announce(self, tasks: Sequence[Task]) -> None:
        """Note which trainings come next, and may run side by side."""
        self._workshop.announce([self._here(task) for task in tasks])

    def _here(self, task: Task) -> Step:
        """Return a step as it is done here: which attempt it is, and where the code of its plugins lies."""
        step: Step = replace(task.payload, attempt=task.attempt)
        if step.guest is None or not self._moved:
            return step
        places = tuple(self._moved.get(place, place) for place in step.guest.places)
        return replace(step, guest=replace(step.guest, places=places))
