"""A sample step that is split over devices: the images are those of one, byte by byte."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from genbench.plan import Plan, Step
from genbench.planner import make_plan
from genbench.registry import PluginSource, Registry
from genbench.spec import resolve_suite
from genbench.steps import Workshop, execute, helpers
from genbench.store import Store
from genbench.suite import make_suite

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

    def dying(share: Any, environment: Mapping[str, str]) -> Any:
        process = started(share, environment)
        process.kill()
        return process

    monkeypatch.setattr(helpers, "_started", dying)
    execute(step, Workshop(broken, built_in, helpers=({},)), _silent)
    assert made[1] == [f"shard-{start:07d}.npy" for start in (0, 1024)]
    assert "a helper ended with -9: its shards are made here" in broken.log_path(step.key).read_text()
    assert files(broken, step) == files(whole, step)
