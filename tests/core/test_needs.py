"""What steps take: measured when the like was done before, else declared."""

from dataclasses import replace
from typing import Any

import pytest

from genbench import needs
from genbench.executors import Needs
from genbench.hookspecs import Resources
from genbench.needs import MARGIN, needs_of
from genbench.plan import Plan
from genbench.registry import Registry
from genbench.runner import run
from genbench.store import Store
from genbench.worker import RunOptions
from toy_suites import toy_plan


def of_stage(plan: Plan, stage: str, found: Any) -> list[Needs]:
    return [one for key, one in found.items() if plan.steps[key].stage == stage]


def test_what_was_measured_is_needed_with_a_margin_and_what_was_not_as_declared(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy_plan(registry, store, seeds=1)
    unknown = needs_of(first, list(first.steps), store, registry, "cpu", threads=3)
    assert set(unknown.values()) == {Needs(cpus=3)}
    run(first, store, registry, RunOptions(jobs=0))
    peaks = {
        key: (store.manifest(key) or {})["run"]["peak_memory_bytes"]
        for key, step in first.steps.items()
        if step.stage == "train"
    }

    second = toy_plan(registry, store, seeds=2)
    added = [key for key in second.steps if not store.has(key)]
    found = needs_of(second, added, store, registry, "cpu")
    trained = of_stage(second, "train", found)
    assert trained
    for one in trained:
        assert one.seconds is not None
        assert one.memory_bytes in {int(MARGIN * peak) for peak in peaks.values()}
        assert (one.gpus, one.gpu_memory_bytes) == (0, None)

    # On a GPU nothing was measured: what the network declares counts, and datasets need none.
    monkeypatch.setattr(needs, "device_name", lambda device: "a GPU")
    spec = registry.spec("classifier", "toy-net")
    hungry = replace(spec, resources=Resources(gpu_memory_gib=4, memory_gib=2))
    monkeypatch.setitem(registry._specs["classifier"], "toy-net", hungry)
    on_gpu = needs_of(first, list(first.steps), store, registry, "cuda")
    (dataset,) = of_stage(first, "dataset", on_gpu)
    assert dataset.gpus == 0
    assert {
        (one.gpus, one.gpu_memory_bytes, one.memory_bytes) for one in of_stage(first, "train", on_gpu)
    } == {(1, 4 * 2**30, 2 * 2**30)}
