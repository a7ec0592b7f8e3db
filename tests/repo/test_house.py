"""The house: what importing costs, where files lie, and documentation that cannot drift."""

import contextlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from genbench.cli import COMMANDS, program
from genbench.hookspecs import Hooks
from genbench.registry import PluginSource, Registry
from genbench.store import Store
from genbench.walk import Observer

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "diffusers",
    "timm",
    "datasets",
    "ray",
    "scipy",
    "matplotlib",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = [ROOT / package for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after running some code."""
    probe = (
        f"{code}\nimport sys; print('LOADED', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


def cli(*arguments: str) -> str:
    return f"import sys; sys.argv = ['genbench', {', '.join(map(repr, arguments))}]\n" + (
        "from genbench.cli import program\nprogram.main(standalone_mode=False)"
    )


def test_help_imports_neither_heavy_libraries_nor_pydantic_nor_rich() -> None:
    assert not loaded_after("import genbench.cli") & {*HEAVY, "pydantic", "rich"}
    code = cli("--help").replace("program.main(standalone_mode=False)", "")
    code += (
        "\nfrom click.testing import CliRunner\nassert CliRunner().invoke(program, ['--help']).exit_code == 0"
    )
    assert not loaded_after(code) & {*HEAVY, "pydantic", "rich"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show", "generator", "ddpm"],
        ["plan", "-g", "ddpm", "-c", "resnet32"],
        ["plugins"],
        ["version"],
    ],
)
def test_looking_around_imports_no_heavy_library(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_STORE", str(tmp_path))  # what earlier records say takes numpy
    assert not loaded_after(cli(*arguments)) & HEAVY


def test_listing_plugins_imports_no_implementation() -> None:
    own = {package.name for package in SOURCES if package.name.startswith("genbench_")}
    code = "from genbench.registry import Registry; Registry(); import sys\n"
    code += "print('LOADED', *[m for m in sys.modules if m.startswith('genbench_')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split()[1:])
    assert {f"{name}.plugin" for name in own - {"genbench_leaderboard"}} <= modules
    assert all(name in own or name.endswith(".plugin") for name in modules), modules


def test_each_source_root_holds_exactly_one_package() -> None:
    for package in SOURCES:
        beside = {path.name for path in package.parent.iterdir() if path.name != "__pycache__"}
        assert {name for name in beside if name.endswith(".py")} == set()
        packages = {path.name for path in package.parent.iterdir() if (path / "__init__.py").is_file()}
        assert packages == {package.name}
        assert (package / "py.typed").is_file()


def test_files_stay_small_enough_to_read() -> None:
    """The contract is one file, to be read alone: it may be longer."""
    long = {
        str(path.relative_to(ROOT)): lines
        for package in SOURCES
        for path in package.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > (750 if path.name == "protocols.py" else 600)
    }
    assert not long


def test_no_file_names_a_registry_or_this_machine() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    # The one exception is where PyTorch publishes its CPU build: README says how to install without CUDA.
    pattern = re.compile(
        r"--(extra-)?index-url(?! https://download\.pytorch\.org/whl/cpu\n)|https?://[^\s]*(pypi|pythonhosted|npmjs)|/home/\w+/|/root/"
    )
    named = [
        name
        for name in done.stdout.split("\n")
        if name
        and (ROOT / name).suffix in {".py", ".md", ".toml", ".txt", ".json", ".yml", ".yaml", ""}
        and (ROOT / name).is_file()
        if name != "tests/repo/test_house.py" and pattern.search((ROOT / name).read_text(errors="ignore"))
    ]
    assert not named


def test_every_slow_test_says_why() -> None:
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    marks = [(path.name, mark) for path in files for mark in re.findall(r"mark\.slow.*", path.read_text())]
    assert len(marks) > 10
    assert [mark for mark in marks if not re.fullmatch(r'mark\.slow\(reason="[^"]{5,}"\)', mark[1])] == []


def every_command(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from every_command(found, f"{prefix}{name} ")
        yield f"{prefix}{name}", found


def test_every_command_and_option_has_a_help_text() -> None:
    for name, found in every_command(program):
        assert found.help, name
        for parameter in found.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"
    assert {name.partition(" ")[0] for name, _ in every_command(program)} == set(COMMANDS)


def test_the_one_liners_are_the_commands_first_lines() -> None:
    context = click.Context(program)
    for name, line in COMMANDS.items():
        found = program.get_command(context, name)
        assert found is not None
        assert found.help is not None
        assert found.help.splitlines()[0].startswith(line.split(".")[0].split(",")[0][:30]), name


def test_every_exit_code_is_documented_in_one_place() -> None:
    from genbench.errors import ExitCode

    page = (ROOT / "docs" / "results.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+ \|$", page.partition("## Exit codes")[2], flags=re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in ExitCode]


def test_every_hook_is_in_the_plugin_guide() -> None:
    guide = (ROOT / "docs" / "writing-a-plugin.md").read_text()
    hooks = [name for name in dir(Hooks) if name.startswith("genbench_")]
    assert [name for name in hooks if f"`{name}`" not in guide] == []


def test_the_plugin_guide_tells_every_field_and_every_check() -> None:
    """Who writes a plugin reads that page alone: what it lists is what there is."""
    from dataclasses import fields

    from genbench import protocols
    from genbench.hookspecs import ComponentSpec
    from genbench.images import RealImages
    from genbench.metrics import Metric
    from genbench.testing import CHECKS

    guide = (ROOT / "docs" / "writing-a-plugin.md").read_text()
    in_tables = set(
        re.findall(r"`([a-z_0-9]+)`", "\n".join(re.findall(r"^\| ([^|]+) \|", guide, re.MULTILINE)))
    )
    for described in (ComponentSpec, RealImages, Metric):
        assert {field.name for field in fields(described)} - in_tables == set(), described.__name__
    assert {check.__name__ for checks in CHECKS.values() for check in checks} - in_tables == set()
    configs = [entry for name, entry in vars(protocols).items() if name.endswith("Config")]
    attributes = {name for config in configs for name in getattr(config, "__class_vars__", ())}
    assert len(attributes) > 10
    assert {name for name in attributes if not name.startswith("_")} - in_tables == set()
    members = {
        "labels",
        "class_names",
        "num_classes",
        "image_shape",
        "batch",
        "batches",
        "all",
        "class_counts",
    }
    assert members <= set(re.findall(r"^\| `(\w+)", guide, re.MULTILINE))


def test_every_command_line_in_the_docs_is_understood() -> None:
    """Each `genbench ...` line of the README and the guide names commands and options that exist."""
    from click.testing import CliRunner

    for page in (ROOT / "README.md", ROOT / "docs" / "writing-a-plugin.md"):
        for line in re.findall(r"(?:^\$ |&& )(genbench [^#\n]*)", page.read_text(), flags=re.MULTILINE):
            words = line.split()[1:]
            options = [word for word in words if word.startswith("-")]
            depth = 2 if words[0] in {"plugin", "store"} else 1
            done = CliRunner().invoke(program, [*words[:depth], "--help"])
            assert done.exit_code == 0, line
            for option in options:
                assert re.search(rf"(^|[\s,]){re.escape(option)}\b", done.output), f"{option} in {line}"


def test_every_built_in_component_can_be_shown() -> None:
    from click.testing import CliRunner

    registry = Registry(PluginSource(third_party=False))
    for kind in ("dataset", "generator", "filter", "classifier", "evaluator"):
        for spec in registry.specs(kind):  # type: ignore[arg-type]
            done = CliRunner().invoke(program, ["show", kind, spec.name])
            assert done.exit_code == 0, done.output
            assert spec.summary in done.output
            assert "presets" in done.output


def test_the_floors_of_contributing_are_the_layers_of_the_import_linter() -> None:
    """Both list a floor per line, the highest first; a name with a slash is a folder."""
    (contract,) = [one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    layers = [set(re.split(r"[ |:]+", layer)) for layer in contract["layers"]]
    page = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| .+ \|$", page, flags=re.MULTILINE)
    named = [re.findall(r"`([^`]+)`", modules) for _, modules in rows]
    assert [{name.removesuffix("/") for name in floor} for floor in named] == layers
    assert [int(number) for number, _ in rows] == list(range(len(layers), 0, -1))
    for name in (name for floor in named for name in floor):
        path = ROOT / "benchmark" / "genbench" / name
        assert path.is_dir() if name.endswith("/") else path.with_suffix(".py").is_file(), name


def test_import_contracts_are_kept() -> None:
    executable = Path(sys.executable).with_name("lint-imports")
    if not executable.is_file():
        pytest.skip("import-linter is not installed beside this interpreter")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [executable], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout


def test_constraints_hold_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.+]+", line) for line in pins)
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in pins}
    wanted = {re.split(r"[<>=\[]", need)[0].lower() for need in PROJECT["project"]["dependencies"]}
    assert wanted <= pinned


def test_the_published_board_is_rendered_from_the_published_records() -> None:
    from genbench.cli.leaderboard_command import _strips
    from genbench.records import read_records
    from genbench_leaderboard.board import build_board
    from genbench_leaderboard.tables import render_markdown

    places, page = [ROOT / "leaderboard" / "records"], ROOT / "leaderboard" / "README.md"
    records = list(read_records(places))
    assert records
    strips = _strips(places, page)
    assert page.read_text(encoding="utf-8") == render_markdown(build_board(records), strips, is_own=False)


REPLAYS = ROOT / "leaderboard" / "replays"


def test_published_replays_are_rendered_from_their_records(
    registry: Registry, store: Store, hub_mirror: Path
) -> None:
    from genbench.replays.conclusions import concluded
    from genbench.replays.experiment import experiments

    published = concluded(REPLAYS, list(experiments()))
    assert {one.folder for one in published} == {one for one in REPLAYS.iterdir() if one.is_dir()}
    with_records = [one for one in published if any(one.folder.rglob("records"))]
    assert with_records
    for one in with_records:
        _check_replay(one.name, registry, store, one.folder, is_scaled=one.version == "scaled")
    listed = CliRunner().invoke(program, ["replay", "--format", "markdown", "-o", str(REPLAYS)])
    assert (REPLAYS / "README.md").read_text(encoding="utf-8") == listed.output


def test_published_predictions_are_counted_as_published(
    registry: Registry, store: Store, hub_mirror: Path
) -> None:
    _check_replay("recht-c10.1", registry, store, REPLAYS / "recht-c10.1-replay", columns=None)


def _no_progress() -> contextlib.nullcontext[SimpleNamespace]:
    return contextlib.nullcontext(SimpleNamespace(observer=Observer()))


def _check_replay(
    name: str,
    registry: Registry,
    store: Store,
    folder: Path,
    *,
    is_scaled: bool = False,
    columns: tuple[str, ...] | None = (),
) -> None:
    """Check that the tables of a replay are what its records, or the predictions of others, say today."""
    from genbench.replays.experiment import load_experiment
    from genbench.replays.runs import How, replay
    from genbench.replays.shown import as_json, as_markdown

    place = folder.parent if columns is not None else store.root / "replays"
    command = f"genbench replay {name}{' --scale' * is_scaled}"
    how = How(registry, store, place, command, is_scaled=is_scaled, columns=columns)
    found = replay(name, load_experiment(name)[1], how, _no_progress).found
    assert (folder / "replay.md").read_text(encoding="utf-8") == as_markdown(found), name
    assert (folder / "replay.json").read_text(encoding="utf-8") == as_json(found), name


def test_nothing_escapes_text_by_hand_and_everything_is_printed_by_one_function() -> None:
    """`genbench.escaping` alone knows what is active where, and `cli/_output.py` alone prints."""
    by_hand = re.compile(r"html\.escape|&(lt|gt|amp|quot);|unicode_escape|\"\\\\\||`{3}\w*\\n|\\\\n`{3}")
    printed = re.compile(r"click\.(s?echo|style)\b|^\s*print\(", re.MULTILINE)
    found = [
        str(path.relative_to(ROOT))
        for package in SOURCES
        for path in package.rglob("*.py")
        for pattern, own in ((by_hand, "escaping.py"), (printed, "_output.py"))
        if path.name != own and pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_ready_suites_are_valid_and_begin_with_their_command() -> None:
    from genbench.suite import load_suite

    suites = sorted((ROOT / "benchmark" / "genbench" / "suites").glob("*.toml"))
    assert suites
    for path in suites:
        assert load_suite(path).classifiers
        header = path.read_text().partition("\n\n")[0]
        assert f"genbench run {path.stem}" in header
        assert "Expected time" in header
