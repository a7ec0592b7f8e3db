"""Folders of runs: what updates one, what gets one of its own, what is never lost, and the index."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from genbench.cli import program
from genbench.errors import GenbenchError, Interrupted, UsageError
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.publish import Publication
from genbench.records import Record, read_records
from genbench.registry import Registry
from genbench.runner import RunSummary, run
from genbench.runs import Scope, list_runs, read_run, scope_of, write_run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import Suite, load_suite, make_suite
from genbench.worker import RunOptions

TOYS: dict[str, Any] = {
    "name": "toys",
    "datasets": ["toy-data"],
    "classifiers": ["toy-net"],
    "generators": ["toy"],
    "reference": "toy-net",
    "evaluators": ["accuracy"],
    "seeds": 2,
}


def planned(registry: Registry, store: Store, **entries: Any) -> tuple[Suite, Plan]:
    suite = make_suite({**TOYS, **entries}, "test")
    return suite, make_plan(resolve_suite(registry, suite, store.fingerprint))


def ran(registry: Registry, store: Store, out: Path, *, named: bool = False, **entries: Any) -> Publication:
    """Run a suite and publish it."""
    suite, plan = planned(registry, store, **entries)
    made = Publication.prepared(plan, suite, store, out, "genbench run suite.toml", named=named)
    with made.claimed():
        summary = run(plan, store, registry, RunOptions(jobs=0, command="genbench run suite.toml"))
    made.publish(summary)
    return made


@pytest.mark.parametrize(
    ("entries", "difference"),
    [
        ({"seeds": 1}, "2 seeds, not 1"),
        ({"datasets": ["toy-data:images=90"]}, "dataset toy-data"),
        ({"datasets": ["toy-data", "toy-data:images=90"], "generators": []}, "row toy x1-standard"),
        ({"mixes": [{"ratio": 0.5}]}, "row toy x1-standard"),
        ({"mixes": [{"mode": "synthetic-only"}]}, "row toy x1-standard"),
        ({"preset": "smoke"}, "preset quick, not smoke"),
        ({"base_seed": 7}, "base seed 0, not 7"),
        ({"classifiers": ["toy-net:dropout=0.5"]}, "classifier toy-net"),
        ({"evaluators": ["fid"]}, "evaluator accuracy"),
        ({"seeds": 5, "choosing_seeds": 2}, "choosing seeds 0, not 2"),
        ({}, ""),
        ({"seeds": 3}, ""),
        ({"generators": ["toy", "classical"]}, ""),
        ({"evaluators": ["accuracy", "fid"]}, ""),
        ({"mixes": [{"ratio": 1.0}, {"ratio": 2.0}]}, ""),
    ],
)
def test_a_run_that_has_less_than_another_one_does_not_take_its_place(
    registry: Registry, store: Store, entries: dict[str, Any], difference: str
) -> None:
    before, after = (scope_of(planned(registry, store, **more)[1]) for more in ({}, entries))
    assert difference in after.difference(before)
    assert after.covers(before) == (not difference)
    assert Scope.model_validate_json(after.model_dump_json()) == after


@pytest.mark.slow(reason="four runs of a second each")
def test_every_run_has_a_folder_and_the_index_finds_it(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    first = ran(registry, store, out)
    folder = out / "toys"
    assert first.place.folder == folder
    assert first.place.notice == ""
    board = (folder / "leaderboard.md").read_text()
    assert load_suite(folder / "suite.toml") == first.suite
    names = {path.name for path in (folder / "records").iterdir()}
    # Fewer seeds: a folder of its own, and the first board is as it was.
    fewer = ran(registry, store, out, seeds=1)
    assert fewer.place.folder == out / "toys-2"
    assert fewer.place.notice == (
        f"{folder} holds another run, with 2 seeds, not 1: this one is written to {folder}-2"
    )
    assert (folder / "leaderboard.md").read_text() == board
    # More seeds: the folder is updated, which is said; no record is lost.
    more = ran(registry, store, out, seeds=3)
    assert more.place.folder == folder
    assert more.place.notice == f"{folder} is updated: 3 seeds instead of 2"
    assert names < {path.name for path in (folder / "records").iterdir()}
    with pytest.raises(UsageError, match=r"--name toys: .*toys holds another run, with 3 seeds, not 1"):
        ran(registry, store, out, named=True, seeds=1)

    listed = list_runs(store, [])
    assert [(one.folder.name, one.run.measured, one.state) for one in listed] == [
        ("toys", 6, "done"),
        ("toys-2", 2, "done"),
    ]
    said = "On 96 images of toy-data with the classifier toy-net, 3 seeds allow no verdict, which takes 5"
    assert listed[0].run.headline.startswith(said)
    assert (folder / listed[0].run.typed_in).resolve() == Path.cwd()
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(program, ["runs", str(folder)], catch_exceptions=False)
    when, what, measured, found, place = shown.output.splitlines()
    assert when.endswith("  toys")
    assert found.startswith("  On 96 images of toy-data with the classifier toy-net, 3 seeds allow no")
    assert found.endswith(" …")
    assert max(map(len, (what, measured, found))) <= 80
    assert place.endswith("toys"), "a path is never cut"
    whole = CliRunner().invoke(program, ["runs", str(folder), "--json"]).output
    assert json.loads(whole)[0]["headline"] == listed[0].run.headline
    # What is moved is found where it is; what is gone is said to be.
    shutil.move(folder, tmp_path / "elsewhere")
    shutil.rmtree(out / "toys-2")
    (store.root / "index_of_runs" / "garbage.json").write_text("{")
    assert {(one.folder.name, one.is_there) for one in list_runs(store, [tmp_path])} == {
        ("elsewhere", True),
        ("toys-2", False),
    }


@pytest.mark.slow(reason="three runs of a second each")
def test_failures_are_never_lost_work_and_do_not_stay(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    out, faulty = tmp_path / "results", ["toy:fault=raise"]
    suite, plan = planned(registry, store)
    good = ran(registry, store, out)
    folder, board = good.place.folder, (good.place.folder / "leaderboard.md").read_text()

    def failing(records: list[Record]) -> RunSummary:
        """Fail every evaluation that this run planned."""
        from genbench.compose import Composer

        composer = Composer(plan, store, "genbench run", keep=False)
        return RunSummary([composer.failed(record.result.key, {}) for record in records])

    whole = list(read_records([folder]))
    again = Publication.prepared(plan, suite, store, out, "genbench run suite.toml")
    published = again.publish(failing(whole))  # as in another store, on a full GPU
    assert published.run.measured == 4
    assert (folder / "leaderboard.md").read_text() == board
    assert {one.result.status for one in read_records([folder])} == {"ok"}

    # What wholly failed has no board, and its folder is free for what is tried next.
    lost = Publication.prepared(plan, suite, store, tmp_path / "lost", "genbench run suite.toml")
    with lost.claimed():
        assert lost.publish(failing(whole)).board == ""
    assert sorted(one.name for one in lost.place.folder.iterdir()) == ["records", "run.json"]
    assert {one.result.status for one in read_records([lost.place.folder])} == {"failed"}
    partly = ran(registry, store, tmp_path / "lost", generators=faulty)
    assert partly.place == (lost.place.folder, None, "")
    left = [one.result for one in read_records([lost.place.folder]) if one.result.status == "failed"]
    assert len(left) == 4  # of this run: two seeds, measured and checked for copies
    assert {one.generator.label for one in left} == {"toy:fault=raise"}
    found = read_run(partly.place.folder)
    assert found is not None
    assert (found.measured, found.failed) == (2, 2)
    page = (partly.place.folder / "leaderboard.md").read_text()
    assert page.count("the toy broke") == 2  # once for the cells, once for the check for copies
    assert page.count("; and 1 other alike") == 2


def test_a_run_that_is_refused_leaves_no_folder(registry: Registry, store: Store, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="real_extra hands over held-out real images, and toy-data holds out"
    ):
        ran(registry, store, tmp_path / "results", generators=["real_extra"])
    assert not (tmp_path / "results").exists()
    assert list_runs(store, [tmp_path]) == []


def prepared(
    registry: Registry, store: Store, out: Path, *, named: bool = False, **entries: Any
) -> Publication:
    suite, plan = planned(registry, store, **entries)
    return Publication.prepared(plan, suite, store, out, "genbench run suite.toml", named=named)


def test_two_runs_that_begin_at_once_do_not_share_a_folder(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    first, other, named = (
        prepared(registry, store, out, base_seed=seed, named=seed == 8) for seed in (0, 7, 8)
    )
    assert {one.place.folder for one in (first, other, named)} == {out / "toys"}  # nobody has claimed it
    with first.claimed():
        with other.claimed():
            assert (first.place.folder, other.place.folder) == (out / "toys", out / "toys-2")
            assert "toys holds another run, with base seed 0, not 7: this one is" in other.place.notice
            for one in (first, other):
                assert read_run(one.place.folder) == one.run
                assert [path.name for path in one.place.folder.iterdir()] == ["run.json"]
        with pytest.raises(UsageError, match=r"--name toys: .*holds another run"), named.claimed():
            pass
        # A process that died leaves its mark behind, which gives way.
        dead = subprocess.Popen(["true"])
        dead.wait()
        write_run(first.place.folder, first.run.model_copy(update={"pid": dead.pid}))
        with named.claimed():
            assert read_run(out / "toys") == named.run


def test_a_smaller_run_that_ends_later_leaves_the_larger_board_alone(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    one, two = (prepared(registry, store, out, seeds=seeds) for seeds in (1, 2))
    with one.claimed():
        with two.claimed():
            assert two.place.folder == one.place.folder
            assert two.place.notice.endswith("toys is updated: 2 seeds instead of 1")
        two.publish(RunSummary([]))
        (out / "toys" / "leaderboard.md").write_text("of two seeds")
        held = read_run(out / "toys")
    published = one.publish(RunSummary([]))
    assert published.folder == one.place.folder == out / "toys-2"
    assert one.place.notice == (
        f"{out}/toys holds another run by now, with 2 seeds, not 1: this one is written to {out}/toys-2"
    )
    assert (out / "toys" / "leaderboard.md").read_text() == "of two seeds"
    assert read_run(out / "toys") == held
    assert published.run == read_run(out / "toys-2")
    assert (published.run.state, published.run.scope.seeds) == ("done", 1)
    assert held is not None
    assert published.run.id != held.id


@pytest.mark.parametrize("at_once", [False, True])
def test_a_run_that_is_stopped_or_fails_leaves_what_a_larger_one_wrote_alone(
    registry: Registry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> None:
    """Both had a new folder; it is removed again where nothing else was written, and only there."""
    if at_once:
        monkeypatch.setattr("genbench.runs.now", lambda: "2026-01-01T00:00:00.000+00:00")

    def overtaken(problem: GenbenchError, *larger: Publication) -> None:
        smaller = prepared(registry, store, out)
        with smaller.claimed():
            for other in larger:
                with other.claimed():
                    pass
                other.publish(RunSummary([]))
            raise problem

    out = tmp_path / "results"
    with pytest.raises(GenbenchError, match="broken"):
        overtaken(GenbenchError("broken"))
    assert not out.exists()
    assert list_runs(store, []) == []
    for problem in (Interrupted("stopped"), GenbenchError("broken")):
        out = tmp_path / type(problem).__name__
        with pytest.raises(GenbenchError, match=problem.message):
            overtaken(problem, prepared(registry, store, out, seeds=3))
        held = read_run(out / "toys")
        assert held is not None
        assert (held.scope.seeds, held.state) == (3, "done")
        assert out / "toys" in [one.folder for one in list_runs(store, [])]
