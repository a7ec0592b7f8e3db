"""Pictures beside records: synthetic images alone, found again by what a row is, and refused if changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from genbench.compose import Composer
from genbench.errors import DataError
from genbench.images import TensorImages
from genbench.plan import Cell, Plan
from genbench.planner import make_plan
from genbench.records import read_records
from genbench.registry import Registry
from genbench.runner import run
from genbench.sheets import Sheet, Shown, as_json, content_name, find_shown, images_id, read_shown
from genbench.showing import likeness, write_shown
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions
from genbench_leaderboard.board import build_board

SIDE = 32  # of a toy's 8 pixels, enlarged


def declaring(plan: Plan) -> Plan:
    """Return a plan whose generators say that a model draws all of their pixels."""

    def changed(cell: Cell) -> Cell:
        generator = cell.arm.generator
        generator = replace(generator, spec=replace(generator.spec, new_pixels=True))
        return replace(cell, arm=replace(cell.arm, generator=generator))

    return replace(plan, cells=[changed(cell) for cell in plan.cells])


@pytest.fixture(scope="module")
def ran(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """Three sets of toys: noise alone, training images, and nearly these. Nobody writes to the store."""
    store = Store(tmp_path_factory.mktemp("ran") / "store")
    toys = {"datasets": ["toy-data"], "classifiers": ["toy-net"], "reference": "toy-net", "seeds": 1}
    generators = ["toy:noise=1", "toy:noise=0", "toy:noise=0.01"]
    suite = make_suite({**toys, "evaluators": ["accuracy"], "preset": "smoke", "generators": generators}, "t")
    plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
    assert run(plan, store, registry, RunOptions(jobs=0)).failed == {}
    return plan, store


def by_generator(folder: Path) -> dict[str, Shown]:
    return {one.sheet.generator: one for one in read_shown(folder).values()}


def test_what_is_real_or_nearly_so_or_not_declared_is_never_shown(
    ran: tuple[Plan, Store], tmp_path: Path
) -> None:
    plan, store = ran
    assert write_shown(plan, store, tmp_path) == 0
    assert list(tmp_path.rglob("*.png")) == []
    why = {one.sheet.why_not for one in read_shown(tmp_path).values()}
    assert why == {
        "Images of toy are not shown: they may be real images, or have parts of such (it does not declare "
        "new_pixels)"
    }
    assert write_shown(declaring(plan), store, tmp_path) == 1
    found = by_generator(tmp_path)
    for name in ("toy:noise=0", "toy:noise=0.01"):
        assert found[name].grid is None
        assert found[name].sheet.why_not == "Each of its first images is a real one, or nearly so"
    sheet = found["toy:noise=1"].sheet
    assert (sheet.index, sheet.ratio, sheet.filter) == (0, 1.0, "none")
    assert len(sheet.classes) > 1
    assert sheet.licence.startswith("Licence: that of the data")
    with Image.open(found["toy:noise=1"].grid or "") as grid:
        assert grid.size == (sheet.columns * (SIDE + 1) - 1, len(sheet.classes) * (SIDE + 1) - 1)
        assert len(np.unique(np.asarray(grid.convert("RGB"))[:SIDE, :SIDE].reshape(-1, 3), axis=0)) > SIDE
    with Image.open(found["toy:noise=1"].strip or "") as strip:
        assert strip.height == 64


def test_what_cannot_be_drawn_costs_no_board(
    ran: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = ran

    def fail(*_: object) -> None:
        raise ValueError("odd pixels")

    monkeypatch.setattr("genbench.showing._strip", fail)
    assert write_shown(declaring(plan), store, tmp_path) == 0
    why = by_generator(tmp_path)["toy:noise=1"].sheet.why_not
    assert why == "Its picture could not be drawn (ValueError: odd pixels)"


def test_a_row_finds_its_pictures_and_records_pass_them_by(ran: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = ran
    write_shown(declaring(plan), store, tmp_path)
    (tmp_path / "records").mkdir()
    for record in Composer(plan, store, "genbench ...").all_records({}):
        (tmp_path / "records" / record.file_name).write_text(record.to_json())
    records = list(read_records([tmp_path]))  # with `shown` in it
    assert len(records) == len(plan.records)
    shown = find_shown([tmp_path / "records"])  # beside it
    assert shown == find_shown([tmp_path]) == find_shown([tmp_path / "nothing", tmp_path])
    result = next(one.result for one in records if one.result.generator.label == "toy:noise=1")
    own = shown[images_id(result.dataset, result.generator, result.filter, result.ratio)]
    assert own.sheet.generator == "toy:noise=1"
    rows = [row for group in build_board(records).groups for row in group.rows]
    assert {row.images_id for row in rows} == {"", *shown}
    assert {row.generator for row in rows if row.images_id == own.sheet.images_id} == {"toy:noise=1"}
    assert {"fit toy", "train"} <= {name for record in records for name in record.run.curves}


def test_a_picture_is_not_drawn_twice_and_what_is_shown_no_more_is_removed(
    ran: tuple[Plan, Store], tmp_path: Path
) -> None:
    plan, store = ran
    write_shown(declaring(plan), store, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.png")}
    empty = Store(tmp_path / "empty")  # nothing could be drawn from it
    assert write_shown(declaring(plan), empty, tmp_path) == 1
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.png")} == before
    next(iter(before)).write_bytes(b"damaged")
    assert write_shown(declaring(plan), empty, tmp_path) == 0
    assert len(before) == 2


def _changed(entry: str, value: object) -> Callable[[Path], object]:
    def change(shown: Path) -> None:
        body = json.loads((shown / "index.json").read_text())
        body["sheets"][0][entry] = value
        (shown / "index.json").write_text(json.dumps(body))

    return change


def _grid(shown: Path) -> Path:
    return next(file for file in shown.glob("*.png") if "strip" not in file.name)


def _other_picture(shown: Path) -> None:
    Image.new("RGB", (4, 4)).save(_grid(shown))


def _link(shown: Path) -> None:
    _grid(shown).rename(shown.parent / "else.png")
    (shown / json.loads((shown / "index.json").read_text())["sheets"][0]["grid"]).symlink_to("../else.png")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "another picture": (_other_picture, "holds another picture than its name says"),
    "no picture": (lambda shown: _grid(shown).write_bytes(b"<svg/>"), "is no PNG"),
    "half a picture": (lambda shown: _half(next(shown.glob("*-strip.png"))), "cannot be decoded"),
    "a large file": (lambda shown: _grid(shown).write_bytes(bytes(2**20 + 1)), "of at most 1,048,576"),
    "a missing one": (lambda shown: _grid(shown).unlink(), "No such file"),
    "a link": (_link, "no regular file but a link"),
    "a path": (_changed("grid", "../else.png"), "0.grid: String should match pattern"),
    "neither": (_changed("grid", ""), "has a grid and a strip, or says why there are none"),
    "more": (_changed("more", 1), "more: Unexpected keyword argument"),
    "no JSON": (lambda shown: (shown / "index.json").write_text("["), "Expecting value"),
    "newer": (
        lambda shown: (shown / "index.json").write_text('{"schema_version": 2, "sheets": []}'),
        "schema_version 2, and this genbench reads 1",
    ),
}


def _half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


@pytest.mark.parametrize("case", BROKEN)
def test_pictures_that_were_changed_are_refused(case: str, tmp_path: Path, ready: Path) -> None:
    shutil.copytree(ready, tmp_path / "copy")
    change, said = BROKEN[case]
    change(tmp_path / "copy" / "shown")
    with pytest.raises(DataError, match=said) as refused:
        read_shown(tmp_path / "copy")
    assert "repeat the run that wrote it" in str(refused.value)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sheet, drawn without a run."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "shown").mkdir()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(folder / "drawn.png")
    content = (folder / "drawn.png").read_bytes()
    name = content_name(content)
    for file in (f"{name}.png", f"{name}-strip.png"):
        (folder / "shown" / file).write_bytes(content)
    sheet = Sheet(
        "a" * 64, "digits", "toy", "none", 1.0, 0, (), 8, ("0",), 1, f"{name}.png", f"{name}-strip.png"
    )
    (folder / "shown" / "index.json").write_bytes(as_json([sheet]))
    return folder


def test_likeness_sees_through_brightness_mirrors_and_a_little_noise() -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(size=(40, 3, 6, 6)).repeat(4, axis=2).repeat(4, axis=3)
    real = np.clip(128 + 50 * low, 0, 255).astype(np.uint8)
    parts = [TensorImages(torch.from_numpy(real[:30]), np.zeros(30, dtype=np.int64), ["a"])]
    parent = torch.from_numpy(real[:5]).float()
    noisy = parent + torch.from_numpy(rng.normal(0, 12, parent.shape)).float()
    darker, mirrored, others = parent * 0.6, parent.flip(-1), torch.from_numpy(real[30:])

    def like(pixels: torch.Tensor) -> npt.NDArray[np.float64]:
        return likeness(pixels.clamp(0, 255).round().to(torch.uint8), parts)

    assert like(parent) == pytest.approx(1, abs=1e-5)
    assert (like(darker) > 0.999).all()
    assert like(mirrored) == pytest.approx(1, abs=1e-5)
    assert (like(noisy) > 0.95).all()
    assert (like(others) < 0.7).all()
    expected = max(np.corrcoef((real[30] - real[30].mean(axis=(1, 2), keepdims=True)).ravel(),
                               (one - one.mean(axis=(1, 2), keepdims=True)).ravel())[0, 1]
                   for turned in (real[:30], real[:30, :, :, ::-1]) for one in turned)  # fmt: skip
    assert like(others[:1].float())[0] == pytest.approx(expected, abs=1e-4)
    assert abs(like(torch.full((1, 3, 24, 24), 7.0))[0]) < 1e-5, "a picture of one colour is like nothing"
