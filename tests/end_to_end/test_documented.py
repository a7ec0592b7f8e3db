"""What the documentation shows, run: the guide's examples, and the README's command at `smoke`."""

from pathlib import Path

import pytest

from genbench.records import read_records
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


def test_the_single_file_example(program: Program, tmp_path: Path) -> None:
    plugin = str(DOCS / "examples" / "one_file" / "blur_gen.py")
    checked = program("plugin", "check", "blur", "--plugin", plugin)
    assert checked.returncode == 0, checked.stdout
    arguments = ("-g", "blur:radius=1.5", "-c", "mlp", "--preset", "smoke", "--seeds", "1", "-e", "accuracy")
    done = program("run", "--plugin", plugin, *arguments)
    assert done.returncode == 0, done.stderr
    assert "blur:radius=1.5" in done.stdout


def test_the_package_example(program: Program, tmp_path: Path) -> None:
    """The package's modules, found on the path, as a single-file plugin that imports them."""
    source = DOCS / "examples" / "genbench-noise" / "src"
    plugin = str(source / "genbench_noise" / "plugin.py")
    checked = program("plugin", "check", "noise", "--plugin", plugin, PYTHONPATH=str(source))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_plugin_that_breaks_the_contract_fails_its_check(program: Program, tmp_path: Path) -> None:
    text = (DOCS / "examples" / "one_file" / "blur_gen.py").read_text()
    (tmp_path / "blur_gen.py").write_text(text.replace("torch.Generator().manual_seed(seed)", "None"))
    checked = program("plugin", "check", "blur", "--plugin", str(tmp_path / "blur_gen.py"))
    assert checked.returncode == 1
    assert "FAIL samples_repeat" in checked.stdout
    assert "FAIL random_state_is_left_alone" in checked.stdout


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
