"""Attempts at a step: one that was cut off and wakes up late writes nowhere, and its result is not stored."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from genbench.attempts import Attempt, key_of
from genbench.errors import Interrupted, SupersededError
from genbench.plan import Step
from genbench.registry import Registry
from genbench.steps import Workshop, execute
from genbench.steps.context import StepContext
from genbench.store import Store
from toy_suites import toy_plan

KEY = "ab" * 32
Make = Callable[..., StepContext]


@pytest.fixture
def attempts(store: Store) -> Callable[..., Attempt]:
    """Attempts at one step of which nobody holds the lease, or whoever the test says."""

    def make(number: int = 1, lease: str = "mine") -> Attempt:
        return Attempt(store.root, store.leases, KEY, lease, number)

    return make


def state(context: StepContext) -> Any:
    saved = context.restore()
    return saved and saved.meta["from"]


def test_the_second_attempt_has_what_the_first_saved_and_the_first_can_save_no_more(
    attempts: Callable[..., Attempt], make_context: Make
) -> None:
    first, second = attempts(1), attempts(2)
    early = make_context(work=first.begin(), check_ours=first.check)
    early.checkpoint({"x": torch.ones(1)}, {"from": "the first"})
    late = make_context(work=second.begin(), check_ours=second.check)
    assert state(late) == "the first"
    late.checkpoint({"x": torch.ones(1)}, {"from": "the second"})
    with pytest.raises(SupersededError, match="attempt 2 has taken this step over from attempt 1"):
        early.checkpoint({"x": torch.zeros(1)}, {"from": "the first again"})
    with pytest.raises(SupersededError, match="attempt 2"):  # one that wakes up before it has begun
        first.begin()
    assert not first.folder.exists()
    assert state(late) == "the second"
    early.check_ours = lambda: None  # it asked a moment too early
    with pytest.raises((OSError, SafetensorError), match="No such file"):
        early.checkpoint({"x": torch.zeros(1)}, {"from": "the first again"})
    assert not first.folder.exists()
    assert state(late) == "the second"


def test_who_holds_the_lease_has_the_step(attempts: Callable[..., Attempt], store: Store) -> None:
    mine = attempts(1)
    (mine.begin() / "scratch").write_text("half")
    assert store.leases.acquire(KEY)  # another run took the lease over
    holder = store.leases.holder(KEY)
    assert holder is not None
    with pytest.raises(SupersededError, match=r"PID \d+ on this machine has taken this step over"):
        mine.check()
    theirs = attempts(1, holder.token)
    assert (theirs.begin() / "scratch").read_text() == "half"
    assert not mine.folder.exists()
    theirs.give_back()
    mine.give_back()  # late: it has nothing
    assert [place.name for place in (store.root / "work").iterdir()] == [KEY]
    assert key_of(theirs.folder) == KEY


@pytest.fixture
def step(registry: Registry, store: Store) -> Step:
    """A fit whose inputs are there."""
    plan = toy_plan(registry, store, seeds=1)
    found = next(one for one in plan.steps.values() if one.stage == "fit")
    for needed in found.inputs.values():
        execute(plan.steps[needed], Workshop(store, registry), _silent)
    return replace(found, lease="mine")


def _silent(done: int, total: int, metrics: Mapping[str, float]) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("is_done", [False, True])
def test_a_step_that_wakes_up_late_neither_stores_its_result_nor_disturbs_the_new_one(
    step: Step, store: Store, registry: Registry, is_done: bool
) -> None:
    """The first attempt sleeps in the middle of its work, while the second is at it, or does all of it."""
    newer, told = replace(step, attempt=2), list[bytes]()
    again = Workshop(store, registry)

    def second_attempt(done: int, total: int, metrics: Mapping[str, float]) -> None:
        if is_done and not told:
            execute(newer, again, _silent)
            told.append((store.folder(step.key) / "manifest.json").read_bytes())
        elif not told:
            (again.scratch(newer) / "scratch").write_text("of the second")
            told.append(b"")

    if is_done:
        execute(step, Workshop(store, registry), second_attempt)
        assert (store.folder(step.key) / "manifest.json").read_bytes() == told[0]
        assert list((store.root / "work").iterdir()) == []
        assert "attempt 2, on " in store.log_path(step.key).read_text()
    else:
        with pytest.raises(SupersededError, match="attempt 2 has taken this step over from attempt 1"):
            execute(step, Workshop(store, registry), second_attempt)
        assert not store.has(step.key)
        (left,) = (store.root / "work").iterdir()
        assert left.name == f"{step.key}.mine-2"
        assert (left / "scratch").read_text() == "of the second"


def test_what_a_stopped_step_saved_is_where_the_next_run_looks(
    step: Step, store: Store, registry: Registry
) -> None:
    def stop(done: int, total: int, metrics: Mapping[str, float]) -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        execute(step, Workshop(store, registry), stop)
    assert [place.name for place in (store.root / "work").iterdir()] == [step.key]
