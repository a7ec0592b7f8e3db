"""Going on from records alone: their evaluations are not measured again, and nothing else is believed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from genbench.adoption import adopt
from genbench.cli import program
from genbench.errors import DataError
from genbench.plan import Plan
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import RunSummary, run
from genbench.store import Store
from genbench.worker import RunOptions
from toy_suites import toy_plan

PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "records" / "digits-quick"


@pytest.fixture(name="published")
def _published(registry: Registry, store: Store, tmp_path: Path) -> Sequence[Record]:
    """Run one seed, and keep its records alone."""
    plan = toy_plan(registry, store, seeds=1)
    records = run(plan, store, registry, RunOptions(jobs=0, command="first")).records
    write(tmp_path / "published", records)
    return records


@pytest.fixture(name="fresh")
def _fresh(tmp_path: Path) -> Store:
    return Store(tmp_path / "fresh")


def write(folder: Path, records: Sequence[Record]) -> None:
    folder.mkdir(exist_ok=True)
    for record in records:
        (folder / record.file_name).write_text(record.to_json())


def carried_on(plan: Plan, store: Store, registry: Registry) -> RunSummary:
    return run(plan, store, registry, RunOptions(jobs=0, command="second"))


def test_the_same_plan_computes_nothing(
    published: Sequence[Record], registry: Registry, fresh: Store, tmp_path: Path
) -> None:
    plan = toy_plan(registry, fresh, seeds=1)
    found = adopt(plan, fresh, [tmp_path / "published"])
    assert found == (len(plan.records), len(published), len(plan.records))
    count = len(published)
    assert found.remark == f"taken from {count} records of an earlier run: {count} of {count} evaluations"
    summary = carried_on(plan, fresh, registry)
    assert summary.ran == 0
    assert [one.to_json() for one in summary.records] == [one.to_json() for one in published]
    assert adopt(plan, fresh, [tmp_path / "published"]).evaluations == 0  # they are there by now


def test_a_plan_counts_what_records_tell_of_and_stores_nothing(tmp_path: Path) -> None:
    def planned(*more: str) -> str:
        store = str(tmp_path / "empty")
        found = CliRunner().invoke(program, ["plan", "digits-quick", "--store", store, "-j", "1", *more])
        assert found.exit_code == 0, found.output
        return found.output

    assert "nothing to run" not in planned()
    told = planned("--records", str(PUBLISHED))
    assert "nothing to run: every step is cached" in told
    assert "taken from 105 records of an earlier run: 105 of 105 evaluations" in told
    more = planned("--records", str(PUBLISHED), "--seeds", "6")
    assert "105 of 126 evaluations" in more
    assert "13 x train cnn" in more
    assert "nothing to run" not in planned()  # the store is as empty as before


def test_another_seed_is_added_and_the_first_is_not_measured_again(
    published: Sequence[Record], registry: Registry, fresh: Store, tmp_path: Path
) -> None:
    plan = toy_plan(registry, fresh, seeds=2)
    adopt(plan, fresh, [tmp_path / "published"])
    before = {record.result.key: record for record in published}
    summary = carried_on(plan, fresh, registry)
    networks = {key: one.train for key, one in plan.records.items() if one.subject == "cell"}
    old = {train for key, train in networks.items() if key in before}
    assert old
    assert not any(fresh.has(train) for train in old)
    assert all(fresh.has(train) for key, train in networks.items() if key not in before)
    after = {record.result.key: record for record in summary.records}
    assert after.keys() > before.keys()
    for key, record in before.items():
        expected = replace(record.result, planned_indices=after[key].result.planned_indices)
        assert after[key].result == expected
        assert after[key].run.costs == record.run.costs
        assert after[key].run.curves == record.run.curves


def test_a_record_says_on_which_data_it_was_measured_wherever_it_is_taken(
    published: Sequence[Record], registry: Registry, fresh: Store, tmp_path: Path
) -> None:
    cell = published[0]
    assert cell.result.data is not None
    elsewhere = replace(cell.result.data, fingerprint="0" * 64)
    write(tmp_path / "other", [replace(cell, result=replace(cell.result, data=elsewhere))])
    plan = toy_plan(registry, fresh, seeds=2)
    adopt(plan, fresh, [tmp_path / "other"])
    summary = carried_on(plan, fresh, registry)
    prints = {one.result.key: one.result.data.fingerprint for one in summary.records if one.result.data}
    assert prints.pop(cell.result.key) == "0" * 64
    assert set(prints.values()) == {cell.result.data.fingerprint}


def test_what_failed_or_is_of_another_plan_is_left(
    published: Sequence[Record], registry: Registry, fresh: Store, tmp_path: Path
) -> None:
    one = published[0]
    failed = replace(one.result, status="failed", reason="no luck", metrics=(), tables={})
    write(tmp_path / "left", [replace(one, result=failed)])
    plan = toy_plan(registry, fresh, seeds=1)
    assert adopt(plan, fresh, [tmp_path / "left"])[:2] == (0, 1)
    other = toy_plan(registry, fresh, seeds=1, base_seed=7)
    assert adopt(other, fresh, [tmp_path / "published"])[:2] == (0, len(published))


def test_the_newest_of_two_records_of_an_evaluation_counts(
    published: Sequence[Record], registry: Registry, fresh: Store, tmp_path: Path
) -> None:
    one = published[0]
    later = replace(
        one,
        result=replace(one.result, planned_indices=7),
        run=replace(one.run, created="2999-01-01T00:00:00+00:00", command="later"),
    )
    write(tmp_path / "published", [later])
    plan = toy_plan(registry, fresh, seeds=1)
    adopt(plan, fresh, [tmp_path / "published"])
    commands = {record.result.key: record.run.command for record in carried_on(plan, fresh, registry).records}
    assert commands.pop(one.result.key) == "second"  # composed anew: it was of a larger plan
    assert set(commands.values()) == {"first"}


def test_an_edited_record_and_a_missing_folder_are_refused(
    published: Sequence[Record], registry: Registry, fresh: Store, tmp_path: Path
) -> None:
    plan = toy_plan(registry, fresh, seeds=1)
    with pytest.raises(DataError, match=r"nowhere: no such file or folder of records"):
        adopt(plan, fresh, [tmp_path / "nowhere"])
    file = tmp_path / "published" / published[0].file_name
    content = json.loads(file.read_text())
    content["result"]["metrics"][0]["value"] = 99.0
    file.write_text(json.dumps(content))
    with pytest.raises(DataError):
        adopt(plan, fresh, [file])
    assert not fresh.has(published[0].result.key)


def test_the_published_board_of_digits_is_had_from_its_records_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["run", "digits-quick", "--records", str(PUBLISHED), "--store", "store", "-q"]
    done = CliRunner().invoke(program, line, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = {file.name: file.read_bytes() for file in tmp_path.glob("genbench-results/*/records/*.json")}
    assert written == {file.name: file.read_bytes() for file in PUBLISHED.glob("*.json")}
    assert not list(tmp_path.glob("store/artifacts/*/*/*.safetensors"))
