"""Pictures, exports and explanations of a run that is named by its folder, a row or a record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from genbench.cli import program
from genbench.errors import GenbenchError
from genbench.records import read_records

TOY = str(Path(__file__).parents[1] / "toy_plugin.py")
ARMS = ["-d", "toy-data", "-g", "toy", "-g", "copies", "-c", "toy-net", "--reference", "toy-net"]


class Run:
    """One run of toys, whose folder, store and records the tests of this file share."""

    def __init__(self, folder: Path) -> None:
        self.store = str(folder / "store")
        options = [*ARMS, "-e", "accuracy", "--seeds", "2", "-j", "0", "-o", str(folder), "-q"]
        self.said = self("run", *options).output
        self.folder = folder / "toy-data-toy-copies-toy-net"
        self.records = {record.file_name: record for record in read_records([self.folder / "records"])}

    def __call__(self, *arguments: str) -> Result:
        line = [*arguments, "--store", self.store, "--plugin", TOY]
        return CliRunner().invoke(program, line, catch_exceptions=False)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("toys"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_shows_every_row_beside_its_records(toys: Run, tmp_path: Path) -> None:
    said = toys("preview", str(toys.folder), "--columns", "3").output
    names = ["toy-data-toy-x1-standard-toy-net-0.png", "toy-data-copies-x1-standard-toy-net-0.png"]
    for name in names:
        assert f"{toys.folder / 'previews' / name}: 3 classes, up to 3 images each" in said
        with Image.open(toys.folder / "previews" / name) as picture:
            assert picture.width > 3 * 48
    toys("preview", str(toys.folder / "records"), "--output", str(tmp_path / "pictures"))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(names)


ROWS = (
    "toy",
    "toy, +1.0x standard",
    "toy-data/toy/x1-standard/toy-net",
    "toy-data/toy/x1-standard/toy-net/0",
)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_named_as_board_and_plan_name_it(toys: Run, row: str, tmp_path: Path) -> None:
    toys("preview", str(toys.folder), row, "--output", "one.png")
    again = ["--seeds", "2", *ARMS]
    toys("preview", row, *again, "--output", "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("subject", ["cell", "image_set"])
def test_a_record_names_its_images(toys: Run, subject: str, tmp_path: Path) -> None:
    name, record = next(
        (name, one)
        for name, one in toys.records.items()
        if one.result.subject == subject and one.result.generator.use == "toy" and one.result.index == 1
    )
    inside = toys("preview", str(toys.folder / "records" / name)).output
    assert "toy-data-toy-x1-standard-toy-net-1.png" in inside
    alone = tmp_path / "elsewhere" / "record.json"
    alone.parent.mkdir()
    options = ["genbench", "run", *ARMS, "--seeds", "2", "-e", "accuracy"]
    told = replace(record, run=replace(record.run, command="GENBENCH_HUB_MIRROR=x " + " ".join(options)))
    alone.write_text(told.to_json())
    assert toys("preview", str(alone)).output == inside
    alone.write_text(replace(record, run=replace(record.run, command="make")).to_json())
    with pytest.raises(GenbenchError, match="does not say how it was made: 'make'"):
        toys("preview", str(alone))


def test_one_row_is_exported_and_several_are_listed(toys: Run, tmp_path: Path) -> None:
    with pytest.raises(
        GenbenchError, match=r"2 rows with synthetic images: 'toy, \+1.0x standard', 'copies,"
    ):
        toys("export-images", str(toys.folder))
    said = toys("export-images", str(toys.folder), "copies", "--output", "copies").output
    made = len(list((tmp_path / "copies" / "train").glob("*/*.png")))
    assert said.startswith(f"{made} images in copies")
    why = toys("why", str(toys.folder), "toy-data/toy/x1-standard/toy-net/0").output
    assert why.startswith("toy-data/toy/x1-standard/toy-net/0\n\ndataset ")
    assert why.count("  cached  ") == 7


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["FOLDER", "tio"], r"no cell or row 'tio' in this run. Did you mean toy\? Known: copies, "),
        (["FOLDER", "none"], "toy-data/none/standard/toy-net/0 is a baseline: it has no synthetic images"),
        (["PARENT"], "has no suite.toml. It holds toy-data-toy-copies-toy-net: name one of these"),
        (["./nothing.json"], "./nothing.json is neither a folder nor a file"),
        (["FOLDER", "--base-seed", "9"], r"not in the store: sample toy.*\n  genbench run .*makes them"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_with_what_to_type(toys: Run, arguments: list[str], says: str) -> None:
    places: dict[str, Any] = {"FOLDER": str(toys.folder), "PARENT": str(toys.folder.parent)}
    with pytest.raises(GenbenchError, match=says):
        toys("preview", *[places.get(one, one) for one in arguments])


def test_a_picture_counts_the_images_that_it_shows(toys: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr("genbench.preview.draw_grid", lambda rows, names, title, path: titles.append(title))
    toys("preview", str(toys.folder), "toy", "--columns", "2")
    said = toys("export-images", str(toys.folder), "toy").output
    assert titles == [f"toy-data/toy/x1-standard/toy-net/0: 6 of {said.split()[0]} images"]
