"""`genbench plugin new`: what it writes works, is clean, and never takes a name that is taken."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from genbench.cli import program
from genbench.errors import UsageError
from genbench.hookspecs import Kind
from genbench.registry import PluginSource, Registry, import_target
from genbench.scaffold import TRIALS, Names, names_for, write_plugin
from genbench.testing import checks_of, make_subject, outcomes

ROOT = Path(__file__).parents[2]
KINDS = list(TRIALS)


@pytest.fixture(scope="module")
def built_in() -> Registry:
    return Registry(PluginSource(third_party=False))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, built_in: Registry) -> Iterator[Path]:
    """A folder with a package of each kind, whose sources can be imported.

    A worker of xdist may set it up more than once: no module of an earlier folder may be left.
    """
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        write_plugin(names_for(f"new-{kind}", kind, built_in), folder / kind)
    sources = [str(folder / kind / "src") for kind in KINDS]
    sys.path[:0] = [*sources, str(folder / "dataset" / "tests")]
    before = set(sys.modules)
    yield folder
    for place in (*sources, str(folder / "dataset" / "tests")):
        sys.path.remove(place)
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_conforms(packages: Path, tmp_path: Path, kind: Kind) -> None:
    plugin = packages / kind / "src" / f"new_{kind}" / "plugin.py"
    registry = Registry(PluginSource(files=(str(plugin),), third_party=False))
    sys.modules.pop("plugin")
    reference = f"new-{kind}"
    if kind == "dataset":
        importlib.import_module("test_new_dataset").write_example(tmp_path / "images.npz")
        reference += f":{tmp_path / 'images.npz'}"
    subject = make_subject(registry, kind, reference, tmp_path)
    failed = [
        (one.check.__name__, one.message) for one in outcomes(subject, checks_of(subject)) if one.message
    ]
    assert failed == []
    suite = import_target(f"test_new_{kind}:TestNew{kind.capitalize()}", "x") if kind == "dataset" else None
    assert suite is None or suite.kind == kind


def test_new_plugins_are_clean(packages: Path) -> None:
    """As their own pyproject.toml asks; also with the longest of names."""
    for kind in KINDS:
        write_plugin(Names(kind, "a" * 30, "a" * 30), packages / "long" / kind)
    for folder in [*(packages / kind for kind in KINDS), *(packages / "long" / kind for kind in KINDS)]:
        for arguments in (["check", "."], ["format", "--check", "."]):
            done = subprocess.run(
                ["ruff", *arguments], cwd=folder, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout
        assert tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"] == 110
        texts = {path.name: path.read_text() for path in folder.rglob("*") if path.suffix in {".py", ".md"}}
        assert [name for name, text in texts.items() if re.search("__[A-Z]+__", text)] == []


@pytest.mark.slow(reason="mypy reads genbench and torch")
def test_new_plugins_are_typed(packages: Path) -> None:
    """With the settings, and the cache, of genbench itself."""
    settings = {**os.environ, "MYPYPATH": os.pathsep.join(str(packages / kind / "src") for kind in KINDS)}
    names = [word for kind in KINDS for word in ("-p", f"new_{kind}")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *names],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("My-Gen", "generator", "names no plugin: use lower-case letters"),
        ("3d-gen", "generator", "beginning with a letter"),
        ("my gen", "generator", "names no plugin"),
        ("../gen", "generator", "names no plugin"),
        ("a" * 31, "generator", "up to 30 characters"),
        ("ddpm", "generator", "generator 'ddpm' exists already, in genbench"),
        ("genbench-ddpm", "generator", "generator 'ddpm' exists already, in genbench"),
        ("accuracy", "evaluator", "evaluator 'accuracy' exists already"),
        ("json", "filter", "'json' is a name of Python's own"),
        ("class", "filter", "'class' is a name of Python's own"),
        ("tests", "filter", "'tests' is a name of Python's own or of its folders"),
        ("torch", "classifier", "a package 'torch' is installed already"),
        ("genbench-datasets", "dataset", "a package 'genbench_datasets' is installed already"),
        ("generators", "dataset", "a plugin 'generators' exists already"),
    ],
)
def test_names_that_cannot_be_had_are_refused(
    built_in: Registry, name: str, kind: Kind, message: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        names_for(name, kind, built_in)
    assert message in refusal.value.message
    assert refusal.value.hint.startswith("genbench plugin new my-")


def test_names_follow_from_one(built_in: Registry) -> None:
    names = names_for("genbench-soft_focus", "generator", built_in)
    found = (names.distribution, names.package, names.component, names.stem)
    assert found == ("genbench-soft-focus", "genbench_soft_focus", "soft-focus", "SoftFocus")
    other = names_for("timm-pretrained", "filter", built_in)
    assert other.component == "timm-pretrained"  # kinds have names of their own
    assert (
        names_for("network", "classifier", built_in).stem == "NetworkClassifier"
    )  # the template has a Network


def new(*arguments: str) -> Result:
    return CliRunner().invoke(program, ["plugin", "new", *arguments])


def test_the_command_says_what_is_next_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = new("my-gen", "--kind", "generator").output
    assert "  my-gen/src/my_gen/generator.py" in said
    assert "pip install -e ./my-gen && genbench list generators" in said
    assert "genbench run -g my-gen -c cnn --preset smoke --seeds 1" in said
    (tmp_path / "my-gen" / "src" / "my_gen" / "config.py").write_text("mine")
    again = new("my-gen", "--kind", "generator")
    assert isinstance(again.exception, UsageError)
    assert "my-gen exists already, and nothing is overwritten" in str(again.exception)
    assert (tmp_path / "my-gen" / "src" / "my_gen" / "config.py").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert new("my-gen", "--kind", "filter", "--out", "empty").exit_code == 0
    assert (tmp_path / "empty" / "src" / "my_gen" / "filter.py").is_file()
    assert "Missing option '--kind'" in new("other").output
