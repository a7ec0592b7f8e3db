"""Further devices of a worker: processes that do a share of a step, each on a device of its own.

Of a sampled set they make shards side by side. An image depends on its own row of the request alone, and a
generator is asked for one shard at a time. So it does not matter who makes a shard: a helper is a process on
another device that makes every n-th one and leaves it in the step's scratch folder, where the step finds it
as it finds what an earlier attempt left. A shard that no helper made, whatever became of it, is made by the
step itself. How helpers take part in a fit is told in `fit_helpers`.
"""

import contextlib
import json
import logging
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from genbench.caches import read_json
from genbench.disk import write_atomically
from genbench.executors import Setup
from genbench.executors.at_work import environment, worker_environment
from genbench.plan import Step
from genbench.registry import PluginSource, Registry
from genbench.rooms.tree import end_descendants, end_with_parent
from genbench.steps.context import StepContext
from genbench.steps.limits import limit_memory
from genbench.steps.provenance import choose_arithmetic
from genbench.steps.workshop import Job, Workshop
from genbench.store import Store

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Share:
    """What a helper is told. Picklable.

    Attributes:
        root: The store's folder, which has the step's inputs.
        source: Plugins.
        step: The sample step.
        work: Its scratch folder.
        device: `"cpu"` or `"cuda"`.
        part: Which share is the helper's; the step's own is 0.
        parts: How many shares there are.
        threads: Of torch.
        max_memory_gib: Memory limit, or None.
        parent: Process that it ends with.
        notes: A folder of this attempt alone, where helpers say how they fare. Not `work`: what a killed
            attempt left there would be believed, and a step may empty it while it goes on.
    """

    root: str
    source: PluginSource
    step: Step
    work: Path
    device: str
    part: int
    parts: int
    threads: int
    max_memory_gib: float | None
    parent: int
    notes: Path

    @property
    def note(self) -> Path:
        """Where a helper says how long it took, or how it fares."""
        return self.notes / f"helper-{self.part}.json"


@dataclass
class Helpers:
    """Processes that help with one step; `notes` is as in `Share`."""

    notes: Path
    shares: list[Share]
    processes: list[BaseProcess]
    job: Job[Any]

    @property
    def parts(self) -> int:
        """How many shares the work has, the step's own included."""
        return len(self.shares) + 1

    def join(self) -> None:
        """Wait until all are done; what they took counts as the step's cost, which is time on devices.

        Raises:
            Interrupted: The run was asked to stop.
        """
        while any(process.is_alive() for process in self.processes):
            self.job.ctx.stop_if_asked()
            time.sleep(_POLL_SECONDS)
        for share, process in zip(self.shares, self.processes, strict=True):
            took = read_json(share.note)
            if process.exitcode == 0 and isinstance(took, float):
                self.job.ctx.clock.before += took
            else:
                self.job.ctx.log.warning("a helper ended with %s: its shards are made here", process.exitcode)


@contextlib.contextmanager
def helpers_for(job: Job[Any], shards: int) -> Iterator[Helpers]:
    """Start a helper on each further device of this worker, as far as there are shards for it."""
    with started_helpers(job, shards - 1, _help) as helpers:
        if helpers.processes:
            job.ctx.log.info("sampled on %d devices", helpers.parts)
        yield helpers


@contextlib.contextmanager
def started_helpers(job: Job[Any], most: int, target: Callable[[Share], None]) -> Iterator[Helpers]:
    """Start a helper on each further device of this worker, and end those that are left in the end.

    None helps with a step of third-party code, which runs in a room on one device.

    Args:
        job: The step.
        most: How many helpers it has use for.
        target: What each of them calls.
    """
    with tempfile.TemporaryDirectory(prefix="gb-helpers-") as notes:
        helpers = _start(job, most, target, Path(notes))
        try:
            yield helpers
        finally:
            for process in helpers.processes:
                if process.is_alive() and process.pid is not None:
                    end_descendants(process.pid)
                    process.kill()
                process.join()


def _start(job: Job[Any], most: int, target: Callable[[Share], None], notes: Path) -> Helpers:
    environments = job.workshop.helpers if job.step.guest is None else ()
    count = max(0, min(len(environments), most))
    rooms, threads = job.workshop.rooms, max(1, torch.get_num_threads() // (count + 1))
    shares = [
        Share(
            root=str(job.workshop.store.root),
            source=job.workshop.registry.source,
            step=job.step,
            work=job.ctx.work,
            device=job.ctx.device,
            part=part,
            parts=count + 1,
            threads=threads,
            max_memory_gib=rooms.max_memory_gib if rooms is not None else None,
            parent=os.getpid(),
            notes=notes,
        )
        for part in range(1, count + 1)
    ]
    processes = [_started(share, environments[share.part - 1], target) for share in shares]
    return Helpers(notes, shares, processes, job)


def _started(share: Share, variables: Mapping[str, str], target: Callable[[Share], None]) -> BaseProcess:
    setup = Setup("", {}, threads=share.threads, environments=(variables,))
    process = multiprocessing.get_context("spawn").Process(target=target, args=(share,))
    with environment(worker_environment(setup)):
        process.start()
    return process


@contextlib.contextmanager
def in_helper(share: Share) -> Iterator[Job[Any]]:
    """Open in a helper what the step needs; its context is heard by nobody, and keeps no time."""
    end_with_parent(share.parent)
    torch.set_num_threads(share.threads)
    if share.max_memory_gib is not None:
        limit_memory(share.max_memory_gib, share.device)
    choose_arithmetic()
    workshop = Workshop(Store(Path(share.root)), Registry(share.source), share.device)
    with tempfile.TemporaryDirectory(prefix="gb-helper-") as files:
        ctx = StepContext(
            step_seed=share.step.seed,
            device=share.device,
            work=share.work,
            files=Path(files),
            log=logging.Logger("genbench.helper"),
            report=lambda done, total, metrics: None,
            checkpoint_seconds=math.inf,
        )
        ctx.clock = replace(ctx.clock, share=0.0)  # the step keeps its own time
        yield Job(share.step, share.step.work, workshop.open_inputs(share.step), workshop, ctx)


def _help(share: Share) -> None:
    """Make a share of the shards; called in a helper."""
    began = time.perf_counter()
    sample = import_module("genbench.steps.sample")  # which imports us
    with in_helper(share) as job:
        sample.make_share(job, share.part, share.parts)
    write_atomically(share.note, json.dumps(time.perf_counter() - began).encode())
