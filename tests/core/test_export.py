"""Images handed out: complete, labelled, with their ancestry, and in a form that `datasets` loads."""

import csv
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from genbench.errors import GenbenchError, UsageError
from genbench.export import CellImages, Form, cell_images, class_rows, export_images
from genbench.plan import Plan
from genbench.preview import draw_grid
from genbench.registry import Registry
from genbench.runner import RunSummary
from genbench.steps import Workshop, sample_with_fixed_noise
from genbench.store import Store

RunCells = Callable[..., tuple[Plan, RunSummary]]
CARD = {"generator": "toy", "dataset": "toy-data", "made by": "genbench ..."}


@pytest.fixture
def filtered(run_cells: RunCells, store: Store) -> CellImages:
    """The images of a cell whose filter dropped some."""
    plan, outcome = run_cells(generators=["toy"], filters=["toy-filter"])
    assert outcome.failed == {}
    cell = next(cell.name for cell in plan.cells if "/toy+" in cell.name)
    return cell_images(plan, store, cell)


@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
def test_datasets_loads_what_was_exported(filtered: CellImages, tmp_path: Path, form: Form) -> None:
    folder = tmp_path / "out"
    count = export_images(filtered, form, folder, CARD)
    assert 0 < count == len(filtered.kept) < len(filtered.made.images)
    cache = str(tmp_path / "cache")
    where = {"data_dir": str(folder)} if form == "imagefolder" else {}
    name = "imagefolder" if form == "imagefolder" else str(folder)
    table = datasets.load_dataset(name, **where, cache_dir=cache)["train"]
    assert table.features["label"].names == list(filtered.made.images.class_names)
    expected = filtered.made.images.batch(filtered.kept)
    order = np.arange(count)
    if form == "imagefolder":  # a folder per class; the images of a top-up come after the others
        order = np.argsort(filtered.made.images.labels[filtered.kept], kind="stable")
    for row, place in zip(table, order, strict=True):
        assert torch.equal(torch.from_numpy(np.array(row["image"])).permute(2, 0, 1), expected[place])
        assert row["label"] == filtered.made.images.labels[filtered.kept[place]]
    assert f"| in this folder | {count} |" in (folder / "README.md").read_text()


def test_the_manifest_tells_each_images_ancestry(filtered: CellImages, tmp_path: Path) -> None:
    export_images(filtered, "imagefolder", tmp_path / "out", CARD)
    with (tmp_path / "out" / "manifest.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["seed"]) for line in lines] == filtered.made.seeds[filtered.kept].tolist()
    assert [int(line["parent"]) for line in lines] == filtered.made.sources[filtered.kept].tolist()
    steps = [line["generator_key"] for line in lines]
    assert steps == [filtered.keys[row] for row in filtered.kept]
    assert (len(set(steps)), steps[0]) == (2, filtered.step.key)  # its own, and that of its top-up
    assert all((tmp_path / "out" / line["file"]).is_file() for line in lines)
    card = (tmp_path / "out" / "README.md").read_text()
    assert '"use": "toy-filter"' in card
    assert "made by genbench. A label" in card
    assert "Licence: that of the data" in card
    assert f"| dropped by the filter | {len(filtered.made.images) - len(lines)} |" in card


def test_the_card_of_images_that_were_given_claims_neither_to_have_made_nor_to_license_them(
    filtered: CellImages, tmp_path: Path
) -> None:
    export_images(filtered._replace(origin="given"), "imagefolder", tmp_path / "out", CARD)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "genbench did not make them" in card
    assert "Licence: unknown to genbench" in card
    assert "fitted on" not in card


def test_an_export_overwrites_nothing(filtered: CellImages, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        export_images(filtered, "imagefolder", tmp_path, CARD)


def test_what_cannot_be_exported_says_why(run_cells: RunCells, store: Store, tmp_path: Path) -> None:
    plan, _ = run_cells(generators=["toy"])
    with pytest.raises(UsageError, match="is a baseline"):
        cell_images(plan, store, next(cell.name for cell in plan.cells if "/none/" in cell.name))
    with pytest.raises(UsageError, match="no cell 'nonsense' in this run"):
        cell_images(plan, store, "nonsense")
    cell = next(cell.name for cell in plan.cells if "/toy/" in cell.name)
    with pytest.raises(GenbenchError, match="not in the store: sample toy"):
        cell_images(plan, Store(tmp_path / "other"), cell)


def test_class_rows_leaves_places_empty() -> None:
    from genbench.images import TensorImages

    labels = np.array([0, 1, 0, 0, 1], dtype=np.int64)
    images = TensorImages(torch.zeros(5, 3, 2, 2).byte(), labels, "abc")
    assert class_rows(images, np.array([0, 1, 3]), 2).tolist() == [[0, 3], [1, -1], [-1, -1]]


def test_a_grid_shows_every_pixel(tmp_path: Path) -> None:
    red, blue = np.zeros((2, 3, 8, 8), np.uint8)
    red[0], blue[2] = 200, 100
    draw_grid([[red, None], [blue, red]], ["one", "two"], "title", tmp_path / "grid.png")
    drawn = np.array(Image.open(tmp_path / "grid.png")).reshape(-1, 3)
    counts = {
        tuple(colour): int((drawn == colour).all(axis=1).sum()) for colour in ([200, 0, 0], [0, 0, 100])
    }
    assert counts == {(200, 0, 0): 2 * 48 * 48, (0, 0, 100): 48 * 48}


def test_fixed_noise_is_one_noise_per_column(run_cells: RunCells, store: Store, registry: Registry) -> None:
    plan, _ = run_cells(generators=["cvae:temperature=4"], datasets=["digits:limit_train=60"])
    step = next(step for step in plan.steps.values() if step.stage == "sample")
    shop = Workshop(store, registry)
    tiles = sample_with_fixed_noise(step, shop, 4, 12)
    assert tiles.shape == (10, 4, 3, 8, 8)
    assert np.array_equal(tiles, sample_with_fixed_noise(step, shop, 4, 12))
    assert not np.array_equal(tiles, sample_with_fixed_noise(step, shop, 4, 13))
    assert np.array_equal(tiles[:, :2], sample_with_fixed_noise(step, shop, 2, 12))
    assert len({tile.tobytes() for tile in tiles.reshape(40, -1)}) == 40  # class and noise both matter


def test_fixed_noise_of_a_composition_is_refused(
    run_cells: RunCells, store: Store, registry: Registry
) -> None:
    plan, _ = run_cells(generators=["union"])
    step = next(step for step in plan.steps.values() if step.label.startswith("sample union"))
    with pytest.raises(UsageError, match="cannot choose the noise of another generator's images"):
        sample_with_fixed_noise(step, Workshop(store, registry), 2, 1)
