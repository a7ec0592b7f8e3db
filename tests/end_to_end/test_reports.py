"""`genbench report` and `genbench compare` on a finished run, as a user calls them."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from genbench.store import Store
from toy_program import TOYS, Program

Finished = subprocess.CompletedProcess[str]


@pytest.fixture
def run(finished: Finished, tmp_path: Path) -> Path:
    """The folder of the finished run, seen from the folder in which the program is called."""
    return next(file.parent.relative_to(tmp_path) for file in (tmp_path / "out").glob("*/run.json"))


def words(page: str) -> str:
    """Return the text of a page."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def test_a_report_is_one_page_with_everything_that_is_left_of_a_run(
    here: Program, run: Path, tmp_path: Path
) -> None:
    done = here("report", f"{run}/leaderboard.md", *TOYS[-2:])
    assert done.returncode == 0, done.stderr
    assert "It shows real images: do not publish it" in done.stdout
    page = (tmp_path / run / "report.html").read_text()
    assert set(re.findall(r'\s(?:src|href)="([^"#]{5})', page)) == {"data:"}  # it needs nothing else
    text = words(page)
    for said in (
        "For yourself alone: this page shows real images of the dataset.",
        "toy on toy-data, 1 per real image",
        "Beside their nearest training images",
        "Training loss",
        "Calibration on test",
        "Cost by step",
        "Images seen in gradient steps",
        "Features of test images: toy-data/toy/x1-standard/toy-net",
    ):
        assert said in text, said
    assert "What failed" not in text
    assert "Nobody verified" not in text  # nobody could have: they are one's own
    assert "not there" not in text
    # What the store no longer has, and what failed, is said.
    store = Store(tmp_path / "store")
    keys = {store.manifest(key)["document"]["stage"]: key for key in store.finished()}  # type: ignore[index]
    shutil.rmtree(store.folder(keys["sample"]))
    shutil.rmtree(store.folder(keys["predict"]))
    log = [f"line {number} <b>" for number in range(100)]
    store.log_path(keys["predict"]).write_text("\n".join(log))
    store.failures.note(keys["predict"], {"label": "predict", "reason": "it <i>broke", "log": "logs/x.log"})
    again = here("report", run.name, *TOYS[-2:], "-o", "other.html")
    assert again.returncode == 0, again.stderr
    page = (tmp_path / "other.html").read_text()
    assert "it &lt;i&gt;broke" in page
    text = words(page)
    assert "What failed" in text
    assert "line 99 <b>" in text
    assert "line 69 <b>" not in text
    assert re.search(r"1 of \d+ steps are not in the store", text)
    assert re.search(r"lacks: 1 of \d+ steps are not in the store", again.stderr)


def test_two_runs_are_compared_whatever_names_them(here: Program, run: Path, tmp_path: Path) -> None:
    shutil.copyfile(tmp_path / run / "leaderboard.json", tmp_path / "board.json")
    same = here("compare", str(run), f"{run}/records")
    assert same.returncode == 0, same.stderr
    assert "Nothing differs in configuration that is known." in same.stdout
    assert same.stdout.count("the same cells") == 2
    board = here("compare", run.name, "board.json", "--format", "json", "-o", "found.json")
    assert board.returncode == 0, board.stderr
    body = json.loads((tmp_path / "found.json").read_text())
    assert "records do" in body["groups"][0]["why_unpaired"]
    assert [row["mean"] for row in body["groups"][0]["rows"]] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "nosuch"), r"there is no run, folder or file 'nosuch'\.[^\n]*\n  genbench runs"),
        (("report", "out"), r"out is no folder of a run: it has no suite.toml. It holds"),
        (("report", "odd.html"), r"odd.html is a file, but none of a run: .* suite.toml\n  name the folder"),
        (
            ("compare", "odd.html", "RUN"),
            r"odd.html is a file, but neither the JSON of a board nor one of a run\n  genbench compare "
            r"takes the JSON of a board .*, a folder of records, or a run",
        ),
        (("compare", "RUN", "RUN", "-o", "new/x.md"), r"there is no folder new\n  mkdir -p new"),
        (
            ("compare", "RUN", "RUN", "-o", "x.md", "--format", "json"),
            r"--format json contradicts --out x.md",
        ),
        (
            ("compare", "RUN", "RUN", "-o", "x.html"),
            r"no form of a comparison is called \.html; known are \.md, .*\n  add --format .* -o x\.md",
        ),
        (("report", "RUN", "-o", "page.pdf"), r"the report is a page of HTML\n  -o page.html"),
        (("compare", "RUN", "store"), r"store has no records of measured cells\n  name a run"),
        (("compare", "RUN", "odd.json"), r"odd.json is not the JSON of a board"),
        (("compare", "RUN", "half.json"), r"half.json cannot be read \(Expecting"),
    ],
)
def test_what_is_no_run_is_refused_with_what_is_one(
    here: Program, run: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "odd.json").write_text("[]")
    (tmp_path / "odd.html").write_text("<!doctype html>")
    (tmp_path / "half.json").write_text("{")
    if "store" in arguments:
        shutil.rmtree(tmp_path / "store" / "records")
    done = here(*(str(run) if one == "RUN" else one for one in arguments))
    assert done.returncode in {2, 3}
    assert re.search(said, done.stderr)
