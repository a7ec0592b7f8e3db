"""`genbench doctor`: what is wrong gives exit code 2, what a component lacks here is said by name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from genbench.cli import program

PLUGIN = """
import genbench


@genbench.hookimpl
def genbench_generators():
    return [
        genbench.ComponentSpec(
            name="needy",
            target="needy_gen:Needy",
            config="genbench.protocols:ComponentConfig",
            summary="needs what no machine has",
            requires=({requires!r},),
            resources=genbench.Resources(gpu_memory_gib=100_000, network=True),
        )
    ]
"""


@pytest.fixture(autouse=True)
def _forget_the_plugin() -> Iterator[None]:
    """Let the next test load its own file of that name."""
    yield
    for name in ("needy_gen", "broken_gen"):
        sys.modules.pop(name, None)


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(program, ["doctor", *arguments])


def needy(tmp_path: Path, requires: str) -> str:
    file = tmp_path / "needy_gen.py"
    file.write_text(PLUGIN.format(requires=requires))
    return str(file)


def test_built_in_components_have_what_they_require() -> None:
    done = doctor("--no-plugins")
    assert done.exit_code == 0, done.output
    assert "ok  components every module that they require is installed" in done.output


def test_a_missing_module_is_named_with_its_component(tmp_path: Path) -> None:
    done = doctor("--plugin", needy(tmp_path, "no_such_module.part"))
    assert done.exit_code == 0, "a component that cannot be used here is not a broken installation"
    assert (
        "--  components needy: needs the module 'no_such_module.part', which is not installed" in done.output
    )


def test_gpu_memory_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = needy(tmp_path, "json")
    monkeypatch.setattr("genbench.cli.doctor_command.gpu_memory_gib", lambda: 24.0)
    done = doctor("--plugin", plugin)
    assert "preset `paper` expects a GPU, and the largest here has 24 GiB: needy (100000 GiB)" in done.output
    monkeypatch.setattr("genbench.cli.doctor_command.gpu_memory_gib", lambda: 1e6)
    assert "GPU memory" not in doctor("--plugin", plugin).output


@pytest.mark.parametrize(("offline", "said"), [("1", True), ("0", False)])
def test_weights_that_cannot_be_fetched_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: str, said: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    output = doctor("--plugin", needy(tmp_path, "json")).output
    assert ("HF_HUB_OFFLINE=1: what is in neither mirror nor cache cannot be fetched" in output) is said
    assert (", needy" in output.partition("--  network")[2]) is said


def test_a_broken_plugin_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken_gen.py").write_text("import no_such_module")
    done = doctor("--plugin", str(tmp_path / "broken_gen.py"))
    assert done.exit_code == 2
    assert "BAD plugin     broken_gen" in done.output
    assert "No module named 'no_such_module'" in done.output


def test_a_mirror_that_is_no_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", "/no/such/folder")
    done = doctor("--no-plugins")
    assert done.exit_code == 2
    assert "BAD mirror     GENBENCH_HUB_MIRROR names '/no/such/folder', which is not a folder" in done.output
