"""The examples in docstrings are run; only the modules that have one are imported."""

import doctest
import importlib
from pathlib import Path

import pytest

import genbench

ROOT = Path(__file__).parents[2]
PACKAGES = [path.parent for pattern in ("benchmark/*", "leaderboard/*", "plugins/*/*")
            for path in ROOT.glob(f"{pattern}/py.typed")]  # fmt: skip
MODULES = sorted(
    ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in package.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_the_examples_are_found() -> None:
    assert genbench.__name__ in {package.name for package in PACKAGES}
    assert len(MODULES) >= 11


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0, "the module has `>>>`, but none in a docstring that is run"
    assert found.failed == 0
