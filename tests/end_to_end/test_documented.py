"""What the documentation shows, run: the guide's examples, and the README's command at `smoke`."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from PIL import Image

from genbench.errors import ExitCode
from genbench.records import read_records
from genbench.registry import PluginSource, Registry
from genbench.scaffold import names_for, write_plugin
from genbench.testing import checks_of, make_subject, outcomes
from toy_program import Program

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow(reason="the whole of the first table at smoke")
def test_the_readmes_command_at_smoke(program: Program, tmp_path: Path) -> None:
    done = program(
        "run", "--generator", "ddpm", "--classifier", "resnet32", "--preset", "smoke", "--seeds", "3"
    )
    assert done.returncode == 0, done.stderr
    records = list(read_records([tmp_path / "genbench-results"]))
    assert {record.result.status for record in records} == {"ok"}
    cells = [record for record in records if record.result.subject == "cell"]
    assert len(cells) == 6
    metrics = {metric.label: metric for record in records for metric in record.result.metrics}
    assert {"top1", "val_top1", "fid[reference,train]", "mmd2[reference,train]"} <= metrics.keys()
    assert (metrics["fid[reference,train]"].n or 0) > 1
    assert (metrics["mmd2[reference,train]"].n or 0) > 1
    table = (tmp_path / "genbench-results" / "digits-ddpm-resnet32" / "leaderboard.md").read_text()
    assert "| ddpm" in table
    assert "FID" in table
    # It ends with what it found, where a picture of the synthetic images is, and what to type next.
    ending = done.stdout.rpartition("On 200 ")[2]
    assert "3 seeds allow no verdict" in " ".join(ending.split())
    (picture,) = re.findall(r"^synthetic images of ddpm: (\S+\.png)$", ending, re.MULTILINE)
    with Image.open(tmp_path / picture) as sheet:
        assert sheet.height > sheet.width > 8 * 32  # ten classes, eight images each
    assert "genbench report genbench-results/digits-ddpm-resnet32" in ending


@pytest.mark.slow(reason="six networks on 200 digits")
def test_the_readmes_folder_of_images(here: Program, tmp_path: Path) -> None:
    """The three commands under "My images exist already", as they stand there; one seed, in this process."""
    section = (DOCS.parent / "README.md").read_text().partition("## My images exist already")[2]
    block = section.partition("No such folder at hand?")[2].partition("```console\n")[2].partition("```")[0]
    lines = [shlex.split(line.removeprefix("$ genbench ")) for line in block.splitlines()]
    assert [line[0] for line in lines] == ["run", "export-images", "run"]
    for line in lines:
        quick = ["-j", "0", "-e", "accuracy", "--seeds", "1"] if line[0] == "run" else []
        done = here(*line, *quick)
        assert done.returncode == 0, done.stderr
    assert "own images (synth)" in done.stdout
    assert "unknown" in done.stdout
    short = here(*lines[-1], "-j", "0", "--ratio", "2")
    assert short.returncode == ExitCode.USAGE
    assert "--ratio 1 is the largest that works" in short.stderr


@pytest.mark.slow(reason="decodes 60,000 photographs")
def test_cifar10_from_the_mirror_at_smoke(program: Program, tmp_path: Path, hub_mirror: Path) -> None:
    arguments = ("-d", "cifar10", "-g", "classical", "-c", "cnn", "--preset", "smoke", "--seeds", "1")
    done = program(
        "run", *arguments, "--limit-train", "200", "-e", "accuracy", GENBENCH_HUB_MIRROR=str(hub_mirror)
    )
    assert done.returncode == 0, done.stderr
    results = [record.result for record in read_records([tmp_path / "genbench-results"])]
    ledgers = [result.ledger for result in results if result.subject == "cell"]
    assert {ledger.real.available_images for ledger in ledgers if ledger.real} == {200}
    assert all(ledger.real for ledger in ledgers)


ONE_FILE = {
    "blur_gen": ("generator", "blur"),
    "sharp_filter": ("filter", "sharp"),
    "mixer_net": ("classifier", "mixer"),
    "spectrum_eval": ("evaluator", "spectrum"),
    "shapes_data": ("dataset", "shapes"),
}


@pytest.mark.parametrize("stem", ONE_FILE)
def test_a_single_file_example_conforms(stem: str, tmp_path: Path) -> None:
    kind, name = ONE_FILE[stem]
    source = PluginSource(files=(str(DOCS / "examples" / "one_file" / f"{stem}.py"),), third_party=False)
    subject = make_subject(Registry(source), kind, name, tmp_path)  # type: ignore[arg-type]
    found = list(outcomes(subject, checks_of(subject)))
    assert len(found) > 10
    assert [(one.check.__name__, one.message) for one in found if one.status != "ok"] == []


@pytest.mark.slow(reason="a whole run")
def test_the_single_file_examples_run_together(program: Program, tmp_path: Path) -> None:
    files = [str(path) for path in sorted((DOCS / "examples" / "one_file").glob("*.py"))]
    assert {Path(file).stem for file in files} == ONE_FILE.keys()
    plugins = [word for file in files for word in ("--plugin", file)]
    cells = ("-d", "shapes", "-g", "blur:radius=0.3", "-f", "sharp", "-c", "mixer")
    short = (
        "--preset",
        "smoke",
        "--seeds",
        "1",
        "--jobs",
        "0",
    )  # in one process: rooms have tests of their own
    done = program("run", *plugins, *cells, "-e", "accuracy", "-e", "spectrum", *short)
    assert done.returncode == 0, done.stderr
    records = list(read_records([tmp_path / "genbench-results"]))
    labels = {metric.label for record in records for metric in record.result.metrics}
    assert {"top1", "spectrum_distance[train]", "spectrum_distance_floor[train]"} <= labels
    sampled = [record.result.ledger.images for record in records if record.result.filter.use == "sharp"]
    assert any(one and 0 < (one.kept_images or 0) < one.made_images for one in sampled)


def test_the_readmes_generator_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of the section is the whole of a plugin that works, under the name that its commands use."""
    section = (
        (DOCS.parent / "README.md").read_text().partition("## Your own generator")[2].partition("\n## ")[0]
    )
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    (tmp_path / "my_gen.py").write_text(code)
    registry = Registry(PluginSource(files=(str(tmp_path / "my_gen.py"),), third_party=False))
    subject = make_subject(registry, "generator", "my-gen", tmp_path)
    assert [one.message for one in outcomes(subject, checks_of(subject)) if one.status != "ok"] == []
    for line in re.findall(r"^\$ genbench (.*?)(?: +#.*)?$", section, flags=re.MULTILINE):
        if line.startswith("run"):
            assert "-g my-gen" in line
    del sys.modules["my_gen"]


@pytest.mark.slow(reason="builds and installs wheels, and runs the tests of three packages")
@pytest.mark.timeout(600)
def test_packages_work_beside_the_built_wheel(tmp_path: Path) -> None:
    """The wheel of genbench, the examples and a new plugin, installed where no source tree can be seen.

    torch and the rest come from the running environment: its folder is on the path of the new one, so that
    its own `.pth` files, and with them this checkout, are not.
    """
    new, wheels = tmp_path / "my-gen", tmp_path / "wheels"
    write_plugin(names_for("my-gen", "generator", Registry(PluginSource(third_party=False))), new)
    packages = [
        str(DOCS.parent),
        *(str(DOCS / "examples" / name) for name in ("genbench-flow", "genbench-noise")),
    ]
    backend = tmp_path / "backend"  # where it is not installed: fetched once, and not for each package
    if importlib.util.find_spec("hatchling") is None:
        pip("install", "--target", str(backend), "hatchling")
    for package in (*packages, str(new)):
        pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), package, PYTHONPATH=str(backend))
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip(
        "--python", str(python), "install", "--no-deps", "--no-index", *map(str, sorted(wheels.glob("*.whl")))
    )
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "running_environment.pth").write_text(f"{sysconfig.get_path('purelib')}\n")

    def inside(*arguments: str) -> str:
        hidden = {"PYTHONPATH", "GENBENCH_DISABLE"}
        settings = {name: value for name, value in os.environ.items() if name not in hidden}
        line = [str(python), *arguments]
        done = subprocess.run(line, env=settings, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert inside("-c", "import genbench; print(genbench.__file__)").startswith(str(site))
    templates = list((site / "genbench" / "scaffold" / "templates").rglob("*.template"))
    assert len(templates) == len(list((DOCS.parent / "benchmark").rglob("*.template"))) > 15
    listed = inside("-m", "genbench.cli", "list", "generators")
    assert all(
        re.search(rf"^\s*{name}\b", listed, flags=re.MULTILINE) for name in ("flow", "noise", "my-gen")
    )
    folders = (DOCS / "examples" / "genbench-flow", DOCS / "examples" / "genbench-noise", new)
    tests = [str(folder / "tests") for folder in folders]
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", str(new / "pyproject.toml"))
    said = inside("-m", "pytest", *options, *tests)
    assert re.search(r"^\d+ passed in", said.splitlines()[-1])


def pip(*arguments: str, **settings: str) -> None:
    line = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    environment = {**os.environ, **settings}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_examples_in_help_texts_keep_their_lines() -> None:
    """Click must see a real backspace character: written raw, it shows up as text and lines run together."""
    from click.testing import CliRunner

    from genbench.cli import COMMANDS, program

    for name in ("run", "why", "tune", "preview"):
        page = CliRunner().invoke(program, [name, "--help"]).output
        assert name in COMMANDS
        assert "\\b" not in page
        assert any(line.startswith(f"  genbench {name} ") for line in page.splitlines())


def test_show_prints_the_method_of_every_component() -> None:
    from click.testing import CliRunner

    from genbench.cli import program
    from genbench.hookspecs import Kind
    from genbench.registry import Registry

    registry = Registry()
    kinds: tuple[Kind, ...] = ("dataset", "generator", "filter", "classifier", "evaluator")
    for kind in kinds:
        for name in [spec.name for spec in registry.specs(kind)]:
            page = CliRunner().invoke(program, ["show", kind, name]).output
            method = page.partition("\nmethod\n")[2].partition("\n\n")[0]
            assert len(method) > 20, f"{kind} {name} says nothing of its method"
