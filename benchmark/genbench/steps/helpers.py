"""Further devices of a worker, which make shards of a sampled set side by side.

An image depends on its own row of the request alone, and a generator is asked for one shard at a time. So
it does not matter who makes a shard: a helper is a process on another device that makes every n-th one and
leaves it in the step's scratch folder, where the step finds it as it finds what an earlier attempt left. A
shard that no helper made, whatever became of it, is made by the step itself.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from genbench.caches import read_json
from genbench.disk import write_atomically
from genbench.executors import Setup
from genbench.executors.at_work import worker_environment
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
class _Share:
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

    @property
    def note(self) -> Path:
        """Where a helper says how long it took."""
        return self.work / f"helper-{self.part}.json"


@dataclass
class Helpers:
    """Processes that help with one step."""

    shares: list[_Share]
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
            share.note.unlink(missing_ok=True)
            if process.exitcode == 0 and isinstance(took, float):
                self.job.ctx.clock.before += took
            else:
                self.job.ctx.log.warning("a helper ended with %s: its shards are made here", process.exitcode)


@contextlib.contextmanager
def helpers_for(job: Job[Any], shards: int) -> Iterator[Helpers]:
    """Start a helper on each further device of this worker, as far as there are shards for it.

    None helps with a step of third-party code, which runs in a room on one device.
    """
    environments = job.workshop.helpers if job.step.guest is None else ()
    count = max(0, min(len(environments), shards - 1))
    rooms, threads = job.workshop.rooms, max(1, torch.get_num_threads() // (count + 1))
    shares = [
        _Share(
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
        )
        for part in range(1, count + 1)
    ]
    processes = [_started(share, environments[share.part - 1]) for share in shares]
    if processes:
        job.ctx.log.info("sampled on %d devices", count + 1)
    try:
        yield Helpers(shares, processes, job)
    finally:
        for process in processes:
            if process.is_alive() and process.pid is not None:
                end_descendants(process.pid)
                process.kill()
            process.join()


def _started(share: _Share, environment: Mapping[str, str]) -> BaseProcess:
    setup = Setup("", {}, threads=share.threads, environments=(environment,))
    values = worker_environment(setup)
    before = {name: os.environ.get(name) for name in values}
    process = multiprocessing.get_context("spawn").Process(target=_help, args=(share,))
    try:
        _set_variables(values)
        process.start()
    finally:
        _set_variables(before)
    return process


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _help(share: _Share) -> None:
    """Make a share of the shards; called in a helper."""
    began = time.perf_counter()
    end_with_parent(share.parent)
    torch.set_num_threads(share.threads)
    if share.max_memory_gib is not None:
        limit_memory(share.max_memory_gib, share.device)
    choose_arithmetic()
    workshop = Workshop(Store(Path(share.root)), Registry(share.source), share.device)
    sample = import_module("genbench.steps.sample")  # which imports us
    with tempfile.TemporaryDirectory(prefix="gb-helper-") as files:
        ctx = StepContext(
            step_seed=share.step.seed,
            device=share.device,
            work=share.work,
            files=Path(files),
            log=logging.Logger("genbench.helper"),
            report=lambda done, total, metrics: None,
        )
        ctx.clock = replace(ctx.clock, share=0.0)  # the step keeps its own time
        given = workshop.open_inputs(share.step)
        sample.make_share(Job(share.step, share.step.work, given, workshop, ctx), share.part, share.parts)
    write_atomically(share.note, json.dumps(time.perf_counter() - began).encode())
