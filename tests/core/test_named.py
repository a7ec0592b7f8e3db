"""Pictures, exports and explanations of a run that is named by its folder, a row or a record."""

import json
import re
import shutil
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
        (["FOLDER", "toi"], r"(?s)no cell or row 'toi' .* Did you mean 'toy'\?.*\n  toy, \+1.0x standard\n"),
        (["FOLDER", "none"], "toy-data/none/standard/toy-net/0 is a baseline: it has no synthetic images"),
        (["PARENT"], "has no suite.toml. It holds toy-data-toy-copies-toy-net: name one of these"),
        (["nosuch"], r"no folder, record, row or cell 'nosuch'\n  genbench preview FOLDER \[ROW\]"),
        ([__file__], r"test_named.py is neither the folder of a run nor the file of a record"),
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


@pytest.mark.parametrize("file", ["leaderboard.md", "leaderboard.json", "suite.toml", "run.json"])
def test_a_file_of_a_run_stands_for_its_folder(toys: Run, file: str) -> None:
    said = toys("why", str(toys.folder / file), "toy").output
    assert said == toys("why", str(toys.folder), "toy").output
    assert said.count("  cached  ") == 14


def test_paths_of_a_run_begin_where_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another folder, after everything moved together, and by the name that was typed."""
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number in range(10):
        place = tree / "data" / "synth" / str(number) / "0.png"
        place.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (25 * number, 0, 0)).save(place)
    run = tree / "results" / "one"
    run.mkdir(parents=True)
    entries = 'name = "one"\nclassifiers = ["cnn"]\ngenerators = ["folder:data/synth"]\nseeds = 1\n'
    (run / "suite.toml").write_text(entries + 'evaluators = ["accuracy"]\npreset = "smoke"\n')
    (run / "run.json").write_text(json.dumps({"typed_in": "../.."}))

    def why(*arguments: str) -> str:
        line = ["why", *arguments, "--store", str(tmp_path / "store")]
        return CliRunner().invoke(program, line, catch_exceptions=False).output

    monkeypatch.chdir(tree)
    here = why("results/one", "folder:data/synth")
    assert here.startswith("digits/folder:path=data/synth/x1-standard/cnn/0\n")
    monkeypatch.chdir(elsewhere)
    assert why("../tree/results/one", "folder:data/synth") == here
    assert Path.cwd() == elsewhere
    tree.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    assert why("../moved/results/one", "folder:data/synth") == here
    (moved / "data" / "synth").rename(moved / "new")
    with pytest.raises(
        GenbenchError, match=r"synth' .*\nFiles that .*records tells of are not there.*\n.*-g folder:NEW"
    ):
        why("../moved/results/one")
    keys = [line.split()[1] for line in here.splitlines() if "  not there  " in line]
    assert len(keys) == 7
    given = why("../moved/results/one", "folder:../moved/new", "-g", "folder:../moved/new")
    assert [line.split()[1] for line in given.splitlines() if "  not there  " in line] == keys


def test_images_in_the_store_are_shown_though_their_files_are_gone(toys: Run, tmp_path: Path) -> None:
    toys("export-images", str(toys.folder), "toy", "--output", "synth")
    arms = ["-d", "toy-data", "-g", "folder:synth", "-c", "toy-net", "--reference", "toy-net"]
    toys("run", *arms, "-e", "accuracy", "--seeds", "1", "-j", "0", "--name", "found", "-q")
    shutil.rmtree("synth")
    run = tmp_path / "genbench-results" / "found"
    (record,) = (
        path for path in (run / "records").glob("cell-*.json") if "folder:path=synth" in path.read_text()
    )
    for number, named in enumerate((run, record)):
        said = toys("preview", str(named), "--output", f"{number}.png").output
        assert "synth' does not exist: what is in the store is found by what" in said
        assert f"{number}.png: 3 classes" in said
    assert Path("0.png").read_bytes() == Path("1.png").read_bytes()
    shutil.rmtree(run / "records")
    with pytest.raises(GenbenchError, match=r"-g folder:NEW"):
        toys("preview", str(run))


def test_a_run_that_is_repeated_by_its_folder_keeps_its_line(
    toys: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(toys.folder, tmp_path / "copy")
    folder = tmp_path / "copy"
    before = json.loads((folder / "run.json").read_text())
    before |= {"command": "genbench run as-typed", "name": "copy"}
    (folder / "run.json").write_text(json.dumps(before))
    suite = (folder / "suite.toml").read_text().replace("toy-data-toy-copies-toy-net", "copy")
    (folder / "suite.toml").write_text(suite)
    for file in ("", "suite.toml", "leaderboard.md"):
        toys("run", str(folder / file), "-j", "0", "-q")
        after = json.loads((folder / "run.json").read_text())
        assert (after["command"], after["typed_in"]) == ("genbench run as-typed", before["typed_in"])
        assert after["began"] > before["began"]
    page = (folder / "leaderboard.md").read_text()
    assert "```sh\ngenbench run as-typed\n```" in page
    assert f"Type the command in the folder `{before['typed_in']}`" in page


def test_a_board_of_failures_alone_names_them(toys: Run, tmp_path: Path) -> None:
    record = next(iter(toys.records.values()))
    failed = replace(record.result, status="failed", reason="the disk was eaten", metrics=())
    (tmp_path / "cell-x.json").write_text(replace(record, result=failed).to_json())
    said = CliRunner().invoke(program, ["leaderboard", str(tmp_path)])
    assert said.exit_code == 1
    assert "there is no board: every evaluation failed\n  the disk was eaten\n" in said.output


def test_a_board_needs_a_measured_cell_and_replaces_no_other_without_one(toys: Run, tmp_path: Path) -> None:
    found = tmp_path / "records"
    found.mkdir()
    board = tmp_path / "board.md"
    board.write_text("an older board")
    cell = next(one for one in toys.records.values() if one.result.subject == "cell")
    judge = replace(cell.result.evaluator, use="frechet")
    about = {"subject": "image_set", "classifier": None, "mix": None, "metrics": (), "evaluator": judge}
    images = replace(cell.result, tables={}, **about)  # type: ignore[arg-type]
    (found / "image_set-x.json").write_text(replace(cell, result=images).to_json())
    said = CliRunner().invoke(program, ["leaderboard", str(found), "-o", str(board)])
    assert said.exit_code != 0
    assert board.read_text() == "an older board"
    assert "records of image sets alone" in str(said.exception)
    failed = replace(cell.result, status="failed", reason="the disk was eaten", metrics=())
    (found / "cell-x.json").write_text(replace(cell, result=failed).to_json())
    said = CliRunner().invoke(program, ["leaderboard", str(found), "-o", str(board)])
    assert said.exit_code == 1
    assert "there is no board: no cell was measured\n  the disk was eaten\n" in said.output
    assert board.read_text() == "an older board"


ENDS = [
    ({"state": "stopped"}, "was stopped before it ended", "goes on with it"),
    ({"state": "done", "measured": 0, "failed": 2}, r"without a measured cell \(2 of", "goes on with it"),
    ({"state": "running", "host": "elsewhere"}, "is still at work", "genbench status"),
]


@pytest.mark.parametrize(("about", "said", "hint"), ENDS)
def test_a_run_that_left_no_suite_is_called_a_run_and_how_it_goes_on(
    toys: Run, tmp_path: Path, about: dict[str, Any], said: str, hint: str
) -> None:
    folder = tmp_path / "unfinished"
    folder.mkdir()
    before = json.loads((toys.folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**before, "command": "genbench run as-typed", **about}))
    for words in (
        ["report", str(folder)],
        ["report", str(folder / "run.json")],
        ["compare", str(folder), str(folder)],
        ["leaderboard", "submit", "--run", str(folder)],
    ):
        problem = CliRunner().invoke(program, words).exception
        assert isinstance(problem, GenbenchError), words
        assert re.search(said, problem.message)
        assert hint in problem.hint
        assert ("genbench run as-typed" in problem.hint) == (about["state"] != "running")


def test_a_folder_without_records_is_named_beside_one_that_has_them(toys: Run, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "mine.json").write_text("{}")
    for words in ([str(odd)], [str(toys.folder), str(odd)]):
        problem = CliRunner().invoke(program, ["leaderboard", *words]).exception
        assert isinstance(problem, GenbenchError), words
        assert f"no records found in {odd}: none of cell-*.json, image_set-*.json, suite-*.json" in str(
            problem
        )
        assert "it has 1 other .json file" in str(problem)
    empty = tmp_path / "verifications"
    empty.mkdir()
    problem = (
        CliRunner().invoke(program, ["leaderboard", str(toys.folder), "--verified", str(empty)]).exception
    )
    assert f"--verified {empty}: there is no .json file in it" in str(problem)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "x.json").write_text("{}")
    both = ["--verified", str(empty), "--verified", str(tmp_path / "found")]
    problem = CliRunner().invoke(program, ["leaderboard", str(toys.folder), *both]).exception
    assert "x.json" in str(problem)  # it is read: an empty folder beside others is a new repository's


@pytest.mark.parametrize("suffix", ["csv", "tex"])
def test_a_form_that_would_lose_findings_is_refused(toys: Run, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"board.{suffix}"
    words = ["leaderboard", str(toys.folder), "--evaluate", "usefulness", "-o", str(out)]
    problem = CliRunner().invoke(program, words).exception
    assert "would lose what it finds" in str(problem)
    assert not out.exists()
