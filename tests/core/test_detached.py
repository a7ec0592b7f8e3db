"""How runs stand: what a journal tells of them, and which journals are read for that."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from genbench import detached
from genbench.cli import program
from genbench.executors import Event
from genbench.executors.slurm.commands import Seen
from genbench.journals import Journal, Submitted, note_submitted, read_story
from genbench.registry import Registry
from genbench.runs import Place, new_run, write_run
from genbench.store import Store
from genbench.suite import make_suite
from toy_suites import toy_plan


def test_a_step_that_another_run_did_is_done_in_the_journal(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, evaluators=["accuracy"], seeds=1)
    journal = Journal(store.root, "0123456789ab")
    first, second, *_ = plan.steps.values()
    journal.planned([first, second], plan)
    journal.event(first, Event(first.key, "queued", note="another run has taken it over"))
    journal.event(first, Event(first.key, "found"))
    story = read_story(store.root, "0123456789ab")
    assert story is not None
    assert [(one.label, one.note) for one in story.in_state("done")] == [(first.label, "")]


# ------------------------------------------------------------------------------------ which journals are read


@pytest.fixture
def tell(
    registry: Registry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Leave a run in a folder, with a journal: by its name, when it began, and `Run`'s fields."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENBENCH_STORE", str(store.root))
    toys = {"datasets": ["toy-data"], "classifiers": ["toy-net"], "generators": [], "reference": "toy-net"}
    suite = make_suite({"name": "toys", **toys}, "test")
    plan = toy_plan(registry, store, evaluators=["accuracy"], seeds=1)

    def leave(name: str, began: float, **fields: str) -> None:
        folder = tmp_path / "genbench-results" / name
        folder.mkdir(parents=True)
        at = datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds")
        fields = {"id": f"{len(list(folder.parent.iterdir())):012x}", "began": at, **fields}
        run = new_run(plan, suite, Place(folder), "genbench run").model_copy(update=fields)
        write_run(folder, run)
        Journal(store.root, run.id).planned(list(plan.steps.values()), plan)
        journal = store.root / "journals" / f"{run.id}.jsonl"
        head = {**json.loads(journal.read_text()), "at": began, "job": fields.get("job", "")}
        journal.write_text(json.dumps(head) + "\n")

    return leave


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The journals that are read."""
    found: list[str] = []

    def reading(root: Path, run_id: str) -> object:
        found.append(run_id)
        return read_story(root, run_id)

    monkeypatch.setattr(detached, "read_story", reading)
    return found


def submitted(store: Store, job: str, name: str, at: float) -> None:
    folder = Path.cwd() / "genbench-results" / name
    note_submitted(store.root, Submitted(job, name, str(folder), "log", "run", "", 3, at))


def test_of_many_runs_the_journal_of_the_one_that_is_shown_is_read(
    store: Store, tell: Callable[..., None], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "_controllers", lambda: {"7": SimpleNamespace(is_over=False, waits=True)})
    now = time.time()
    for number in range(5):
        tell(f"run{number}", now - 100 * number, state="done")
    submitted(store, "6", "run3", now - 350)  # it began after that
    submitted(store, "7", "run9", now - 1000)
    known = detached.standings(store, [Path("genbench-results")])
    assert [one.name for one in known] == ["run0", "run1", "run2", "run3", "run4", "run9"]
    assert [one.state for one in known] == ["done"] * 5 + ["queued"]
    assert read == []
    page = CliRunner().invoke(program, ["status"], catch_exceptions=False).output
    assert page.startswith("run0  is done\n")
    assert page.endswith("also queued: genbench status run9\n")
    assert read == [f"{1:012x}"]
    standing = detached.standing_of(store, "6", [Path("genbench-results")])
    assert (standing.name, standing.state) == ("run3", "done")
    assert standing.story is not None
    assert read == [f"{number:012x}" for number in (1, 4)]


def test_a_journal_is_read_where_the_state_cannot_be_told_otherwise(
    store: Store, tell: Callable[..., None], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work = Seen("8", "", "", "RUNNING", "node1", "")
    monkeypatch.setattr(detached, "_controllers", lambda: {"8": at_work})
    now = time.time()
    tell("skewed", now - 60, state="done", job="5")
    submitted(store, "5", "skewed", now)  # the clock of the job's machine is late
    tell("again", now - 90, state="done", job="3")
    submitted(store, "4", "again", now - 10)  # it is over, and had not begun
    tell("elsewhere", now - 300, host="node1", job="8")
    tell("dead", now - 400, host="node1", job="2")
    states = {one.name: one.state for one in detached.standings(store, [Path("genbench-results")])}
    assert states == {"skewed": "done", "again": "stopped", "elsewhere": "running", "dead": "stopped"}
    assert len(read) == 4
    assert detached.standing_of(store, "again", [Path("genbench-results")]).story is None
