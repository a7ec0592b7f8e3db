"""Steps that are split over devices: their results are those of one, byte by byte."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from genbench.errors import GenbenchError, Interrupted
from genbench.plan import Plan, Step
from genbench.planner import make_plan
from genbench.registry import PluginSource, Registry
from genbench.spec import resolve_suite
from genbench.steps import Workshop, execute, fit_helpers, helpers
from genbench.steps.context import StepContext
from genbench.store import Store
from genbench.suite import make_suite
from genbench_generators._batch_parts import BatchParts

pytestmark = pytest.mark.slow(reason="helpers are processes that load torch")


@pytest.fixture(scope="module")
def built_in() -> Registry:
    return Registry(PluginSource(third_party=False))


@pytest.fixture
def planned(built_in: Registry) -> Callable[[Store], tuple[Plan, Step]]:
    """A plan of 1,293 images, in three shards, and its sample step, with what that needs."""

    def make(store: Store) -> tuple[Plan, Step]:
        entries = {"generators": ["classical"], "classifiers": ["mlp"], "evaluators": ["accuracy"]}
        suite = make_suite({"datasets": ["digits"], "preset": "quick", "seeds": 1, **entries}, "test")
        plan = make_plan(resolve_suite(built_in, suite, store.fingerprint))
        step = next(one for one in plan.steps.values() if one.stage == "sample")
        for needed in step.inputs.values():
            execute(plan.steps[needed], Workshop(store, built_in), _silent)
        return plan, step

    return make


def _silent(done: int, total: int, metrics: Mapping[str, float]) -> None:
    """Nobody listens."""


def files(store: Store, step: Step) -> dict[str, str]:
    artifact = store.open(step.key)
    assert artifact is not None
    return {name: entry["sha256"] for name, entry in artifact.files.items()}


def test_images_of_two_devices_are_those_of_one(
    planned: Callable[[Store], tuple[Plan, Step]],
    built_in: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, split, broken = (Store(tmp_path / name) for name in ("whole", "split", "broken"))
    for store in (whole, split, broken):
        _, step = planned(store)
    execute(step, Workshop(whole, built_in), _silent)

    made: list[list[str]] = []
    started, joined = helpers._started, helpers.Helpers.join

    def look(self: helpers.Helpers) -> None:
        joined(self)
        made.append(sorted(path.name for path in self.job.ctx.work.glob("shard-*.npy")))

    monkeypatch.setattr(helpers.Helpers, "join", look)
    execute(step, Workshop(split, built_in, helpers=({},)), _silent)
    assert made == [[f"shard-{start:07d}.npy" for start in (0, 512, 1024)]]  # the second by the helper
    assert "sampled on 2 devices" in split.log_path(step.key).read_text()
    assert files(split, step) == files(whole, step)

    def dying(share: Any, environment: Mapping[str, str], target: Any) -> Any:
        process = started(share, environment, target)
        process.kill()
        return process

    monkeypatch.setattr(helpers, "_started", dying)
    execute(step, Workshop(broken, built_in, helpers=({},)), _silent)
    assert made[1] == [f"shard-{start:07d}.npy" for start in (0, 1024)]
    assert "a helper ended with -9: its shards are made here" in broken.log_path(step.key).read_text()
    assert files(broken, step) == files(whole, step)


# ---------------------------------------------------------------------------------------------- fits


def fit_of(store: Store, built_in: Registry, generator: str) -> Step:
    """Return the step of a fit, with its images in the store."""
    entries = {"generators": [generator], "classifiers": ["mlp"], "evaluators": ["accuracy"]}
    suite = make_suite({"datasets": ["digits"], "preset": "smoke", "seeds": 1, **entries}, "test")
    plan = make_plan(resolve_suite(built_in, suite, store.fingerprint))
    step = next(one for one in plan.steps.values() if one.stage == "fit")
    for needed in step.inputs.values():
        execute(plan.steps[needed], Workshop(store, built_in), _silent)
    return step


SPLIT = "ddpm:batch_parts=3,fit_steps=12,dropout=0.1"


def test_a_fit_on_several_devices_is_that_on_one(built_in: Registry, tmp_path: Path) -> None:
    found = []
    for count in (1, 2, 3):
        store = Store(tmp_path / str(count))
        step = fit_of(store, built_in, SPLIT)
        execute(step, Workshop(store, built_in, helpers=({},) * (count - 1)), _silent)
        log = store.log_path(step.key).read_text()
        assert (f"fitted on {count} devices" in log) == (count > 1)
        found.append(files(store, step))
    assert found[0] == found[1] == found[2]
    whole = fit_of(store, built_in, "ddpm:fit_steps=12,dropout=0.1")
    execute(whole, Workshop(store, built_in, helpers=({},)), _silent)
    assert "devices" not in store.log_path(whole.key).read_text()
    assert files(store, whole) != found[0]  # rounding, and dropout: the option is part of the key


def test_a_fit_that_was_stopped_goes_on_on_another_number_of_devices(
    built_in: Registry, tmp_path: Path
) -> None:
    alone, moved = Store(tmp_path / "alone"), Store(tmp_path / "moved")
    step = fit_of(alone, built_in, SPLIT)
    execute(step, Workshop(alone, built_in), _silent)
    fit_of(moved, built_in, SPLIT)
    stopping = Workshop(
        moved,
        built_in,
        helpers=({},),
        must_stop=lambda: any(moved.root.glob("work/*/checkpoint.json")),
        checkpoint_seconds=0,
    )
    with pytest.raises(Interrupted):
        execute(step, stopping, _silent)
    assert list(moved.root.glob("work/*/checkpoint*"))
    execute(step, Workshop(moved, built_in, helpers=({}, {})), _silent)
    assert "resumes from a checkpoint" in moved.log_path(step.key).read_text()
    assert files(moved, step) == files(alone, step)


def test_a_fit_whose_helper_is_killed_says_so_and_resumes(
    built_in: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, alone = Store(tmp_path / "store"), Store(tmp_path / "alone")
    step = fit_of(store, built_in, SPLIT)
    started, processes = helpers._started, []

    def noting(*args: Any) -> Any:
        processes.append(started(*args))
        return processes[-1]

    def kill(done: int, total: int, metrics: Mapping[str, float]) -> None:
        processes[0].kill()

    monkeypatch.setattr(helpers, "_started", noting)
    workshop = Workshop(store, built_in, helpers=({},), checkpoint_seconds=0)
    with pytest.raises(GenbenchError, match=r"the fit's process on device 2 of 2 ended: exit code -9"):
        execute(step, workshop, kill)
    assert not store.has(step.key)
    execute(step, Workshop(store, built_in), _silent)
    fit_of(alone, built_in, SPLIT)
    execute(step, Workshop(alone, built_in), _silent)
    assert files(store, step) == files(alone, step)


def test_what_a_killed_attempt_left_is_not_taken_for_word_of_a_helper(
    built_in: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    step = fit_of(store, built_in, SPLIT)
    started = helpers._started

    def dying(share: helpers.Share, *args: Any) -> Any:
        (share.work / f"helper-{share.part}.json").write_text('"ready"')
        process = started(share, *args)
        process.kill()
        return process

    monkeypatch.setattr(helpers, "_started", dying)
    monkeypatch.setattr(fit_helpers, "_STEP_SECONDS", 5.0)
    with pytest.raises(GenbenchError, match=r"the fit's process on device 2 of 2 ended: exit code -9"):
        execute(step, Workshop(store, built_in, helpers=({},)), _silent)


def test_a_fit_whose_helper_does_not_come_to_the_meeting_says_so_and_the_next_one_meets(
    built_in: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    step = fit_of(store, built_in, SPLIT)
    awaited = fit_helpers._await

    def kill(found: helpers.Helpers) -> None:
        found.processes[0].kill()
        found.processes[0].join()
        found.shares[0].note.write_text('"ready"')
        awaited(replace(found, processes=[]))

    monkeypatch.setattr(fit_helpers, "_await", kill)
    monkeypatch.setattr(fit_helpers, "_STEP_SECONDS", 5.0)
    with pytest.raises(GenbenchError, match=r"the fit's process on device 2 of 2 ended"):
        execute(step, Workshop(store, built_in, helpers=({},)), _silent)
    monkeypatch.setattr(fit_helpers, "_await", awaited)
    monkeypatch.setattr(fit_helpers, "_STEP_SECONDS", 60.0)
    execute(step, Workshop(store, built_in, helpers=({},)), _silent)  # the same process can meet again
    assert store.has(step.key)


def test_a_fit_whose_checkpoint_is_damaged_begins_anew_on_several_devices(
    built_in: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, damaged = Store(tmp_path / "alone"), Store(tmp_path / "damaged")
    step = fit_of(alone, built_in, SPLIT)
    execute(step, Workshop(alone, built_in), _silent)
    fit_of(damaged, built_in, SPLIT)
    saved = "work/*/checkpoint-*.safetensors"
    stopping = Workshop(
        damaged, built_in, must_stop=lambda: any(damaged.root.glob(saved)), checkpoint_seconds=0
    )
    with pytest.raises(Interrupted):
        execute(step, stopping, _silent)
    (checkpoint,) = damaged.root.glob(saved)
    checkpoint.write_bytes(b"half")
    started, shares = helpers._started, []

    def noting(share: helpers.Share, *args: Any) -> Any:
        shares.append(share)
        return started(share, *args)

    monkeypatch.setattr(helpers, "_started", noting)
    execute(step, Workshop(damaged, built_in, helpers=({},)), _silent)
    assert "starting again" in damaged.log_path(step.key).read_text()
    assert files(damaged, step) == files(alone, step)
    (share,) = shares  # NCCL meets after the scratch folder was emptied: it must meet elsewhere
    assert not share.notes.is_relative_to(share.work)
    assert not share.notes.exists()


def test_the_parts_of_a_gradient_add_up_to_that_of_the_batch() -> None:
    x, y = torch.randn(10, 4), torch.randn(10, 2)
    network = torch.nn.Linear(4, 2)
    ctx = StepContext(1, "cpu", Path(), Path(), logging.Logger("test"), _silent)

    def loss(step: int, rows: slice) -> torch.Tensor:
        return ((network(x[rows]) - y[rows]) ** 2).mean()

    found = []
    for parts in (1, 3, 10):
        mean = BatchParts(list(network.parameters()), loss, 10, parts, ctx).gradient(0)
        grads = [one.grad for one in network.parameters()]
        found.append([mean, *(one.clone() for one in grads if one is not None)])
    for split in found[1:]:
        torch.testing.assert_close(split, found[0])
    assert found[0][0] == loss(0, slice(10))
