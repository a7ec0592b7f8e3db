"""Examples are run: in docstrings (only the modules that have one are imported), on pages, in notebooks."""

import doctest
import importlib
import json
from pathlib import Path

import pytest

import genbench
from notebooks import NOTEBOOKS, executed

ROOT = Path(__file__).parents[2]
PACKAGES = [path.parent for pattern in ("benchmark/*", "leaderboard/*", "plugins/*/*")
            for path in ROOT.glob(f"{pattern}/py.typed")]  # fmt: skip
MODULES = sorted(
    ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in package.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if ">>> " in page.read_text(encoding="utf-8"))


def test_the_examples_are_found() -> None:
    assert genbench.__name__ in {package.name for package in PACKAGES}
    assert len(MODULES) >= 11
    assert PAGES
    assert NOTEBOOKS


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0, "the module has `>>>`, but none in a docstring that is run"
    assert found.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_in_the_documentation_are_true(page: Path) -> None:
    found = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 10
    assert found.failed == 0


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_notebooks_are_true(notebook: Path) -> None:
    """Each cell is run, in order, and shows what is committed, but for what varies with the machine."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 3
    for cell, outputs in zip(cells, executed(cells), strict=True):
        kinds = [sorted(one.get("data", {"text": ""})) for one in outputs]
        assert kinds == [sorted(one.get("data", {"text": ""})) for one in cell["outputs"]]
        if "varies" not in cell["metadata"].get("tags", ()):
            assert outputs == cell["outputs"], "".join(cell["source"])
