"""Images that exist already: each is drawn once at most, and whether they are enough is known beforehand."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genbench.documents import Asked, Inputs
from genbench.errors import DataError, PluginError, UsageError
from genbench.export import cell_images, export_images
from genbench.hookspecs import ComponentSpec
from genbench.images import TensorImages, fingerprints, stratified_counts
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.runner import RunSummary, run
from genbench.spec import resolve_suite
from genbench.steps.requests import Judged, Supply, largest_ratio, plan_request, ratio_of
from genbench.steps.samples import open_drawn, open_sample
from genbench.stocks import check_stocks
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions
from genbench_leaderboard.board import build_board
from genbench_leaderboard.tables import render_csv, render_markdown

RunCells = Callable[..., tuple[Plan, RunSummary]]
MakeImages = Callable[..., TensorImages]
TOYS = {
    "datasets": ["toy-data"], "classifiers": ["toy-net"], "reference": "toy-net", "evaluators": ["accuracy"],
    "preset": "smoke",
}  # fmt: skip


def run_in(store: Store, registry: Registry, **entries: Any) -> tuple[Plan, RunSummary]:
    plan = make_plan(resolve_suite(registry, make_suite({**TOYS, **entries}, "test"), store.fingerprint))
    return plan, run(plan, store, registry, RunOptions(jobs=0))


class Exported:
    """A cell whose images were handed out: its plan and summary, the store, and the folders."""

    def __init__(self, store: Store, plan: Plan, summary: RunSummary, folder: Path) -> None:
        self.store, self.plan, self.summary, self.folder = store, plan, summary, folder


@pytest.fixture(scope="module")
def exported(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("exported")
    store = Store(place / "store")
    plan, summary = run_in(store, registry, generators=["toy"], seeds=1)
    cell = next(cell.name for cell in plan.cells if "/toy/" in cell.name)
    for form in ("imagefolder", "parquet"):
        card = {"generator": "toy", "dataset": "toy", "made by": "a test"}
        export_images(cell_images(plan, store, cell), form, place / form, card)  # type: ignore[arg-type]
    return Exported(store, plan, summary, place)


def of_cell(plan: Plan, name: str, stage: str) -> str:
    (cell,) = [cell for cell in plan.cells if name in cell.name and cell.name.endswith("/0")]
    return cell.train if stage == "train" else cell.sample


# ------------------------------------------------------------------------------------------- the round trip


@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
def test_what_export_images_writes_trains_the_very_same_network(
    exported: Exported, registry: Registry, form: str
) -> None:
    plan, summary = run_in(
        exported.store, registry, generators=[f"folder:{exported.folder / form},draw=whole"], seeds=1
    )
    assert summary.failed == {}
    for stage in ("sample", "train"):
        before = exported.store.open(of_cell(exported.plan, "/toy/", stage))
        after = exported.store.open(of_cell(plan, "/folder", stage))
        assert before is not None
        assert after is not None
        assert before.folder != after.folder
        same = {"images-00000.npy", "labels.npy"} if stage == "sample" else {"network.safetensors"}
        assert same <= after.files.keys(), after.files.keys()
        for name in same:
            assert after.files[name]["sha256"] == before.files[name]["sha256"], name

    def scores(found: RunSummary) -> list[Any]:
        return [
            (metric.label, metric.value)
            for record in found.records
            if record.result.generator.use != "none" and record.result.subject == "cell"
            for metric in record.result.metrics
        ]

    assert scores(summary) == scores(exported.summary) != []


# ------------------------------------------------------------------------------------------ each image once


def test_every_image_is_used_once_by_seed_and_seeds_draw_their_own(
    exported: Exported, registry: Registry
) -> None:
    entries = {"generators": [f"folder:{exported.folder / 'imagefolder'}"], "mixes": [{"ratio": 0.5}]}
    plan, summary = run_in(exported.store, registry, seeds=2, **entries)
    assert summary.failed == {}
    assert sum(step.stage == "fit" for step in plan.steps.values()) == 1  # one reading for all seeds
    drawn = []
    for cell in plan.cells:
        if cell.sample:
            artifact = exported.store.open(cell.sample)
            assert artifact is not None
            drawn.append(fingerprints(open_sample(artifact).images.all()))
    assert [len(np.unique(one)) for one in drawn] == [len(one) for one in drawn] == [len(drawn[0])] * 2
    assert set(drawn[0].tolist()) != set(drawn[1].tolist())
    (books,) = {
        (record.result.ledger.synthetic.available_images, record.result.ledger.synthetic.distinct_images)
        for record in summary.records
        if record.result.ledger and record.result.ledger.synthetic and record.result.generator.use == "folder"
    }
    assert books == (len(drawn[0]), len(drawn[0]))


def test_top_ups_continue_where_the_draw_before_ended(make_images: MakeImages) -> None:
    train, stock = make_images(40), make_images(60, seed=5)  # 15 of each class
    supply = Supply(stock)
    first = plan_request(train, Asked(1.0), 3, supply=supply)
    judged = Judged(np.full(4, 10), np.array([10, 5, 5, 5]))
    more = plan_request(train, Asked(1.0, top_up=1, most=4.0), 3, supply=supply, judged=judged)
    assert np.bincount(more.labels, minlength=4).tolist() == [0, 5, 5, 5]  # all that are left
    together = np.concatenate([first.source_indices, more.source_indices])
    assert len(np.unique(together)) == len(together)
    assert (stock.labels[more.source_indices] == more.labels).all()
    assert first.train is train
    oversampled = plan_request(train, Asked(1.0, oversample=3.0), 3, supply=supply)
    assert np.bincount(oversampled.labels).tolist() == [15] * 4  # no more than there are
    other = plan_request(train, Asked(1.0), 4, supply=supply)
    assert other.source_indices.tolist() != first.source_indices.tolist()


def test_a_filter_and_its_top_ups_take_no_image_twice(exported: Exported, registry: Registry) -> None:
    plan, summary = run_in(
        exported.store,
        registry,
        generators=[f"folder:{exported.folder / 'imagefolder'}"],
        filters=["toy-filter"],
        mixes=[{"ratio": 0.4}],
        seeds=1,
    )
    assert summary.failed == {}
    (cell,) = [cell for cell in plan.cells if cell.filter]
    opened = {key: exported.store.open(key) for key in (cell.sample, *cell.more)}
    more = {str(number): opened[key] for number, key in enumerate(cell.more)}
    inputs: Any = Inputs(sample=opened[cell.sample], more=more)
    drawn = fingerprints(open_drawn(inputs).images.all())
    assert len(np.unique(drawn)) == len(drawn)


# ----------------------------------------------------------------------- what is known before anything runs


def test_a_ratio_that_is_too_high_is_refused_before_anything_runs(
    exported: Exported, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(exported.folder / "imagefolder" / "train", tmp_path / "set")
    for path in sorted((tmp_path / "set" / "class1").iterdir())[10:]:
        path.unlink()
    store, entries = Store(tmp_path / "store"), {"generators": [f"folder:{tmp_path / 'set'}"], "seeds": 2}
    train = json.loads((_dataset_of(exported) / "dataset.json").read_text())["splits"]["train"]
    message = (
        rf"folder:path=set has too few images for --ratio 1: {train} for {train} training images.*\n"
        r"  class1: 10 found, \d+ wanted\n  --ratio 0\.\d+ is the largest that works"
    )
    with pytest.raises(UsageError, match=message) as raised:
        run_in(store, registry, **entries)
    assert {document["stage"] for document in _documents(store)} == {"dataset", "fit"}
    ratio = float(raised.value.hint.split()[1])
    plan, summary = run_in(store, registry, **entries, mixes=[{"ratio": ratio}])
    assert summary.failed == {}
    suite = make_suite({**TOYS, **entries}, "test")
    with pytest.raises(UsageError, match="too few images for --ratio 1"):  # what `genbench plan` says
        check_stocks(make_plan(resolve_suite(registry, suite, store.fingerprint)), store, registry)
    check_stocks(plan, store, registry)


def test_a_folder_that_cannot_be_used_ends_the_run_with_one_message(
    exported: Exported, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(exported.folder / "imagefolder" / "train", tmp_path / "set")
    (tmp_path / "set" / "class1").rename(tmp_path / "set" / "other")
    store = Store(tmp_path / "store")
    with pytest.raises(DataError, match=r"folder lacks: class1\s+the folder has, .* lacks: other"):
        run_in(store, registry, generators=[f"folder:{tmp_path / 'set'}"], seeds=3)
    assert {document["stage"] for document in _documents(store)} == {"dataset"}


def test_a_set_used_whole_keeps_its_own_proportions_and_no_other_ratio(
    exported: Exported, registry: Registry, tmp_path: Path
) -> None:
    shutil.copytree(exported.folder / "imagefolder" / "train", tmp_path / "set")
    for path in sorted((tmp_path / "set" / "class1").iterdir())[10:]:
        path.unlink()
    there = {path.name: len(list(path.iterdir())) for path in (tmp_path / "set").iterdir()}
    entries = {"generators": [f"folder:{tmp_path / 'set'},draw=whole"], "seeds": 1}
    message = rf"draw=whole uses all {sum(there.values())} images, and --ratio 1"
    with pytest.raises(UsageError, match=message) as no:
        run_in(exported.store, registry, **entries)
    mixes = [{"ratio": float(no.value.hint.split()[1].rstrip(","))}]
    plan, summary = run_in(exported.store, registry, **entries, mixes=mixes)
    assert summary.failed == {}
    artifact = exported.store.open(of_cell(plan, "/folder", "sample"))
    assert artifact is not None
    assert open_sample(artifact).images.class_counts().tolist() == [there[name] for name in sorted(there)]
    (books,) = {
        record.result.ledger.synthetic
        for record in summary.records
        if record.result.ledger and record.result.ledger.synthetic and record.result.generator.use == "folder"
    }
    assert books.available_images == sum(there.values())
    with pytest.raises(UsageError, match="draw=whole uses every image, and a filter leaves fewer"):
        run_in(exported.store, registry, **entries, mixes=mixes, filters=["toy-filter"])


def test_the_largest_ratio_is_one_that_works() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts, there = rng.integers(1, 40, 5), rng.integers(1, 40, 5)
        ratio = float(largest_ratio(counts, there))
        wanted = round(ratio * int(counts.sum()))
        assert (stratified_counts(counts, wanted) <= there).all()
        assert not any(
            (stratified_counts(counts, more) <= there).all()
            for more in range(wanted + 1, int(there.sum()) + 1)
        )
    assert largest_ratio(np.array([5, 5]), np.array([0, 5])) == ""
    assert ratio_of(1437, 1437) == "1"


# ------------------------------------------------------------------------- what is not known is not nothing


def test_a_cost_that_nobody_told_is_unknown_and_one_that_was_told_is_added(
    exported: Exported, registry: Registry
) -> None:
    place = exported.folder / "imagefolder"
    _, summary = run_in(exported.store, registry, generators=[f"folder:{place}"], seeds=1)
    (before,) = {
        cost for record in summary.records for cost in record.run.costs if cost.stage == "generation"
    }
    assert before.seconds is None
    board = build_board(summary.records)
    (row,) = [row for group in board.groups for row in group.rows if row.generator.startswith("folder")]
    assert row.cost is not None
    assert row.cost.seconds is None
    assert row.external_data == ("whatever the maker of the images had learned from (made_from= says it)",)
    page = render_markdown(board)
    assert " unknown |" in page
    assert "cost unknown: the images were there already, and nobody said what making them took" in page
    assert ",unknown," in render_csv(board)
    told = f"folder:{place},generation_seconds=7200,generation_device=H200,made_from=train"
    _, again = run_in(exported.store, registry, generators=[told], seeds=1)
    assert again.ran == 0  # what is told changes no result
    board = build_board(again.records)
    (row,) = [row for group in board.groups for row in group.rows if row.generator.startswith("folder")]
    assert row.cost is not None
    assert 7200 <= (row.cost.seconds or 0) < 7260
    assert "H200" in row.cost.devices
    assert row.external_data == ()


# ------------------------------------------------------------------------------------------------- contract


def test_a_stock_is_found_by_fit() -> None:
    with pytest.raises(PluginError, match="says has_stock without needs_fit"):
        ComponentSpec(name="x", target="a:B", config="a:C", summary="", has_stock=True)


def _documents(store: Store) -> Iterator[dict[str, Any]]:
    for key in store.finished():
        manifest = store.manifest(key)
        assert manifest is not None
        yield manifest["document"]


def _dataset_of(exported: Exported) -> Path:
    (key,) = [key for key, step in exported.plan.steps.items() if step.stage == "dataset"]
    artifact = exported.store.open(key)
    assert artifact is not None
    return artifact.folder
