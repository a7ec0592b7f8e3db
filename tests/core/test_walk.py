"""The walk through a plan: what is done for each step does not grow with the steps that wait."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from genbench import walk as walking
from genbench.executors import Event, Failure, Task
from genbench.executors.at_work import CANCELLED
from genbench.frontier import Frontier
from genbench.leases import Holder
from genbench.plan import Cell, Plan, Step
from genbench.planner import without_failed
from genbench.registry import Registry
from genbench.store import Store
from genbench.walk import Observer, Walk
from genbench.worker import RunOptions
from toy_suites import toy_plan

sys.path.insert(0, str(Path(__file__).parents[2] / "perf"))  # scripts, not a package

import scale

# ------------------------------------------------------------------------------------- which step is next


def naive(
    keys: Sequence[str], inputs: dict[str, list[str]], kinds: dict[str, str]
) -> Callable[..., list[str]]:
    """What a frontier does, by looking through everything that waits."""

    def take(waiting: set[str], running: set[str], most: int, workers: int) -> list[str]:
        def is_ready(key: str) -> bool:
            return key in waiting and not any(one in waiting or one in running for one in inputs[key])

        ready = [key for key in keys if is_ready(key)]
        if not ready:
            return []
        kind = kinds.get(ready[0])
        alike = [key for key in ready if kind is not None and kinds.get(key) == kind] or ready[:1]
        return alike[: min(most, -(-len(alike) // workers))] if kind is not None else ready[:1]

    return take


@pytest.mark.parametrize("seed", range(20))
def test_steps_come_in_the_order_that_looking_through_all_of_them_gives(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"{number}" for number in range(60)]
    inputs = {
        name: rng.choices(names[:place], k=rng.randrange(4)) if place else []
        for place, name in enumerate(names)
    }
    keys = rng.sample(names, len(names))
    kinds = {name: rng.choice("ab") for name in names if rng.random() < 0.5}
    most, workers = rng.choice([1, 3, 8]), rng.choice([1, 2, 5])
    frontier, expected = Frontier(keys, inputs, kinds), naive(keys, inputs, kinds)
    waiting, running, bundles = set(keys), set[str](), Counter[int]()
    while waiting or running:
        taken = frontier.take(most, workers)
        assert taken == expected(waiting, running, most, workers)
        bundles[len(taken)] += 1
        for key in taken:
            frontier.leave(key)
        waiting -= set(taken)
        running |= set(taken)
        if running and (not taken or rng.random() < 0.5):
            over = rng.choice(sorted(running))
            running.remove(over)
            frontier.settle(over)
        assert len(frontier) == len(waiting)
    assert most == 1 or workers == 5 or max(bundles) > 1  # some ran together


def test_what_was_deferred_comes_when_its_time_has_come_and_nothing_else_waits_for_it() -> None:
    frontier = Frontier(["a", "b", "after a"], {"a": [], "b": [], "after a": ["a"]})
    assert frontier.take() == ["a"]
    frontier.defer("a", until=5.0)
    assert (frontier.due, frontier.deferred) == (5.0, 1)
    assert frontier.take() == ["b"]
    frontier.wake(4.9)
    assert frontier.take() == []
    frontier.wake(5.0)
    assert frontier.take() == ["a"]
    frontier.settle("a")
    assert frontier.take() == ["after a"]


def test_until_all_may_run_only_the_first_do() -> None:
    frontier = Frontier(["a", "b", "c"], {"a": [], "b": [], "c": ["b"]}, first=["b"])
    assert (frontier.take(), frontier.take()) == (["b"], [])
    frontier.settle("b")
    assert frontier.take() == []
    frontier.let_all()
    assert (frontier.take(), frontier.take()) == (["a"], ["c"])


# --------------------------------------------------------------------------------------------- the counts


class CountedSteps(dict[str, Step]):
    """The steps of a plan, which counts how often one is looked up."""

    looks = 0

    def __getitem__(self, key: str) -> Step:
        self.looks += 1
        return super().__getitem__(key)


def looks_per_step(
    registry: Registry, store: Store, folder: Path, seeds: int, *, together: bool
) -> tuple[float, Plan]:
    """Walk with more workers than there are ready steps, so that some always idle."""
    generators = ["toy:noise=0.1", "toy:noise=0.2", "toy:noise=0.3"]
    plan = toy_plan(registry, store, seeds=seeds, generators=generators)
    steps = plan.steps = CountedSteps(plan.steps)
    memory = scale.MemoryStore(folder)
    (folder / scale.CARD).write_text("{}")
    clock = scale.Clock(is_charged=False)
    executor = scale.SimulatedExecutor(clock, 100, lambda key: 1 + int(key[:4], 16) / 2**16, memory.put)
    options = RunOptions(jobs=4, vectorize="on" if together else "off")
    walk = Walk(plan, memory, registry, Observer(), options)  # type: ignore[arg-type]
    walk.go(executor)
    assert walk.summary.ran == len(plan.steps)
    return steps.looks / len(steps), plan


@pytest.mark.parametrize("together", [False, True])
def test_the_work_for_a_step_does_not_grow_with_the_plan(
    registry: Registry, store: Store, tmp_path: Path, together: bool
) -> None:
    few, small = looks_per_step(registry, store, tmp_path, 3, together=together)
    many, large = looks_per_step(registry, store, tmp_path, 24, together=together)
    assert len(large.steps) > 6 * len(small.steps)
    assert many < 1.2 * few < 30


class CountedCells(list[Cell]):
    """The cells of a plan, which counts how often all of them are looked through."""

    looks = 0

    def __iter__(self) -> Iterator[Cell]:
        self.looks += 1
        return super().__iter__()


def test_a_plan_is_looked_through_as_often_for_many_datasets_as_for_one(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    (tmp_path / scale.CARD).write_text("{}")
    looks = []
    for number in (1, 12):
        datasets = [f"toy-data:images={90 + 3 * n}" for n in range(number)]
        plan = toy_plan(registry, store, datasets=datasets, generators=[], seeds=1)
        cells = plan.cells = CountedCells(plan.cells)
        memory = scale.MemoryStore(tmp_path)
        executor = scale.SimulatedExecutor(scale.Clock(is_charged=False), 4, lambda key: 1.0, memory.put)
        Walk(plan, memory, registry, Observer(), RunOptions(jobs=4)).go(executor)  # type: ignore[arg-type]
        looks.append(cells.looks)
    assert looks[0] == looks[1] > 0


class NotingStore(scale.MemoryStore):
    """One in memory that keeps notes of failures where a store does, and some of whose leases others hold."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.root)
        self.failures, self.log_path, self.writing = store.failures, store.log_path, store.writing
        self.held: Callable[[str], bool] = lambda key: False
        self.asked = Counter[str]()
        self.lost: Sequence[str] = ()
        self.later: Callable[[], None] = lambda: None  # what happens elsewhere

    def take_lost(self) -> Sequence[str]:
        lost, self.lost = self.lost, ()
        return lost

    def acquire(self, key: str) -> bool:
        self.later()
        self.asked[key] += 1
        return not self.held(key)

    def holder(self, key: str) -> Holder | None:
        return Holder(7, "node7", "another boot", "", 0, "") if self.held(key) else None


class Failing(scale.SimulatedExecutor):
    """Workers on which some steps fail."""

    broken: frozenset[str] = frozenset()

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        found = super().events(timeout_seconds)
        is_bad = [one.status == "done" and one.id in self.broken for one in found]
        bad = Failure("it broke")
        return [Event(e.id, "failed", failure=bad) if b else e for e, b in zip(found, is_bad, strict=True)]


def test_a_suite_of_which_many_cells_fail_is_planned_anew_once_and_without_them(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"generators": [], "evaluators": ["accuracy", "toy-suite"], "seeds": 12}
    plan = toy_plan(registry, store, **entries)
    (suite,) = [step for step in plan.steps.values() if step.document.get("subject") == "suite"]
    trainings = [key for key, step in plan.steps.items() if step.stage == "train"][:10]
    asked: list[list[str]] = []

    def counted(step: Step, failed: Iterable[str]) -> Step | None:
        asked.append(list(failed))
        return without_failed(step, asked[-1])

    monkeypatch.setattr(walking, "without_failed", counted)
    monkeypatch.setattr(Walk, "_save_records_for", lambda *_: None)  # there is nothing to make records of
    memory = NotingStore(store)
    broken = frozenset(trainings)
    executor = Failing(
        scale.Clock(is_charged=False),
        4,
        lambda key: 1.0,
        lambda key: None if key in broken else memory.put(key),
    )
    executor.broken = broken
    (store.root / scale.CARD).parent.mkdir(parents=True, exist_ok=True)
    (store.root / scale.CARD).write_text("{}")
    walk = Walk(plan, memory, registry, Observer(), RunOptions(jobs=4))  # type: ignore[arg-type]
    walk.go(executor)
    assert sorted(walk.summary.failed) == sorted(trainings)
    (gone,) = asked
    assert len(gone) == len(trainings)
    assert suite.key not in plan.records
    (left,) = [plan.steps[key] for key, one in plan.records.items() if one.subject == "suite"]
    assert set(left.inputs.values()) == set(suite.inputs.values()) - set(gone)
    assert memory.has(left.key)


def test_steps_that_others_are_at_are_looked_at_with_growing_pauses(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan(registry, store, generators=[], seeds=30)
    trainings = {key for key, step in plan.steps.items() if step.stage == "train"}
    clock, notices = scale.Clock(is_charged=False), list[str]()
    monkeypatch.setattr(walking.time, "monotonic", lambda: clock.now)
    memory, seconds = NotingStore(store), 100.0
    memory.held = lambda key: key in trainings and clock.now < seconds
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / scale.CARD).write_text("{}")
    executor = scale.SimulatedExecutor(clock, 100, lambda key: 1.0, memory.put)
    walk = Walk(plan, memory, registry, Observer(notice=notices.append), RunOptions(jobs=4))  # type: ignore[arg-type]
    walk.go(executor)
    assert walk.summary.ran == len(plan.steps)
    assert len(notices) == 1
    assert "waiting for PID 7 on node7, which is at: train toy-net" in notices[0]
    assert clock.now < seconds + 10  # nobody waits long after they were given back
    looks = [memory.asked[key] for key in trainings]
    assert max(looks) < 70  # every 2 s; at every event or every 50 ms they were 2,000
    assert min(looks) > 20


class Robbed(Failing):
    """Workers whose tasks can be called off, of which one loses its lease while it runs."""

    def __init__(self, memory: "NotingStore", clock: scale.Clock, victim: str) -> None:
        super().__init__(clock, 4, lambda key: 1.0, memory.put)
        self.memory, self.victim, self.cancelled = memory, victim, list[str]()

    def submit(self, bundle: Sequence[Task]) -> None:
        if self.victim in {task.id for task in bundle} and not self.cancelled:
            self.memory.lost = [self.victim]
        super().submit(bundle)

    def cancel(self, task_id: str) -> None:
        self.cancelled.append(task_id)

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        if self.cancelled == [self.victim]:
            self.cancelled.append("told")
            self._running = [one for one in self._running if self.victim not in one[2]]
            return [Event(self.victim, "failed", failure=CANCELLED)]
        return super().events(timeout_seconds)


@pytest.mark.parametrize("thief", ["does it", "gives it back"])
def test_a_step_whose_lease_was_taken_is_called_off_and_left_to_the_thief(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch, thief: str
) -> None:
    plan = toy_plan(registry, store, generators=[], seeds=2)
    victim = next(key for key, step in plan.steps.items() if step.stage == "train")
    clock, told = scale.Clock(is_charged=False), list[Event]()
    monkeypatch.setattr(walking.time, "monotonic", lambda: clock.now)
    memory = NotingStore(store)
    executor = Robbed(memory, clock, victim)
    memory.held = lambda key: key == victim and bool(executor.cancelled) and clock.now < 30.0
    if thief == "does it":
        memory.later = lambda: memory.put(victim) if clock.now > 20.0 else None
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / scale.CARD).write_text("{}")
    observer = Observer(event=lambda step, event: told.append(event))
    walk = Walk(plan, memory, registry, observer, RunOptions(jobs=4, vectorize="off"))  # type: ignore[arg-type]
    walk.go(executor)
    assert executor.cancelled == [victim, "told"]
    assert not walk.summary.failed
    assert walk.summary.ran == len(plan.steps) - (thief == "does it")
    news = [event for event in told if event.id == victim]
    assert news[0].note == "another run has taken it over"
    after = ["started", "done"] if thief == "gives it back" else ["found"]
    assert [one.status for one in news] == ["queued", *after]
