"""What observers of plugins are told of a run, and records as trackers of experiments take them.

The hooks `genbench_run_started`, `genbench_step_finished` and `genbench_run_finished` hand these over;
`docs/examples/telemetry` has examples for MLflow, Weights & Biases and OpenTelemetry. Nothing here enters a
result.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from genbench.digest import digest
from genbench.notation import flattened
from genbench.records import Component, Record

__all__ = ["RunEnd", "RunFacts", "StepFacts", "ending", "numbers", "parameters", "subject", "title"]

Ending = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True)
class RunFacts:
    """A walk through a plan: one `genbench run`, a column of `genbench replay`, a trial of `genbench tune`.

    Attributes:
        id: 32 hexadecimal digits, new with every run: the same command that resumes has another one.
        suite: Name of the suite.
        command: What repeats the run.
        started: When it began; UTC.
        host: Name of the machine that the main process runs on.
        process: Number of the main process.
        version: Of genbench.
        store: Where results are.
        executor: Where steps run.
        device: `cpu` or `cuda`.
        jobs: Workers; 0 is the main process.
        cells: How many cells the plan has.
        steps: How many steps the plan has.
        missing: How many of these the store lacked when the run began.
    """

    id: str
    suite: str
    command: str
    started: datetime
    host: str
    process: int
    version: str
    store: str
    executor: str
    device: str
    jobs: int
    cells: int
    steps: int
    missing: int


@dataclass(frozen=True)
class StepFacts:
    """A step that ran.

    Attributes:
        key: Its identity, 64 hexadecimal digits.
        stage: Which kind of step: `fit`, `train`, `evaluate`, ...
        label: For people: `train resnet32 on digits + ddpm, seed 0`.
        status: `done`, `failed` or `interrupted`.
        reason: Why it failed, in one line; empty otherwise.
        started: When it began; UTC.
        ended: When the main process heard that it was over; UTC.
        seconds: How long it took, as the worker measured it.
        seed: Its own seed.
        inputs: Keys of the steps it needed, by role.
        host: Name of the machine that it ran on.
        attempt: Which attempt came to this end: 2 where the first lost its worker.
        device: What it ran on: `cpu`, or the name of a GPU; empty unless it is done.
        peak_memory_bytes: The most memory it held, on a GPU the GPU's; 0 unless it is done.
        log: Path of its log.
        record: What was measured, if this step evaluated something; else None. A copy.
    """

    key: str
    stage: str
    label: str
    status: str
    reason: str
    started: datetime
    ended: datetime
    seconds: float
    seed: int
    inputs: Mapping[str, str]
    host: str
    attempt: int = 1
    device: str = ""
    peak_memory_bytes: int = 0
    log: str = ""
    record: Record | None = None


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes:
        status: `done`; `failed`, where a step failed or an error ended the run; `interrupted`.
        reason: Why it failed, in one line; empty otherwise.
        records: One per planned evaluation, those that were cached or failed included. Empty where the run
            was interrupted or an error ended it.
    """

    status: Ending
    reason: str = ""
    records: tuple[Record, ...] = ()


def ending(records: tuple[Record, ...]) -> RunEnd:
    """Return the end of a run that came to its end: `failed` if an evaluation did."""
    failed = [record.result.reason for record in records if record.result.status != "ok"]
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return RunEnd("failed", failed[0] + more, records) if failed else RunEnd("done", "", records)


# ---------------------------------------------------------------------------------- records, for trackers


def subject(record: Record) -> str:
    """Return a digest that the records of one cell share, whatever evaluated it; 64 hexadecimal digits.

    The records of an image set share one, too, and so do those of a suite.
    """
    result = record.result
    if result.subject == "suite":
        return digest(["suite"])
    parts = [one.identity if one else None for _, one in _components(record)]
    mix = result.mix.model_dump(mode="json") if result.mix else None
    return digest([result.subject, parts, result.ratio, mix, result.index])


def title(record: Record) -> str:
    """Name what a record is about in a few words: `ddpm x1, resnet32 on digits:few, seed 0`."""
    result = record.result
    if result.subject == "suite":
        return f"suite: {result.evaluator.name}"
    filtered = f" + {result.filter.name}" if result.filter.use != "none" else ""
    images = "real images alone"
    if result.generator.use != "none":
        images = f"{result.generator.name}{filtered}" + (f" x{result.ratio:g}" if result.ratio else "")
    trained = f", {result.classifier.name}" if result.classifier else " (images)"
    return f"{images}{trained} on {result.dataset.name}, seed {result.index}"


def parameters(record: Record) -> dict[str, str | int | float | bool]:
    """Return everything that configures a cell or image set, flat: `generator` `generator.timesteps` `seed`.

    Values that are neither a text nor a number are JSON. The evaluator is left out: the records of a subject
    (`subject`) share these.
    """
    result, found = record.result, dict[str, Any]()
    found["subject"] = result.subject
    for kind, component in _components(record):
        if component is not None:
            found |= {kind: component.name, f"{kind}.version": component.version}
            found |= {f"{kind}.{option}": value for option, value in flattened(component.config)}
    if result.mix is not None:
        found |= {f"mix.{option}": value for option, value in flattened(result.mix.model_dump(mode="json"))}
    found |= {"ratio": result.ratio, "seed": result.index, "base_seed": result.protocol.base_seed}
    found |= {"preset": result.protocol.preset, "protocol": result.protocol.version}
    return {
        name: one if isinstance(one, str | int | float) else json.dumps(one) for name, one in found.items()
    }


def numbers(record: Record) -> dict[str, float]:
    """Return every metric by its label (`top1`, `val_top1`, `fid[reference,train]`), and what it cost.

    `seconds.train` is the wall time of the cell's steps of that stage, `seconds` that of all;
    `peak_memory_bytes` the most that one of them held. Metrics without a value are left out.
    """
    found = {one.label: float(one.value) for one in record.result.metrics if one.value is not None}
    known = [cost for cost in record.run.costs if cost.seconds is not None]
    for cost in known:
        name = f"seconds.{cost.stage}"
        found[name] = found.get(name, 0.0) + float(cost.seconds or 0.0)
    if known:
        found["seconds"] = sum(float(cost.seconds or 0.0) for cost in known)
        found["peak_memory_bytes"] = float(max(cost.peak_memory_bytes for cost in known))
    return found


def _components(record: Record) -> Iterator[tuple[str, Component | None]]:
    result = record.result
    yield "dataset", result.dataset
    yield "generator", result.generator
    yield "filter", result.filter
    yield "classifier", result.classifier
