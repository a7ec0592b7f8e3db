"""`--profile`: shares that add up, a trace, and results that do not know of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genbench.cli.run_command import _profile_lines
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.runner import RunSummary, run
from genbench.spec import resolve_suite
from genbench.steps.profiling import PHASES, WINDOW_STEPS
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions


@pytest.fixture
def run_mlp(registry: Registry, tmp_path: Path) -> Callable[..., tuple[Store, RunSummary]]:
    """Train the MLP on digits in a store of its own; return both."""

    def run_it(name: str, *, profile: bool, epochs: int = 30) -> tuple[Store, RunSummary]:
        store = Store(tmp_path / name)
        content = {
            "classifiers": [f"mlp:recipe.epochs={epochs}"],
            "datasets": ["digits:limit_train=100"],
            "evaluators": ["accuracy"],
            "preset": "smoke",
            "seeds": 1,
        }
        plan: Plan = make_plan(resolve_suite(registry, make_suite(content, "test"), store.fingerprint))
        return store, run(plan, store, registry, RunOptions(jobs=0, profile=profile))

    return run_it


def test_a_profile_leaves_shares_and_a_trace_and_changes_no_result(
    run_mlp: Callable[..., tuple[Store, RunSummary]],
) -> None:
    store, watched = run_mlp("watched", profile=True)
    _, plain = run_mlp("plain", profile=False)
    assert watched.failed == {}
    assert [one.result_digest for one in watched.records] == [one.result_digest for one in plain.records]
    (file,) = (store.root / "logs").glob("*.profile.json")
    found = json.loads(file.read_text())
    assert tuple(found["phases"]) == PHASES
    assert sum(found["phases"].values()) == pytest.approx(100)
    assert min(found["phases"].values()) > 0
    assert len(found["operators"]) == 5
    assert 0 < sum(found["operators"].values()) <= 100
    trace = json.loads((store.root / "logs" / file.name.replace(".profile.", ".trace.")).read_text())
    steps = [
        event for event in trace["traceEvents"] if event.get("name") == "backward" and event.get("ph") == "X"
    ]
    assert len(steps) == WINDOW_STEPS
    lines = list(_profile_lines(store.root / "logs", 0))
    assert lines[0].startswith("profile: train mlp:recipe.epochs=30 on digits:limit_train=100: data ")
    assert len(lines) == 7


def test_a_run_that_trained_nothing_says_so(run_mlp: Callable[..., tuple[Store, RunSummary]]) -> None:
    store, _ = run_mlp("plain", profile=False)
    (line,) = _profile_lines(store.root / "logs", 0)
    assert line == "nothing to profile: no training ran long enough, or every one is cached"


def test_a_training_shorter_than_the_window_is_no_error(
    run_mlp: Callable[..., tuple[Store, RunSummary]],
) -> None:
    store, outcome = run_mlp("short", profile=True, epochs=1)
    assert outcome.failed == {}
    assert list(_profile_lines(store.root / "logs", 0))
