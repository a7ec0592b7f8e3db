"""Further devices of a worker, which compute parts of every gradient of a fit.

A generator whose batches can be split says into how many parts (`batch_parts`). Then a helper on each further
device calls the same `fit`, with the same seeds, and the processes meet at every step (`torch.distributed`):
all have the same weights after it. That of the step alone saves, reports and is asked to stop; what helpers
know is lost with them, and nothing is lost by that. How parts are added up is the generator's: not so that
the sum depends on how many devices there are.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from genbench.caches import read_json
from genbench.disk import write_atomically
from genbench.errors import GenbenchError
from genbench.escaping import exception_text
from genbench.steps.helpers import Helpers, Share, in_helper, started_helpers
from genbench.steps.workshop import Job

_START_SECONDS = 300.0  # that a helper may take to load its libraries
_STEP_SECONDS = 900.0  # that a process waits for the others in a step, the first of which may compile
_FAREWELL_SECONDS = 2.0  # that a process may take to end
_POLL_SECONDS = 0.1
_LOOPBACK = "lo"  # the processes are on one machine, whatever the name of that resolves to


@runtime_checkable
class SplitFit(Protocol):
    """A generator that can compute a fit on several devices."""

    @property
    def batch_parts(self) -> int:
        """On how many at most."""
        ...


@contextlib.contextmanager
def joined_by_helpers(job: Job[Any], generator: object) -> Iterator[None]:
    """Let further devices of this worker take part in a fit; the time of all counts as its cost.

    Raises:
        GenbenchError: A helper ended; checkpoints are kept.
    """
    parts = generator.batch_parts if isinstance(generator, SplitFit) else 1
    with started_helpers(job, parts - 1, _help_to_fit) as helpers:
        if not helpers.processes:
            yield
            return
        job.ctx.log.info("fitted on %d devices", helpers.parts)
        _await(helpers)
        try:
            with _met(helpers.notes, 0, helpers.parts, job.ctx.device):
                job.ctx.clock.share *= helpers.parts
                yield
        except RuntimeError as problem:  # it may be that of torch.distributed, if somebody hung up
            ended = _ended(helpers)
            if ended is not None:
                raise ended from problem
            raise


@contextlib.contextmanager
def _met(folder: Path, rank: int, count: int, device: str) -> Iterator[None]:
    """Join the processes of a fit, which find each other by a file in a folder that all of them see."""
    import torch.distributed as dist

    if (Path("/sys/class/net") / _LOOPBACK).exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    # Groups are numbered, and find each other by their numbers. A meeting that failed was counted in this
    # process alone, so that the next one would wait for nobody. Ending a group of one counts from 0 again.
    dist.init_process_group("gloo", _file(folder, f"alone-{rank}"), rank=0, world_size=1)
    dist.destroy_process_group()
    dist.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        _file(folder, "meeting"),
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=_STEP_SECONDS),
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def _file(folder: Path, name: str) -> str:
    """Name a file as torch takes it."""
    return (folder / name).absolute().as_uri()


def _await(helpers: Helpers) -> None:
    """Wait until all helpers are about to meet: from then on, nobody waits long for one that fails."""
    until = time.monotonic() + _START_SECONDS
    while not all(read_json(share.note) == "ready" for share in helpers.shares):
        helpers.job.ctx.stop_if_asked()
        if not all(process.is_alive() for process in helpers.processes):
            raise _ended(helpers) or GenbenchError("a process of the fit ended before it began")
        if time.monotonic() > until:
            raise GenbenchError(f"the fit's other processes were not ready after {_START_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)


def _ended(helpers: Helpers) -> GenbenchError | None:
    """Say which helper ended, and why, if one did: one that hangs up is about to."""
    until = time.monotonic() + _FAREWELL_SECONDS
    while time.monotonic() < until and all(process.is_alive() for process in helpers.processes):
        time.sleep(_POLL_SECONDS)
    for share, process in zip(helpers.shares, helpers.processes, strict=True):
        if not process.is_alive():
            word = read_json(share.note)
            why = word.get("error") if isinstance(word, dict) else f"exit code {process.exitcode}"
            return GenbenchError(
                f"the fit's process on device {share.part + 1} of {share.parts} ended: {why}",
                hint="the same command resumes; with as many --jobs as there are GPUs, a fit has one of them",
            )
    return None


def _help_to_fit(share: Share) -> None:
    """Take part in a fit; called in a helper."""
    fit = import_module("genbench.steps.fit")  # which imports us
    try:
        with in_helper(share) as job:
            generator, splits = fit.prepared(job)
            write_atomically(share.note, json.dumps("ready").encode())
            with _met(share.notes, share.part, share.parts, share.device):
                generator.fit(splits.train, job.ctx)
    except Exception as problem:
        write_atomically(share.note, json.dumps({"error": exception_text(problem)}).encode())
        raise
