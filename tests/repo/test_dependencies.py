"""What pyproject.toml declares is what the packages import, eagerly or lazily; and the other way round."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [ROOT / folder for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
OTHER_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "umap": "umap-learn"}
NEEDED_BY_OTHERS = {
    "accelerate": "diffusers and transformers load pipelines with it",
    "peft": "diffusers' adapters (LoRA) are its",
}
OF_THE_CALLER = {"pytest": "`genbench.testing.suites` is imported by test suites alone, which have it"}


def normal(name: str) -> str:
    """Return a distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", OTHER_NAMES.get(name, name)).lower()


def modules_named(tree: ast.AST) -> Iterator[str]:
    """Yield what a file imports, by statement, by a string, or as `requires` of a component."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "find_spec")):
            yield from strings(node.args[0])
        elif isinstance(node, ast.keyword) and node.arg == "requires":
            yield from strings(node.value)


def strings(node: ast.AST) -> Iterator[str]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    yield from (
        part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def imported() -> dict[str, list[str]]:
    """Return the third-party distributions that the packages import, each with the files that do."""
    own = {package.name for package in PACKAGES}
    found: dict[str, list[str]] = {}
    for file in (file for package in PACKAGES for file in package.rglob("*.py")):
        for module in modules_named(ast.parse(file.read_text(encoding="utf-8"))):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in own:
                found.setdefault(normal(top), []).append(str(file.relative_to(ROOT)))
    return found


def declared(needs: list[str]) -> set[str]:
    return {normal(re.split(r"[<>=\[ ]", need)[0]) for need in needs}


def optional() -> set[str]:
    """Return what the extras for users add."""
    extras = PROJECT["project"]["optional-dependencies"]
    return {name for extra in extras if extra not in {"test", "dev"} for name in declared(extras[extra])}


def test_every_import_is_declared() -> None:
    known = declared(PROJECT["project"]["dependencies"]) | optional() | OF_THE_CALLER.keys()
    assert {name: files for name, files in imported().items() if name not in known} == {}


def test_everything_declared_is_imported() -> None:
    wanted = declared(PROJECT["project"]["dependencies"]) | optional()
    assert wanted - imported().keys() == NEEDED_BY_OTHERS.keys()


def test_nothing_is_declared_twice() -> None:
    assert not declared(PROJECT["project"]["dependencies"]) & optional()


def test_strings_and_requirements_are_seen() -> None:
    code = "import a.b\nfrom c import d\nfrom . import e\nimport_module('f.g')\nSpec(requires=('h', 'i'))"
    assert sorted(modules_named(ast.parse(code))) == ["a.b", "c", "f.g", "h", "i"]
