"""The work list of a lease, in its order; `rehearsal` scales every task down to seconds on a CPU."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from _machine import TREE

DATA = "hub/uoft-cs/cifar10"  #: what has to be carried in before records can be made
SEEDS = 5
SUITES = ("cifar10-gpu", "cifar10-gpu-cutmix")
_CHECKS = "perf/gpu/checks"


class Task(NamedTuple):
    """One process group with a time limit.

    Attributes:
        name: In tables, file names and `--retry`.
        commands: Run one after the other; the first that fails ends the task. Relative to the tree.
        expected_seconds: It is begun only where that much is left of the slot.
        limit_seconds: Then it is killed, and has failed.
        resumes: It continues where it was killed, so it may begin at any time and has no limit.
        needs: Places that must have arrived.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    expected_seconds: float
    limit_seconds: float
    resumes: bool = False
    needs: tuple[str, ...] = ()


def work_list(work: Path, *, rehearsal: bool) -> list[Task]:
    """Return all tasks in order.

    Args:
        work: Folder for what the tasks leave.
        rehearsal: The same tasks, small enough for a CPU.
    """
    tasks = [*_checks(work, rehearsal), *_timings(work, rehearsal), *_records(work, rehearsal)]
    return [task._replace(expected_seconds=20, limit_seconds=180) for task in tasks] if rehearsal else tasks


def _checks(work: Path, rehearsal: bool) -> Iterator[Task]:
    small = ("--rehearsal",) if rehearsal else ()
    yield _script("devices-eager", f"{_CHECKS}/classifiers.py", *small, limit=90)
    yield _script("devices-compiled", f"{_CHECKS}/classifiers.py", "--compiled", *small, limit=240)
    how = () if rehearsal else ("--compiled",)
    yield _script("devices-graph", f"{_CHECKS}/classifiers.py", "--whole-step", *how, *small, limit=240)
    yield _script("devices-policies", f"{_CHECKS}/policies.py", *small, limit=60)
    yield _script("devices-resume", f"{_CHECKS}/resume.py", *small, limit=60)
    yield _script("devices-stacked", f"{_CHECKS}/stacked.py", *small, limit=60)
    yield _script("devices-ddpm", f"{_CHECKS}/ddpm.py", *small, limit=120)
    for jobs in ("0", "2"):
        folder = work / f"digits-jobs-{jobs}"
        command = _genbench(
            "run", "-d", "digits", "-g", "ddpm", "-c", "mlp", "-c", "cnn", "--preset", "smoke",
            "--seeds", "1" if rehearsal else "2", "--jobs", jobs, "--quiet",
            "--store", str(folder / "store"), "--out", str(folder / "out"),
        )  # fmt: skip
        yield Task(f"devices-digits-jobs-{jobs}", (command,), 60, 120)


def _timings(work: Path, rehearsal: bool) -> Iterator[Task]:
    classifier, steps = ("mlp", ("--steps", "2")) if rehearsal else ("resnet32", ())
    for batch in ("128",) if rehearsal else ("128", "512"):
        ways = ("eager", "compiled", *(() if rehearsal else ("graph",)))  # CUDA graphs need a GPU
        for way in ways:
            trace = ("--trace", str(work / "traces" / f"{classifier}-{batch}-{way}.json.gz"))
            which = ("--only", classifier, "--batch", batch)
            yield _script(
                f"floors-{batch}-{way}", "perf/floors.py", *which, f"--{way}", *trace, *steps, limit=150
            )
    yield _script(
        "ddpm-paper", f"{_CHECKS}/ddpm_paper.py", *(("--rehearsal",) if rehearsal else ()), limit=420
    )
    quick = ("--steps", "2", "--rounds", "1", "--seeds", "2") if rehearsal else ()
    yield _script("seeds", "perf/seeds.py", *quick, limit=300)


def _records(work: Path, rehearsal: bool) -> Iterator[Task]:
    """Seed by seed, so that a lost machine costs one seed's generator at most."""
    seeds = 2 if rehearsal else SEEDS
    small = ("--preset", "smoke", "--limit-train", "200", "--jobs", "2", "-c", "mlp") if rehearsal else ()
    generators = ("-g", "ddpm", "-g", "diffusemix") if rehearsal else ()
    for count in range(1, seeds + 1):
        commands = tuple(
            _genbench(
                "run", f"perf/gpu/suites/{suite}.toml", "--seeds", str(count), *small,
                *(generators if suite == SUITES[0] else ()),
                "--store", str(work / "store"), "--out", str(work / "boards" / f"records-{count}"), "--quiet",
            )
            for suite in SUITES
        )  # fmt: skip
        yield Task(f"records-{count}", commands, 30, 3600, resumes=True, needs=(DATA,))


def _script(name: str, file: str, *arguments: str, limit: float) -> Task:
    assert (TREE / file).is_file(), file
    return Task(name, ((sys.executable, file, *arguments),), limit / 2, limit)


def _genbench(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "genbench.cli", *arguments)
