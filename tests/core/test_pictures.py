"""Pictures of evaluators: collected once per row, and shown on a page."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from genbench.pictures import find_pictures, write_gallery
from genbench.plan import Plan
from genbench.runner import RunSummary
from genbench.store import Store

RunCells = Callable[..., tuple[Plan, RunSummary]]


def test_pictures_are_copied_once_per_row_and_shown(
    run_cells: RunCells, store: Store, tmp_path: Path
) -> None:
    plan, outcome = run_cells(generators=["toy"], evaluators=["toy-eval:picture=true"], seeds=2)
    assert outcome.failed == {}
    every = list(find_pictures(plan, store))
    assert [one.title for one in every if one.evaluator == "copies"] == ["toy-data, toy, x1"]
    found = [one for one in every if one.evaluator != "copies"]
    rows = ("none, standard", "toy, x1-standard")
    assert [picture.title for picture in found] == [f"toy-data, {row}, toy-net" for row in rows]
    assert write_gallery(plan, store, tmp_path) == 2 + 1
    page = (tmp_path / "pictures.md").read_text()
    links = [line.rpartition("(")[2][:-1] for line in page.splitlines() if line.startswith("![")]
    assert len(set(links)) == 2 + 1
    for link in (one for one in links if "toy-eval" in one):
        with Image.open(tmp_path / link) as image:
            assert image.size == (4, 4)


def test_without_pictures_there_is_no_page(run_cells: RunCells, store: Store, tmp_path: Path) -> None:
    plan, _ = run_cells(evaluators=["toy-eval"])
    assert write_gallery(plan, store, tmp_path) == 0
    assert list(tmp_path.glob("pictures*")) == []
